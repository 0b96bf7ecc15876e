"""Maps in the loop's own thread, and what a map refuses at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest

from resumable import (
    Checkpoint,
    checkpointed,
    every,
)
from resumable._loops.loop import mapped_item
from resumable.testing import MemoryStore

EACH = every(items=1)


def square(number: int) -> int:
    return number * number


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@contextlib.contextmanager
def opened(store: Any, strategy: Any = EACH, **options: Any) -> Iterator[Checkpoint]:
    with checkpointed("squares", strategy, store=store, **options) as cp:
        yield cp


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({"max_in_flight": 0}, ValueError, id="no window"),
        pytest.param({"max_in_flight": 1.5}, TypeError, id="half a task"),
        pytest.param({"retry": 3}, TypeError, id="a number for a policy"),
        pytest.param({"batch": 0}, ValueError, id="empty batch"),
        pytest.param({"max_crashes": 0}, ValueError, id="no crashes"),
        pytest.param({"on_error": "ignore"}, ValueError, id="unknown policy"),
        pytest.param({"executor": 3}, TypeError, id="no executor"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, Any], error: type[Exception], store: MemoryStore) -> None:
    with opened(store) as cp, pytest.raises(error):
        cp.map(square, range(3), **options)


def test_an_async_function_is_sent_to_amap(store: MemoryStore) -> None:
    async def work(number: int) -> int:
        return number

    with opened(store) as cp, pytest.raises(TypeError, match="amap"):
        cp.map(work, range(3))


def in_a_task(number: int) -> Any:
    async def look() -> Any:
        return await asyncio.to_thread(mapped_item)

    return asyncio.run(look())


@pytest.mark.parametrize("fn", [lambda number: mapped_item(), in_a_task], ids=["here", "in a thread of a task"])
def test_the_function_runs_for_its_item_and_the_body_for_none(fn: Callable[[int], Any], store: MemoryStore) -> None:
    with opened(store) as cp:
        for number, (loop, key) in cp.map(fn, range(3)):
            assert (loop.name, key) == ("loop-1", number)
            assert mapped_item() is None


def test_a_map_inside_a_call_gives_back_the_item_around_it(store: MemoryStore) -> None:
    with opened(store) as cp:

        def outer(number: int) -> list[Any]:
            inner = [(item, result) for item, result in cp.map(lambda _: mapped_item(), range(3))]
            return [*inner, mapped_item()]

        for number, results in cp.map(outer, range(2)):
            *inner, around = results
            assert [found[1] for _, found in inner] == [0, 1, 2]
            assert around[1] == number
            assert mapped_item() is None


@pytest.mark.parametrize("how", ["end", "break", "error"])
def test_nothing_of_a_map_stays_in_the_context(how: str, store: MemoryStore) -> None:
    before = dict(copy_context())
    with contextlib.suppress(ZeroDivisionError), opened(store) as cp:
        for _ in cp.map(lambda number: 1 // (2 - number) if how == "error" else number, range(4)):
            if how == "break":
                break

    assert dict(copy_context()) == before


def test_each_item_may_be_asked_for_in_another_context(store: MemoryStore) -> None:
    with opened(store) as cp:
        results: Any = cp.map(lambda number: mapped_item(), range(3))
        seen = [copy_context().run(next, results)[1][1] for _ in range(3)]
        assert next(results, None) is None

    assert seen == [0, 1, 2]
