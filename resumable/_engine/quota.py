"""The API's quota, as one operation knows it: what was observed, and what to do when it is used up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from .._errors import RateLimitExhausted
from .._runtime.clock import instant
from .._runtime.steps import Pause, Steps
from .session import Session

if TYPE_CHECKING:
    from .._report.forecast import QuotaLook
    from ..ratelimit._budget import Budget
    from ..ratelimit._headers import RateLimit
    from .operation import Operation

# What reads and keeps quotas is imported when there is one to keep: `import resumable` stays light.

OnExhausted = Literal["wait", "raise"] | Callable[["RateLimit"], Literal["wait", "raise"] | None]
"""What to do when the quota is used up; a callable is asked, and None from it means: go on at once."""

_POLL_SECONDS = 0.1
"""How soon a wait notices that it should end."""
_MARGIN_SECONDS = 1.0
"""Waited beyond the reset, at most: servers tell it in whole seconds, and their clocks are not ours."""
_MARGIN_SHARE = 0.02
"""And at most so much of the longest time to a reset that was seen: a margin must not cost a short window."""


def check_policy(policy: object) -> None:
    """Refuse what is no policy.

    Raises:
        ValueError: If *policy* is neither ``"wait"`` nor ``"raise"`` nor callable.
    """
    if policy not in ("wait", "raise") and not callable(policy):
        raise ValueError(f"on_exhausted must be 'wait', 'raise' or a callable, not {policy!r}")


class Quota:
    """What is left of the API's quotas. Any thread may observe.

    Args:
        saved: What :meth:`to_dict` gave in an earlier run.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        self._lock = threading.RLock()  # a signal handler that saves may come in between
        self._budget = _budget_from(saved) if saved else None
        self.is_known = self._budget is not None
        self._longest = 0.0
        self.reserve = 0

    def observe(self, response: object, session: Session, *, now: float) -> bool:
        """Learn from *response*; whether it told of a quota. *now* is epoch seconds."""
        from ..ratelimit._response import read_response

        limits = read_response(response).limits(now)
        if not limits:
            return False
        with self._lock:
            if self._budget is None:
                self._budget = _budget_from(None)
                self.is_known = True
            self._budget.observe(limits, now)
            scarcest = self._budget.scarcest(now)
            self._longest = max(self._longest, *((limit.reset_at or 0.0) - now for limit in limits))
            # Told within the lock: a thread that is held up here must not tell an older number after a newer one.
            if scarcest is not None and scarcest.remaining is not None:
                session.observe(scarcest.remaining, scarcest.limit)
        return True

    @property
    def margin_seconds(self) -> float:
        """What is waited beyond a reset."""
        # Before anything was observed, as after a resume, nobody knows how short the windows are.
        return min(_MARGIN_SECONDS, _MARGIN_SHARE * self._longest) if self._longest else _MARGIN_SECONDS

    def exhausted(self, *, now: float) -> RateLimit | None:
        """The quota that must be waited for; None if there is none."""
        if self._budget is None:
            return None
        with self._lock:
            limit = self._budget.exhausted(now - self.margin_seconds, self.reserve)
        return limit if limit is not None and limit.reset_at is not None else None

    def has_room(self, in_flight: int | None, more: int, *, now: float) -> bool:
        """Whether *more* requests are left beyond those *in_flight*. While any are out, check-ins do not wait for it.

        Args:
            in_flight: None while nothing more is to be asked for.
        """
        if in_flight is None:
            self.reserve = -1
            return True
        self.reserve = in_flight + more - 1
        is_left = self.exhausted(now=now) is None
        if in_flight:
            self.reserve = -1
            is_left = is_left and self._fits(in_flight + more, now)
        return is_left

    def _fits(self, requests: int, now: float) -> bool:
        """Whether so many may be out at once where a window begins anew, of which no answer has told yet."""
        if self._budget is None:
            return True
        with self._lock:
            fresh = self._budget.fresh(now - self.margin_seconds)
        return fresh is None or requests <= fresh

    def scarcest(self, *, now: float) -> tuple[RateLimit | None, int]:
        """The quota with the least share left, and how many of its units this operation has used."""
        if self._budget is None:
            return None, 0
        with self._lock:
            limit = self._budget.scarcest(now)
            return limit, self._budget.used(limit) if limit is not None else 0

    def looks(self, *, now: float) -> list[QuotaLook]:
        """The quota with the least share left, as a forecast looks at it; empty if none is known."""
        from .._report.forecast import QuotaLook

        limit, used = self.scarcest(now=now)
        if limit is None or limit.remaining is None or limit.reset_at is None:
            return []
        name = f"{limit.host}/{limit.resource}"
        return [
            QuotaLook(
                name=name,
                limit=limit.limit,
                remaining=limit.remaining,
                reset_at=limit.reset_at,
                used=used,
                reserve=self.reserve,
            )
        ]

    def to_dict(self) -> dict[str, Any] | None:
        """For the checkpoint, so that the next run waits for what is left of a wait; None if nothing is known."""
        if self._budget is None:
            return None
        with self._lock:
            return self._budget.to_dict()


def _budget_from(saved: Mapping[str, Any] | None) -> Budget:
    from ..ratelimit._budget import Budget

    return Budget.from_dict(saved)


def wait_if_exhausted(operation: Operation) -> Steps[None]:
    """Save and wait, or raise, if the quota is used up.

    Raises:
        RateLimitExhausted: If ``on_exhausted`` wants it; everything ticked is saved.
    """
    quota = operation.parts.quota
    limit = quota.exhausted(now=operation.instant.epoch) if quota.is_known else None
    if limit is None or limit.reset_at is None:
        return
    policy = operation.options.on_exhausted
    if operation.session.saves or operation.processed_items > operation.items_before:
        yield from operation.save(f"Rate-limit: {limit.resource or 'quota'} is used up")
    answer = policy(limit) if callable(policy) else policy
    if answer == "raise":
        raise RateLimitExhausted(limit.reset_at, limit.resource)
    if answer == "wait":
        yield from _wait_until(operation, limit.reset_at + quota.margin_seconds, limit)


def _wait_until(operation: Operation, fresh_at: float, limit: RateLimit) -> Steps[None]:
    """Wait until *fresh_at*, in epoch seconds, unless the operation is asked to stop, or ends."""
    whom = limit.host or limit.resource
    try:
        while not operation.is_ending:
            operation.instant = instant(operation.clock)
            left = fresh_at - operation.instant.epoch
            if left <= 0:
                break
            for each in operation.observers:
                each.waiting(operation, left, whom)
            yield Pause(min(left, _POLL_SECONDS), operation.clock)
            yield from operation.stop_if_asked()
    finally:
        operation.instant = instant(operation.clock)
        operation.session.waited(now=operation.instant.monotonic)
        for each in operation.observers:
            each.resumed(operation)
