"""Many at a time under asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import CancelledError
from typing import Any, Literal

import pytest
import tenacity

from resumable import AsyncCheckpoint, CheckpointManager, checkpointed, every
from resumable.testing import ManualClock, MemoryStore
from tests.loops.map.test_pool import Api
from tests.support.stores import keys

EACH = every(items=1)


async def square(number: int) -> int:
    await asyncio.sleep(0)
    return number * number


async def odd_fails(number: int) -> int:
    await asyncio.sleep(0)
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


async def cancelled_at_2(number: int) -> int:
    if number == 2:
        raise asyncio.CancelledError
    return number


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


def opened(store: MemoryStore) -> contextlib.AbstractAsyncContextManager[AsyncCheckpoint]:
    return checkpointed("squares", EACH, store=store)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize("source", [range, numbers], ids=["iterable", "async iterable"])
@pytest.mark.parametrize("key", [None, str], ids=["by position", "by key"])
async def test_after_an_error_in_the_body_only_what_was_not_done_is_repeated(
    source: Any, key: Any, store: MemoryStore
) -> None:
    seen: list[int] = []
    with pytest.raises(KeyError):  # noqa: PT012
        async with opened(store) as cp:  # noqa: SIM117
            async with contextlib.aclosing(cp.amap(square, source(40), key=key, max_in_flight=8)) as results:
                async for item, result in results:
                    if len(seen) == 20:
                        raise KeyError(item)
                    seen.append(item)
                    assert result == item * item
    async with opened(store) as cp:
        rest = [item async for item, _ in cp.amap(square, source(40), key=key)]
        assert cp.processed_items == 40

    assert sorted(seen + rest) == list(range(40))
    assert keys(store) == []


async def test_no_more_than_max_in_flight_run_at_once_and_the_source_is_not_read_ahead(store: MemoryStore) -> None:
    running = most = read = done = 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return number

    def source() -> Iterable[int]:
        nonlocal read
        for number in range(50):
            read += 1
            assert read - done <= 5
            yield number

    async with opened(store) as cp:
        async for _ in cp.amap(work, source(), max_in_flight=4):
            done += 1
    assert (most, done) == (4, 50)


async def test_the_first_error_cancels_the_rest(store: MemoryStore) -> None:
    ends: list[str] = []

    async def work(number: int) -> int:
        try:
            if number == 3:
                raise ValueError("three")
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        return number

    with pytest.raises(ValueError, match="three") as caught:  # noqa: PT012
        async with opened(store) as cp:
            async for _ in cp.amap(work, range(8)):
                pass
    assert ends == ["cancelled"] * 7
    assert any("at item 3" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("on_error", ["skip", "collect"])
async def test_a_call_that_is_cancelled_is_a_failed_item_and_not_the_end(
    on_error: Literal["skip", "collect"], store: MemoryStore
) -> None:
    async with opened(store) as cp:
        found = {item: result async for item, result in cp.amap(cancelled_at_2, range(4), on_error=on_error)}

        assert cp.failed == {2: "CancelledError: the call was cancelled"}
        assert found.keys() >= {0, 1, 3}


async def test_a_call_that_is_cancelled_is_raised_as_an_error(store: MemoryStore) -> None:
    """If it were a cancellation, it would end a task group silently."""
    with pytest.raises(CancelledError, match="the call was cancelled"):  # noqa: PT012
        async with opened(store) as cp:
            async for _ in cp.amap(cancelled_at_2, range(4)):
                pass


async def test_a_cancelled_loop_cancels_its_tasks(store: MemoryStore) -> None:
    begun, ended = asyncio.Event(), 0

    async def work(number: int) -> None:
        nonlocal ended
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended += 1

    async def run() -> None:
        async with opened(store) as cp:
            async for _ in cp.amap(work, range(8), max_in_flight=3):
                pass

    task = asyncio.create_task(run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == 3


async def test_skip_goes_on_and_a_later_run_retries_just_those(store: MemoryStore) -> None:
    async with opened(store) as cp:
        good = [item async for item, _ in cp.amap(odd_fails, range(6), on_error="skip")]
    assert sorted(good) == [0, 2, 4]
    async with opened(store) as cp:
        assert cp.failed == {number: f"ValueError: {number} is odd" for number in (1, 3, 5)}
        assert sorted([item async for item, _ in cp.amap(square, range(6), retry_failed=True)]) == [1, 3, 5]
        assert cp.failed == {}


async def test_collect_gives_out_the_error(store: MemoryStore) -> None:
    async with opened(store) as cp:
        found = {item: type(result) async for item, result in cp.amap(odd_fails, range(4), on_error="collect")}
    assert found == {0: int, 1: ValueError, 2: int, 3: ValueError}


@pytest.mark.parametrize("kind", [tenacity.Retrying, tenacity.AsyncRetrying])
async def test_each_item_is_retried_by_its_own_policy(kind: Any, store: MemoryStore) -> None:
    calls: dict[int, int] = {}

    async def work(number: int) -> int:
        calls[number] = calls.get(number, 0) + 1
        await asyncio.sleep(0)
        if calls[number] < 3:
            raise OSError(number)
        return number

    policy = kind(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none())
    async with opened(store) as cp:
        assert len([item async for item, _ in cp.amap(work, range(9), retry=policy)]) == 9
    assert set(calls.values()) == {3}


async def test_what_is_done_is_saved_while_a_task_sleeps_before_it_tries_again(store: MemoryStore) -> None:
    calls: list[int] = []

    async def work(number: int) -> int:
        calls.append(number)
        if number and calls.count(number) == 1:
            raise OSError(number)
        return number

    async def until_saved(seconds: float) -> None:
        async with asyncio.timeout(20):
            while (found := manager.load_checkpoint("squares")) is None:
                await asyncio.sleep(0.001)
        assert found.metadata.last_save_reason == "Retry: OSError (attempt 2)"

    manager = CheckpointManager(store=store, save_strategy=every(hours=1000))
    policy = tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(3), sleep=until_saved)
    async with checkpointed("squares", manager=manager) as cp:
        assert [item async for item, _ in cp.amap(work, range(2), retry=policy)] == [0, 1]


async def test_one_quota_is_waited_for_once_by_all(store: MemoryStore) -> None:
    clock = ManualClock()
    api = Api(clock)

    async def work(number: int) -> Any:
        answer = api(number)
        await asyncio.sleep(0)
        return answer

    manager = CheckpointManager(store=store, clock=clock, save_strategy=every(hours=1000))
    async with checkpointed("crawl", manager=manager) as cp:
        assert len([item async for item, _ in cp.amap(work, range(35), max_in_flight=4)]) == 35
    assert api.refused == 0
    assert clock.now() - 1000 < 4 * 62


async def test_what_cannot_be_called_is_refused(store: MemoryStore) -> None:
    async with opened(store) as cp:
        with pytest.raises(TypeError, match="async function"):
            cp.amap(3, range(3))  # type: ignore[arg-type]
