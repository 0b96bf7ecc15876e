"""The report about one operation: one HTML file without script, which needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..._errors import CheckpointNotFoundError
from ..._format.restore import Restored
from ..._format.trail import RunMark
from ..._runtime import disk
from ..._text import ago, at_most, close_to, duration, precise, shortened, speed
from ...stores import CheckpointStore
from ..stored.contents import effects_in, failed_in, loops_in
from ..stored.scan import ids_in, read_all
from ..stored.summary import Summary, age_of, summary_of
from ..stored.wording import error_of, last_save_of, number, position_of, size
from .charts import Chart, Mark, Series, figure, text, time_text
from .course import Course, course_of, how_it_was_stopped, marks_of
from .style import STYLE

_MOST_ROWS = 200
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"
_WIDE, _LONG = ' class="wide"', 50


def write_report(store: CheckpointStore, operation_id: str, path: Path) -> int:
    """Write the report of *operation_id*, as of its last save, to the file *path*. Returns its bytes.

    Raises:
        CheckpointNotFoundError: There is no checkpoint of it.
        CheckpointCorruptError, StoreError: It cannot be read.
        OSError: The file cannot be written; an older file stays.
    """
    summary, restored = found(store, operation_id)
    page = whole_page(operation_id, report_of(summary, restored)).encode("utf-8", "replace")
    disk.replace(path.absolute(), [page])
    return len(page)


def found(store: CheckpointStore, operation_id: str) -> tuple[Summary, Restored]:
    """How *operation_id* stands, and what its checkpoint holds. Raises what :func:`write_report` raises."""
    restored = read_all(store, operation_id)
    summary = summary_of(store, operation_id) if restored is not None else None
    if restored is None or summary is None:
        raise CheckpointNotFoundError(operation_id, str(store.describe()), close_to(operation_id, ids_in(store)))
    return summary, restored


def whole_page(title: str, body: str, *, head: str = "", has_forms: bool = False) -> str:
    """A complete HTML page. *body* and *head* are HTML."""
    forms = "'self'" if has_forms else "'none'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}; form-action {forms}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark">{head}'
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )


def report_of(summary: Summary, restored: Restored, *, state: str = "", told: str = "") -> str:
    """The report as HTML, without the page around it.

    Args:
        state: The present state, if more is known than the last save says.
        told: HTML for below the heading.
    """
    course = course_of(restored.sections)
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    parts = [
        header(summary, state),
        told,
        facts(_facts(summary, restored, course)),
        *_charts(course),
        _runs(summary, course),
        _failed(restored),
        _loops(restored),
        _settings(summary, restored),
        f"<footer><p>Made {made} by resumable, of the save of {restored.data.last_updated:%Y-%m-%d %H:%M:%S} UTC.</p>"
        "</footer>",
    ]
    return "".join(parts)


def header(summary: Summary, state: str = "") -> str:
    """The operation's name, its progress, and its *state*, by default that of the summary."""
    percent, state = summary.percent, state or summary.state
    bar = "" if percent is None else f'<progress max="100" value="{percent}" aria-label="done">{percent}%</progress>'
    position = text(position_of(summary)) if summary.is_readable else ""
    return (
        f'<header><h1>{text(summary.operation_id)}</h1><p><span class="state {state}">{state}</span> {position}</p>'
        f"{bar}</header>"
    )


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """Names and values. Facts without a value are left out; a long value has a line of its own."""
    shown = "".join(
        f"<div{_WIDE if len(str(value)) > _LONG else ''}><dt>{text(name)}</dt><dd>{text(value)}</dd></div>"
        for name, value in rows
        if value
    )
    return f'<dl class="facts">{shown}</dl>'


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]], more: int = 0) -> str:
    """A table with a title, "" without rows. ``>`` before a heading aligns its column to the right."""
    if not rows:
        return ""
    classes = [' class="number"' if heading.startswith(">") else "" for heading in headings]
    head = "".join(
        f'<th scope="col"{kind}>{text(heading.removeprefix(">"))}</th>'
        for heading, kind in zip(headings, classes, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{text(cell)}</td>' for cell, kind in zip(row, classes, strict=True))}</tr>"
        for row in rows
    )
    rest = f"<p>and {more:,} more</p>" if more else ""
    return (
        f"<section><h2>{text(title)}</h2>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(title)}">'
        f"<table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>{rest}</section>"
    )


def _facts(summary: Summary, restored: Restored, course: Course) -> list[tuple[str, object]]:
    costs, sections = restored.sections.costs, restored.sections
    happened, unknown = effects_in(sections)
    waited = sum(wait.end - wait.x for wait in course.waits)
    at_risk = summary.history[-1].at_risk if summary.history else None
    return [
        ("last save", last_save_of(summary)),
        ("took", duration(summary.elapsed_time) if summary.elapsed_time else ""),
        ("runs", number(summary.runs) if summary.runs else ""),
        ("speed", speed(_mean_speed(course)) if _mean_speed(course) else ""),
        ("waited for quotas", duration(waited) if waited >= 1 else ""),
        ("saves", _saves(summary, costs.average_seconds if costs else None)),
        ("at risk", f"{at_most(at_risk)} of work" if at_risk else ""),
        ("failed items", number(summary.failed_items) if summary.failed_items else ""),
        ("errors", number(summary.error_count) if summary.error_count else ""),
        (
            "effects",
            f"{happened:,} happened{f', {len(unknown):,} unknown' if unknown else ''}" if happened or unknown else "",
        ),
        ("ended by", error_of(summary)),
    ]


def _mean_speed(course: Course) -> float:
    points = course.points
    seconds = course.seconds - sum(wait.end - wait.x for wait in course.waits)
    return (points[-1].items - points[0].items) / seconds if len(points) > 1 and seconds > 0 else 0.0


def _saves(summary: Summary, seconds: float | None) -> str:
    count = number(summary.save_count)
    return f"{count}, {_milliseconds(seconds)} each" if seconds else count


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else precise(seconds)


# -- charts -----------------------------------------------------------------------------------------------------------


def _charts(course: Course) -> list[str]:
    if len(course.points) < 2 or not course.seconds:
        return ["<p>The report has charts once the operation has been saved more than once.</p>"]
    makers = (_items, _speed, _quota, _costs, _risk, _promises)
    return [figure(chart) for maker in makers if (chart := maker(course)) is not None]


def _marks(course: Course) -> list[Mark]:
    return [
        Mark(
            stop.x,
            f"run {stop.run:,} began here, {duration(stop.seconds)} after the one before had ended: {stop.how}",
        )
        for stop in course.stops
    ]


def _bands(course: Course) -> list[tuple[float, float, str]]:
    return [
        (wait.x, wait.end, f"waited {duration(wait.end - wait.x)} for {wait.whom or 'its quota'}")
        for wait in course.waits
    ]


def _items(course: Course) -> Chart:
    last, stops = course.points[-1], course.stops
    stopped = sum(stop.seconds for stop in stops)
    told = f"{last.items:,} items in {duration(course.seconds)}."
    if stops:
        told += f" {_times(len(stops), 'stop')}, marked by lines; the {duration(stopped)} in between are left out."
    return Chart(
        title="Items over time",
        told=told,
        series=[Series("items", [(point.elapsed, float(point.items)) for point in course.points])],
        end=course.seconds,
        unit=_count,
        marks=_marks(course),
        bands=_bands(course),
        lines=[(float(last.total), f"all: {last.total:,}")] if last.total else [],
    )


def _speed(course: Course) -> Chart | None:
    if not course.speeds:
        return None
    points = [each for begin, end, value in course.speeds for each in ((begin, value), (end, value))]
    fastest = max(value for _, _, value in course.speeds)
    told = f"On average {speed(_mean_speed(course))} without waits, at most {speed(fastest)}."
    series = [Series("items a second", points)]
    return Chart(
        title="Speed",
        told=told,
        series=series,
        end=course.seconds,
        unit=_count,
        marks=_marks(course),
        bands=_bands(course),
    )


def _quota(course: Course) -> Chart | None:
    known = [(point.elapsed, float(point.remaining)) for point in course.points if point.remaining is not None]
    if not known:
        return None
    limit = max((point.limit or 0 for point in course.points), default=0)
    waits = course.waits
    told = f"{known[-1][1]:,.0f}{f' of {limit:,}' if limit else ''} requests were left at the last save."
    if waits:
        told += f" {_times(len(waits), 'wait')}, shaded."
    return Chart(
        title="Quota",
        told=told,
        series=[Series("requests left", known, is_stepped=True)],
        end=course.seconds,
        unit=_count,
        bands=_bands(course),
        top=float(limit),
    )


def _costs(course: Course) -> Chart | None:
    known = [(point.elapsed, point.save_seconds) for point in course.points if point.save_seconds]
    if not known:
        return None
    charged = course.points[-1].charged
    share = f", {charged / course.seconds:.1%} of the time" if charged and course.seconds else ""
    return Chart(
        title="Cost of a save",
        told=f"{_milliseconds(known[-1][1])} at the last save{share}.",
        series=[Series("seconds", known)],
        end=course.seconds,
        unit=lambda seconds: "0" if not seconds else _milliseconds(seconds),
        marks=_marks(course),
    )


def _risk(course: Course) -> Chart | None:
    known = [(point.elapsed, point.at_risk) for point in course.points if point.at_risk]
    if not known:
        return None
    return Chart(
        title="At risk",
        told=f"A kill would have lost {precise(max(y for _, y in known))} of work at most.",
        series=[Series("seconds of work", known, "warn")],
        end=course.seconds,
        unit=time_text,
        marks=_marks(course),
        is_time=True,
    )


def _promises(course: Course) -> Chart | None:
    if len(course.promises) < 2:
        return None
    promised = Series("promised", course.promises, "second")
    if not course.has_ended:
        told = f"The forecast at the last save: {duration(course.promises[-1][1])} left."
        return _left(course, told, [promised])
    true = Series("came true", [(0.0, course.seconds), (course.seconds, 0.0)])
    off = sum(abs(left - (course.seconds - x)) for x, left in course.promises) / len(course.promises)
    return _left(course, f"The forecast was off by {duration(off)} on average.", [true, promised])


def _left(course: Course, told: str, series: list[Series]) -> Chart:
    # A first guess may be a thousand times too high, and would flatten the rest of the line.
    values = sorted(y for one in series for _, y in one.points)
    top = 1.2 * max(values[len(values) * 9 // 10], course.seconds if len(series) > 1 else 0.0)
    cut = [Series(one.name, [(x, min(y, top)) for x, y in one.points], one.kind) for one in series]
    marks = _marks(course)
    return Chart(
        title="Time left", told=told, series=cut, end=course.seconds, unit=time_text, marks=marks, is_time=True
    )


def _count(value: float) -> str:
    for least, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= least:
            return f"{value / {'G': 1e9, 'M': 1e6, 'k': 1e3}[unit]:.4g} {unit}"
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


def _times(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


# -- tables -----------------------------------------------------------------------------------------------------------


def _runs(summary: Summary, course: Course) -> str:
    details = {run.run: run for run in summary.history}
    saved = course.runs[-1].run if course.runs else 0
    marks = [*course.runs, *marks_of(run for run in summary.history if run.run > saved)]
    present = summary.history[-1].run if summary.state == "running" else None
    rows = []
    for mark in reversed(marks[-_MOST_ROWS:]):
        run = details.get(mark.run)
        how = "still running" if mark.run == present else how_it_was_stopped(mark)
        error = (run.error if run is not None and run.error else mark.error) or ""
        if run is not None and run.place:
            error += f" ({run.place})"
        took = duration(max(mark.ended - mark.began, 0.0))
        rows.append((f"{mark.run:,}", _stamp(mark), took, f"{mark.items:,}", how, error))
    headings = ">run", "began (UTC)", ">took", ">reached", "ended by", "error"
    return table("Runs", headings, rows, max(len(marks) - _MOST_ROWS, 0))


def _stamp(mark: RunMark) -> str:
    try:
        return f"{datetime.fromtimestamp(mark.began, UTC):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return ""


def _failed(restored: Restored) -> str:
    failed = failed_in(restored.sections)
    rows = [(item.key, item.loop, item.error) for item in failed[:_MOST_ROWS]]
    return table("Failed items", ("item", "loop", "error"), rows, max(len(failed) - _MOST_ROWS, 0))


def _loops(restored: Restored) -> str:
    loops = loops_in(restored.sections)
    rows = [
        (loop.name, f"{loop.processed_items:,}", "" if loop.total_items is None else f"{loop.total_items:,}", loop.by)
        for loop in loops[:_MOST_ROWS]
    ]
    return table("Loops", ("loop", ">done", ">of", "counted by"), rows, max(len(loops) - _MOST_ROWS, 0))


def _settings(summary: Summary, restored: Restored) -> str:
    sections, last = restored.sections, summary.history[-1] if summary.history else None
    pace = sections.costs.item_seconds if sections.costs else 0.0
    told: list[tuple[str, Any]] = [
        ("file", summary.location),
        (
            "size",
            size(restored.size) + (f" and {size(restored.journal_bytes)} of journal" if restored.journal_bytes else ""),
        ),
        ("first saved", f"{restored.data.created_at:%Y-%m-%d %H:%M:%S} UTC, {ago(age_of(restored.data.created_at))}"),
        ("saves", last.strategy if last else None),
        ("last save was for", summary.last_save_reason),
        ("pace", f"{_milliseconds(pace)} an item" if pace else None),
        ("command", last.command if last else None),
        ("machine", f"{last.host}, process {last.pid}" if last and last.host else None),
        *((f"argument {name}", shortened(value, 120)) for name, value in sections.arguments.items()),
        *((f"spent, {name}", f"{amount:,.6g}") for name, amount in sections.spent.items()),
        *((f"output {name}", f"{size(int(place['offset']))}") for name, place in sections.sinks.items()),
        *(
            (f"{kind} {name}", f"{len(restored.data.state.get(name) or ()):,} entries")
            for name, kind in sections.collections.items()
        ),
    ]
    return table("Settings", ("what", "value"), [(name, value) for name, value in told if value])
