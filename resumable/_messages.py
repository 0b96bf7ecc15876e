"""What is said to people, as text: where an operation stands, that it stopped, goes on, or waits.

Pure: text from values. Local times are the caller's to give.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from ._shellwords import argument, printable

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LONGEST = 365 * _DAY
_WIDEST_BAR, _NARROWEST_BAR = 30, 6
_WIDEST_NAME = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressView:
    """Where an operation stands, for whoever shows it.

    Attributes:
        at: When this was so, in local time.
        done: Items over all runs.
        total: None if unknown.
        rate: Items a second of working time, None if unknown.
        seconds_left: Until the last item is done, with all waits; None if unknown.
        waits: Waits for the API's quota among them, with the one that is going on.
        wait_seconds: What these take together.
        requests_remaining: What is left of the quota in this window, None if unknown.
        requests_limit: What a full window has, None if unknown.
        run: Number of this run, from 1.
        resumed_at: Items that were done when this run began.
        waiting_seconds: What is left of the wait that is going on; None if there is none.
        waiting_for: Who is waited for, such as a host.
        is_last: Whether this is the last view of this run.
    """

    operation_id: str
    at: datetime
    done: int = 0
    total: int | None = None
    rate: float | None = None
    seconds_left: float | None = None
    waits: int = 0
    wait_seconds: float = 0.0
    requests_remaining: int | None = None
    requests_limit: int | None = None
    run: int = 1
    resumed_at: int = 0
    waiting_seconds: float | None = None
    waiting_for: str = ""
    is_last: bool = False

    @property
    def is_waiting(self) -> bool:
        """Whether the operation waits for a quota."""
        return self.waiting_seconds is not None

    @property
    def share(self) -> float | None:
        """What is done of the total, from 0 to 1; None if the total is unknown."""
        if self.total is None:
            return None
        return min(1.0, self.done / self.total) if self.total > 0 else 1.0

    @property
    def finish_at(self) -> datetime | None:
        """When the last item will be done, in local time; None if unknown."""
        return None if self.seconds_left is None else _later(self.at, self.seconds_left)


class Glyphs(NamedTuple):
    """The signs that lines are drawn with."""

    done: str
    mark: str
    to_go: str
    dot: str
    cut: str


FINE = Glyphs("━", "┿", "─", "·", "…")
ASCII = Glyphs("=", "+", "-", "|", "~")
"""For streams that cannot take the fine ones."""


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


def _later(at: datetime, seconds: float) -> datetime | None:
    return at + timedelta(seconds=max(seconds, 0.0)) if seconds <= _LONGEST else None


def cells(text: str) -> int:
    """The width of *text* on a terminal."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def cut(text: str, width: int, glyphs: Glyphs = FINE) -> str:
    """*text*, ended early if it is wider than *width*."""
    if cells(text) <= width:
        return text
    while text and cells(text) >= width:
        text = text[:-1]
    return f"{text}{glyphs.cut}" if width > 0 else ""


# -- what is going on


class Line(NamedTuple):
    """A line with a bar in its middle; the bar's parts are apart, so that they can be coloured."""

    head: str
    bar_done: str
    bar_to_go: str
    tail: str

    def __str__(self) -> str:
        return "".join(self)


