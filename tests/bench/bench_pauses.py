"""How long saves hold up the loop: ``python -m tests.bench.bench_pauses``.

A loop assigns one record an item and ticks; each 1,000 items are saved. A pause is the time from one item to the next.
The same loop without saves stands beside it: what the machine itself, busy with other work, takes away.
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
import time
from pathlib import Path

from resumable import Checkpoint, checkpointed, every

from .bench_saves import record

ROUNDS = 5
EVERY = 1000


def loop(cp: Checkpoint, items: int, known: int) -> list[float]:
    """The pauses, in ms."""
    files = cp.mapping("files")
    now, pauses, last = time.perf_counter, [], time.perf_counter()
    for number in range(items):
        files[f"src/file_{number % known}.js"] = record(number)
        cp.tick()
        at = now()
        pauses.append((at - last) * 1e3)
        last = at
    return pauses


def measure(known: int, items: int, saved: bool) -> tuple[float, float, int]:
    """The longest pause and the 99.9th percentile, in ms, and how often the journal was folded."""
    gc.collect()  # of the round before
    strategy = every(items=EVERY) if saved else every(hours=9)
    with (
        tempfile.TemporaryDirectory(dir=".") as directory,
        checkpointed("bench", strategy, store=directory) as cp,
    ):
        cp.mapping("files").update((f"src/file_{n}.js", record(n)) for n in range(known))
        cp.save()
        snapshot, folds = Path(directory) / ".checkpoint_bench.json", 0
        before = snapshot.stat().st_ino
        pauses = sorted(loop(cp, items, known))
        folds = int(snapshot.stat().st_ino != before)
        cp.finalize()
    return pauses[-1], pauses[int(len(pauses) * 0.999)], folds


def row(known: int, items: int, saved: bool, rounds: int) -> None:
    took = [measure(known, items, saved) for _ in range(rounds)]
    longest, high = (statistics.median(column) for column in list(zip(*took, strict=True))[:2])
    folded = sum(folds for _, _, folds in took)
    what = f"saved each {EVERY:,}" if saved else "not saved"
    print(
        f"{known:>9,} {items:>9,} {what:>18} {longest:>12.2f} {max(t[0] for t in took):>9.2f} {high:>9.3f} {folded:>7}"
    )


def main() -> None:
    print(f"{'entries':>9} {'items':>9} {'':>18} {'longest ms':>12} {'worst':>9} {'p99.9 ms':>9} {'folded':>7}")
    for saved in (False, True):
        row(100_000, 150_000, saved, ROUNDS)
    if "--quick" not in sys.argv:
        for saved in (False, True):
            row(1_000_000, 1_200_000, saved, 1)


if __name__ == "__main__":
    main()
