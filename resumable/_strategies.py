"""When to save: strategies, which look at a context and answer. They know no clock, no file and no network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from numbers import Integral, Real
from typing import Any, NamedTuple

from ._models import CheckpointContext, SaveCosts

_PRIOR_SECONDS = 3600.0
"""Time between interruptions that is assumed before any was seen. It weighs as much as one interruption."""
_LEAST_SAVE_SECONDS = 1e-4
"""A clock too coarse to see a save must not make it look free."""


class SaveDecision(NamedTuple):
    """A strategy's answer. Unpacks as ``(should_save, reason)``, and is true if a save is due."""

    should_save: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.should_save


NOT_DUE = SaveDecision(False)


class Plan(NamedTuple):
    """How long a strategy need not be asked: until *items* more are done, or *seconds* have passed.

    ``inf`` means that this measure never ends the plan. New rate-limit numbers end every plan.
    """

    items: float
    seconds: float


ASK_NOW = Plan(0, 0)


class SaveStrategy(ABC):
    """Decides when to save. Join two with ``|`` (one of them is due) or ``&`` (both are due).

    A subclass writes :meth:`should_save`. It should remember nothing: the context says what was true at the last
    save. Then asking twice gives one answer.
    """

    @abstractmethod
    def should_save(self, context: CheckpointContext) -> SaveDecision:
        """Say whether a save is due where *context* stands, and why, for people."""

    def plan(self, context: CheckpointContext) -> Plan:
        """How long the answer surely stays "not due", so that a loop need not ask at each item.

        A plan may promise too little, never too much. By default it promises nothing beyond the next item.
        """
        return Plan(1, inf)

    def __or__(self, other: SaveStrategy) -> CompositeStrategy:
        return _join(self, other, "OR")

    def __and__(self, other: SaveStrategy) -> CompositeStrategy:
        return _join(self, other, "AND")


@dataclass(frozen=True)
class TimeBasedStrategy(SaveStrategy):
    """Save once *interval_seconds* have passed since the last save.

    Args:
        interval_seconds: Seconds between saves, at least. 0 saves at every tick.

    Raises:
        ValueError: If *interval_seconds* is negative or not finite.
    """

    interval_seconds: float = 300

    def __post_init__(self) -> None:
        check_number("interval_seconds", self.interval_seconds)

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        waited = context.elapsed_time - context.last_save_time
        if waited < self.interval_seconds:
            return NOT_DUE
        return SaveDecision(True, f"Time-based: {span(waited)} >= {span(self.interval_seconds)}")

    def plan(self, context: CheckpointContext) -> Plan:
        left = self.interval_seconds - (context.elapsed_time - context.last_save_time)
        return Plan(inf, left) if left > 0 else ASK_NOW


class _Counting(SaveStrategy):
    """Falls back on its own count of items where a context does not say ``last_save_items``.

    So it is where users ask a strategy directly, and save at each yes: the last yes was the last save.
    """

    _last_yes = 0

    def _with_history(self, context: CheckpointContext) -> CheckpointContext:
        if context.last_save_items is not None:
            return context
        # A smaller number than at the last yes is another operation's.
        last = self._last_yes if self._last_yes <= context.processed_items else 0
        return replace(context, last_save_items=last)

    def _answered(self, context: CheckpointContext, decision: SaveDecision) -> SaveDecision:
        if decision and context.last_save_items is None:
            object.__setattr__(self, "_last_yes", context.processed_items)
        return decision


@dataclass(frozen=True)
class ProgressBasedStrategy(_Counting):
    """Save once *items_interval* items were processed since the last save.

    Args:
        items_interval: Items between saves, at least; 1 or more.

    Raises:
        ValueError: If *items_interval* is less than 1.
    """

    items_interval: int = 1000

    def __post_init__(self) -> None:
        if isinstance(self.items_interval, bool) or not isinstance(self.items_interval, Integral):
            raise TypeError(f"items_interval must be a whole number, not {self.items_interval!r}")
        if self.items_interval < 1:
            raise ValueError(f"items_interval must be at least 1, not {self.items_interval!r}")

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        done = self._items_since_save(context)
        if done < self.items_interval:
            return NOT_DUE
        return self._answered(context, SaveDecision(True, f"Progress-based: {done} items processed"))

    def plan(self, context: CheckpointContext) -> Plan:
        left = self.items_interval - self._items_since_save(context)
        return Plan(left, inf) if left > 0 else ASK_NOW

    def _items_since_save(self, context: CheckpointContext) -> int:
        return context.processed_items - (self._with_history(context).last_save_items or 0)


