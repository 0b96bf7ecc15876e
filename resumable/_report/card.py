"""The card of an operation in a notebook: HTML without script, which stays correct when the kernel is gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from datetime import datetime

from .._format.sections import Run
from .._models import CheckpointMetadata
from .._runtime.observer import Observed
from .._text import command_for, printable
from .messages import amount
from .pages.charts import text
from .terminal.bar import ProgressView, lower_line, progress_line, waiting_line

_COLUMNS = 200
_CARD = (
    "border:1px solid rgba(128,128,128,.45);border-radius:.5rem;padding:.6rem .9rem;margin:.3rem 0;max-width:36rem;"
    "font-family:system-ui,sans-serif;font-size:.95rem;line-height:1.5;overflow-wrap:anywhere"
)
_DIM = "opacity:.75;font-size:.9em"
_TRACK = "background:rgba(128,128,128,.25);border-radius:.3rem;height:.5rem;margin:.35rem 0"


def card(operation_id: str, position: str, share: float | None, lines: Iterable[str]) -> str:
    """The card as an HTML ``<div>``, which needs no style sheet.

    Args:
        position: ``21 of 60``.
        share: The share that is done, from 0 to 1; None shows no bar.
        lines: Further lines; empty ones are left out.
    """
    bar = "" if share is None else _bar(min(max(share, 0.0), 1.0))
    more = "".join(f'<div style="{_DIM}">{text(line)}</div>' for line in lines if line)
    return (
        f'<div class="resumable-card" style="{_CARD}" role="group" aria-label="{text(operation_id)}: {text(position)}">'
        f"<div><strong>{text(operation_id)}</strong> &nbsp;{text(position)}</div>{bar}{more}</div>"
    )


def _bar(share: float) -> str:
    percent = f"{share * 100:.1f}"
    fill = f"background:#3b7ddd;border-radius:.3rem;height:100%;width:{percent}%"
    return f'<div style="{_TRACK}" role="img" aria-label="{percent}%"><div style="{fill}"></div></div>'


def card_of_progress(view: ProgressView) -> str:
    """The card of a running operation. It says when it was true, and what to do if the kernel dies."""
    at, name = amount(view.done, view.total, view.loops), f"{printable(view.operation_id)}: "
    if view.is_last:
        words = view.last_words.removeprefix(name) or "stopped"
        again = "" if view.share == 1 or "again" in words else "; run the cell again: it goes on"
        return card(view.operation_id, at, view.share, [words, f"as of {_moment(view.at)}{again}"])
    position = " · ".join(progress_line(view, _COLUMNS).tail.strip().split("  ")) or at
    dead = f"as of {_moment(view.at)}; if the kernel dies, run the cell again: it goes on"
    look = command_for("show", view.operation_id, view.directory)
    lines = (waiting_line(view) or lower_line(view)).removeprefix(name), dead, f"look: {look}"
    return card(view.operation_id, position, view.share, lines)


def card_of_run(operation_id: str, operation: Observed | None, stands: str) -> str:
    """The card of an operation that is or was open in this kernel; None for others.

    Args:
        stands: ``21 of 60, saved 3 s ago in .checkpoint_nb.json``.
    """
    if operation is None:
        return card(operation_id, stands, None, ())
    position, _, saved = stands.partition(", ")
    failed, share = operation.failed_items(), _share(operation.processed_items, operation.metadata.total_items)
    lines = saved, f"as of {_moment(operation.instant.utc)}", f"{failed:,} failed" if failed else ""
    return card(operation_id, position, share, lines)


def card_of_save(
    operation_id: str,
    metadata: CheckpointMetadata,
    saved_at: datetime,
    history: Sequence[Run],
    failed: Sized,
    held: Mapping[str, str],
) -> str:
    """The card of a checkpoint that was read; *held* describes its collections."""
    done, total, last = metadata.processed_items, metadata.total_items, history[-1] if history else None
    lines = (
        f"saved {_moment(saved_at)}: {metadata.last_save_reason or 'by hand'}",
        f"run {last.run:,} ended by {last.error}" if last is not None and last.error else "",
        f"{len(failed):,} failed" if failed else "",
        ", ".join(f"{name} ({what})" for name, what in held.items()),
        f"go on: {last.command}" if last is not None and last.command else "",
    )
    return card(operation_id, f"{done:,}" if total is None else f"{done:,} of {total:,}", _share(done, total), lines)


def _share(done: int, total: int | None) -> float | None:
    return done / total if total and done <= total else None


def _moment(at: datetime) -> str:
    """A moment with its date, so that the card is still right next year."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
