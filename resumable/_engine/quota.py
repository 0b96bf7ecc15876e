"""The API's quota as one operation knows it: what responses reported, and what to do when it is used up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from .._errors import RUN_AGAIN, RateLimitExhausted, StoreError
from .._runtime.clock import Clock, instant
from .._runtime.interpreter import end_with
from .._runtime.steps import Pause, Steps
from ..ratelimit import RateLimit
from .ending import outlives
from .limits import stop_at_limit
from .session import Session
from .stops import has_grace, stop_if_asked

if TYPE_CHECKING:
    from .._report.terminal.forecast import QuotaLook
    from ..ratelimit._budget import Asked
    from ..ratelimit._meter import Meter
    from .operation import Operation

# The quota code is imported at the first response: `import resumable` stays light.

OnExhausted = Literal["wait", "raise"] | Callable[[RateLimit], Literal["wait", "raise"] | None]
"""What to do when the quota is used up. A callable decides for each quota and window; its None means: go on."""

_POLL_SECONDS = 0.1
"""How often a wait checks whether it should end."""
_LEAST_NAP_SECONDS = 0.001
_MARGIN_SECONDS = 1.0
"""A wait lasts this much beyond the reset, at most: servers report whole seconds, and clocks differ."""
_MARGIN_SHARE = 0.02
"""And at most this share of the longest known time to a reset, so that the margin stays small in a short window."""


def check_policy(policy: object) -> None:
    """Refuse a wrong ``on_exhausted``.

    Raises:
        ValueError: If *policy* is neither ``"wait"`` nor ``"raise"`` nor callable.
    """
    if policy not in ("wait", "raise") and not callable(policy):
        raise ValueError(f"on_exhausted must be 'wait', 'raise' or a callable, not {policy!r}")


class Quota:
    """What is left of the API's quotas. Any thread may observe.

    Args:
        saved: What :meth:`to_dict` returned in an earlier run.

    Attributes:
        is_known: Whether any quota is known.
        has_news: Whether the session does not know the latest numbers.
        line: Below this share, :meth:`observe` asks for action; from 1 on, at every response.
        reserve: Units to keep: with no more than these left, the quota counts as used up; -1: check-ins never wait.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may save meanwhile
        self._known = _meter_from(saved) if saved else None
        self.is_known = self._known is not None
        self.has_news = False
        self.line = 1.0
        self.reserve = 0
        self._in_flight = 0

    @property
    def _meter(self) -> Meter:
        if self._known is None:
            self._known = _meter_from(None)
        return self._known

    def observe(self, response: object, session: Session, *, now: float, account: str = "", host: str = "") -> bool:
        """Learn from *response* to a request of *account*. Returns whether to act on it. *now* is epoch seconds."""
        with self._lock:
            matters = self._meter.observe(
                response,
                now=now,
                account=account,
                host=host,
                overtaken=max(self._in_flight - 1, 0),
                line=self.line,
            )
            if matters is None:
                return False
            self.is_known = self.has_news = True
            if matters:
                # Inside the lock: no thread may report an older number after a newer one.
                self.tell(session, now=now)
        return matters

    def is_refusal(self, response: object) -> bool:
        """Whether *response* says that a quota is used up."""
        return self._meter.is_refusal(response)

    @property
    def lock(self) -> threading.RLock:
        """While it is held, no other thread observes a response."""
        return self._lock

    def tell(self, session: Session, *, now: float) -> None:
        """Report to *session* how much is left."""
        with self._lock:
            self.has_news = False
            scarcest = self._meter.scarcest(now)
            if scarcest is not None and scarcest.remaining is not None:
                session.observe(scarcest.remaining, scarcest.limit)

    @property
    def margin_seconds(self) -> float:
        """Seconds to wait beyond a reset."""
        # Before the first response, for instance after a resume, the length of the windows is unknown.
        longest = self._known.longest if self._known is not None else 0.0
        return min(_MARGIN_SECONDS, _MARGIN_SHARE * longest) if longest else _MARGIN_SECONDS

    def asked(
        self, host: str = "", account: str = "", resource: str = "", accounts: Iterable[str] = (), *, is_said: bool
    ) -> Asked:
        """The next request, described. *is_said*: check-ins no longer wait for *host*, because the program does."""
        with self._lock:
            asked = self._meter.asked(host, account, resource, accounts)
            if is_said:
                self._meter.spare(asked.host)
                self.is_known = True
            return asked

    @property
    def anything(self) -> Asked:
        """A request about which nothing is known; hosts that the program waits for itself are left to it."""
        return self._meter.anything

    def exhausted(self, *, now: float, asked: Asked | None = None) -> RateLimit | None:
        """The quota to wait for before the request *asked*; None if it can be sent.

        Without *asked*, this is a check-in: it does not know the next request, and keeps the reserve.
        """
        if not self.is_known:
            return None
        with self._lock:
            at = now - self.margin_seconds
            if asked is None:
                return self._meter.exhausted(at, self.reserve, self._meter.anything)
            return self._meter.exhausted(at, 0, asked)

    def answer(self, limit: RateLimit, policy: OnExhausted, *, now: float) -> Literal["wait", "raise"] | None:
        """What to do while *limit* is empty. A callable *policy* is called once for each quota and window."""
        with self._lock:
            known = self._meter.answer_for(limit, now)
        if known is not None:
            return known[0]
        wish = policy(limit) if callable(policy) else policy
        answer = wish if wish in ("wait", "raise") else None
        with self._lock:
            self._meter.note_answer(limit, answer)
        return answer

    def ready_account(self, asked: Asked, *, now: float) -> str:
        """The account with the most left; "" if none is known."""
        with self._lock:
            return self._meter.ready_account(now - self.margin_seconds, asked)

    def has_room(self, in_flight: int | None, more: int, *, now: float) -> bool:
        """Whether *more* requests may be sent besides those *in_flight*. With any in flight, check-ins do not wait.

        Args:
            in_flight: None once no more requests will be sent.
        """
        if in_flight is None:
            self.reserve = -1
            return True
        self._in_flight = in_flight + more
        self.reserve = in_flight + more - 1
        is_left = self.exhausted(now=now) is None
        if in_flight:
            self.reserve = -1
            is_left = is_left and self._fits(in_flight + more, now)
        return is_left

    def _fits(self, requests: int, now: float) -> bool:
        """Whether *requests* fit into a new window of which no response has come yet."""
        if not self.is_known:
            return True
        with self._lock:
            fresh = self._meter.fresh(now - self.margin_seconds)
        return fresh is None or requests <= fresh

    def scarcest(self, *, now: float) -> tuple[RateLimit | None, int]:
        """The quota with the smallest share left, and how many of its units this operation has used."""
        if not self.is_known:
            return None, 0
        with self._lock:
            limit = self._meter.scarcest(now)
            return limit, self._meter.used(limit) if limit is not None else 0

    def looks(self, *, now: float) -> list[QuotaLook]:
        """The quota with the smallest share left, in the form that a forecast needs; empty if none is known."""
        from .._report.terminal.forecast import QuotaLook

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
        """What the checkpoint keeps, so that the next run goes on with an unfinished wait; None if nothing is known."""
        if not self.is_known:
            return None
        with self._lock:
            return self._meter.to_dict()