@dataclass(frozen=True)
class RateLimitAwareStrategy(SaveStrategy):
    """Save when the API's quota runs low: once for each drop below the line in a window.

    A quota that rose since the last save belongs to a new window. Unknown numbers, and a total of 0, are "not due".

    Args:
        threshold_percentage: The line, a fraction from 0 to 1 of the quota: 0.2 is 20%.

    Raises:
        ValueError: If *threshold_percentage* is not between 0 and 1.
    """

    threshold_percentage: float = 0.2

    def __post_init__(self) -> None:
        check_number("threshold_percentage", self.threshold_percentage, most=1)

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        remaining, total = context.rate_limit_remaining, context.rate_limit_total
        if remaining is None or remaining < 0 or total is None or total <= 0:
            return NOT_DUE
        left, line = remaining / total, self.threshold_percentage
        before = context.last_save_remaining
        if left > line or (before is not None and before / total <= line and remaining <= before):
            return NOT_DUE
        return SaveDecision(True, f"Rate-limit: {remaining}/{total} ({left:.1%} remaining <= {line:.1%} threshold)")

    def plan(self, context: CheckpointContext) -> Plan:
        return ASK_NOW if self.should_save(context) else Plan(inf, inf)


def in_this_window(last_save_remaining: int | None, remaining: int | None) -> int | None:
    """*last_save_remaining* if it belongs to the window in which *remaining* was observed; None if the window is new.

    Keep the answer at each observation: else the next window's drop looks like the one that was saved at.
    """
    is_fresh = remaining is not None and last_save_remaining is not None and remaining > last_save_remaining
    return None if is_fresh else last_save_remaining


@dataclass(frozen=True)
class CompositeStrategy(_Counting):
    """Several strategies as one: due when any of them is due ("OR"), or when all are ("AND").

    Args:
        strategies: One or more.
        operator: ``"OR"`` or ``"AND"``.

    Raises:
        ValueError: If *strategies* is empty, or *operator* another word.
        TypeError: If one of *strategies* is not a strategy.
    """

    strategies: Sequence[SaveStrategy]
    operator: str = "OR"

    def __post_init__(self) -> None:
        object.__setattr__(self, "strategies", _checked_strategies(self.strategies))
        operator = str(self.operator).upper()
        if operator not in ("OR", "AND"):
            raise ValueError(f"operator must be 'OR' or 'AND', not {self.operator!r}")
        object.__setattr__(self, "operator", operator)

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        # With the history filled in, no operand uses its own count. An AND that is not due would use it up.
        asked = self._with_history(context)
        answers = [SaveDecision(*strategy.should_save(asked)) for strategy in self.strategies]
        if not (all(answers) if self.operator == "AND" else any(answers)):
            return NOT_DUE
        reasons = " | ".join(answer.reason for answer in answers if answer)
        return self._answered(context, SaveDecision(True, reasons))

    def plan(self, context: CheckpointContext) -> Plan:
        asked = self._with_history(context)
        plans = [strategy.plan(asked) for strategy in self.strategies]
        if self.operator == "AND":
            # One operand that is not due delays all: each one's plan holds, so take the longest.
            return max(plans)
        return Plan(min(plan.items for plan in plans), min(plan.seconds for plan in plans))


def _checked_strategies(strategies: Iterable[Any]) -> tuple[SaveStrategy, ...]:
    checked = tuple(strategies)
    if not checked:
        raise ValueError("a composite needs at least one strategy")
    for stranger in (s for s in checked if not isinstance(s, SaveStrategy)):
        raise TypeError(f"{stranger!r} is not a SaveStrategy")
    return checked


def _join(left: SaveStrategy, right: SaveStrategy, operator: str) -> CompositeStrategy:
    if not isinstance(right, SaveStrategy):
        return NotImplemented
    return CompositeStrategy([*_operands(left, operator), *_operands(right, operator)], operator)


def _operands(strategy: SaveStrategy, operator: str) -> Sequence[SaveStrategy]:
    # A subclass may decide otherwise than its operands do: it stays whole.
    if type(strategy) is CompositeStrategy and strategy.operator == operator:
        return strategy.strategies
    return [strategy]


