"""Counts, positions, ages and sizes of an operation in words."""

from __future__ import annotations

from ..._text import ago, duration, shortened
from ..messages import how_it_ended
from .shards import Sum
from .summary import Summary, age_of

UNKNOWN = "?"


def items_failed(count: int) -> str:
    """``4 items failed``."""
    return f"{count:,} item{'' if count == 1 else 's'} failed"


def number(value: int | None) -> str:
    """``3,412``, or ``?`` for None."""
    return UNKNOWN if value is None else f"{value:,}"


def done_of(summary: Summary | Sum, separator: str) -> str:
    """``3,412/10,000``."""
    done = number(summary.processed_items)
    return done if summary.total_items is None else f"{done}{separator}{summary.total_items:,}"


def percent_text(summary: Summary | Sum) -> str:
    """``34%``, or nothing."""
    return "" if summary.percent is None else f"{summary.percent}%"


def left_text(summary: Summary | Sum) -> str:
    """``1h52m``; "" for what has ended."""
    if summary.has_ended:
        return ""
    return UNKNOWN if summary.left_seconds is None else duration(max(summary.left_seconds, 1.0))


def last_save_of(summary: Summary | Sum) -> str:
    """``2 s ago``."""
    return UNKNOWN if summary.last_updated is None else ago(age_of(summary.last_updated))


def position_of(summary: Summary) -> str:
    """``3,412 of 10,000 (34%), 1h52m left``."""
    text = done_of(summary, " of ")
    if summary.percent is not None:
        text += f" ({percent_text(summary)})"
    return f"{text}, {left_text(summary)} left" if summary.left_seconds else text


def size(count: int) -> str:
    """Write a number of bytes in a short unit: ``700 B``, ``1.2 KB``, ``35 MB``."""
    if count < 1000:
        return f"{count} B"
    amount, unit = count / 1000, "KB"
    for larger in ("MB", "GB", "TB"):
        if amount >= 999.5:
            amount, unit = amount / 1000, larger
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:,.0f} {unit}"


def error_of(summary: Summary) -> str:
    """``ConnectionError: reset by peer, at item 3,412, in job.py:12``; "" where no exception ended the last run.

    An item that is known by a key is named by it: ``at item 'urls/7'``. A signal is named instead of its exception.
    """
    run = summary.history[-1] if summary.history else None
    if run is None or run.error is None or summary.state == "running":
        return ""
    how = how_it_ended(run.reason)
    error = how if how.startswith(("Ctrl-C", "SIG", "a request")) else run.error.removesuffix(": ")
    key = run.stopped_at[1] if run.stopped_at is not None else None
    item = f", at item {shortened(key, 80)}" if isinstance(key, str) else ""
    if not item and run.items is not None:
        item = f", at item {run.items:,}"
    return f"{error}{item}" + (f", in {run.place}" if run.place else "")
