"""Durations, times and speeds in words, and names that steer no shell or terminal.

Pure: text from values. The caller gives local times.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from datetime import datetime, timedelta

from .secrets import hidden

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LONGEST = 365 * _DAY
_LONGEST_SECRET = 4096
"""What is shown of a text is looked at so far beyond its end: half a secret would not be known for one."""


# -- durations, times, speeds ------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """A duration in the units that matter: ``42 s``, ``59 min``, ``1h52m``, ``3 days``."""
    if not seconds <= _LONGEST:
        return "over a year"
    seconds = math.floor(max(seconds, 0.0) + 0.5)
    if seconds < _MINUTE:
        return f"{seconds} s"
    minutes = math.floor(seconds / _MINUTE + 0.5)
    if minutes < 60:
        return f"{minutes} min"
    if seconds < 2 * _DAY:
        return f"{minutes // 60}h{minutes % 60:02}m"
    return f"{seconds // _DAY} days"


def at_most(seconds: float) -> str:
    """A bound on a duration: ``at most 1.0 s``, ``at most 5 min``."""
    return f"at most {precise(seconds)}"


def precise(seconds: float) -> str:
    """A duration of which a short one matters, too: ``4.5 s``, else as :func:`duration` says it."""
    return f"{max(seconds, 0.0):.1f} s" if seconds < 9.95 else duration(seconds)


def countdown(seconds: float) -> str:
    """A rest in seconds, rounded up so that 0:00 is the end: ``0:07``, ``34:52``, ``1:34:52``."""
    if not seconds <= _LONGEST:
        return "over a year"
    minutes, rest = divmod(math.ceil(max(seconds, 0.0)), _MINUTE)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def ago(seconds: float) -> str:
    """How long ago something was: ``just now``, ``10 min ago``, ``3 h ago``, ``yesterday``, ``5 days ago``."""
    if seconds < 1:
        return "just now"
    if seconds < _HOUR - 30:
        return f"{duration(seconds)} ago"
    if seconds < _DAY:
        return f"{max(1, int(seconds // _HOUR))} h ago"
    return "yesterday" if seconds < 2 * _DAY else f"{int(seconds // _DAY)} days ago"


def speed(items_per_second: float) -> str:
    """A speed in the unit that keeps it readable: ``1,234/s``, ``3.3/s``, ``12/min``, ``2.5/h``."""
    for factor, unit in ((1, "s"), (_MINUTE, "min"), (_HOUR, "h"), (_DAY, "day")):
        rate = items_per_second * factor
        if rate >= 1 or unit == "day":
            break
    return f"{rate:,.0f}/{unit}" if rate >= 99.95 else f"{rate:.1f}".removesuffix(".0") + f"/{unit}"


def clock_time(moment: datetime, seen_at: datetime, *, seconds: bool = False) -> str:
    """*moment* as people say it at *seen_at*: ``15:24``, within a week ``Tue 15:24``, else ``2026-03-01 15:24``."""
    time = f"{moment:%H:%M:%S}" if seconds else f"{moment:%H:%M}"
    days = (moment.date() - seen_at.date()).days
    if days == 0:
        return time
    return f"{moment:%a} {time}" if 0 < days < 7 else f"{moment:%Y-%m-%d} {time}"


def later(at: datetime, seconds: float) -> datetime | None:
    """The moment *seconds* after *at*; None if that is over a year away."""
    return at + timedelta(seconds=max(seconds, 0.0)) if seconds <= _LONGEST else None


# -- shell and terminal ------------------------------------------------------------------------------------------------


def shortened(value: object, limit: int = 60) -> str:
    """How Python shows *value*, without secrets, in *limit* characters of one line at most."""
    try:
        shown = repr(value)
    except Exception as error:  # a program's own, or a value nested too deeply
        shown = f"<{kind_of(value)}, whose repr fails: {type(error).__name__}>"
    text = " ".join(map(str.strip, hidden(shown[: limit + _LONGEST_SECRET]).split("\n")))
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def kind_of(value: object) -> str:
    """The class of *value* as a program names it."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def close_to(text: str, others: Iterable[str]) -> list[str]:
    """Those of *others* that *text* may have been meant to be, the likeliest first."""
    from difflib import get_close_matches

    return get_close_matches(text, list(others), cutoff=0.5)


def printable(text: str) -> str:
    """*text* on one line; characters that could steer a terminal are written out (``\\x1b``)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def quoted(text: str) -> str:
    """*text* as one word of a POSIX shell's command line."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    code = ord(character)
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:  # a byte of argv that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\U{code:08x}"
