# pyright: reportPossiblyUnboundVariable=false
# ruff: noqa: PT012  # the stop comes in the middle
"""A stop, or an error, in a map with calls under way: what ends in time is given to the body, and not done again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import loky
import pytest

from resumable import Checkpoint, RunAgain, checkpointed, every
from resumable._engine.operation import Operation
from resumable._runtime import signals
from resumable.testing import MemoryStore

ITEMS = 24
IN_FLIGHT = 4


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@contextlib.contextmanager
def opened(store: Any, **options: Any) -> Iterator[Checkpoint]:
    with checkpointed("pages", every(hours=1), store=store, **options) as cp:
        yield cp


class Work:
    """Notes what ends. The items that are under way together with the *stop_at*-th go on until it has asked to stop."""

    def __init__(self, stop_at: int = 9, ask: Callable[[], None] = lambda: None) -> None:
        self.ended: Counter[int] = Counter()
        self.begun = 0
        self._stop_at, self._ask = stop_at, ask
        self._lock, self.is_asked = threading.Lock(), threading.Event()

    def __call__(self, item: int) -> int:
        with self._lock:
            self.begun += 1
            is_asking = self.begun == self._stop_at
        if is_asking:
            self._ask()
            self.is_asked.set()
        elif self.begun > self._stop_at - IN_FLIGHT:
            self.is_asked.wait(60)
            time.sleep(0.05)
        with self._lock:
            self.ended[item] += 1
        return item * item


def pages_of(cp: Checkpoint, work: Callable[[int], int], executor: Any, **options: Any) -> dict[str, Any]:
    pages = cp.mapping("pages")
    for item, page in cp.map(work, range(ITEMS), executor=executor, max_in_flight=IN_FLIGHT, **options):
        pages[str(item)] = page
    return dict(pages)


def square(item: int) -> int:
    return item * item


def interrupt(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("given", [True, False], ids=["given", "factory"])
@pytest.mark.parametrize(
    ("ask", "error"),
    [
        pytest.param(partial(interrupt, signal.SIGINT), KeyboardInterrupt, id="Ctrl-C"),
        pytest.param(partial(interrupt, signal.SIGTERM), SystemExit, id="SIGTERM"),
        pytest.param(None, SystemExit, id="cp.stop"),
    ],
)
def test_what_is_under_way_in_threads_may_end(ask: Any, error: Any, given: bool, store: MemoryStore) -> None:
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        executor = pool if given else partial(ThreadPoolExecutor, IN_FLIGHT)
        with pytest.raises(error), opened(store) as cp:
            first = Work(ask=ask or cp.stop)
            pages_of(cp, first, executor)
        second = Work(stop_at=10**9)
        with opened(store) as cp:
            pages = pages_of(cp, second, executor)

    assert pages == {str(item): item * item for item in range(ITEMS)}
    assert first.begun < ITEMS
    assert first.ended + second.ended == Counter(range(ITEMS))


def note_and_stop(directory: Path, parent: int, item: int) -> int:
    """One call asks its parent to stop, while others are under way."""
    if item == 6 and not (directory / "asked").exists():
        (directory / "asked").touch()
        os.kill(parent, signal.SIGTERM)
    time.sleep(0.1)
    with (directory / "ended").open("a") as ended:
        ended.write(f"{item}\n")
    return item * item


@pytest.mark.slow
@pytest.mark.parametrize("given", [True, False], ids=["given", "factory"])
@pytest.mark.parametrize("pool", [ProcessPoolExecutor, loky.ProcessPoolExecutor], ids=["processes", "loky"])
def test_what_is_under_way_in_processes_may_end(pool: Any, given: bool, store: MemoryStore, tmp_path: Path) -> None:
    work = partial(note_and_stop, tmp_path, os.getpid())
    with contextlib.ExitStack() as stack:
        executor = stack.enter_context(pool(2)) if given else partial(pool, 2)
        with pytest.raises(SystemExit), opened(store) as cp:
            pages_of(cp, work, executor)
        assert 6 < len((tmp_path / "ended").read_text().split()) < ITEMS
        with opened(store) as cp:
            pages = pages_of(cp, work, executor)

    assert pages == {str(item): item * item for item in range(ITEMS)}
    assert sorted(map(int, (tmp_path / "ended").read_text().split())) == list(range(ITEMS))


class Stuck(Work):
    """What is under way as a stop is asked for ends only once it *may_end*."""

    def __init__(self, ask: Callable[[], None]) -> None:
        super().__init__(ask=ask)
        self.may_end = threading.Event()

    def __call__(self, item: int) -> int:
        page = super().__call__(item)
        if self.is_asked.is_set():
            self.may_end.wait(100)
        return page


def test_after_the_grace_the_rest_is_let_go(store: MemoryStore) -> None:
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        with pytest.raises(SystemExit), opened(store) as cp:
            work = Stuck(cp.stop)
            pages_of(cp, work, pool, grace=0.2)
        work.may_end.set()
    with opened(store) as cp:
        assert 4 <= len(cp.mapping("pages")) <= 8
        cp.keep()


def let_all_end(pool: ThreadPoolExecutor, workers: int) -> None:
    """Wait until all that was given to *pool* has ended, and its end is known."""
    all_here = threading.Barrier(workers + 1, timeout=300)
    for _ in range(workers):
        pool.submit(all_here.wait)
    all_here.wait()


def test_without_any_grace_what_has_ended_is_not_lost(store: MemoryStore) -> None:
    with pytest.raises(SystemExit), opened(store) as cp, ThreadPoolExecutor(IN_FLIGHT) as pool:
        pages = cp.mapping("pages")
        for item, page in cp.map(square, range(ITEMS), executor=pool, max_in_flight=IN_FLIGHT, grace=0):
            if not pages:
                let_all_end(pool, IN_FLIGHT)
                cp.stop()
            pages[str(item)] = page
    with opened(store) as cp:
        assert len(cp.mapping("pages")) == IN_FLIGHT
        cp.keep()


@pytest.mark.parametrize("is_limit", [False, True], ids=["Ctrl-C", "max_runtime"])
@pytest.mark.parametrize("host", ["", "api.example"], ids=["any host", "a named host"])
def test_a_wait_for_a_quota_that_outlasts_the_grace_ends_at_once(host: str, is_limit: bool, store: MemoryStore) -> None:
    """Otherwise the whole grace would pass, for calls that cannot end in it."""
    begun, are_done, limit = time.monotonic(), threading.Event(), 30 if is_limit else None

    def work(item: int) -> int:
        if item >= 4:
            are_done.wait(60)
            cp.observe(remaining=0, limit=100, reset_at=time.time() + 60, host=host)
            if item == 4 and not is_limit:
                threading.Timer(0.1, interrupt, [signal.SIGINT]).start()
            cp.wait_for(host)
        return item

    error = RunAgain if is_limit else KeyboardInterrupt
    with pytest.raises(error), opened(store, max_runtime=limit) as cp, ThreadPoolExecutor(2) as pool:
        pages = cp.mapping("pages")
        for item, page in cp.map(work, range(ITEMS), executor=pool):
            pages[str(item)] = page
            if item == 3:
                are_done.set()
    assert time.monotonic() - begun < 10
    with opened(store, on_exhausted=lambda limit: None) as cp:
        assert set(cp.mapping("pages")) == {"0", "1", "2", "3"}
        assert not cp.failed
        cp.keep()


def test_in_the_grace_after_a_time_limit_the_map_sleeps(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, check_in = [], Operation.check_in

    def counted(self: Operation, **how: Any) -> Any:
        asked.append(time.monotonic())
        return check_in(self, **how)

    monkeypatch.setattr(Operation, "check_in", counted)
    with pytest.raises(RunAgain), opened(store, max_runtime=0.05) as cp, ThreadPoolExecutor(2) as pool:
        for _ in cp.map(lambda item: time.sleep(0.2) or item, range(4), executor=pool, max_in_flight=2):
            pass
    assert len(asked) < 50


def test_the_second_interrupt_ends_at_once(store: MemoryStore) -> None:
    def ask_twice() -> None:
        interrupt(signal.SIGINT)
        while signals.wish.number is None:
            time.sleep(0.01)
        signals.wish.came_at -= 1  # within one second, it is the same wish
        interrupt(signal.SIGINT)

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        work = Stuck(ask_twice)
        with pytest.raises(KeyboardInterrupt), opened(store) as cp:
            pages_of(cp, work, pool, grace=1000)
        work.may_end.set()


def test_a_loop_within_the_body_is_under_way_too(store: MemoryStore) -> None:
    seen = []
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        with pytest.raises(SystemExit), opened(store) as cp:
            work = Work(ask=cp.stop)
            for item, _ in cp.map(work, range(ITEMS), executor=pool, max_in_flight=IN_FLIGHT):
                seen += [(item, part) for part in cp.remaining(range(3))]
        assert work.ended.total() * 3 == len(seen) < ITEMS * 3
        with opened(store) as cp:
            for item, _ in cp.map(square, range(ITEMS), executor=pool, max_in_flight=IN_FLIGHT):
                seen += [(item, part) for part in cp.remaining(range(3))]

    assert sorted(seen) == [(item, part) for item in range(ITEMS) for part in range(3)]


def test_a_loop_within_a_call_is_under_way_too(store: MemoryStore) -> None:
    seen = []

    def work(item: int) -> None:
        if item == 9:
            cp.stop()
        for part in cp.remaining(range(5)):
            time.sleep(0.01)
            seen.append((item, part))

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        with pytest.raises(SystemExit), opened(store) as cp:
            for _ in cp.map(work, range(ITEMS), executor=pool, max_in_flight=IN_FLIGHT):
                pass
        assert len(seen) < ITEMS * 5
        with opened(store) as cp:
            for _ in cp.map(work, [*range(9), 99, *range(10, ITEMS)], executor=pool, max_in_flight=IN_FLIGHT):
                pass

    assert sorted(seen) == [(item, part) for item in range(ITEMS) for part in range(5)]


@pytest.mark.slow
def test_an_error_waits_until_the_body_has_what_has_ended(store: MemoryStore) -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    seen = []
    with pytest.raises(ValueError, match="two"), opened(store) as cp, ThreadPoolExecutor(1) as pool:
        for item, _ in cp.map(work, range(ITEMS), executor=pool, max_in_flight=IN_FLIGHT):
            seen.append(item)
            let_all_end(pool, 1)  # 2 fails meanwhile, and 3 ends

    assert seen == [0, 1, 3, 4]
    with opened(store) as cp, ThreadPoolExecutor(1) as pool:
        assert [item for item, _ in cp.map(square, range(ITEMS), executor=pool)] == [2, *range(5, ITEMS)]


# -- asyncio


class AsyncWork(Work):
    async def __call__(self, item: int) -> int:  # type: ignore[override]
        self.begun += 1
        if self.begun == self._stop_at:
            self._ask()
        await asyncio.sleep(0.02)
        self.ended[item] += 1
        return item * item


async def numbers(blocks_at: int) -> AsyncIterator[int]:
    for number in range(ITEMS):
        if number == blocks_at:
            await asyncio.sleep(60)
        yield number


async def job(store: MemoryStore, work: Any, items: Any = range(ITEMS), **options: Any) -> dict[str, Any]:
    async with checkpointed("pages", every(hours=1), store=store) as cp:
        if options.pop("stops", False):
            work._ask = cp.stop
        pages = cp.mapping("pages")
        async for item, page in cp.amap(work, items, max_in_flight=IN_FLIGHT, **options):
            pages[str(item)] = page
        return dict(pages)


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        pytest.param(partial(interrupt, signal.SIGINT), KeyboardInterrupt, id="Ctrl-C"),
        pytest.param(partial(interrupt, signal.SIGTERM), SystemExit, id="SIGTERM"),
        pytest.param(None, SystemExit, id="cp.stop"),
    ],
)
def test_what_is_under_way_in_tasks_may_end(ask: Any, error: Any, store: MemoryStore) -> None:
    first, second = AsyncWork(ask=ask), AsyncWork(stop_at=10**9)
    with pytest.raises(error):
        asyncio.run(job(store, first, stops=ask is None))
    assert first.begun < ITEMS
    pages = asyncio.run(job(store, second))

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert pages == {str(item): item * item for item in range(ITEMS)}
    assert first.ended + second.ended == Counter(range(ITEMS))


def test_when_all_tasks_wait_for_a_quota_beyond_the_grace_they_are_cancelled(store: MemoryStore) -> None:
    async def run() -> None:
        async with checkpointed("pages", store=store) as cp:

            async def work(item: int) -> int:
                if item == 4:
                    cp.observe(remaining=0, limit=100, reset_at=time.time() + 60)
                    asyncio.get_running_loop().call_later(0.1, interrupt, signal.SIGINT)
                elif item == 5:
                    await asyncio.sleep(0.2)
                    return item
                if item >= 4:
                    await cp.wait_if_exhausted()
                return item

            pages = cp.mapping("pages")
            async for item, page in cp.amap(work, range(ITEMS), max_in_flight=2):
                pages[str(item)] = page

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run())
    assert time.monotonic() - begun < 10
    with opened(store, on_exhausted=lambda limit: None) as cp:
        assert set(cp.mapping("pages")) == {"0", "1", "2", "3", "5"}
        assert not cp.failed
        cp.keep()


@pytest.mark.slow
def test_a_stop_does_not_wait_for_an_input_that_blocks(store: MemoryStore) -> None:
    first, second = AsyncWork(stop_at=10, ask=partial(interrupt, signal.SIGTERM)), AsyncWork(stop_at=10**9)
    with pytest.raises(SystemExit):
        asyncio.run(job(store, first, numbers(blocks_at=10)))
    asyncio.run(job(store, second, numbers(blocks_at=-1)))

    assert first.ended == Counter(range(10))
    assert first.ended + second.ended == Counter(range(ITEMS))


def test_after_the_grace_tasks_are_cancelled(store: MemoryStore) -> None:
    cancelled = []

    async def work(item: int) -> int:
        if item < IN_FLIGHT:
            return item
        if item == IN_FLIGHT:
            interrupt(signal.SIGINT)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(job(store, work, grace=0.1))

    assert cancelled == [4, 5, 6, 7]


def test_an_error_of_a_task_waits_until_the_body_has_what_has_ended(store: MemoryStore) -> None:
    async def work(item: int) -> int:
        if item == 1:
            raise ValueError("one")
        await asyncio.sleep(0 if item < 3 else 30)
        return item

    with pytest.raises(ValueError, match="one"):
        asyncio.run(job(store, work))
    with opened(store) as cp:
        assert sorted(cp.mapping("pages")) == ["0"]
        cp.keep()


@pytest.mark.parametrize(("grace", "error"), [("20", TypeError), (True, TypeError), (-1, ValueError)])
def test_a_grace_is_seconds(grace: Any, error: type[Exception], store: MemoryStore) -> None:
    with opened(store) as cp, pytest.raises(error, match="grace"):
        cp.map(square, [1], grace=grace)
