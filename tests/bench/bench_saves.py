"""What a save of 100 changed entries costs beside a bare append of its bytes: ``python -m tests.bench.bench_saves``.

``cp.save()`` waits for the disk, as the append does (write and fdatasync); the save at a ``cp.tick()`` holds the loop
up for as long as it takes to gather what changed. All in turns, on the same disk; medians. A mapping of 1e3 to 1e6
records.
"""

from __future__ import annotations

import gc
import hashlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from resumable import checkpointed, every

ROUNDS = 90
CHANGED = 100
LINE = b"x" * 21_000
"""As long as the journal line of such a save."""


def record(number: int) -> dict[str, object]:
    sha = hashlib.sha1(str(number).encode()).hexdigest()
    return {"sha": sha, "size": number, "url": f"https://api.github.com/repos/prebid/Prebid.js/git/blobs/{sha}"}


def work_for(seconds: float) -> None:
    """Be busy, as a loop is."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        record(0)


def measure(size: int, directory: Path) -> dict[str, list[float]]:
    """Seconds of each save, of each tick that saves, and of each bare append."""
    took: dict[str, list[float]] = {"save": [], "tick": [], "append": []}
    bare = os.open(directory / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with checkpointed(f"bench-{size}", every(items=CHANGED), store=directory) as cp:
        files = cp.mapping("files")
        files.update({f"src/dir{n % 100}/file_{n}.js": record(n) for n in range(size)})
        cp.save()
        keys = list(files)

        def append() -> None:
            os.write(bare, LINE)
            os.fdatasync(bare)

        works = {"save": cp.save, "tick": lambda: cp.tick(CHANGED), "append": append}
        for round_ in range(ROUNDS):
            # Whichever comes second finds the disk awake: they take turns.
            for name in [*works, *works][round_ % 3 : round_ % 3 + 3]:
                for n in range(CHANGED if name != "append" else 0):
                    files[keys[(round_ * CHANGED + n * 7919) % size]] = record(size + n)
                began = time.perf_counter()
                works[name]()
                took[name].append(time.perf_counter() - began)
                work_for(0.005)  # what was sent lands meanwhile
        cp.finalize()
    os.close(bare)
    return took


def main() -> None:
    print(f"{'entries':>9} {'append ms':>10} {'save() ms':>10} {'ratio':>7} {'tick() ms':>10} {'ratio':>7}")
    for size in [int(float(text)) for text in sys.argv[1:]] or [1_000, 10_000, 100_000, 1_000_000]:
        with tempfile.TemporaryDirectory(dir=".") as directory:
            took = measure(size, Path(directory))
        save, tick, append = (statistics.median(took[name]) * 1e3 for name in ("save", "tick", "append"))
        print(
            f"{size:>9,} {append:>10.3f} {save:>10.3f} {save / append:>7.2f} {tick:>10.3f} {tick / append:>7.2f}",
            flush=True,
        )
        gc.collect()


if __name__ == "__main__":
    main()
