"""What threads do for an operation while its loop goes on: one write in flight, and one compaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .capture import Save
from .document import Document

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

R = TypeVar("R")


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
        """Let the threads end. Nothing may be under way."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _done_here(work: Callable[[], R]) -> Future[tuple[R, float]]:
    future: Future[tuple[R, float]] = Future()
    try:
        future.set_result(_timed(work))
    except Exception as error:
        future.set_exception(error)
    return future


def _timed(work: Callable[[], R]) -> tuple[R, float]:
    began = time.monotonic()
    return work(), time.monotonic() - began
