"""Observers: told what happens to every open operation of the process. They decide nothing and save nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .._models import CheckpointMetadata


class Observed(Protocol):
    """An open operation, as its observers see it. All values are for reading only."""

    @property
    def operation_id(self) -> str:
        """The operation's name."""
        ...

    @property
    def resumed(self) -> bool:
        """Whether an earlier run's checkpoint was restored."""
        ...

    @property
    def processed_items(self) -> int:
        """Items done, over all runs."""
        ...

    @property
    def items_before(self) -> int:
        """Items that earlier runs had done."""
        ...

    @property
    def metadata(self) -> CheckpointMetadata:
        """What is known of the operation besides its state: total, rate limit, saves."""
        ...

    @property
    def run_number(self) -> int:
        """1 in the first run of the operation, 2 after the first resume."""
        ...


class Observer:
    """Base class of observers: override what you want to hear of; each method does nothing.

    The engine calls all observers in the order of their installation and waits for each. An exception goes on to the
    program, as if the operation itself had raised it. Async checkpoints call from the event loop's thread.
    """

    is_quiet = False
    """True: it does not hear of check-ins and saves."""

    def configure(self, options: Any) -> Any:
        """Return the options to open an operation with: *options*, or a changed copy.

        Called before the operation touches its store, in the thread that opens it.
        """
        return options

    def opened(self, operation: Observed) -> None:
        """The operation is owned and restored, and its block is about to begin. Called in the opening thread."""

    def checking_in(self, operation: Observed) -> None:
        """A check-in begins. Called in the thread that ticks or loops, before signals, saves and waits."""

    def checked_in(self, operation: Observed) -> None:
        """A check-in ended without an error. Called in the thread that called :meth:`checking_in`."""

    def saving(self, operation: Observed | None, reason: str) -> None:
        """A save is due and nothing of it is captured yet. Called in the thread that saves."""

    def saved(self, operation: Observed | None, reason: str, seconds: float) -> None:
        """The store has the save. Called in a thread of the operation, at its first check-in or save after that.

        Args:
            seconds: How long the save took, writing included.
        """

    def failed(self, operation: Observed, error: BaseException) -> None:
        """A save failed; the checkpoint before it stands. Called in the thread that *error* is raised in."""

    def waiting(self, operation: Observed, seconds: float, whom: str) -> None:
        """Everything is saved, and the operation waits for a quota. Called before each nap, by the waiting thread.

        Args:
            seconds: What is left of the wait.
            whom: The host or resource that it waits for; "" if unknown.
        """

    def resumed(self, operation: Observed) -> None:
        """The wait is over or was broken off. Called in the thread that waited."""

    def closing(self, operation: Observed, error: BaseException | None) -> None:
        """The block ended, well or by *error*; the last save or the removal follows. Called in the closing thread."""

    def finalizing(self, operation: Observed | None) -> None:
        """The operation finished, and its checkpoint is about to be removed. Called in the closing thread."""

    def closed(self, operation: Observed) -> None:
        """The operation is released and can be opened again. Called in the closing thread, also after an error."""

    # -- a CheckpointManager; its saves and removals come with None in the place of an operation

    def managed(self, manager: Any) -> None:
        """A CheckpointManager was made. Called in the thread that made it."""

    def finalized(self, manager: Any) -> None:
        """A CheckpointManager has finalized an operation. Called in the thread that asked for it."""


_installed: tuple[Observer, ...] = ()
_installing = threading.Lock()


def current() -> tuple[Observer, ...]:
    """The observers installed in this process, the oldest first."""
    return _installed


@contextlib.contextmanager
def installed(observer: Observer) -> Iterator[None]:
    """Within the block, *observer* hears of every operation of the process, whatever the thread."""
    global _installed
    with _installing:
        _installed = (*_installed, observer)
    try:
        yield
    finally:
        with _installing:
            _installed = tuple(other for other in _installed if other is not observer)
