"""The trail of an operation: its progress from time to time over all its runs, for reports.

Its JSON stays below :data:`LARGEST` bytes, however long and often the operation runs: a trail that is too long is
thinned out evenly, and from then on points are further apart.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

LARGEST = 1 << 16
"""The size of the trail as JSON, in bytes, at most."""
MOST_POINTS, MOST_RUNS, MOST_WAITS = 240, 200, 120
_LEAST_SECONDS = 1.0
_LONGEST_HOW, _LONGEST_ERROR, _LONGEST_WHOM = 40, 80, 24

T = TypeVar("T")


class Point(msgspec.Struct, array_like=True):
    """The progress at one save.

    Attributes:
        at: Seconds since the epoch.
        items: Items done over all runs.
        run: Number of the run.
        elapsed: Seconds that all runs took up to then, waits included.
        saves: Saves over all runs.
        save_seconds: The average cost of a save; None if unknown.
        charged: Seconds that saves have taken over all runs.
        at_risk: Seconds of work that a kill would have lost, at most; None if unknown.
        remaining, limit: Of the API's quota; None if unknown.
        failed: Items that have failed so far.
        total: Items in all; None if unknown.
    """

    at: float
    items: int
    run: int
    elapsed: float = 0.0
    saves: int = 0
    save_seconds: float | None = None
    charged: float = 0.0
    at_risk: float | None = None
    remaining: int | None = None
    limit: int | None = None
    failed: int = 0
    total: int | None = None


class RunMark(msgspec.Struct, array_like=True):
    """A summary of one run: beginning and end (seconds since the epoch), items, and how it ended."""

    run: int
    began: float
    ended: float
    items_before: int
    items: int
    how: str = ""
    error: str = ""


class WaitMark(msgspec.Struct, array_like=True):
    """One wait for a quota: beginning and end (seconds since the epoch), and the host or resource."""

    began: float
    ended: float
    whom: str = ""


class Trail(msgspec.Struct, omit_defaults=True):
    """The data of reports.

    Attributes:
        every: Seconds between two points, at least.
        points: Oldest first; so are *runs* and *waits*.
    """

    every: float = _LEAST_SECONDS
    points: list[Point] = []
    runs: list[RunMark] = []
    waits: list[WaitMark] = []

    def add_point(self, point: Point) -> None:
        """Add *point* if it is far enough from the one before."""
        self.points.append(point)
        if len(self.points) > MOST_POINTS:
            apart = 2 * point.elapsed / MOST_POINTS
            self.points = _spaced(self.points, apart)
            self.every = max(self.every, round(apart, 1))

    def add_run(self, run: RunMark) -> None:
        """Add a run that has begun."""
        self.runs.append(run)
        if len(self.runs) > MOST_RUNS:
            self.runs = _thinned(self.runs)

    def end_run(self, point: Point, how: str, error: str) -> None:
        """Update the last run at *point*, in case this is its last save."""
        run = self.runs[-1]
        run.ended, run.items = point.at, point.items
        run.how, run.error = _short(how, _LONGEST_HOW), _short(error, _LONGEST_ERROR)

    def add_wait(self, wait: WaitMark) -> None:
        """Add a wait that has ended."""
        wait.whom = _short(wait.whom, _LONGEST_WHOM)
        self.waits.append(wait)
        if len(self.waits) > MOST_WAITS:
            self.waits = _thinned(self.waits)


def _spaced(points: list[Point], apart: float) -> list[Point]:
    """Thin *points*: keep those that many seconds of work apart, and the first and the last two."""
    kept = [points[0]]
    for point in points[1:-2]:
        if point.elapsed - kept[-1].elapsed >= apart:
            kept.append(point)
    return [*kept, *points[-2:]]


def _thinned(found: list[T]) -> list[T]:
    """Every second element of *found*, with the first and the last two."""
    return [*found[:-2:2], *found[-2:]]


def _short(text: str, most: int) -> str:
    """*text*, cut to *most* bytes as JSON, which cannot hold a byte of a file's name that is no UTF-8."""
    text = text[:most].encode(errors="backslashreplace").decode()
    while len(msgspec.json.encode(text)) > most + 2:
        text = text[: len(text) * 3 // 4]
    return text
