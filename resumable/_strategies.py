"""When to save: strategies decide from a context alone. They use no clock, no file and no network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from numbers import Integral, Real
from typing import NamedTuple

from ._models import CheckpointContext, SaveCosts
from ._text.hints import explained

_PRIOR_SECONDS = 3600.0
"""The assumed time between interruptions before the first one. It has the weight of one interruption."""
_LOSS_SECONDS, _CHEAP = 1.0, 0.005
"""A kill loses about this many seconds, as long as saves take no more than their share of the time."""
_OF_FIRST = 0.25
"""The expected cost of the second save, as a share of the first one's."""
_LEAST_SAVE_SECONDS = 1e-4  # a clock too coarse to see a save must not make it look free


class SaveDecision(NamedTuple):
    """A strategy's answer. Unpacks as ``(should_save, reason)``, and is true if a save is due.

    Example:
        >>> due, reason = SaveDecision(True, "Time-based: 61s >= 60s")
    """

    should_save: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.should_save


NOT_DUE = SaveDecision(False)
NEVER = -1.0


class Plan(NamedTuple):
    """How long not to ask a strategy: until *items* more are done, or *seconds* have passed.

    ``inf`` means that this measure never ends the plan. A new window of the API's quota ends every plan.

    Attributes:
        quota: The plan ends when at most this share of the API's quota is left. From 1 on, every new number ends it;
            with ``NEVER``, none does.
    """

    items: float
    seconds: float
    quota: float = 1.0


ASK_NOW = Plan(0, 0)


class SaveStrategy(ABC):
    """Decides when to save. Join two with ``|`` (one of them is due) or ``&`` (both are due).

    A subclass writes :meth:`should_save`. It should remember nothing: the context tells of the last save.

    Example:
        >>> class AtNight(SaveStrategy):
        ...     def should_save(self, context):
        ...         return SaveDecision(datetime.now().hour < 6, "It is night")

    Attributes:
        is_patient: If the medium is slow, let the loop go on, and save later. False: the loop waits for the medium when
            its saves are more than 16, or a second, late.
    """

    is_patient = False

    @abstractmethod
    def should_save(self, context: CheckpointContext) -> SaveDecision:
        """Say whether a save is due where *context* stands, and why, for people."""

    def plan(self, context: CheckpointContext) -> Plan:
        """How long the answer surely stays "not due"; a shorter time is allowed. By default: one item."""
        return Plan(1, inf)

    def at_risk(self, costs: SaveCosts) -> float | None:
        """The most seconds of work that a kill loses, if items and saves take as long as before; None: unknown."""
        return None

    def spaced(self, seconds: float) -> SaveStrategy:
        """The strategy to use if a store asks for this many seconds between saves; by default the strategy itself."""
        return self

    def __or__(self, other: SaveStrategy) -> CompositeStrategy:
        return _join(self, other, "OR")

    def __and__(self, other: SaveStrategy) -> CompositeStrategy:
        return _join(self, other, "AND")


@dataclass(frozen=True)
class TimeBasedStrategy(SaveStrategy):
    """Save once *interval_seconds* have passed since the last save; 0 saves at every tick.

    Example:
        >>> TimeBasedStrategy(60).should_save(CheckpointContext(elapsed_time=61))
        SaveDecision(should_save=True, reason='Time-based: 61s >= 60s')

    Raises:
        ValueError: If *interval_seconds* is negative or not finite.
    """

    interval_seconds: float = 300

    def __post_init__(self) -> None:
        _check_number("interval_seconds", self.interval_seconds)

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        waited = context.elapsed_time - context.last_save_time
        if waited < self.interval_seconds:
            return NOT_DUE
        return SaveDecision(True, f"Time-based: {_span(waited)} >= {_span(self.interval_seconds)}")

    def plan(self, context: CheckpointContext) -> Plan:
        left = self.interval_seconds - (context.elapsed_time - context.last_save_time)
        return Plan(inf, left, NEVER) if left > 0 else ASK_NOW

    def at_risk(self, costs: SaveCosts) -> float | None:
        return self.interval_seconds + _late_by(costs)


