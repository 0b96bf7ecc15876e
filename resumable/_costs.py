"""What saving costs, as measured: what is known after some work, after a save.

Each step makes the new values by hand, for ``dataclasses.replace`` is five times slower.
"""

from __future__ import annotations

from dataclasses import dataclass

_ITEM_WEIGHT = 0.2
_SAVE_WEIGHT = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveCosts:
    """What saving has cost an operation, over all its runs. All times in seconds.

    Attributes:
        active_seconds: Time spent working, waits excluded.
        work_seconds: Work since the last save: what a kill would lose now.
        item_seconds: How long an item takes (moving average), 0 before the first.
        save_seconds: What a save costs now, None before the first.
        average_seconds: Moving average of what saves cost, None before the first.
        charged_seconds: Time spent on saves that count against the overhead bound.
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
    """*costs* after *seconds* of work that finished *items* items."""
    return SaveCosts(
        active_seconds=costs.active_seconds + seconds,
        work_seconds=costs.work_seconds + seconds,
        item_seconds=_item_seconds(costs.item_seconds, seconds, items),
        save_seconds=costs.save_seconds,
        average_seconds=costs.average_seconds,
        charged_seconds=costs.charged_seconds,
        restores=costs.restores,
    )


def after_save(costs: SaveCosts, seconds: float, *, charged: bool, work_since: float = 0.0) -> SaveCosts:
    """*costs* after a save that took *seconds* and is safely stored.

    Args:
        charged: Whether it counts against the bound on the overhead. Saves that the loop did not wait for do not:
            at a retry, a signal, an exit, in a known wait. The first one never does.
        work_since: Seconds of work since what it holds was taken.
    """
    known = costs.average_seconds
    average = seconds if known is None else (1 - _SAVE_WEIGHT) * known + _SAVE_WEIGHT * seconds
    counts = charged and costs.save_seconds is not None
    return SaveCosts(
        active_seconds=costs.active_seconds,
        work_seconds=work_since,
        item_seconds=costs.item_seconds,
        save_seconds=max(seconds, average),
        average_seconds=average,
        charged_seconds=costs.charged_seconds + (seconds if counts else 0.0),
        restores=costs.restores,
    )


def as_stored(costs: SaveCosts, *, charged: bool) -> SaveCosts:
    """*costs* as the save that is about to be written should hold them: itself counted, at its expected cost.

    The real cost is known too late to be part of it. Left out, a process that is killed after each save would never
    be charged for one. To the microsecond, as people may read it.
    """
    expected = costs.save_seconds if charged and costs.save_seconds is not None else 0.0
    return SaveCosts(
        active_seconds=round(costs.active_seconds, 6),
        work_seconds=0.0,
        item_seconds=round(costs.item_seconds, 6),
        save_seconds=costs.save_seconds and round(costs.save_seconds, 6),
        average_seconds=costs.average_seconds and round(costs.average_seconds, 6),
        charged_seconds=round(costs.charged_seconds + expected, 6),
        restores=costs.restores,
    )


def _item_seconds(known: float, seconds: float, items: int) -> float:
    if items < 1:
        return known
    weight = 1.0 if known == 0 else 1 - (1 - _ITEM_WEIGHT) ** items
    return known + weight * (seconds / items - known)
