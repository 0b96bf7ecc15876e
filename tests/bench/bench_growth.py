"""How the cost of a whole loop grows with its items: ``python -m tests.bench.bench_growth``.

A loop of 1e4 to 1e6 items, each a record in a mapping, to be saved each 1,000 items, beside the specification's way:
the whole document by ``json.dump(indent=2)``. Then what a resume of the largest costs beside decoding its bytes, and
what memory a save of it takes.
"""

from __future__ import annotations

import gc
import json
import math
import os
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec

from resumable import checkpointed, every

from .bench_saves import record

EVERY = 1000
SIZES = (10_000, 100_000, 1_000_000)


def ours(items: int, directory: Path) -> tuple[float, int]:
    """Seconds, and how many saves were made."""
    began = time.perf_counter()
    with checkpointed(f"bench-{items}", every(items=EVERY), store=directory, auto_cleanup=False) as cp:
        files = cp.mapping("files")
        for number in range(items):
            files[f"src/dir{number % 100}/file_{number}.js"] = record(number)
            cp.tick()
    return time.perf_counter() - began, cp.metadata.save_count


def specification(items: int, directory: Path) -> float:
    began = time.perf_counter()
    files: dict[str, Any] = {}
    for number in range(items):
        files[f"src/dir{number % 100}/file_{number}.js"] = record(number)
        if number % EVERY == EVERY - 1:
            with open(directory / "bare.json", "w") as file:
                json.dump({"version": "2.0", "state": {"files": files}, "metadata": {}}, file, indent=2)
    return time.perf_counter() - began


def bench_loop(directory: Path) -> None:
    print(f"{'items':>9} {'ours s':>8} {'specification s':>16} {'times faster':>13} {'exponent':>9} {'saves':>6}")
    before: tuple[int, float] | None = None
    for size in SIZES:
        gc.collect()
        took, saves = ours(size, directory)
        bare = specification(size, directory) if size <= 100_000 else math.nan
        exponent = math.log(took / before[1]) / math.log(size / before[0]) if before else math.nan
        print(f"{size:>9,} {took:>8.2f} {bare:>16.2f} {bare / took:>13.1f} {exponent:>9.2f} {saves:>6,}")
        before = size, took


def bench_resume(size: int, directory: Path) -> None:
    """Decoding is measured with the collector off, as msgspec itself would like it best."""
    store = directory / "resume"
    with checkpointed("bench", every(hours=9), store=store, auto_cleanup=False) as cp:
        cp.mapping("files").update((f"src/dir{n % 100}/file_{n}.js", record(n)) for n in range(size))
    raw = (store / ".checkpoint_bench.json").read_bytes()
    decodes, resumes = [], []
    for _ in range(3):
        gc.collect()
        gc.disable()
        began = time.perf_counter()
        value = msgspec.json.decode(raw)
        decodes.append(time.perf_counter() - began)
        gc.enable()
        del value
        gc.collect()
        began = time.perf_counter()
        with checkpointed("bench", every(hours=9), store=store, auto_cleanup=False) as cp:
            assert len(cp.mapping("files")) == size
            resumes.append(time.perf_counter() - began)
        del cp
    decode, resume = statistics.median(decodes), statistics.median(resumes)
    print(f"\nresume of {size:,}: {resume:.2f} s, msgspec.json.decode of the same bytes {decode:.2f} s, "
          f"ratio {resume / decode:.2f}")  # fmt: skip


def bench_memory(size: int, directory: Path) -> None:
    before = _resident()
    with checkpointed("memory", every(hours=9), store=directory) as cp:
        cp.mapping("files").update((f"src/dir{n % 100}/file_{n}.js", record(n)) for n in range(size))
        own = _resident() - before
        cp.save()
        for number in range(1000):
            cp.mapping("files")[f"new/{number}"] = record(number)
        tracemalloc.start()
        cp.save()
        journal = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        # Every entry anew, so that the save writes all of it.
        cp._operation.writer._must_write_all = True  # pyright: ignore[reportPrivateUsage]
        cp.save()
        whole = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        cp.finalize()
    print(f"memory of {size:,}: {own / 1e6:.0f} MB; a save of 1,000 adds {journal / 1e6:.2f} MB, "
          f"a save of everything {whole / 1e6:.1f} MB ({whole / own:.1%})")  # fmt: skip


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    with tempfile.TemporaryDirectory(dir=".") as name:
        bench_loop(Path(name))
    for bench in (bench_memory, bench_resume):
        with tempfile.TemporaryDirectory(dir=".") as name:
            gc.collect()
            bench(SIZES[-1], Path(name))


if __name__ == "__main__":
    main()