class _Counting(SaveStrategy):
    """Counts items itself if a context lacks ``last_save_items``.

    That is so if a program asks the strategy directly, and saves at each yes: the last yes was the last save.
    """

    _last_yes = 0

    def _counted(self, context: CheckpointContext) -> int:
        """``processed_items`` at the last yes; 0 if that is more than now, and so belongs to another operation."""
        return self._last_yes if self._last_yes <= context.processed_items else 0


@dataclass(frozen=True)
class ProgressBasedStrategy(_Counting):
    """Save once *items_interval* items were processed since the last save.

    Example:
        >>> with checkpointed("rows", ProgressBasedStrategy(500)) as cp:
        ...     cp.tick(500)

    Raises:
        TypeError: If *items_interval* is not a whole number.
        ValueError: If *items_interval* is less than 1.
    """

    items_interval: int = 1000

    def __post_init__(self) -> None:
        if isinstance(self.items_interval, bool) or not isinstance(self.items_interval, Integral):
            raise TypeError(f"items_interval must be a whole number, not {self.items_interval!r}")
        if self.items_interval < 1:
            raise ValueError(f"items_interval must be at least 1, not {self.items_interval!r}")

    # No calls if the context has a history: the engine asks for each item.
    def should_save(self, context: CheckpointContext) -> SaveDecision:
        last = context.last_save_items
        done = context.processed_items - (self._counted(context) if last is None else last)
        if done < self.items_interval:
            return NOT_DUE
        if last is None:
            object.__setattr__(self, "_last_yes", context.processed_items)
        return SaveDecision(True, f"Progress-based: {done} items processed")

    def plan(self, context: CheckpointContext) -> Plan:
        last = context.last_save_items
        done = context.processed_items - (self._counted(context) if last is None else last)
        return Plan(self.items_interval - done, inf, NEVER) if done < self.items_interval else ASK_NOW


@dataclass(frozen=True)
class RateLimitAwareStrategy(SaveStrategy):
    """Save when at most *threshold_percentage* (a fraction: 0.2 is 20%) of the API's quota is left.

    One save is due for each drop below this line in a window. A quota that rose since the last save belongs to a new
    window. Unknown numbers, and a total of 0, are "not due".

    Example:
        >>> nearly_empty = CheckpointContext(rate_limit_remaining=9, rate_limit_total=60)
        >>> bool(RateLimitAwareStrategy(0.2).should_save(nearly_empty))
        True

    Raises:
        ValueError: If *threshold_percentage* is not between 0 and 1.
    """

    threshold_percentage: float = 0.2

    def __post_init__(self) -> None:
        _check_number("threshold_percentage", self.threshold_percentage, most=1)

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
        return ASK_NOW if self.should_save(context)[0] else Plan(inf, inf, self.threshold_percentage)


def in_this_window(last_save_remaining: int | None, remaining: int | None) -> int | None:
    """*last_save_remaining* if it belongs to the window in which *remaining* was observed; None if the window is new.

    Keep the answer at each observation: else the next window's drop looks like the one that was saved at.
    """
    is_fresh = remaining is not None and last_save_remaining is not None and remaining > last_save_remaining
    return None if is_fresh else last_save_remaining


