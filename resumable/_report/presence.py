"""A run reports to other processes, and receives their requests. Separate threads do both.

They never delay the loop. A run that ends within a second only notes where it saved, and, if its work is not done, what
happened.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import msgspec

from .._errors import StoreError
from .._format.sections import Run
from .._runtime.clock import Alarm, system_clock
from .._runtime.interpreter import HOST
from .._runtime.observer import Observed
from ..stores import CheckpointStore
from .events import Event, EventName, Events, event_of
from .places import (
    Pulse,
    add_events,
    directory,
    events_path,
    note_place,
    place_of,
    pulse_path,
    remove,
    write,
)
from .wishes import Asked, askable, asked_of, take_back

_BEAT_SECONDS = 1.0
_PULSE_SECONDS = 2.0
_NEAR_SECONDS = 2.0
"""A store on this machine that may be asked this often answers at once."""
_EARLY = 0.9
"""A look that is this close to its time is not put off for a whole turn."""


class Commanded(Protocol):
    """What others may request of an open operation.

    Attributes:
        term: The number of its claim.
        save_seconds: The duration of the last save that stands.
        is_ending: Whether its block has ended; then it takes no more requests.
        is_paused: Whether it should pause.
        owes_retries: Whether a requested retry of failed items is still to do.
        unsaved_runs: The runs that no save tells of, this one included, before its first save.
    """

    @property
    def term(self) -> int: ...
    @property
    def save_seconds(self) -> float: ...
    @property
    def is_ending(self) -> bool: ...
    @property
    def is_paused(self) -> bool: ...
    @property
    def owes_retries(self) -> bool: ...
    @property
    def unsaved_runs(self) -> list[Run]: ...
    def pause(self, is_wanted: bool, /) -> None: ...
    def stop(self) -> None: ...
    def try_failed_again(self) -> None: ...


class Presence(Events):
    """One run, from its first save on, or from its first loop if it continues an earlier one.

    Its own thread detects saves, so that no save takes longer.

    Args:
        count: Returns how many items are done; called in another thread than the loop's.
        has_saved: Whether the first save of this run has been made.

    Attributes:
        is_over: Whether the run is over.
    """

    def __init__(
        self,
        operation: Observed,
        store: CheckpointStore,
        commanded: Commanded,
        count: Callable[[], int],
        *,
        has_saved: bool = True,
    ) -> None:
        super().__init__(())
        self._operation, self._commanded = operation, commanded
        self._store, self._count, self._home = store, count, directory()
        self._looked_at = -math.inf
        self._heard: Asked | None = None
        self._events: deque[Event] = deque(maxlen=1000)
        self._saves = operation.metadata.save_count - has_saved
        self._items, self._since = operation.processed_items, time.time()
        self._has_told, self._told_at = False, 0.0
        self._does: tuple[str, str, float | None] = ("works", "", None)
        self.is_over = False
        self.opened(operation)
        self._alarm = Alarm(system_clock, self._appear)
        if not commanded.is_ending:
            self._alarm.ring_within(_BEAT_SECONDS if has_saved else _BEAT_SECONDS / 10)

    def _appear(self) -> None:
        _heart.add(self)
        if self._looks_every is not None and not self._is_near:
            _ears.add(self)

    @cached_property
    def _place(self) -> str | None:
        return place_of(self._store)

    @cached_property
    def _looks_every(self) -> float | None:
        return self._store.traits.looks_every if askable(self._store) is not None else None

    @property
    def _is_near(self) -> bool:
        """Whether the store is on this machine, and answers immediately."""
        return not self._store.traits.is_remote and (self._looks_every or 0.0) <= _NEAR_SECONDS

    @property
    def _pulse(self) -> Path | None:
        if self._home is None or self._place is None:
            return None
        return pulse_path(self._home, self._place, self._operation.operation_id)

    # -- what happens, in the loop's thread

    def _tell(self, operation: Observed, name: EventName, **facts: Any) -> None:
        """Keep the event for later readers."""
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
        is_kept = self._has_told or not self._is_finished  # a short run that has finished needs no explanation
        if is_kept:
            self._note_save(operation.processed_items)
            super().closed(operation)
        self._alarm.cancel()
        _heart.remove(self)
        _ears.remove(self)
        if self._home is not None and self._place is not None:
            note_place(self._home, self._place)
            if is_kept:
                self._write_events()
        if self._has_told and self._pulse is not None:
            remove(self._pulse)
        self._clear()

    # -- in the thread

    def beat(self) -> None:
        """Report, and receive requests."""
        now = time.time()
        if (items := self._count()) != self._items:
            self._items, self._since = items, now
        self._note_save(items)
        if self._is_near:
            with contextlib.suppress(StoreError):
                self.listen()
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
            unsaved=self._commanded.unsaved_runs,
        )

    def _note_save(self, items: int) -> None:
        """Keep the last save as an event, if it is not kept yet: at most one in each beat."""
        metadata = self._operation.metadata
        if metadata.save_count != self._saves:
            self._saves = metadata.save_count
            if self._was_told(metadata.last_save_reason or "", items):
                return
            facts = {"reason": metadata.last_save_reason, "seconds": round(self._commanded.save_seconds, 6)}
            self._events.append(event_of(self._operation, "saved", items, **facts))

    def _write_events(self) -> None:
        if self._events and self._home is not None and self._place is not None:
            events = [self._events.popleft() for _ in range(len(self._events))]
            lines = b"".join(_line_of(event) for event in events)
            add_events(events_path(self._home, self._place, self._operation.operation_id), lines)

    # -- requests; in another thread if a server may have to be waited for

    def listen(self) -> None:
        """Check for a request, if that is due."""
        now = time.monotonic()
        if self._looks_every is None or now - self._looked_at < self._looks_every * _EARLY:
            return
        self._looked_at = now
        self._hear(asked_of(self._store, self._operation.operation_id))

    def _hear(self, asked: Asked | None) -> None:
        commanded, heard = self._commanded, self._heard
        if asked is not None and not asked.is_for(commanded.term):
            self._take_back(asked)
            asked = None
        wants_pause = asked is not None and asked.ask == "pause"
        if wants_pause != commanded.is_paused:
            commanded.pause(wants_pause)
        if asked is not None and asked.ask == "retry-failed":
            if asked != heard:
                commanded.try_failed_again()
            elif not commanded.owes_retries:  # otherwise it stays, and the next run receives it, too
                self._take_back(asked)
        if asked is not None and asked.ask == "stop":
            commanded.stop()
            self._take_back(asked)
        self._heard = asked

    def _take_back(self, asked: Asked) -> None:
        with contextlib.suppress(StoreError):
            take_back(self._store, self._operation.operation_id, asked)

    def _clear(self) -> None:
        """The run has ended: drop requests that were meant only for it."""
        asked = self._heard
        if self._is_finished and self._looked_at > -math.inf and self._is_near:
            with contextlib.suppress(StoreError):
                asked = asked_of(self._store, self._operation.operation_id)
        is_for_the_next = asked is not None and asked.ask == "retry-failed" and self._commanded.owes_retries
        if asked is not None and (self._is_finished or not is_for_the_next):
            self._take_back(asked)


class _Turns:
    """A thread in which all runs of this process take turns; it ends with the last of them."""

    def __init__(self, name: str, turn: Callable[[Presence], None]) -> None:
        self._name, self._turn = name, turn
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
                threading.Thread(target=self._run, name=self._name, daemon=True).start()

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
                    self._turn(one)
                except Exception:  # a loop may begin meanwhile, or the store not answer: the next turn tries again
                    continue
            self._left.wait(_BEAT_SECONDS)


_heart = _Turns("resumable-presence", Presence.beat)
_ears = _Turns("resumable-wishes", Presence.listen)


def _start_anew() -> None:
    # A forked child has no such threads, and owns no operation.
    global _heart, _ears
    _heart = _Turns("resumable-presence", Presence.beat)
    _ears = _Turns("resumable-wishes", Presence.listen)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def _line_of(event: Event) -> bytes:
    told = {name: _for_json(value) if isinstance(value, str) else value for name, value in event.to_dict().items()}
    return msgspec.json.encode(told) + b"\n"


def _for_json(text: str) -> str:
    """*text* without lone surrogates: bytes of a file's name that are no UTF-8."""
    return text.encode(errors="backslashreplace").decode()
