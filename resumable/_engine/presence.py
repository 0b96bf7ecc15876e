"""What others see of an open operation, and what they ask of it: to pause, to stop, to try again what has failed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._errors import StateEncodeError, StoreError
from .._runtime.clock import instant, system_clock
from .._runtime.steps import Pause, Steps
from .._text import command_for

if TYPE_CHECKING:
    from ..stores import CheckpointStore
    from .operation import Operation

_log = logging.getLogger("resumable")
_POLL_SECONDS = 0.2


def appear(operation: Operation) -> None:
    """From now on *operation* tells others that it works, and hears what they ask; not with a clock of a test."""
    if operation.clock is not system_clock:
        return
    from .._report.presence import Presence  # once a run has saved

    presence = Presence(operation, operation.options.store, Control(operation), lambda: items_done(operation))
    operation.observers = (*operation.observers, presence)


def items_done(operation: Operation) -> int:
    """Items over all runs, as far as another thread than the loop's can tell."""
    loops = operation.parts.loops
    return operation.items_before + operation.ticker.ticked + (loops.done() if loops.views else 0)


def asks_to_retry(store: CheckpointStore, operation_id: str) -> bool:
    """Whether somebody has asked, since the run before, to try again what has failed. It is asked for once."""
    from .._report.wishes import asked_of, take_back  # where something has failed

    with contextlib.suppress(StoreError):  # it is the next one that is asked then
        asked = asked_of(store, operation_id)
        if asked is not None and asked.ask == "retry-failed":
            take_back(store, operation_id, asked)
            return True
    return False


class Control:
    """What is done to an *operation* that somebody asks something of."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    @property
    def term(self) -> int:
        """The number of its claim."""
        lease = self._operation.writer.lease
        return lease.term if lease is not None else 0

    @property
    def save_seconds(self) -> float:
        """What the last save took that stands."""
        return self._operation.save_seconds

    @property
    def is_ending(self) -> bool:
        """Whether its block has ended, so that nothing can be asked of it any more."""
        return self._operation.is_ending

    @property
    def is_paused(self) -> bool:
        """Whether it is to pause."""
        return self._operation.is_asked_to_pause

    @property
    def owes_retries(self) -> bool:
        """Whether something that has failed is still to be tried again, as somebody has asked."""
        return self._operation.parts.failed.is_owed

    def pause(self, is_wanted: bool) -> None:
        """Have it pause after its item, or go on."""
        self._operation.is_asked_to_pause = is_wanted
        self._operation.wake()

    def stop(self) -> None:
        """Have it save and stop after its item."""
        self._operation.is_asked_to_stop = True
        self._operation.wake()

    def try_failed_again(self) -> None:
        """Have what has failed up to now tried again: by loops that go on, and by those that begin later in this run.

        It may fail if a loop begins meanwhile. Calling it again is safe.
        """
        parts = self._operation.parts
        parts.retries_failed = True
        parts.failed.ask_again()
        for view in list(parts.loops.views.values()):
            if view.loop is not None:
                view.loop.tries_again = parts.failed
        self._operation.wake()


def pause(operation: Operation, is_over: Callable[[], bool]) -> Steps[None]:
    """Save, and wait for as long as somebody wants it, until *is_over*."""
    if is_over():
        return
    with contextlib.suppress(StoreError, StateEncodeError):  # the next save tries again, and tells
        yield from operation.save("Paused")
    on = command_for("resume", operation.operation_id, operation.directory)
    _log.warning("%s: paused at %s. Saved. To go on:  %s", operation.operation_id, f"{operation.processed_items:,}", on)
    for each in operation.observers:
        each.paused(operation)
    try:
        while operation.is_asked_to_pause and not is_over():
            yield Pause(_POLL_SECONDS, operation.clock)
    finally:
        operation.instant = instant(operation.clock)
        operation.session.waited(now=operation.instant.monotonic)
        for each in operation.observers:
            each.resumed(operation)
