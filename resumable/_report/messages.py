"""What is said to people, as text: that an operation stopped, goes on, or waits; spans, times and speeds.

Pure: text from values. Local times are the caller's to give.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from .._text import command_for, printable

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LONGEST = 365 * _DAY
_INTERRUPTED = "Interrupted: "


# -- values


def duration(seconds: float) -> str:
    """A span in the units that matter: ``42 s``, ``59 min``, ``1h52m``, ``3 days``."""
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


def countdown(seconds: float) -> str:
    """What is left, to the second: ``0:07``, ``34:52``, ``1:34:52``; rounded up, so that 0:00 is the end."""
    if not seconds <= _LONGEST:
        return "over a year"
    minutes, rest = divmod(math.ceil(max(seconds, 0.0)), _MINUTE)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def ago(seconds: float) -> str:
    """How long since: ``just now``, ``2 s ago``, ``10 min ago``, ``3 h ago``, ``yesterday``, ``5 days ago``."""
    if seconds < 1:
        return "just now"
    if seconds < _HOUR - 30:
        return f"{duration(seconds)} ago"
    if seconds < _DAY:
        return f"{max(1, int(seconds // _HOUR))} h ago"
    return "yesterday" if seconds < 2 * _DAY else f"{int(seconds // _DAY)} days ago"


def speed(items_per_second: float) -> str:
    """A rate in the unit that keeps it readable: ``1,234/s``, ``3.3/s``, ``12/min``, ``2.5/h``."""
    for factor, unit in ((1, "s"), (_MINUTE, "min"), (_HOUR, "h"), (_DAY, "day")):
        rate = items_per_second * factor
        if rate >= 1 or unit == "day":
            break
    return f"{rate:,.0f}/{unit}" if rate >= 99.95 else f"{rate:.1f}".removesuffix(".0") + f"/{unit}"


def clock_time(moment: datetime, seen_at: datetime, *, seconds: bool = False) -> str:
    """*moment* as one says it at *seen_at*: ``15:24``, within a week ``Tue 15:24``, else ``2026-03-01 15:24``."""
    time = f"{moment:%H:%M:%S}" if seconds else f"{moment:%H:%M}"
    days = (moment.date() - seen_at.date()).days
    if days == 0:
        return time
    return f"{moment:%a} {time}" if 0 < days < 7 else f"{moment:%Y-%m-%d} {time}"


def later(at: datetime, seconds: float) -> datetime | None:
    """*seconds* after *at*; None if that is too far off to be said."""
    return at + timedelta(seconds=max(seconds, 0.0)) if seconds <= _LONGEST else None


# -- sentences


def waiting(operation_id: str, seconds: float, host: str, at: datetime | None) -> str:
    """``stars: waiting 34:52 for api.github.com (fresh at 15:00:11). Saved: safe to stop.``

    Args:
        seconds: Rest of the wait.
        host: Whose quota it is, "" if unknown.
        at: Local time now; None leaves out when the wait will be over.
    """
    fresh = None if at is None else later(at, seconds)
    when = "" if at is None or fresh is None else f" (fresh at {clock_time(fresh, at, seconds=True)})"
    whom = f" for {printable(host)}" if host else ""
    return f"{printable(operation_id)}: waiting {countdown(seconds)}{whom}{when}. Saved: safe to stop."


def stopped(operation_id: str, done: int, total: int | None, command: str, directory: str = "") -> str:
    """Say in four lines where an operation stopped, and which commands a person can type now.

    Args:
        command: The command line that runs the program again; "" if it is unknown.
        directory: Where the checkpoint lies; "" if ``resumable`` looks there by itself.
    """
    return (
        f"{printable(operation_id)}: stopped at {_of(done, total)}. Saved; nothing is lost.\n"
        f"  go on       {command or 'run it again'}\n"
        f"  look        {command_for('show', operation_id, directory)}\n"
        f"  start over  {command_for('rm', operation_id, directory)}"
    )


def going_on(
    operation_id: str, item: int, total: int | None, run: int, stopped_seconds_ago: float | None = None, how: str = ""
) -> str:
    """``stars: going on at 3,413 of 10,000. Run 2; run 1 stopped 10 min ago by Ctrl-C.``

    Args:
        item: First item of this run, counted from 1.
        stopped_seconds_ago: Seconds since the end, or the last save, of the run before; None if unknown.
        how: What ended the run before, from :func:`how_it_ended`; "" if it was killed.
    """
    text = f"{printable(operation_id)}: going on at {_of(item, total)}. Run {run:,}"
    if stopped_seconds_ago is None:
        return f"{text}."
    when = ago(stopped_seconds_ago)
    if not how:
        return f"{text}; run {run - 1:,} was cut off, its last save was {when}."
    return f"{text}; run {run - 1:,} stopped {when} by {printable(how)}."


def how_it_ended(last_save_reason: str | None) -> str:
    """Say what ended a run, by the reason of its last save: ``Ctrl-C``, ``SIGTERM``, an error; "" for a kill."""
    for part in (last_save_reason or "").split(" | "):
        if part.startswith(_INTERRUPTED):
            cause = part.removeprefix(_INTERRUPTED)
            return {"KeyboardInterrupt": "Ctrl-C", "RateLimitExhausted": "the rate limit"}.get(cause, cause)
    return ""


def _of(item: int, total: int | None) -> str:
    return f"{item:,}" if total is None else f"{item:,} of {total:,}"
