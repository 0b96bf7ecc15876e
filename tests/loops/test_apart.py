"""Loops that run at the same time, each in a thread or task: what their unfinished items wrote is there once."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every

Stop = Callable[[], None]


class StopError(Exception):
    pass


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened() -> Any:
    return checkpointed("job", every(items=1), store="ck")


class Written:
    """A sink, a log, a set and a mapping that count each item."""

    def __init__(self, cp: Any, sink: Any) -> None:
        self.sink, self.log, self.seen, self.counts = sink, cp.log("log"), cp.set("seen"), cp.mapping("counts")

    def note(self, row: str) -> None:
        self.sink.write(f"{row}\n")
        self.log.append(row)
        self.seen.add(row)
        self.counts[row[0]] = self.counts.get(row[0], 0) + 1

    def check(self, rows: list[str]) -> None:
        self.sink.flush()
        assert sorted(Path("rows.txt").read_text().split("\n")[:-1]) == sorted(self.log) == sorted(rows)
        assert self.seen == set(rows)
        assert self.counts == {name: sum(row[0] == name for row in rows) for name in {row[0] for row in rows}}


async def tasks(stop: Stop) -> None:
    async with opened() as cp:
        written = Written(cp, await cp.sink("rows.txt"))

        async def work(name: str) -> None:
            async for item in cp.remaining(range(4), name=name):
                written.note(f"{name}{item}")
                await asyncio.sleep(0)
                stop()

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(work(name))
        written.check([f"{name}{item}" for name in "abc" for item in range(4)])


async def nested_tasks(stop: Stop) -> None:
    async with opened() as cp:
        written = Written(cp, await cp.sink("rows.txt"))

        async def work(name: str) -> None:
            async for item in cp.remaining(range(2), name=name):
                written.sink.write(f"{name}# {item}\n")
                await asyncio.sleep(0)
                async for inner in cp.remaining(range(2), name=f"{name} inner"):
                    written.note(f"{name}{item}{inner}")
                    await asyncio.sleep(0)
                    stop()

        await asyncio.gather(*map(work, "ab"))
        rows = Path("rows.txt")
        written.sink.flush()
        kept = [row for row in rows.read_text().splitlines() if "#" not in row]
        assert sorted(kept) == sorted(written.log) == [f"{a}{i}{n}" for a in "ab" for i in (0, 1) for n in (0, 1)]
        assert sorted(set(rows.read_text().split("\n"))) == sorted(rows.read_text().split("\n"))


async def tasks_with_maps(stop: Stop) -> None:
    async with opened() as cp:
        written = Written(cp, await cp.sink("rows.txt"))

        async def fetch(row: str) -> str:
            await asyncio.sleep(0)
            return row

        async def work(name: str) -> None:
            async for _, row in cp.amap(fetch, [f"{name}{item}" for item in range(4)], name=name):
                written.note(row)
                await asyncio.sleep(0)
                stop()

        await asyncio.gather(*map(work, "ab"))
        written.check([f"{name}{item}" for name in "ab" for item in range(4)])


async def threads(stop: Stop) -> None:
    with opened() as cp:
        written, turn = Written(cp, cp.sink("rows.txt")), threading.Lock()

        def work(name: str) -> None:
            for item in cp.remaining(range(4), name=name):
                with turn:
                    written.note(f"{name}{item}")
                stop()

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, "abc"))
        written.check([f"{name}{item}" for name in "abc" for item in range(4)])


@pytest.mark.parametrize("job", [tasks, nested_tasks, tasks_with_maps, threads])
def test_each_item_is_there_once_after_an_error_in_any_of_them(job: Callable[[Stop], Any]) -> None:
    for at in (1, 2, 3):
        count = itertools.count(1)

        def stop(at: int = at, count: Any = count) -> None:
            if next(count) == at:
                raise StopError

        with pytest.raises((StopError, ExceptionGroup)):
            asyncio.run(job(stop))
    asyncio.run(job(lambda: None))


def test_what_a_task_wrote_before_it_broke_off_counts_where_nothing_is_left_to_do() -> None:
    async def job() -> None:
        async with opened() as cp:
            sink = await cp.sink("rows.txt")

            async def work() -> None:
                async for item in cp.remaining(range(9), name="nine"):
                    sink.write(f"{item}\n")
                    if item == 2:
                        break

            await asyncio.create_task(work())
            cp.finalize()

    asyncio.run(job())
    assert Path("rows.txt").read_text().split() == ["0", "1", "2"]


# -- rows around loops ------------------------------------------------------------------------------------------------


async def tasks_with_rows_around(stop: Stop) -> None:
    async def work(name: str) -> None:
        rows.write(f"begin {name}\n")
        stop()
        async for item in cp.remaining(range(3), name=name):
            rows.write(f"{name}{item}\n")
            await asyncio.sleep(0)
            stop()
        rows.write(f"end {name}\n")
        stop()

    async with opened() as cp:
        rows = await cp.sink("rows.txt")
        await asyncio.gather(work("x"), work("y"))


def threads_with_rows_around(stop: Stop) -> None:
    """One thread writes its first row, another does all its items, and only then the first one begins its loop."""
    has_begun, is_through = threading.Event(), threading.Event()

    def slow() -> None:
        rows.write("begin y\n")
        has_begun.set()
        is_through.wait()
        work("y")

    def quick() -> None:
        has_begun.wait()
        try:
            rows.write("begin x\n")
            work("x")
        finally:
            is_through.set()

    def work(name: str) -> None:
        stop()
        for item in cp.remaining(range(3), name=name):
            rows.write(f"{name}{item}\n")
            stop()
        rows.write(f"end {name}\n")
        stop()

    with opened() as cp, ThreadPoolExecutor(2) as pool:
        rows = cp.sink("rows.txt")
        for future in [pool.submit(slow), pool.submit(quick)]:
            future.result()


@pytest.mark.parametrize("job", [tasks_with_rows_around, threads_with_rows_around])
@pytest.mark.parametrize("at", range(1, 11))
def test_rows_around_loops_are_there_once_whichever_thread_or_task_fails(job: Callable[[Stop], Any], at: int) -> None:
    def run(at: int | None) -> None:
        left = itertools.count(1)

        def stop() -> None:
            if next(left) == at:
                raise StopError

        asyncio.run(job(stop)) if asyncio.iscoroutinefunction(job) else job(stop)

    with pytest.raises(StopError):
        run(at)
    run(None)

    rows = Path("rows.txt").read_text().splitlines()
    assert sorted(rows) == sorted(row for n in "xy" for row in (f"begin {n}", f"{n}0", f"{n}1", f"{n}2", f"end {n}"))


def test_a_loop_of_the_main_thread_beside_that_of_another_one_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """What the main thread's unfinished item has written would count as soon as an item of the other one ends."""
    written, is_through = threading.Event(), threading.Event()

    def beside() -> None:
        for item in cp.remaining(range(3), name="beside"):
            written.wait()
            rows.write(f"b{item}\n")
        is_through.set()

    caplog.set_level(logging.WARNING, logger="resumable")
    with opened() as cp, ThreadPoolExecutor(1) as pool:
        rows = cp.sink("rows.txt")
        future = pool.submit(beside)
        for item in cp.remaining(range(3), name="main"):
            rows.write(f"m{item}\n")
            written.set()
            is_through.wait()
        future.result()

    assert sorted(rows.path.read_text().split()) == ["b0", "b1", "b2", "m0", "m1", "m2"]
    (told,) = [text for text in caplog.messages if "signals" not in text]
    assert told.startswith("job: a loop runs in the thread or task that opened the checkpoint")


def test_loops_of_threads_inside_of_an_item_are_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    def inside(name: str) -> None:
        for item in cp.remaining(range(3)):
            rows.write(f"{name}{item}\n")

    caplog.set_level(logging.WARNING, logger="resumable")
    with opened() as cp, ThreadPoolExecutor(1) as pool:
        rows = cp.sink("rows.txt")
        for name in cp.remaining(["x", "y"]):
            rows.write(f"{name}\n")
            pool.submit(inside, name).result()
            rows.write(f"/{name}\n")

    assert rows.path.read_text().split() == ["x", "x0", "x1", "x2", "/x", "y", "y0", "y1", "y2", "/y"]
    assert [text for text in caplog.messages if "signals" not in text] == []
