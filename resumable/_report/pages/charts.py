"""Charts as HTML with inline SVG, without script: they fit any width, screen readers read them, and they print.

Only the lines are SVG, which stretches to its place. All text is HTML beside it, and keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from ..._text import printable

_WIDTH, _HEIGHT = 1000, 300
_MANY_MARKS = 40
"""More marks than this are faint, so that the line stays visible."""
_MOST_TICKS = 5
_UNITS = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3600 * hours for hours in (1, 2, 3, 6, 12)),
    *(86400 * days for days in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
)
"""Seconds between two ticks of a time axis."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart. *kind* is its style: ``main``, ``second`` or ``warn``; points are ``(x, y)``."""

    name: str
    points: Sequence[tuple[float, float]]
    kind: Literal["main", "second", "warn"] = "main"
    is_stepped: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line at *x*, with a tooltip."""

    x: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One figure.

    Attributes:
        title: What it shows.
        told: A sentence that describes it, for people who cannot see it.
        end: Where the time axis ends, in seconds.
        unit: Writes a value of the vertical axis.
        bands: Periods to shade, each with a tooltip.
        top: The least value at which the vertical axis ends.
        is_time: Whether the vertical axis counts seconds.
        lines: Values to mark by a horizontal line, each with a tooltip.
    """

    title: str
    told: str
    series: Sequence[Series]
    end: float
    unit: Callable[[float], str]
    marks: Sequence[Mark] = ()
    bands: Sequence[tuple[float, float, str]] = ()
    top: float = 0.0
    is_time: bool = False
    lines: Sequence[tuple[float, str]] = ()


def figure(chart: Chart) -> str:
    """*chart* as an HTML ``<figure>``."""
    end = chart.end or 1.0
    highest = max([chart.top, *(y for one in chart.series for _, y in one.points), *(y for y, _ in chart.lines)])
    steps = time_ticks(highest) if chart.is_time and highest > 0 else ticks(highest)
    top = max(steps[-1], highest)
    key = _legend(chart.series) if len(chart.series) > 1 else ""
    drawn = [
        *(_band(begin, until, text, end) for begin, until, text in chart.bands),
        *(_grid(step, top) for step in steps),
        *(_level(y, text, top) for y, text in chart.lines),
        *(_mark(mark, end, is_faint=len(chart.marks) > _MANY_MARKS) for mark in chart.marks),
        *(_line(one, end, top) for one in chart.series),
    ]
    return (
        f"<figure><figcaption><h2>{text(chart.title)}</h2><p>{text(chart.told)}</p>{key}</figcaption>"
        f'<div class="chart"><div class="y" aria-hidden="true">{_y_labels(steps, top, chart.unit)}</div>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="Chart: {text(chart.title)}">{"".join(drawn)}</svg>'
        f'<div class="x" aria-hidden="true">{_x_labels(end)}</div></div></figure>'
    )


def text(value: object) -> str:
    """*value* escaped for HTML."""
    return escape(printable(str(value)), quote=True)


def ticks(highest: float) -> list[float]:
    """Round numbers from 0 to at least *highest*, in at most five steps."""
    if not 0 < highest < math.inf:
        return [0.0, 1.0]
    rough = highest / _MOST_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return [number * step for number in range(math.ceil(highest / step - 1e-9) + 1)]


def time_ticks(end: float) -> list[float]:
    """Round times from 0 to *end*, in seconds and at most five steps."""
    step = next((unit for unit in _UNITS if end / unit <= _MOST_TICKS), end / _MOST_TICKS)
    return [number * step for number in range(int(end / step + 1e-9) + 1)]


def time_text(seconds: float) -> str:
    """A label of a time axis: ``0``, ``0.5 s``, ``45 s``, ``10 min``, ``2 h``, ``1.5 h``, ``3 d``."""
    if seconds == 0:
        return "0"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.3g} s"


# -- what is drawn ----------------------------------------------------------------------------------------------------


def _x(x: float, end: float) -> str:
    return f"{min(max(x / end, 0.0), 1.0) * _WIDTH:.1f}"


def _y(y: float, top: float) -> str:
    return f"{_HEIGHT - min(max(y / top, 0.0), 1.0) * _HEIGHT:.1f}"


def _line(one: Series, end: float, top: float) -> str:
    parts: list[str] = []
    before = ""
    for x, y in one.points:
        across, up = _x(x, end), _y(y, top)
        if not math.isfinite(y):
            before = ""
            continue
        if before and one.is_stepped:
            parts.append(f"H{across}")
        parts.append(f"{'L' if before else 'M'}{across} {up}")
        before = up
    return f'<path class="line {one.kind}" d="{"".join(parts)}"/>' if parts else ""


def _grid(step: float, top: float) -> str:
    return f'<path class="grid" d="M0 {_y(step, top)}H{_WIDTH}"/>'


def _level(y: float, label: str, top: float) -> str:
    return f'<path class="level" d="M0 {_y(y, top)}H{_WIDTH}"><title>{text(label)}</title></path>'


def _mark(mark: Mark, end: float, *, is_faint: bool) -> str:
    kind = "mark faint" if is_faint else "mark"
    return f'<path class="{kind}" d="M{_x(mark.x, end)} 0V{_HEIGHT}"><title>{text(mark.text)}</title></path>'


def _band(begin: float, until: float, label: str, end: float) -> str:
    left, right = float(_x(begin, end)), float(_x(until, end))
    wide = max(right - left, 1.0)
    return (
        f'<rect class="band" x="{left}" y="0" width="{wide:.1f}" height="{_HEIGHT}"><title>{text(label)}</title></rect>'
    )


def _legend(series: Iterable[Series]) -> str:
    keys = (f'<li><i class="{one.kind}"></i>{text(one.name)}</li>' for one in series if one.points)
    return f'<ul class="key">{"".join(keys)}</ul>'


def _y_labels(steps: Sequence[float], top: float, unit: Callable[[float], str]) -> str:
    return "".join(f'<span style="bottom:{step / top * 100:.2f}%">{text(unit(step))}</span>' for step in steps)


def _x_labels(end: float) -> str:
    return "".join(
        f'<span style="left:{step / end * 100:.2f}%">{text(time_text(step))}</span>' for step in time_ticks(end)
    )