@dataclass(frozen=True)
class AutoStrategy(SaveStrategy):
    """Save as often as pays: measure what a save costs, and how often the operation is interrupted.

    With *C* the cost of a save, *M* the mean time between interruptions and *w* the work since the last save (all
    in seconds), the time lost to saves and to work done twice is least at an interval of about ``sqrt(2CM)``
    (Young 1974), more exactly, and as used here (Daly 2006)::

        tau = sqrt(2CM) * (1 + sqrt(C/2M)/3 + (C/2M)/9) - C     if C < 2M, else M
        M   = (1 h + A) / (1 + k)                               after k restores in A seconds of work

    and never more than *max_interval_seconds*. A save can only fall between two items, which take about *d* seconds
    each. The best of these places is the nearest to tau: ``w + d/2 >= tau`` (hal-02514107).
    All saves that count, *S* seconds so far and the next one, may take at most *max_overhead* (eps) of the time::

        eps * A - (1 - eps) * S >= (1 - eps) * C       which is S + C <= eps * (A + S + C)

    This bound is the stronger one: where saving is dear, more than *max_interval_seconds* of work may be at risk.
    Until a save was measured, one is due at once; it measures the cost, and does not count. A context without
    ``save_costs`` is answered by ``TimeBasedStrategy(max_interval_seconds)``.

    Args:
        max_overhead: The largest share of the time that saving may take: above 0, below 1.
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
        # It holds while items take as long as before: with work, M and the interval only grow.
        left = self._seconds_left(costs)
        return Plan(inf, left) if left > 0 else ASK_NOW

    def interval_seconds(self, costs: SaveCosts) -> float:
        """The best interval between saves, in seconds of work, before the bound on the overhead is applied."""
        between = (_PRIOR_SECONDS + costs.active_seconds) / (1 + costs.restores)
        return min(best_interval(_cost(costs), between), self.max_interval_seconds)

    def _seconds_left(self, costs: SaveCosts) -> float:
        if costs.save_seconds is None:
            return 0.0
        to_best = self.interval_seconds(costs) - costs.item_seconds / 2 - costs.work_seconds
        share = 1 - self.max_overhead
        owed = share * (costs.charged_seconds + _cost(costs)) - self.max_overhead * costs.active_seconds
        return max(to_best, owed / self.max_overhead)


def best_interval(save_seconds: float, between_seconds: float) -> float:
    """Daly's interval, in seconds of work, for saves of *save_seconds* and interruptions *between_seconds* apart."""
    ratio = save_seconds / (2 * between_seconds)
    if ratio >= 1:
        return between_seconds
    return sqrt(2 * save_seconds * between_seconds) * (1 + sqrt(ratio) / 3 + ratio / 9) - save_seconds


def _cost(costs: SaveCosts) -> float:
    return max(costs.save_seconds or 0.0, _LEAST_SAVE_SECONDS)


# -- short forms


def every(
    *, seconds: float | None = None, minutes: float | None = None, hours: float | None = None, items: int | None = None
) -> SaveStrategy:
    """Save at regular intervals: ``every(minutes=5)``, ``every(items=1000)``.

    Times add up. With a time and *items*, a save is due at whichever comes first.

    Raises:
        TypeError: If a value is no number, or *items* no whole number.
        ValueError: If nothing is given, or a number is out of range.
    """
    times = {"seconds": (seconds, 1), "minutes": (minutes, 60), "hours": (hours, 3600)}
    given = [check_number(name, value) * unit for name, (value, unit) in times.items() if value is not None]
    strategies: list[SaveStrategy] = [TimeBasedStrategy(sum(given))] if given else []
    if items is not None:
        strategies.append(ProgressBasedStrategy(items))
    if not strategies:
        raise ValueError("every() needs seconds=, minutes=, hours= or items=")
    return strategies[0] if len(strategies) == 1 else CompositeStrategy(strategies)


def rate_limit_below(fraction: float) -> RateLimitAwareStrategy:
    """Save when at most *fraction* (0 to 1) of the API's quota remains: once for each drop in a window.

    Raises:
        ValueError: If *fraction* is not between 0 and 1.
    """
    check_number("fraction", fraction, most=1)
    return RateLimitAwareStrategy(fraction)


def auto(max_overhead: float = 0.01, max_interval_seconds: float = 300) -> AutoStrategy:
    """Save as often as pays: saving takes at most *max_overhead* of the time. See :class:`AutoStrategy`.

    Raises:
        ValueError: If a number is out of range.
    """
    return AutoStrategy(max_overhead, max_interval_seconds)


# -- arguments and reasons


def check_number(name: str, value: float, *, most: float = inf) -> float:
    """Return *value*, if it is a finite number from 0 to *most*.

    Raises:
        TypeError: *value* is no number.
        ValueError: *value* is out of range. Both errors name it *name*.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not 0 <= value <= most or value == inf:
        allowed = "0 or more, and finite" if most == inf else f"a fraction from 0 to {most:g}"
        raise ValueError(f"{name} must be {allowed}, not {value!r}")
    return value


def span(seconds: float) -> str:
    """A time as a reason shows it: ``61s``, ``0.35s``. A longer time never reads as a shorter one."""
    return f"{seconds:.0f}s" if seconds >= 10 else f"{seconds:.2g}s"
