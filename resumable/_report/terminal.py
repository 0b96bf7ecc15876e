"""What is behind a stream: whether a person reads it, how wide it is, and which signs it takes."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import Any, TextIO

from .bar import ASCII, FINE, Glyphs


def is_terminal(stream: Any) -> bool:
    """Whether a person sees what is written to *stream* at once."""
    try:
        return bool(stream.isatty())
    except Exception:  # closed, or no stream
        return False


def glyphs_for(stream: Any) -> Glyphs:
    """The finest signs that *stream* can take."""
    try:
        "".join(FINE).encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return ASCII
    return FINE


def say(text: str, stream: TextIO | None = None) -> None:
    """Write *text* as lines to *stream*, by default ``sys.stderr``; do nothing if that cannot be."""
    with contextlib.suppress(Exception):  # also where there is no stderr
        target: Any = stream or sys.stderr
        encoding = getattr(target, "encoding", None) or "utf-8"
        target.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        target.flush()


def columns(stream: TextIO) -> int:
    """The width of the terminal behind *stream*; 80 if it cannot be told."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns
