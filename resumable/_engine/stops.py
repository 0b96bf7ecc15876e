"""Whether an operation pauses or stops, as a signal, a person or ``cp.stop()`` asks, and what may still end then."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

from .._errors import StateEncodeError, StoreError
from .._runtime import signals
from .._runtime.interpreter import hush_stopped_threads
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
    """Save and stop, if a signal or the program asks for it. In a map, what is under way goes on for a while.

    Raises:
        KeyboardInterrupt, SystemExit: It does.
    """
    if operation.is_asked_to_pause:
        yield from pause(operation, lambda: is_stopping(operation))
    if operation.graces is not None and is_stopping(operation) and (yield from goes_on(operation)):
        return
    is_main = threading.current_thread() is threading.main_thread()
    number = signals.wish.number if operation.is_listening else None
    if number is None and operation.is_asked_to_stop:
        number, operation.is_asked_to_stop = signal.SIGTERM, not is_main  # all threads are to see it
    if number is None and not is_main:
        number = operation.acted_on  # the main thread was faster
    if number is None:
        return
    operation.acted_on = number
    error = signals.error_for(number)
    if (yield from answers(operation.writer.ending)):  # else the exit keeps it here at once
        with contextlib.suppress(StoreError, StateEncodeError):  # the save at the exit tries again, and tells
            yield from operation.save(f"Interrupted: {signals.name_of(error)}")
    if is_main:
        signals.take()
    else:
        # Whoever waits for this thread may not see its error: the block must not take the work for done.
        operation.stopped_by = error
        hush_stopped_threads()
    raise error


def end_sleep_if_asked(operation: Operation, seconds: float) -> None:
    """End the sleep of a thread beside the main one, if the program stops before its last *seconds* have passed.

    Raises:
        KeyboardInterrupt, SystemExit: It does. Whoever waits for this thread sees to what is saved.
    """
    if not is_stopping(operation):
        return
    grace = operation.graces.here() if operation.graces is not None else None
    if grace is not None:
        grace.begin()
        if seconds < grace.left:
            return
    error = signals.error_for(operation.acted_on or signals.wish.number or signal.SIGTERM)
    operation.stopped_by = error
    raise error


# -- what may still end


def open_grace(operation: Operation, seconds: float) -> Grace:
    """A map begins here. When a stop is asked for, its calls in flight get *seconds* to end."""
    if operation.graces is None:
        from .._loops.map.grace import Graces

        operation.graces = Graces(operation.clock)
    return operation.graces.open(seconds)


def goes_on(operation: Operation) -> Steps[bool]:
    """It is to stop. Whether what runs here has the grace of a map; as that begins, all that is done is saved."""
    grace = operation.graces.here() if operation.graces is not None else None
    if operation.graces is None or grace is None:
        return False
    if grace.is_seen:
        return not grace.is_over
    grace.is_seen = True
    operation.graces.begin_all()
    with contextlib.suppress(StoreError, StateEncodeError):  # the save at the exit tries again, and tells
        yield from operation.save("Stopping: what is under way may end")
    return True


def has_grace(operation: Operation) -> bool:
    """Whether what runs here was under way in a map when a stop was asked for, and may go on for a while."""
    grace = operation.graces.here() if operation.graces is not None else None
    return grace is not None and grace.until is not None and not grace.is_over


def seconds_of_grace(operation: Operation) -> float:
    """A stop is asked for. For how long maps still work on what is under way; 0 where one waits for its input."""
    if operation.graces is None:
        return 0.0
    operation.graces.begin_all()
    return 0.0 if operation.graces.is_idle else operation.graces.left or 0.0
