"""How progress is shown: by rich, as a plain line, as a line now and then, or by the user's own callable.

All output goes to stderr. A display that fails is dropped, and never raises into the user's loop.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, TextIO

from .._runtime.interpreter import is_terminal
from .bar import Line, ProgressView, cells, glyphs_for, lower_line, one_line, progress_line, text_line, waiting_line

_log = logging.getLogger("resumable.progress")

LINE_INTERVAL_SECONDS = 30.0


class Progress(Protocol):
    """Shows how far an operation is. ``now`` is monotonic seconds.

    ``wait`` comes several times a second, for a countdown. After ``stop`` the display stays as it is.
    """

    def start(self, view: ProgressView, *, now: float) -> None: ...
    def update(self, view: ProgressView, *, now: float) -> None: ...
    def wait(self, view: ProgressView, *, now: float) -> None: ...
    def stop(self, view: ProgressView, *, now: float) -> None: ...


def show(how: bool | Callable[[ProgressView], object] | Progress, stream: TextIO | None = None) -> Progress | None:
    """The display that *how* asks for: None for False; for True the best that *stream*, or else stderr, can take.

    Raises:
        TypeError: If *how* is no bool, no :class:`Progress`, and no callable that takes a view.
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
    if stream is None:  # pythonw has no stderr
        return None
    if not is_terminal(stream) and not _is_notebook():
        return LinesProgress(stream)
    try:
        return RichProgress(stream)
    except Exception as error:
        _log.debug("no display of rich: %s", error)
        return PlainProgress(stream)


def _is_notebook() -> bool:
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
            with contextlib.suppress(Exception):  # rich must give stdout back
                progress.stop(view, now=now)
            with contextlib.suppress(Exception):  # logging may have lost its stream, too
                _log.warning("%s: progress is shown no more: %r", view.operation_id, error)


class CallableProgress:
    """Calls a function with each view."""

    def __init__(self, function: Callable[[ProgressView], object]) -> None:
        self._function = function

    def start(self, view: ProgressView, *, now: float) -> None:
        self._function(view)

    update = wait = stop = start


class LinesProgress:
    """Writes a line every 30 s, for logs: the first after 30 s, or when a wait begins.

    The lines go to the logger ``resumable.progress``, level INFO, if the program set up logging, else to the stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._written_at = 0.0
        self._is_waiting = False

    def start(self, view: ProgressView, *, now: float) -> None:
        self._written_at = now

    def update(self, view: ProgressView, *, now: float) -> None:
        self._is_waiting = False
        if now - self._written_at >= LINE_INTERVAL_SECONDS:
            self._write(view, now)

    def wait(self, view: ProgressView, *, now: float) -> None:
        if not self._is_waiting or now - self._written_at >= LINE_INTERVAL_SECONDS:
            self._write(view, now)
        self._is_waiting = True

    def stop(self, view: ProgressView, *, now: float) -> None:
        pass

    def _write(self, view: ProgressView, now: float) -> None:
        self._written_at = now
        if _log.isEnabledFor(logging.INFO) and _log.hasHandlers():
            _log.info("%s", text_line(view), extra={"resumable.operation_id": view.operation_id})
        else:
            self._stream.write(text_line(view, glyphs_for(self._stream)) + "\n")
            self._stream.flush()


class PlainProgress:
    """Writes one line over and over, with carriage returns."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._glyphs = glyphs_for(stream)
        self._width = 0

    def start(self, view: ProgressView, *, now: float) -> None:
        width = columns(self._stream) - 1  # the last column may wrap
        text = one_line(view, width, self._glyphs)
        self._stream.write("\r" + text + " " * max(0, min(self._width, width) - cells(text)))
        self._stream.flush()
        self._width = cells(text)

    update = wait = start

    def stop(self, view: ProgressView, *, now: float) -> None:
        self.update(view, now=now)
        self._stream.write("\n")
        self._stream.flush()


class RichProgress:
    """Draws two lines with rich: the bar, and below it the quota or the wait. Prints of the program appear above them.

    Raises:
        ImportError: If rich is not installed, or, in a notebook, ipywidgets is not.
        io.UnsupportedOperation: If rich cannot draw on the stream.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream)
        if self._console.is_jupyter:
            importlib.import_module("ipywidgets")  # without it, rich shows nothing but a warning
        elif not self._console.is_terminal or self._console.is_dumb_terminal:
            raise io.UnsupportedOperation("rich takes the stream for no terminal")
        self._glyphs = glyphs_for(stream)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            # Prints to a file or a pipe must still arrive there.
            redirect_stdout=is_terminal(sys.stdout),
            redirect_stderr=is_terminal(sys.stderr),
        )

    def start(self, view: ProgressView, *, now: float) -> None:
        self._live.start()
        # A kill would leave the terminal without its cursor.
        self._console.show_cursor(True)
        self.update(view, now=now)

    def update(self, view: ProgressView, *, now: float) -> None:
        self._live.update(self._lines(view), refresh=True)

    wait = update

    def stop(self, view: ProgressView, *, now: float) -> None:
        if self._live.is_started:
            self.update(view, now=now)
            self._live.stop()

    def _lines(self, view: ProgressView) -> Any:
        from rich.console import Group
        from rich.text import Text

        line = progress_line(view, self._console.width, self._glyphs)
        parts = (line.head, "bold"), (line.bar_done, "green"), (line.bar_to_go, "dim"), (line.tail, "")
        shown = [Text.assemble(*parts, no_wrap=True, overflow="crop")]
        below = waiting_line(view, self._console.width) if view.is_waiting else self._lower(view, line)
        if below and not view.is_last:
            shown.append(Text(below, style="yellow" if view.is_waiting else "dim", no_wrap=True, overflow="ellipsis"))
        return Group(*shown)

    def _lower(self, view: ProgressView, line: Line) -> str:
        text = lower_line(view, self._glyphs)
        indent = cells(line.head) - 4 if line.tail else 2
        return " " * max(indent, 0) + text if text else ""


def say(text: str) -> None:
    """Write *text* and a newline to ``sys.stderr``; do nothing if that fails."""
    with contextlib.suppress(Exception):  # pythonw has no stderr
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stderr.flush()


def columns(stream: TextIO) -> int:
    """Width of the terminal behind *stream*; 80 if it is unknown."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns
