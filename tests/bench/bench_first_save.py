"""The first save of many new records, beside writing them by hand, and how long the loop stands still for it.

Run it: ``python -m tests.bench.bench_first_save [records]``. It ends with 1 if a target is missed.

By hand: msgspec (orjson where it is installed) encodes all records; they are written to a new file, which is synced,
renamed, and its directory synced. The save is ``cp.save()``, which waits for the disk. Standing still is the longest
time between two items of a loop around the save of a strategy. All take turns, of which the shortest counts.

Of a plain state, everything must be encoded at one instant, so no save can make the loop stand still for less than
encoding by hand does: the last column. For it, the target is three times that, or 40 ms.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from resumable import checkpointed, every

ROUNDS = 5
MOST, MOST_STILL_MS = 3, 40
KINDS = ("mapping", "state", "log")
encode: Callable[[Any], bytes] = (
    importlib.import_module("orjson").dumps if importlib.util.find_spec("orjson") else msgspec.json.encode
)


def records(count: int) -> dict[str, Any]:
    return {
        f"k{n}": {"path": f"src/dir{n % 97}/file{n}.py", "sha": f"{n * 2654435761:040x}", "size": n, "ok": True}
        for n in range(count)
    }


def by_hand(directory: Path, count: int) -> tuple[float, float]:
    """Seconds that it takes, and how many of them are spent encoding."""
    made = records(count)
    gc.collect()
    began = time.perf_counter()
    with open(directory / "new", "wb") as file:
        encoded = encode(made)
        encoding = time.perf_counter() - began
        file.write(encoded)
        file.flush()
        os.fsync(file.fileno())
    os.replace(directory / "new", directory / "file")
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return time.perf_counter() - began, encoding


def fill(cp: Any, kind: str, count: int) -> None:
    made = records(count)
    if kind == "mapping":
        cp.mapping("m").update(made)
    elif kind == "log":
        cp.log("m").extend(made.values())
    else:
        cp.state["m"] = made
    del made
    gc.collect()


def first_save(directory: Path, kind: str, count: int) -> float:
    with checkpointed("bench", every(hours=1), store=directory) as cp:
        fill(cp, kind, count)
        began = time.perf_counter()
        cp.save()
        return time.perf_counter() - began


def stands_still(directory: Path, kind: str, count: int) -> float:
    longest, before = 0.0, None
    with checkpointed("bench", every(items=5), store=directory) as cp:
        for item in cp.remaining(range(40)):
            now = time.perf_counter()
            longest = longest if before is None else max(longest, now - before)
            before = None
            if item == 5:
                fill(cp, kind, count)
            if item >= 5:
                time.sleep(0.01)
                before = time.perf_counter()
    return longest


def main(counts: list[str]) -> int:
    logging.disable()
    is_good = True
    print(f"{'records':>9} {'kind':<8} {'by hand ms':>10} {'save ms':>8} {'ratio':>6} {'still ms':>9} {'encode':>7}")
    for count in [int(float(text)) for text in counts] or [100_000]:
        for kind in KINDS:
            hand = encoding = save = still = 1e9
            for _ in range(ROUNDS):
                with tempfile.TemporaryDirectory(dir=".") as directory:
                    hand, encoding = map(min, (hand, encoding), by_hand(Path(directory), count))
                    save = min(save, first_save(Path(directory), kind, count))
                    still = min(still, stands_still(Path(directory), kind, count))
            most_still = max(MOST_STILL_MS / 1e3, MOST * encoding if kind == "state" else 0)
            is_good &= save <= MOST * hand and still <= most_still
            text = f"{count:>9,} {kind:<8} {hand * 1e3:10.1f} {save * 1e3:8.1f} {save / hand:6.2f}"
            print(f"{text} {still * 1e3:9.1f} {encoding * 1e3:7.1f}", flush=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
