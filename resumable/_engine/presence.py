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

    def retry_failed() -> None:
        operation.parts.retries_failed = True

    presence = Presence(operation, operation.options.store, operation, lambda: items_done(operation), retry_failed)
    operation.observers = (*operation.observers, presence)


def items_done(operation: Operation) -> int:
    """Items over all runs, as far as another thread than the loop's can tell."""
    loops = operation.parts.loops
    return operation.items_before + operation.ticker.ticked + (loops.done() if loops.views else 0)


def asks_to_retry(store: CheckpointStore, operation_id: str) -> bool:
    """Whether somebody has asked, since the run before, to try again what has failed. It is asked for once."""
    from .._report.places import Asked, ask_path, read, remove  # where something has failed

    path = ask_path(store, operation_id)
    asked = read(path, Asked) if path is not None else None
    if path is None or asked is None or asked.ask != "retry-failed":
        return False
    remove(path)
    return True


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
