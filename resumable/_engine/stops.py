"""How an operation pauses or stops when a signal, a person or ``cp.stop()`` asks, and what may still finish then."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

from .._errors import StateEncodeError, StoreError
from .._runtime import signals
from .._runtime.interpreter import hush_stopped_tasks, hush_stopped_threads
from .._runtime.steps import Steps
from .owning import answers
from .presence import pause

if TYPE_CHECKING:
    from .._loops.map.grace import Grace
    from .operation import Operation


def is_stopping(operation: Operation) -> bool:
    """Whether a signal or the program asks to stop."""
    if operation.is_asked_to_stop or (operation.is_listening and signals.wish.number is not None):
        return True
    return operation.acted_on is not None and threading.current_thread() is not threading.main_thread()


def stop_if_asked(operation: Operation) -> Steps[None]:
    """Save and stop if a signal or the program asks for it. In a map, calls in flight go on for a grace period.

    Raises:
        KeyboardInterrupt, SystemExit: It stops.
    """
    if operation.is_asked_to_pause:
        yield from pause(operation, lambda: is_stopping(operation))
    if operation.graces is not None and is_stopping(operation) and (yield from goes_on(operation)):
        return
    is_main = threading.current_thread() is threading.main_thread()
    number = signals.wish.number if operation.is_listening else None
    is_request = number is None and operation.is_asked_to_stop
    if is_request:
        number, operation.is_asked_to_stop = signal.SIGTERM, not is_main  # so that all threads see it
    if number is None and not is_main:
        number = operation.acted_on  # the main thread came first
    if number is None:
        return
    operation.acted_on = number
    error = signals.requested_stop() if is_request else signals.error_for(number)
    if (yield from answers(operation.writer.ending)):  # else the exit keeps the work here at once
        with contextlib.suppress(StoreError, StateEncodeError):  # the save at the exit tries again, and warns
            yield from operation.save(f"Interrupted: {signals.name_of(error)}")
    if operation.ticker.is_async:
        hush_stopped_tasks()
    if is_main:
        signals.stopping(number, but=operation.wake)
    else:
        # The error may be lost in this thread: the block must not finalize.
        operation.stopped_by = error
        hush_stopped_threads()
    raise error


def end_sleep_if_asked(operation: Operation, seconds: float) -> None:
    """End the sleep of a thread beside the main one if the program stops before its last *seconds* have passed.

    Raises:
        KeyboardInterrupt, SystemExit: The program stops. Whoever waits for this thread takes care of the save.
    """
    if not is_stopping(operation):
        return
    grace = operation.graces.here() if operation.graces is not None else None
    if grace is not None:
        grace.begin()
        if seconds < grace.left:
            return
    number = operation.acted_on or signals.wish.number
    error = signals.requested_stop() if number is None else signals.error_for(number)
    operation.stopped_by = error
    raise error


# -- grace periods


def open_grace(operation: Operation, seconds: float) -> Grace:
    """Begin a map's grace: after a request to stop, its calls in flight get *seconds* to finish."""
    if operation.graces is None:
        from .._loops.map.grace import Graces

        operation.graces = Graces(operation.clock)
    return operation.graces.open(seconds)


def goes_on(operation: Operation) -> Steps[bool]:
    """Whether this code belongs to a map's grace period, after a request to stop. At its beginning, all is saved."""
    grace = operation.graces.here() if operation.graces is not None else None
    if operation.graces is None or grace is None:
        return False
    if grace.is_seen:
        return not grace.is_over
    grace.is_seen = True
    operation.graces.begin_all()
    with contextlib.suppress(StoreError, StateEncodeError):  # the save at the exit tries again, and warns
        yield from operation.save("Stopping: what is under way may end")
    return True


def has_grace(operation: Operation) -> bool:
    """Whether this code was in flight in a map when the request to stop came, and may still run for a while."""
    grace = operation.graces.here() if operation.graces is not None else None
    return grace is not None and grace.until is not None and not grace.is_over


def seconds_of_grace(operation: Operation) -> float:
    """How long maps still work on their calls in flight after a request to stop; 0 where one waits for its input."""
    if operation.graces is None:
        return 0.0
    operation.graces.begin_all()
    return 0.0 if operation.graces.is_idle else operation.graces.left or 0.0
