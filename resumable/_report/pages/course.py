"""The course of an operation over its working time: the pauses between runs are left out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..._format.restore import instant
from ..._format.sections import ListedSections, Run, Sections
from ..._format.trail import Point, RunMark, Trail
from ..messages import how_it_ended
from ..stored.summary import ending_of


@dataclass(frozen=True, slots=True)
class Stop:
    """The pause between two runs, at *x* seconds of work; it lasted *seconds*.

    Attributes:
        run: Number of the run that began after it.
        how: What ended the run before it, in words.
    """

    x: float
    run: int
    seconds: float
    how: str


@dataclass(frozen=True, slots=True)
class Span:
    """A wait for *whom*, from *x* to *end* in seconds of work."""

    x: float
    end: float
    whom: str


@dataclass(frozen=True, slots=True)
class Course:
    """The progress of an operation over all its runs; *x* is their working time in seconds.

    Attributes:
        points: Oldest first. Their ``elapsed`` is *x*.
        speeds: Items a second, each from one point to the next: ``(x, end, speed)``.
        promises: The time left as forecast at each point, by the time of all runs: ``(x, seconds)``.
    """

    points: Sequence[Point]
    runs: Sequence[RunMark]
    stops: Sequence[Stop]
    waits: Sequence[Span]
    speeds: Sequence[tuple[float, float, float]]
    promises: Sequence[tuple[float, float]]

    @property
    def seconds(self) -> float:
        """Seconds that all runs took."""
        return self.points[-1].elapsed if self.points else 0.0

    @property
    def has_ended(self) -> bool:
        """Whether all items are done, as far as known."""
        last = self.points[-1] if self.points else None
        return last is not None and last.total is not None and last.items >= last.total


def course_of(sections: Sections) -> Course:
    """The course in a checkpoint. A checkpoint of an older release has one point for each run."""
    trail = sections.trail if sections.trail is not None and sections.trail.points else _trail_of(sections)
    points = _with_beginnings(trail)
    return Course(
        points=points,
        runs=trail.runs,
        stops=_stops(trail),
        waits=[Span(_place(points, wait.began), _place(points, wait.ended), wait.whom) for wait in trail.waits],
        speeds=_speeds(points),
        promises=[
            (one.elapsed, one.elapsed / one.items * (one.total - one.items))
            for one in points
            if one.total is not None and 0 < one.items <= one.total and one.elapsed > 0
        ],
    )


def _trail_of(sections: ListedSections) -> Trail:
    trail, elapsed = Trail(runs=marks_of(sections.history)), 0.0
    for mark in trail.runs:
        elapsed += max(mark.ended - mark.began, 0.0)
        trail.points.append(Point(mark.ended, mark.items, mark.run, elapsed))
    return trail


def marks_of(history: Iterable[Run]) -> list[RunMark]:
    """The runs of a history whose beginning and end are known."""
    marks = []
    for number, run in enumerate(history, 1):
        began, ended = _epoch(run.began), _epoch(run.ended)
        if began is not None and ended is not None:
            marks.append(_mark(run, number, began, ended))
    return marks


def _mark(run: Run, number: int, began: float, ended: float) -> RunMark:
    before, items = run.items_before or 0, run.items or run.items_before or 0
    return RunMark(run.run or number, began, ended, before, items, run.reason or "", run.error or "")


def _epoch(stamp: str) -> float | None:
    try:
        return instant(stamp).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _with_beginnings(trail: Trail) -> list[Point]:
    """The points of *trail*, and the beginnings and ends of runs, which it may have dropped."""
    marks = {mark.run: mark for mark in trail.runs}
    points: list[Point] = []
    for point in trail.points:
        before = points[-1] if points else None
        if before is None or before.run != point.run:
            x = max(point.elapsed - max(point.at - marks[point.run].began, 0.0), 0.0) if point.run in marks else 0.0
            if before is not None and before.run in marks:
                ended = marks[before.run]
                least = before.elapsed + max(ended.ended - before.at, 0.0)
                x = min(max(x, least), point.elapsed)
                # A killed run could not note its end: it is where the next run began.
                items = max(ended.items, marks[point.run].items_before if point.run in marks else 0)
                if items > before.items:
                    points.append(_moved(before, ended.ended, x, ended.run, items))
            if point.run in marks:
                mark = marks[point.run]
                points.append(_moved(point if before is None else before, mark.began, x, mark.run, mark.items_before))
        points.append(point)
    return points


def _moved(known: Point, at: float, x: float, run: int, items: int) -> Point:
    """Another moment, of which only the items are known; other values are those of *known*."""
    return Point(at, items, run, x, known.saves, limit=known.limit, failed=known.failed, total=known.total)


def _stops(trail: Trail) -> list[Stop]:
    numbers = [point.run for point in trail.points]
    found = []
    for earlier, later in pairwise(trail.runs):
        behind = bisect_right(numbers, earlier.run)
        x = _work_until(trail, earlier, trail.points[behind - 1] if behind else None)
        if behind < len(trail.points):
            after = trail.points[behind]
            begins = after.elapsed - max(after.at - later.began, 0.0)
            x = begins if after.run == later.run else min(x, after.elapsed)
        found.append(Stop(max(x, 0.0), later.run, max(later.began - earlier.ended, 0.0), how_it_was_stopped(earlier)))
    return found


def _work_until(trail: Trail, last: RunMark, known: Point | None) -> float:
    """Seconds of work up to the end of the run *last*; *known* is its last point, or that of an earlier run."""
    run, at, x = (known.run, known.at, known.elapsed) if known is not None else (0, 0.0, 0.0)
    for mark in trail.runs:
        if run <= mark.run <= last.run:
            x += max(mark.ended - max(mark.began, at), 0.0)
    return x


def how_it_was_stopped(mark: RunMark) -> str:
    """What ended a run, in words: ``Ctrl-C``, ``a kill``, ``ConnectionError``, ``finished``."""
    state = ending_of(Run(reason=mark.how))
    return how_it_ended(mark.how) or ("a kill" if state == "killed" else state)


def _place(points: Sequence[Point], at: float) -> float:
    """The moment *at* in seconds of work."""
    behind = bisect_right([point.at for point in points], at)
    if behind == 0:
        return points[0].elapsed if points else 0.0
    before = points[behind - 1]
    after = points[behind] if behind < len(points) else before
    return min(before.elapsed + at - before.at, max(after.elapsed, before.elapsed))


def _speeds(points: Sequence[Point]) -> list[tuple[float, float, float]]:
    return [
        (one.elapsed, other.elapsed, (other.items - one.items) / (other.elapsed - one.elapsed))
        for one, other in pairwise(points)
        if one.run == other.run and other.elapsed - one.elapsed >= 0.1 and other.items >= one.items
    ]
