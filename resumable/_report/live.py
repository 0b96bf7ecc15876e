"""The present progress of an operation: its last save, and what its run has reported since."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .._errors import StoreError
from .._text import ago, clock_time, countdown, duration, printable, speed
from ..stores import CheckpointStore, open_store
from .places import Pulse, forget_place, places, pulse_of
from .stored.summary import Summary, percent_of, summaries, summary_of
from .wishes import PAUSED, asked_of

_SILENT_SECONDS = 15.0
"""A run without a report for this long is suspended, or runs code that holds the interpreter."""
_PATIENCE_SECONDS = 3.0
_Found = tuple[CheckpointStore, list[Summary]] | Exception
_STUCK_SECONDS, _STUCK_ITEMS = 60.0, 20
"""An item is stuck if it takes longer than this, and longer than that many average items."""


@dataclass(frozen=True, slots=True)
class Live:
    """One operation, by its last save and the last report of its run.

    Attributes:
        pulse: None if no run on this machine reports itself.
        now: Seconds since the epoch.
        is_paused: Whether it has saved for a requested pause, on any machine.
    """

    summary: Summary
    pulse: Pulse | None
    now: float
    is_paused: bool = False

    @property
    def state(self) -> str:
        """The summary's state; of a running one: ``running``, ``waiting``, ``paused``, ``stuck`` or ``silent``."""
        pulse = self.pulse
        if pulse is not None and self.now - pulse.at > _SILENT_SECONDS:
            return "silent"
        if self.is_paused:
            return "paused"
        if pulse is None:
            return self.summary.state
        if pulse.does != "works":
            return "paused" if pulse.does == "paused" else "waiting"
        return "stuck" if self.idle_seconds > max(_STUCK_SECONDS, _STUCK_ITEMS * pulse.item_seconds) else "running"

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last item was done, as far as known."""
        return max(self.now - self.pulse.since, 0.0) if self.pulse is not None else 0.0

    @property
    def shown(self) -> Summary:
        """The summary, including the items done since the last save."""
        pulse = self.pulse
        if pulse is None:
            return self.summary
        total = pulse.total if pulse.total is not None else self.summary.total_items
        waits = max((pulse.until or 0.0) - self.now, 0.0) if pulse.does == "waits" else 0.0
        work = None if total is None else max(total - pulse.items, 0) * pulse.item_seconds
        left = round(work + waits, 1) if work else None
        return replace(
            self.summary,
            processed_items=pulse.items,
            total_items=total,
            percent=percent_of(pulse.items, total),
            left_seconds=left if left is not None else self.summary.left_seconds,
        )

    @property
    def rate(self) -> str:
        """``19.8/s``; "" if unknown."""
        pulse = self.pulse
        return speed(1 / pulse.item_seconds) if pulse is not None and pulse.item_seconds > 0 else ""

    @property
    def says(self) -> str:
        """A sentence for people: what it does, or what holds it up; "" for nothing."""
        pulse, state = self.pulse, self.state
        if state == "paused":
            saved_at = self.summary.last_updated
            since = (
                saved_at.timestamp() if saved_at is not None and self.is_paused else pulse.since if pulse else self.now
            )
            return f"paused since {_clock(since)}"
        if pulse is None:
            return ""
        if state == "silent":
            return f"no sign of life since {_clock(pulse.at)}: suspended, or busy in code that lets nothing else run"
        if state == "stuck":
            return f"stuck since {_clock(pulse.since)}: no item for {duration(self.idle_seconds)}"
        if state == "waiting":
            left = max((pulse.until or self.now) - self.now, 0.0)
            return f"waits {countdown(left)} for {printable(pulse.whom) or 'its quota'}"
        return f"last item {ago(self.idle_seconds)}"


def _clock(moment: float) -> str:
    from datetime import datetime

    return clock_time(datetime.fromtimestamp(moment).astimezone(), datetime.now().astimezone(), seconds=True)


def live(store: CheckpointStore, summary: Summary) -> Live:
    """The present progress of the operation of *summary*."""
    pulse = pulse_of(store, summary.operation_id) if summary.state == "running" else None
    return Live(summary, pulse, time.time(), _is_paused(store, summary))


def _is_paused(store: CheckpointStore, summary: Summary) -> bool:
    """Whether its last save was made for a pause that is still requested."""
    if summary.state != "running" or summary.last_save_reason != PAUSED:
        return False
    try:
        asked = asked_of(store, summary.operation_id)
    except StoreError:
        return False
    return asked is not None and asked.ask == "pause"


def live_of(store: CheckpointStore, operation_id: str) -> Live | None:
    """The present progress of *operation_id*; None if it has no checkpoint."""
    summary = summary_of(store, operation_id)
    return None if summary is None else live(store, summary)


def everywhere(
    unreached: Callable[[str, Exception], None] = lambda place, error: None,
    *,
    passed_over: Collection[str] = (),
) -> Iterator[tuple[str, CheckpointStore, list[Summary]]]:
    """All places where this user's programs have saved, each with its store and its operations.

    Places that cannot be opened, or do not answer within three seconds, are left out. A directory or a file of SQLite
    that is gone is forgotten.

    Args:
        unreached: Called with each place that is left out, and the reason.
        passed_over: Places not to ask.
    """
    known = [place for place in places() if place not in passed_over and _is_there(place)]
    found: dict[str, _Found] = {}
    asking = [threading.Thread(target=_look, args=(place, found), daemon=True) for place in known if "://" in place]
    for thread in asking:
        thread.start()
    for place in known:
        if "://" not in place:
            _look(place, found)
    until = time.monotonic() + _PATIENCE_SECONDS
    for thread in asking:
        thread.join(max(until - time.monotonic(), 0.0))
    for place in known:
        answer = found.get(place) or TimeoutError(f"it has not answered within {_PATIENCE_SECONDS:g} s")
        if isinstance(answer, Exception):
            unreached(place, answer)
        elif answer[1]:
            yield place, *answer


def _is_there(place: str) -> bool:
    file = place.partition("?")[0].removeprefix("sqlite:///") if place.startswith("sqlite:///") else place
    is_gone = not Path(file).exists() if file != place else "://" not in place and not Path(place).is_dir()
    if is_gone:
        forget_place(place)
    return not is_gone


def _look(place: str, found: dict[str, _Found]) -> None:
    try:
        store = open_store(place)
        found[place] = store, summaries(store)
    except (StoreError, ValueError, ImportError, OSError) as error:
        found[place] = error
