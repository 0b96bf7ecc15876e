"""The history of an operation: when each run began, where it stood, how it ended."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import msgspec

from .._format.sections import Run, Sections
from .._format.trail import Point, RunMark, Trail, WaitMark
from .._loops.ledgers.by_position import ItemKey
from .._loops.ledgers.failed import error_text
from .._runtime.interpreter import HOST
from .._runtime.signals import name_of
from .._strategies import (
    AutoStrategy,
    CompositeStrategy,
    ProgressBasedStrategy,
    RateLimitAwareStrategy,
    SaveStrategy,
    TimeBasedStrategy,
)
from .._text import duration, hidden, hidden_in_line, resume_command

_RUNS_KEPT = 10
_PACKAGE = str(Path(__file__).parents[1])
_LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")
_to_json = msgspec.json.Encoder().encode


class History(msgspec.Struct):
    """The runs of one operation; this one is included once it saves.

    Attributes:
        sections: Of the checkpoint; their history is kept up to date here.
        items_before: Items that earlier runs have done.
        began: When this run began (UTC).
        number: Of this run, from 1.
        run: This run's entry; None before its first save.
        notes: Texts that observers save with this run, by name.
        strategy: The save strategy of this run.
        due_at: When the next save is to be noted in the trail, in seconds since the epoch.
    """

    sections: Sections
    items_before: int
    began: datetime
    number: int
    run: Run | None = None
    notes: dict[str, str] = {}
    strategy: SaveStrategy | None = None
    due_at: float = float("-inf")

    @property
    def entry(self) -> Run:
        """This run, as it begins."""
        return Run(
            run=self.number,
            began=self.began.isoformat(timespec="seconds"),
            items_before=self.items_before,
            notes=self.notes,
            host=HOST,
            pid=os.getpid(),
            command=_command(tuple(sys.orig_argv)) or None,
            strategy=_described(self.strategy),
        )

    def begin(self) -> Run:
        """Add this run's entry to the history."""
        run = self.run = self.entry
        for earlier in self.sections.history:
            if earlier.command and earlier.command != run.command:  # an earlier release may have stored a secret
                earlier.command = hidden_in_line(earlier.command)
        self.sections.history = [*self.sections.history[-_RUNS_KEPT:], run]
        return run

    @property
    def trail(self) -> Trail:
        """Where the operation stood from time to time, over all runs."""
        trail = self.sections.trail = self.sections.trail or Trail()
        return trail

    def note(self, point: Point) -> None:
        """Note a save at *point*; a later save of this run may follow."""
        run, trail = self.run or self.begin(), self.trail
        if not trail.runs or trail.runs[-1].run != self.number:
            trail.add_run(
                RunMark(self.number, _short(self.began.timestamp()), point.at, self.items_before, point.items)
            )
        trail.add_point(point)
        trail.end_run(point, (run.reason or "").rpartition(" | ")[2], run.error or "")
        self.due_at = point.at + trail.every

    def note_wait(self, began: float, ended: float, whom: str) -> None:
        """Note a wait that has ended; *began* and *ended* are seconds since the epoch."""
        self.trail.add_wait(WaitMark(_short(began), _short(ended), whom))

    def left_by(self, error: BaseException, item: tuple[str, ItemKey] | None) -> None:
        """Note that *error* ended this run at *item* of a loop: its text and its line in the program; no secrets."""
        run = self.run or self.begin()
        run.error, run.place, run.stopped_at = error_text(error).rstrip(": "), _place_of(error), item

    def cut_short(self, error: BaseException, failure: Exception, *, at: datetime) -> Run:
        """This run's entry after *error* ended it and its last save failed with *failure*."""
        run = self.run or self.begin()
        run.ended, run.reason = at.isoformat(timespec="seconds"), f"Interrupted: {name_of(error)}"
        run.error, run.place = error_text(error).rstrip(": "), _place_of(error)
        if str(failure) != str(error):
            run.error = f"{run.error.rstrip('.')}; its last save failed: {error_text(failure)}"
        return run

    def ended(self, reason: str, items: int, *, at: datetime) -> bytes:
        """The history as JSON, after this run ended for *reason* with *items* done over all runs."""
        run = self.run or self.begin()
        run.ended, run.items, run.reason = at.isoformat(timespec="seconds"), items, reason
        return _to_json(self.sections.history)


def _described(strategy: SaveStrategy | None) -> str:
    """*strategy* in words: ``every 5 min or every 1,000 items``; a user's own strategy by its class name."""
    match strategy:
        case TimeBasedStrategy(interval_seconds=seconds):
            return f"every {duration(seconds) if seconds >= 1 else f'{seconds:g} s'}" if seconds else "at each item"
        case ProgressBasedStrategy(items_interval=items):
            return f"every {items:,} items" if items > 1 else "at each item"
        case RateLimitAwareStrategy(threshold_percentage=share):
            return f"once less than {share:.0%} of the quota is left"
        case AutoStrategy(max_overhead=share, max_interval_seconds=seconds):
            return f"auto: saves take {share:.1%} of the time, and are {duration(seconds)} apart at most"
        case CompositeStrategy(strategies=strategies, operator=operator):
            return f" {operator.lower()} ".join(map(_described, strategies))
        case _:
            return type(strategy).__name__ if strategy is not None else ""


@lru_cache(maxsize=8)
def _command(argv: tuple[str, ...]) -> str:
    return resume_command(argv, is_windows=sys.platform == "win32")


def _place_of(error: BaseException) -> str | None:
    """``job.py:12``: the innermost frame of *error* that is not in a library."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    libraries = (_PACKAGE, *{sysconfig.get_path(name) for name in _LIBRARIES})
    own = [(file, line) for file, line in frames if not file.startswith(libraries)]
    if not (own or frames):
        return None
    file, line = (own or frames)[-1]
    return f"{hidden(file)}:{line}".encode("utf-8", "replace").decode()


def _short(seconds: float) -> float:
    return round(seconds, 1)