def progress_line(view: ProgressView, width: int = 100, glyphs: Glyphs = FINE) -> Line:
    """``stars  34% ━━━━━━━━━━┿─────────── 3,418/10,000  3.3/s  59 min left, done 15:24``, at most *width* wide.

    The bar's mark is where this run began. What does not fit goes: first the bar, then the tail's end.
    """
    name = cut(printable(view.operation_id), max(min(_WIDEST_NAME, width // 3), 1), glyphs)
    parts = _tail(view)
    share = view.share
    if share is None:
        return Line(cut("  ".join([name, *parts]), width, glyphs), "", "", "")
    head, tail = f"{name} {int(share * 100):>3}% ", "  ".join(parts)
    room = min(width - cells(head) - cells(tail) - 1, _WIDEST_BAR)
    if room < _NARROWEST_BAR:
        return Line(cut(head + tail, width, glyphs), "", "", "")
    done, to_go = _bar(view, share, room, glyphs)
    return Line(head, done, to_go, f" {tail}")


def _bar(view: ProgressView, share: float, width: int, glyphs: Glyphs) -> tuple[str, str]:
    filled = int(share * width)
    signs = glyphs.done * filled + glyphs.to_go * (width - filled)
    if view.resumed_at and view.total:
        mark = min(int(view.resumed_at / view.total * width), width - 1)
        signs = signs[:mark] + glyphs.mark + signs[mark + 1 :]
    return signs[:filled], signs[filled:]


def _tail(view: ProgressView) -> list[str]:
    count = f"{view.done:,}" if view.total is None else f"{view.done:,}/{view.total:,}"
    parts = [count]
    if view.rate:
        parts.append(speed(view.rate))
    if view.total is not None and view.done >= view.total:
        parts.append("done")
    elif view.seconds_left is not None:
        left, finish = f"{duration(view.seconds_left)} left", view.finish_at
        parts.append(left if finish is None else f"{left}, done {clock_time(finish, view.at)}")
    return parts


def budget_line(view: ProgressView, glyphs: Glyphs = FINE) -> str:
    """``requests 1,582 of 5,000 left · one wait of 35 min expected``; "" if no quota is known."""
    return f" {glyphs.dot} ".join(filter(None, [_requests(view), _waits(view)]))


def _requests(view: ProgressView) -> str:
    if view.requests_remaining is None:
        return ""
    of = "" if view.requests_limit is None else f" of {view.requests_limit:,}"
    return f"requests {view.requests_remaining:,}{of} left"


def _waits(view: ProgressView) -> str:
    if view.waits == 1:
        return f"one wait of {duration(view.wait_seconds)} expected"
    if view.waits:
        return f"{view.waits:,} waits of {duration(view.wait_seconds)} in all expected"
    is_known = view.seconds_left is not None and view.requests_remaining is not None
    return "no wait expected" if is_known else ""


def waiting_line(view: ProgressView) -> str:
    """``stars: waiting 34:52 for api.github.com (fresh at 15:00:11). Saved: safe to stop.``; "" if it does not."""
    if view.waiting_seconds is None:
        return ""
    return waiting(view.operation_id, view.waiting_seconds, view.waiting_for, view.at)


def waiting(operation_id: str, seconds: float, host: str, at: datetime) -> str:
    """Tell of a wait that has *seconds* to go at *at*, in local time."""
    fresh = _later(at, seconds)
    when = "" if fresh is None else f" (fresh at {clock_time(fresh, at, seconds=True)})"
    whom = printable(host) or "the rate limit"
    return f"{printable(operation_id)}: waiting {countdown(seconds)} for {whom}{when}. Saved: safe to stop."


# -- that it stopped, and goes on


def stopped(operation_id: str, done: int, total: int | None, command: str) -> str:
    """Four lines: where it stopped, and what can be done now.

    Args:
        command: What runs the program again, as :func:`resume_command` gives it; "" if nobody can tell.
    """
    name = argument(operation_id)
    return (
        f"{printable(operation_id)}: stopped at {_of(done, total)}. Saved; nothing is lost.\n"
        f"  go on       {command or 'run it again'}\n"
        f"  look        resumable show {name}\n"
        f"  start over  resumable rm {name}"
    )


def going_on(
    operation_id: str, item: int, total: int | None, run: int, stopped_seconds_ago: float | None = None, how: str = ""
) -> str:
    """``stars: going on at 3,413 of 10,000. Run 2; run 1 stopped 10 min ago by Ctrl-C.``

    Args:
        item: The first one of this run, counted from 1.
        stopped_seconds_ago: When the run before was last heard of; None if unknown.
        how: What ended it, as :func:`how_it_ended` gives it; "" if it was cut off without a word.
    """
    text = f"{printable(operation_id)}: going on at {_of(item, total)}. Run {run:,}"
    if stopped_seconds_ago is None:
        return f"{text}."
    when = ago(stopped_seconds_ago)
    if not how:
        return f"{text}; run {run - 1:,} was cut off, its last save was {when}."
    return f"{text}; run {run - 1:,} stopped {when} by {printable(how)}."


def how_it_ended(last_save_reason: str | None) -> str:
    """What ended a run whose last save had this reason, for :func:`going_on`; "" if it was cut off."""
    head, _, cause = (last_save_reason or "").rpartition("Interrupted: ")
    if not cause or (head and not head.endswith(" | ")):
        return ""
    cause = cause.split(" | ")[0]
    return {"KeyboardInterrupt": "Ctrl-C", "RateLimitExhausted": "the rate limit"}.get(cause, cause)


def _of(item: int, total: int | None) -> str:
    return f"{item:,}" if total is None else f"{item:,} of {total:,}"
