"""A loop that holds all there is, killed at random, against a model: ``python -m tests.faults.campaign --kills 200``.

It has an artifact, a tracked generator, a mapping of a class, an output file, and a function that is called before each
save. Whenever it begins, all of that must be what the model has after as many items as are done.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from resumable import Checkpoint, checkpointed, every
from tests.faults.injection import scratch

ITEMS = 300
NAMES = 7
LONGEST_SECONDS = 0.15
DIFFERENT = 3
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Entry:
    """What the mapping holds."""

    number: int
    drawn: float
    at: datetime


class Model:
    """What the loop holds after some items, computed at once."""

    def __init__(self, items: int) -> None:
        self.rng = random.Random(7)
        self.files: dict[str, Entry] = {}
        self.rows = self.artifact = ""
        self.total = 0.0
        for number in range(items):
            self.item(number)

    def item(self, number: int) -> float:
        """One item's work."""
        drawn = self.rng.random()
        self.files[f"{number % NAMES}"] = Entry(number, drawn, NOW + timedelta(seconds=number))
        self.rows += f"{number},{drawn!r}\n"
        self.total += drawn
        if number % 3 == 0:
            self.artifact = f"{number} {self.total!r} " + "x" * (number * 37 % 5000)
        return drawn


def differences(cp: Checkpoint[Any], directory: Path) -> list[str]:
    """What of *cp*, which has just been opened, is not what the model has."""
    done = cp.metadata.processed_items
    expected, model = Model(done), cp.artifact("model")
    found = {
        "artifact": (model.path.read_text() if model.exists else "", expected.artifact),
        "mapping": (dict(cp.mapping("files", Entry)), expected.files),
        "rows": ((directory / "rows.csv").read_text(), expected.rows),
        "total": (cp.state.get("total", 0.0), expected.total),
    }
    return [f"{name} at item {done}" for name, (found_one, expected_one) in found.items() if found_one != expected_one]


def job(directory: Path) -> list[str]:
    """The loop. Returns what was different from the model when it began, or ended."""
    with checkpointed("job", every(items=4), store=directory / "store") as cp:
        rows = cp.sink(directory / "rows.csv", existing="replace")
        rng = cp.track(random.Random(7))
        files, model = cp.mapping("files", Entry), cp.artifact("model")
        wrong = differences(cp, directory)
        total = cp.state.get("total", 0.0)

        @cp.before_save
        def keep_total() -> None:
            cp.state["total"] = total

        is_first = True
        for number in cp.remaining(range(ITEMS)):
            if is_first and rng.getstate() != Model(number).rng.getstate():
                wrong.append(f"generator at item {number}")
            is_first = False
            drawn = rng.random()
            files[f"{number % NAMES}"] = Entry(number, drawn, NOW + timedelta(seconds=number))
            rows.write(f"{number},{drawn!r}\n")
            total += drawn
            if number % 3 == 0:
                with model.write() as path:
                    path.write_text(f"{number} {total!r} " + "x" * (number * 37 % 5000))
        rows.flush()
        end = Model(ITEMS)
        if (total, (directory / "rows.csv").read_text()) != (end.total, end.rows):
            wrong.append("what there is at the end")
        if model.publish(directory / "published").read_text() != end.artifact:
            wrong.append("what is published at the end")
    return wrong


def run(directory: Path, seconds: float) -> int:
    """Run the loop in a process of its own, which is killed after *seconds*. Returns its exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        wrong = job(directory)
        print(*wrong, sep="\n", end="\n" if wrong else "", flush=True)
        code = DIFFERENT if wrong else 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def campaign(kills: int, seed: int) -> tuple[int, int]:
    """Kill the loop up to that many times, until something differs.

    Returns how many times it came to its end, and in how many runs something was different.
    """
    chance, ended, different, killed = random.Random(seed), 0, 0, 0
    with scratch() as directory:
        job(directory)  # all code is loaded now
        while not different and (killed < kills or (directory / "store" / ".checkpoint_job.json").exists()):
            seconds = chance.uniform(0.002, LONGEST_SECONDS) if killed < kills else 60
            code = run(directory, seconds)
            killed += code == -signal.SIGALRM
            different += code not in (0, -signal.SIGALRM)
            if code == 0:
                ended += 1
                left = sorted(os.listdir(directory / "store"))
                different += left != []
                shutil.rmtree(directory / "store")
    return ended, different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    ended, different = campaign(asked.kills, asked.seed)
    print(f"{asked.kills} kills, {ended} times to the end, {different} differences")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
