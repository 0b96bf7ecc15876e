"""What people ask of a run, on whatever machine it works: a wish beside its checkpoint, in the same store."""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from .._errors import StoreError
from ..stores import CheckpointStore, WishStore

Ask = Literal["pause", "stop", "retry-failed"]
PAUSED = "Paused"
"""Why a run has saved that waits, as somebody asked for it."""


class Asked(msgspec.Struct, omit_defaults=True, frozen=True):
    """What somebody asks of a run.

    Attributes:
        at: When, in seconds since the epoch, by the clock of who asks.
        term: The number of the claim of the run that is meant; 0 if that is not known.
    """

    ask: Ask
    at: float
    term: int = 0

    def is_for(self, term: int) -> bool:
        """Whether the run with the claim *term* is meant. To pause and to stop is asked of one run, not of the next."""
        return self.ask == "retry-failed" or not 0 < self.term < term


def askable(store: CheckpointStore) -> WishStore | None:
    """*store*, if something can be asked of those who work in it."""
    return store if isinstance(store, WishStore) and store.traits.looks_every is not None else None


def asked_of(store: CheckpointStore, operation_id: str) -> Asked | None:
    """What is asked of *operation_id*; None if nothing is, or nobody understands it.

    Raises:
        StoreError: The store cannot be read.
    """
    wishes = askable(store)
    wish = wishes.wish(operation_id) if wishes is not None else None
    try:
        return msgspec.json.decode(wish, type=Asked) if wish is not None else None
    except (ValueError, RecursionError):
        return None


def ask(store: CheckpointStore, operation_id: str, what: Ask, *, term: int = 0) -> None:
    """Ask the run of *operation_id* for *what*, in place of what was asked before.

    Raises:
        StoreError: It cannot be asked.
    """
    if (wishes := askable(store)) is None:
        raise StoreError(f"nothing can be asked of what is in {store.describe()}")
    wishes.put_wish(operation_id, msgspec.json.encode(Asked(what, round(time.time(), 3), term)))


def take_back(store: CheckpointStore, operation_id: str, asked: Asked) -> None:
    """What was *asked* is heard, or wanted no more.

    Raises:
        StoreError: The store cannot be written.
    """
    if (wishes := askable(store)) is not None:
        wishes.clear_wish(operation_id, msgspec.json.encode(asked))
