"""How an operation pauses or stops when a signal, a person or ``cp.stop()`` asks, and what may still finish then."""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from .._errors import StateEncodeError, StoreError
from .._runtime import signals
from .._runtime.interpreter import hush_stopped_tasks, hush_stopped_threads, is_named_by_user
from .._runtime.steps import Steps
from .owning import answers
from .presence import pause

if TYPE_CHECKING:
    from .._loops.map.grace import Grace
    from .operation import Operation

_log = logging.getLogger("resumable")
_STOPS = frozenset(("KeyboardInterrupt", "SystemExit"))
_SOON_SECONDS = 1.0
"""A program that catches a stop may tidy up for this long before it is said to go on."""


def is_stopping(operation: Operation) -> bool:
    """Whether a signal or the program asks to stop."""
    if operation.is_asked_to_stop or (operation.is_listening and signals.wish.number is not None):
        return True
    return operation.acted_on is not None and threading.current_thread() is not threading.main_thread()


def stop_if_asked(operation: Operation, wait: float = 0.0) -> Steps[None]:
    """Save and stop if a signal or the program asks for it. In a map, calls in flight go on for a grace period.

    If the program has caught such a stop and goes on, that is said once, and the next signal ends the process, after
    a save: a bare ``except:`` would catch each further exception, too. Code that names KeyboardInterrupt or SystemExit
    catches them on purpose, and gets each one.

    Args:
        wait: Seconds that this code is about to wait. If that is longer than the grace period, it stops now.

    Raises:
        KeyboardInterrupt, SystemExit: It stops.
    """
    if operation.is_asked_to_pause:
        yield from pause(operation, lambda: is_stopping(operation))
    if operation.graces is not None and is_stopping(operation) and (yield from goes_on(operation, wait)):
        if wait:
            operation.graces.note_wait(wait, operation.wake)
        return
    is_main = threading.current_thread() is threading.main_thread()
    number = signals.wish.number if operation.is_listening else None
    is_request = number is None and operation.is_asked_to_stop
    if is_request:
        number, operation.is_asked_to_stop = signal.SIGTERM, not is_main  # so that all threads see it
    if number is None and not is_main:
        number = operation.acted_on  # the main thread came first
    if number is None:
        is_late = time.monotonic() - signals.wish.came_at > _SOON_SECONDS
        if operation.acted_on is not None and is_late and not is_named_by_user(_STOPS):
            _say_caught(operation.operation_id)
        return
    was_caught = is_main and operation.is_listening and signals.wish.stops > 0 and not is_request
    operation.acted_on = number
    error = signals.requested_stop() if is_request else signals.error_for(number)
    if (yield from answers(operation.writer.ending)):  # else the exit keeps the work here at once
        with contextlib.suppress(StoreError, StateEncodeError):  # the save at the exit tries again, and warns
            yield from operation.save(f"Interrupted: {signals.name_of(error)}")
    if was_caught and signals.may_end_process() and not is_named_by_user(_STOPS):
        yield from _end_process(operation, error, number)
    if operation.ticker.is_async:
        hush_stopped_tasks()
    if is_main:
        signals.stopping(number, but=operation.wake)
    else:
        # The error may be lost in this thread: the block must not finalize.
        operation.stopped_by = error
        hush_stopped_threads()
    raise error


@functools.lru_cache(maxsize=256)
def _say_caught(operation_id: str) -> None:
    _log.error(
        "%s: the program was asked to stop, but caught that and goes on: a bare except: around cp.tick() or a loop "
        "does so. Write except Exception: instead. The next Ctrl-C or SIGTERM saves and ends the process.",
        operation_id,
    )


def _end_process(operation: Operation, error: BaseException, number: int) -> Steps[None]:
    _log.error(
        "%s: %s came again, after the program had caught the stop before; the process ends.",
        operation.operation_id,
        "Ctrl-C" if number == signal.SIGINT else signals.name_of(error),
    )
    for each in [operation, *cast("Iterable[Operation]", list(signals.open_here))]:
        if each.is_listening and not each.is_ending:
            each.is_ending = True
            yield from each.close(error)
            each.release()
    signals.end_process(number)


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


def goes_on(operation: Operation, wait: float = 0.0) -> Steps[bool]:
    """Whether this code belongs to a map's grace period, after a request to stop. At its beginning, all is saved.

    Args:
        wait: Seconds that this code is about to wait. It does not go on if that is longer than the grace period.
    """
    grace = operation.graces.here() if operation.graces is not None else None
    if operation.graces is None or grace is None:
        return False
    is_new, grace.is_seen = not grace.is_seen, True
    if is_new:
        operation.graces.begin_all()
        with contextlib.suppress(StoreError, StateEncodeError):  # the save at the exit tries again, and warns
            yield from operation.save("Stopping: what is under way may end")
    is_held = wait and not operation.ticker.is_async  # a task is cancelled at the end of the grace
    return wait < grace.left if is_held else is_new or not grace.is_over


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
