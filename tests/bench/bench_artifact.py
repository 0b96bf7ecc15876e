"""What an artifact costs beside writing the file by hand: ``python -m tests.bench.bench_artifact [MB]``.

By hand is ``write`` and ``fsync`` of a new file that then takes the name of the old one, with an fsync of the
directory. An artifact does that; its SHA-256 is taken beside the loop, and the next save waits for it. Both in turns,
on the same disk; medians. Then what ``cp.save()`` costs with an artifact that has not changed, and without one.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from resumable import checkpointed, every

ROUNDS = 9
SAVES = 300
PIECE = os.urandom(1 << 20)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def fill(path: Path, megabytes: int) -> None:
    with open(path, "wb", buffering=0) as file:
        for _ in range(megabytes):
            file.write(PIECE)


def by_hand(directory: Path, megabytes: int) -> None:
    new = directory / "model.new"
    with open(new, "wb", buffering=0) as file:
        for _ in range(megabytes):
            file.write(PIECE)
        os.fsync(file.fileno())
    new.replace(directory / "model")
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def written(directory: Path, megabytes: int) -> tuple[float, float]:
    """The median seconds by hand and as an artifact."""
    took: list[tuple[float, float]] = []
    with checkpointed("bench", every(hours=9), store=directory / "store") as cp:
        model = cp.artifact("model")

        def write() -> None:
            with model.write() as path:
                fill(path, megabytes)

        for _ in range(ROUNDS):
            hand = seconds(lambda: by_hand(directory, megabytes))
            ours = seconds(write)
            took.append((hand, ours))
            cp.save()
    hands, all_of_ours = zip(*took, strict=True)
    return statistics.median(hands), statistics.median(all_of_ours)


def saves(directory: Path, megabytes: int) -> float:
    """The median seconds of a save beside an artifact of so many *megabytes*, none for 0."""
    took = []
    with checkpointed(f"saves {megabytes}", every(hours=9), store=directory / "store") as cp:
        if megabytes:
            with cp.artifact("model").write() as path:
                fill(path, megabytes)
        for number in range(SAVES):
            cp.state["n"] = number
            took.append(seconds(cp.save))
    return statistics.median(took[SAVES // 3 :])


def main() -> None:
    megabytes = int(sys.argv[1]) if sys.argv[1:] else 100
    with tempfile.TemporaryDirectory(dir=".") as name:
        directory = Path(name)
        hand, ours = written(directory, megabytes)
        print(f"{megabytes} MiB by hand {hand * 1e3:.0f} ms, as an artifact {ours * 1e3:.0f} ms: {ours / hand:.2f}")
        without, beside = saves(directory, 0), saves(directory, megabytes)
        print(f"a save without one {without * 1e3:.3f} ms, beside one {beside * 1e3:.3f} ms")


if __name__ == "__main__":
    main()