@dataclass(frozen=True)
class CompositeStrategy(_Counting):
    """Several strategies as one: due when any of them is due ("OR"), or when all are ("AND").

    Example:
        >>> both = CompositeStrategy([TimeBasedStrategy(60), ProgressBasedStrategy(100)], "AND")

    Raises:
        ValueError: If *strategies* is empty, or *operator* another word.
        TypeError: If one of *strategies* is not a strategy.
    """

    strategies: Sequence[SaveStrategy]
    operator: str = "OR"

    def __post_init__(self) -> None:
        strategies, operator = tuple(self.strategies), str(self.operator).upper()
        if not strategies:
            raise ValueError("a composite needs at least one strategy")
        for stranger in (s for s in strategies if not isinstance(s, SaveStrategy)):
            raise TypeError(f"{stranger!r} is not a SaveStrategy")
        if operator not in ("OR", "AND"):
            raise ValueError(f"operator must be 'OR' or 'AND', not {self.operator!r}")
        object.__setattr__(self, "strategies", strategies)
        object.__setattr__(self, "operator", operator)
        object.__setattr__(self, "is_patient", all(strategy.is_patient for strategy in strategies))

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        asked = self._with_history(context)
        answers = [strategy.should_save(asked) for strategy in self.strategies]
        reasons = [reason for is_due, reason in answers if is_due]
        if len(reasons) < (len(answers) if self.operator == "AND" else 1):
            return NOT_DUE
        if asked is not context:
            object.__setattr__(self, "_last_yes", context.processed_items)
        return SaveDecision(True, " | ".join(reasons))

    def plan(self, context: CheckpointContext) -> Plan:
        asked = self._with_history(context)
        plans = [strategy.plan(asked) for strategy in self.strategies]
        if self.operator == "AND":
            # One operand that is not due delays all of them, so take the longest plan.
            return max(plans, key=lambda plan: (plan.items, plan.seconds, -plan.quota))
        items, seconds, quotas = zip(*plans, strict=True)
        return Plan(min(items), min(seconds), max(quotas))

    def at_risk(self, costs: SaveCosts) -> float | None:
        found = [strategy.at_risk(costs) for strategy in self.strategies]
        known = [seconds for seconds in found if seconds is not None]
        if self.operator == "AND":
            return max(known) if len(known) == len(found) else None
        return min(known, default=None)

    def spaced(self, seconds: float) -> SaveStrategy:
        spaced = [strategy.spaced(seconds) for strategy in self.strategies]
        return CompositeStrategy(spaced, self.operator) if type(self) is CompositeStrategy else self

    def _with_history(self, context: CheckpointContext) -> CheckpointContext:
        """Fill in the history, so that no operand uses its own count, which an AND that is not due would use up."""
        if context.last_save_items is not None:
            return context
        return replace(context, last_save_items=self._counted(context))


def _join(left: SaveStrategy, right: SaveStrategy, operator: str) -> CompositeStrategy:
    if not isinstance(right, SaveStrategy):
        return NotImplemented
    operands: list[SaveStrategy] = []
    for each in (left, right):
        # A subclass may decide in its own way, so it is not taken apart.
        if type(each) is CompositeStrategy and each.operator == operator:
            operands += each.strategies
        else:
            operands.append(each)
    return CompositeStrategy(operands, operator)


