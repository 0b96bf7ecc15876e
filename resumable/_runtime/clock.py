"""What time it is, and a call back at a later time."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Monotonic seconds; only differences mean anything."""
        ...

    def utc(self) -> datetime:
        """The wall clock's time, in UTC."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call *callback*, which must be quick, once ``now()`` is *when*; returns what cancels it."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass."""

    async def sleep_async(self, seconds: float) -> None:
        """The same, while the event loop goes on."""


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks.

    Attributes:
        monotonic: Seconds; only differences mean anything.
        utc: The wall clock's time.
    """

    monotonic: float
    utc: datetime

    @property
    def epoch(self) -> float:
        """Seconds since the epoch."""
        return self.utc.timestamp()


def instant(clock: Clock) -> Instant:
    """Read both clocks."""
    return Instant(clock.now(), clock.utc())


class SystemClock:
    """The computer's clocks."""

    def now(self) -> float:
        return time.monotonic()

    def utc(self) -> datetime:
        return datetime.now(UTC)

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        return _alarms.set(when, callback)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        import asyncio  # for those who use it: `import resumable` stays light

        await asyncio.sleep(seconds)


class _Alarms:
    """One thread for all alarms of the process, started with the first."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._heap: list[tuple[float, int, list[Callable[[], None]]]] = []
        self._ids = itertools.count()
        self._thread: threading.Thread | None = None

    def set(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        entry = [callback]
        with self._changed:
            heapq.heappush(self._heap, (when, next(self._ids), entry))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="resumable-alarm", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is entry:
                self._changed.notify()
        return entry.clear

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._heap:
                    self._changed.wait()
                when, _, entry = self._heap[0]
                left = when - time.monotonic()
                if left > 0 and entry:
                    self._changed.wait(left)
                    continue
                heapq.heappop(self._heap)
            for callback in entry[:]:
                callback()


_alarms = _Alarms()
system_clock = SystemClock()


def _start_anew() -> None:
    # A forked child has no threads, and its locks may be held by those that it lacks.
    global _alarms
    _alarms = _Alarms()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


class Alarm:
    """One alarm, that rings by calling *ring* from another thread."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._set: tuple[float, Callable[[], None]] | None = None

    def ring_within(self, seconds: float) -> None:
        """Ring in *seconds* at the latest; an alarm that rings earlier stays."""
        if seconds == float("inf"):
            return
        when = self._clock.now() + max(seconds, 0.0)
        # Setting a new one each time would pile them up.
        if self._set is not None and self._set[0] <= when:
            return
        self.cancel()
        self._set = when, self._clock.call_at(when, self._rings)

    def _rings(self) -> None:
        self._set = None
        self._ring()

    def cancel(self) -> None:
        """Do not ring."""
        if self._set is not None:
            self._set[1]()
            self._set = None
