"""Values as a person reads them: spans, sizes, counts, and texts that may hold anything."""

from __future__ import annotations

import shlex

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """A span in the two units that matter: ``42 s``, ``12 min``, ``1h52m``, ``3 days``."""
    seconds = round(max(seconds, 0.0))
    if seconds < _MINUTE:
        return f"{seconds} s"
    minutes = round(seconds / _MINUTE)
    if minutes < 60:
        return f"{minutes} min"
    if seconds < 2 * _DAY:
        return f"{minutes // 60}h{minutes % 60:02}m"
    return f"{seconds // _DAY} days"


def ago(seconds: float) -> str:
    """How long since: ``2 s ago``, ``10 min ago``, ``3 h ago``, ``yesterday``, ``5 days ago``."""
    if seconds < 1:
        return "just now"
    if seconds < _HOUR - 30:
        return f"{duration(seconds)} ago"
    if seconds < _DAY:
        return f"{max(1, int(seconds // _HOUR))} h ago"
    return "yesterday" if seconds < 2 * _DAY else f"{int(seconds // _DAY)} days ago"


def size(count: int) -> str:
    """Bytes, in the unit that keeps it short: ``700 B``, ``1.2 KB``, ``35 MB``."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("KB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.5 or unit == "TB":
            break
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:,.0f} {unit}"


def printable(text: str) -> str:
    """*text* on one line, with what could steer a terminal written out (``\\x1b``)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def argument(text: str) -> str:
    """*text* as one argument of a shell's command line."""
    quoted = shlex.quote(text) if text.isprintable() else f"$'{printable(text).replace(chr(39), chr(92) + chr(39))}'"
    return f"-- {quoted}" if text.startswith("-") else quoted
