"""What a person sees. Plain text where no terminal listens, or ``NO_COLOR`` is set."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._messages import ago, duration
from .._shellwords import printable
from ._summary import State, Summary, age_of

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
_NARROW, _VERY_NARROW = 72, 52
UNKNOWN = "?"


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
    rows = [(_id(one), state_text(console, one.state), *_numbers(one)) for one in summaries]
    columns = [("OPERATION", "l"), ("STATE", "l"), ("DONE", "r"), ("", "r"), ("LEFT", "r")]
    columns += [("LAST SAVE", "r"), ("RUNS", "r")]
    shown = 3 if console.width < _VERY_NARROW else 5 if console.width < _NARROW else len(columns)
    table = make_table(*columns[:shown])
    for row in rows:
        table.add_row(*row[:shown])
    console.print(table)


def _numbers(summary: Summary) -> tuple[str, str, str, str, str]:
    runs = number(summary.runs)
    return _done(summary, "/"), _percent(summary), _left(summary), last_save_of(summary), runs


def make_table(*columns: tuple[str, str]) -> Table:
    """A table of *columns*, each a heading and ``l`` or ``r`` for its side."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for index, (name, side) in enumerate(columns):
        # An id is there to be copied: it may take more lines, but nothing of it is left out.
        first = index == 0
        table.add_column(
            name,
            justify="right" if side == "r" else "left",
            no_wrap=not first,
            overflow="fold" if first else "ellipsis",
        )
    return table


def _id(summary: Summary) -> Text:
    return Text(printable(summary.operation_id))


def state_text(console: Console, state: State) -> Text:
    """``▶ running``, or ``> running`` where only ASCII can be shown."""
    mark, plain_mark, style = _LOOKS[state]
    return Text(f"{plain_mark if console.options.ascii_only else mark} {state}", style=style)


def number(value: int | None) -> str:
    """``3,412``, or ``?`` if it is not known."""
    return UNKNOWN if value is None else f"{value:,}"


def _done(summary: Summary, separator: str) -> str:
    done = number(summary.processed_items)
    return done if summary.total_items is None else f"{done}{separator}{summary.total_items:,}"


def _percent(summary: Summary) -> str:
    return "" if summary.percent is None else f"{summary.percent}%"


def _left(summary: Summary) -> str:
    if summary.state == "finished":
        return ""
    return UNKNOWN if summary.left_seconds is None else duration(max(summary.left_seconds, 1.0))


def last_save_of(summary: Summary) -> str:
    """``2 s ago``."""
    return UNKNOWN if summary.last_updated is None else ago(age_of(summary.last_updated))


def position_of(summary: Summary) -> str:
    """``3,412 of 10,000 (34%), 1h52m left``."""
    text = _done(summary, " of ")
    if summary.percent is not None:
        text += f" ({_percent(summary)})"
    return f"{text}, {_left(summary)} left" if summary.left_seconds else text


def size(count: int) -> str:
    """Bytes, in the unit that keeps it short: ``700 B``, ``1.2 KB``, ``35 MB``."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("KB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.5 or unit == "TB":
            break
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:,.0f} {unit}"
