# ruff: noqa: PT012  # the error is raised in the middle
"""An error in the middle of an item: what it wrote until then does not count, and is there once in the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import tenacity

from resumable import Checkpoint, checkpointed, every
from resumable._durable import sink as sink_module
from tests.support.interrupts import busy_switching
from tests.support.loops import both_ways, stepping

__all__ = ["stepping"]
ITEMS = 12


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(name: str = "job") -> checkpointed:
    return checkpointed(name, every(items=3), store="ck")


class Written:
    """A sink, a log, a set and a mapping that count each item."""

    def __init__(self, cp: Any, sink: Any) -> None:
        self.sink = sink
        self.log, self.seen, self.counts = cp.log("log"), cp.set("seen"), cp.mapping("counts")

    def note(self, item: int) -> None:
        self.sink.write(f"{item}\n")
        self.log.append(item)
        self.seen.add(f"item {item}")
        self.counts["all"] = self.counts.get("all", 0) + 1
        self.counts[f"item {item}"] = {"n": item}

    def check(self, items: int) -> None:
        assert sorted(self.log) == list(range(items))
        assert self.seen == {f"item {n}" for n in range(items)}
        assert self.counts == {"all": items} | {f"item {n}": {"n": n} for n in range(items)}


def rows() -> list[int]:
    return sorted(map(int, Path("rows.txt").read_text().split()))


def plain(cp: Checkpoint, items: Any) -> Iterator[int]:
    yield from cp.remaining(items)


def by_key(cp: Checkpoint, items: Any) -> Iterator[int]:
    yield from cp.remaining(items, str)


def generated(cp: Checkpoint, items: Any) -> Iterator[int]:
    yield from cp.remaining(item for item in items)


def mapped(cp: Checkpoint, items: Any) -> Iterator[int]:
    yield from (item for item, _ in cp.map(str, items))


def nested(cp: Checkpoint, items: Any) -> Iterator[int]:
    for three in cp.remaining([items[n : n + 3] for n in range(0, len(items), 3)]):
        yield from cp.remaining(three)


def run(loop: Callable[..., Iterator[int]], fails_at: int | None, error: type[BaseException] = KeyError) -> None:
    with opened() as cp:
        written = Written(cp, cp.sink("rows.txt"))
        for item in loop(cp, range(ITEMS)):
            written.note(item)
            if item == fails_at:
                raise error(item)
        written.check(ITEMS)


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
@pytest.mark.parametrize("loop", [plain, by_key, generated, mapped, nested])
def test_after_an_error_in_each_item_all_is_there_once(loop: Any, error: type[BaseException]) -> None:
    for item in range(ITEMS):
        with pytest.raises(error):
            run(loop, item, error)
    run(loop, None)

    assert rows() == list(range(ITEMS))


def test_between_ticks_it_counts_from_the_last_tick_on() -> None:
    with pytest.raises(KeyError), opened() as cp:
        written = Written(cp, cp.sink("rows.txt"))
        for item in range(5):
            written.note(item)
            cp.tick()
        written.note(5)
        raise KeyError
    with opened() as cp:
        written = Written(cp, cp.sink("rows.txt"))
        written.check(5)
        for item in range(cp.processed_items, ITEMS):
            written.note(item)
            cp.tick()
        written.check(ITEMS)

    assert rows() == list(range(ITEMS))


def test_an_item_that_fails_in_each_run_is_not_there_twice() -> None:
    for fails in (True, True, True, False):
        with contextlib.suppress(KeyError), opened() as cp:
            written = Written(cp, cp.sink("rows.txt"))
            for item in range(cp.processed_items, 6):
                written.note(item)
                if item == 3 and fails:
                    raise KeyError
                cp.tick()
            written.check(6)

    assert rows() == list(range(6))


@pytest.mark.parametrize("way", ["save", "retry", "closed", "handler", "thread"])
def test_a_save_within_an_item_leaves_out_what_it_wrote(way: str) -> None:
    """The run is cut off right after that save."""
    with contextlib.ExitStack() as stack:
        cp = stack.enter_context(opened())
        written = Written(cp, cp.sink("rows.txt"))
        for item in cp.remaining(range(ITEMS)):
            written.note(item)
            if item == 5:
                save(cp, way, written)
                break
        stack.enter_context(contextlib.suppress(KeyError))
        cp._operation.release()  # as a kill does
        stack.pop_all()
    run(plain, None)

    assert rows() == list(range(ITEMS))


def save(cp: Checkpoint, way: str, written: Written) -> None:
    if way == "retry":
        with contextlib.suppress(tenacity.RetryError):
            for attempt in cp.retrying(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_none()):
                with attempt:
                    raise ConnectionError
    elif way == "handler":
        before = signal.signal(signal.SIGUSR1, lambda *_: cp.save())
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)
    elif way == "thread":
        thread = threading.Thread(target=cp.save)
        thread.start()
        thread.join()
    else:
        if way == "closed":
            written.sink.close()
        cp.save()


def test_a_sink_that_is_closed_and_opened_within_the_item_is_cut_back() -> None:
    with pytest.raises(KeyError), opened() as cp:
        for item in cp.remaining(range(ITEMS)):
            sink = cp.sink("rows.txt")
            written = Written(cp, sink)
            written.note(item)
            sink.close()
            if item == 4:
                cp.sink("rows.txt").write("again\n")
            if item >= 4:
                raise KeyError
    assert rows() == list(range(4))
    run(plain, None)

    assert rows() == list(range(ITEMS))


def test_many_rows_of_one_item_are_cut_off() -> None:
    with pytest.raises(KeyError), opened() as cp:
        sink = cp.sink("rows.txt")
        for item in cp.remaining(range(3)):
            for _ in range(5000 if item else 1):
                sink.write(f"{item} ä and more of the like that fills the buffers of a sink\n")
            if item == 1:
                raise KeyError

    assert Path("rows.txt").read_text().split("\n")[1:] == [""]


def test_a_clean_end_counts_all() -> None:
    with opened() as cp:
        cp.keep()
        for item in cp.remaining(range(3)):
            cp.log("log").append(item)
        cp.log("log").append("end")
    with opened() as cp:
        assert list(cp.log("log")) == [0, 1, 2, "end"]


def test_what_is_written_outside_of_all_items_counts() -> None:
    with pytest.raises(KeyError), opened() as cp:
        for item in cp.remaining(range(3)):
            cp.log("log").append(item)
        cp.log("log").append("end")
        raise KeyError
    with opened() as cp:
        assert list(cp.log("log")) == [0, 1, 2, "end"]


def test_an_error_in_the_source_loses_nothing_of_the_item_before() -> None:
    def source() -> Iterator[int]:
        yield from range(4)
        raise KeyError

    with pytest.raises(KeyError), opened() as cp:
        for item in cp.remaining(source()):
            cp.log("log").append(item)
    with opened() as cp:
        assert list(cp.log("log")) == [0, 1, 2, 3]


@pytest.mark.parametrize("way", ["remaining", "amap"])
@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError])
def test_async(way: str, error: type[BaseException]) -> None:
    async def job(fails_at: int | None) -> None:
        async with opened() as cp:
            written = Written(cp, await cp.sink("rows.txt"))
            async for item in cp.remaining(range(ITEMS)) if way == "remaining" else through(cp):
                written.note(item)
                await asyncio.sleep(0)
                if item == fails_at:
                    raise error
            written.check(ITEMS)

    async def through(cp: Any) -> Any:
        async with contextlib.aclosing(cp.amap(same, range(ITEMS))) as results:
            async for item, _ in results:
                yield item

    async def same(item: int) -> int:
        return item

    for fails_at in (0, 5, ITEMS - 1):
        with pytest.raises(error):
            asyncio.run(job(fails_at))
    asyncio.run(job(None))

    assert rows() == list(range(ITEMS))


def test_the_last_request_for_the_last_item_is_not_waited_for() -> None:
    with checkpointed("job", every(items=1), store="ck", total=3, on_exhausted="raise") as cp:
        for left in (2, 1, 0):
            cp.observe(remaining=left, limit=3, reset_at=time.time() + 3600, resource="core")
            cp.tick()

    assert cp.processed_items == 3


def test_saves_beside_a_loop_hold_the_ends_of_items() -> None:
    """From another thread, at any moment."""
    is_over = threading.Event()
    seen: list[tuple[int, int, int, int]] = []

    with checkpointed("job", every(hours=1), store="ck") as cp:
        cut = cp._operation.parts.cut
        log, counts, members = cp.log("log"), cp.mapping("counts"), cp.set("members")

        def saving() -> None:
            while not is_over.is_set():
                with cut:
                    captured = cut.settle(cp._operation.parts.loops)
                    [place] = captured.places().values() or [{"position": 0}]
                    parts = [part.begin_snapshot() for part in (log, counts, members)]
                    for part in (log, counts, members):
                        part.commit()
                seen.append((place["position"], *map(len, parts)))
                time.sleep(random.random() / 5000)

        thread = threading.Thread(target=saving)
        with busy_switching():
            try:
                for item in cp.remaining(range(20_000)):
                    if item == 1:
                        thread.start()
                    log.append(item)
                    counts[f"a{item}"] = item
                    counts["last"] = item
                    members.add(item)
                    counts[f"b{item}"] = item
            finally:
                is_over.set()
                thread.join()

    assert len(seen) > 3
    assert [(n, n, n, n) for n, *_ in seen] == [(n, log, (count - 1) // 2, s) for n, log, count, s in seen]


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
@pytest.mark.parametrize("on_error", ["raise", "skip", "collect"])
def test_rows_that_workers_write_are_there_once(error: type[BaseException], on_error: Any) -> None:
    """Some items fail after their rows, some bodies do, and workers are half-way when the run ends."""

    def run(fails_at: int | None, retry_failed: bool = False) -> None:
        def work(item: int) -> int:
            log.extend([item, -item])
            rows.write(f"{item}\n")
            if item % 5 == 3 and fails_at is not None:
                raise ValueError(item)
            time.sleep(random.random() / 300)
            log.append(item)
            return item

        with opened() as cp, ThreadPoolExecutor(4) as pool:
            rows, log, got = cp.sink("rows.txt"), cp.log("log"), cp.log("got")
            options: Any = {"on_error": on_error, "retry_failed": retry_failed, "max_in_flight": 6}
            for item, result in cp.map(work, range(40), executor=pool, **options):
                if isinstance(result, ValueError):
                    continue
                got.append(item)
                if item == fails_at:
                    raise error
            if fails_at is None:
                assert sorted(got) == list(range(40))
                assert sorted(map(abs, log)) == sorted([*range(40), *range(40), *range(40)])

    for item in (0, 7, 21):
        with contextlib.suppress(error, ValueError):  # a run before it may have done that item
            run(item)
    run(None, retry_failed=True)

    assert rows() == list(range(40))


def test_a_worker_that_is_inside_a_write_does_not_change_whose_a_row_of_the_body_is() -> None:
    """The worker's call took back the count that belonged to the body's row: in the end that row was there twice."""
    is_inside, may_go_on = threading.Event(), threading.Event()

    def trace(frame: FrameType, event: str, _arg: object) -> None:
        if frame.f_code.co_filename == sink_module.__file__ and frame.f_code.co_name != "write":
            is_inside.set()
            assert may_go_on.wait(60)
            sys.settrace(None)

    def work(item: int) -> int:
        if item:
            sys.settrace(trace)
            rows.write(f"{item}\n")
        else:
            assert is_inside.wait(60)
        return item

    for fails in (True, False):
        if not fails:
            is_inside.set()
        with contextlib.suppress(KeyError), opened() as cp, ThreadPoolExecutor(2) as pool:
            rows = cp.sink("rows.txt")
            for item, _ in cp.map(work, range(2), executor=pool):
                if not item:
                    rows.write("0\n")
                may_go_on.set()
                if fails:
                    raise KeyError

    assert sorted(map(int, Path("rows.txt").read_text().split())) == [0, 1]


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_rows_that_tasks_write_are_there_once(on_error: Any) -> None:
    async def run(fails_at: int | None) -> None:
        async def work(item: int) -> int:
            log.append(item)
            sink.write(f"{item}\n")
            if item % 5 == 3 and fails_at is not None:
                raise ValueError(item)
            await asyncio.sleep(random.random() / 300)
            return item

        async with opened() as cp:
            sink, log, got = await cp.sink("rows.txt"), cp.log("log"), cp.log("got")
            results = cp.amap(work, range(40), on_error=on_error, retry_failed=fails_at is None, max_in_flight=6)
            async with contextlib.aclosing(results):
                async for item, _ in results:
                    got.append(item)
                    if item == fails_at:
                        raise KeyError
            if fails_at is None:
                assert sorted(log) == sorted(got) == list(range(40))

    for item in (0, 7, 21):
        with contextlib.suppress(KeyError, ValueError):
            asyncio.run(run(item))
    asyncio.run(run(None))

    assert rows() == list(range(40))
