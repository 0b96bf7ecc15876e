"""The section ``resumable`` of a document: what the library keeps for itself, by name and type."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec

from .._durable.artifact import Version
from .._durable.tracked import Moment
from .._json import encode
from .._models import CheckpointMetadata, SaveCosts
from .trail import Trail

_LONGEST_REASON = 120


class Run(msgspec.Struct, omit_defaults=True):
    """One run, as the history holds it.

    Attributes:
        began, ended: UTC, ISO 8601; the end is that of its last save.
        items_before: Items that earlier runs have done.
        items: Items done over all runs when it was saved last.
        command: What started it, if that is known.
        error: The text of the exception that ended it.
        place: Where in the program that was raised: ``job.py:12``.
        stopped_at: The loop, and the item in it, at which an exception ended it.
        notes: Texts that observers have saved with it, such as the id of its trace.
        strategy: When it saves, for people: ``every 5 min or every 1,000 items``.
        at_risk: Seconds of work that a kill after its last save loses, at most; None if unknown.
    """

    run: int = 0
    began: str = ""
    items_before: int | None = msgspec.field(default=None, name="from")
    host: str = ""
    pid: int = 0
    command: str | None = None
    ended: str = ""
    items: int | None = None
    reason: str | None = None
    error: str | None = None
    place: str | None = None
    at_risk: float | None = None
    stopped_at: tuple[str, str | int] | None = None
    notes: dict[str, str] = {}
    strategy: str = ""


class SinkPlace(TypedDict):
    """How far an output file goes; *claim* is the token of the record beside it."""

    offset: Annotated[int, msgspec.Meta(ge=0)]
    sample: str
    path: NotRequired[str]
    closed: NotRequired[bool]
    claim: NotRequired[str]


class OnceEntry(TypedDict):
    """An effect that was begun; one without a result may have happened."""

    at: str
    result: NotRequired[Any]


class Finished(msgspec.Struct, omit_defaults=True):
    """That an operation has finished, kept for ``when_done="skip"``.

    Attributes:
        at: When (UTC, ISO 8601).
        result: What the decorated function returned; unset if it is no function's, or no JSON.
        type: The name of the result's type, if it is no JSON.
    """

    at: str = ""
    result: Any = msgspec.UNSET
    type: str = ""


Stand = tuple[int, int] | None
"""Where a checkpoint stands: the number of its last save, and the CRC of that; None: there is no checkpoint."""


class Unsaved(msgspec.Struct, omit_defaults=True):
    """That a store was away, and where it stood: this checkpoint is to be brought there.

    Attributes:
        store: Where, without credentials.
        term, next: Of the lease that could not be written through.
        stands: At what the store may stand: the last save that it has acknowledged, and those that it may have.
        token: What no other such checkpoint has.
    """

    store: str
    term: int
    next: int
    stands: list[Stand]
    token: str


class ListedSections(msgspec.Struct):
    """The sections that a list of operations is made of. None means that there is no such section."""

    history: list[Run] = []
    elapsed: Annotated[float, msgspec.Meta(ge=0, lt=1e15)] | None = None
    failed: dict[str, list[tuple[str | int, str]]] | None = None
    artifacts: dict[str, Version] = {}
    unsaved: Unsaved | None = None


class Sections(ListedSections):
    """All sections, the only description of them: a document is checked, read and written by it.

    Attributes:
        history: The last runs, oldest first.
        elapsed: Seconds of all runs, waits included.
        failed: Items that ``map`` gave up, by loop: each item's key, and the text of its error.
        finished: That the operation has finished, if it was asked to be skipped from then on.
        budget: What is left of the API's quotas.
        spent: What all runs have spent, by what it is counted in.
        sinks: How far each output file goes, by the name that the user gave it.
        pace: What a forecast is made from.
        trail: Where it stood from time to time, for reports.
        arguments: Of the call that the operation is.
        unsaved: What it lies here for, instead of in its store; there, what it was brought as.
        others: Sections that this release does not know; they are kept.
        loops: Where each loop stands, by name.
        collections: The kind of each durable collection in the state.
        tracked: What tracked objects were where each loop stands, outer ones first.
        artifacts: The version of each artifact, by its name.
        artifacts_before: Versions that older saves name which may yet be gone back to.
        once: Effects that must not happen twice, by key. They are saved at once, and so may be ahead of the loops.
    """

    finished: Finished | None = None
    budget: dict[str, Any] | None = None
    spent: dict[str, Annotated[float, msgspec.Meta(ge=0)]] = {}
    sinks: dict[str, SinkPlace] = {}
    pace: dict[str, Any] | None = None
    trail: Trail | None = None
    costs: SaveCosts | None = None
    arguments: dict[str, Any] = {}
    others: dict[str, Any] = msgspec.field(default_factory=dict, name="")
    loops: dict[str, dict[str, Any]] = {}
    collections: dict[str, Literal["mapping", "set", "log"]] = {}
    once: dict[str, OnceEntry] = {}
    tracked: list[Moment] = []
    artifacts_before: list[str] = []

    def encoded(self) -> dict[str, bytes]:
        """Each section as JSON, in the order in which a document holds them. Those that hold nothing are left out.

        Raises:
            StateEncodeError: JSON cannot hold one.
        """
        sections = {name: getattr(self, name) for name in _WRITTEN_FIRST} | self.others
        sections |= {"loops": self.loops, "collections": self.collections, "once": self.once}
        return {
            name: encode(section, f"$.resumable.{name}")
            for name, section in sections.items()
            if section is not None and (section or name not in _LEFT_OUT_IF_EMPTY)
        }


_WRITTEN_FIRST = (
    "history",
    "finished",
    "budget",
    "spent",
    "failed",
    "sinks",
    "pace",
    "trail",
    "elapsed",
    "costs",
    "arguments",
    "tracked",
    "artifacts",
    "artifacts_before",
    "unsaved",
)
_LEFT_OUT_IF_EMPTY = frozenset({"history", "spent", "sinks", "arguments", "loops", "collections", "once", "tracked"})
_LEFT_OUT_IF_EMPTY |= {"artifacts", "artifacts_before"}


# -- what a store may keep beside a save ------------------------------------------------------------------------------


class SavedSummary(msgspec.Struct, omit_defaults=True):
    """Where an operation stands, over all runs and loops, in a few bytes that a store may keep beside each save.

    Attributes:
        at: When it was saved (UTC).
        is_by_hand: Whether no run made it, but a call of the manager.
    """

    at: datetime
    items: int = 0
    total: int | None = None
    reason: str | None = None
    saves: int = 0
    errors: int = 0
    is_by_hand: bool = False


def summary_of(metadata: CheckpointMetadata, *, at: datetime, is_by_hand: bool = False) -> bytes:
    """The summary of a save, as JSON of 1 KiB at most."""
    reason = (metadata.last_save_reason or "")[:_LONGEST_REASON] or None
    items, total = metadata.processed_items, metadata.total_items
    return encode(SavedSummary(at, items, total, reason, metadata.save_count, metadata.error_count, is_by_hand))


def read_summary(raw: bytes) -> SavedSummary | None:
    """What :func:`summary_of` gave; None if that cannot be read."""
    try:
        return msgspec.json.decode(raw, type=SavedSummary)
    except (ValueError, msgspec.MsgspecError):
        return None
