"""Test doubles: a clock that stands still until told, and a store that fails when asked to."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import cast

from .._errors import StoreError
from ..stores import (
    ArtifactLease,
    ArtifactStore,
    CheckpointStore,
    Entry,
    Holder,
    Lease,
    SimpleStore,
    Stored,
    Traits,
    WishStore,
    open_store,
)


class ManualClock:
    """A clock that a test moves. Give it to a manager: ``CheckpointManager(clock=clock)``.

    Any thread may use it. Alarms go off in the thread that lets the time pass.

    Example:
        >>> clock = ManualClock()
        >>> manager = CheckpointManager(save_strategy=every(minutes=5), store="memory://clock", clock=clock)
        >>> with checkpointed("job", manager=manager) as cp:
        ...     clock.advance(301)
        ...     cp.tick()  # saves

    Args:
        start: The wall clock at the beginning.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._lock = threading.Lock()
        self._passing = threading.RLock()
        self._now = 1000.0
        self._wall = start.astimezone(UTC) - timedelta(seconds=self._now)
        self._alarms: list[tuple[float, int, list[Callable[[], None]]]] = []
        self._ids = itertools.count()

    def now(self) -> float:
        """Monotonic seconds; only differences mean anything.

        Example:
            >>> clock = ManualClock()
            >>> clock.now()
            1000.0
        """
        return self._now

    def utc(self) -> datetime:
        """The wall clock (UTC).

        Example:
            >>> ManualClock().utc().year
            2026
        """
        with self._lock:
            return self._wall + timedelta(seconds=self._now)

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call *callback* when :meth:`advance` reaches *when*, or next, if that is past. Returns what cancels it.

        Example:
            >>> clock = ManualClock()
            >>> cancel = clock.call_at(clock.now() + 5, lambda: print("five seconds"))
            >>> clock.advance(6)
            five seconds
        """
        alarm = [callback]
        with self._lock:
            heapq.heappush(self._alarms, (when, next(self._ids), alarm))
        return alarm.clear

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass at once.

        Example:
            >>> ManualClock().sleep(3600)  # takes no time
        """
        self.advance(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Let *seconds* pass at once; other tasks get their turn.

        Example:
            >>> await ManualClock().sleep_async(3600)
        """
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass. Alarms that are due go off in their order, each at its own time.

        Example:
            >>> clock = ManualClock()
            >>> clock.advance(60)
            >>> clock.now()
            1060.0

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
        """Move the wall clock alone, forward or back, as an administrator or NTP does.

        Example:
            >>> clock = ManualClock()
            >>> clock.jump(-3600)
            >>> clock.utc().hour
            23
        """
        with self._lock:
            self._wall += timedelta(seconds=seconds)

    def _next_alarm(self, end: float) -> list[Callable[[], None]] | None:
        with self._lock:
            if not self._alarms or self._alarms[0][0] > end:
                return None
            when, _, alarm = heapq.heappop(self._alarms)
            self._now = max(self._now, when)
            return alarm


_VERBS = frozenset({"claim", "read", "list", "append", "stage", "commit", "write", "renew", "delete", "close"})
_VERBS |= {"put_artifact", "read_artifact", "keep_artifacts"}
_CHANGING = frozenset({"append", "stage", "commit", "delete", "put_artifact"})


class FaultyStore:
    """Passes everything on to *store*, and fails where a test wants it to, before it does anything.

    The verbs are those of a store and its lease: ``"claim"``, ``"read"``, ``"list"``, ``"append"`` (a save to the
    journal), ``"stage"`` and ``"commit"`` (a save of the whole), ``"renew"``, ``"delete"``, ``"close"``. ``"write"``
    stands for the beginning of any save: an append or a stage. Those of artifacts are ``"put_artifact"`` (also where it
    is written in place), ``"read_artifact"`` and ``"keep_artifacts"``.

    Example:
        >>> store = FaultyStore("memory://faulty")
        >>> store.fails = StoreError("the disk is full")
        >>> with checkpointed("job", store=store, on_save_error="warn") as cp:
        ...     cp.tick()  # goes on
        ...     store.fails = None

    Args:
        fails_on: The error that each call of a verb raises, by verb. The attribute may be changed at any time.

    Attributes:
        fails: The error that every write and delete raises; None for none.
    """

    def __init__(
        self,
        store: CheckpointStore | SimpleStore | str | os.PathLike[str],
        fails_on: Mapping[str, BaseException] | None = None,
    ) -> None:
        self.store: CheckpointStore = open_store(store)
        self.traits: Traits = self.store.traits
        self.describe: Callable[..., Path | str] = self.store.describe
        self.fails_on: dict[str, BaseException] = {_checked(verb): error for verb, error in (fails_on or {}).items()}
        self.fails: BaseException | None = None
        self._next: defaultdict[str, deque[BaseException]] = defaultdict(deque)

    def fail_next(self, verb: str, times: int = 1, error: BaseException | None = None) -> None:
        """Let the next *times* calls of *verb* raise *error*, by default a StoreError.

        Example:
            >>> store = FaultyStore("memory://faulty")
            >>> store.fail_next("write", times=2)

        Raises:
            ValueError: If there is no such verb.
        """
        fault = error if error is not None else StoreError(f"{verb} failed, as the test requested")
        self._next[_checked(verb)].extend([fault] * times)

    def claim(self, key: str, me: Holder, *, ttl: float | None = None, take_over: bool = False) -> FaultyLease:
        self.call("claim")
        return FaultyLease(self, self.store.claim(key, me, ttl=ttl, take_over=take_over))

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        self.call("read")
        return self.store.read(key, previous=previous)

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        self.call("list")
        return self.store.list(pattern)

    def read_artifact(self, key: str, name: str) -> Iterator[bytes]:
        self.call("read_artifact")
        return self._keeping.read_artifact(key, name)

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        return self._keeping.list_artifacts(key)

    def wish(self, key: str) -> bytes | None:
        return cast("WishStore", self.store).wish(key)

    def put_wish(self, key: str, wish: bytes) -> None:
        cast("WishStore", self.store).put_wish(key, wish)

    def clear_wish(self, key: str, wish: bytes) -> None:
        cast("WishStore", self.store).clear_wish(key, wish)

    @property
    def _keeping(self) -> ArtifactStore:
        return cast("ArtifactStore", self.store)

    def close(self) -> None:
        self.call("close")
        self.store.close()

    def call(self, *verbs: str) -> None:
        """Raise the error that the test requested for one of *verbs*, if any."""
        for verb in verbs:
            if self._next[verb]:
                raise self._next[verb].popleft()
            if verb in self.fails_on:
                raise self.fails_on[verb]
        if self.fails is not None and _CHANGING.intersection(verbs):
            raise self.fails


class FaultyLease:
    """The lease of a :class:`FaultyStore`: it fails where the store is told to."""

    def __init__(self, store: FaultyStore, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self.term: int = lease.term
        self.where: Callable[[], int] = lease.where
        self.release: Callable[[], None] = lease.release

    @property
    def next(self) -> int:
        return self._lease.next

    def read(self) -> Stored | None:
        self._store.call("read")
        return self._lease.read()

    def append(
        self, sequence: int, data: bytes, summary: bytes = b"", meanwhile: Callable[[], None] | None = None
    ) -> None:
        self._store.call("append", "write")
        self._lease.append(sequence, data, summary, meanwhile)

    def stage(self, sequence: int, pieces: Iterable[bytes]) -> Callable[[bytes], None]:
        self._store.call("stage", "write")
        return partial(self._commit, self._lease.stage(sequence, pieces))

    def _commit(self, commit: Callable[[bytes], None], summary: bytes) -> None:
        self._store.call("commit")
        commit(summary)

    def renew(self) -> None:
        self._store.call("renew")
        self._lease.renew()

    def delete(self) -> bool:
        self._store.call("delete")
        return self._lease.delete()

    @property
    def has_artifacts(self) -> bool:
        return self._keeping.has_artifacts

    def put_artifact(self, name: str, pieces: Iterable[bytes]) -> None:
        self._store.call("put_artifact")
        self._keeping.put_artifact(name, pieces)

    def artifact_place(self, name: str) -> Path | None:
        return self._keeping.artifact_place(name)

    def seal_artifact(self, name: str) -> None:
        self._store.call("put_artifact")
        self._keeping.seal_artifact(name)

    def keep_artifacts(self, names: Collection[str]) -> None:
        self._store.call("keep_artifacts")
        self._keeping.keep_artifacts(names)

    @property
    def _keeping(self) -> ArtifactLease:
        return cast("ArtifactLease", self._lease)


def _checked(verb: str) -> str:
    if verb not in _VERBS:
        raise ValueError(f"a store has no verb {verb!r}; there are {', '.join(sorted(_VERBS))}")
    return verb
