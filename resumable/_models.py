"""The values that travel: a checkpoint, its metadata, and what a strategy may look at."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._costs import SaveCosts


class _LeftOut(float):
    """0.0, told apart from a 0.0 that the caller wrote: only what was left out may be filled in."""

    def __repr__(self) -> str:
        return "0.0"


LEFT_OUT = _LeftOut()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointContext:
    """Where an operation stands; all that a strategy may look at.

    Times are seconds since the operation began, on a monotonic clock. What is left out is filled in by whoever
    asks a strategy on the user's behalf; what is given stands.

    Attributes:
        last_save_time: ``elapsed_time`` at the last save.
        last_save_items: ``processed_items`` at the last save; None if the history is unknown.
        last_save_remaining: ``rate_limit_remaining`` at the last save; None if unknown.
        save_costs: What saving costs, for strategies that choose their own interval.
    """

    processed_items: int = 0
    total_items: int | None = None
    rate_limit_remaining: int | None = None
    rate_limit_total: int | None = None
    elapsed_time: float = LEFT_OUT
    error_count: int = 0
    last_save_time: float = LEFT_OUT
    last_save_items: int | None = None
    last_save_remaining: int | None = None
    save_costs: SaveCosts | None = None


@dataclass(slots=True, kw_only=True)
class CheckpointMetadata:
    """What is known of an operation besides its state.

    Attributes:
        save_count: Saves over all runs.
        last_save_reason: Why the last save was made.
        extra: Keys that this version does not know; they are kept and written back.
    """

    total_items: int | None = None
    processed_items: int = 0
    rate_limit_remaining: int | None = None
    rate_limit_total: int | None = None
    error_count: int = 0
    tool_name: str | None = None
    operation_type: str | None = None
    save_count: int = 0
    last_save_reason: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CheckpointMetadata:
        """Take known names as fields and keep all others in ``extra``."""
        known = {name: values[name] for name in _METADATA_FIELDS if values.get(name) is not None}
        extra = {name: value for name, value in values.items() if name not in _METADATA_FIELDS}
        return cls(**known, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """One flat dict, as the document holds it; what is None is left out."""
        known = zip(_METADATA_FIELDS, _values_of(self), strict=True)
        return {name: value for name, value in known if value is not None} | self.extra

    def copy(self) -> CheckpointMetadata:
        """Another one with the same values; what ``extra`` holds is shared."""
        return CheckpointMetadata(**dict(zip(_METADATA_FIELDS, _values_of(self), strict=True)), extra=dict(self.extra))

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field or of an extra key, else *default*."""
        return self.to_dict().get(name, default)

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]


_COUNTS = ("total_items", "processed_items", "rate_limit_remaining", "rate_limit_total", "error_count", "save_count")
_TEXTS = ("tool_name", "operation_type", "last_save_reason")


def check_metadata(values: Mapping[str, Any]) -> None:
    """Make sure that known fields hold what they should.

    Raises:
        ValueError: One does not.
    """
    for name in _COUNTS:
        value = values.get(name)
        if value is not None and (type(value) is not int or value < 0):
            raise ValueError(f"metadata has {name} = {value!r}, which is not a count")
    for name in _TEXTS:
        if not isinstance(values.get(name), str | None):
            raise ValueError(f"metadata has {name} = {values[name]!r}, which is not a text")


_METADATA_FIELDS = tuple(f.name for f in dataclasses.fields(CheckpointMetadata) if f.name != "extra")
_values_of = operator.attrgetter(*_METADATA_FIELDS)


@dataclass(slots=True, kw_only=True)
class CheckpointData:
    """One checkpoint, as loaded.

    Attributes:
        state: What the user saved.
        created_at: When the operation's first checkpoint was made (UTC).
        last_updated: When this one was made (UTC).
        version: Version of the document it was read from.
        internal: What the library keeps for itself: loop positions, history, costs.
    """

    operation_id: str
    state: dict[str, Any]
    metadata: CheckpointMetadata
    created_at: datetime
    last_updated: datetime
    version: str = "2.0"
    internal: dict[str, Any] = field(default_factory=dict)
