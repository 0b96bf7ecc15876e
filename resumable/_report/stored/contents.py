"""The contents of a checkpoint: loops, failed items, effects, artifacts, and the values of its state by size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..._format.document import VERSION, object_chunks, sign
from ..._format.sections import ListedSections, Run, Sections
from ..._json import SPELLED, encode, encode_spelled, is_plain
from ..._loops.ledgers.by_key import count_in_ranges
from ..._loops.ledgers.failed import Failed
from ..._models import CheckpointData
from ..._text import hidden, hidden_in_line, hide

_KINDS = {str: "text", bool: "true or false", int: "number", float: "number", list: "list", dict: "dict"}


@dataclass(frozen=True, slots=True)
class LoopPlace:
    """The progress of one loop; *by* says how its done items are counted.

    It is ``key``, ``position``, ``scattered`` (by position, in any order), or ``pages``.
    """

    name: str
    by: str
    processed_items: int
    total_items: int | None


@dataclass(frozen=True, slots=True)
class PagesPlace(LoopPlace):
    """The progress of a loop over pages: the number of the present *page*, from 1, and its *cursor*."""

    page: int
    cursor: Any


@dataclass(frozen=True, slots=True)
class FailedItem:
    """A failed item; *key* is its position if its loop counts items by position."""

    loop: str
    key: str | int
    error: str


@dataclass(frozen=True, slots=True)
class StateKey:
    """One value of the state, or one durable collection: its *kind*, and its size as compact JSON."""

    name: str
    kind: str
    entries: int | None
    bytes: int


@dataclass(frozen=True, slots=True)
class ArtifactKept:
    """An artifact of the checkpoint.

    Attributes:
        bytes: The size of all its files.
        sha256: The digest of its content.
        written_at: When it was written (UTC, ISO 8601); None if unknown.
        published: The path to which it was last published; None if it never was.
    """

    name: str
    bytes: int
    sha256: str
    written_at: str | None
    published: str | None


def artifacts_in(sections: ListedSections) -> list[ArtifactKept]:
    """The artifacts, in the order of their first versions."""
    return [
        ArtifactKept(name, one.size, one.sha256, one.at or None, one.published)
        for name, one in sections.artifacts.items()
    ]


def loops_in(sections: Sections) -> list[LoopPlace]:
    """The loops, in the order in which they began. Raises ValueError if this version cannot have written them."""
    try:
        return [_loop(name, place) for name, place in sections.loops.items()]
    except (TypeError, AttributeError, LookupError, ValueError) as error:
        raise ValueError(f"its loops are damaged: {error}") from None


def _loop(name: str, place: Mapping[str, Any]) -> LoopPlace:
    by = place["by"]
    if by == "key":
        done = len(place.get("keys", ())) + count_in_ranges(place.get("ranges", []))
    elif by == "scattered":
        done = place["head"] - count_in_ranges(place["missing"])
    elif by == "position":
        done = place["position"]
    elif by == "pages":
        return PagesPlace(
            name, by, place["position"], place.get("total"), place["pages"] + 1, hide("cursor", place["cursor"])
        )
    else:
        raise ValueError(f"one is counted by {by!r}, which is unknown")
    return LoopPlace(name, by, done, place.get("total"))


def effects_in(sections: Sections) -> tuple[int, list[str]]:
    """The number of effects that happened, and the keys of those that may have happened."""
    unknown = [key for key, effect in sections.once.items() if "result" not in effect]
    return len(sections.once) - len(unknown), unknown


def failed_in(sections: Sections) -> list[FailedItem]:
    """The failed items, loop by loop, in the order in which they failed."""
    failed = sections.failed or {}
    return [FailedItem(loop, key, hidden(text)) for loop, pairs in failed.items() for key, text in dict(pairs).items()]


def failed_by_key(sections: Sections) -> dict[str | int, str]:
    """The failed items in the form of ``cp.failed``: a key of several loops comes with its loop's name."""
    by_loop: dict[str, list[tuple[str | int, str]]] = {}
    for item in failed_in(sections):
        by_loop.setdefault(item.loop, []).append((item.key, item.error))
    return Failed(by_loop).all()


def history_in(sections: ListedSections) -> list[Run]:
    """The runs that have saved, oldest first. Hides secrets that an earlier release has stored."""
    for run in sections.history:
        run.error = hidden(run.error) if run.error else None
        run.command = hidden_in_line(run.command) if run.command else None
    return sections.history


def state_keys_in(state: Mapping[str, Any], sections: Sections) -> list[StateKey]:
    """The values of its state, in their order."""
    return [
        StateKey(
            name,
            str(sections.collections.get(name) or _KINDS.get(type(value), "null")),
            len(value) if isinstance(value, list | dict) else None,
            len(encode(value)),
        )
        for name, value in state.items()
    ]


def plain_document(data: CheckpointData) -> bytes:
    """The v2.0 document for any reader: without the section that only this library reads.

    If the state has NaN or an infinity, the section stays: it says how these are spelled.
    """
    head = {"version": VERSION, "operation_id": data.operation_id}
    tail: dict[str, Any] = {
        "metadata": data.metadata.to_dict(),
        "created_at": data.created_at.isoformat(),
        "last_updated": data.last_updated.isoformat(),
    }
    if is_plain(data.state):
        return encode(head | {"state": data.state} | tail)
    state = object_chunks((name, encode_spelled(value)) for name, value in data.state.items())
    return b"".join(sign(head, state, tail | {"resumable": {"generation": 0, "nonfinite": SPELLED}}))
