"""The first charts of the report as a picture, drawn with matplotlib."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from ..._format.restore import Restored
from ..stored.summary import Summary
from ..stored.wording import position_of
from .course import Course, course_of

_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def to_png(summary: Summary, restored: Restored) -> bytes:
    """Items, speed and quota over time as a PNG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; it says what to install.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a picture needs matplotlib:  pip install matplotlib", name=error.name) from None
    course = course_of(restored.sections)
    has_quota = any(point.remaining is not None for point in course.points)
    picture = Figure(figsize=(9, 7 if has_quota else 5), layout="constrained")
    axes = picture.subplots(3 if has_quota else 2, 1, sharex=True)
    size, unit = next((each for each in _UNITS if course.seconds >= each[0]), _UNITS[-1])
    _draw_items(axes[0], course, size)
    axes[0].set_title(f"{summary.operation_id}: {summary.state}, {position_of(summary)}", parse_math=False)
    _draw_speed(axes[1], course, size)
    if has_quota:
        _draw_quota(axes[2], course, size)
    axes[-1].set_xlabel(f"{unit} of work")
    written = BytesIO()
    picture.savefig(written, format="png", dpi=110)
    return written.getvalue()


def _draw_items(axis: Any, course: Course, size: float) -> None:
    axis.plot([point.elapsed / size for point in course.points], [point.items for point in course.points])
    axis.set_ylabel("items")
    _draw_stops(axis, course, size)


def _draw_speed(axis: Any, course: Course, size: float) -> None:
    edges = [(x / size, speed) for begin, end, speed in course.speeds for x in (begin, end)]
    axis.plot([x for x, _ in edges], [speed for _, speed in edges])
    axis.set_ylabel("items a second")
    axis.set_ylim(bottom=0)
    _draw_stops(axis, course, size)


def _draw_quota(axis: Any, course: Course, size: float) -> None:
    known = [(point.elapsed / size, point.remaining) for point in course.points if point.remaining is not None]
    axis.step([x for x, _ in known], [left for _, left in known], where="post")
    axis.set_ylabel("requests left")
    axis.set_ylim(bottom=0)
    for wait in course.waits:
        axis.axvspan(wait.x / size, wait.end / size, color="tab:orange", alpha=0.3)


def _draw_stops(axis: Any, course: Course, size: float) -> None:
    axis.grid(alpha=0.3)
    for stop in course.stops:
        axis.axvline(stop.x / size, color="gray", linestyle="--", linewidth=0.8)
