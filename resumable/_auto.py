"""The interval that chooses itself: what saving costs against what a kill would lose."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

from ._models import CheckpointContext, SaveCosts
from ._strategies import ASK_NOW, NOT_DUE, Plan, SaveDecision, SaveStrategy, TimeBasedStrategy, check_number, span

_PRIOR_SECONDS = 3600.0
"""Time between interruptions that is assumed before any was seen, and weighs as much as one."""
_ITEM_WEIGHT = 0.2
_SAVE_WEIGHT = 0.3
_LEAST_SAVE_SECONDS = 1e-4
"""A clock too coarse to see a save must not make it look free."""


@dataclass(frozen=True)
class AutoStrategy(SaveStrategy):
    """Save as often as pays: measures what a save costs and how often the operation is interrupted.

    With *C* the cost of a save, *M* the mean time between interruptions and *w* the work since the last save (all
    in seconds), the time lost to saves and to work done twice is least at an interval of about ``sqrt(2CM)``
    (Young 1974), more exactly, and as used here (Daly 2006)::

        tau = sqrt(2CM) * (1 + sqrt(C/2M)/3 + (C/2M)/9) - C     if C < 2M, else M
        M   = (1 h + A) / (1 + k)                               after k restores in A seconds of work

    and never more than *max_interval_seconds*. Saves can only fall between two items (each takes about *d* seconds):
    of the ends of items, the nearest to tau is right, ``w + d/2 >= tau`` (hal-02514107).
    All saves that count, *S* seconds so far and the next one, may take at most *max_overhead* (eps) of the time::

        eps * A - (1 - eps) * S >= (1 - eps) * C       which says that S + C <= eps * (A + S + C)

    This bound is the stronger one: where saving is dear, more than *max_interval_seconds* may be at risk. Where no
    save was measured yet, one is due at once and does not count, as it measures the cost. Asked without
    measurements, this is ``TimeBasedStrategy(max_interval_seconds)``.

    Args:
        max_overhead: The most of the time that saving may take, a fraction above 0 and below 1.
        max_interval_seconds: The most work, in seconds, that a kill should lose.

    Raises:
        ValueError: If a number is out of range.

    Sources:
        J. W. Young, A first order approximation to the optimum checkpoint interval, CACM 17(9), 1974.
        J. T. Daly, A higher order estimate of the optimum checkpoint interval for restart dumps, FGCS 22(3), 2006.
    """

    max_overhead: float = 0.01
    max_interval_seconds: float = 300

    def __post_init__(self) -> None:
        check_number("max_overhead", self.max_overhead, most=1)
        if self.max_overhead in (0, 1):
            raise ValueError(f"max_overhead must be above 0 and below 1, not {self.max_overhead!r}")
        check_number("max_interval_seconds", self.max_interval_seconds)

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        costs = context.save_costs
        if costs is None:
            return TimeBasedStrategy(self.max_interval_seconds).should_save(context)
        if costs.save_seconds is None:
            return SaveDecision(True, "Auto: first save (measures its cost)")
        if costs.work_seconds <= 0 or self._seconds_left(costs) > 0:
            return NOT_DUE
        best = span(self.interval_seconds(costs))
        return SaveDecision(True, f"Auto: {span(costs.work_seconds)} of work (best interval {best})")

    def plan(self, context: CheckpointContext) -> Plan:
        costs = context.save_costs
        if costs is None:
            return TimeBasedStrategy(self.max_interval_seconds).plan(context)
        # Holds while items take as long as before: work lets M, and so the interval, only grow.
        left = self._seconds_left(costs)
        return Plan(inf, left) if left > 0 else ASK_NOW

    def interval_seconds(self, costs: SaveCosts) -> float:
        """The best interval between saves by *costs*, as yet without the bound on the overhead."""
        between = (_PRIOR_SECONDS + costs.active_seconds) / (1 + costs.restores)
        return min(best_interval(_cost(costs), between), self.max_interval_seconds)

    def _seconds_left(self, costs: SaveCosts) -> float:
        if costs.save_seconds is None:
            return 0.0
        to_best = self.interval_seconds(costs) - costs.item_seconds / 2 - costs.work_seconds
        share = 1 - self.max_overhead
        owed = share * (costs.charged_seconds + _cost(costs)) - self.max_overhead * costs.active_seconds
        return max(to_best, owed / self.max_overhead)


def auto(max_overhead: float = 0.01, max_interval_seconds: float = 300) -> AutoStrategy:
    """Save as often as pays: saving takes at most *max_overhead* of the time. See :class:`AutoStrategy`.

    Raises:
        ValueError: If a number is out of range.
    """
    return AutoStrategy(max_overhead, max_interval_seconds)


def best_interval(save_seconds: float, between_seconds: float) -> float:
    """Daly's interval, in seconds of work, for saves of *save_seconds* and interruptions *between_seconds* apart."""
    ratio = save_seconds / (2 * between_seconds)
    if ratio >= 1:
        return between_seconds
    return sqrt(2 * save_seconds * between_seconds) * (1 + sqrt(ratio) / 3 + ratio / 9) - save_seconds


# -- the measurements: made by hand at each save, for dataclasses.replace is five times slower -------------------------


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


def _cost(costs: SaveCosts) -> float:
    return max(costs.save_seconds or 0.0, _LEAST_SAVE_SECONDS)
