"""What threads do for an operation while its loop goes on: one write on its way, and one fold."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from .._format.journal import Tail
from .._runtime.steps import Steps
from .capture import SnapshotWriter

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

R = TypeVar("R")


@dataclass(slots=True)
class Flight(Generic[R]):
    """A write that is on its way to the store; until it has landed, no other may begin.

    Attributes:
        stands: What is to be done, in the loop's thread, with what the write returned.
        fails: The same if it failed.
        saves: How many saves count once it has landed.
        is_short: Whether the disk takes most of its time, which then is part of what the saves cost.
    """

    future: Future[tuple[R, float]]
    stands: Callable[[R], Steps[None]]
    fails: Callable[[], None]
    saves: int = 1
    is_short: bool = True

    def land(self) -> Steps[list[float]]:
        """Take note of how it ended: the seconds to charge to each save that now stands.

        Raises:
            StoreError: It failed.
        """
        error = self.future.exception()
        if error is not None:
            self.fails()
            raise error
        result, seconds = self.future.result()
        yield from self.stands(result)
        charged = seconds if self.is_short else 0.0
        return [charged / self.saves for _ in range(self.saves)]


@dataclass(frozen=True, slots=True)
class NewJournal:
    """The journal that follows a fold, written beside the old one.

    Attributes:
        put_in_place: Adds what came since, and replaces the old one.
        tail: Where it ends.
        records: How many of the saves since the fold began are in it.
    """

    put_in_place: Callable[[bytes], None]
    tail: Tail
    records: int


@dataclass(slots=True)
class Fold:
    """A journal being folded into a new snapshot. Its saves are safe in the journal already.

    Attributes:
        records: What was saved to the journal since it began.
    """

    writer: SnapshotWriter
    future: Future[tuple[NewJournal, float]] = field(init=False)
    records: list[bytes] = field(default_factory=list)


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
            future = self._pool.submit(_timed, work)
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
