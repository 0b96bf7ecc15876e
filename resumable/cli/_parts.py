"""What one checkpoint holds: its loops, and the values of its state by size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._codec import VERSION, encode
from .._models import CheckpointData
from .._ranges import Ranges

_KINDS = {str: "text", bool: "true or false", int: "number", float: "number", list: "list", dict: "dict"}


@dataclass(frozen=True, slots=True)
class LoopPlace:
    """Where one loop stands; *total* is None if it is not known."""

    name: str
    by: str
    processed_items: int
    total_items: int | None


@dataclass(frozen=True, slots=True)
class StateKey:
    """One value of the state.

    Attributes:
        kind: Of a durable collection (mapping, set, log), else of the value.
        entries: None for what has none.
        bytes: As compact JSON.
    """

    name: str
    kind: str
    entries: int | None
    bytes: int


def loops_in(data: CheckpointData) -> list[LoopPlace]:
    """Its loops, in the order in which they began.

    Raises:
        ValueError: They are not what this version writes.
    """
    try:
        return [_loop(name, place) for name, place in data.internal.get("loops", {}).items()]
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"its loops are damaged: {error}") from None


def _loop(name: str, place: Mapping[str, Any]) -> LoopPlace:
    if place["by"] == "key":
        done = len(place.get("keys", ())) + len(Ranges.from_list(place.get("ranges", [])))
        return LoopPlace(name, "key", done, place.get("total"))
    return LoopPlace(name, "position", int(place["position"]), place.get("total"))


def state_keys_in(data: CheckpointData) -> list[StateKey]:
    """The values of its state, in their order."""
    kinds = data.internal.get("collections", {})
    return [
        StateKey(
            name,
            str(kinds.get(name) or _KINDS.get(type(value), "null")),
            len(value) if isinstance(value, list | dict) else None,
            len(encode(value)),
        )
        for name, value in data.state.items()
    ]


def plain_document(data: CheckpointData) -> dict[str, Any]:
    """The v2.0 document that any reader understands: without the section that only this library reads."""
    return {
        "version": VERSION,
        "operation_id": data.operation_id,
        "state": data.state,
        "metadata": data.metadata.to_dict(),
        "created_at": data.created_at.isoformat(),
        "last_updated": data.last_updated.isoformat(),
    }
