"""What a save of 100 changed entries costs beside a bare append of its bytes: ``python -m tests.bench.bench_saves``.

Both in alternating rounds, on the same disk; medians. A mapping of 1e3 to 1e6 records.
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

ROUNDS = 60
CHANGED = 100
LINE = b"x" * 21_000
"""As long as the journal line of such a save."""


def record(number: int) -> dict[str, object]:
    sha = hashlib.sha1(str(number).encode()).hexdigest()
    return {"sha": sha, "size": number, "url": f"https://api.github.com/repos/prebid/Prebid.js/git/blobs/{sha}"}


def measure(size: int, directory: Path) -> tuple[float, float, float]:
    """Medians of a save and of a bare append, in ms, and the longest save."""
    saves: list[float] = []
    appends: list[float] = []
    bare = os.open(directory / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with checkpointed(f"bench-{size}", every(hours=9), store=directory) as cp:
        files = cp.mapping("files")
        files.update({f"src/dir{n % 100}/file_{n}.js": record(n) for n in range(size)})
        cp.save()
        keys = list(files)
        for round_ in range(ROUNDS):
            for n in range(CHANGED):
                files[keys[(round_ * CHANGED + n * 7919) % size]] = record(size + n)
            # Whichever comes second finds the disk awake: they take turns.
            for is_save in (round_ % 2 == 0, round_ % 2 == 1):
                began = time.perf_counter()
                if is_save:
                    cp.save()
                else:
                    os.write(bare, LINE)
                    os.fdatasync(bare)
                (saves if is_save else appends).append(time.perf_counter() - began)
        cp.finalize()
    os.close(bare)
    return statistics.median(saves) * 1e3, statistics.median(appends) * 1e3, max(saves) * 1e3


def main() -> None:
    print(f"{'entries':>9} {'save ms':>9} {'append ms':>10} {'ratio':>7} {'longest':>9}")
    for size in [int(float(text)) for text in sys.argv[1:]] or [1_000, 10_000, 100_000, 1_000_000]:
        with tempfile.TemporaryDirectory(dir=".") as directory:
            save, append, longest = measure(size, Path(directory))
        print(f"{size:>9,} {save:>9.3f} {append:>10.3f} {save / append:>7.2f} {longest:>9.1f}")
        gc.collect()


if __name__ == "__main__":
    main()
