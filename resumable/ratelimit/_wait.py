"""How long to wait before the next attempt, and whether to make one: strategies for tenacity."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from tenacity import RetryCallState, retry_base, wait_random_exponential
from tenacity.wait import WaitBaseT, wait_base

from .._retry import prepare_sleep

if TYPE_CHECKING:
    from ._response import Seen

# Readers are loaded when the first attempt has failed: `import resumable` stays light.

_LOGGER = logging.getLogger("resumable.ratelimit")
_LONG_SECONDS = 3.0
"""A longer sleep is worth a save before it."""
_MARGIN_SECONDS = 1.0
"""Waited beyond the time that a server names in whole seconds: they are rounded down."""


class wait_rate_limit(wait_base):
    """Wait as long as the server asks: until ``Retry-After`` is over, else until the quota is fresh.

    It reads the response that the attempt returned or raised, headers and body. A time in whole seconds counts as
    over one second later, because servers round it down. After a refusal that names no time, the wait is a minute at
    least, and doubles while refusals go on, to an hour at most; after one whose time is over already, it is a second
    that doubles, to a minute at most. The logger ``resumable.ratelimit`` says why, at level INFO.

    Within a checkpoint's block, also in a helper with a ``@tenacity.retry`` of its own: before a wait of more than
    three seconds the current checkpoint is saved (in async code while the sleep begins, in another thread at the next
    check-in), and Ctrl-C or SIGTERM ends the sleep.

    Example:
        >>> retrying = tenacity.Retrying(stop=tenacity.stop_after_attempt(5), wait=wait_rate_limit(), reraise=True)

    Args:
        fallback: tenacity's wait for attempts that failed for other reasons.
        max_wait: The longest wait, in seconds. None: as long as the server asks.
        jitter: Up to this many random seconds beyond that, so that not all clients come back at once.
        clock: Gives the time, in epoch seconds.

    Raises:
        ValueError: If *max_wait* or *jitter* is negative or no number.
    """

    def __init__(
        self,
        fallback: WaitBaseT | None = None,
        *,
        max_wait: float | None = None,
        jitter: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if max_wait is not None and not max_wait >= 0:
            raise ValueError(f"max_wait must be >= 0 or None, not {max_wait!r}")
        if not 0 <= jitter < math.inf:
            raise ValueError(f"jitter must be >= 0, not {jitter!r}")
        self.fallback: WaitBaseT = wait_random_exponential(max=60) if fallback is None else fallback
        self.max_wait: float = math.inf if max_wait is None else max_wait
        self.jitter = jitter
        self.clock = clock

    def __repr__(self) -> str:
        longest = None if self.max_wait == math.inf else self.max_wait
        return f"wait_rate_limit({type(self.fallback).__name__}, max_wait={longest}, jitter={self.jitter})"

    def __call__(self, retry_state: RetryCallState) -> float:
        now, seen = self.clock(), _seen(retry_state)
        tries = _count_refusals(retry_state, seen)
        seconds, why = self._hint(seen, now, tries)
        if seconds is None:
            fallback = float(self.fallback(retry_state))
            seconds = 0.0 if math.isnan(fallback) else fallback
            if tries:
                seconds, why = max(seconds, _pause_after(None, tries - 1)), "a rate limit that names no time"
        seconds = min(max(0.0, seconds), self.max_wait)
        if why:
            _LOGGER.info("waiting %s for %s: %s", _span(seconds, now), seen.host or "the server", why)
        if seconds > _LONG_SECONDS:
            prepare_sleep(retry_state)
        return seconds

    def _hint(self, seen: Seen, now: float, tries: int) -> tuple[float | None, str]:
        """How many seconds the server asks for, after *tries* refusals in a row, and why; None if it asks nothing."""
        from ._budget import Budget
        from ._refusals import is_exact, read_wish

        refusal = seen.refusal(now)
        if refusal is not None and refusal.reset_at is not None:
            after = refusal.reset_at - now
            is_known = after <= 0 or is_exact(seen.headers)
            return self._later(_pause_after(after, tries - 1), is_known), "the server asks for it (Retry-After)"
        budget = Budget()
        budget.observe(seen.limits(now), now)
        empty = budget.exhausted(now)
        if empty is not None and empty.reset_at is not None:
            name = f"rate limit {empty.resource} is used up".replace("  ", " ")
            return self._later(empty.reset_at - now), name
        # With a 0, the next attempt would come without any pause.
        wish = None if tries else read_wish(seen.status, seen.headers, now=now)
        if not wish:
            return None, ""
        return self._later(wish, is_exact(seen.headers)), "the server asks for it (Retry-After)"

    def _later(self, seconds: float, is_exact: bool = False) -> float:
        """*seconds* and, unless they are exact, a margin."""
        return seconds if is_exact else seconds + _MARGIN_SECONDS + random.uniform(0, self.jitter)


_in_a_row: WeakKeyDictionary[RetryCallState, tuple[int, int]] = WeakKeyDictionary()
"""Of each call that was refused: at which attempt it was last, and how many came in a row."""


def _count_refusals(retry_state: RetryCallState, seen: Seen) -> int:
    """How many refusals came in a row, with *seen*; 0 if it is none."""
    attempt = retry_state.attempt_number
    if not seen.is_rate_limited:
        _in_a_row.pop(retry_state, None)
        return 0
    before, count = _in_a_row.get(retry_state, (attempt, 0))
    count = max(count, 1) if before == attempt else count + 1  # a strategy may be asked twice
    _in_a_row[retry_state] = attempt, count
    return count


def _pause_after(after: float | None, tries: int) -> float:
    from ._limits import pause_after

    return pause_after(after, tries)


class retry_if_rate_limited(retry_base):
    """Try again if the attempt returned or raised a refusal for a rate limit.

    Such are a 429, a 403 or 400 that gives this reason, a 503 with ``Retry-After``, and an answer whose body has an
    error such as GraphQL's ``RATE_LIMITED`` or ``THROTTLED``, or MediaWiki's ``maxlag``.

    Example:
        >>> policy = tenacity.Retrying(retry=retry_if_rate_limited(), wait=wait_rate_limit())
    """

    def __call__(self, retry_state: RetryCallState) -> bool:
        return _seen(retry_state).is_rate_limited


def _seen(retry_state: RetryCallState) -> Seen:
    from ._response import Seen, read_response

    if (outcome := retry_state.outcome) is None:
        return Seen()
    return read_response(outcome.exception() if outcome.failed else outcome.result())


def _span(seconds: float, now: float) -> str:
    from ._values import YEAR

    if seconds > YEAR:
        return "for good"
    minutes, rest = divmod(math.ceil(seconds), 60)
    until = datetime.fromtimestamp(now + seconds).strftime("%H:%M:%S")
    return f"{minutes}:{rest:02} (until {until})"
