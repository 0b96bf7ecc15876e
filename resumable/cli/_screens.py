"""Tables of operations and sums for a terminal; plain text elsewhere, and with ``NO_COLOR``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Literal

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._loops.ledgers.by_key import to_ranges
from .._report.live import Live, live
from .._report.stored.shards import Sum
from .._report.stored.summary import State, Summary
from .._report.stored.wording import done_of, items_failed, last_save_of, left_text, number, percent_text, size
from .._text import printable
from ..stores import CheckpointStore

_LOOKS: dict[State, tuple[str, str, str]] = {
    "running": ("▶", ">", "green"),
    "stopped": ("■", "#", "yellow"),
    "failed": ("✗", "x", "red"),
    "killed": ("✗", "x", "red"),
    "incomplete": ("!", "!", "yellow"),
    "kept": ("✓", "v", "green"),
    "finished": ("✓", "v", "green"),
    "saved": ("•", "*", ""),
    "damaged": ("!", "!", "bold red"),
    "encrypted": ("?", "?", "yellow"),
}
"""Mark, mark for output that takes only ASCII, style."""
_LIVE_STYLES = {"waiting": "yellow", "paused": "yellow", "stuck": "bold red", "silent": "bold red"}
_LIVE_MARKS = {"waiting": "…", "paused": "=", "stuck": "!", "silent": "!"}
_NARROW, _VERY_NARROW = 72, 52
_LEAST_NAME, _LEAST_TAIL = 22, 18
"""Cells that a long id, and a long last column, keep at least, the gap included."""
_MOST_RANGES = 8
_MOST_IDS = 3


def make_console() -> Console:
    """Make a console on stdout. If stdout is no terminal, lines have any length and no escape codes."""
    color_system: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    console = Console(markup=False, emoji=False, highlight=False, color_system=color_system)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = 10_000
    return console


def print_json(value: Any) -> None:
    """Print *value* as one JSON document; moments as ISO 8601."""
    click.echo(json.dumps(value, indent=2, default=datetime.isoformat))


def as_json_object(one: Summary | Sum) -> dict[str, Any]:
    """All fields of *one* except its history."""
    return {field.name: getattr(one, field.name) for field in fields(one) if field.name != "history"}


def print_list(console: Console, summaries: Sequence[Summary], store: CheckpointStore) -> None:
    """Print a row for each operation of *store*; a narrow terminal shows the first columns only."""
    columns = ["OPERATION", "STATE", ">DONE", ">", ">LEFT", ">LAST SAVE", ">RUNS"]
    rows: list[list[str | Text]] = [
        [Text(printable(one.operation_id)), standing_now(console, one, store), *_numbers(one), number(one.runs)]
        for one in summaries
    ]
    if any(one.artifact_count for one in summaries):
        columns.append(">ARTIFACTS")
        for row, one in zip(rows, summaries, strict=True):
            row.append(f"{one.artifact_count:,}, {size(one.artifact_bytes or 0)}" if one.artifact_count else "")
    console.print(_fitting(console, columns, rows))


def standing_now(console: Console, one: Summary, store: CheckpointStore) -> Text:
    """Like :func:`standing`; of a running operation ``= paused`` or ``! stuck``, too."""
    return state_of(console, live(store, one)) if one.state == "running" else standing(console, one)


def print_sums(console: Console, sums: Sequence[Sum], *, is_first: bool) -> None:
    """Print a row for each sum, and the numbers that are missing in it."""
    columns = "SHARDS", "STATES", ">DONE", ">", ">LEFT", ">LAST SAVE"
    rows = [(Text(printable(one.pattern)), _states(one), *_numbers(one)) for one in sums]
    if not is_first:
        console.print()
    console.print(_fitting(console, columns, rows, folded=2))
    for one in sums:
        if one.missing:
            console.print(Text(f"{printable(one.pattern)}: no checkpoint of {_as_ranges(one.missing)}"))


def print_sealed(console: Console, summaries: Sequence[Summary]) -> None:
    """Print what to do about encrypted checkpoints, if there are any."""
    sealed: dict[str, list[str]] = {}
    for one in summaries:
        if one.state == "encrypted" and one.problem:
            sealed.setdefault(one.problem, []).append(printable(one.operation_id))
    if sealed:
        console.print()
    for problem, ids in sealed.items():
        more = f" and {len(ids) - _MOST_IDS:,} more" if len(ids) > _MOST_IDS else ""
        console.print(Text(f"{', '.join(ids[:_MOST_IDS])}{more}: {problem}"))


def print_waiting(console: Console, summaries: Sequence[Summary]) -> None:
    """Print which checkpoints lie here only until their store answers again, if there are any."""
    for one in summaries:
        if one.waits_for is not None:
            console.print(Text(f"{printable(one.operation_id)} {waits_for(one)}"), soft_wrap=True)


def waits_for(one: Summary) -> str:
    """A sentence about a checkpoint that lies here until its store answers again; "" for others."""
    if one.waits_for is None:
        return ""
    return f"could not be saved in {printable(one.waits_for)}; the next run of its program here brings it there"


def _states(one: Sum) -> Text:
    """``16: 4 running, 1 failed, 1 incomplete, 10 finished; 3 items failed``."""
    parts = [Text(f"{count:,} {state}", style=_LOOKS[state][2]) for state, count in one.states.items()]
    failed = f"; {items_failed(one.failed_items)}" if one.failed_items else ""
    return Text.assemble(f"{len(one.operation_ids):,}: ", Text(", ").join(parts), failed)


def _as_ranges(numbers: Sequence[int]) -> str:
    """``3, 7-9``; a long list ends with the number of further ranges."""
    pairs = to_ranges(sorted(set(numbers)))
    text = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in pairs[:_MOST_RANGES])
    more = sum(last - first + 1 for first, last in pairs[_MOST_RANGES:])
    return f"{text} and {more:,} more" if more else text


def _fitting(
    console: Console, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, folded: int = 1
) -> Table:
    shown = 3 if console.width < _VERY_NARROW else 5 if console.width < _NARROW else len(columns)
    table = make_table(*columns[:shown], folded=folded)
    for row in rows:
        table.add_row(*row[:shown])
    return table


def table_with_tail(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    """A table that fits the terminal: the first and last columns wrap, and columns between them may be left out."""
    widths = [max(map(_width, column)) + 2 for column in zip(columns, *rows, strict=True)]
    first, last = min(widths[0], _LEAST_NAME), min(widths[-1], _LEAST_TAIL)
    shown, end = list(range(len(columns))), len(columns) - 1
    while len(shown) > 3 and first + sum(widths[index] for index in shown[1:-1]) + last > console.width:
        del shown[-1 if shown[-1] != end or len(shown) == 4 else -2]
    table = make_table(*(columns[index] for index in shown))
    if sum(widths[index] for index in shown) > console.width:
        table.columns[0].width = first - 2
    if shown[-1] == end:
        table.columns[-1].no_wrap, table.columns[-1].overflow = False, "fold"
    for row in rows:
        table.add_row(*(row[index] for index in shown))
    return table


def _width(cell: str | Text) -> int:
    return cell.cell_len if isinstance(cell, Text) else cell_len(cell.removeprefix(">"))


def make_table(*headings: str, folded: int = 1) -> Table:
    """Make a table without lines.

    Args:
        headings: One for each column; ``>`` before it aligns the column to the right.
        folded: The number of columns, from the left, that may wrap.
    """
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for index, heading in enumerate(headings):
        may_fold = index < folded  # people copy ids, so an id is never shortened
        table.add_column(
            heading.removeprefix(">"),
            justify="right" if heading.startswith(">") else "left",
            no_wrap=not may_fold,
            overflow="fold" if may_fold else "ellipsis",
        )
    return table


def filled_lines(parts: Iterable[str], width: int) -> str:
    """The *parts* that are not empty, two spaces apart, in lines of at most *width*."""
    lines = [""]
    for part in filter(None, parts):
        joined = f"{lines[-1]}  {part}" if lines[-1] else part
        lines = [*lines[:-1], joined] if cell_len(joined) <= width else [*lines, part]
    return "\n".join(line for line in lines if line)


def state_of(console: Console, one: Live) -> Text:
    """``▶ running``, ``! stuck``."""
    state = one.state
    if state not in _LIVE_STYLES:
        return state_text(console, one.summary.state)
    mark = "~" if console.options.ascii_only and state == "waiting" else _LIVE_MARKS[state]
    return Text(f"{mark} {state}", style=_LIVE_STYLES[state])


def state_text(console: Console, state: State) -> Text:
    """``▶ running``, or ``> running`` for output that takes only ASCII."""
    mark, plain_mark, style = _LOOKS[state]
    return Text(f"{plain_mark if console.options.ascii_only else mark} {state}", style=style)


def standing(console: Console, summary: Summary) -> Text:
    """``▶ running``, or ``! 4 items failed`` if only failed items are left."""
    text = state_text(console, summary.state)
    if summary.state != "incomplete":
        return text
    return Text(f"{text.plain[0]} {items_failed(summary.failed_items or 0)}", style=text.style)


def _numbers(summary: Summary | Sum) -> tuple[str, str, str, str]:
    return done_of(summary, "/"), percent_text(summary), left_text(summary), last_save_of(summary)