@dataclass(frozen=True)
class AutoStrategy(SaveStrategy):
    """Save as often as pays: measure what a save costs, and how often the operation is interrupted.

    With *C* the cost of a save, *M* the mean time between interruptions and *w* the work since the last save (all
    in seconds), saves and work done twice cost least at an interval of (Daly 2006; Young's is about ``sqrt(2CM)``)::

        tau = sqrt(2CM) * (1 + sqrt(C/2M)/3 + (C/2M)/9) - C     if C < 2M, else M
        M   = (1 h + A) / (1 + k)                               after k restores in A seconds of work

    and never more than *max_interval_seconds*, nor than *max_loss_seconds*. Saves fall between items, which take about
    *d* seconds each: the best place is the nearest to tau, ``w + d/2 >= tau`` (hal-02514107). All saves that count, *S*
    seconds so far and the next one, may take at most *max_overhead* (eps) of the time: ``S + C <= eps * (A + S + C)``.

    This bound is the stronger one: if saves are expensive, more work may be at risk; :meth:`at_risk` says how much. The
    first save is due at once; it measures the cost, and does not count. A context without ``save_costs`` is answered
    by ``TimeBasedStrategy(max_interval_seconds)``.

    Example:
        >>> careful = AutoStrategy(max_overhead=0.05, max_loss_seconds=1)

    Args:
        max_overhead: The largest share of the time that saving may take: above 0, below 1.
        max_interval_seconds: The longest time between saves, in seconds of work.
        max_loss_seconds: About the most work, in seconds, that a kill should lose. None: 1 s where saves are cheap,
            else so much that they take half of *max_overhead*, and 0.5% of the time at most.
        least_interval_seconds: The shortest time between saves, if neither bound above is shorter. None: what the store
            asks for, which is 30 s where each save is a request that is paid for.

    Raises:
        ValueError: If a number is out of range.

    Sources: J. W. Young, CACM 17(9), 1974; J. T. Daly, FGCS 22(3), 2006.
    """

    is_patient = True

    max_overhead: float = 0.01
    max_interval_seconds: float = 300
    max_loss_seconds: float | None = None
    least_interval_seconds: float | None = None

    def __post_init__(self) -> None:
        _check_number("max_overhead", self.max_overhead, most=1)
        if self.max_overhead in (0, 1):
            raise ValueError(f"max_overhead must be above 0 and below 1, not {self.max_overhead!r}")
        _check_number("max_interval_seconds", self.max_interval_seconds)
        if self.max_loss_seconds is not None:
            _check_number("max_loss_seconds", self.max_loss_seconds)
        if self.least_interval_seconds is not None:
            _check_number("least_interval_seconds", self.least_interval_seconds)

    def spaced(self, seconds: float) -> SaveStrategy:
        is_told = type(self) is not AutoStrategy or self.least_interval_seconds is not None
        return self if is_told else replace(self, least_interval_seconds=seconds)

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        costs = context.save_costs
        if costs is None:
            return TimeBasedStrategy(self.max_interval_seconds).should_save(context)
        if costs.save_seconds is None:
            return SaveDecision(True, "Auto: first save (measures its cost)")
        if costs.work_seconds <= 0 or self._seconds_left(costs) > 0:
            return NOT_DUE
        work, best = _span(costs.work_seconds), _span(self.interval_seconds(costs))
        return SaveDecision(True, f"Auto: {work} of work (best interval {best})")

    def plan(self, context: CheckpointContext) -> Plan:
        costs = context.save_costs
        if costs is None:
            return TimeBasedStrategy(self.max_interval_seconds).plan(context)
        # Valid while items take as long as before: with more work, M and the interval only grow.
        left = self._seconds_left(costs)
        return Plan(inf, left, NEVER) if left > 0 else ASK_NOW

    def interval_seconds(self, costs: SaveCosts) -> float:
        """The best interval between saves, in seconds of work, before the bound on the overhead is applied."""
        between = (_PRIOR_SECONDS + costs.active_seconds) / (1 + costs.restores)
        cost = _expected(costs)
        least = 0.0 if self.max_loss_seconds is not None else self.least_interval_seconds or 0.0
        best = min(best_interval(cost, between), self._loss_seconds(costs, cost))
        return min(max(best, least), self.max_interval_seconds)

    def _loss_seconds(self, costs: SaveCosts, cost: float) -> float:
        if self.max_loss_seconds is not None:
            return self.max_loss_seconds
        if _knows_only_first(costs):
            return _LOSS_SECONDS
        usual = costs.average_seconds if costs.average_seconds is not None else cost
        return max(usual / min(self.max_overhead / 2, _CHEAP), _LOSS_SECONDS)

    def at_risk(self, costs: SaveCosts) -> float | None:
        if costs.save_seconds is None:
            return None
        between = max(self._seconds_left(costs) + costs.work_seconds, 0.0)
        return between + _late_by(costs)

    def _seconds_left(self, costs: SaveCosts) -> float:
        if costs.save_seconds is None:
            return 0.0
        to_best = self.interval_seconds(costs) - costs.item_seconds / 2 - costs.work_seconds
        spent = costs.charged_seconds + _expected(costs) * (_OF_FIRST if _knows_only_first(costs) else 1)
        owed = (1 - self.max_overhead) * spent - self.max_overhead * costs.active_seconds
        return max(to_best, owed / self.max_overhead)


