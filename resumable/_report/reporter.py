"""What a person is told of one run: that it goes on, how far it is, what it waits for, where it stopped."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from .._text import resume_command
from .messages import going_on, how_it_ended, stopped, waiting

if TYPE_CHECKING:
    from .._engine.history import Runs
    from .._engine.quota import Quota
    from .._engine.session import Session
    from .bar import ProgressView
    from .forecast import Forecaster
    from .progress import Progress

_log = logging.getLogger("resumable")

DRAW_SECONDS = 0.2
"""How often a bar is drawn."""


class Watched(Protocol):
    """The operation, as its reporter sees it."""

    quota: Quota
    session: Session
    runs: Runs

    @property
    def operation_id(self) -> str: ...
    @property
    def processed_items(self) -> int: ...
    @property
    def items_before(self) -> int: ...


class Reporter:
    """Tells on stderr, where a person reads it, and to the logger ``resumable``.

    Args:
        how: What ``progress=`` asked for.
        saved: What :meth:`to_dict` gave in the last run.
    """

    def __init__(self, operation: Watched, how: Any, saved: Mapping[str, Any] | None) -> None:
        self._operation = operation
        self._progress: Progress | None = None
        self._forecaster: Forecaster | None = None
        self._drawn_at = float("-inf")
        self._has_started = False
        self._countdown_said = 0
        if how is not False:
            self._watch(how, saved)

    def _watch(self, how: Any, saved: Mapping[str, Any] | None) -> None:
        # Nobody who does not watch pays for these.
        from .forecast import Forecaster
        from .progress import show

        self._progress = show(how)
        costs = self._operation.session.costs
        self._forecaster = Forecaster(self._operation.items_before, costs.active_seconds, saved)

    @property
    def is_watched(self) -> bool:
        """Whether progress is shown."""
        return self._progress is not None

    def to_dict(self) -> dict[str, Any] | None:
        """What was learned of the pace, for the next run; None if nobody watches."""
        return self._forecaster.to_dict() if self._forecaster is not None else None

    # -- the run

    def goes_on(self, *, at: datetime) -> None:
        """An earlier run's checkpoint was restored."""
        operation = self._operation
        last = operation.runs.last
        text = going_on(
            operation.operation_id,
            operation.items_before + 1,
            operation.session.metadata.total_items,
            operation.runs.number,
            _seconds_since(last.get("ended"), at),
            how_it_ended(last.get("reason")),
        )
        self._tell(text)

    def has_stopped(self, directory: str) -> None:
        """Ctrl-C or SIGTERM ended the run, and all is saved: in *directory*, "" where it is looked for anyway."""
        operation = self._operation
        command = resume_command(sys.orig_argv, is_windows=sys.platform == "win32")
        total = operation.session.metadata.total_items
        self._tell(stopped(operation.operation_id, operation.processed_items, total, command, directory))

    def _tell(self, text: str) -> None:
        from .terminal import is_terminal, say

        _log.info("%s", text)
        if self.is_watched or is_terminal(sys.stderr):
            say(text)

    # -- progress

    def look(self, *, now: float, at: datetime) -> None:
        """Draw, if it is time to."""
        if self._progress is None or now - self._drawn_at < DRAW_SECONDS:
            return
        self._drawn_at = now
        view = self._view(at)
        show = self._progress.update if self._has_started else self._progress.start
        self._has_started = True
        show(view, now=now)

    def wait(self, seconds: float, whom: str, *, now: float, at: datetime) -> None:
        """The operation waits: a countdown."""
        if self._progress is not None:
            if now - self._drawn_at >= DRAW_SECONDS:
                self._drawn_at = now
                self._progress.wait(self._view(at, seconds, whom), now=now)
        elif now - self._drawn_at >= 1:
            self._drawn_at = now
            self._count_down(waiting(self._operation.operation_id, seconds, whom, at.astimezone()))

    def _count_down(self, text: str) -> None:
        from .terminal import is_terminal, say

        if not self._countdown_said:
            _log.info("%s", text)
        if is_terminal(sys.stderr):
            sys.stderr.write("\r" + text.ljust(self._countdown_said))
            sys.stderr.flush()
        elif not self._countdown_said:
            say(text)
        self._countdown_said = len(text)

    def wait_is_over(self) -> None:
        """The operation goes on."""
        from .terminal import is_terminal

        if self._countdown_said and is_terminal(sys.stderr):
            sys.stderr.write("\n")
        self._countdown_said = 0

    def stop(self, *, now: float, at: datetime) -> None:
        """The run is over; the bar stays as it is."""
        if self._progress is not None:
            self._progress.stop(self._view(at), now=now)
            self._progress = None

    def _view(self, at: datetime, waiting_seconds: float | None = None, whom: str = "") -> ProgressView:
        from .bar import ProgressView

        operation, forecaster = self._operation, self._forecaster
        assert forecaster is not None
        metadata, now = operation.session.metadata, at.timestamp()
        done = operation.processed_items
        looks = operation.quota.looks(now=now)
        forecaster.look(done, operation.session.costs.active_seconds, looks, now=now)
        forecast = forecaster.forecast(metadata.total_items, now=now, margin_seconds=operation.quota.margin_seconds)
        return ProgressView(
            operation_id=operation.operation_id,
            at=at.astimezone(),
            done=done,
            total=metadata.total_items,
            rate=forecaster.rate,
            seconds_left=forecast.seconds_left,
            waits=forecast.waits,
            wait_seconds=forecast.wait_seconds,
            requests_remaining=metadata.rate_limit_remaining,
            requests_limit=metadata.rate_limit_total,
            run=operation.runs.number,
            resumed_at=operation.items_before,
            waiting_seconds=waiting_seconds,
            waiting_for=whom,
        )


def _seconds_since(stamp: Any, at: datetime) -> float | None:
    try:
        return max(0.0, (at - datetime.fromisoformat(stamp)).total_seconds())
    except (TypeError, ValueError):
        return None
