"""The trail of an operation: where it stood from time to time over all its runs, for reports.

However long it runs, and however often, its JSON stays below :data:`LARGEST` bytes: what is too much is thinned out
evenly, and from then on less is noted.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

LARGEST = 1 << 16
"""Bytes that the trail takes as JSON, at most."""
MOST_POINTS, MOST_RUNS, MOST_WAITS = 240, 200, 120
_LEAST_SECONDS = 1.0
_LONGEST_HOW, _LONGEST_ERROR, _LONGEST_WHOM = 40, 80, 24

T = TypeVar("T")


class Point(msgspec.Struct, array_like=True):
    """Where the operation stood at one save.

    Attributes:
        at: Seconds since the epoch.
        items: Done over all runs.
        run: Number of the run.
        elapsed: Seconds that all runs took up to then, waits included.
        saves: Saves over all runs.
        save_seconds: What a save costs, on average; None if unknown.
        charged: Seconds that saves have taken over all runs.
        at_risk: Seconds of work that a kill would have lost, at most; None if unknown.
        remaining, limit: Of the API's quota; None if unknown.
        failed: Items that have failed by then.
        total: Of how many; None if unknown.
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
    """One run, in short: when it began and ended (seconds since the epoch), what it reached, and how it ended."""

    run: int
    began: float
    ended: float
    items_before: int
    items: int
    how: str = ""
    error: str = ""


class WaitMark(msgspec.Struct, array_like=True):
    """One wait for a quota (seconds since the epoch), and the host or resource it was for."""

    began: float
    ended: float
    whom: str = ""


class Trail(msgspec.Struct, omit_defaults=True):
    """What reports are made from.

    Attributes:
        every: Seconds between two points, at least.
        points: Oldest first; so are *runs* and *waits*.
    """

    every: float = _LEAST_SECONDS
    points: list[Point] = []
    runs: list[RunMark] = []
    waits: list[WaitMark] = []

    def add_point(self, point: Point) -> None:
        """Note where it stands."""
        self.points.append(point)
        if len(self.points) > MOST_POINTS:
            self.points = _thinned(self.points)
            self.every = max(self.every, round(2 * point.elapsed / MOST_POINTS, 1))

    def add_run(self, run: RunMark) -> None:
        """A run has begun."""
        self.runs.append(run)
        if len(self.runs) > MOST_RUNS:
            self.runs = _thinned(self.runs)

    def end_run(self, point: Point, how: str, error: str) -> None:
        """The last run stands at *point*, and this may be its last save."""
        run = self.runs[-1]
        run.ended, run.items = point.at, point.items
        run.how, run.error = _short(how, _LONGEST_HOW), _short(error, _LONGEST_ERROR)

    def add_wait(self, wait: WaitMark) -> None:
        """A wait is over."""
        wait.whom = _short(wait.whom, _LONGEST_WHOM)
        self.waits.append(wait)
        if len(self.waits) > MOST_WAITS:
            self.waits = _thinned(self.waits)


def _thinned(found: list[T]) -> list[T]:
    """Every second one of *found*, with the first and the last two."""
    return [*found[:-2:2], *found[-2:]]


def _short(text: str, most: int) -> str:
    """*text* of *most* bytes at most as JSON, where a letter may take several."""
    text = text[:most]
    while len(msgspec.json.encode(text)) > most + 2:
        text = text[: len(text) * 3 // 4]
    return text
