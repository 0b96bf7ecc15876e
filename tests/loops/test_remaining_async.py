"""``async for`` over what is left: which items are done, and which come again after an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from resumable import AsyncCheckpoint, StoreError, checkpointed, every
from resumable.testing import FaultyStore, MemoryStore


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@pytest.mark.parametrize("make", [range, numbers], ids=["plain items", "async items"])
async def test_an_error_repeats_its_item_and_no_other(make: Any, store: FaultyStore) -> None:
    async def run(fails_at: int) -> list[int]:
        begun = []
        async with checkpointed("job", every(hours=1), store=store) as cp:
            async for number in cp.remaining(make(6)):
                begun.append(number)
                if number == fails_at:
                    raise KeyError(number)
        return begun

    with pytest.raises(KeyError):
        await run(2)
    assert await run(-1) == [2, 3, 4, 5]


async def test_a_save_that_fails_loses_no_item(store: FaultyStore) -> None:
    async with checkpointed("job", every(items=1), store=store) as cp:
        loop = cp.remaining(range(5))
        begun = [await anext(loop), await anext(loop)]
        store.fails = StoreError("disk full")
        with pytest.raises(StoreError):
            await anext(loop)
        store.fails = None
        begun += [number async for number in loop]

    assert begun == [0, 1, 2, 3, 4]


async def test_a_key_that_fails_is_asked_for_again(tmp_path: Path) -> None:
    asked: list[int] = []

    def key(number: int) -> str:
        asked.append(number)
        if asked.count(1) == 1:
            raise LookupError(number)
        return str(number)

    async with checkpointed("job", store=tmp_path) as cp:
        loop = cp.remaining(numbers(3), key=key)
        begun = [await anext(loop)]
        with pytest.raises(LookupError):
            await anext(loop)
        begun += [number async for number in loop]

    assert begun == [0, 1, 2]


async def test_the_body_is_within_its_item(store: FaultyStore) -> None:
    async def at(cp: AsyncCheckpoint[Any]) -> list[int]:
        loop = cp.remaining(range(3))
        return [loop.position async for _ in loop]

    async with checkpointed("job", store=store) as cp:
        assert await at(cp) == [0, 1, 2]


async def taken_by_tasks(loop: Any, *, by_aiter: bool) -> None:
    shared = aiter(loop) if by_aiter else loop

    async def work() -> None:
        async for _ in shared:
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(work())


@pytest.mark.parametrize("by_aiter", [True, False], ids=["by aiter", "by async for"])
@pytest.mark.parametrize("before", [0, 6], ids=["first", "after others"])
def test_several_tasks_that_take_items_of_one_loop_are_refused(by_aiter: bool, before: int, tmp_path: Path) -> None:
    """An item would count as done as soon as another task takes the next one."""

    async def main() -> None:
        async with checkpointed("tasks", store=tmp_path) as cp:
            for _ in range(before):  # small loops are made in another way, once some were made
                async for _ in cp.remaining([1, 2]):
                    pass
            with pytest.raises(ExceptionGroup) as caught:
                await taken_by_tasks(cp.remaining([1, 2, 3, 4]), by_aiter=by_aiter)
            assert "use cp.amap(fn, items)" in str(caught.value.exceptions[0])
            cp.keep()

    asyncio.run(main())


def test_an_iterator_may_be_given_to_one_task(tmp_path: Path) -> None:
    found = []

    async def main() -> None:
        async with checkpointed("one task", store=tmp_path) as cp:
            shared = aiter(cp.remaining(range(4)))

            async def work() -> None:
                async for item in shared:
                    found.append(item)

            await asyncio.create_task(work())
            timed = aiter(cp.remaining(range(4)))
            for _ in range(4):
                found.append(await asyncio.wait_for(anext(timed), 5))
            with pytest.raises(StopAsyncIteration):
                await anext(timed)

    asyncio.run(main())
    assert found == [0, 1, 2, 3, 0, 1, 2, 3]
