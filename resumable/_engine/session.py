"""The core, without clock, file or thread: told what happened and when, it answers with what to do."""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass

from .._models import CheckpointContext, CheckpointMetadata, SaveCosts, after_save, after_work
from .._strategies import Plan, SaveDecision, SaveStrategy, in_this_window


@dataclass(slots=True)
class Standing:
    """Where the operation stands, or stood.

    Attributes:
        remaining: Of the API's quota; None if this run has not seen it.
    """

    elapsed_time: float
    processed_items: int
    # What was left of another run's quota says nothing of this one's. Changed in place, as one thread may observe
    # while another notes a save.
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class Save:
    """The command to save.

    Attributes:
        at: Where the operation stood when this was decided.
        reason: Why, for people.
        is_charged: Whether its time counts against an overhead bound; a save that had to be does not.
    """

    at: Standing
    reason: str
    is_charged: bool


class Session:
    """One run of an operation.

    Args:
        now: Monotonic seconds.
        elapsed_time: What earlier runs took, in seconds.
        metadata: Of the restored checkpoint; kept up to date here.
        restores: How often it was resumed, this time included.
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
        self._began = now - elapsed_time
        self._counted_at = now
        self._counted_items = metadata.processed_items
        self._last = Standing(elapsed_time, metadata.processed_items)
        # What came before each save that is on its way: the save before it, and the work since that.
        self._on_their_way: deque[tuple[Standing, float]] = deque()
        self.saves = 0

    def context(self, *, now: float) -> CheckpointContext:
        """Where the operation stands."""
        self._count_work(now)
        metadata = self.metadata
        return CheckpointContext(
            processed_items=metadata.processed_items,
            total_items=metadata.total_items,
            rate_limit_remaining=metadata.rate_limit_remaining,
            rate_limit_total=metadata.rate_limit_total,
            elapsed_time=now - self._began,
            error_count=metadata.error_count,
            last_save_time=self._last.elapsed_time,
            last_save_items=self._last.processed_items,
            last_save_remaining=self._last.remaining,
            save_costs=self.costs,
        )

    def _count_work(self, now: float) -> None:
        items = self.metadata.processed_items - self._counted_items
        # Looked at within an item, its time would be counted in parts, and the parts taken for whole items.
        if items:
            self.costs = after_work(self.costs, max(now - self._counted_at, 0.0), items)
            self._counted_at, self._counted_items = now, self.metadata.processed_items

    def due(self, *, now: float) -> Save | None:
        """Is a save due?"""
        context = self.context(now=now)
        decision = SaveDecision(*self.strategy.should_save(context))
        return Save(self._standing(now), decision.reason, is_charged=True) if decision else None

    def plan(self, *, now: float) -> Plan:
        """How many items and seconds may pass before the strategy must be asked again."""
        return self.strategy.plan(self.context(now=now))

    def demand(self, reason: str, *, now: float) -> Save:
        """A save that is due whatever the strategy says: an exit, a retry, the user's wish."""
        self._count_work(now)
        return Save(self._standing(now), reason, is_charged=False)

    def _standing(self, now: float) -> Standing:
        metadata = self.metadata
        return Standing(now - self._began, metadata.processed_items, metadata.rate_limit_remaining)

    def observe(self, remaining: int, total: int | None) -> None:
        """This is what is left of the quota."""
        last = self._last
        last.remaining = in_this_window(last.remaining, remaining)
        self.metadata.rate_limit_remaining = remaining
        if total is not None:
            self.metadata.rate_limit_total = total

    def waited(self, *, now: float) -> None:
        """The time since the last look was no work: a wait, or a save."""
        self._counted_at = now

    def departed(self, save: Save) -> None:
        """*save* is on its way; until it is safely stored or has failed, the next one is counted from it."""
        self._on_their_way.append((self._last, self.costs.work_seconds))
        self._last = save.at
        self.costs = dataclasses.replace(self.costs, work_seconds=0.0)

    def failed(self) -> None:
        """The saves that were on their way failed: they do not count."""
        if self._on_their_way:
            self._last = self._on_their_way[0][0]
            unsaved = sum(work for _, work in self._on_their_way)
            self.costs = dataclasses.replace(self.costs, work_seconds=self.costs.work_seconds + unsaved)
            self._on_their_way.clear()

    def saved(self, save: Save, seconds: float) -> None:
        """*save* is safely stored, the oldest on its way if any is; it took *seconds*. Only now it counts."""
        self.saves += 1
        work_since = 0.0
        if self._on_their_way:
            self._on_their_way.popleft()
            work_since = self.costs.work_seconds
        else:
            self._last = save.at
        self.costs = after_save(self.costs, seconds, charged=save.is_charged, work_since=work_since)

    @property
    def elapsed_time(self) -> float:
        """Seconds of this and earlier runs, as of the last look."""
        return self._counted_at - self._began
