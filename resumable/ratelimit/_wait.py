"""How long to wait before the next attempt, and whether to make one: strategies for tenacity."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from tenacity import RetryCallState, retry_base, wait_random_exponential
from tenacity.wait import WaitBaseT, wait_base

if TYPE_CHECKING:
    from ._response import Seen

# Readers are loaded when the first attempt has failed: `import resumable` stays light.

_LOGGER = logging.getLogger("resumable.ratelimit")
_AFTER_RESET = 1.0  # seconds to wait beyond a reset: servers round it down
_AT_LEAST = 60.0  # seconds to wait after a refusal that names no time


class wait_rate_limit(wait_base):
    """Wait as long as the server asks: until ``Retry-After`` is over, else until the quota is fresh.

    It reads the response that the attempt returned or raised. A used-up quota is fresh one second after its reset;
    after a refusal that names no time, the wait is a minute at least. The logger ``resumable.ratelimit`` says why, at
    level INFO.

    Args:
        fallback: tenacity's wait for attempts that failed for other reasons.
        max_wait: The longest wait, in seconds. None: as long as the server asks.
        jitter: Up to this many random seconds after a reset, so that not all clients come back at once.
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
        self.fallback = wait_random_exponential(max=60) if fallback is None else fallback
        self.max_wait = math.inf if max_wait is None else max_wait
        self.jitter = jitter
        self.clock = clock

    def __call__(self, retry_state: RetryCallState) -> float:
        now, seen = self.clock(), _seen(retry_state)
        seconds, why = self._hint(seen, now)
        if seconds is None:
            fallback = float(self.fallback(retry_state))
            seconds = 0.0 if math.isnan(fallback) else fallback
            if seen.is_rate_limited:
                seconds, why = max(seconds, _AT_LEAST), "a rate limit that names no time"
        seconds = min(max(0.0, seconds), self.max_wait)
        if why:
            _LOGGER.info("waiting %s for %s: %s", _span(seconds, now), seen.host or "the server", why)
        return seconds

    def _hint(self, seen: Seen, now: float) -> tuple[float | None, str]:
        """How many seconds the server asks for, and why; None if it asks for nothing."""
        from ._budget import Budget
        from ._headers import read_retry_after

        after = read_retry_after(seen.headers, now=now)
        # Servers round down: with a 0, the next attempt would come without any pause.
        if after:
            return after, "the server asks for it (Retry-After)"
        budget = Budget()
        budget.observe(seen.limits(now), now)
        empty = budget.exhausted(now)
        if empty is None or empty.reset_at is None:
            return None, ""
        seconds = empty.reset_at - now + _AFTER_RESET + random.uniform(0, self.jitter)
        return seconds, f"rate limit {empty.resource} is used up".replace("  ", " ")


class retry_if_rate_limited(retry_base):
    """Try again if the attempt returned or raised a refusal for a rate limit.

    Such are a 429, a 403 that gives this reason, and a GraphQL answer with a ``RATE_LIMITED`` error.
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
