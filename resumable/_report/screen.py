"""The lowest lines of a terminal, which stay below all that the program writes there.

Whatever writes to the terminal in this process ends at the raw file below ``sys.stdout`` or ``sys.stderr``: ``print``,
handlers of ``logging``, warnings, tracebacks, other bars. So that is where they are caught, for as long as lines stand.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import re
import shutil
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from .._runtime import signals
from .._runtime.interpreter import is_terminal, standard_streams
from .bar import cells

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[^\[\]]|[\r\n]")
_WINDOWS_SIGNS = ("WT_SESSION", "TERM", "ANSICON", "ConEmuANSI", "TERM_PROGRAM")
"""One of these tells of a console that understands escape sequences."""
_MOST_ROWS = 200
_ROOM = 3
"""Cells that stay free at a line's end: for the ``^C`` of a terminal, which would go on in a line of its own."""


class Shown(NamedTuple):
    """One line: its text with its colours, and how wide it is."""

    text: str
    cells: int


Render = Callable[[int], list[Shown]]
"""Gives lines of at most so many cells."""


class _Cursor:
    """Where the program's own text stands: in which column, and with how many of its rows below."""

    def __init__(self) -> None:
        self.column = self.below = 0

    @property
    def is_at_start(self) -> bool:
        return not self.column and not self.below

    def follow(self, text: str, width: int) -> None:
        """*text* was written."""
        if "\x1b" not in text and not self.below:
            line = text.rpartition("\n")
            if line[1]:
                self.column = 0
            self._to_the_right(line[2], width)
            return
        end = 0
        for token in _TOKEN.finditer(text):
            self._to_the_right(text[end : token.start()], width)
            end = token.end()
            self._move(token)
        self._to_the_right(text[end:], width)

    def _move(self, token: re.Match[str]) -> None:
        number = int(token[1]) if token[1] and token[1].isdigit() else 1
        match token[2] or token[0]:
            case "\n" | "B":
                self.below = max(0, self.below - number)
                self.column = 0 if token[0] == "\n" else self.column
            case "\r":
                self.column = 0
            case "A":
                self.below = min(self.below + number, _MOST_ROWS)
            case "G":
                self.column = number - 1
            case "H" | "f":
                self.column = self.below = 0

    def _to_the_right(self, text: str, width: int) -> None:
        _, returned, rest = text.rpartition("\r")
        column = (0 if returned else self.column) + cells(rest)
        self.column = column if column <= width else (column - 1) % width + 1


