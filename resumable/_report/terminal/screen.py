"""The lowest lines of a terminal, which stay below everything that the program writes.

Everything that writes to the terminal in this process ends at the raw file below ``sys.stdout`` or ``sys.stderr``:
``print``, handlers of ``logging``, warnings, tracebacks, other bars. The raw file is intercepted while lines are shown.
"""

from __future__ import annotations

import mmap
import os
import shutil
import threading
import weakref
from collections.abc import Callable
from typing import Any

from ..._runtime import signals
from ..._runtime.terminal import ERASE_BELOW, raw_of, standard_streams, understands_escapes, write_all
from .drawing import Below, Cursor, Drawing, InOneRow, Shown

_ROOM = 1
"""Cells that stay free at a line's end: terminals differ in what follows a full line."""


Render = Callable[[int], list[Shown]]
"""Returns lines of at most that many cells."""


class Screen:
    """The lines at the bottom; several owners may have some. Safe from any thread, and in signal handlers.

    Args:
        stream: A terminal.
        is_plain: Whether it lacks escape sequences; then it shows only the newest owner's first line.
    """

    def __init__(self, stream: Any, *, is_plain: bool = False) -> None:
        self._stream = stream
        self._raw = raw_of(stream)
        self.is_plain = is_plain
        self._lock = threading.RLock()
        self._owners: dict[object, Render] = {}
        self._rendered: tuple[int, list[Shown]] | None = None  # for a certain width
        self._text = Cursor()
        self._drawing: Drawing = InOneRow() if is_plain else Below()
        self._is_busy = False
        self._late: list[tuple[bytes, bool]] = []
        self._hooks: list[_Hook] = []
        self.pid = os.getpid()
        self._is_childs_line_open = False
        self._flag_for_children: Any = None

    # -- for owners

    def put(self, owner: object, render: Render) -> None:
        """Show lines for *owner*, replacing its earlier ones."""
        with self._lock:
            self._owners[owner], self._rendered = render, None
            self._hook()
            self._write(b"")

    def drop(self, owner: object, last: str = "") -> None:
        """Remove the lines of *owner*. *last*, if any, stays in their place."""
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
        """Write *text*, if any, as lines above."""
        self._write(self._encoded(f"{text}\n") if text else b"", begins_line=True)

    # -- output

    def pass_on(self, data: Any, write: Callable[[bytes], Any]) -> int:
        """The program writes *data*, by *write*. Returns the length of *data*."""
        text = bytes(data)
        if os.getpid() == self.pid:
            self._write(text, write)
        else:
            self._write_in_child(text, write)
        return len(text)

    def write_now(self, text: bytes) -> None:
        """Write *text* above, from a signal handler; inside another write, after that. It begins a line."""
        self._write(text, begins_line=True)

    def _write(self, text: bytes, write: Callable[[bytes], Any] | None = None, *, begins_line: bool = False) -> None:
        """Write *text* above the lines, then redraw them."""
        with self._lock:
            if self._is_busy:  # a signal handler inside this very method
                self._late.append((text, begins_line))
                return
            self._is_busy = True
            try:
                write_all(write or self._own_write, self._with_lines(text, begins_line))
            finally:
                self._is_busy = False
                late, self._late = self._late, []
            for each, begins in late:
                self._write(each, write, begins_line=begins)

    def _with_lines(self, text: bytes, begins_line: bool) -> bytes:
        width = self._width()
        if not text and (lines := self._lines(width)):
            return self._encoded(self._drawn(lines, width))
        before = self._drawing.erase(self._text, width)
        if begins_line and (before or not self._text.is_at_start) and (text or self._text.is_at_start):
            before += self._drawing.new_line(self._text, width)
            self._text = Cursor()
        self._text.follow(text.decode("utf-8", "replace"), width)
        return self._encoded(before) + text + self._encoded(self._drawn(self._lines(width), width))

    def _drawn(self, lines: list[Shown], width: int) -> str:
        self._tell_children(is_shown=bool(lines))
        return self._drawing.draw(lines, self._text, width) if lines else ""

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

    def _encoded(self, text: str) -> bytes:
        return text.encode(getattr(self._stream, "encoding", None) or "utf-8", "replace")

    def _own_write(self, data: bytes) -> Any:
        if self._raw is not None and not self._raw.isatty():
            return len(data)  # the terminal was replaced by another file
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

    # -- intercept the program's output

    def _hook(self) -> None:
        """Intercept the streams that show on this terminal; some may be new."""
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

    # -- forked children write to the terminal, too

    def _tell_children(self, *, is_shown: bool) -> None:
        if not self.is_plain and hasattr(os, "fork"):
            if self._flag_for_children is None:
                self._flag_for_children = mmap.mmap(-1, 1)
            self._flag_for_children[0] = is_shown

    def _write_in_child(self, text: bytes, write: Callable[[bytes], Any]) -> None:
        """Write *text* over the lines; the parent then redraws them below."""
        if text and not self._is_childs_line_open and self._flag_for_children and self._flag_for_children[0]:
            text = ERASE_BELOW.encode() + text
        self._is_childs_line_open = bool(text) and not text.endswith(b"\n")
        write_all(write, text)


class _Hook:
    """Makes a screen pass on what is written to one raw file."""

    def __init__(self, raw: Any, screen: Screen) -> None:
        self.raw = raw
        self.write: Callable[[bytes], Any] = raw.write
        self._before = vars(raw).get("write")
        self._screen = screen
        self._caught = self._pass_on  # a single object, which can be recognized
        raw.write = self._caught

    def _pass_on(self, data: Any) -> Any:
        # Another file may have taken its descriptor meanwhile, as daemons do.
        is_terminal_still = not self.raw.closed and self.raw.isatty()
        return self._screen.pass_on(data, self.write) if is_terminal_still else self.write(data)

    def remove(self) -> None:
        if vars(self.raw).get("write") is self._caught:  # else another program has hooked on top
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
    """Let the screen in use write *text*, from a signal handler. Returns whether there is one."""
    for screen in _on_top[-1:]:
        screen.write_now(text)
        return True
    return False


signals.tell_at_once.append(_tell_at_once)


def columns(stream: Any) -> int:
    """Width of the terminal behind *stream*; 80 if it is unknown."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns


def _is_same(raw: Any, other: Any) -> bool:
    """Whether both are one terminal."""
    return raw is other or os.fstat(raw.fileno()).st_rdev == os.fstat(other.fileno()).st_rdev
