"""A short loop that gets signals at any of its lines, each time in a forked child; its parent looks what is left.

    python -m tests.faults.signal_job SHAPE SIGNAL TIMES EVERY

tells, as JSON, how many lines there are, how the runs ended, and what was found wrong after them. Every *EVERY*-th line
is tried.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import resumable
from resumable import CheckpointManager, checkpointed, every
from resumable.stores import FileStore

FileStore.traits = dataclasses.replace(FileStore.traits, fold_after=0)  # so that small checkpoints see folds
PACKAGE = str(Path(resumable.__file__).parent)
ITEMS, BEFORE, SAVE_EVERY = 6, 2, 2
PATIENCE_SECONDS = 100
"""A run that takes longer hangs."""
GAPS = (0, 1, 6, 30, 120)
"""So many lines lie between two signals."""


def tick_by_hand(directory: Path, note: Callable[[str], None], stop_at: int) -> None:
    with checkpointed("job", every(items=SAVE_EVERY), store=directory) as cp:
        log = cp.log("log")
        for item in range(cp.state.get("next", 0), ITEMS):
            if item == stop_at:
                raise KeyboardInterrupt
            note(f"began {item} {cp.metadata.save_count}")
            log.append(item)
            cp.state["next"] = item + 1
            cp.tick()
            note(f"ticked {item} {cp.metadata.save_count}")
        assert set(log) == set(range(ITEMS))


def tick_by_loop(directory: Path, note: Callable[[str], None], stop_at: int) -> None:
    with checkpointed("job", every(items=SAVE_EVERY), store=directory) as cp:
        log, last = cp.log("log"), None
        for item in cp.remaining(range(ITEMS)):
            if last is not None:
                note(f"ticked {last} {cp.metadata.save_count}")
            if item == stop_at:
                raise KeyboardInterrupt
            note(f"began {item} {cp.metadata.save_count}")
            log.append(item)
            cp.state["next"] = item + 1
            last = item
        note(f"ticked {last} {cp.metadata.save_count}")
        assert set(log) == set(range(ITEMS))


SHAPES = {"tick": tick_by_hand, "remaining": tick_by_loop}


class Signals:
    """Sends signals to this process when it comes to certain lines of the package."""

    def __init__(self, number: int, at: tuple[int, ...]) -> None:
        self.number = number
        self.at = at
        self.count = 0

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            for _ in range(self.at.count(self.count)):
                signal.raise_signal(self.number)
            self.count += 1
        return self.trace


def child(work: Callable[[], int | None], errors: Path) -> int:
    """Do *work* in a child; its exit code, negative for a signal. 130 and 143 are what the signals stand for."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code: Any = 1
    try:
        signal.alarm(PATIENCE_SECONDS)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = work() or 0
    except KeyboardInterrupt:
        code = 130
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        errors.write_text(traceback.format_exc())
    finally:
        sys.settrace(None)
        os._exit(code)


class Grid:
    """One loop, and one kind of signal."""

    def __init__(self, shape: str, number: int, times: int, root: Path) -> None:
        self.work = SHAPES[shape]
        self.number = number
        self.times = times
        self.root = root
        self.template = root / "template"
        self.directory = root / "run"
        self.notes = root / "notes"
        self.errors = root / "errors"
        self.ended: Counter[str] = Counter()
        self.repeated = 0
        for _ in range(2):  # what is loaded later, is loaded now
            shutil.rmtree(self.template, ignore_errors=True)
            self.template.mkdir()
            for stop_at in (BEFORE, ITEMS, BEFORE):
                with contextlib.suppress(KeyboardInterrupt):
                    self.work(self.template, void, stop_at)

    def run(self, at: tuple[int, ...]) -> tuple[int, int]:
        """How a run with signals *at* these lines ended, and how many lines it had."""
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(self.template, self.directory)
        self.notes.write_text("")
        self.errors.write_text("")
        lines = self.root / "lines"
        code = child(lambda: self._traced(at, lines), self.errors)
        return code, int(lines.read_text()) if not at else 0

    def _traced(self, at: tuple[int, ...], lines: Path) -> None:
        signals = Signals(self.number, at)
        descriptor = os.open(self.notes, os.O_WRONLY | os.O_APPEND)
        sys.settrace(signals.trace)
        self.work(self.directory, lambda text: void(os.write(descriptor, f"{text}\n".encode())), ITEMS)
        sys.settrace(None)
        lines.write_text(str(signals.count))

    def check(self, code: int) -> None:
        """Nothing that counts is lost, and the next run ends the work."""
        ends = {0: "done", 130: "interrupted", 143: "interrupted", -signal.SIGTERM: "killed", -signal.SIGINT: "killed"}
        assert code != -signal.SIGALRM, "hangs"
        assert code in ends, f"exit code {code}: {self.errors.read_text()}"
        self.ended[ends[code]] += 1
        began, ticked = self.noted("began"), self.noted("ticked")
        found = CheckpointManager(self.directory).load_checkpoint("job")
        if found is None:
            assert ticked == ITEMS, "the checkpoint is gone before the work is done"
            return
        done = found.state["next"]
        log = found.state["log"]
        # The second signal may stop the body itself between two statements, as any error there would.
        assert log == list(range(done)) or (self.times == 2 and log == list(range(done + 1))), f"torn: {found.state}"
        assert found.metadata.processed_items in (done, done - self.times + 1), f"torn: {found.metadata}"
        sure = ticked if self.times == 1 else self.saved()
        assert done >= max(sure, BEFORE), f"{done} of {ticked} ticked items, {sure} in a save that stood"
        self.repeated += max(0, began - done)
        assert child(self._finish, self.errors) == 0, self.errors.read_text()
        assert list(self.directory.iterdir()) == []

    def _finish(self) -> None:
        self.work(self.directory, void, ITEMS)

    def noted(self, word: str) -> int:
        """How many items were noted so."""
        found = [int(line.split()[1]) for line in self.notes.read_text().splitlines() if line.startswith(word)]
        return found[-1] + 1 if found else BEFORE

    def saved(self) -> int:
        """How many items were ticked when it was last seen that a save stood."""
        lines = [line.split() for line in self.notes.read_text().splitlines()]
        seen = [int(item) + 1 for (*_, before), (_, item, now) in itertools.pairwise(lines) if int(now) > int(before)]
        return seen[-1] if seen else BEFORE

    def walk(self, every: int) -> dict[str, Any]:
        """Try each *every*-th line."""
        code, lines = self.run(())
        assert code == 0, self.errors.read_text()
        wrong = []
        runs = range(0, lines, every)
        for line in runs:
            at = (line,) if self.times == 1 else (line, line + GAPS[line // every % len(GAPS)])
            code, _ = self.run(at)
            try:
                self.check(code)
            except AssertionError as error:
                wrong.append(f"at {at}: {error}")
            except Exception as error:
                wrong.append(f"at {at}: {error!r}")
        return {
            "lines": lines,
            "runs": len(runs),
            "ended": dict(self.ended),
            "repeated": self.repeated,
            "wrong": wrong,
        }


def void(value: object) -> None:
    pass


def main() -> None:
    shape, number, times, step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    with tempfile.TemporaryDirectory() as scratch:
        told = Grid(shape, number, times, Path(scratch)).walk(step)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
