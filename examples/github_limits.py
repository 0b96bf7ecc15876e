"""Difficulties for clients: a quota for each window, and requests that fail on a schedule."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from examples.github_answers import Answer, problem


class Budget(NamedTuple):
    """The quota at one moment; *resets_at* is in epoch seconds."""

    limit: int
    used: int
    resets_at: float

    @property
    def remaining(self) -> int:
        return self.limit - self.used

    def as_dict(self) -> dict[str, int]:
        """The four numbers, under GitHub's names."""
        # Rounded up: whoever waits until then is not refused.
        reset = math.ceil(self.resets_at)
        return {"limit": self.limit, "remaining": self.remaining, "reset": reset, "used": self.used}


class Quota:
    """*limit* requests in each window of *window* seconds, which begins when it is first used or looked at.

    GitHub names the end of a window in whole seconds. So a window of whole seconds begins on a whole second: it
    ends exactly when the header says, and a client that waits for that loses no time.

    Raises:
        ValueError: If *limit* or *window* is not above 0.
    """

    def __init__(self, limit: int, window: float, clock: Callable[[], float]) -> None:
        if limit <= 0 or window <= 0:
            raise ValueError(f"limit and window must be > 0, not {limit!r} and {window!r}")
        self._window = float(window)
        self._clock = clock
        self._lock = threading.Lock()
        self._budget = Budget(limit, 0, -math.inf)

    def look(self) -> Budget:
        """The present quota."""
        with self._lock:
            return self._current()

    def take(self) -> Budget | None:
        """Count one request. Returns the quota after it, or None if nothing was left."""
        with self._lock:
            budget = self._current()
            if not budget.remaining:
                return None
            self._budget = budget._replace(used=budget.used + 1)
            return self._budget

    def _current(self) -> Budget:
        now = self._clock()
        if now >= self._budget.resets_at:
            begin = math.floor(now) if self._window.is_integer() else now
            self._budget = Budget(self._budget.limit, 0, begin + self._window)
        return self._budget


class Faults:
    """Which requests fail: every n-th one. If several faults are due, the first in the schedule happens.

    A request that comes again after it failed is served, and does not count.

    Raises:
        ValueError: If a number of the schedule is below 1.
    """

    def __init__(self, schedule: Mapping[str, int | None]) -> None:
        self._schedule = {fault: every for fault, every in schedule.items() if every is not None}
        if any(every < 1 for every in self._schedule.values()):
            raise ValueError(f"a fault is due every 1 or more requests, not {self._schedule}")
        self._lock = threading.Lock()
        self._count = 0
        self._failed: set[str] = set()

    def next(self, target: str) -> str | None:
        """The fault that the request of *target* meets, or None."""
        with self._lock:
            if target in self._failed:
                self._failed.remove(target)
                return None
            self._count += 1
            fault = next((fault for fault, every in self._schedule.items() if self._count % every == 0), None)
            if fault is not None:
                self._failed.add(target)
            return fault


def exhausted() -> Answer:
    """The refusal when the quota is used up."""
    hint = "But here's the good news: Authenticated requests get a higher rate limit."
    message = f"API rate limit exceeded for 127.0.0.1. ({hint} Check out the documentation for more details.)"
    return problem(403, message, "/overview/resources-in-the-rest-api#rate-limiting")


def secondary_limit(retry_after: int) -> Answer:
    """The refusal of a client that is too fast, for *retry_after* seconds."""
    message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
    page = "/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"
    return problem(429, message, page)._replace(headers={"Retry-After": str(retry_after)})


def rate_limit(budget: Budget) -> Answer:
    """The answer of ``/rate_limit``."""
    core = budget.as_dict()
    search = Budget(30, 0, budget.resets_at).as_dict()
    return Answer(200, {"resources": {"core": core, "search": search}, "rate": core})
