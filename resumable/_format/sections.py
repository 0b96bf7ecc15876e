"""The section ``resumable`` of a document: what the library keeps for itself, by name and type."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec

from .._json import encode
from .._models import CheckpointMetadata, SaveCosts

OF_THE_SNAPSHOT = frozenset({"generation", "journal", "digest"})
"""Names in it that tell of the document itself, and are no sections."""
_LONGEST_REASON = 120


class Run(msgspec.Struct, omit_defaults=True):
    """One run, as the history holds it.

    Attributes:
        began, ended: UTC, ISO 8601; the end is that of its last save.
        items_before: Items that earlier runs have done.
        items: Items done over all runs when it was saved last.
        reason: Of its last save.
        command: What started it, if that is known.
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


class SinkPlace(TypedDict):
    """How far an output file goes."""

    offset: Annotated[int, msgspec.Meta(ge=0)]
    sample: str
    path: NotRequired[str]
    closed: NotRequired[bool]


class ListedSections(msgspec.Struct):
    """The sections that a list of operations is made of. None means that there is no such section."""

    history: list[Run] = []
    elapsed: float | None = None
    failed: dict[str, list[tuple[str | int, str]]] | None = None


class Sections(ListedSections):
    """All sections, the only description of them: a document is checked, read and written by it.

    Attributes:
        history: The last runs, oldest first.
        elapsed: Seconds of all runs, waits included.
        failed: Items that ``map`` gave up, by loop: each item's key, and the text of its error.
        budget: What is left of the API's quotas.
        sinks: How far each output file goes, by the name that the user gave it.
        pace: What a forecast is made from.
        costs: What saving has cost.
        arguments: Of the call that the operation is.
        others: Sections that this release does not know; they are kept.
        loops: Where each loop stands, by name.
        collections: The kind of each durable collection in the state.
    """

    budget: dict[str, Any] | None = None
    sinks: dict[str, SinkPlace] = {}
    pace: dict[str, Any] | None = None
    costs: SaveCosts | None = None
    arguments: dict[str, Any] = {}
    others: dict[str, Any] = {}
    loops: dict[str, dict[str, Any]] = {}
    collections: dict[str, Literal["mapping", "set", "log"]] = {}

    def encoded(self) -> dict[str, bytes]:
        """Each section as JSON, in the order in which a document holds them. Those that hold nothing are left out.

        Raises:
            StateEncodeError: JSON cannot hold one.
        """
        sections = {name: getattr(self, name) for name in _WRITTEN_FIRST} | self.others
        sections |= {"loops": self.loops, "collections": self.collections}
        return {
            name: encode(section, f"$.resumable.{name}")
            for name, section in sections.items()
            if section is not None and (section or name not in _LEFT_OUT_IF_EMPTY)
        }


_WRITTEN_FIRST = ("history", "budget", "failed", "sinks", "pace", "elapsed", "costs", "arguments")
_LEFT_OUT_IF_EMPTY = frozenset({"history", "sinks", "arguments", "loops", "collections"})
_KNOWN = frozenset(Sections.__struct_fields__) - {"others"}


def read_sections(internal: Mapping[str, Any]) -> Sections:
    """The sections in a decoded ``resumable``.

    Raises:
        ValueError: One is not what it should be. With the reason, for a person.
    """
    elapsed = internal.get("elapsed")
    if elapsed is not None and (type(elapsed) not in (int, float) or not 0 <= elapsed < 1e15):
        raise ValueError(f"its elapsed time is {elapsed!r}")
    try:
        sections = msgspec.convert({name: internal[name] for name in _KNOWN & internal.keys()}, Sections)
    except msgspec.ValidationError as error:
        if "`$.costs" in str(error):
            raise ValueError(f"its record of what saves cost is damaged: {error}") from None
        raise ValueError(f"its 'resumable' section is malformed ({error})") from None
    sections.others = {n: section for n, section in internal.items() if n not in _KNOWN and n not in OF_THE_SNAPSHOT}
    return sections


# -- what a store may keep beside a save ------------------------------------------------------------------------------


class SavedSummary(msgspec.Struct, omit_defaults=True):
    """Where an operation stands, in a few bytes that a store may keep beside each save.

    Attributes:
        items, total: Of all loops.
        at: When it was saved (UTC).
        reason: Why it was saved.
        saves, errors: Over all runs.
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
    reason = metadata.last_save_reason
    return encode(
        SavedSummary(
            at=at,
            items=metadata.processed_items,
            total=metadata.total_items,
            reason=reason[:_LONGEST_REASON] if reason else None,
            saves=metadata.save_count,
            errors=metadata.error_count,
            is_by_hand=is_by_hand,
        )
    )


def read_summary(raw: bytes) -> SavedSummary | None:
    """What :func:`summary_of` gave; None if that cannot be read."""
    try:
        return msgspec.json.decode(raw, type=SavedSummary)
    except (ValueError, msgspec.MsgspecError):
        return None
