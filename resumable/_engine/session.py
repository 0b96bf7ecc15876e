"""Decides when a run saves, without clock, file or thread: it gets events and times, and answers with a decision."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec

from .._models import CheckpointContext, CheckpointMetadata, SaveCosts, after_save, after_work
from .._strategies import Plan, SaveStrategy, in_this_window

_FADES = 0.98
"""When an item is shorter, the longest time fades by this factor."""


class Standing(msgspec.Struct):
    """The progress of the operation at one moment.

    Attributes:
        remaining: Requests left of the API's quota; None if no response has come in this run.
    """

    elapsed_time: float
    processed_items: int
    # The quota is this run's own. Changed in place: one thread may observe while another saves.
    remaining: int | None = None


class Decision(msgspec.Struct, frozen=True):
    """The decision to save.

    Attributes:
        at: The progress at the decision.
        reason: Why, for people.
        is_charged: Whether the save's time counts against the overhead limit; a forced save's does not.
    """

    at: Standing
    reason: str
    is_charged: bool


class Before(msgspec.Struct, frozen=True):
    """What a save in flight replaced: the save before it, and the work since then."""

    last: Standing
    work_seconds: float


class Session:
    """Decides when to save, and accounts for the cost of saves.

    Args:
        metadata: Of the restored checkpoint; kept up to date here.
        now: Monotonic seconds.
        elapsed_time: Seconds that earlier runs took.

    Attributes:
        longest_item: Seconds of the longest recent item; for many items between two looks, their average.
        ahead_seconds: The time that was spent on the next save before it was due.
    """

    def __init__(
        self,
        strategy: SaveStrategy,
        metadata: CheckpointMetadata,
        *,
        now: float,
        elapsed_time: float = 0.0,
        costs: SaveCosts | None = None,
    ) -> None:
        self.strategy = strategy
        self.metadata = metadata
        self.costs = costs or SaveCosts()
        self.saves = 0
        self.longest_item = self.ahead_seconds = 0.0
        self._began = now - elapsed_time
        self._counted_at = now
        self._counted_items = metadata.processed_items
        self._last = Standing(elapsed_time, metadata.processed_items)
        self._asked: CheckpointContext | None = None

    # -- when to save

    def due(self, *, now: float) -> Decision | None:
        """The decision to save, if a save is due."""
        context = self._asked = self.context(now=now)
        is_due, reason = self.strategy.should_save(context)
        return Decision(self._standing(now), reason, is_charged=True) if is_due else None

    def plan(self, *, now: float) -> Plan:
        """How many items and seconds may pass before the strategy is asked again."""
        context, self._asked = self._asked, None
        return self.strategy.plan(context if context is not None else self.context(now=now))

    def demand(self, reason: str, *, now: float) -> Decision:
        """A save that is due whatever the strategy says: at an exit, before a retry, or at the user's request."""
        self.count_work(now=now)
        reason = reason.encode(errors="backslashreplace").decode()  # the name of a file may be no UTF-8
        return Decision(self._standing(now), reason, is_charged=False)

    def context(self, *, now: float) -> CheckpointContext:
        """The progress, in the form that a strategy gets."""
        self.count_work(now=now)
        metadata, last = self.metadata, self._last
        return CheckpointContext(
            processed_items=metadata.processed_items,
            total_items=metadata.total_items,
            rate_limit_remaining=metadata.rate_limit_remaining,
            rate_limit_total=metadata.rate_limit_total,
            elapsed_time=now - self._began,
            error_count=metadata.error_count,
            last_save_time=last.elapsed_time,
            last_save_items=last.processed_items,
            last_save_remaining=last.remaining,
            save_costs=self.costs,
        )

    def count_work(self, *, now: float) -> None:
        """Charge the time since the last look to the items done since then."""
        items = self.metadata.processed_items - self._counted_items
        # A look inside an item would split its time, and count each part as a whole item.
        if items:
            seconds = max(now - self._counted_at, 0.0)
            self.longest_item = max(seconds / items, _FADES * self.longest_item)
            self.costs = after_work(self.costs, seconds, items)
            self._counted_at, self._counted_items = now, self.metadata.processed_items

    def _standing(self, now: float) -> Standing:
        metadata = self.metadata
        return Standing(now - self._began, metadata.processed_items, metadata.rate_limit_remaining)

    # -- what happened

    def observe(self, remaining: int, total: int | None) -> None:
        """*remaining* requests are left of the quota."""
        last = self._last
        last.remaining = in_this_window(last.remaining, remaining)
        self.metadata.rate_limit_remaining = remaining
        if total is not None:
            self.metadata.rate_limit_total = total

    def waited(self, *, now: float) -> None:
        """The time since the last look was not work, but a wait or a save."""
        self._counted_at, self._asked = now, None

    def paused(self, seconds: float, *, now: float) -> None:
        """A person paused the run for *seconds*, up to *now*: they do not count as time that it took."""
        self._began += seconds
        self.waited(now=now)

    def put_off(self, decision: Decision) -> None:
        """A save failed and the loop goes on. The next try comes when a save after it would be due."""
        self._asked, self._last = None, decision.at

    def sent(self, decision: Decision) -> Before:
        """A save is in flight: the next one is counted from it."""
        before = Before(self._last, self.costs.work_seconds)
        self._asked, self._last = None, decision.at
        self.costs = dataclasses.replace(self.costs, work_seconds=0.0)
        return before

    def stored(self, decision: Decision, seconds: float, *, was_sent: bool) -> None:
        """A save is stored, after *seconds*; if *was_sent*, it was the oldest in flight. Only now does it count."""
        self.saves += 1
        seconds, self.ahead_seconds = seconds + self.ahead_seconds, 0.0
        work_since = self.costs.work_seconds if was_sent else 0.0
        if not was_sent:
            self._asked, self._last = None, decision.at
        self.costs = after_save(self.costs, seconds, charged=decision.is_charged, work_since=work_since)

    def failed(self, befores: Sequence[Before]) -> None:
        """The saves in flight failed, oldest first: they do not count."""
        if befores:
            self._asked, self._last = None, befores[0].last
            unsaved = sum(before.work_seconds for before in befores)
            self.costs = dataclasses.replace(self.costs, work_seconds=self.costs.work_seconds + unsaved)

    def seconds_since_save(self, *, now: float) -> float | None:
        """Seconds since the last save of this run that is stored or in flight; None without one."""
        return max(now - self._began - self._last.elapsed_time, 0.0) if self.saves else None

    @property
    def elapsed_time(self) -> float:
        """Seconds of this and earlier runs, up to the last look."""
        return self._counted_at - self._began
