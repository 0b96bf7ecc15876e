"""What a save of 100 changed entries costs beside a bare append of its bytes: ``python -m tests.bench.bench_saves``.

``cp.save()`` waits for the disk, as the append does (write and fdatasync); the save at a ``cp.tick()`` holds the loop
up for as long as it takes to gather what changed. In turns with the append, on the same disk; medians. Once in a row,
once after 5 ms of other work each, which takes the processor's caches. A mapping of 1e3 to 1e6 records.
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


def measure(size: int, directory: Path, way: str, pause: float) -> tuple[float, float]:
    """Seconds that a save takes in one *way*, and a bare append."""
    saves, appends = [], []
    bare = os.open(directory / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with checkpointed(f"bench-{size}", every(items=CHANGED), store=directory) as cp:
        files = cp.mapping("files")
        files.update({f"src/dir{n % 100}/file_{n}.js": record(n) for n in range(size)})
        cp.save()
        keys = list(files)
        save = cp.save if way == "save" else lambda: cp.tick(CHANGED)
        for round_ in range(ROUNDS):
            for n in range(CHANGED):
                files[keys[(round_ * CHANGED + n * 7919) % size]] = record(size + n)
            work_for(pause)
            began = time.perf_counter()
            save()
            saves.append(time.perf_counter() - began)
            work_for(pause)
            began = time.perf_counter()
            os.write(bare, LINE)
            os.fdatasync(bare)
            appends.append(time.perf_counter() - began)
        cp.finalize()
    os.close(bare)
    gc.collect()
    return statistics.median(saves), statistics.median(appends)


def main() -> None:
    print(f"{'entries':>9} {'way':>6} {'work ms':>8} {'append ms':>10} {'save ms':>8} {'ratio':>6}")
    for size in [int(float(text)) for text in sys.argv[1:]] or [1_000, 10_000, 100_000, 1_000_000]:
        for way, pause in (("save", 0), ("save", 0.005), ("tick", 0.005)):
            with tempfile.TemporaryDirectory(dir=".") as directory:
                save, append = measure(size, Path(directory), way, pause)
            times = f"{pause * 1e3:>8.0f} {append * 1e3:>10.3f} {save * 1e3:>8.3f} {save / append:>6.2f}"
            print(f"{size:>9,} {way:>6} {times}", flush=True)


if __name__ == "__main__":
    main()
