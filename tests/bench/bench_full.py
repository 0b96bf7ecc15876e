"""What a full save of 100,000 records costs, beside ``json.dump(indent=2)``: ``python -m tests.bench.bench_full``.

By ``cp.save()`` with a plain dict, and by the manager. All in alternating rounds on the same disk; medians of each
round's ratio. The first round of each finds fresh memory and is shown apart.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resumable import CheckpointManager, checkpointed, every

from .bench_saves import record

ROUNDS = 15


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def dump(state: dict[str, Any], path: Path) -> None:
    with open(path, "w") as file:
        json.dump({"version": "2.0", "operation_id": "bench", "state": state, "metadata": {}}, file, indent=2)


def measure(size: int, directory: Path) -> dict[str, list[float]]:
    state = {"files": {f"src/dir{n % 100}/file_{n}.js": record(n) for n in range(size)}}
    manager = CheckpointManager(directory)
    with checkpointed("bench", every(hours=9), store=directory) as cp:
        cp.state.update(state)
        works: dict[str, Callable[[], object]] = {
            "json.dump": lambda: dump(state, directory / "bare.json"),
            "cp.save": cp.save,
            "manager": lambda: manager.create_checkpoint("by manager", state),
        }
        took: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(ROUNDS + 1):
            for name, work in works.items():
                took[name].append(seconds(work) * 1e3)
        cp.finalize()
    return took


def main() -> None:
    size = int(float(sys.argv[1])) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(dir=".") as directory:
        took = measure(size, Path(directory))
    print(f"{size:,} records\n{'':>12} {'median ms':>10} {'least':>8} {'first':>8} {'times faster':>13}")
    for name, times in took.items():
        ratio = statistics.median(bare / time_ for bare, time_ in zip(took["json.dump"][1:], times[1:], strict=True))
        print(f"{name:>12} {statistics.median(times[1:]):>10.1f} {min(times):>8.1f} {times[0]:>8.1f} {ratio:>13.1f}")


if __name__ == "__main__":
    main()
