"""Thousands of small loops, left or ended: what is kept of them does not grow, and none goes on at a wrong place."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resumable import AsyncCheckpoint, Checkpoint, InputChangedError, StoreError, checkpointed, every
from resumable.testing import FaultyStore, MemoryStore

MANY = 300


class Stop(Exception):
    """Ends a run."""


def size(store: MemoryStore) -> int:
    """How many bytes of loops are stored."""
    stored = [store.read(entry.key) for entry in store.list()]
    return sum(len(json.dumps(json.loads(one.snapshot)["resumable"]["loops"])) for one in stored if one is not None)


def in_a_function(cp: Checkpoint, number: int) -> Iterator[int]:
    for item in cp.remaining((1, 2, 3)):
        assert number >= 0
        yield item


def plain(cp: Checkpoint, did: Callable[..., None]) -> None:
    for number in range(MANY):
        for item in cp.remaining((1, 2, 3)):
            did(number, item)


def nested(cp: Checkpoint, did: Callable[..., None]) -> None:
    for number in cp.remaining(range(MANY)):
        for item in cp.remaining([number, 2, 3]):
            did(number, item)


def deeply_nested(cp: Checkpoint, did: Callable[..., None]) -> None:
    for number in cp.remaining(range(MANY // 10)):
        for middle in cp.remaining(range(4)):
            for item in cp.remaining(range(2)):
                did(number, middle, item)
            for item in cp.remaining(["a", "c"]):
                did(number, middle, item)


def by_key(cp: Checkpoint, did: Callable[..., None]) -> None:
    for number in cp.remaining(range(MANY), key=str):
        for item in cp.remaining([1, 2, 2, 3], key=int):
            did(number, item)


def named(cp: Checkpoint, did: Callable[..., None]) -> None:
    for number in cp.remaining(range(MANY), name="outer"):
        for item in cp.remaining((1, 2, 3), name="inner"):
            did(number, item)


def functions(cp: Checkpoint, did: Callable[..., None]) -> None:
    for number in range(MANY):
        for item in in_a_function(cp, number):
            did(number, item)


def in_the_body_of_a_map(cp: Checkpoint, did: Callable[..., None]) -> None:
    for number, _ in cp.map(abs, range(MANY)):
        for item in cp.remaining((1, 2, 3)):
            did(number, item)


def in_the_function_of_a_map(cp: Checkpoint, did: Callable[..., None]) -> None:
    def work(number: int) -> int:
        for item in cp.remaining((1, 2, 3)):
            did(number, item)
        return number

    for _ in cp.map(work, range(MANY)):
        pass


def while_loops_in_items(cp: Checkpoint, did: Callable[..., None]) -> None:
    for number in cp.remaining(range(MANY // 20)):
        for again in range(20):
            for item in cp.remaining((1, 2, 3)):
                did(number, again, item)


def left_early(cp: Checkpoint, did: Callable[..., None]) -> None:
    for number in range(MANY):
        for item in cp.remaining((1, 2, 3)):
            if item == 2 + number % 2:
                break
            did(number, item)


def lists_of_records(cp: Checkpoint, did: Callable[..., None]) -> None:
    for number in cp.remaining(range(MANY)):
        for record in cp.remaining([{"id": number}, {"id": -1}]):
            did(number, record["id"])


PROGRAMS = [
    plain,
    nested,
    deeply_nested,
    by_key,
    named,
    functions,
    in_the_body_of_a_map,
    in_the_function_of_a_map,
    while_loops_in_items,
    left_early,
    lists_of_records,
]


def run_once(program: Callable[..., None], store: Any, stop_at: int | None, strategy: Any) -> list[Any]:
    done: list[Any] = []

    def did(*what: Any) -> None:
        if len(done) == stop_at:
            raise Stop
        done.append(what)

    with contextlib.suppress(Stop), checkpointed("job", strategy, store=store, auto_cleanup=False) as cp:
        program(cp, did)
    return done


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("strategy", [None, every(items=7)], ids=["auto", "every 7 items"])
def test_interrupted_anywhere_each_item_is_done_once(program: Callable[..., None], strategy: Any) -> None:
    whole = run_once(program, MemoryStore(), None, strategy)
    for stop_at in (0, 1, 2, 13, len(whole) // 2, len(whole) // 2 + 1, len(whole) - 1):
        store = MemoryStore()
        first = run_once(program, store, stop_at, strategy)
        middle = run_once(program, store, 20, strategy)
        rest = run_once(program, store, None, strategy)
        assert first + middle + rest == whole, stop_at
        assert run_once(program, store, None, strategy) == []


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("kill_at", [5, 50, 333])
@pytest.mark.slow
def test_killed_anywhere_no_item_is_lost(program: Callable[..., None], kill_at: int) -> None:
    whole = run_once(program, MemoryStore(), None, None)
    memory = MemoryStore()
    store = FaultyStore(memory)

    done: list[Any] = []

    def did(*what: Any) -> None:
        if len(done) == kill_at:
            store.fail_next("write", times=99)
            raise Stop
        done.append(what)

    with contextlib.suppress(Stop), checkpointed("job", every(items=10), store=store) as cp:
        program(cp, did)
    rest = run_once(program, memory, None, None)

    assert set(done) | set(rest) == set(whole)
    assert len(done) + len(rest) <= len(whole) + 10


@pytest.mark.parametrize("program", [plain, nested, deeply_nested, functions, named, left_early])
def test_what_is_kept_does_not_grow(program: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    for many in (60, 600):
        monkeypatch.setattr(f"{__name__}.MANY", many)
        store = MemoryStore()
        with contextlib.suppress(Stop), checkpointed("job", every(hours=1), store=store) as cp:
            program(cp, lambda *what: None)
            assert len(cp._operation.parts.loops.views) < 12
            raise Stop
        sizes.append(size(store))

    assert sizes[1] < sizes[0] + (5400 if program is left_early else 200)


def test_small_loops_are_small() -> None:
    """Else they are right, and thirty times as slow."""
    with checkpointed("job", store=MemoryStore()) as cp:

        def kinds() -> list[str]:
            made: list[Any] = []
            for number in cp.remaining(range(3)):
                made.append(cp.remaining((number, 1)))
                made[-1:] = [type(made[-1]).__name__, *made[-1]]
                made.append(type(cp.remaining([number], key=str, name="by key")).__name__)
            last = ""
            for _ in range(9):
                loop = cp.remaining(range(2))
                last = type(loop).__name__
                list(loop)
            return [*(one for one in made if isinstance(one, str)), last]

        assert kinds() == ["PassingRemaining"] * 2 + ["SmallRemaining"] * 5
        cp.finalize()


@pytest.mark.parametrize("name", [None, "named"])
def test_what_runs_went_through_is_summed_up_alike_whenever_it_is_saved(name: str | None) -> None:
    marks = []
    for save_at in (range(200), range(0), range(3, 200, 71)):
        store = MemoryStore()
        with contextlib.suppress(Stop), checkpointed("job", every(hours=1), store=store) as cp:
            for number in range(200):
                for _ in cp.remaining([number, "one\nline", "\udc80" if number == 150 else 2.5], name=name):
                    pass
                if number in save_at:
                    cp.save()
            raise Stop
        stored = store.read("job")
        assert stored is not None
        marks.append([one["marks"] for one in json.loads(stored.snapshot)["resumable"]["loops"].values()])

    assert marks[0] == marks[1] == marks[2]
    assert set(marks[0][0]) == {"1", "2", "4", "8", "16", "32", "64", "199"}


def test_loops_that_were_left_at_one_position_are_one_entry() -> None:
    sizes = []
    for many in (50, 5000):
        store = MemoryStore()
        with checkpointed("job", every(hours=1), store=store) as cp:
            for _ in range(many):
                for item in cp.remaining((1, 2, 3)):
                    if item == 2:
                        break
        sizes.append(size(store))

    assert sizes[1] < sizes[0] + 200


def test_a_loop_that_was_left_goes_on_there_though_thousands_came_after_it() -> None:
    def program(cp: Checkpoint, whole: bool) -> None:
        for number in range(100):
            for item in cp.remaining(range(5)):
                if not whole and item == 1 + number % 3:
                    break
                done.append((number, item))

    store, done = MemoryStore(), list[tuple[int, int]]()
    with checkpointed("job", store=store) as cp:
        program(cp, False)
    assert list(store.list())  # they have items to go

    with checkpointed("job", store=store) as cp:
        program(cp, True)
    assert not list(store.list())
    assert len(done) == 500
    assert set(done) == {(number, item) for number in range(100) for item in range(5)}


def test_loops_that_were_left_and_are_not_met_again_are_told(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    with checkpointed("job", store=store) as cp:
        for _ in range(50):
            for item in cp.remaining((1, 2, 3)):
                if item == 2:
                    break
    with checkpointed("job", store=store):
        pass

    assert "this run did not reach" in caplog.text
    assert list(store.list())


def test_another_input_of_a_run_that_is_kept_as_a_number_is_seen() -> None:
    def program(cp: Checkpoint, first: int) -> None:
        for number in range(first, first + 100):
            for item in cp.remaining((number, number + 1)):
                if number % 2:
                    break
                assert item

    store = MemoryStore()
    with contextlib.suppress(Stop), checkpointed("job", store=store) as cp:
        program(cp, 10)
        raise Stop
    with pytest.raises(InputChangedError, match="has other items than before"), checkpointed("job", store=store) as cp:
        program(cp, 11)


def test_loops_that_were_never_begun_cost_nothing_and_may_begin_late() -> None:
    store = MemoryStore()
    with checkpointed("job", every(hours=1), store=store, auto_cleanup=False) as cp:
        for _ in range(500):
            cp.remaining((1, 2, 3))
        loops = [cp.remaining((number, 0)) for number in range(20)]
        assert [list(loop) for loop in loops] == [[number, 0] for number in range(20)]
        assert len(cp._operation.parts.loops.views) < 40
    assert size(store) < 12_000

    with checkpointed("job", store=store) as cp:
        for _ in range(500):
            cp.remaining((1, 2, 3))
        assert [list(cp.remaining((number, 0))) for number in range(20)] != []


def test_a_loop_whose_place_was_given_up_says_so() -> None:
    with checkpointed("job", store=MemoryStore()) as cp:
        first = None
        for _ in range(20):
            loop = cp.remaining((1, 2, 3))
            first = first or loop
            for _ in loop:
                break
        with pytest.raises(RuntimeError, match="others have begun in its place"):
            list(first or ())
        cp.finalize()


def test_a_small_loop_goes_on_when_it_was_left_and_nothing_came_after() -> None:
    with checkpointed("job", store=MemoryStore()) as cp:
        for _ in range(9):
            loop = cp.remaining((1, 2, 3, 4))
            for item in loop:
                if item == 2:
                    break
            assert list(loop) == [3, 4]
            assert next(iter(loop), None) is None
            loop = cp.remaining((1, 2))
            assert [next(loop), next(loop), next(loop, None)] == [1, 2, None]
        assert cp.processed_items == 9 * 6


@pytest.mark.parametrize("change", [lambda items: items.clear(), lambda items: items.append(1), lambda items: None])
def test_a_list_that_is_used_again_is_still_the_same_input(change: Callable[[list[int]], None]) -> None:
    def program(cp: Checkpoint) -> None:
        batch: list[int] = []
        for number in range(40):
            batch[:] = [number, number + 1]
            for item in cp.remaining(batch):
                done.append(item)
                if len(done) == 50:
                    raise Stop
            change(batch)

    store, done = MemoryStore(), list[int]()
    for _ in range(2):
        with contextlib.suppress(Stop), checkpointed("job", store=store) as cp:
            program(cp)
    assert len(done) == 81


# -- under async for --------------------------------------------------------------------------------------------------


async def plain_async(cp: AsyncCheckpoint, did: Callable[..., None]) -> None:
    for number in range(MANY):
        async for item in cp.remaining((1, 2, 3)):
            did(number, item)


async def nested_async(cp: AsyncCheckpoint, did: Callable[..., None]) -> None:
    async for number in cp.remaining(range(MANY)):
        async for item in cp.remaining([number, 2, 3]):
            await asyncio.sleep(0)
            did(number, item)


async def left_async(cp: AsyncCheckpoint, did: Callable[..., None]) -> None:
    async for number in cp.remaining(range(MANY // 4)):
        async for item in cp.remaining((1, 2, 3), name="some"):
            if item == 1 + number % 3:
                break
            did(number, item)
        did(number, [item async for item in cp.remaining(["ab"])])


async def run_async(program: Callable[..., Any], store: Any, stop_at: int | None, strategy: Any) -> list[Any]:
    done: list[Any] = []

    def did(*what: Any) -> None:
        if len(done) == stop_at:
            raise Stop
        done.append(what)

    with contextlib.suppress(Stop):
        async with checkpointed("job", strategy, store=store, auto_cleanup=False) as cp:
            await program(cp, did)
    return done


@pytest.mark.slow
@pytest.mark.parametrize("program", [plain_async, nested_async])
@pytest.mark.parametrize("strategy", [None, every(items=7)], ids=["auto", "every 7 items"])
async def test_interrupted_anywhere_each_async_item_is_done_once(program: Callable[..., Any], strategy: Any) -> None:
    whole = await run_async(program, MemoryStore(), None, strategy)
    assert len(whole) == 3 * MANY
    for stop_at in (0, 1, 2, 13, len(whole) // 2, len(whole) // 2 + 1, len(whole) - 1):
        store = MemoryStore()
        done = [await run_async(program, store, at, strategy) for at in (stop_at, 20, None, None)]
        assert done[0] + done[1] + done[2] == whole, stop_at
        assert done[3] == []


@pytest.mark.parametrize("program", [plain_async, nested_async, left_async])
@pytest.mark.parametrize("kill_at", [5, 50, 120])
@pytest.mark.slow
async def test_killed_anywhere_no_async_item_is_lost(program: Callable[..., Any], kill_at: int) -> None:
    whole = await run_async(program, MemoryStore(), None, None)
    memory = MemoryStore()
    store = FaultyStore(memory)
    done: list[Any] = []

    def did(*what: Any) -> None:
        if len(done) == kill_at:
            store.fail_next("write", times=99)
            raise Stop
        done.append(what)

    with contextlib.suppress(Stop):
        async with checkpointed("job", every(items=10), store=store) as cp:
            await program(cp, did)
    rest = await run_async(program, memory, None, None)

    missing = [one for one in whole if one not in done and one not in rest]
    assert missing == []
    assert len(done) + len(rest) <= len(whole) + 20


async def test_small_async_loops_are_small_in_the_main_task_only() -> None:
    async with checkpointed("job", store=MemoryStore()) as cp:

        async def kinds() -> list[str]:
            found = []
            for _ in range(7):
                loop = cp.remaining((1, 2))
                found.append(type(loop).__name__)
                assert [item async for item in loop] == [1, 2]
                assert (loop.is_finished, loop.position, loop.total, len(loop)) == (True, 2, 2, 0)
            return found

        assert (await kinds())[-2:] == ["AsyncSmallRemaining"] * 2
        assert set(await asyncio.create_task(kinds())) == {"AsyncRemaining"}
        assert cp.processed_items == 28


async def test_a_save_that_fails_before_an_item_of_a_small_async_loop_loses_none() -> None:
    store = FaultyStore(MemoryStore())
    async with checkpointed("job", every(items=1), store=store, auto_cleanup=False) as cp:
        for number in range(9):
            loop = cp.remaining((1, 2, 3))
            done = [await anext(loop)]
            if number == 8:
                store.fail_next("write", times=1)
                with contextlib.suppress(StoreError):
                    while True:
                        done.append(await anext(loop))
            done += [item async for item in loop]
            assert done == [1, 2, 3]
            assert repr(loop) == f"<AsyncRemaining '{loop.name}': 3 of 3 done>"


async def test_a_small_async_loop_may_be_handed_to_another_task() -> None:
    async with checkpointed("job", every(items=1), store=MemoryStore(), auto_cleanup=False) as cp:

        async def work(loop: Any) -> list[int]:
            return [item async for item in loop]

        for _ in range(9):
            loop = cp.remaining((1, 2, 3))
            working = asyncio.create_task(work(loop))
            assert [item async for item in cp.remaining(("a", "b"))] == ["a", "b"]
            assert await working == [1, 2, 3]
        assert cp._operation.parts.loops.unfinished() == []
