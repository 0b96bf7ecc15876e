"""A map that fails too much."""

from __future__ import annotations

import asyncio
import os
import pickle
import time
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from resumable import RateLimitExhausted, TooManyFailedError, checkpointed, every
from resumable.testing import MemoryStore

ENGINES: dict[str, Callable[[], Any]] = {
    "in line": lambda: None,
    "threads": lambda: partial(ThreadPoolExecutor, 4),
    "processes": lambda: partial(ProcessPoolExecutor, 2),
}
engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
ways = pytest.mark.parametrize("on_error", ["raise", "skip", "collect"])


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def third_fails(number: int) -> int:
    if number % 3 == 0:
        raise ValueError(f"{number} is bad")
    return number


async def third_fails_async(number: int) -> int:
    await asyncio.sleep(0)
    return third_fails(number)


def run(store: MemoryStore, engine: Any = None, items: Iterable[int] = range(100), **options: Any) -> list[Any]:
    """What the loop's body got."""
    got: list[Any] = []
    with checkpointed("numbers", every(hours=1), store=store) as cp:
        done = cp.log("done")
        for item, result in cp.map(options.pop("fn", third_fails), items, executor=engine, max_in_flight=4, **options):
            got.append(result)
            if not isinstance(result, ValueError):
                done.append(item)
    return got


@engines
@ways
def test_a_map_ends_when_more_items_fail_than_may(engine: Any, on_error: Any, store: MemoryStore) -> None:
    with pytest.raises(TooManyFailedError) as caught:
        run(store, engine(), on_error=on_error, max_failed=5)

    error = caught.value
    assert error.failed >= 6
    assert error.tried >= 14
    assert f"{error.failed} of {error.tried} items" in str(error)
    assert "max_failed=5" in str(error)
    assert "is bad" in str(error)
    assert isinstance(error.__cause__, ValueError)
    with checkpointed("numbers", store=store) as cp:
        assert len(cp.failed) >= 6
        assert all(int(item) % 3 == 0 for item in cp.failed)
        assert len(cp.log("done")) >= 8
        cp.keep()


@engines
def test_what_failed_is_left_out_by_the_next_run_and_counted_anew(engine: Any, store: MemoryStore) -> None:
    for _ in range(20):
        try:
            run(store, engine(), on_error="skip", max_failed=5)
            break
        except TooManyFailedError:
            pass
    with checkpointed("numbers", store=store) as cp:
        assert sorted(cp.log("done")) == [number for number in range(100) if number % 3]
        assert sorted(cp.failed) == list(range(0, 100, 3))
        cp.keep()

    run(store, engine(), fn=abs, retry_failed=True, max_failed=0)


def test_as_many_as_may_fail_end_nothing(store: MemoryStore) -> None:
    assert len(run(store, on_error="skip", max_failed=34)) == 66


@pytest.mark.parametrize("source", [range, lambda count: iter(range(count))], ids=["known length", "unknown"])
def test_a_share_is_of_all_items_or_of_those_that_were_tried(source: Any, store: MemoryStore) -> None:
    with pytest.raises(TooManyFailedError, match=r"max_failed=0\.1"):
        run(store, None, source(100), max_failed=0.1)
    assert len(run(MemoryStore(), None, source(100), max_failed=0.35)) == 66


def test_where_the_length_is_not_known_a_share_is_of_a_hundred_at_least(store: MemoryStore) -> None:
    with pytest.raises(TooManyFailedError) as caught:
        run(store, None, iter(range(0, 300, 3)), max_failed=0.05)
    assert (caught.value.failed, caught.value.tried) == (6, 6)


@ways
def test_a_map_of_tasks_ends_too(on_error: Any, store: MemoryStore) -> None:
    async def job() -> None:
        async with checkpointed("numbers", every(hours=1), store=store) as cp:
            async for _ in cp.amap(third_fails_async, range(100), on_error=on_error, max_failed=5):
                pass

    with pytest.raises(TooManyFailedError):
        asyncio.run(job())
    with checkpointed("numbers", store=store) as cp:
        assert len(cp.failed) >= 6
        cp.keep()


@pytest.mark.parametrize(
    ("max_failed", "error"), [("5", TypeError), (True, TypeError), (-1, ValueError), (1.5, ValueError)]
)
def test_it_is_a_number_or_a_share(max_failed: Any, error: type[Exception], store: MemoryStore) -> None:
    with pytest.raises(error, match="max_failed"):
        run(store, max_failed=max_failed)


def test_the_error_pickles() -> None:
    error = pickle.loads(pickle.dumps(TooManyFailedError("crawl", 6, 40, 5, "ValueError: no")))
    assert str(error).startswith("6 of 40 items of 'crawl' have failed, more than max_failed=5 allows.")


class Exhausted:
    """From the 4th item on, the quota is empty; the calls ask before their requests."""

    def __init__(self, store: MemoryStore) -> None:
        self.block: Any = checkpointed("numbers", every(hours=1), store=store, on_exhausted="raise")

    def observe(self, number: int) -> int:
        if number == 3:
            self.cp.observe(remaining=0, limit=100, reset_at=time.time() + 600)
        return number

    def __call__(self, number: int) -> int:
        if self.observe(number) >= 3:
            self.cp.wait_if_exhausted()
        return number

    def run(self, engine: Any, **options: Any) -> None:
        with self.block as self.cp:
            for number, _ in self.cp.map(self, range(9), executor=engine, max_in_flight=1, **options):
                self.cp.log("done").append(number)

    def run_tasks(self, **options: Any) -> None:
        asyncio.run(self.run_async(**options))

    async def run_async(self, **options: Any) -> None:
        async def call(number: int) -> int:
            if self.observe(number) >= 3:
                await self.cp.wait_if_exhausted()
            return number

        async with self.block as self.cp:
            async for number, _ in self.cp.amap(call, range(9), max_in_flight=1, **options):
                self.cp.log("done").append(number)


@pytest.mark.parametrize("kind", ["in line", "threads", "tasks"])
@pytest.mark.parametrize("options", [{"on_error": "skip"}, {"on_error": "collect"}, {"max_failed": 5}], ids=str)
def test_a_used_up_quota_is_no_failure_of_an_item(kind: str, options: Any, store: MemoryStore) -> None:
    exhausted = Exhausted(store)
    run = exhausted.run_tasks if kind == "tasks" else partial(exhausted.run, ENGINES[kind]())
    with pytest.raises(RateLimitExhausted):
        run(**options)

    with checkpointed("numbers", store=store, on_exhausted=lambda limit: None) as cp:
        assert list(cp.log("done")) == [0, 1, 2]
        assert not cp.failed
        cp.keep()


def seventh_kills(number: int) -> int:
    if number == 7:
        os._exit(9)
    return number


def test_who_wants_errors_raised_is_told_of_an_item_that_is_left_out(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It was given up in the run before, which raised: the next one would end well without a word."""

    def told() -> list[str]:
        return [message for message in caplog.messages if "left out" in message]

    with pytest.raises(BrokenExecutor):
        run(store, partial(ProcessPoolExecutor, 2), range(10), fn=seventh_kills)
    assert 7 not in run(store, None, range(10), fn=abs, on_error="skip")
    assert told() == []
    assert run(store, None, range(10), fn=abs) == []
    assert told() == [
        "numbers: 1 item failed in an earlier run, and will be left out: cp.failed names what failed, and "
        "retry_failed=True in the map tries it again"
    ]
    assert run(store, None, range(10), fn=abs, retry_failed=True) == [7]
    assert len(told()) == 1
