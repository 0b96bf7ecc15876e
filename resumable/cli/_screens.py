"""What a person sees. Plain text where no terminal listens, or ``NO_COLOR`` is set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._restore import instant
from ._parts import LoopPlace, StateKey
from ._summary import Run, State, Summary, age_of, ending_of
from ._words import ago, duration, printable, size

_LOOKS: dict[State, tuple[str, str, str]] = {
    "running": ("▶", ">", "green"),
    "stopped": ("■", "#", "yellow"),
    "failed": ("✗", "x", "red"),
    "killed": ("✗", "x", "red"),
    "finished": ("✓", "v", "green"),
    "saved": ("•", "*", ""),
    "damaged": ("!", "!", "bold red"),
}
"""Mark, mark where only ASCII can be shown, style."""
_NARROW = 72
_UNKNOWN = "?"


def make_console() -> Console:
    """A console on the standard output. What is no terminal gets whole lines, however long, and no escape codes."""
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = 10_000
    if os.environ.get("NO_COLOR"):
        return Console(markup=False, emoji=False, highlight=False, color_system=None, width=console.width)
    return console


def print_list(console: Console, summaries: Sequence[Summary]) -> None:
    """One row an operation; a narrow terminal gets the first columns."""
    is_narrow = console.width < _NARROW
    table = _table(("OPERATION", "l"), ("STATE", "l"), ("DONE", "r"), ("", "r"), ("LEFT", "r"))
    if not is_narrow:
        table.add_column("LAST SAVE", justify="right", no_wrap=True)
        table.add_column("RUNS", justify="right", no_wrap=True)
    for one in summaries:
        cells = [_id(one), _state(console, one.state), _done(one, "/"), _percent(one), _left(one)]
        table.add_row(*cells, *([] if is_narrow else [_last_save(one), _number(one.runs)]))
    console.print(table)


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for index, (name, side) in enumerate(columns):
        # An id is there to be copied: it may take more lines, but nothing of it is left out.
        first = index == 0
        table.add_column(
            name, justify="right" if side == "r" else "left", no_wrap=not first, overflow="fold" if first else "ellipsis"
        )
    return table


def _id(summary: Summary) -> Text:
    return Text(printable(summary.operation_id))


def _state(console: Console, state: State) -> Text:
    mark, plain_mark, style = _LOOKS[state]
    return Text(f"{plain_mark if console.options.ascii_only else mark} {state}", style=style)


def _number(value: int | None) -> str:
    return _UNKNOWN if value is None else f"{value:,}"


def _done(summary: Summary, separator: str) -> str:
    done = _number(summary.processed_items)
    return done if summary.total_items is None else f"{done}{separator}{summary.total_items:,}"


def _percent(summary: Summary) -> str:
    return "" if summary.percent is None else f"{summary.percent}%"


def _left(summary: Summary) -> str:
    if summary.state == "finished":
        return ""
    return _UNKNOWN if summary.left_seconds is None else duration(summary.left_seconds)


def _last_save(summary: Summary) -> str:
    return _UNKNOWN if summary.last_updated is None else ago(age_of(summary.last_updated))


# -- one operation


def print_facts(console: Console, summary: Summary, facts: Iterable[tuple[str, str]]) -> None:
    """The id and state, then *facts*, one a line."""
    console.print(Text.assemble((printable(summary.operation_id), "bold"), "  ", _state(console, summary.state)))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(Text(f"  {name}", style="dim"), Text(value))
    console.print(grid)


def position_of(summary: Summary) -> str:
    """``3,412 of 10,000 (34%), 1h52m left``."""
    text = _done(summary, " of ")
    if summary.percent is not None:
        text += f" ({_percent(summary)})"
    return f"{text}, {duration(summary.left_seconds)} left" if summary.left_seconds else text


def saves_of(summary: Summary) -> str:
    """``57, the last one 2 s ago (Time-based: 61s >= 60s)``."""
    text = f"{_number(summary.save_count)}, the last one {_last_save(summary)}"
    return f"{text} ({printable(summary.last_save_reason)})" if summary.last_save_reason else text


def print_loops(console: Console, loops: Sequence[LoopPlace]) -> None:
    table = _table(("LOOP", "l"), ("DONE", "r"), ("FOLLOWED", "l"))
    for loop in loops:
        total = "" if loop.total_items is None else f"/{loop.total_items:,}"
        table.add_row(Text(printable(loop.name)), f"{loop.processed_items:,}{total}", f"by {loop.by}")
    _print_part(console, table)


def print_state_keys(console: Console, keys: Sequence[StateKey]) -> None:
    table = _table(("STATE HOLDS", "l"), ("KIND", "l"), ("ENTRIES", "r"), ("SIZE", "r"))
    for key in keys:
        entries = "" if key.entries is None else f"{key.entries:,}"
        table.add_row(Text(printable(key.name)), key.kind, entries, size(key.bytes))
    _print_part(console, table)


def print_runs(console: Console, summary: Summary) -> None:
    table = _table(("RUN", "r"), ("BEGAN", "l"), ("TOOK", "r"), ("REACHED", "r"), ("STATE", "l"), ("LAST SAVE", "l"))
    for run in summary.history:
        is_now = summary.state == "running" and run is summary.history[-1]
        state: State = "running" if is_now else ending_of(run)
        table.add_row(
            str(run.run),
            _local(run.began),
            _took(run),
            _number(run.items) if run.ended else "",
            _state(console, state),
            Text(printable(run.reason or "")),
        )
    _print_part(console, table)


def _print_part(console: Console, table: Table) -> None:
    if table.row_count:
        console.print()
        console.print(table)


def _local(stamp: str) -> str:
    return instant(stamp).astimezone().strftime("%Y-%m-%d %H:%M") if stamp else _UNKNOWN


def _took(run: Run) -> str:
    if not run.began or not run.ended:
        return ""
    return duration((instant(run.ended) - instant(run.began)).total_seconds())