def _expected(costs: SaveCosts) -> float:
    """Seconds that the next save will take."""
    return max(costs.save_seconds or 0.0, _LEAST_SAVE_SECONDS)


def _knows_only_first(costs: SaveCosts) -> bool:
    """Whether only the first save was measured. It says little, because it also creates the files."""
    return not costs.charged_seconds and costs.save_seconds == costs.average_seconds


def _late_by(costs: SaveCosts) -> float:
    """Seconds from when a save is due until it stands: the present item must end, and the save be written."""
    return costs.item_seconds + (costs.save_seconds or 0.0)


def best_interval(save_seconds: float, between_seconds: float) -> float:
    """Daly's interval, in seconds of work, for saves of *save_seconds* and interruptions *between_seconds* apart."""
    ratio = save_seconds / (2 * between_seconds)
    if ratio >= 1:
        return between_seconds
    return sqrt(2 * save_seconds * between_seconds) * (1 + sqrt(ratio) / 3 + ratio / 9) - save_seconds


# -- short forms


@explained
def every(
    *, seconds: float | None = None, minutes: float | None = None, hours: float | None = None, items: int | None = None
) -> SaveStrategy:
    """Save at regular intervals: ``every(minutes=5)``, ``every(items=1000)``.

    Times add up. With a time and *items*, a save is due at whichever comes first.

    Example:
        >>> five_minutes_or_1000_items = every(minutes=5, items=1000)

    Raises:
        TypeError: If a value is not a number, or *items* not a whole number.
        ValueError: If nothing is given, or a number is out of range.
    """
    times = {"seconds": (seconds, 1), "minutes": (minutes, 60), "hours": (hours, 3600)}
    given = [_check_number(name, value) * unit for name, (value, unit) in times.items() if value is not None]
    strategies: list[SaveStrategy] = [TimeBasedStrategy(sum(given))] if given else []
    if items is not None:
        strategies.append(ProgressBasedStrategy(items))
    if not strategies:
        raise ValueError("every() needs seconds=, minutes=, hours= or items=")
    return strategies[0] if len(strategies) == 1 else CompositeStrategy(strategies)


def rate_limit_below(fraction: float) -> RateLimitAwareStrategy:
    """Save when at most *fraction* (0 to 1) of the API's quota remains: once for each drop in a window.

    Example:
        >>> strategy = every(minutes=5) | rate_limit_below(0.2)

    Raises:
        ValueError: If *fraction* is not between 0 and 1.
    """
    _check_number("fraction", fraction, most=1)
    return RateLimitAwareStrategy(fraction)


def auto(
    max_overhead: float = 0.01,
    max_interval_seconds: float = 300,
    max_loss_seconds: float | None = None,
    least_interval_seconds: float | None = None,
) -> AutoStrategy:
    """Save as often as pays, and about each second where that is cheap.

    Arguments and errors are those of :class:`AutoStrategy`.

    Example:
        >>> strategy = auto(max_interval_seconds=60)
    """
    return AutoStrategy(max_overhead, max_interval_seconds, max_loss_seconds, least_interval_seconds)


def _check_number(name: str, value: float, *, most: float = inf) -> float:
    """Return *value*, if it is a finite number from 0 to *most*. Errors name it *name*."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not 0 <= value <= most or value == inf:
        allowed = "0 or more, and finite" if most == inf else f"a fraction from 0 to {most:g}"
        raise ValueError(f"{name} must be {allowed}, not {value!r}")
    return value


def _span(seconds: float) -> str:
    """A time in a reason: ``61s``, ``0.35s``. It is never rounded below a shorter one."""
    return f"{seconds:.0f}s" if seconds >= 10 else f"{seconds:.2g}s"
