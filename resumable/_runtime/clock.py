"""Clocks and alarms: the time, sleeping, and calls at a later time."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

import msgspec


class Clock(Protocol):
    """A source of time."""

    def now(self) -> float:
        """Monotonic seconds; only differences are meaningful."""
        ...

    def utc(self) -> datetime: ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call *callback*, which must be quick, when ``now()`` reaches *when*. Returns a function that cancels it."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the thread for *seconds*."""

    async def sleep_async(self, seconds: float) -> None:
        """Suspend the task for *seconds*, while the event loop goes on."""


class Instant(msgspec.Struct, frozen=True):
    """One moment by both clocks of a :class:`Clock`: monotonic seconds for intervals, UTC for stamps."""

    monotonic: float
    utc: datetime

    @property
    def epoch(self) -> float:
        """The wall clock's seconds since 1970."""
        return self.utc.timestamp()


def instant(clock: Clock) -> Instant:
    """Read both clocks once."""
    return Instant(clock.now(), clock.utc())


class SystemClock:
    """The computer's clocks."""

    # C functions, because each tick that saves reads the clock some four times.
    now = staticmethod(time.monotonic)
    utc = staticmethod(partial(datetime.now, UTC))

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        return _alarms.set(when, callback)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        import asyncio  # only if used: `import resumable` stays light

        await asyncio.sleep(seconds)


class _Alarms:
    """All alarms of the process, in one thread that the first alarm starts."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._heap: list[tuple[float, int, list[Callable[[], None]]]] = []
        self._ids = itertools.count()
        self._thread: threading.Thread | None = None

    def set(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        entry = [callback]
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="resumable-alarm", daemon=True)
                thread.start()  # raises RuntimeError from 3.12 on, once the main thread has ended
                self._thread = thread
            heapq.heappush(self._heap, (when, next(self._ids), entry))
            if self._heap[0][2] is entry:
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
    # A forked child has no threads, and the parent's threads may hold the locks.
    global _alarms
    _alarms = _Alarms()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


class Alarm:
    """Calls *ring* from another thread, once for each setting."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._set: tuple[float, Callable[[], None]] | None = None

    def ring_within(self, seconds: float) -> bool:
        """Ring within *seconds*. An earlier setting of the alarm stays.

        Returns:
            Whether the alarm will ring; False if the process is ending, and starts no more threads.
        """
        if seconds == float("inf"):
            return True
        when = self._clock.now() + max(seconds, 0.0)
        if self._set is None or when < self._set[0]:  # otherwise each call would add an entry to the heap
            self.cancel()
            try:
                self._set = when, self._clock.call_at(when, self._rings)
            except RuntimeError:
                return False
        return True

    def _rings(self) -> None:
        self._set = None
        self._ring()

    def cancel(self) -> None:
        """Cancel the alarm, until it is set again."""
        if self._set is not None:
            self._set[1]()
            self._set = None
