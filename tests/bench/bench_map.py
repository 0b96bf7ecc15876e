"""What ``map`` costs: no-op items against the same engine's bare use with the same window, and the done set at 1e9.

Run it: ``python -m tests.bench.bench_map [ENGINE ...]``. It prints two tables and ends with 1 if a target is missed.
Both ways take turns; the ratio is the median of the rounds' ratios, as others use the machine, too.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from resumable import checkpointed, every
from resumable._loops.ledgers.out_of_order import OutOfOrderLedger
from resumable._loops.map.executors import adapted
from resumable._loops.map.map_loop import map_loop
from tests.faults.map_job import engine
from tests.support.loops import FakeOwner

WINDOW = 64
ROUNDS = 7
# engine: (items, a task, most that is allowed)
TARGETS = {
    "threads": (100_000, 1, 1.1),
    "processes": (8_000, 1, 1.1),
    "loky": (6_000, 1, 1.1),
    "asyncio": (60_000, 1, 1.2),
    "dask": (1_000, 1, 1.5),
    "dask, 256 a task": (60_000, 256, 1.3),
    "ray": (2_000, 1, 1.5),
    "ray, 256 a task": (150_000, 256, 3.0),
}


def work(number: int) -> int:
    return number


def many(numbers: list[int]) -> list[int]:
    return [work(number) for number in numbers]


async def work_async(number: int) -> int:
    return number


def bare(executor: Any, items: int, batch: int) -> None:
    """A window over ``submit``, as a careful user writes it."""
    ended: SimpleQueue[Future[Any]] = SimpleQueue()
    tasks: Iterator[Any] = iter(range(items)) if batch == 1 else _batches(items, batch)
    fn = work if batch == 1 else many
    out = count = 0
    for task in tasks:
        future = executor.submit(fn, task)
        future.add_done_callback(ended.put)
        out += 1
        if out == WINDOW:
            count += _count(ended.get().result())
            out -= 1
    for _ in range(out):
        count += _count(ended.get().result())
    assert count == items


def _batches(items: int, batch: int) -> Iterator[list[int]]:
    for first in range(0, items, batch):
        yield list(range(first, min(first + batch, items)))


def _count(result: Any) -> int:
    return len(result) if isinstance(result, list) else 1


def own_executor(engine: Any) -> Any:
    """The engine's own; Ray has none."""
    return engine.get_executor(pure=False) if hasattr(engine, "get_executor") else adapted(engine)


def mapped(executor: Any, items: int, batch: int) -> None:
    with tempfile.TemporaryDirectory() as directory, checkpointed("bench", every(seconds=60), store=directory) as cp:
        count = 0
        for _ in cp.map(work, range(items), executor=executor, max_in_flight=WINDOW, batch=batch):
            count += 1
    assert count == items


async def bare_async(items: int) -> None:
    ended: asyncio.Queue[asyncio.Task[int]] = asyncio.Queue()
    out = 0
    for item in range(items):
        task = asyncio.create_task(work_async(item))
        task.add_done_callback(ended.put_nowait)
        out += 1
        if out == WINDOW:
            (await ended.get()).result()
            out -= 1
    for _ in range(out):
        (await ended.get()).result()


async def mapped_async(items: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with checkpointed("bench", every(seconds=60), store=directory) as cp:
            count = 0
            async for _ in cp.amap(work_async, range(items), max_in_flight=WINDOW):
                count += 1
    assert count == items


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compare(name: str) -> tuple[float, float, float]:
    """Items a second, bare and mapped, and the ratio of their times."""
    items, batch, _ = TARGETS[name]
    with ExitStack() as stack:
        if name == "asyncio":
            ways = [lambda: asyncio.run(bare_async(items)), lambda: asyncio.run(mapped_async(items))]
        else:
            given = engine(name.split(",")[0], stack)
            # One pool for both, warm.
            executor = stack.enter_context(given()) if name in ("threads", "processes", "loky") else given
            ways = [partial(bare, own_executor(executor), items, batch), partial(mapped, executor, items, batch)]
        for way in ways:
            way()
        times = [[seconds(way) for way in ways] for _ in range(ROUNDS)]
    ratio = statistics.median(ours / theirs for theirs, ours in times)
    return *(items / statistics.median(one) for one in zip(*times, strict=True)), ratio


def done_set(in_flight: int, items: int = 1_000_000_000) -> tuple[int, float]:
    """Bytes of the saved form, and milliseconds of a save, near the end of many items: ended at random in a window."""
    start = items - 4 * in_flight
    saved = {"by": "scattered", "head": start, "handed": start}
    loop = map_loop(range(items), FakeOwner(), name="loop-1", saved=saved)
    chance = random.Random(5)
    out: list[int] = []
    for key, _ in loop.to_do():
        out.append(int(key))
        if len(out) == in_flight:
            last = chance.randrange(in_flight)
            out[last], out[-1] = out[-1], out[last]
            loop.finish(out.pop())
        if int(key) == items - in_flight:
            break
    form = loop.to_dict()
    assert OutOfOrderLedger("bench", saved=json.loads(json.dumps(form))).missing
    return len(json.dumps(form, separators=(",", ":"))), _save_milliseconds(loop)


def _save_milliseconds(loop: Any) -> float:
    """With a checkpoint's own save, to the disk; the median of some."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory, checkpointed("bench", store=directory) as cp:
        cp._operation.parts.loops.begin("map", lambda name, saved: loop)
        cp.save()
        times = []
        for key in OutOfOrderLedger("bench", saved=loop.to_dict()).missing[:15]:
            loop.finish(key)
            times.append(seconds(cp.save))
        cp.finalize()
    return 1000 * statistics.median(times)


def main(names: list[str]) -> int:
    is_met = True
    print(f"{'engine':20} {'bare/s':>9} {'map/s':>9} {'ratio':>6} {'most':>5}")
    for name in names:
        most = TARGETS[name][2]
        theirs, ours, ratio = compare(name)
        is_met &= ratio <= most
        print(f"{name:20} {theirs:9,.0f} {ours:9,.0f} {ratio:6.2f} {most:5.1f}", flush=True)
    print(f"\n{'1e9 items, in flight':20} {'bytes':>9} {'save, ms':>9}")
    for in_flight in (100, 1_000, 10_000):
        size, milliseconds = done_set(in_flight)
        is_met &= size < 1_000_000 and milliseconds < 10
        print(f"{in_flight:20,} {size:9,} {milliseconds:9.2f}")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(TARGETS)))
