"""The section ``resumable`` of a document: the library's own data, by name and type."""

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
    """One run in the history.

    Attributes:
        began, ended: UTC, ISO 8601; the end is that of the last save.
        items_before: Items that earlier runs have done.
        items: Items done over all runs at its last save.
        command: The command line that started it, if known.
        error: The text of the exception that ended it.
        place: The line in the program that raised it: ``job.py:12``.
        stopped_at: The loop, and its item, that raised it.
        notes: Texts that observers saved with the run, such as the id of its trace.
        strategy: The save strategy, for people: ``every 5 min or every 1,000 items``.
        at_risk: Seconds of work that a kill after its last save would lose, at most; None if unknown.
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
    """The saved length of an output file; *claim* is the token of the record beside the file."""

    offset: Annotated[int, msgspec.Meta(ge=0)]
    sample: str
    path: NotRequired[str]
    closed: NotRequired[bool]
    claim: NotRequired[str]


class OnceEntry(TypedDict):
    """An effect that was begun; without a result, it may or may not have happened."""

    at: str
    result: NotRequired[Any]


class Finished(msgspec.Struct, omit_defaults=True):
    """Says that an operation has finished; kept for ``when_done="skip"``.

    Attributes:
        at: When (UTC, ISO 8601).
        result: What the decorated function returned; unset without a function, or if JSON cannot hold it.
        type: The name of the result's type, if JSON cannot hold it.
    """

    at: str = ""
    result: Any = msgspec.UNSET
    type: str = ""


Stand = tuple[int, int] | None
"""The last save of a checkpoint: its number and CRC; None if there is no checkpoint."""


class Unsaved(msgspec.Struct, omit_defaults=True):
    """Says that a store was away: the next run must bring this checkpoint there.

    Attributes:
        store: The store's address, without credentials.
        term, next: The lease's term and next number when writing became impossible.
        stands: The saves that the store may hold: the last acknowledged one, and those without an answer.
        token: Unique to this copy.
    """

    store: str
    term: int
    next: int
    stands: list[Stand]
    token: str


class ListedSections(msgspec.Struct):
    """The sections that a list of operations needs. None means that there is no such section."""

    history: list[Run] = []
    elapsed: Annotated[float, msgspec.Meta(ge=0, lt=1e15)] | None = None
    failed: dict[str, list[tuple[str | int, str]]] | None = None
    artifacts: dict[str, Version] = {}
    unsaved: Unsaved | None = None


class Sections(ListedSections):
    """All sections. This is their only description: documents are checked, read and written by it.

    Attributes:
        history: The last runs, oldest first.
        elapsed: Seconds of all runs, waits included.
        failed: Items that ``map`` gave up, by loop: each item's key and the text of its error.
        finished: Says that the operation has finished, if later runs should skip it.
        budget: What is left of the API's quotas.
        spent: What all runs have spent, by unit.
        sinks: The saved length of each output file, by the user's name for it.
        pace: The measurements for a forecast.
        trail: The progress from time to time, for reports.
        arguments: The arguments of the call.
        unsaved: In a local copy: why it is here instead of in its store. In the store: the copy that was brought.
        others: Sections of other releases; they are kept.
        loops: The place of each loop, by name.
        collections: The kind of each durable collection in the state.
        tracked: The tracked objects' states at the places of the loops, outer loops first.
        artifacts: The current version of each artifact, by name.
        artifacts_before: Versions named by older saves that the user may still go back to.
        once: Effects that must not happen twice, by key. They are saved at once, so they may be ahead of the loops.
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
        """Each section as JSON, in the order of the document. Empty sections are omitted.

        Raises:
            StateEncodeError: JSON cannot hold a section.
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


# -- the summary that a store may keep beside a save


class SavedSummary(msgspec.Struct, omit_defaults=True):
    """The progress of an operation over all runs and loops, in a few bytes that a store may keep beside each save.

    Attributes:
        at: When it was saved (UTC).
        is_by_hand: Whether the manager made the save, without a run.
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
    """Read what :func:`summary_of` returned; None if that is impossible."""
    try:
        return msgspec.json.decode(raw, type=SavedSummary)
    except (ValueError, msgspec.MsgspecError):
        return None
