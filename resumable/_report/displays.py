"""The displays of others, rich and tqdm, showing what is ours to say. Both are imported on demand."""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from typing import Any, TextIO

from .bar import FINE, Line, ProgressView, budget_line, cells, one_line, progress_line, waiting_line
from .terminal import columns, glyphs_for, is_terminal


class TqdmProgress:
    """A line of tqdm, which keeps clear of other bars of tqdm. What it says is ours: tqdm knows of no waits.

    Raises:
        ImportError: tqdm is not installed.
    """

    def __init__(self, stream: TextIO) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tells of ipywidgets that are missing
            auto: Any = importlib.import_module("tqdm.auto")
        # An interval of 0: no thread that watches.
        self._make = type("Bar", (auto.tqdm,), {"monitor_interval": 0})
        self._stream = stream
        self._bar: Any = None

    def start(self, view: ProgressView, *, now: float) -> None:
        self._bar = self._make(
            total=view.total,
            initial=view.done,
            file=self._stream,
            # A terminal that does not know its size has none, says tqdm, and shows nothing there.
            ncols=self._width(),
            nrows=20,
            bar_format=self._format(view),
        )

    def update(self, view: ProgressView, *, now: float) -> None:
        self._bar.total, self._bar.n = view.total, view.done
        self._bar.ncols, self._bar.bar_format = self._width(), self._format(view)
        self._bar.refresh()

    wait = update

    def stop(self, view: ProgressView, *, now: float) -> None:
        if self._bar is not None:
            self.update(view, now=now)
            self._bar.close()

    def _width(self) -> int | None:
        return columns(self._stream) - 1

    def _format(self, view: ProgressView) -> str:
        return _literal(one_line(view, columns(self._stream) - 1, glyphs_for(self._stream)))


class NotebookProgress(TqdmProgress):
    """The same in a notebook, where the bar is a widget.

    Raises:
        ImportError: tqdm is not installed.
    """

    def _width(self) -> int | None:
        return None

    def _format(self, view: ProgressView) -> str:
        if view.is_waiting:
            return _literal(waiting_line(view))
        line, budget = progress_line(view, 1000), budget_line(view)
        tail = line.tail + (f" {FINE.dot} {budget}" if budget else "")
        return f"{_literal(line.head)}{'' if view.total is None else '{bar}'}{_literal(tail)}"


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


class RichProgress:
    """Two lines of rich: the bar, and the quota or the wait. What the program prints appears above them.

    Raises:
        ImportError: rich is not installed.
        io.UnsupportedOperation: rich takes the stream for no terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream)
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            raise io.UnsupportedOperation("rich takes the stream for no terminal")
        self._glyphs = glyphs_for(stream)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            # Prints that go to a file or a pipe must go on going there.
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
        below = waiting_line(view, self._console.width) if view.is_waiting else self._budget(view, line)
        shown = [_colored(line)]
        if below and not view.is_last:
            shown.append(Text(below, style="yellow" if view.is_waiting else "dim", no_wrap=True, overflow="ellipsis"))
        return Group(*shown)

    def _budget(self, view: ProgressView, line: Line) -> str:
        budget = budget_line(view, self._glyphs)
        indent = cells(line.head) - 4 if line.tail else 2
        return " " * max(indent, 0) + budget if budget else ""


def _colored(line: Line) -> Any:
    from rich.text import Text

    parts = (line.head, "bold"), (line.bar_done, "green"), (line.bar_to_go, "dim"), (line.tail, "")
    return Text.assemble(*parts, no_wrap=True, overflow="crop")
