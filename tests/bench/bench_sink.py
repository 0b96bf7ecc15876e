"""What a row of a sink costs beside ``file.write``: one in each item, and many in one item.

Run it: ``python -m tests.bench.bench_sink``. It prints a table and ends with 1 if a target is missed. Both are written
in the same loop, whose boundary between items is part of what a row of the sink takes; "alone" is without what the loop
takes by itself. All take short turns, of which the shortest counts.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from resumable import checkpointed, every

ROW = "item some text that makes a row of typical size\n"
ROWS, ROUNDS = 30_000, 40
MOST = 3


def ns(items: Iterable[object], write: Callable[[str], object], end: Callable[[], object]) -> float:
    began = time.thread_time_ns()
    for _ in items:
        write(ROW)
    end()
    return (time.thread_time_ns() - began) / ROWS


def nothing(items: Iterable[object]) -> float:
    began = time.thread_time_ns()
    for _ in items:
        pass
    return (time.thread_time_ns() - began) / ROWS


def measure(directory: Path, strategy: Any, is_one_item: bool) -> tuple[float, float, float]:
    """The ns of a round with a row in a file, with one in a sink, and without."""
    best = {"file": 1e9, "loop": 1e9, "sink": 1e9}

    def note(name: str, took: float) -> None:
        best[name] = min(best[name], took)

    for _ in range(ROUNDS):
        gc.collect()
        with checkpointed("bench", strategy, store=directory) as cp, open(directory / "file", "w") as file:
            sink = cp.sink(directory / "sink", existing="replace")
            for _ in cp.remaining(range(1)) if is_one_item else (0,):
                around = (
                    (lambda name: range(ROWS)) if is_one_item else lambda name: cp.remaining(range(ROWS), name=name)
                )
                note("loop", nothing(around("loop")))
                note("file", ns(around("file"), file.write, file.flush))
                note("sink", ns(around("sink"), sink.write, sink.flush))
    return best["file"], best["sink"], best["loop"]


def main() -> int:
    is_good = True
    print(f"{'':<28} {'file ns':>8} {'sink ns':>8} {'ratio':>6} {'at most':>8} {'alone':>6}")
    for name, strategy, is_one_item in (
        ("a row an item", every(hours=1), False),
        ("a row an item, default", None, False),
        (f"{ROWS:,} rows in an item", every(hours=1), True),
    ):
        with tempfile.TemporaryDirectory(dir=".") as directory:
            file, sink, loop = measure(Path(directory), strategy, is_one_item)
        is_good &= sink <= MOST * file
        print(f"{name:<28} {file:8.1f} {sink:8.1f} {sink / file:6.2f} {MOST:8} {(sink - loop) / (file - loop):6.2f}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
