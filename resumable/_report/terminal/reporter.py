"""Tells a person about a run: that it goes on, its progress, its waits, and where it stopped."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..._loops.standing import share_of
from ..._runtime import signals
from ..._runtime.interpreter import is_terminal
from ..._runtime.observer import Observed, Observer
from ..._text import command_for, other_script, resume_command
from ..messages import (
    amount,
    beginning,
    done_already,
    ended,
    going_on,
    how_it_ended,
    how_it_was_left,
    limited,
    standing,
    stopped,
    stopped_in_memory,
    waiting,
)
from . import telling

if TYPE_CHECKING:
    from .bar import ProgressView
    from .forecast import Forecaster
    from .progress import Progress
    from .screen import Screen

_log = logging.getLogger("resumable")

DRAW_SECONDS = 0.2
"""Seconds between two drawings of a bar."""
_COUNT_SECONDS = 1.0
"""Seconds between two numbers of a countdown where no bar is shown."""


class Reporter(Observer):
    """Observes one run, and reports it to the logger ``resumable``, and to stderr if a person reads it.

    *how* is the value of ``progress=``; raises TypeError if it is unknown.
    """

    def __init__(self, how: Any) -> None:
        self._progress: Progress | None = None
        self._forecaster: Forecaster | None = None
        self._drawn_at = float("-inf")
        self._opened_at = 0.0
        self._paused_at: float | None = None
        self._has_started = self._is_waiting = self._is_finished = self._is_closed = False
        self._waits = 0
        self._least_share = 0.0
        self._countdown: Screen | None = None
        self._error: BaseException | None = None
        self._saves_before = float("inf")
        self._directory: str | None = None
        self.is_quiet = how is False
        if how is not False:
            from .progress import show  # only runs that are watched pay for this

            self._progress = show(how)
        self._was_watched = how is not False

    @property
    def is_watched(self) -> bool:
        """Whether progress is shown."""
        return self._progress is not None

    def to_dict(self) -> dict[str, Any] | None:
        """The measured pace, and the waits of all runs, for the next run; None without any."""
        return {**self._forecaster.to_dict(), "waits": self._waits} if self._forecaster is not None else None

    def opened(self, operation: Observed) -> None:
        if operation.operation_id in telling.at_exit:
            telling.unsay(operation.operation_id)
        self._opened_at = operation.instant.monotonic
        if self._progress is not None:
            from .forecast import Forecaster

            before = operation.pace_before
            self._forecaster = Forecaster(operation.items_before, operation.costs.active_seconds, before)
            self._waits = waits if before and isinstance(waits := before.get("waits"), int) else 0
        if operation.done_at is not None:
            telling.tell(_done(operation), is_wanted=True)
        elif operation.resumed:
            self._tell(_going_on, operation)
        elif self._was_watched and _is_first_in(os.path.dirname(str(operation.location))):
            self._tell(_beginning, operation)
        elif _log.isEnabledFor(logging.INFO):
            _log.info("%s", _beginning(operation))

    def standing(self, operation: Observed) -> str:
        """Progress and last save in words: ``21 of 60, saved 3 s ago in .checkpoint_nb.json``."""
        place, here = str(operation.location), os.path.join(os.getcwd(), "")
        done, total = operation.processed_items, operation.metadata.total_items
        saved_ago = operation.seconds_since_save()
        return standing(done, total, saved_ago, place.removeprefix(here), is_closed=self._is_closed)

    def closing(self, operation: Observed, error: BaseException | None) -> None:
        self._saves_before, self._error = operation.metadata.save_count, error
        if error is not None:  # the last save may take long; a bar that still moves would mislead
            self._stop(operation)

    def finalizing(self, operation: Observed | None) -> None:
        self._is_finished = True

    def closed(self, operation: Observed) -> None:
        self._is_closed = True
        self._stop(operation)
        metadata = operation.metadata
        is_saved = metadata.save_count > self._saves_before
        if is_saved and self.says_stop(self._error):
            self._tell_stopped(operation)
        elif is_saved and (line := limited(operation.operation_id, metadata.last_save_reason)):
            self._tell(lambda operation: line, operation)
        self._error = None  # and its frames

    def says_stop(self, error: BaseException | None) -> bool:
        """Whether *error* stands for a signal or the end of the time limit, for which there is a special sentence."""
        if isinstance(error, KeyboardInterrupt):
            return self._was_watched or telling.is_heard()
        return isinstance(error, SystemExit) and signals.name_of(error) != "SystemExit"

    def _tell_stopped(self, operation: Observed) -> None:
        text = _stopped(operation)
        if isinstance(self._error, KeyboardInterrupt) and telling.is_interactive():
            self._error.add_note(text)
        elif not is_terminal(sys.stderr):
            telling.tell(text, is_wanted=True)
        else:
            telling.say_at_exit(operation.operation_id, text)
            telling.log_elsewhere(text)

    def _tell(self, sentence: Callable[[Observed], str], operation: Observed) -> None:
        # Otherwise the sentence is not needed.
        if self._was_watched or is_terminal(sys.stderr) or _log.isEnabledFor(logging.INFO):
            telling.tell(sentence(operation), is_wanted=self._was_watched)

    def checked_in(self, operation: Observed) -> None:
        if self._progress is not None and self._is_due(operation, DRAW_SECONDS):
            self._draw(self._progress, self._view(operation))

    def waiting(self, operation: Observed, seconds: float, whom: str) -> None:
        if self._progress is not None:
            if self._is_due(operation, DRAW_SECONDS):
                self._draw(self._progress, self._view(operation, seconds, whom))
        elif self._is_due(operation, _COUNT_SECONDS):
            self._count_down(waiting(operation.operation_id, seconds, whom, operation.instant.utc.astimezone()))
        self._is_waiting = True

    def _is_due(self, operation: Observed, seconds: float) -> bool:
        now = operation.instant.monotonic
        if now - self._drawn_at < seconds:
            return False
        self._drawn_at = now
        return True

    def _draw(self, progress: Progress, view: ProgressView) -> None:
        draw = progress.wait if view.is_waiting else progress.update
        if not self._has_started:
            self._has_started, draw = True, progress.start
        draw(view, now=self._drawn_at)

    def _stop(self, operation: Observed) -> None:
        progress, self._progress = self._progress, None
        if progress is not None and self._forecaster is not None:
            view = self._view(operation)
            words = "" if self.says_stop(self._error) else self._last_words(operation, view)
            progress.stop(replace(view, last_words=words), now=operation.instant.monotonic)

    def _last_words(self, operation: Observed, view: ProgressView) -> str:
        advice = ""
        if self._error is None and not self._is_finished:
            advice = "run it again to go on"
            if view.failed_items:
                advice = command_for("show", operation.operation_id, operation.directory)
        return ended(
            operation.operation_id,
            amount(view.done, view.total, view.loops),
            view.elapsed_seconds or 0.0,
            runs=view.run,
            waits=self._waits,
            failed=view.failed_items,
            advice=advice,
        )

    def _count_down(self, text: str) -> None:
        from .bar import cells, cut
        from .drawing import Shown
        from .screen import screen_of

        if not self._is_waiting:
            telling.log_elsewhere(text) if is_terminal(sys.stderr) else telling.tell(text, is_wanted=True)
        if is_terminal(sys.stderr):
            self._countdown = self._countdown or screen_of(sys.stderr)
            self._countdown.put(self, lambda width: [Shown(cut(text, width), cells(cut(text, width)))])

    def paused(self, operation: Observed) -> None:
        self._paused_at = operation.instant.monotonic

    def resumed(self, operation: Observed) -> None:
        if self._paused_at is not None:  # a pause is no time that the run took
            self._opened_at += operation.instant.monotonic - self._paused_at
            self._paused_at = None
        self._waits += self._is_waiting
        self._is_waiting = False
        if self._countdown is not None:
            self._countdown.drop(self)
            self._countdown = None

    def _view(self, operation: Observed, waiting_seconds: float | None = None, whom: str = "") -> ProgressView:
        from .bar import ProgressView

        forecaster, metadata, now = self._forecaster, operation.metadata, operation.instant.epoch
        assert forecaster is not None
        if self._directory is None:
            self._directory = operation.directory
        done = operation.processed_items
        forecaster.look(done, operation.costs.active_seconds, operation.quota_looks(now), now=now)
        loops = operation.standings()
        total = metadata.total_items
        share = share_of(loops) if total is None else None
        expected = round(done / share) if share else total
        forecast = forecaster.forecast(expected, now=now, margin_seconds=operation.margin_seconds)
        view = ProgressView(
            operation_id=operation.operation_id,
            at=operation.instant.utc.astimezone(),
            done=done,
            total=total,
            rate=forecaster.rate,
            seconds_left=forecast.seconds_left,
            waits=forecast.waits,
            wait_seconds=forecast.wait_seconds,
            requests_remaining=metadata.rate_limit_remaining,
            requests_limit=metadata.rate_limit_total,
            at_risk_seconds=operation.at_risk_seconds,
            run=operation.run_number,
            resumed_at=operation.items_before,
            waiting_seconds=waiting_seconds,
            waiting_for=whom,
            loops=tuple(loops) if len(loops) > 1 or share is not None else (),
            loops_share=share,
            least_share=self._least_share,
            elapsed_seconds=operation.elapsed_before + operation.instant.monotonic - self._opened_at,
            failed_items=operation.failed_items(),
            directory=self._directory,
        )
        self._least_share = max(self._least_share, view.share or 0.0)
        return view


_told_places: set[str] = set()


def _is_first_in(place: str) -> bool:
    """Whether this is the first operation in *place*: one sentence is enough for many operations."""
    is_first = place not in _told_places
    _told_places.add(place)
    return is_first


def _beginning(operation: Observed) -> str:
    return beginning(operation.operation_id, str(operation.location))


def _done(operation: Observed) -> str:
    seconds = _seconds_since(operation.done_at or "", operation.instant.utc)
    return done_already(operation.operation_id, seconds, operation.directory)


def _going_on(operation: Observed) -> str:
    last = operation.last_run
    return going_on(
        operation.operation_id,
        operation.items_before,
        operation.metadata.total_items,
        operation.run_number,
        _seconds_since(last.ended, operation.instant.utc) if last else None,
        how_it_ended(last.reason if last else None),
        how_it_was_left(last.reason if last else None),
        other_script(last.command or "", sys.orig_argv) if last else "",
        has_saved=last is None or bool(last.reason),
    )


def _stopped(operation: Observed) -> str:
    command = resume_command(sys.orig_argv, is_windows=sys.platform == "win32")
    done, total = operation.processed_items, operation.metadata.total_items
    if str(operation.location).startswith("memory:"):
        return stopped_in_memory(operation.operation_id, done, total)
    return stopped(operation.operation_id, done, total, command, operation.directory, operation.standings())


def _seconds_since(stamp: str, at: datetime) -> float | None:
    try:
        return max(0.0, (at - datetime.fromisoformat(stamp)).total_seconds())
    except (TypeError, ValueError):  # no stamp, or one without a time zone
        return None