def _meter_from(saved: Mapping[str, Any] | None) -> Meter:
    from ..ratelimit._meter import Meter

    return Meter(saved)


class Wait:
    """One wait for a quota, in short sleeps that give way to others.

    Args:
        asked: The next request; None for a check-in, which has read the clock already.
    """

    def __init__(self, operation: Operation, asked: Asked | None = None) -> None:
        self._operation = operation
        self._asked = asked
        self._must_look = asked is not None
        self._saved_for: RateLimit | None = None
        self._has_begun = False
        self._began_at, self._whom = 0.0, ""

    def nap(self) -> Steps[float]:
        """Seconds to sleep before the next call; 0.0 once there is nothing to wait for.

        Raises:
            RateLimitExhausted: ``on_exhausted`` wants it; everything ticked is saved.
            KeyboardInterrupt, SystemExit: The operation is asked to stop; everything ticked is saved.
            RunAgain: The wait would exceed the time of this run; everything ticked is saved.
        """
        operation = self._operation
        quota = operation.parts.quota
        if not quota.is_known or operation.is_ending or (self._asked is None and has_grace(operation)):
            return 0.0
        if self._must_look:
            operation.instant = instant(operation.clock)
        self._must_look = True
        now = operation.instant.epoch
        while (limit := quota.exhausted(now=now, asked=self._asked)) is not None:
            answer = quota.answer(limit, operation.options.on_exhausted, now=now)
            if answer is None:
                continue
            yield from self._save_for(limit)
            if answer == "raise":
                end_with(RUN_AGAIN, RateLimitExhausted)
                # The next run has the full margin again: if it began earlier, it would raise again.
                raise RateLimitExhausted(limit.reset_at and limit.reset_at + _MARGIN_SECONDS, limit.resource)
            left = (limit.reset_at or 0.0) + quota.margin_seconds - now
            yield from stop_if_asked(operation, left)
            yield from stop_at_limit(operation, left)
            self._has_begun = True
            self._began_at = self._began_at or now
            self._whom = limit.host or limit.resource
            for each in operation.observers:
                each.waiting(operation, left, self._whom)
            return max(min(left, _POLL_SECONDS), _LEAST_NAP_SECONDS)
        return 0.0

    def _save_for(self, limit: RateLimit) -> Steps[None]:
        """Save before the first sleep for *limit*."""
        if self._saved_for is not None and self._saved_for.resource == limit.resource:
            return
        operation = self._operation
        if operation.session.saves or operation.processed_items > operation.items_before:
            try:
                yield from operation.save(f"Rate-limit: {limit.resource or 'quota'} is used up")
            except StoreError as error:
                if not outlives(operation, error):
                    raise
        self._saved_for = limit

    def ready_account(self) -> str:
        """Of the accounts that the request may use, the one with the most left; "" if none is known."""
        assert self._asked is not None
        return self._operation.parts.quota.ready_account(self._asked, now=self._operation.clock.utc().timestamp())

    @property
    def clock(self) -> Clock:
        """The clock that sleeps."""
        return self._operation.clock

    def over(self) -> None:
        """The wait has ended, or was broken off."""
        if not self._has_begun:
            return
        operation = self._operation
        operation.instant = instant(operation.clock)
        operation.session.waited(now=operation.instant.monotonic)
        operation.history.note_wait(self._began_at, operation.instant.epoch, self._whom)
        for each in operation.observers:
            each.resumed(operation)


def wait_if_exhausted(operation: Operation) -> Steps[None]:
    """Save and wait, or raise, at a check-in with a used-up quota. Raises what :meth:`Wait.nap` raises."""
    wait = Wait(operation)
    try:
        while seconds := (yield from wait.nap()):
            yield Pause(seconds, operation.clock)
    finally:
        wait.over()
