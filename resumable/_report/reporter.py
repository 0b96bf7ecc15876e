"""What a person is told of a run: that it goes on, how far it is, what it waits for, where it stopped."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .._runtime.interpreter import is_terminal
from .._runtime.observer import Observed, Observer
from .._text import resume_command
from .messages import beginning, going_on, how_it_ended, how_it_was_left, stopped, waiting

if TYPE_CHECKING:
    from .bar import ProgressView
    from .forecast import Forecaster
    from .progress import Progress

_log = logging.getLogger("resumable")

DRAW_SECONDS = 0.2
"""Seconds between two drawings of a bar."""
_COUNT_SECONDS = 1.0
"""Seconds between two numbers of a countdown where no bar is shown."""


class Reporter(Observer):
    """Observes one run, and reports it to the logger ``resumable``, and on stderr if a person reads it.

    *how* is the value of ``progress=``; a TypeError if it is no way to show progress.
    """

    def __init__(self, how: Any) -> None:
        self._progress: Progress | None = None
        self._forecaster: Forecaster | None = None
        self._drawn_at = float("-inf")
        self._has_started = False
        self._countdown_width = 0
        self._saves_before = float("inf")
        self.is_quiet = how is False
        if how is not False:
            from .progress import show  # nobody who does not watch pays for this

            self._progress = show(how)

    @property
    def is_watched(self) -> bool:
        """Whether progress is shown."""
        return self._progress is not None

    def to_dict(self) -> dict[str, Any] | None:
        """What was learned of the pace, for the next run; None if nothing was."""
        return self._forecaster.to_dict() if self._forecaster is not None else None

    def opened(self, operation: Observed) -> None:
        if self._progress is not None:
            from .forecast import Forecaster

            self._forecaster = Forecaster(operation.items_before, operation.costs.active_seconds, operation.pace_before)
        if operation.resumed:
            self._tell(_going_on, operation)
        elif self.is_watched or _log.isEnabledFor(logging.INFO):
            text = beginning(operation.operation_id, str(operation.location))
            _log.info("%s", text)
            if self.is_watched:
                self._say(text)

    def closing(self, operation: Observed, error: BaseException | None) -> None:
        self._saves_before = operation.metadata.save_count
        if error is not None:  # the save at the exit may take long, and the bar must not look alive meanwhile
            self._stop(operation)

    def closed(self, operation: Observed) -> None:
        self._stop(operation)
        metadata = operation.metadata
        is_saved = metadata.save_count > self._saves_before
        if is_saved and how_it_ended(metadata.last_save_reason).startswith(("Ctrl-C", "SIG", "its time")):
            self._tell(_stopped, operation)

    def _tell(self, sentence: Callable[[Observed], str], operation: Observed) -> None:
        is_seen = self.is_watched or is_terminal(sys.stderr)
        if is_seen or _log.isEnabledFor(logging.INFO):  # else the sentence need not be made
            text = sentence(operation)
            _log.info("%s", text)
            if is_seen:
                self._say(text)

    def _say(self, text: str) -> None:
        from .progress import say

        say(text)

    def checked_in(self, operation: Observed) -> None:
        if self._progress is not None and self._is_due(operation, DRAW_SECONDS):
            self._draw(self._progress, self._view(operation))

    def waiting(self, operation: Observed, seconds: float, whom: str) -> None:
        if self._progress is not None:
            if self._is_due(operation, DRAW_SECONDS):
                self._draw(self._progress, self._view(operation, seconds, whom))
        elif self._is_due(operation, _COUNT_SECONDS):
            self._count_down(waiting(operation.operation_id, seconds, whom, operation.instant.utc.astimezone()))

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
            progress.stop(self._view(operation), now=operation.instant.monotonic)

    def _count_down(self, text: str) -> None:
        from .progress import say

        if not self._countdown_width:
            _log.info("%s", text)
        if is_terminal(sys.stderr):
            sys.stderr.write("\r" + text.ljust(self._countdown_width))
            sys.stderr.flush()
        elif not self._countdown_width:
            say(text)
        self._countdown_width = len(text)

    def resumed(self, operation: Observed) -> None:
        if self._countdown_width and is_terminal(sys.stderr):
            sys.stderr.write("\n")
        self._countdown_width = 0

    def _view(self, operation: Observed, waiting_seconds: float | None = None, whom: str = "") -> ProgressView:
        from .bar import ProgressView

        forecaster, metadata, now = self._forecaster, operation.metadata, operation.instant.epoch
        assert forecaster is not None
        done = operation.processed_items
        forecaster.look(done, operation.costs.active_seconds, operation.quota_looks(now), now=now)
        forecast = forecaster.forecast(metadata.total_items, now=now, margin_seconds=operation.margin_seconds)
        return ProgressView(
            operation_id=operation.operation_id,
            at=operation.instant.utc.astimezone(),
            done=done,
            total=metadata.total_items,
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
        )


def _going_on(operation: Observed) -> str:
    last = operation.last_run
    return going_on(
        operation.operation_id,
        operation.items_before + 1,
        operation.metadata.total_items,
        operation.run_number,
        _seconds_since(last.ended, operation.instant.utc) if last else None,
        how_it_ended(last.reason if last else None),
        how_it_was_left(last.reason if last else None),
    )


def _stopped(operation: Observed) -> str:
    command = resume_command(sys.orig_argv, is_windows=sys.platform == "win32")
    done, total = operation.processed_items, operation.metadata.total_items
    return stopped(operation.operation_id, done, total, command, operation.directory)


def _seconds_since(stamp: str, at: datetime) -> float | None:
    try:
        return max(0.0, (at - datetime.fromisoformat(stamp)).total_seconds())
    except (TypeError, ValueError):  # no stamp, or one without a time zone
        return None
