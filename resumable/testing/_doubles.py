"""Test doubles: a clock that stands still until told, and a store that fails when asked to."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from .._errors import StoreError
from ..stores import CheckpointStore


class ManualClock:
    """A clock whose time passes when a test says so. Give it to a manager: ``CheckpointManager(clock=clock)``.

    Any thread may use it. Alarms go off in the thread that lets the time pass.

    Args:
        start: What the wall clock shows at first.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._lock = threading.Lock()
        self._passing = threading.RLock()
        self._now = 1000.0
        self._wall = start.astimezone(UTC) - timedelta(seconds=self._now)
        self._alarms: list[tuple[float, int, list[Callable[[], None]]]] = []
        self._ids = itertools.count()

    def now(self) -> float:
        """Monotonic seconds; only differences mean anything."""
        return self._now

    def utc(self) -> datetime:
        """What the wall clock shows."""
        with self._lock:
            return self._wall + timedelta(seconds=self._now)

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call *callback* when :meth:`advance` reaches *when*, or next, if that is past; returns what cancels it."""
        alarm = [callback]
        with self._lock:
            heapq.heappush(self._alarms, (when, next(self._ids), alarm))
        return alarm.clear

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass at once."""
        self.advance(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Let *seconds* pass at once; other tasks get their turn."""
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass. Alarms that are due go off in their order, each at its own time.

        Raises:
            ValueError: If *seconds* is negative. See :meth:`jump`.
        """
        if seconds < 0:
            raise ValueError(f"monotonic time cannot go back by {-seconds:g}s; jump() moves the wall clock")
        with self._passing:
            end = self._now + seconds
            while (alarm := self._next_alarm(end)) is not None:
                for callback in alarm[:]:
                    callback()
            with self._lock:
                self._now = max(self._now, end)

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, forward or back, as an administrator or NTP does."""
        with self._lock:
            self._wall += timedelta(seconds=seconds)

    def _next_alarm(self, end: float) -> list[Callable[[], None]] | None:
        with self._lock:
            if not self._alarms or self._alarms[0][0] > end:
                return None
            when, _, alarm = heapq.heappop(self._alarms)
            self._now = max(self._now, when)
            return alarm


_VERBS = ("get", "put", "delete", "keys", "close")
_MORE_VERBS = (
    "put_chunks", "own", "read_journal", "append_journal", "write_journal", "retire_journal",
    "locate", "get_previous", "stamp",
)  # fmt: skip


class FaultyStore:
    """Passes everything on to *store*, and fails where a test wants it to: before anything was done.

    It can do what *store* can: journals, ownership and the rest, where there are any.

    Args:
        fails_on: By verb (``"put"``, ``"append_journal"``, …): what each call of it raises. May be changed at any
            time through the attribute of the same name.
    """

    def __init__(self, store: CheckpointStore, fails_on: Mapping[str, BaseException] | None = None) -> None:
        self.store = store
        self.fails_on = {self._checked(verb): error for verb, error in (fails_on or {}).items()}
        self._next: defaultdict[str, deque[BaseException]] = defaultdict(deque)
        for verb in _MORE_VERBS:
            if hasattr(store, verb):
                setattr(self, verb, self._passing_on(verb))

    def fail_next(self, verb: str, times: int = 1, error: BaseException | None = None) -> None:
        """The next *times* calls of *verb* raise *error*, a StoreError by default.

        Raises:
            ValueError: If the store has no such verb.
        """
        fault = error if error is not None else StoreError(f"{verb} failed, as the test wished")
        self._next[self._checked(verb)].extend([fault] * times)

    def get(self, key: str) -> bytes | None:
        found: bytes | None = self._call("get", key)
        return found

    def put(self, key: str, blob: bytes) -> Path | str:
        where: Path | str = self._call("put", key, blob)
        return where

    def delete(self, key: str) -> bool:
        return bool(self._call("delete", key))

    def keys(self) -> Iterator[str]:
        keys: Iterator[str] = self._call("keys")
        return keys

    def close(self) -> None:
        self._call("close")

    def _passing_on(self, verb: str) -> Callable[..., Any]:
        return lambda *arguments: self._call(verb, *arguments)

    def _call(self, verb: str, *arguments: Any) -> Any:
        if self._next[verb]:
            raise self._next[verb].popleft()
        if verb in self.fails_on:
            raise self.fails_on[verb]
        return getattr(self.store, verb)(*arguments)

    def _checked(self, verb: str) -> str:
        if verb not in (*_VERBS, *_MORE_VERBS) or not hasattr(self.store, verb):
            raise ValueError(f"{self.store!r} has no verb {verb!r}")
        return verb
