"""What ``show`` prints: one operation, its runs, what it holds, and how to go on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._format.restore import Restored, instant
from .._format.sections import Run, Sections
from .._report.stored.contents import (
    ArtifactKept,
    FailedItem,
    LoopPlace,
    PagesPlace,
    StateKey,
    artifacts_in,
    effects_in,
    failed_in,
    loops_in,
    state_keys_in,
)
from .._report.stored.summary import Summary, ending_of
from .._report.stored.wording import UNKNOWN, error_of, last_save_of, number, position_of, size
from .._text import at_most, command_for, duration, printable
from ..stores import CheckpointStore
from ..stores.defaults import without_password
from ._screens import make_table, standing_now, state_text, waits_for

_MOST_FAILED = 20
_MOST_UNKNOWN = 5
_DIGITS = 12
_COUNTED = {"key": "by key", "position": "by position", "scattered": "by position, in any order", "pages": "by page"}


def details(summary: Summary, restored: Restored | None) -> dict[str, Any]:
    """What ``show --json`` adds to the summary. *restored* is None if the checkpoint cannot be read."""
    sections = restored.sections if restored else Sections()
    happened, unknown = effects_in(sections)
    return {
        "bytes": restored.size if restored else None,
        "journal_bytes": restored.journal_bytes if restored else None,
        "command": summary.history[-1].command if summary.history else None,
        "loops": msgspec.to_builtins(loops_in(sections)),
        "failed": msgspec.to_builtins(failed_in(sections)),
        "once": {"happened": happened, "unknown": unknown},
        "state_keys": msgspec.to_builtins(state_keys_in(restored.data.state if restored else {}, sections)),
        "artifacts": msgspec.to_builtins(artifacts_in(sections)),
        "history": msgspec.to_builtins(summary.history),
    }


def print_show(
    console: Console, store: CheckpointStore, summary: Summary, restored: Restored | None, where: str | None
) -> None:
    """Print one operation of *store* for a person. *where* is the given ``--dir``."""
    # Read before printing: a checkpoint that cannot be read is an error, not half an answer.
    loops = loops_in(restored.sections) if restored else []
    console.print(Text.assemble((printable(summary.operation_id), "bold"), "  ", standing_now(console, summary, store)))
    _print_facts(console, _facts(summary, restored, where))
    if restored is not None:
        _print_runs(console, summary)
        _print_loops(console, loops)
        _print_failed(console, failed_in(restored.sections))
        _print_state_keys(console, state_keys_in(restored.data.state, restored.sections))
        _print_artifacts(console, artifacts_in(restored.sections))


def _facts(summary: Summary, restored: Restored | None, where: str | None) -> list[tuple[str, str]]:
    state, took, runs, errors = summary.state, summary.elapsed_time, summary.runs or 1, summary.error_count
    command = summary.history[-1].command if summary.history else None
    start_over = command_for("rm", summary.operation_id, without_password(where))
    removal = "" if state in ("running", "encrypted") else start_over
    facts = [
        ("done", position_of(summary) if restored else ""),
        ("saves", _saves_of(summary) if restored else ""),
        ("took", f"{duration(took)} in {runs:,} run{'s' if runs > 1 else ''}" if took else ""),
        ("ended by", printable(error_of(summary))),
        ("errors", f"{errors:,}" if errors else ""),
        ("at risk", _risk_of(summary)),
        ("effects", _effects_of(restored.sections) if restored else ""),
        ("problem", printable(summary.problem or "")),
        ("file", printable(summary.location) + _sizes(restored) if summary.location else ""),
        ("waits", waits_for(summary)),
        ("older copy", f"{printable(summary.previous)} is good" if summary.previous else ""),
        ("go on", printable(command) if command and state != "running" else ""),
        ("when run", _when_run(restored) if restored else ""),
        ("try again", _how_to_try_again(command or "") if summary.failed_items else ""),
        ("start over", removal),
    ]
    return [(name, value) for name, value in facts if value]


def _how_to_try_again(command: str) -> str:
    is_run = " run " in command and " --items" in command
    return "the command with --retry-failed" if is_run else "retry_failed=True, in cp.remaining or cp.map"


def _risk_of(summary: Summary) -> str:
    """``at most 1.0 s of work``; "" if the operation does not run."""
    seconds = summary.history[-1].at_risk if summary.history else None
    return f"{at_most(seconds)} of work" if seconds is not None and summary.state == "running" else ""


def _when_run(restored: Restored) -> str:
    """What another run does with a finished operation; "" for others."""
    finished = restored.sections.finished
    if finished is None:
        return ""
    return "nothing, it stays done" + ("" if finished.result is msgspec.UNSET else "; its result is kept")


def _sizes(restored: Restored | None) -> str:
    if restored is None:
        return ""
    journal = restored.journal_bytes
    return f"  {size(restored.size)}" + (f" and {size(journal)} of journal" if journal else "")


def _print_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(Text(f"  {name}", style="dim"), Text(value))
    console.print(grid)


def _saves_of(summary: Summary) -> str:
    """``57, the last one 2 s ago (Time-based: 61s >= 60s)``."""
    text = f"{number(summary.save_count)}, the last one {last_save_of(summary)}"
    return f"{text} ({printable(summary.last_save_reason)})" if summary.last_save_reason else text


def _effects_of(sections: Sections) -> str:
    """``12 happened, 1 unknown: invoice 13``."""
    happened, unknown = effects_in(sections)
    told = [f"{happened:,} happened"] if happened else []
    if unknown:
        shown = ", ".join(map(printable, unknown[:_MOST_UNKNOWN]))
        told.append(f"{len(unknown):,} unknown: {shown}" + ("…" if unknown[_MOST_UNKNOWN:] else ""))
    return ", ".join(told)


def _print_loops(console: Console, loops: Sequence[LoopPlace]) -> None:
    table = make_table("LOOP", ">DONE", "COUNTED")
    for loop in loops:
        total = "" if loop.total_items is None else f"/{loop.total_items:,}"
        table.add_row(Text(printable(loop.name)), f"{loop.processed_items:,}{total}", _counted(loop))
    _print_part(console, table)


def _counted(loop: LoopPlace) -> str:
    if isinstance(loop, PagesPlace) and loop.total_items is None:
        return f"by page, now page {loop.page:,}"
    return _COUNTED[loop.by]


def _print_failed(console: Console, failed: Sequence[FailedItem]) -> None:
    table = make_table("FAILED", "LOOP", "ERROR", folded=3)
    for item in failed[:_MOST_FAILED]:
        key = printable(item.key) if isinstance(item.key, str) else f"position {item.key:,}"
        table.add_row(Text(key), Text(printable(item.loop)), Text(printable(item.error)))
    _print_part(console, table)
    if len(failed) > _MOST_FAILED:
        console.print(Text(f"and {len(failed) - _MOST_FAILED:,} more; --json shows all"))


def _print_state_keys(console: Console, keys: Sequence[StateKey]) -> None:
    table = make_table("STATE HOLDS", "KIND", ">ENTRIES", ">SIZE")
    for key in keys:
        entries = "" if key.entries is None else f"{key.entries:,}"
        table.add_row(Text(printable(key.name)), key.kind, entries, size(key.bytes))
    _print_part(console, table)


def _print_artifacts(console: Console, artifacts: Sequence[ArtifactKept]) -> None:
    table = make_table("ARTIFACT", ">SIZE", "WRITTEN", "PUBLISHED", "SHA-256 BEGINS", folded=5)
    for one in artifacts:
        where = Text(printable(one.published) if one.published is not None else "no")
        written = _local(one.written_at or "")
        table.add_row(Text(printable(one.name)), size(one.bytes), written, where, one.sha256[:_DIGITS])
    _print_part(console, table)


def _print_runs(console: Console, summary: Summary) -> None:
    table = make_table(">RUN", "BEGAN", ">TOOK", ">REACHED", "STATE", "LAST SAVE")
    for run in summary.history:
        is_now = summary.state == "running" and run is summary.history[-1]
        state = state_text(console, "running" if is_now else ending_of(run))
        reached, reason = number(run.items) if run.ended else "", Text(printable(run.reason or ""))
        table.add_row(str(run.run), _local(run.began), _took(run), reached, state, reason)
    _print_part(console, table)


def _print_part(console: Console, table: Table) -> None:
    if table.row_count:
        console.print()
        console.print(table)


def _local(stamp: str) -> str:
    return instant(stamp).astimezone().strftime("%Y-%m-%d %H:%M") if stamp else UNKNOWN


def _took(run: Run) -> str:
    if not run.began or not run.ended:
        return ""
    return duration((instant(run.ended) - instant(run.began)).total_seconds())
