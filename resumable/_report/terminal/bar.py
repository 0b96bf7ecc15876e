"""Progress as text: lines with a bar, the rest of a quota, and the present wait."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from ..._loops.standing import LoopStanding
from ..._text import at_most, clock_time, duration, later, printable, speed
from ..messages import waiting

_WIDEST_BAR, _NARROWEST_BAR = 30, 6
_WIDEST_NAME = 40
_WIDE = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressView:
    """The progress of an operation, for a display. Unknown values are None.

    Attributes:
        at: Local time of this view.
        done: Items over all runs.
        rate: Items a second of working time.
        seconds_left: Until the last item is done, with all waits.
        waits: Expected waits for the API's quota, the present one included.
        wait_seconds: Seconds of all these waits.
        requests_remaining: Requests left in this window of the quota.
        requests_limit: Requests in a full window.
        at_risk_seconds: Seconds of work that a kill loses, at most.
        run: Number of this run, from 1.
        resumed_at: Items that were done when this run began.
        waiting_seconds: Rest of the present wait; None if there is none.
        waiting_for: A host, or another name of the quota.
        loops: The loops, where there are several: one after another, or one inside another.
        loops_share: Share of the first loop that is done, from 0 to 1, where *total* is not known.
        least_share: The largest share shown so far; the bar never goes back.
        elapsed_seconds: Of all runs, waits included.
        failed_items: Items that ``map`` gave up, over all runs.
        is_last: Whether this is the last view of this run.
        last_words: In the last view: the sentence that stays on the screen; "" for none.
        directory: The ``--dir`` that commands need to find the checkpoint; "" if they need none.
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
    at_risk_seconds: float | None = None
    run: int = 1
    resumed_at: int = 0
    waiting_seconds: float | None = None
    waiting_for: str = ""
    loops: tuple[LoopStanding, ...] = ()
    loops_share: float | None = None
    least_share: float = 0.0
    elapsed_seconds: float | None = None
    failed_items: int = 0
    is_last: bool = False
    last_words: str = ""
    directory: str = ""

    @property
    def is_waiting(self) -> bool:
        return self.waiting_seconds is not None

    @property
    def share(self) -> float | None:
        """Share that is done, from 0 to 1; None if unknown, or if it fell below a share shown before."""
        if self.total is None:
            return None if self.loops_share is None else max(self.loops_share, self.least_share)
        share = min(1.0, self.done / self.total) if self.total > 0 else 1.0
        return share if share >= self.least_share else None

    @property
    def finish_at(self) -> datetime | None:
        """Local time at which the last item will be done."""
        return None if self.seconds_left is None else later(self.at, self.seconds_left)


class Glyphs(NamedTuple):
    done: str
    mark: str
    to_go: str
    dot: str
    cut: str


FINE = Glyphs("━", "┿", "─", "·", "…")
ASCII = Glyphs("=", "+", "-", "|", "~")


class Line(NamedTuple):
    """A line with a bar in its middle, in parts, so that each can have its colour."""

    head: str
    bar_done: str
    bar_to_go: str
    tail: str

    def __str__(self) -> str:
        return "".join(self)


