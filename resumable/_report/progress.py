"""How progress is shown: with rich, with tqdm, on a plain line, as a line now and then, or by the user's own callable.

All of it goes to stderr. Nothing here raises into the user's loop: what cannot be shown is not shown.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol, TextIO

from .bar import ProgressView, cells, one_line, text_line
from .terminal import columns, glyphs_for, is_terminal

_log = logging.getLogger("resumable.progress")

MIN_INTERVAL_SECONDS = 0.1
"""How often a bar is worth drawing; who calls ``update`` sees to it."""

LINE_INTERVAL_SECONDS = 30.0
"""How often a line is written where nobody watches."""


class Progress(Protocol):
    """Shows where an operation stands. ``now`` is monotonic seconds."""

    def start(self, view: ProgressView, *, now: float) -> None:
        """The run begins."""

    def update(self, view: ProgressView, *, now: float) -> None:
        """It goes on."""

    def wait(self, view: ProgressView, *, now: float) -> None:
        """It waits; called again and again, for a countdown."""

    def stop(self, view: ProgressView, *, now: float) -> None:
        """The run ends, well or not. What is shown stays; nothing is shown after it."""


def show(
    how: bool | Callable[[ProgressView], object] | Progress,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Progress | None:
    """What shows progress as *how* asks; None for False.

    Args:
        how: True: on *stream*, as well as it can be shown there. A callable gets each view.
        stream: By default ``sys.stderr``, as it is now.

    Raises:
        TypeError: If *how* is none of these.
    """
    if how is False:
        return None
    if how is True:
        return _Careful(_on_stream(sys.stderr if stream is None else stream, environ))
    if all(hasattr(how, name) for name in ("start", "update", "wait", "stop")):
        return _Careful(how)  # type: ignore[arg-type]
    if not callable(how):
        raise TypeError(f"progress must be True, False, or a callable that takes a ProgressView, not {how!r}")
    return _Careful(CallableProgress(how))


def _on_stream(stream: TextIO | None, environ: Mapping[str, str]) -> Progress | None:
    if stream is None:  # as under pythonw
        return None
    if not is_terminal(stream) and not _is_notebook():
        return LinesProgress(stream)
    from .displays import NotebookProgress, RichProgress, TqdmProgress

    if _is_notebook():
        return _first_that_works(NotebookProgress, PlainProgress, stream=stream)
    if environ.get("TERM") == "dumb":
        return PlainProgress(stream)
    return _first_that_works(RichProgress, TqdmProgress, PlainProgress, stream=stream)


def _first_that_works(*kinds: Callable[[TextIO], Progress], stream: TextIO) -> Progress | None:
    for kind in kinds:
        try:
            return kind(stream)
        except Exception as error:  # not installed, or not able to
            _log.debug("%s cannot be used: %s", kind, error)
    return None


def _is_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class _Careful:
    """Shows by another, until that fails; then no more."""

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
            with contextlib.suppress(Exception):  # a display gives stdout back
                progress.stop(view, now=now)
            with contextlib.suppress(Exception):  # logging, too, may have lost its stream
                _log.warning("%s: progress is shown no more: %r", view.operation_id, error)


class CallableProgress:
    """Hands each view to a function."""

    def __init__(self, function: Callable[[ProgressView], object]) -> None:
        self._function = function

    def start(self, view: ProgressView, *, now: float) -> None:
        self._function(view)

    update = wait = stop = start


class LinesProgress:
    """A line every 30 s, for logs; the first after 30 s, or when a wait begins.

    Where the program has set up logging, lines go to the logger ``resumable.progress``, level INFO; else to the
    stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said_at = 0.0
        self._is_waiting = False

    def start(self, view: ProgressView, *, now: float) -> None:
        self._said_at = now

    def update(self, view: ProgressView, *, now: float) -> None:
        self._is_waiting = False
        if now - self._said_at >= LINE_INTERVAL_SECONDS:
            self._write(view, now)

    def wait(self, view: ProgressView, *, now: float) -> None:
        if not self._is_waiting or now - self._said_at >= LINE_INTERVAL_SECONDS:
            self._write(view, now)
        self._is_waiting = True

    def stop(self, view: ProgressView, *, now: float) -> None:
        pass

    def _write(self, view: ProgressView, now: float) -> None:
        self._said_at = now
        if _log.isEnabledFor(logging.INFO) and _log.hasHandlers():
            _log.info("%s", text_line(view), extra={"resumable.operation_id": view.operation_id})
        else:
            self._stream.write(text_line(view, glyphs_for(self._stream)) + "\n")
            self._stream.flush()


class PlainProgress:
    """One line that is written over and over."""

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
