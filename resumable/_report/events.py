"""Events of an operation, for functions of the program and the log. Their errors never reach the loop."""

from __future__ import annotations

import atexit
import contextvars
import dataclasses
import inspect
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from .._errors import RateLimitExhausted
from .._loops.ledgers.failed import error_text
from .._runtime.observer import Observed, Observer

EventName = Literal[
    "opened", "resumed", "saved", "save_failed", "waiting", "paused", "going_on", "failed_item", "stopping", "done"
]

_log = logging.getLogger("resumable")
records = logging.getLogger("resumable.events")
"""Gets one record for each event, at level DEBUG."""
_TEXTS: dict[str, str] = {
    "opened": "operation opened",
    "resumed": "operation resumed",
    "saved": "checkpoint saved",
    "save_failed": "checkpoint not saved",
    "waiting": "operation waits",
    "paused": "operation paused",
    "going_on": "operation goes on",
    "failed_item": "item failed",
    "stopping": "run stopped",
    "done": "operation done",
}
_PATIENCE_SECONDS = 5.0
"""The end of a block waits at most this long for functions that still run."""
_MOST_WAITING = 1000
"""If this many events wait for a function, it gets no ``saved`` events until it has caught up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of an operation, as ``on_event=`` functions receive it.

    Example:
        >>> def note(event: Event):
        ...     if event.name in ("opened", "done"):
        ...         print(event.operation_id, event.name, event.processed_items)
        >>> with checkpointed("told", on_event=note) as cp:
        ...     for number in cp.remaining(range(3)):
        ...         pass
        told opened 0
        told done 3

    Attributes:
        name: ``opened``: a new operation begins; ``resumed``: one goes on; ``saved``; ``save_failed``; ``waiting`` for
            a quota; ``paused`` on request; ``going_on`` after a wait or pause; ``failed_item``; ``stopping``: the run
            ends before its work is done; ``done``: all is done.
        at: When (UTC).
        run: Number of the run, from 1.
        processed_items: Items done over all runs.
        total_items: Number of items; None if unknown.
        failed_items: Items that have failed and are not done since.
        errors: Errors counted over all runs.
        location: Where the checkpoint lies.
        reason: The reason of the last save; of ``stopping``, why the run has ended.
        seconds: Of ``saved``, how long the save took; of ``waiting``, how long it will wait.
        whom: Of ``waiting``, the host or resource it waits for.
        loop, key: Of ``failed_item``, the loop and the item's key or position; of ``stopping``, those of the item at
            which an exception has ended the run.
        error: Of ``failed_item``, ``save_failed`` and ``stopping``: the error as text, without secrets.
        again_at: Of ``stopping`` by a used-up quota: when it is fresh, in seconds since the epoch.
        requests_remaining, requests_limit: The known quota of the API.
        notes: Texts that are saved with this run. A function with ``is_direct = True`` may add some.
        notes_before: The notes of the run before.
    """

    name: EventName
    operation_id: str
    at: datetime
    run: int
    processed_items: int
    total_items: int | None = None
    failed_items: int = 0
    errors: int = 0
    location: str = ""
    reason: str = ""
    seconds: float | None = None
    whom: str = ""
    loop: str = ""
    key: str | int | None = None
    error: str = ""
    again_at: float | None = None
    requests_remaining: int | None = None
    requests_limit: int | None = None
    notes: dict[str, str] = dataclasses.field(default_factory=dict)
    notes_before: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON; empty values are omitted.

        Example:
            >>> def tell(event):
            ...     print(event.to_dict()["kind"])
            >>> block = checkpointed("told", on_event=tell)
        """
        told = dataclasses.asdict(self) | {"at": self.at.isoformat(timespec="milliseconds")}
        del told["notes"], told["notes_before"]
        return {name: value for name, value in told.items() if value not in (None, "")}


OnEvent = Callable[[Event], object]


def checked_functions(on_event: OnEvent | Iterable[OnEvent] | None) -> tuple[OnEvent, ...]:
    """The functions in ``on_event=``: one or several.

    Raises:
        TypeError: One is not a function.
    """
    if on_event is None:
        return ()
    functions = (
        (on_event,) if callable(on_event) else tuple(on_event) if isinstance(on_event, Iterable) else (on_event,)
    )
    for function in functions:
        if not callable(function):
            raise TypeError(f"on_event must be a function, or several, that take an event, not {function!r:.80}")
    return functions


class Events(Observer):
    """Passes the events of one operation to *functions* and to the log. Their errors never reach the operation.

    Each function has its own thread, so that one that hangs delays nobody. A function with ``is_direct = True``
    promises to be quick, and is called directly.

    Args:
        is_async: Whether the operation is async: its end must not block the event loop.
    """

    is_quiet, hears_saves = True, True

    def __init__(self, functions: Iterable[OnEvent], *, is_async: bool = False) -> None:
        self._tellers = [_Direct(one) if getattr(one, "is_direct", False) else _Courier(one) for one in functions]
        self._is_async = is_async
        self._is_waiting = self._is_finished = False
        self._error: BaseException | None = None
        self._saved_last: tuple[str, int] | None = None

    def opened(self, operation: Observed) -> None:
        self._tell(operation, "resumed" if operation.resumed else "opened")

    def saved(self, operation: Observed | None, reason: str, seconds: float) -> None:
        if operation is None:
            return
        if not self._was_told(reason, operation.processed_items):
            self._tell(operation, "saved", reason=reason, seconds=round(seconds, 6))

    def _was_told(self, reason: str, items: int) -> bool:
        """Whether the last event already told of this save: a stop saves at once, and again when the block ends."""
        before, self._saved_last = self._saved_last, (reason, items)
        return self._saved_last == before and reason.startswith("Interrupted: ")

    def failed(self, operation: Observed, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._tell(operation, "save_failed", error=error_text(error))

    def waiting(self, operation: Observed, seconds: float, whom: str) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._tell(operation, "waiting", seconds=round(seconds, 3), whom=whom)

    def paused(self, operation: Observed) -> None:
        self._is_waiting = True
        self._tell(operation, "paused")

    def resumed(self, operation: Observed) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._tell(operation, "going_on")

    def failed_item(self, operation: Observed, loop: str, key: str | int, error: str) -> None:
        self._tell(operation, "failed_item", loop=loop, key=key, error=error)

    def closing(self, operation: Observed, error: BaseException | None) -> None:
        self._error = error

    def finalizing(self, operation: Observed | None) -> None:
        self._is_finished = True

    def closed(self, operation: Observed) -> None:
        error, self._error = self._error, None
        if error is None and (self._is_finished or operation.done_at is not None):
            self._tell(operation, "done")
        else:
            again_at = error.reset_at if isinstance(error, RateLimitExhausted) else None
            text = error_text(error) if error is not None else ""
            reason = operation.metadata.last_save_reason or ""
            run = operation.history.run
            loop, key = run.stopped_at if run is not None and run.stopped_at is not None else ("", None)
            told = {"reason": reason, "error": text, "again_at": again_at, "loop": loop, "key": key}
            self._tell(operation, "stopping", **told)
        for teller in self._tellers:
            teller.end()
        if not self._is_async:
            _wait_for(self._tellers)

    def _tell(self, operation: Observed, name: EventName, **facts: Any) -> None:
        event = event_of(operation, name, operation.processed_items, **facts)
        if records.isEnabledFor(logging.DEBUG):
            extra = {f"resumable.{key}": value for key, value in event.to_dict().items()}
            records.debug("%s", _TEXTS[name], extra={"event": f"resumable.{name}", **extra})
        for teller in self._tellers:
            teller.tell(event)


def event_of(operation: Observed, name: EventName, items: int, **facts: Any) -> Event:
    """An event of *operation* now, with *items* done; *facts* are those of this kind of event."""
    metadata, last = operation.metadata, operation.last_run
    return Event(
        name=name,
        operation_id=operation.operation_id,
        at=operation.instant.utc,
        run=operation.run_number,
        processed_items=items,
        total_items=metadata.total_items,
        failed_items=operation.failed_items(),
        errors=metadata.error_count,
        location=str(operation.location),
        requests_remaining=metadata.rate_limit_remaining,
        requests_limit=metadata.rate_limit_total,
        notes=operation.history.notes,
        notes_before=dict(last.notes) if last is not None else {},
        **facts,
    )


class _Direct:
    """Calls one function in the thread of the event."""

    def __init__(self, function: OnEvent) -> None:
        self.function = function
        self._has_warned = False

    def tell(self, event: Event) -> None:
        try:
            told: Any = self.function(event)
            if inspect.iscoroutine(told):
                import asyncio  # most functions are plain

                asyncio.run(told)
        except BaseException as error:
            if not self._has_warned:
                self._has_warned = True
                name = getattr(self.function, "__qualname__", type(self.function).__name__)
                _log.warning("%s: on_event %s failed: %s", event.operation_id, name, error_text(error))

    def end(self) -> None:
        """No more events follow."""

    def wait(self, seconds: float) -> bool:
        """Whether all events were passed on."""
        return True


class _Courier(_Direct):
    """Calls one function in a thread of its own, from the first event to the end of the operation.

    While a function has not returned from an event of an earlier operation, it gets none: another thread would hang as
    well, and the end of each operation would wait for it.
    """

    def __init__(self, function: OnEvent) -> None:
        super().__init__(function)
        self._is_stuck = any(other.function is function and other.is_at_work for other in _left_alone)
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether its thread has events left, or runs the function."""
        return self._thread is not None and self._thread.is_alive()

    def tell(self, event: Event) -> None:
        if self._is_stuck:
            return
        if self._thread is None:
            context = contextvars.copy_context()
            self._thread = threading.Thread(target=context.run, args=(self._run,), name="resumable-events", daemon=True)
            self._thread.start()
        if event.name != "saved" or self._queue.qsize() < _MOST_WAITING:
            self._queue.put(event)

    def _run(self) -> None:
        while (event := self._queue.get()) is not None:
            super().tell(event)

    def end(self) -> None:
        self._queue.put(None)
        if self._thread is not None:
            _ending.append(self)

    def wait(self, seconds: float) -> bool:
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()


_left_alone: list[_Courier] = []
"""Couriers whose function did not return in time."""
_ending: list[_Direct] = []
"""Couriers of ended operations that may still have events to pass on."""


def _wait_for(tellers: Iterable[_Direct]) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    for teller in tellers:
        is_told = teller.wait(max(until - time.monotonic(), 0.0))
        if teller in _ending:
            _ending.remove(teller)
        if isinstance(teller, _Courier) and not is_told:
            _left_alone[:] = [other for other in _left_alone if other.is_at_work] + [teller]
            name = getattr(teller.function, "__qualname__", type(teller.function).__name__)
            _log.warning(
                "on_event %s has not returned for %g s; it is left alone, and told nothing more until it does",
                *(name, _PATIENCE_SECONDS),
            )


@atexit.register
def _wait_at_exit() -> None:
    _wait_for(list(_ending))
