"""Estimates the time left of a run, with the expected waits for the API's quotas.

It has no clock: callers pass the items done, the quotas and the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

_HALF_LIFE_SECONDS, _HALF_LIFE_ITEMS = 600.0, 20.0
"""After this much work, the longer of the two, older measurements count half."""
_RESUMED_SECONDS, _RESUMED_ITEMS = 60.0, 10.0
"""Earlier runs count as this much work, the larger of the two: the new run may have another speed."""

_SAME_WINDOW = 2.0
"""Two answers may place the end of one window this many seconds apart: servers round, and the network takes time."""
_OPENINGS_KEPT = 3
_CUSTOMARY_WINDOWS = (60.0, 3600.0, 86400.0)
_MOST_QUOTAS = 64
_SPILL = 0.005
"""A smaller rest, as a share of a window, costs no further window: ``units_per_item`` is only measured."""
_LARGEST = 1e15
_Amount = Annotated[float, msgspec.Meta(ge=0, lt=_LARGEST)]


class PerItem(msgspec.Struct, frozen=True):
    """How much of something, seconds or units, one item takes: a mean in which older items count less."""

    items: _Amount = 0.0
    amount: _Amount = 0.0

    @property
    def mean(self) -> float | None:
        """None before the first item."""
        return self.amount / self.items if self.items > 0 else None

    def after(self, items: float, amount: float, keep: float) -> PerItem:
        """Add *items* that took *amount*; older measurements keep the share *keep* of their weight."""
        return PerItem(self.items * keep + items, self.amount * keep + amount)

    def in_a_new_run(self) -> PerItem:
        """Keep the mean, with so little weight that the new run soon has its own."""
        if self.items <= 0:
            return PerItem()
        by_amount = _RESUMED_SECONDS / self.amount if self.amount > 0 else 0.0
        share = min(1.0, max(by_amount, _RESUMED_ITEMS / self.items))
        return PerItem(self.items * share, self.amount * share)


class WindowLength(msgspec.Struct, frozen=True):
    """How long the windows of one quota are, learned from its answers.

    An answer says when its window ends, not when it began. So the first answer of a new window shows the length: the
    seconds to its end. Before that, the length is a guess: a minute, an hour or a day, the first that is long enough.

    Attributes:
        opened: Seconds to the end, by the first answer of each of the last few windows, the newest last.
        longest: Most seconds to the end in any answer.
        reset_at: End of the newest window, in epoch seconds.
    """

    opened: tuple[_Amount, ...] = ()
    longest: _Amount = 0.0
    reset_at: float | None = None

    @property
    def seconds(self) -> float | None:
        """The likely length; None before the first answer."""
        if self.opened:
            # The median, of two the shorter: one absurd answer must not lengthen all further waits.
            return sorted(self.opened)[(len(self.opened) - 1) // 2]
        if not self.longest:
            return None
        guesses = (length for length in _CUSTOMARY_WINDOWS if self.longest <= length + _SAME_WINDOW)
        return next(guesses, self.longest)

    def look(self, reset_at: float, *, now: float, is_new: bool = False) -> WindowLength:
        """Learn from an answer at *now*, in epoch seconds.

        Args:
            is_new: Whether the very first answer came when its window began, so that it shows the length, too.
        """
        left = reset_at - now
        if not 0 < left < _LARGEST:
            return self
        has_opened = is_new if self.reset_at is None else self._has_opened(reset_at, now)
        opened = (*self.opened, left)[-_OPENINGS_KEPT:] if has_opened else self.opened
        return WindowLength(opened, max(self.longest, left), reset_at)

    def _has_opened(self, reset_at: float, now: float) -> bool:
        assert self.reset_at is not None
        return reset_at > self.reset_at + _SAME_WINDOW or self.reset_at <= now < reset_at


# -- what is left, waits included


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetView:
    """One quota in the numbers that a forecast needs.

    Attributes:
        remaining: Units that may still be used in this window.
        limit: Units in a full window, None if unknown.
        reset_seconds: Seconds until this window ends.
        window_seconds: Length of a full window, None if unknown.
        units_per_item: Units that one item takes.
        margin_seconds: Seconds by which each wait outlasts its window.
    """

    remaining: float
    limit: float | None
    reset_seconds: float
    window_seconds: float | None
    units_per_item: float
    margin_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """The rest of a run.

    Attributes:
        seconds_left: Seconds until the last item is done, waits included; None if unknown.
        waits: Expected waits for a quota, the present one included.
        wait_seconds: Seconds of all these waits.
    """

    seconds_left: float | None = None
    waits: int = 0
    wait_seconds: float = 0.0


def forecast(items_left: float, item_seconds: float, budget: BudgetView | None = None) -> Forecast:
    """Estimate the time for *items_left* items of *item_seconds* each, with the waits for *budget*.

    In each window, items run until its units are used up, and then wait for its end. Units that last to the end cost no
    wait. A quota of unknown limit or length costs no wait after the present window.
    """
    work = max(items_left, 0.0) * item_seconds
    if budget is None or budget.units_per_item <= 0 or items_left <= 0:
        return Forecast(work)
    here, wait = _this_window(budget, item_seconds)
    if here + 0.5 >= items_left:  # a rounding error must not add a wait when the quota ends with the last item
        return Forecast(work)
    each, wait_each = _full_window(budget, item_seconds)
    full = max(0, math.ceil((items_left - here) / each - _SPILL) - 1)
    waits = (wait > 0) + (full if wait_each > 0 else 0)
    wait_seconds = wait + full * wait_each
    return Forecast(work + wait_seconds, waits, wait_seconds)


def _this_window(budget: BudgetView, item_seconds: float) -> tuple[float, float]:
    """Items that are done before this window ends, and the wait at its end."""
    seconds, margin = budget.reset_seconds, budget.margin_seconds
    if seconds + (margin if budget.remaining <= 0 else 0) <= 0:
        return _full_window(budget, item_seconds)
    return _stretch(max(budget.remaining, 0) / budget.units_per_item, seconds, item_seconds, margin)


def _full_window(budget: BudgetView, item_seconds: float) -> tuple[float, float]:
    if not budget.limit or budget.limit < 0 or not budget.window_seconds or budget.window_seconds < 0:
        return math.inf, 0.0
    items = budget.limit / budget.units_per_item
    return _stretch(items, budget.window_seconds, item_seconds, budget.margin_seconds)


def _stretch(items: float, seconds: float, item_seconds: float, margin: float) -> tuple[float, float]:
    work = items * item_seconds if item_seconds else 0.0  # items that take no time: inf * 0 would be NaN
    if work < seconds + (margin if items <= 0 else 0):
        return items, seconds - work + margin
    return seconds / item_seconds, 0.0


# -- one operation's forecasts


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaLook:
    """One quota at one moment.

    Attributes:
        name: Host and resource, to distinguish it from other quotas.
        limit: Units in a full window, None if unknown.
        reset_at: End of the window, in epoch seconds.
        used: Units used since the operation began, over all runs.
        reserve: Units that stay unused: a wait begins once no more are left.
    """

    name: str
    limit: int | None
    remaining: int
    reset_at: float
    used: int
    reserve: int = 0


class _LearnedQuota(msgspec.Struct):
    window: WindowLength = WindowLength()
    units: PerItem = PerItem()


class _Learned(msgspec.Struct):
    """What a run passes on to the next one, in the form that the checkpoint keeps."""

    pace: PerItem = PerItem()
    quotas: dict[str, _LearnedQuota] = {}


@dataclass(frozen=True, slots=True)
class _Quota:
    window: WindowLength
    units: PerItem
    last: QuotaLook | None = None
    counted: tuple[int, int] | None = None
    """Items and units of this run that ``units`` has counted."""


class Forecaster:
    """Measures the pace of an operation, and forecasts the rest. Not thread-safe.

    Args:
        items: Items that earlier runs did.
        seconds: Seconds that earlier runs worked, without waits and without the time between runs.
        saved: What :meth:`to_dict` gave in the last run, if it was kept.
    """

    def __init__(self, items: int = 0, seconds: float = 0.0, saved: Mapping[str, Any] | None = None) -> None:
        self._before = self._items = items
        self._seconds = seconds
        try:
            learned = msgspec.convert(saved or {}, _Learned)
        except msgspec.ValidationError:  # without the saved measurements, it only starts anew
            learned = _Learned()
        pace = learned.pace if learned.pace.items or seconds <= 0 else PerItem(items, seconds)
        self._pace = pace.in_a_new_run()
        kept = list(learned.quotas.items())[:_MOST_QUOTAS]
        self._quotas = {name: _Quota(quota.window, quota.units) for name, quota in kept}

    @property
    def rate(self) -> float | None:
        """Items a second of working time; None if unknown."""
        mean = self._pace.mean
        return 1 / mean if mean else None

    def look(self, items: int, seconds: float, quotas: Iterable[QuotaLook] = (), *, now: float) -> None:
        """Learn how far the operation is.

        Args:
            items: Items done over all runs.
            seconds: Seconds worked over all runs, without waits and without the time between runs.
            now: Epoch seconds, like ``reset_at`` of the quotas.
        """
        more, worked = items - self._items, max(seconds - self._seconds, 0.0)
        keep = 0.5 ** min(worked / _HALF_LIFE_SECONDS, max(more, 0) / _HALF_LIFE_ITEMS)
        for quota in quotas:
            self._look_at(quota, items, keep, now)
        # The time of an unfinished item counts once the item is done.
        if more > 0:
            self._pace = self._pace.after(more, worked, keep)
            self._items, self._seconds = items, seconds

    def _look_at(self, look: QuotaLook, items: int, keep: float, now: float) -> None:
        known = self._quotas.get(look.name)
        if known is None:
            if len(self._quotas) >= _MOST_QUOTAS:
                return
            known = _Quota(WindowLength(), PerItem(self._before, look.used).in_a_new_run())
        # Nobody else has used this window, so it began with this operation's first request.
        is_new = not self._before and look.limit is not None and look.limit - look.remaining <= look.used
        window = known.window.look(look.reset_at, now=now, is_new=is_new)
        units, counted = known.units, known.counted
        # Requests before the first item, such as a listing, say nothing about the items.
        if counted is None:
            counted = (items, look.used) if items > self._before else None
        elif items > counted[0]:
            units = units.after(items - counted[0], max(look.used - counted[1], 0), keep)
            counted = items, look.used
        self._quotas[look.name] = _Quota(window, units, look, counted)

    def forecast(self, total: int | None, *, now: float, margin_seconds: float = 0.0) -> Forecast:
        """Forecast the time until *total* items are done, by the quota that takes longest.

        Args:
            now: Epoch seconds.
            margin_seconds: Seconds by which each wait outlasts its window.
        """
        pace = self._pace.mean
        if total is None or pace is None:
            return Forecast()
        left = max(total - self._items, 0)
        views = [_view(quota, now, margin_seconds) for quota in self._quotas.values()]
        forecasts = [forecast(left, pace, view) for view in (None, *views)]
        return max(forecasts, key=lambda found: found.seconds_left or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """What was learned, as plain values for the checkpoint and the next run."""
        quotas = {
            name: {
                "window": {"opened": list(known.window.opened), "longest": known.window.longest},
                "units": msgspec.to_builtins(known.units),
            }
            for name, known in self._quotas.items()
        }
        return {"pace": msgspec.to_builtins(self._pace), "quotas": quotas}


def _view(quota: _Quota, now: float, margin: float) -> BudgetView | None:
    look = quota.last
    if look is None:
        return None
    return BudgetView(
        remaining=look.remaining - look.reserve,
        limit=None if look.limit is None else look.limit - look.reserve,
        reset_seconds=look.reset_at - now,
        window_seconds=quota.window.seconds,
        # A quota that is empty before it was measured, as after a refusal, still costs its wait.
        units_per_item=quota.units.mean or (1.0 if look.remaining <= look.reserve else 0.0),
        margin_seconds=margin,
    )
