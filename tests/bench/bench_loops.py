"""Many small loops beside one large one: what they cost, and how many bytes are kept of them.

Run it: ``python -m tests.bench.bench_loops``, or with names of programs. Each is a whole block: opened, run, closed.
Run it on a quiet machine: elsewhere the one loop waits for the disk and for its turn, and the ratios look better than
they are. Small loops in items take 3.2 to 3.7 times as long as the one loop, those that are left early 4.7 times, those
by key 3.4 times as long as one loop by key.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resumable import checkpointed, every

LOOPS, ITEMS = 4_000, (1, 2, 3)
MOST = 3
STRATEGIES: dict[str, tuple[int, Any]] = {
    "default": (5, None),
    "every(items=100)": (3, every(items=100)),
    "every(items=1)": (1, every(items=1)),
}


def one(cp: Any) -> None:
    for _ in cp.remaining(range(LOOPS * len(ITEMS))):
        pass


def sequence(cp: Any) -> None:
    for _ in range(LOOPS):
        for _ in cp.remaining(ITEMS):
            pass


def nested(cp: Any) -> None:
    for _ in cp.remaining(range(LOOPS)):
        for _ in cp.remaining(ITEMS):
            pass


def by_key(cp: Any) -> None:
    for _ in cp.remaining(range(LOOPS), key=int):
        for _ in cp.remaining(ITEMS, key=int):
            pass


def named(cp: Any) -> None:
    for _ in cp.remaining(range(LOOPS), name="outer"):
        for _ in cp.remaining(ITEMS, name="inner"):
            pass


def in_functions(cp: Any) -> None:
    def work() -> None:
        for _ in cp.remaining(ITEMS):
            pass

    for _ in range(LOOPS):
        work()


def in_a_map(cp: Any) -> None:
    for _ in cp.map(abs, range(LOOPS)):
        for _ in cp.remaining(ITEMS):
            pass


def left(cp: Any) -> None:
    for _ in range(LOOPS):
        for item in cp.remaining(ITEMS):
            if item == 3:
                break


def several(cp: Any) -> None:
    for _ in cp.remaining(range(LOOPS // 4)):
        for _ in range(4):
            for _ in cp.remaining(ITEMS):
                pass


def of_records(cp: Any) -> None:
    for number in range(LOOPS):
        for _ in cp.remaining([{"id": number}, {"id": 2}, {"id": 3}]):
            pass


def never_begun(cp: Any) -> None:
    for _ in range(LOOPS):
        cp.remaining(ITEMS)


PROGRAMS = [sequence, nested, by_key, named, in_functions, in_a_map, left, several, of_records, never_begun]


async def one_async(cp: Any) -> None:
    async for _ in cp.remaining(range(LOOPS * len(ITEMS))):
        pass


async def nested_async(cp: Any) -> None:
    async for _ in cp.remaining(range(LOOPS)):
        async for _ in cp.remaining(ITEMS):
            pass


def seconds(program: Callable[[Any], Any], strategy: Any) -> tuple[float, int]:
    """How long one block takes, and how many bytes it leaves."""

    async def block() -> None:
        async with checkpointed("bench", strategy, store=directory, auto_cleanup=False) as cp:
            await program(cp)

    with tempfile.TemporaryDirectory() as directory:
        gc.collect()
        began = time.perf_counter()
        if asyncio.iscoroutinefunction(program):
            asyncio.run(block())
        else:
            with checkpointed("bench", strategy, store=directory, auto_cleanup=False) as cp:
                program(cp)
        took = time.perf_counter() - began
        return took, sum(path.stat().st_size for path in Path(directory).iterdir() if path.is_file())


def main(names: list[str]) -> int:
    logging.disable()
    programs = [program for program in PROGRAMS if not names or program.__name__ in names]
    is_good = True
    print(
        f"{'strategy':<18} {'program':<14} {'one loop ms':>11} {'small ms':>9} {'us a loop':>9} "
        f"{'ratio':>6} {'bytes':>7}"
    )
    for name, (rounds, strategy) in STRATEGIES.items():
        for base, kinds in ((one, programs), (one_async, [] if names else [nested_async])):
            seen: dict[Any, list[tuple[float, int]]] = {}
            for _ in range(rounds + 1):  # the first one loads modules
                for program in (base, *kinds):
                    seen.setdefault(program, []).append(seconds(program, strategy))
            best = {program: min(took for took, _ in times[1:]) for program, times in seen.items()}
            for program in kinds:
                ratio, us = best[program] / best[base], (best[program] - best[base]) / LOOPS * 1e6
                is_good &= ratio <= MOST
                left_bytes = seen[program][-1][1]
                print(
                    f"{name:<18} {program.__name__:<14} {best[base] * 1e3:11.1f} {best[program] * 1e3:9.1f} {us:9.1f} "
                    f"{ratio:6.1f} {left_bytes:7,}"
                )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
