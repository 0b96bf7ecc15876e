"""Requests to a run on any machine. A request lies beside its checkpoint, in one store with it."""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from .._errors import StoreError
from ..stores import CheckpointStore, WishStore

Ask = Literal["pause", "stop", "retry-failed"]
PAUSED = "Paused"
"""The reason of the save of a run that pauses on request."""


class Asked(msgspec.Struct, omit_defaults=True, frozen=True):
    """A request to a run.

    Attributes:
        at: When it was made, in seconds since the epoch, by the clock of the asking machine.
        term: The number of the claim of the run that it is for; 0 if unknown.
    """

    ask: Ask
    at: float
    term: int = 0

    def is_for(self, term: int) -> bool:
        """Whether it is for the run with the claim *term*. ``pause`` and ``stop`` are for one run, not for the next."""
        return self.ask == "retry-failed" or not 0 < self.term < term


def askable(store: CheckpointStore) -> WishStore | None:
    """*store*, if it can hold requests."""
    return store if isinstance(store, WishStore) and store.traits.looks_every is not None else None


def asked_of(store: CheckpointStore, operation_id: str) -> Asked | None:
    """The request to *operation_id*; None if there is none, or it is not understood.

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
    """Leave the request *what* for the run of *operation_id*. It replaces an earlier one.

    Raises:
        StoreError: The store cannot be written.
    """
    if (wishes := askable(store)) is None:
        raise StoreError(f"{store.describe()} cannot hold requests to running jobs")
    wishes.put_wish(operation_id, msgspec.json.encode(Asked(what, round(time.time(), 3), term)))


def take_back(store: CheckpointStore, operation_id: str, asked: Asked) -> None:
    """Remove the request *asked*: it was received, or is no longer wanted.

    Raises:
        StoreError: The store cannot be written.
    """
    if (wishes := askable(store)) is not None:
        wishes.clear_wish(operation_id, msgspec.json.encode(asked))
