"""The core, without clock, file or thread: told what happened and when, it answers with what to do."""

from __future__ import annotations

from dataclasses import dataclass

from ._auto import after_save, after_work
from ._models import CheckpointContext, CheckpointMetadata, SaveCosts
from ._strategies import Plan, SaveDecision, SaveStrategy, in_this_window


@dataclass(frozen=True, slots=True)
class Save:
    """The command to save.

    Attributes:
        context: Where the operation stood when this was decided.
        reason: Why, for people.
        is_charged: Whether its time counts against an overhead bound; a save that had to be does not.
    """

    context: CheckpointContext
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
        self._last_save_time = elapsed_time
        self._last_save_items = metadata.processed_items
        # What was left of another run's quota says nothing of this one's.
        self._last_save_remaining: int | None = None
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
            last_save_time=self._last_save_time,
            last_save_items=self._last_save_items,
            last_save_remaining=self._last_save_remaining,
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
        return Save(context, decision.reason, is_charged=True) if decision else None

    def plan(self, *, now: float) -> Plan:
        """How many items and seconds may pass before the strategy must be asked again."""
        return self.strategy.plan(self.context(now=now))

    def demand(self, reason: str, *, now: float) -> Save:
        """A save that is due whatever the strategy says: an exit, a retry, the user's wish."""
        return Save(self.context(now=now), reason, is_charged=False)

    def observe(self, remaining: int, total: int | None) -> None:
        """This is what is left of the quota."""
        self._last_save_remaining = in_this_window(self._last_save_remaining, remaining)
        self.metadata.rate_limit_remaining = remaining
        if total is not None:
            self.metadata.rate_limit_total = total

    def waited(self, *, now: float) -> None:
        """The time since the last look was no work: a wait, or a save."""
        self._counted_at = now

    def saved(self, save: Save, seconds: float, *, now: float) -> None:
        """*save* is safely stored; it took the loop *seconds*. Until this is told it does not count."""
        self.saves += 1
        self._last_save_time = save.context.elapsed_time
        self._last_save_items = save.context.processed_items
        self._last_save_remaining = save.context.rate_limit_remaining
        self.costs = after_save(self.costs, seconds, charged=save.is_charged)

    @property
    def elapsed_time(self) -> float:
        """Seconds of this and earlier runs, as of the last look."""
        return self._counted_at - self._began
