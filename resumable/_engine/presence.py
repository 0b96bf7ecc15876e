"""What other processes see of an open operation, and what they ask of it: pause, stop, retry failed items."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._errors import StateEncodeError, StoreError
from .._runtime.clock import instant, system_clock
from .._runtime.steps import Pause, Steps
from .._text import command_for

if TYPE_CHECKING:
    from .._format.sections import Run
    from ..stores import CheckpointStore
    from .operation import Operation

_log = logging.getLogger("resumable")
_POLL_SECONDS = 0.2


def appear(operation: Operation, *, has_saved: bool = True) -> None:
    """Show other processes that *operation* is running, and receive their requests; not with a test's clock.

    A second call does nothing.

    Args:
        has_saved: Whether it has saved already: a run that continues does not wait for that.
    """
    is_off = os.environ.get("RESUMABLE_INDEX", "").lower() in ("off", "0", "no", "false")
    if is_off or not operation.options.works_beside or operation.clock is not system_clock:
        return
    from .._report.presence import Presence  # a new operation needs it only after its first save

    if any(isinstance(each, Presence) for each in operation.observers):
        return
    store, control = operation.options.store, Control(operation)
    presence = Presence(operation, store, control, lambda: items_done(operation), has_saved=has_saved)
    operation.observers = (*operation.observers, presence)


def items_done(operation: Operation) -> int:
    """Items done over all runs, as any thread may read them."""
    loops = operation.parts.loops
    return operation.items_before + operation.ticker.ticked + (loops.done() if loops.views else 0)


def asks_to_retry(store: CheckpointStore, operation_id: str) -> bool:
    """Whether a person asked since the last run to retry failed items. Clears the request."""
    from .._report.wishes import asked_of, take_back  # only if something has failed

    with contextlib.suppress(StoreError):  # the next run sees the request
        asked = asked_of(store, operation_id)
        if asked is not None and asked.ask == "retry-failed":
            take_back(store, operation_id, asked)
            return True
    return False


class Control:
    """What another process's request does to an *operation*."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    @property
    def term(self) -> int:
        """The number of its claim."""
        lease = self._operation.writer.lease
        return lease.term if lease is not None else 0

    @property
    def save_seconds(self) -> float:
        """The duration of the last save that stands."""
        return self._operation.save_seconds

    @property
    def unsaved_runs(self) -> list[Run]:
        """The runs that no save tells of: this one, and those before it that were killed before their first save."""
        if self._operation.session.saves:
            return []
        history = self._operation.parts.history
        earlier = (run for run in history.sections.history if not run.reason and run.run < history.number)
        return [*earlier, history.entry]

    @property
    def is_ending(self) -> bool:
        """Whether its block has ended, so that it takes no more requests."""
        return self._operation.is_ending

    @property
    def is_paused(self) -> bool:
        """Whether it should pause."""
        return self._operation.is_asked_to_pause

    @property
    def owes_retries(self) -> bool:
        """Whether a requested retry of failed items is still to do."""
        return self._operation.parts.failed.is_owed

    def pause(self, is_wanted: bool) -> None:
        """Make it pause after its item, or go on."""
        self._operation.is_asked_to_pause = is_wanted
        self._operation.wake()

    def stop(self) -> None:
        """Make it save and stop after its item."""
        self._operation.is_asked_to_stop = True
        self._operation.wake()

    def try_failed_again(self) -> None:
        """Retry all items that have failed so far, in running loops and in those that begin later in this run.

        If a loop begins meanwhile, this may fail. Calling it again is safe.
        """
        parts = self._operation.parts
        parts.retries_failed = True
        parts.loops.small.end_streaks()
        parts.failed.ask_again()
        for view in list(parts.loops.shown().values()):
            if view.loop is not None:
                view.loop.tries_again = parts.failed
                view.loop.wake()
        self._operation.wake()


def pause(operation: Operation, is_over: Callable[[], bool]) -> Steps[None]:
    """Save, and wait until *is_over*."""
    from .._report.wishes import PAUSED  # only if somebody asks for it

    if is_over():
        return
    with contextlib.suppress(StoreError, StateEncodeError):  # the next save tries again, and warns
        yield from operation.save(PAUSED)
    on = command_for("resume", operation.operation_id, operation.directory)
    _log.warning("%s: paused at %s. Saved. To go on:  %s", operation.operation_id, f"{operation.processed_items:,}", on)
    for each in operation.observers:
        each.paused(operation)
    paused_at = operation.clock.now()
    try:
        while operation.is_asked_to_pause and not is_over():
            yield Pause(_POLL_SECONDS, operation.clock)
    finally:
        operation.instant = instant(operation.clock)
        operation.session.paused(operation.instant.monotonic - paused_at, now=operation.instant.monotonic)
        for each in operation.observers:
            each.resumed(operation)
