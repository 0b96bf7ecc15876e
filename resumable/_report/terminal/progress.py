"""Displays of progress: on a terminal, in a notebook, as lines in a log, or by the user's own callable.

All output goes to stderr. A display that fails is dropped, and never raises into the user's loop.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TextIO

from ..._runtime.interpreter import is_terminal
from .bar import (
    FINE,
    Glyphs,
    Line,
    ProgressView,
    cells,
    cut,
    glyphs_for,
    lower_line,
    one_line,
    progress_line,
    text_line,
    waiting_line,
)
from .drawing import Shown
from .screen import screen_of
from .telling import log_elsewhere

_log = logging.getLogger("resumable.progress")

LINE_INTERVAL_SECONDS = 30.0
_NOTEBOOK_COLUMNS = 100
_BOLD, _DIM, _GREEN = "1", "2", "32"
"""Readable on light and dark terminals, unlike yellow."""


class Progress(Protocol):
    """A display of an operation's progress. ``now`` is monotonic seconds.

    ``wait`` is called several times a second, for a countdown. After ``stop``, only its view's last words stay.
    """

    def start(self, view: ProgressView, *, now: float) -> None: ...
    def update(self, view: ProgressView, *, now: float) -> None: ...
    def wait(self, view: ProgressView, *, now: float) -> None: ...
    def stop(self, view: ProgressView, *, now: float) -> None: ...


def show(how: bool | Callable[[ProgressView], object] | Progress, stream: TextIO | None = None) -> Progress | None:
    """The display for the option *how*: None for False; for True the best one for *stream*, by default stderr.

    Raises:
        TypeError: If *how* is neither a bool, nor a :class:`Progress`, nor a callable that takes a view.
    """
    if how is False:
        return None
    if how is True:
        return _Careful(_display_for(sys.stderr if stream is None else stream))
    if all(hasattr(how, name) for name in ("start", "update", "wait", "stop")):
        return _Careful(how)  # type: ignore[arg-type]
    if not callable(how):
        raise TypeError(f"progress must be True, False, or a callable that takes a ProgressView, not {how!r}")
    return _Careful(CallableProgress(how))


def _display_for(stream: TextIO | None) -> Progress | None:
    if is_notebook():
        return NotebookProgress()
    if stream is None:  # pythonw has no stderr
        return None
    if not is_terminal(stream) or os.environ.get("TERM") == "dumb":
        return LinesProgress(stream)
    return TerminalProgress(stream)


def is_notebook() -> bool:
    """Whether this is a kernel of Jupyter."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class _Careful:
    """Passes views to a display, and drops the display at its first error."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def start(self, view: ProgressView, *, now: float) -> None:
        self._try("start", view, now)

    def update(self, view: ProgressView, *, now: float) -> None:
        self._try("update", view, now)

    def wait(self, view: ProgressView, *, now: float) -> None:
        self._try("wait", view, now)

    def stop(self, view: ProgressView, *, now: float) -> None:
        self._try("stop", replace(view, is_last=True), now)
        self._progress = None

    def _try(self, name: str, view: ProgressView, now: float) -> None:
        if self._progress is None:
            return
        try:
            getattr(self._progress, name)(view, now=now)
        except Exception as error:
            progress, self._progress = self._progress, None
            with contextlib.suppress(Exception):  # it must release the terminal
                progress.stop(view, now=now)
            with contextlib.suppress(Exception):  # logging may have lost its stream, too
                _log.warning(
                    "%s: progress is no longer shown, because the display failed: %r", view.operation_id, error
                )


class CallableProgress:
    """Calls a function with each view."""

    def __init__(self, function: Callable[[ProgressView], object]) -> None:
        self._function = function

    def start(self, view: ProgressView, *, now: float) -> None:
        self._function(view)

    update = wait = stop = start


class LinesProgress:
    """Writes a line every 30 s, for logs: the first after 30 s, or when a wait begins; and one at the end.

    The lines go to the logger ``resumable.progress``, level INFO, if the program set up logging, else to the stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._written_at = 0.0
        self._is_waiting = False

    def start(self, view: ProgressView, *, now: float) -> None:
        self._written_at = now
        if view.is_waiting:
            self.wait(view, now=now)

    def update(self, view: ProgressView, *, now: float) -> None:
        self._is_waiting = False
        if now - self._written_at >= LINE_INTERVAL_SECONDS:
            self._write(view, now)

    def wait(self, view: ProgressView, *, now: float) -> None:
        if not self._is_waiting or now - self._written_at >= LINE_INTERVAL_SECONDS:
            self._write(view, now)
        self._is_waiting = True

    def stop(self, view: ProgressView, *, now: float) -> None:
        if view.last_words:
            self._tell(view, lambda glyphs: view.last_words)

    def _write(self, view: ProgressView, now: float) -> None:
        self._written_at = now
        self._tell(view, partial(text_line, view))

    def _tell(self, view: ProgressView, text: Callable[[Glyphs], str]) -> None:
        if _log.isEnabledFor(logging.INFO) and _log.hasHandlers():
            _log.info("%s", text(FINE), extra={"resumable.operation_id": view.operation_id})
        else:
            self._stream.write(text(glyphs_for(self._stream)) + "\n")
            self._stream.flush()


