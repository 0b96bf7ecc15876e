"""The interval that chooses itself: what saving costs against what a kill would lose."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import TYPE_CHECKING

from ._models import CheckpointContext
from ._strategies import ASK_NOW, NOT_DUE, Plan, SaveDecision, SaveStrategy, TimeBasedStrategy, check_number, span

if TYPE_CHECKING:
    from ._costs import SaveCosts

_PRIOR_SECONDS = 3600.0
"""Time between interruptions that is assumed before any was seen, and weighs as much as one."""
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


def _cost(costs: SaveCosts) -> float:
    return max(costs.save_seconds or 0.0, _LEAST_SAVE_SECONDS)
