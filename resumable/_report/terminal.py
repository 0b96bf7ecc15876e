"""Facts of an output stream: whether a person reads it, how wide it is, which signs it can encode."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import Any, TextIO

from .bar import ASCII, FINE, Glyphs


def is_terminal(stream: Any) -> bool:
    """Whether a person sees at once what is written to *stream*."""
    try:
        return bool(stream.isatty())
    except Exception:  # it is closed, or None
        return False


def glyphs_for(stream: Any) -> Glyphs:
    """The finest signs that *stream* can encode."""
    try:
        "".join(FINE).encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return ASCII
    return FINE


def say(text: str, stream: TextIO | None = None) -> None:
    """Write *text* and a newline to *stream*, by default ``sys.stderr``; do nothing if that fails."""
    with contextlib.suppress(Exception):  # pythonw has no stderr
        target: Any = stream or sys.stderr
        encoding = getattr(target, "encoding", None) or "utf-8"
        target.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        target.flush()


def columns(stream: TextIO) -> int:
    """Width of the terminal behind *stream*; 80 if it is unknown."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns
