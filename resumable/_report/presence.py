"""A run tells others that it works, and hears what they ask of it: a thread of its own does both.

Nothing of it is on the way of the loop. A run that is over within a second tells only where it has saved.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import msgspec

from .._runtime.clock import Alarm, system_clock
from .._runtime.interpreter import HOST
from .._runtime.observer import Observed
from ..stores import CheckpointStore
from .events import Event, EventName, Events, event_of
from .places import (
    Asked,
    Pulse,
    add_events,
    ask_path,
    directory,
    events_path,
    note_place,
    place_of,
    pulse_path,
    remove,
    write,
)
from .places import read as read_file

_BEAT_SECONDS = 1.0
_PULSE_SECONDS = 2.0


class Commanded(Protocol):
    """What is done to an open operation that somebody asks something of.

    Attributes:
        is_asked_to_stop, is_asked_to_pause: Looked at between two items, after a wake.
        save_seconds: What the last save took that stands.
        is_ending: Whether its block has ended, so that nothing can be asked of it any more.
    """

    save_seconds: float
    is_ending: bool
    is_asked_to_stop: bool
    is_asked_to_pause: bool
    wake: Callable[[], None]


class Presence(Events):
    """One run, from its first save on. Its thread finds out about saves, so that none takes longer for it.

    Args:
        count: How many items are done; called in another thread than the loop's.
        retry_failed: Has loops that begin from now on try again what has failed.

    Attributes:
        is_over: Whether the run is over.
    """

    def __init__(
        self,
        operation: Observed,
        store: CheckpointStore,
        commanded: Commanded,
        count: Callable[[], int],
        retry_failed: Callable[[], None],
    ) -> None:
        super().__init__(())
        self._operation, self._commanded = operation, commanded
        self._count, self._retry_failed = count, retry_failed
        self._store, self._home = store, directory()
        self._events: deque[Event] = deque(maxlen=1000)
        self._saves = operation.metadata.save_count - 1  # it begins with the first save of a run
        self._items, self._since = operation.processed_items, time.time()
        self._has_told, self._told_at = False, 0.0
        self._does: tuple[str, str, float | None] = ("works", "", None)
        self.is_over = False
        self.opened(operation)
        self._alarm = Alarm(system_clock, lambda: _heart.add(self))
        if not commanded.is_ending:
            self._alarm.ring_within(_BEAT_SECONDS)

    @cached_property
    def _place(self) -> str | None:
        return place_of(self._store)

    @cached_property
    def _asks(self) -> Path | None:
        return ask_path(self._store, self._operation.operation_id)

    @property
    def _pulse(self) -> Path | None:
        if self._home is None or self._place is None:
            return None
        return pulse_path(self._home, self._place, self._operation.operation_id)

    # -- what happens, in the loop's thread

    def _tell(self, operation: Observed, name: EventName, **facts: Any) -> None:
        """Keep what happens for those who look later."""
        self._events.append(event_of(operation, name, operation.processed_items, **facts))

    def waiting(self, operation: Observed, seconds: float, whom: str) -> None:
        self._does = ("waits", whom, operation.instant.epoch + seconds)
        super().waiting(operation, seconds, whom)

    def resumed(self, operation: Observed) -> None:
        self._does = ("works", "", None)
        super().resumed(operation)

    def paused(self, operation: Observed) -> None:
        self._does = ("paused", "", None)
        super().paused(operation)

    def closed(self, operation: Observed) -> None:
        if self._has_told:
            self._note_save(operation.processed_items)
            super().closed(operation)
        self._alarm.cancel()
        _heart.remove(self)
        if self._home is not None and self._place is not None:
            note_place(self._home, self._place)
            if self._has_told:
                self._write_events()
        if self._has_told and self._pulse is not None:
            remove(self._pulse)
        if (self._is_finished or self._commanded.is_asked_to_pause) and self._asks is not None:
            remove(self._asks)

    # -- in the thread

    def beat(self) -> None:
        """Tell, and listen."""
        now = time.time()
        if (items := self._count()) != self._items:
            self._items, self._since = items, now
        self._note_save(items)
        self._listen()
        if self._home is None or self._place is None or self._pulse is None:
            return
        if not self._has_told:
            note_place(self._home, self._place)
        if now - self._told_at >= _PULSE_SECONDS or now < self._told_at:
            self._has_told, self._told_at = True, now
            write(self._pulse, self._now(now))
        self._write_events()

    def _now(self, now: float) -> Pulse:
        operation, (does, whom, until) = self._operation, self._does
        return Pulse(
            operation_id=operation.operation_id,
            place=self._place or "",
            host=HOST,
            pid=os.getpid(),
            run=operation.run_number,
            at=round(now, 1),
            since=round(self._since, 1),
            items=self._items,
            total=operation.metadata.total_items,
            item_seconds=round(operation.costs.item_seconds, 4),
            does=does,  # type: ignore[arg-type]
            whom=whom,
            until=until,
        )

    def _note_save(self, items: int) -> None:
        """Keep the last save as an event, if it is not kept yet: at most one in a beat."""
        metadata = self._operation.metadata
        if metadata.save_count != self._saves:
            self._saves = metadata.save_count
            facts = {"reason": metadata.last_save_reason, "seconds": round(self._commanded.save_seconds, 6)}
            self._events.append(event_of(self._operation, "saved", items, **facts))

    def _write_events(self) -> None:
        if self._events and self._home is not None and self._place is not None:
            events = [self._events.popleft() for _ in range(len(self._events))]
            lines = b"".join(msgspec.json.encode(event.to_dict()) + b"\n" for event in events)
            add_events(events_path(self._home, self._place, self._operation.operation_id), lines)

    def _listen(self) -> None:
        path, commanded = self._asks, self._commanded
        if path is None:
            return
        asked = read_file(path, Asked) if os.path.exists(path) else None
        wants_pause = asked is not None and asked.ask == "pause"
        if wants_pause != commanded.is_asked_to_pause:
            commanded.is_asked_to_pause = wants_pause
            commanded.wake()
        if asked is not None and asked.ask == "retry-failed":
            self._retry_failed()  # left there: the next run hears it as well
        if asked is not None and asked.ask == "stop":
            remove(path)
            commanded.is_asked_to_stop = True
            commanded.wake()


class _Heart:
    """The thread in which all runs of this process tell and listen; it ends when none is left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._present: list[Presence] = []
        self._left = threading.Event()
        self._is_running = False

    def add(self, one: Presence) -> None:
        with self._lock:
            if one.is_over:
                return
            self._present.append(one)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="resumable-presence", daemon=True).start()

    def remove(self, one: Presence) -> None:
        with self._lock:
            one.is_over = True
            self._present = [other for other in self._present if other is not one]
            if not self._present:
                self._left.set()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._left.clear()
                present = list(self._present)
                if not present:
                    self._is_running = False
                    return
            for one in present:
                try:
                    one.beat()
                except Exception:  # a loop that begins meanwhile: the next beat finds it whole
                    continue
            self._left.wait(_BEAT_SECONDS)


_heart = _Heart()


def _start_anew() -> None:
    # A forked child has no such thread, and owns none of the operations.
    global _heart
    _heart = _Heart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
