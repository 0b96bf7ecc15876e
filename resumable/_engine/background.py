"""What threads do for an operation while its loop runs: they write saves, one by one, and at most one compaction."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from .capture import Save
from .document import Document

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

R = TypeVar("R")

_MOST_BYTES, _MOST_SAVES, _MOST_SECONDS = 32 << 20, 16, 1.0
"""Above any of these (bytes, saves, seconds), the loop waits for the store, so that the strategy is obeyed."""
_MOST_SECONDS_PUT_OFF = 0.5
"""Shorter: what was sent just before is not stored yet, either."""
_TOGETHER = 8
"""At most this many saves in one batch, so that the loop soon hears of the first."""


class InFlight(msgspec.Struct):
    """Saves that were sent to a thread and are not stored yet.

    Attributes:
        saves: Oldest first.
        bytes: Of their journal records, together.
        put_off_at: When a save came due that must wait for a thread; None if there is none.
    """

    saves: deque[Save] = msgspec.field(default_factory=deque)
    bytes: int = 0
    put_off_at: float | None = None

    def add(self, save: Save) -> None:
        """Add *save*, which was just sent."""
        save.status, save.sent_at = "sent", time.monotonic()
        self.saves.append(save)
        self.bytes += len(save.record or b"")

    def batch(self, *, is_one: bool) -> list[Save]:
        """The saves that a thread writes next. *is_one*: they go out as one write, so the batch may be larger."""
        return [*islice(self.saves, _MOST_SAVES if is_one else _TOGETHER)]

    def stored(self, save: Save) -> None:
        """Remove *save*, the oldest: it is stored."""
        save.status = "stored"
        self.saves.popleft()
        self.bytes -= len(save.record or b"")

    def drop(self) -> list[Save]:
        """Forget all, because they failed. Returns them."""
        failed = [*self.saves]
        self.saves.clear()
        self.bytes = 0
        for save in failed:
            save.status = "failed"
        return failed

    def put_off(self) -> None:
        """Note that a save is due, but must wait for a thread."""
        if self.put_off_at is None:
            self.put_off_at = time.monotonic()

    @property
    def seconds_left(self) -> float:
        """How long the loop may continue while a save waits for a thread."""
        if self.put_off_at is None:
            return _MOST_SECONDS_PUT_OFF
        return self.put_off_at + _MOST_SECONDS_PUT_OFF - time.monotonic()

    @property
    def is_behind(self) -> bool:
        """Whether the store is so slow that the loop must wait for it."""
        if self.bytes > _MOST_BYTES or len(self.saves) >= _MOST_SAVES:
            return True
        return bool(self.saves) and time.monotonic() - self.saves[0].sent_at > _MOST_SECONDS


@dataclass(frozen=True, slots=True)
class Job(Generic[R]):
    """A write in flight; the next one begins after it.

    Attributes:
        future: Gives what the write returned, and how many seconds it took.
        then: Handles the result, in the loop's thread.
        saves: The saves that this write stores.
        is_short: Whether the store does most of the work; its time then counts as the cost of the saves.
    """

    future: Future[tuple[R, float]]
    then: Callable[[R], None]
    saves: list[Save]
    is_short: bool = True


@dataclass(frozen=True, slots=True)
class Compaction:
    """A new snapshot that a thread writes while saves go on in the journal.

    Attributes:
        journal_size: Bytes of journal that the new snapshot replaces.
        future: Gives the call that puts it in place, and how many seconds the writing took.
    """

    document: Document
    journal_size: int
    future: Future[tuple[Callable[[bytes], None], float]]


class Threads:
    """Two threads, started at the first need.

    Args:
        wake: Called from a thread whenever it has finished something.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._pool: ThreadPoolExecutor | None = None

    def start(self, work: Callable[[], R]) -> Future[tuple[R, float]]:
        """Do *work* in a thread. The future gives its result, and how many seconds it took."""
        try:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(2, "resumable-save")
            future: Future[Any] = self._pool.submit(_timed, work)
        except RuntimeError:  # the main thread has ended, and Python starts no more threads
            future = _done_here(work)
        future.add_done_callback(lambda _: self._wake())
        return future

    def close(self) -> None:
        """Let the threads finish their work, and end them."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _done_here(work: Callable[[], R]) -> Future[tuple[R, float]]:
    from concurrent.futures import Future

    future: Future[tuple[R, float]] = Future()
    try:
        future.set_result(_timed(work))
    except Exception as error:
        future.set_exception(error)
    return future


def _timed(work: Callable[[], R]) -> tuple[R, float]:
    began = time.monotonic()
    return work(), time.monotonic() - began
