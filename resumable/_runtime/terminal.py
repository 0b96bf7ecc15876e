"""Terminals: the raw file below a stream, escape sequences, and workers that print above their parent's bar."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

from .interpreter import is_terminal

ERASE_BELOW = "\x1b[J"
_WINDOWS_SIGNS = ("WT_SESSION", "TERM", "ANSICON", "ConEmuANSI", "TERM_PROGRAM")
"""Any of these variables means that a Windows console understands escape sequences."""


def standard_streams() -> tuple[Any, ...]:
    """The streams that a program writes to by default, now and at its start."""
    return sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__


def understands_escapes() -> bool:
    """Whether terminals on this system understand escape sequences."""
    if os.name == "nt":
        return any(map(os.environ.get, _WINDOWS_SIGNS))
    return os.environ.get("TERM", "") not in ("", "dumb")


def raw_of(stream: Any) -> Any:
    """The raw file below *stream*; None if that is not a terminal, or its writes cannot be intercepted."""
    if not is_terminal(stream):
        return None
    with contextlib.suppress(Exception):
        buffer = stream.buffer
        raw = getattr(buffer, "raw", buffer)
        raw.fileno()
        vars(raw)
        return raw
    return None


def write_above_lines() -> None:
    """Make this worker's prints replace the lines that its parent shows below; the parent draws them again.

    Does nothing without a terminal, and in a forked worker, whose streams know of the lines.
    """
    if not understands_escapes():
        return
    for stream in (sys.stdout, sys.stderr):
        raw = raw_of(stream)
        if raw is not None and "write" not in vars(raw):
            raw.write = _Erasing(raw.write)


class _Erasing:
    """Writes to a terminal. Before each line, it erases everything below the cursor."""

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self._write = write
        self._is_line_open = False

    def __call__(self, data: Any) -> int:
        text = bytes(data)
        erased = b"" if self._is_line_open or not text else ERASE_BELOW.encode()
        self._is_line_open = bool(text) and not text.endswith(b"\n")
        write_all(self._write, erased + text)
        return len(text)


def write_all(write: Callable[[bytes], Any], data: bytes) -> None:
    """Call *write*, a raw file's method, until all of *data* is written."""
    view = memoryview(data)
    while view:
        written = write(bytes(view))
        view = view[written if isinstance(written, int) else len(view) :]  # None: it accepts nothing at present
