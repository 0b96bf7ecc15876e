"""Plain values: the context of a strategy, metadata, a loaded checkpoint, and the costs of saves."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import msgspec

__version__ = "0.2.0"
_ITEM_WEIGHT, _SAVE_WEIGHT = 0.2, 0.3
"""Weights of the newest measurement in the moving averages of :class:`SaveCosts`."""


class _LeftOut(float):
    """The 0.0 of a field that was left out. Compare it with ``is``: only such a field may be filled in."""

    def __reduce__(self) -> str:
        return "LEFT_OUT"  # a copied or pickled context keeps its left-out fields


LEFT_OUT = _LeftOut()


@dataclass(slots=True, kw_only=True)
class CheckpointContext:
    """The progress of an operation, for strategies.

    Times are seconds since the operation began, on a monotonic clock. ``last_save_…`` is a value at the last save. The
    library fills in only the fields that the program left out.

    Example:
        >>> every(items=10).should_save(CheckpointContext(processed_items=10)).should_save
        True

    Attributes:
        save_costs: What saving costs, for strategies that choose their own interval; None if unknown.
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
    """Counts and facts about an operation, besides its state.

    Example:
        >>> cp.metadata.save_count
        0

    Attributes:
        save_count: Saves over all runs.
        last_save_reason: For people.
        extra: Keys that this version does not know. They are kept and written back.
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
        """Metadata with the known names of *values* as fields, and all others in ``extra``.

        Example:
            >>> CheckpointMetadata.from_dict({"total_items": 40, "colour": "red"}).extra
            {'colour': 'red'}
        """
        extra, known = dict(values), {}
        for name in _METADATA_FIELDS:
            value = extra.pop(name, None)
            if value is not None:
                known[name] = value
        return cls(**known, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """One flat dict, as the document holds it: fields that are not None, and all of ``extra``.

        Example:
            >>> CheckpointMetadata.from_dict({"total_items": 40, "colour": "red"}).to_dict()["colour"]
            'red'
        """
        known = zip(_METADATA_FIELDS, _values_of(self), strict=True)
        return {name: value for name, value in known if value is not None} | self.extra

    def copy(self) -> CheckpointMetadata:
        """A copy. The values in ``extra`` are shared, not copied.

        Example:
            >>> before = cp.metadata.copy()
        """
        return CheckpointMetadata(**dict(zip(_METADATA_FIELDS, _values_of(self), strict=True)), extra=dict(self.extra))

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field or of an extra key, else *default*.

        Example:
            >>> cp.metadata.get("colour", "none")
            'none'
        """
        return self.to_dict().get(name, default)

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]


_METADATA_FIELDS = tuple(f.name for f in dataclasses.fields(CheckpointMetadata) if f.name != "extra")
_TEXTS = ("tool_name", "operation_type", "last_save_reason")
_COUNT = Annotated[int, msgspec.Meta(ge=0)]
_Known = msgspec.defstruct(
    "_Known", [(name, str | None if name in _TEXTS else _COUNT | None, None) for name in _METADATA_FIELDS]
)
_values_of = operator.attrgetter(*_METADATA_FIELDS)


def check_metadata(*saves: Mapping[str, Any]) -> None:
    """Raise ValueError if a known field of some metadata holds something else than a count or a text."""
    try:
        msgspec.convert(saves, tuple[_Known, ...])  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        raise ValueError(f"metadata has a field that is neither a count nor a text: {error}") from None


@dataclass(slots=True, kw_only=True)
class CheckpointData:
    """One checkpoint, as loaded.

    Example:
        >>> path = CheckpointManager().create_checkpoint("kept", {"page": 7})
        >>> CheckpointManager().load_checkpoint("kept").state
        {'page': 7}

    Attributes:
        created_at: When the operation's first checkpoint was made (UTC).
        last_updated: When this checkpoint was made (UTC).
        version: Of the document that was read.
        internal: What the library keeps for itself: loop positions, history, costs.
    """

    operation_id: str
    state: dict[str, Any]
    metadata: CheckpointMetadata
    created_at: datetime
    last_updated: datetime
    version: str = "2.0"
    internal: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveCosts:
    """The costs of an operation's saves, over all its runs. All times are in seconds.

    Attributes:
        active_seconds: The time of work, without waits.
        work_seconds: The work since the last save, which a kill now would lose.
        item_seconds: The time of one item (moving average); 0 before the first.
        save_seconds: The expected time of the next save; None before the first.
        average_seconds: The time of a save (moving average); None before the first.
        charged_seconds: The time of the saves that count against the bound on the overhead.
        restores: How often the operation was resumed.
    """

    active_seconds: float = 0.0
    work_seconds: float = 0.0
    item_seconds: float = 0.0
    save_seconds: float | None = None
    average_seconds: float | None = None
    charged_seconds: float = 0.0
    restores: int = 0


def after_work(costs: SaveCosts, seconds: float, items: int) -> SaveCosts:
    """*costs* after *seconds* of work in which *items* items were done."""
    known = costs.item_seconds
    weight = 1 - (1 - _ITEM_WEIGHT) ** items if known else 1.0
    return SaveCosts(
        active_seconds=costs.active_seconds + seconds,
        work_seconds=costs.work_seconds + seconds,
        item_seconds=known + weight * (seconds / items - known) if items > 0 else known,
        save_seconds=costs.save_seconds,
        average_seconds=costs.average_seconds,
        charged_seconds=costs.charged_seconds,
        restores=costs.restores,
    )


def after_save(costs: SaveCosts, seconds: float, *, charged: bool, work_since: float = 0.0) -> SaveCosts:
    """*costs* after a save that took *seconds* and is safely stored.

    Args:
        charged: Whether it counts against the bound on the overhead; a save at a retry, a signal, an exit or a known
            wait does not, and the first save never does.
        work_since: Seconds of work since the instant that the save holds.
    """
    known = costs.average_seconds
    average = seconds if known is None else (1 - _SAVE_WEIGHT) * known + _SAVE_WEIGHT * seconds
    counts = charged and costs.save_seconds is not None
    return dataclasses.replace(
        costs,
        work_seconds=work_since,
        save_seconds=max(seconds, average),
        average_seconds=average,
        charged_seconds=costs.charged_seconds + (seconds if counts else 0.0),
    )


def as_stored(costs: SaveCosts, *, charged: bool) -> SaveCosts:
    """*costs* as a save should hold them: with that save counted, at its expected cost, to the microsecond.

    The real cost is known only after the save. Without an expected one, a process that is killed after each save would
    never be charged for any.
    """
    expected = costs.save_seconds if charged and costs.save_seconds is not None else 0.0
    save, average = costs.save_seconds, costs.average_seconds
    return SaveCosts(
        active_seconds=round(costs.active_seconds, 6),
        item_seconds=round(costs.item_seconds, 6),
        save_seconds=save and round(save, 6),
        average_seconds=average and round(average, 6),
        charged_seconds=round(costs.charged_seconds + expected, 6),
        restores=costs.restores,
    )
