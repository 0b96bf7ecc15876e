"""When it will be done, with the waits for the API's quotas that are still to come.

Pure: told what was done and how much of each quota is left; the caller says what time it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_RESUMED_SECONDS, _RESUMED_ITEMS = 60.0, 10.0
"""Earlier runs count for so much work, at most: this one may go at another speed."""

_SAME_WINDOW = 2.0
"""Seconds by which the end of one window may differ from answer to answer: rounding, and the way here."""

_OPENINGS_KEPT = 3
_CUSTOMARY_WINDOWS = (60.0, 3600.0, 86400.0)


@dataclass(frozen=True, slots=True)
class PerItem:
    """How much of something, seconds or units, one item takes: a mean in which older items count for less.

    Of what is the same for each item, the mean is exact, however the items are weighed.
    """

    items: float = 0.0
    amount: float = 0.0

    @property
    def mean(self) -> float | None:
        """None before the first item."""
        return self.amount / self.items if self.items > 0 else None

    def after(self, items: float, amount: float, keep: float) -> PerItem:
        """With *items* more, which took *amount*; what was measured before counts *keep* of what it did."""
        return PerItem(self.items * keep + items, self.amount * keep + amount)

    def in_a_new_run(self) -> PerItem:
        """The same mean, but of so little weight that the new run soon has its own."""
        if self.items <= 0:
            return PerItem()
        by_amount = _RESUMED_SECONDS / self.amount if self.amount > 0 else 0.0
        share = min(1.0, max(by_amount, _RESUMED_ITEMS / self.items))
        return PerItem(self.items * share, self.amount * share)

    def to_dict(self) -> dict[str, float]:
        """Plain values for the checkpoint."""
        return {"items": self.items, "amount": self.amount}

    @classmethod
    def from_dict(cls, entry: object) -> PerItem:
        """What :meth:`to_dict` gave; nothing measured, if it cannot be read."""
        fields = as_mapping(entry)
        items, amount = _amount(fields.get("items")), _amount(fields.get("amount"))
        return cls(items, amount) if items > 0 else cls()


@dataclass(frozen=True, slots=True)
class WindowLength:
    """How long the windows of one quota are, as far as its answers have shown.

    An answer tells when its window ends, not when it began. So the length is what the first answer of a new window
    has before it. Until one was seen to open, it is taken for a minute, an hour or a day, whichever is the first
    that is long enough.

    Attributes:
        opened: Seconds that the last few windows had before them when they opened, the newest last.
        longest: The most seconds that any answer had before it.
        reset_at: End of the newest window, in epoch seconds.
    """

    opened: tuple[float, ...] = ()
    longest: float = 0.0
    reset_at: float | None = None

    @property
    def seconds(self) -> float | None:
        """The likely length; None before the first answer."""
        if self.opened:
            # The middle one, of two the shorter: one absurd answer must not stretch all waits to come.
            return sorted(self.opened)[(len(self.opened) - 1) // 2]
        if not self.longest:
            return None
        guesses = (length for length in _CUSTOMARY_WINDOWS if self.longest <= length + _SAME_WINDOW)
        return next(guesses, self.longest)

    def look(self, reset_at: float, *, now: float, is_new: bool = False) -> WindowLength:
        """Learn from what is known of the quota at *now*, in epoch seconds.

        Args:
            is_new: Whether the very first answer opened its window: then it shows the whole length, too.
        """
        left = reset_at - now
        if not 0 < left < math.inf:
            return self
        has_opened = is_new if self.reset_at is None else self._has_opened(reset_at, now)
        opened = (*self.opened, left)[-_OPENINGS_KEPT:] if has_opened else self.opened
        return WindowLength(opened, max(self.longest, left), reset_at)

    def _has_opened(self, reset_at: float, now: float) -> bool:
        assert self.reset_at is not None
        return reset_at > self.reset_at + _SAME_WINDOW or self.reset_at <= now < reset_at

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return {"opened": list(self.opened), "longest": self.longest}

    @classmethod
    def from_dict(cls, entry: object) -> WindowLength:
        """What :meth:`to_dict` gave; what cannot be read is left out."""
        fields = as_mapping(entry)
        opened = fields.get("opened")
        lengths = [_amount(length) for length in opened] if isinstance(opened, list) else []
        return cls(tuple(filter(None, lengths))[-_OPENINGS_KEPT:], _amount(fields.get("longest")))


def as_mapping(value: object) -> Mapping[str, Any]:
    """*value* if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _amount(value: object) -> float:
    """A finite number of 0 or more; 0 for what is none."""
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e15 else 0.0


