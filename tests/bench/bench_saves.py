"""What a save of 100 changed entries costs beside a bare append of its bytes: ``python -m tests.bench.bench_saves``.

``cp.save()`` waits for the disk, as the append does (write and fdatasync); the save at a ``cp.tick()`` holds the loop
up for as long as it takes to gather what changed. "By hand" encodes the changes with msgspec and appends them with a
CRC: the least that any journal does. All in turns, on the same disk; medians. Once in a row, once after 5 ms of other
work each, which takes the processor's caches. A mapping of 1e3 to 1e6 records.
"""

from __future__ import annotations

import gc
import hashlib
import os
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from resumable import checkpointed, every

ROUNDS = 90
CHANGED = 100
LINE = b"x" * 21_000
"""As long as the journal line of such a save."""
encode = msgspec.json.Encoder().encode


def record(number: int) -> dict[str, object]:
    sha = hashlib.sha1(str(number).encode()).hexdigest()
    return {"sha": sha, "size": number, "url": f"https://api.github.com/repos/prebid/Prebid.js/git/blobs/{sha}"}


def work_for(seconds: float) -> None:
    """Be busy, as a loop is."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        record(0)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def by_hand(file: int, changes: dict[str, object]) -> None:
    record = encode({"set": changes})
    append(file, b"%d %08x %b\n" % (len(record), zlib.crc32(record), record))


def append(file: int, line: bytes) -> None:
    os.write(file, line)
    os.fdatasync(file)


def measure(size: int, directory: Path, way: str, pause: float) -> list[float]:
    """The median seconds of a save in one *way*, of one by hand, and of a bare append."""
    took: list[tuple[float, float, float]] = []
    bare, hand = (os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ("bare", "hand"))
    with checkpointed(f"bench-{size}", every(items=CHANGED), store=directory) as cp:
        files = cp.mapping("files")
        files.update({f"src/dir{n % 100}/file_{n}.js": record(n) for n in range(size)})
        cp.save()
        keys = list(files)
        save = cp.save if way == "save" else lambda: cp.tick(CHANGED)
        for round_ in range(ROUNDS):
            changed = [keys[(round_ * CHANGED + n * 7919) % size] for n in range(CHANGED)]
            for key in changed:
                files[key] = record(round_)
            work_for(pause)
            saved = seconds(save)
            changes: dict[str, object] = {key: record(round_) for key in changed}
            work_for(pause)
            written = seconds(lambda changes=changes: by_hand(hand, changes))  # type: ignore[misc]
            work_for(pause)
            took.append((saved, written, seconds(lambda: append(bare, LINE))))
        cp.finalize()
    os.close(bare)
    os.close(hand)
    gc.collect()
    return [statistics.median(column) for column in zip(*took, strict=True)]


def main() -> None:
    print(f"{'entries':>9} {'way':>6} {'work ms':>8} {'append ms':>10} {'save ms':>8} {'ratio':>6} {'by hand':>8}")
    for size in [int(float(text)) for text in sys.argv[1:]] or [1_000, 10_000, 100_000, 1_000_000]:
        for way, pause in (("save", 0), ("save", 0.005), ("tick", 0.005)):
            with tempfile.TemporaryDirectory(dir=".") as directory:
                save, hand, bare = measure(size, Path(directory), way, pause)
            times = f"{pause * 1e3:>8.0f} {bare * 1e3:>10.3f} {save * 1e3:>8.3f} {save / bare:>6.2f}"
            # The thread that writes what a tick sent gets in the way of the one by hand.
            times += f" {hand / bare:>8.2f}" if way == "save" else ""
            print(f"{size:>9,} {way:>6} {times}", flush=True)


if __name__ == "__main__":
    main()