def progress_line(view: ProgressView, width: int = 100, glyphs: Glyphs = FINE) -> Line:
    """``stars  34% ━━━━━━━━━━┿─────────── 3,418/10,000  3.3/s  59 min left, done 15:24``, at most *width* wide.

    A mark in the bar shows where this run began. A narrow line has no bar; a narrower one is cut at its end.
    """
    name = cut(printable(view.operation_id), max(min(_WIDEST_NAME, width // 3), 1), glyphs)
    share = view.share
    head = f"{name}  " if share is None else f"{name} {int(share * 100):>3}% "
    least = 0 if share is None else _NARROWEST_BAR + 1
    tail = _widest_tail(view, width - cells(head) - least, glyphs)
    if share is None:
        return Line(cut(head + tail, width, glyphs), "", "", "")
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


def _widest_tail(view: ProgressView, width: int, glyphs: Glyphs) -> str:
    """Everything known, if it fits; else without the finishing time, then without the first loops."""
    ways = [(0, True), *((first, False) for first in range(max(len(view.loops), 1)))]
    texts = ["  ".join(_tail(view, first, glyphs, with_end=with_end)) for first, with_end in ways]
    return next((text for text in texts if cells(text) <= width), texts[-1])


def _tail(view: ProgressView, first_loop: int, glyphs: Glyphs, *, with_end: bool) -> list[str]:
    parts = [_counts(view, first_loop, glyphs)]
    if view.rate:
        parts.append(speed(view.rate))
    if view.total is not None and view.done >= view.total and view.share == 1:
        parts.append("done")
    elif view.seconds_left is not None:
        left, finish = f"{duration(view.seconds_left)} left", view.finish_at if with_end else None
        parts.append(left if finish is None else f"{left}, done {clock_time(finish, view.at)}")
    return parts


def _counts(view: ProgressView, first_loop: int, glyphs: Glyphs) -> str:
    if view.loops:
        return printable(f" {glyphs.dot} ".join(map(str, view.loops[first_loop:])))
    return f"{view.done:,} done" if view.total is None else f"{view.done:,}/{view.total:,}"


def lower_line(view: ProgressView, glyphs: Glyphs = FINE, width: int = 1000) -> str:
    """The rest of the quota, and ``at risk: at most 1.0 s``; "" if neither is known.

    A narrow line leaves out parts, from the end; the first part stays.
    """
    parts = [part for part in (_requests(view), _waits(view), _risk(view)) if part]
    texts = [f" {glyphs.dot} ".join(parts[:count]) for count in range(len(parts), 1, -1)]
    return next((text for text in texts if cells(text) <= width), "".join(parts[:1]))


def _risk(view: ProgressView) -> str:
    return "" if view.at_risk_seconds is None else f"at risk: {at_most(view.at_risk_seconds)}"


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


def waiting_line(view: ProgressView, width: int = 1000) -> str:
    """``stars: waiting 34:52 for api.github.com (fresh at 15:00:11). Saved: safe to stop.``; "" if *view* has no wait.

    A narrow line leaves out the time; a narrower one leaves out the host, too.
    """
    if view.waiting_seconds is None:
        return ""
    ways = ((view.waiting_for, view.at), (view.waiting_for, None), ("", None))
    texts = [waiting(view.operation_id, view.waiting_seconds, host, at) for host, at in ways]
    return next((text for text in texts if cells(text) <= width), texts[-1])


def one_line(view: ProgressView, width: int, glyphs: Glyphs = FINE) -> str:
    """Put the wait, or the bar and the rest of the quota, on one line of at most *width*."""
    if view.is_waiting:
        return cut(waiting_line(view, width), width, glyphs)
    lower = lower_line(view, glyphs)
    spare = f" {glyphs.dot} {lower}" if lower and width >= _WIDE else ""
    return cut(f"{progress_line(view, width - cells(spare), glyphs)}{spare}", width, glyphs)


def text_line(view: ProgressView, glyphs: Glyphs = FINE) -> str:
    """One line without a bar, for logs."""
    if view.is_waiting:
        return waiting_line(view)
    line = progress_line(view, 1000, glyphs)
    lower = lower_line(view, glyphs)
    return f"{line.head}{line.tail.strip()}" + (f" {glyphs.dot} {lower}" if lower else "")


def glyphs_for(stream: Any) -> Glyphs:
    """The best-looking characters that *stream* can encode."""
    try:
        "".join(FINE).encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return ASCII
    return FINE


def cells(text: str) -> int:
    """The width of *text* on a terminal, in cells."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def cut(text: str, width: int, glyphs: Glyphs = FINE) -> str:
    """Shorten *text* to at most *width* cells; an ellipsis marks the cut."""
    if cells(text) <= width:
        return text
    while text and cells(text) >= width:
        text = text[:-1]
    return f"{text}{glyphs.cut}" if width > 0 else ""