class TerminalProgress:
    """Draws one or two lines below the program's output: the bar, and the quota or the wait."""

    def __init__(self, stream: TextIO) -> None:
        self._screen = screen_of(stream)
        self._glyphs = glyphs_for(stream)
        self._has_colors = not os.environ.get("NO_COLOR")

    def start(self, view: ProgressView, *, now: float) -> None:
        self._screen.put(self, partial(self._lines, view))

    update = wait = start

    def stop(self, view: ProgressView, *, now: float) -> None:
        self._screen.drop(self, view.last_words)
        if view.last_words:
            log_elsewhere(view.last_words)

    def _lines(self, view: ProgressView, width: int) -> list[Shown]:
        if self._screen.is_plain:
            text = one_line(view, width, self._glyphs)
            return [Shown(text, cells(text))]
        line = progress_line(view, width, self._glyphs)
        styled = zip(line, (_BOLD, _GREEN, _DIM, ""), strict=True)
        shown = [Shown("".join(self._styled(*part) for part in styled), cells(str(line)))]
        below = waiting_line(view, width) if view.is_waiting else self._lower(view, line, width)
        if below := cut(below, width, self._glyphs):
            shown.append(Shown(self._styled(below, _BOLD if view.is_waiting else _DIM), cells(below)))
        return shown

    def _lower(self, view: ProgressView, upper: Line, width: int) -> str:
        margin = max(cells(upper.head) - 4 if upper.tail else 2, 0)
        lower = lower_line(view, self._glyphs, width - margin)
        return f"{' ' * margin}{lower}" if lower else ""

    def _styled(self, text: str, style: str) -> str:
        if not text or not style or not (self._has_colors or style in (_BOLD, _DIM)):
            return text
        return f"\x1b[{style}m{text}\x1b[0m"


class NotebookProgress:
    """Shows a card in the output of the cell, or text where HTML is not shown, and updates it in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    def start(self, view: ProgressView, *, now: float) -> None:
        lines = [str(progress_line(view, _NOTEBOOK_COLUMNS)), waiting_line(view) or lower_line(view)]
        self._show("\n".join(filter(None, lines)), view)

    update = wait = start

    def stop(self, view: ProgressView, *, now: float) -> None:
        self._show(view.last_words or str(progress_line(view, _NOTEBOOK_COLUMNS)), view)

    def _show(self, text: str, view: ProgressView) -> None:
        from ..card import card_of_progress  # in notebooks only

        shown = {"text/plain": text, "text/html": card_of_progress(view)}
        if self._handle is None:
            display = sys.modules["IPython.display"].display
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)