class Screen:
    """The lines that stand below; several owners may have some. Safe from any thread, and in signal handlers.

    Args:
        stream: A terminal.
        is_plain: Whether it understands no escape sequences; then it shows the newest owner's first line only.
    """

    def __init__(self, stream: Any, *, is_plain: bool = False) -> None:
        self._stream = stream
        self._raw = raw_of(stream)
        self.is_plain = is_plain
        self._lock = threading.RLock()
        self._owners: dict[object, Render] = {}
        self._rendered: tuple[int, list[Shown]] | None = None  # for a width
        self._text = _Cursor()
        self._drawn: list[int] = []  # cells of each line that stands
        self._offset = 0  # rows from the program's text to the first of them
        self._is_busy = False
        self._late: list[bytes] = []
        self._hooks: list[_Hook] = []
        self.pid = os.getpid()
        self._is_childs_line_open = False
        self._flag_for_children: Any = None

    # -- for owners

    def put(self, owner: object, render: Render) -> None:
        """Show lines for *owner*, in place of those that it had."""
        with self._lock:
            self._owners[owner], self._rendered = render, None
            self._hook()
            self._write(b"")

    def drop(self, owner: object, last: str = "") -> None:
        """Take the lines of *owner* away. *last*, if any, stays in their place as a line of its own."""
        with self._lock:
            if self._owners.pop(owner, None) is None and not last:
                return
            self._rendered = None
            try:
                self.say(last)
            finally:
                if not self._owners:
                    self._unhook()

    def say(self, text: str) -> None:
        """Write *text*, if there is any, as lines above."""
        start = "" if self._text.is_at_start else "\n"
        self._write(self._encoded(f"{start}{text}\n") if text else b"")

    # -- what is written

    def pass_on(self, data: Any, write: Callable[[bytes], Any]) -> int:
        """The program writes *data*, by *write*. Returns how much was written: all."""
        text = bytes(data)
        if os.getpid() == self.pid:
            self._write(text, write)
        else:
            self._write_in_child(text, write)
        return len(text)

    def write_now(self, text: bytes) -> None:
        """Write *text* above, from a signal handler; within another write, after that. A line begins with it."""
        self._write(text if self._text.is_at_start else b"\n" + text)

    def _write(self, text: bytes, write: Callable[[bytes], Any] | None = None) -> None:
        """Write *text* above the lines, and then these anew."""
        with self._lock:
            if self._is_busy:  # a signal handler, within this very method
                self._late.append(text)
                return
            self._is_busy = True
            try:
                _all(write or self._own_write, self._with_lines(text))
            finally:
                self._is_busy = False
                late, self._late = self._late, []
            for each in late:
                self._write(each, write)

    def _with_lines(self, text: bytes) -> bytes:
        width = self._width()
        lines = self._lines(width)
        if not text and len(lines) == len(self._drawn) and max(self._drawn, default=0) < width and lines:
            return self._encoded(self._over(lines))
        erased = self._erased(width)
        self._text.follow(text.decode("utf-8", "replace"), width)
        return self._encoded(erased) + text + self._encoded(self._placed(self._lines(width)))

    def _lines(self, width: int) -> list[Shown]:
        if self._rendered is None or self._rendered[0] != width:
            self._rendered = (
                width,
                [line for render in list(self._owners.values()) for line in render(max(width - _ROOM, 1))],
            )
        shown = self._rendered[1]
        if self.is_plain:
            return [] if self._text.column else shown[-1:]
        rows = max(1, self._height() // 2)
        return shown[-rows:]

    def _over(self, lines: list[Shown]) -> str:
        """Write *lines* over those that stand."""
        if self.is_plain:
            (line,) = lines
            text = f"\r{line.text}{' ' * (self._drawn[0] - line.cells)}"
        else:
            text = "\r" + "\x1b[K\r\n".join(line.text for line in lines) + "\x1b[K" + _back(lines)
        self._drawn = [line.cells for line in lines]
        return text

    def _erased(self, width: int) -> str:
        """Take the lines away; the cursor is then where the program's text ends."""
        if not self._drawn:
            return ""
        drawn, self._drawn = self._drawn, []
        if self.is_plain:
            return "\r" + " " * drawn[0] + "\r"
        rows = max(1, math.ceil(drawn[0] / width))  # more than one if the terminal was made narrower
        column = f"\x1b[{self._text.column + 1}G" if self._text.column else ""
        return "\r" + _up(rows - 1) + "\x1b[J" + _up(self._offset) + column

    def _placed(self, lines: list[Shown]) -> str:
        if not lines:
            self._tell_children(is_shown=False)
            return ""
        self._offset = 0 if self._text.is_at_start else self._text.below + 1
        self._drawn = [line.cells for line in lines]
        self._tell_children(is_shown=True)
        return "\r\n" * self._offset + "\r\n".join(line.text for line in lines) + _back(lines)

    def _encoded(self, text: str) -> bytes:
        return text.encode(getattr(self._stream, "encoding", None) or "utf-8", "replace")

    def _own_write(self, data: bytes) -> Any:
        if self._raw is not None and not self._raw.isatty():
            return len(data)  # another file has taken the place of the terminal
        for hook in self._hooks:
            if hook.raw is self._raw:
                return hook.write(data)
        if self._raw is not None:
            return self._raw.write(data)
        self._stream.write(data.decode(getattr(self._stream, "encoding", None) or "utf-8", "replace"))
        self._stream.flush()
        return None

    def _width(self) -> int:
        return max(columns(self._stream), 2)

    def _height(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).lines or 24
        except (OSError, ValueError):
            return 24

    # -- catching what the program writes

    def _hook(self) -> None:
        """Catch what goes through the streams that show on this terminal; some may be new."""
        if self._raw is None:
            return
        for stream in (*standard_streams(), self._stream):
            raw = raw_of(stream)
            is_caught = raw is None or any(raw is hook.raw for hook in self._hooks)
            if not is_caught and _is_same(raw, self._raw):
                self._hooks.append(_Hook(raw, self))
        if self not in _on_top:
            _on_top.append(self)

    def _unhook(self) -> None:
        hooks, self._hooks = self._hooks, []
        for hook in hooks:
            hook.remove()
        if self in _on_top:
            _on_top.remove(self)

    # -- forked children, which write to the terminal, too

    def _tell_children(self, *, is_shown: bool) -> None:
        if not self.is_plain and hasattr(os, "fork"):
            if self._flag_for_children is None:
                self._flag_for_children = mmap.mmap(-1, 1)
            self._flag_for_children[0] = is_shown

    def _write_in_child(self, text: bytes, write: Callable[[bytes], Any]) -> None:
        """Write *text* in place of the lines, which the parent then draws below."""
        if text and not self._is_childs_line_open and self._flag_for_children and self._flag_for_children[0]:
            text = b"\r\x1b[J" + text
        self._is_childs_line_open = bool(text) and not text.endswith(b"\n")
        _all(write, text)


class _Hook:
    """Has a screen pass on what is written to one raw file."""

    def __init__(self, raw: Any, screen: Screen) -> None:
        self.raw = raw
        self.write: Callable[[bytes], Any] = raw.write
        self._before = vars(raw).get("write")
        self._screen = screen
        self._caught = self._pass_on  # one object, which is found again
        raw.write = self._caught

    def _pass_on(self, data: Any) -> Any:
        # Its descriptor may have been put over a file meanwhile, as daemons do.
        is_terminal_still = not self.raw.closed and self.raw.isatty()
        return self._screen.pass_on(data, self.write) if is_terminal_still else self.write(data)

    def remove(self) -> None:
        if vars(self.raw).get("write") is self._caught:  # else somebody has come on top
            if self._before is None:
                del self.raw.write
            else:
                self.raw.write = self._before


_screens: weakref.WeakValueDictionary[int, Screen] = weakref.WeakValueDictionary()
_on_top: list[Screen] = []
"""The screens that show something."""


def screen_of(stream: Any) -> Screen:
    """The one screen of the terminal *stream*."""
    raw = raw_of(stream)
    known = _screens.get(id(raw))
    if raw is None or known is None or known.pid != os.getpid():
        known = Screen(stream, is_plain=raw is None or not understands_escapes())
        if raw is not None:
            _screens[id(raw)] = known
    return known


def _tell_at_once(text: bytes) -> bool:
    """Have the screen that shows something write *text*, from a signal handler. Whether there is one."""
    for screen in _on_top[-1:]:
        screen.write_now(text)
        return True
    return False


signals.tell_at_once.append(_tell_at_once)


def understands_escapes() -> bool:
    """Whether a terminal of this system takes escape sequences."""
    if os.name == "nt":
        return any(map(os.environ.get, _WINDOWS_SIGNS))
    return bool(os.environ.get("TERM"))


def raw_of(stream: Any) -> Any:
    """The raw file that *stream* ends in, None if it is no terminal or its writes cannot be caught."""
    if not is_terminal(stream):
        return None
    with contextlib.suppress(Exception):
        buffer = stream.buffer
        raw = getattr(buffer, "raw", buffer)
        raw.fileno()
        vars(raw)
        return raw
    return None


def columns(stream: Any) -> int:
    """Width of the terminal behind *stream*; 80 if it is unknown."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns


def _is_same(raw: Any, other: Any) -> bool:
    """Whether both are one terminal."""
    return raw is other or os.fstat(raw.fileno()).st_rdev == os.fstat(other.fileno()).st_rdev


def _back(lines: list[Shown]) -> str:
    """Put the cursor at the end of the first of *lines*.

    What another program writes then stands there and below: to draw the lines anew never takes it away.
    """
    return f"{_up(len(lines) - 1)}\x1b[{lines[0].cells + 1}G" if len(lines) > 1 else ""


def _up(rows: int) -> str:
    return f"\x1b[{rows}A" if rows > 0 else ""


def _all(write: Callable[[bytes], Any], data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = write(bytes(view))
        view = view[written if isinstance(written, int) else len(view) :]  # None: it takes no more now
