"""What threads do for an operation while its loop goes on: saves in flight, written one by one, and one compaction."""

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
"""When more than this is in flight, or since longer, the loop waits for the medium: a strategy's word holds."""
_MOST_SECONDS_PUT_OFF = 0.5
"""Less, for what was sent just before it is not stored either."""
_TOGETHER = 8
"""At most this many saves in one batch, so that the loop soon hears of the first."""


class InFlight(msgspec.Struct):
    """Saves that were sent to a thread and are not stored yet.

    Attributes:
        saves: Oldest first.
        bytes: Of their journal records, together.
        put_off_at: Since when another save is due, which cannot begin before a thread has ended; None: there is none.
    """

    saves: deque[Save] = msgspec.field(default_factory=deque)
    bytes: int = 0
    put_off_at: float | None = None

    def add(self, save: Save) -> None:
        """*save* is sent."""
        save.status, save.sent_at = "sent", time.monotonic()
        self.saves.append(save)
        self.bytes += len(save.record or b"")

    def batch(self, *, is_one: bool) -> list[Save]:
        """Those that a thread writes next; *is_one*: as one write, so that there may be more of them."""
        return [*islice(self.saves, _MOST_SAVES if is_one else _TOGETHER)]

    def stored(self, save: Save) -> None:
        """*save*, the oldest, is stored."""
        save.status = "stored"
        self.saves.popleft()
        self.bytes -= len(save.record or b"")

    def drop(self) -> list[Save]:
        """All have failed. Returns them."""
        failed = [*self.saves]
        self.saves.clear()
        self.bytes = 0
        for save in failed:
            save.status = "failed"
        return failed

    def put_off(self) -> None:
        """Another save is due, and must wait for its turn."""
        if self.put_off_at is None:
            self.put_off_at = time.monotonic()

    @property
    def seconds_left(self) -> float:
        """How long the loop may go on while a save is put off."""
        if self.put_off_at is None:
            return _MOST_SECONDS_PUT_OFF
        return self.put_off_at + _MOST_SECONDS_PUT_OFF - time.monotonic()

    @property
    def is_behind(self) -> bool:
        """Whether the medium is so slow that the loop must wait for it."""
        if self.bytes > _MOST_BYTES or len(self.saves) >= _MOST_SAVES:
            return True
        return bool(self.saves) and time.monotonic() - self.saves[0].sent_at > _MOST_SECONDS


@dataclass(frozen=True, slots=True)
class Job(Generic[R]):
    """A write in flight; no other may begin before it has ended.

    Attributes:
        future: Gives what the write returned, and the seconds that it took.
        then: What the loop's thread does with what it returned.
        saves: Those that are stored with it.
        is_short: Whether the medium takes most of its time, which then is part of what the saves cost.
    """

    future: Future[tuple[R, float]]
    then: Callable[[R], None]
    saves: list[Save]
    is_short: bool = True


@dataclass(frozen=True, slots=True)
class Compaction:
    """A new snapshot being written beside the journal that has what it holds.

    Attributes:
        journal_size: Bytes of the journal that it makes needless.
        future: Gives what puts it in place, and the seconds that writing it took.
    """

    document: Document
    journal_size: int
    future: Future[tuple[Callable[[bytes], None], float]]


class Threads:
    """Two threads, made when they are needed.

    Args:
        wake: Called from them whenever something is done.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._pool: ThreadPoolExecutor | None = None

    def start(self, work: Callable[[], R]) -> Future[tuple[R, float]]:
        """Do *work* beside the loop; the future gives what it returned, and the seconds it took."""
        try:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(2, "resumable-save")
            future: Future[Any] = self._pool.submit(_timed, work)
        except RuntimeError:  # the main thread has ended, and with it the time for new threads
            future = _done_here(work)
        future.add_done_callback(lambda _: self._wake())
        return future

    def close(self) -> None:
        """Let the threads end what they do."""
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