_HALF_LIFE_SECONDS, _HALF_LIFE_ITEMS = 600.0, 20.0
"""After so much work, of the two whichever takes longer, what was measured before counts for half."""

_SPILL = 0.005
"""Share of a window that counts as none: totals are often whole windows, and ``units_per_item`` is measured."""

_MOST_QUOTAS = 64


# -- what is left, waits included


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetView:
    """One quota, as a forecast looks at it.

    Attributes:
        remaining: Units that may still be used in this window.
        limit: Units in a full window, None if unknown.
        reset_seconds: Until this window ends.
        window_seconds: Length of a full window, None if unknown.
        units_per_item: What one item takes.
        margin_seconds: What each wait lasts beyond the end of its window.
    """

    remaining: float
    limit: float | None
    reset_seconds: float
    window_seconds: float | None
    units_per_item: float
    margin_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is still to come.

    Attributes:
        seconds_left: Until the last item is done, waits included; None if it cannot be told.
        waits: Waits for a quota among them, with the one that is going on.
        wait_seconds: What these take together.
    """

    seconds_left: float | None = None
    waits: int = 0
    wait_seconds: float = 0.0


def forecast(items_left: float, item_seconds: float, budget: BudgetView | None = None) -> Forecast:
    """What *items_left* items of *item_seconds* each still take, with the waits that *budget* costs.

    Until a window ends, items go on while its units last; then comes a wait, or none if they last to its end.
    Beyond what is known of the quota no waits are assumed.
    """
    work = max(items_left, 0.0) * item_seconds
    if budget is None or budget.units_per_item <= 0 or items_left <= 0:
        return Forecast(work)
    here, wait = _this_window(budget, item_seconds)
    if here + 0.5 >= items_left:  # a quota that ends with the last item must not cost a wait for a rounding error
        return Forecast(work)
    each, wait_each = _full_window(budget, item_seconds)
    full = max(0, math.ceil((items_left - here) / each - _SPILL) - 1)
    waits = (wait > 0) + (full if wait_each > 0 else 0)
    wait_seconds = wait + full * wait_each
    return Forecast(work + wait_seconds, waits, wait_seconds)


def _this_window(budget: BudgetView, item_seconds: float) -> tuple[float, float]:
    """Items that go until this window ends, and the wait at its end."""
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
    if items * item_seconds < seconds + (margin if items <= 0 else 0):
        return items, seconds - items * item_seconds + margin
    return seconds / item_seconds, 0.0


# -- one operation's forecasts


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaLook:
    """One quota at one moment.

    Attributes:
        name: Tells it from other quotas: its host and resource.
        limit: Units in a full window, None if unknown.
        remaining: Units that are left.
        reset_at: When it is fresh, in epoch seconds.
        used: Units that went since the operation began, over all runs.
        reserve: Units that are to be left over: a wait begins once no more are there.
    """

    name: str
    limit: int | None
    remaining: int
    reset_at: float
    used: int
    reserve: int = 0


@dataclass(frozen=True, slots=True)
class _Quota:
    window: WindowLength
    units: PerItem
    last: QuotaLook | None = None
    counted: tuple[int, int] | None = None
    """Items and units up to which ``units`` has counted, in this run."""


class Forecaster:
    """Learns, look by look, how an operation goes, and says what is left. Not locked: callers take turns.

    Args:
        items: What earlier runs did.
        seconds: What they worked for it: neither waits nor the time in which nothing ran.
        saved: What :meth:`to_dict` gave in the last of them, if it was kept.
    """

    def __init__(self, items: int = 0, seconds: float = 0.0, saved: Mapping[str, Any] | None = None) -> None:
        self._before = self._items = items
        self._seconds = seconds
        learned = as_mapping(saved)
        pace = PerItem.from_dict(learned.get("pace"))
        if not pace.items and seconds > 0:
            pace = PerItem(items, seconds)
        self._pace = pace.in_a_new_run()
        self._quotas: dict[str, _Quota] = {}
        for name, entry in list(as_mapping(learned.get("quotas")).items())[:_MOST_QUOTAS]:
            fields = as_mapping(entry)
            window, units = WindowLength.from_dict(fields.get("window")), PerItem.from_dict(fields.get("units"))
            self._quotas[name] = _Quota(window, units)

    @property
    def rate(self) -> float | None:
        """Items a second of working time; None if unknown."""
        mean = self._pace.mean
        return 1 / mean if mean else None

    def look(self, items: int, seconds: float, quotas: Iterable[QuotaLook] = (), *, now: float) -> None:
        """Learn where the operation stands.

        Args:
            items: Done, over all runs.
            seconds: Worked, over all runs: neither waits nor the time in which nothing ran.
            now: Epoch seconds, as in the quotas' ``reset_at``.
        """
        more, worked = items - self._items, max(seconds - self._seconds, 0.0)
        keep = 0.5 ** min(worked / _HALF_LIFE_SECONDS, max(more, 0) / _HALF_LIFE_ITEMS)
        for quota in quotas:
            self._look_at(quota, items, keep, now)
        # Time within an item is counted with the item.
        if more > 0:
            self._pace = self._pace.after(more, worked, keep)
            self._items, self._seconds = items, seconds

    def _look_at(self, told: QuotaLook, items: int, keep: float, now: float) -> None:
        known = self._quotas.get(told.name)
        if known is None:
            if len(self._quotas) >= _MOST_QUOTAS:
                return
            known = _Quota(WindowLength(), PerItem(self._before, told.used).in_a_new_run())
        # Nobody used it before this operation did: its window began with it.
        is_new = not self._before and told.limit is not None and told.limit - told.remaining <= told.used
        window = known.window.look(told.reset_at, now=now, is_new=is_new)
        units, counted = known.units, known.counted
        # What went before the first item, to list what there is, says nothing of the items.
        if counted is None:
            counted = (items, told.used) if items > self._before else None
        elif items > counted[0]:
            units = units.after(items - counted[0], max(told.used - counted[1], 0), keep)
            counted = items, told.used
        self._quotas[told.name] = _Quota(window, units, told, counted)

    def forecast(self, total: int | None, *, now: float, margin_seconds: float = 0.0) -> Forecast:
        """What is left until *total* items are done, by the quota that takes longest.

        Args:
            now: Epoch seconds.
            margin_seconds: What each wait lasts beyond its quota's reset.
        """
        pace = self._pace.mean
        if total is None or pace is None:
            return Forecast()
        left = max(total - self._items, 0)
        views = [_view(quota, now, margin_seconds) for quota in self._quotas.values()]
        forecasts = [forecast(left, pace, view) for view in (None, *views)]
        return max(forecasts, key=lambda found: found.seconds_left or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint, so that the next run goes on with what was learned."""
        quotas = {
            name: {"window": known.window.to_dict(), "units": known.units.to_dict()}
            for name, known in self._quotas.items()
        }
        return {"pace": self._pace.to_dict(), "quotas": quotas}


def _view(quota: _Quota, now: float, margin: float) -> BudgetView | None:
    told = quota.last
    if told is None:
        return None
    return BudgetView(
        remaining=told.remaining - told.reserve,
        limit=None if told.limit is None else told.limit - told.reserve,
        reset_seconds=told.reset_at - now,
        window_seconds=quota.window.seconds,
        # One that shuts before it was measured, as a refusal does, must be waited for all the same.
        units_per_item=quota.units.mean or (1.0 if told.remaining <= told.reserve else 0.0),
        margin_seconds=margin,
    )
