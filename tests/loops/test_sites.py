"""Loops are known by their place in the program: phases left out, loops left early, threads, many small ones."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from resumable import CheckpointData, CheckpointManager, InputChangedError, checkpointed, every
from resumable._format.restore import restore
from resumable._loops.registry import LoopRegistry
from resumable.testing import MemoryStore
from tests.support.interrupts import busy_switching

NEVER = every(hours=1000)


class Stop(Exception):
    """What leaves a block in these tests."""


@pytest.fixture
def manager() -> CheckpointManager:
    return CheckpointManager(store=MemoryStore(), save_strategy=NEVER)


def saved(manager: CheckpointManager) -> CheckpointData:
    data = manager.load_checkpoint("job")
    assert data is not None
    return data


def loops(manager: CheckpointManager) -> dict[str, Any]:
    return dict(saved(manager).internal["loops"])


# -- phases -----------------------------------------------------------------------------------------------------------


def two_phases(manager: CheckpointManager, stop: str | None, urls: list[str]) -> list[str]:
    parsed = []
    with contextlib.suppress(Stop), checkpointed("job", manager=manager) as cp:
        if not cp.state.get("downloaded"):
            for _ in cp.remaining(urls):
                pass
            cp.state["downloaded"] = True
        for url in cp.remaining(urls):
            if url == stop:
                raise Stop
            parsed.append(url)
    return parsed


def test_a_phase_that_is_left_out_does_not_give_its_place_to_the_next(manager: CheckpointManager) -> None:
    assert two_phases(manager, "c", list("abcd")) == ["a", "b"]
    assert two_phases(manager, None, list("abcd")) == ["c", "d"]
    assert manager.list_checkpoints() == []


def test_an_unfinished_loop_that_is_not_met_keeps_the_checkpoint_and_is_told(
    manager: CheckpointManager, caplog: pytest.LogCaptureFixture
) -> None:
    def work(*, skips: bool) -> list[int]:
        done = []
        with contextlib.suppress(Stop), checkpointed("job", manager=manager) as cp:
            if not skips:
                for number in cp.remaining(range(5)):
                    if number == 3 and not cp.resumed:
                        raise Stop
                    done.append(number)
            list(cp.remaining(["xyz"]))
        return done

    assert work(skips=False) == [0, 1, 2]
    with caplog.at_level(logging.ERROR, "resumable"):
        work(skips=True)

    assert "did not reach the loop 'loop-1', `5 cp range remaining` in " in caplog.text
    assert "left after 3 items of 5" in caplog.text
    assert str(saved(manager).metadata.last_save_reason).startswith("Stopped: this run did not reach")
    assert work(skips=False) == [3, 4]
    assert manager.list_checkpoints() == []


def test_an_unfinished_inner_loop_that_is_not_met_is_told_once(
    manager: CheckpointManager, caplog: pytest.LogCaptureFixture
) -> None:
    def work(*, skips: bool) -> None:
        with contextlib.suppress(Stop), checkpointed("job", manager=manager) as cp:
            for number in cp.remaining(range(3)):
                if skips and number == 1:
                    continue
                for page in cp.remaining(range(4)):
                    if (number, page) == (1, 2) and not cp.resumed:
                        raise Stop

    work(skips=False)
    work(skips=True)
    assert caplog.text.count("did not reach the loop 'loop-1/1'") == 1
    work(skips=False)

    assert caplog.text.count("did not reach") == 1
    assert manager.list_checkpoints() == []


# -- loops that are left ----------------------------------------------------------------------------------------------


def by_break(cp: Any) -> None:
    for number in cp.remaining(range(9)):
        if number == 4:
            break


def by_return(cp: Any) -> Any:
    def first() -> Any:
        for number in cp.remaining(range(9)):
            if number == 4:
                return number
        return None

    first()


def by_a_caught_error(cp: Any) -> None:
    with contextlib.suppress(Stop):
        for number in cp.remaining(range(9)):
            if number == 4:
                raise Stop


def by_a_zip_that_ended(cp: Any) -> None:
    list(zip(cp.remaining(range(9)), range(4), strict=False))


def by_an_abandoned_generator(cp: Any) -> None:
    def pages() -> Iterator[int]:
        yield from cp.remaining(range(9))

    for number in pages():
        if number == 4:
            break


def by_an_iterator_of_a_function_that_returned(cp: Any) -> Any:
    def some() -> Any:
        iterator = iter(cp.remaining(range(9)))
        for _ in range(5):
            next(iterator)
        return iterator

    cp.kept = some()


def by_leaving_a_map(cp: Any) -> None:
    for number, _ in cp.map(str, range(9)):
        if number == 4:
            break


def by_leaving_a_map_with_threads(cp: Any) -> None:
    for _ in cp.map(str, range(9), executor=lambda: ThreadPoolExecutor(2)):
        break


LEAVING: list[Callable[[Any], object]] = [
    *(by_break, by_return, by_a_caught_error, by_a_zip_that_ended, by_an_abandoned_generator),
    *(by_an_iterator_of_a_function_that_returned, by_leaving_a_map, by_leaving_a_map_with_threads),
]


@pytest.mark.parametrize("leave", LEAVING, ids=lambda leave: leave.__name__)
def test_what_comes_after_a_loop_that_was_left_is_not_inside_it(
    leave: Callable[[Any], object], manager: CheckpointManager
) -> None:
    for repos in (list(range(5)), []):
        with checkpointed("job", manager=manager) as cp:
            leave(cp)
            assert list(cp.remaining(range(5), name="repos")) == repos
            cp.keep()

    assert loops(manager)["repos"]["within"] is None


async def test_what_comes_after_an_async_loop_that_was_left_is_not_inside_it(manager: CheckpointManager) -> None:
    async def echo(number: int) -> int:
        return number

    for repos in (list(range(5)), []):
        async with checkpointed("job", manager=manager) as cp:
            async for number in cp.remaining(range(9), name="users"):
                if number == 4:
                    break
            async for _ in cp.amap(echo, range(9), name="orgs"):
                break
            assert [number async for number in cp.remaining(range(5), name="repos")] == repos
            cp.keep()

    assert loops(manager)["orgs"]["within"] is None
    assert loops(manager)["repos"]["within"] is None


def test_a_loop_that_goes_on_after_it_was_left_is_around_what_follows(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager, auto_cleanup=False) as cp:
        users = cp.remaining(range(4), name="users")
        for _ in users:
            break
        for _ in users:
            list(cp.remaining(range(2), name="pages"))
            cp.save()
            assert loops(manager)["pages"]["within"][0] == "users"


# -- inner loops ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", [None, lambda: ThreadPoolExecutor(3)], ids=["in line", "threads"])
@pytest.mark.parametrize("key", [None, str], ids=["by position", "by key"])
def test_a_loop_in_the_function_of_a_map_belongs_to_the_item(
    executor: Any, key: Any, manager: CheckpointManager
) -> None:
    done: list[tuple[int, int]] = []
    stops = threading.Event()

    def work(item: int) -> int:
        for page in cp.remaining(range(4)):
            if item == 5 and page == 2 and not cp.resumed:
                stops.set()
            if stops.is_set():
                raise Stop
            done.append((item, page))
        return item

    for _ in range(2):
        stops.clear()
        with contextlib.suppress(Stop), checkpointed("job", manager=manager) as cp:
            for _ in cp.map(work, range(8), executor=executor, key=key):
                pass

    assert sorted(done) == [(item, page) for item in range(8) for page in range(4)]
    assert manager.list_checkpoints() == []


async def test_a_loop_in_the_function_of_an_amap_belongs_to_the_item(manager: CheckpointManager) -> None:
    done: list[tuple[int, int]] = []

    async def work(item: int) -> int:
        async for page in cp.remaining(range(4)):
            await asyncio.sleep(0)
            if item == 2 and page == 2 and not cp.resumed:
                raise Stop
            done.append((item, page))
        return item

    for _ in range(2):
        with contextlib.suppress(Stop):
            async with checkpointed("job", manager=manager) as cp:
                async for _ in cp.amap(work, range(8), max_in_flight=3):
                    pass

    assert sorted(set(done)) == [(item, page) for item in range(8) for page in range(4)]
    assert len(done) - len(set(done)) <= 3  # what was under way when the tasks were cancelled
    assert manager.list_checkpoints() == []


def test_what_failed_in_a_map_inside_one_item_is_left_out_of_no_other(manager: CheckpointManager) -> None:
    done = []

    def odd_fails(number: int) -> int:
        if number == 1 and group == "a":
            raise ValueError(number)
        return number

    with checkpointed("job", manager=manager) as cp:
        for group in cp.remaining(["a", "b", "c"]):
            done += [(group, number) for number, _ in cp.map(odd_fails, range(3), on_error="skip")]

    assert done == [(group, number) for group in "abc" for number in range(3) if (group, number) != ("a", 1)]


# -- many small loops -------------------------------------------------------------------------------------------------


def poll(manager: CheckpointManager, inputs: list[list[int]], key: Any, stop: int) -> list[int]:
    done: list[int] = []
    with contextlib.suppress(Stop), checkpointed("job", manager=manager) as cp:
        for items in inputs:
            for item in cp.remaining(items, key=key):
                if len(done) == stop:
                    raise Stop
                done.append(item)
    return done


INPUTS = [[10 * n, 10 * n + 1, 10 * n + 2] for n in range(40)]


@pytest.mark.parametrize("key", [None, str], ids=["by position", "by key"])
@pytest.mark.parametrize("stops", [(0, 0), (1, 2), (50, 20), (119, 0), (64, 50)])
def test_each_item_of_many_loops_at_one_place_is_done_once(
    key: Any, stops: tuple[int, int], manager: CheckpointManager
) -> None:
    done = [item for stop in (*stops, -1) for item in poll(manager, INPUTS, key, stop)]

    assert done == [item for items in INPUTS for item in items]
    assert manager.list_checkpoints() == []


@pytest.mark.parametrize("key", [None, str], ids=["by position", "by key"])
@pytest.mark.parametrize("changed", [0, 1, 3, 7, 25])
def test_another_input_of_a_loop_that_is_over_is_refused(key: Any, changed: int, manager: CheckpointManager) -> None:
    poll(manager, INPUTS, key, 90)
    inputs = [*INPUTS[:changed], [7, 8, 9, 10], *INPUTS[changed + 1 :]]

    with pytest.raises(InputChangedError) as raised:
        poll(manager, inputs, key, -1)

    assert raised.value.ways_out


def test_many_loops_need_no_more_bytes_than_a_few(manager: CheckpointManager) -> None:
    sizes = []
    with checkpointed("job", manager=manager, auto_cleanup=False) as cp:
        for number in range(300):
            list(cp.remaining(range(3)))
            if number in (30, 299):
                cp.save()
                sizes.append(len(str(loops(manager))))
        assert cp.processed_items == 900
        assert cp.metadata.total_items == 900
        assert len(cp._operation.parts.loops.views) <= 8

    assert sizes[1] < sizes[0] + 200


def test_inner_loops_of_items_that_are_done_are_not_kept(manager: CheckpointManager) -> None:
    with checkpointed("job", every(items=1), manager=manager, auto_cleanup=False) as cp:
        for group in cp.remaining([f"group {n}" for n in range(50)], key=str):
            for _ in cp.remaining(range(3)):
                cp.save()
                assert loops(manager)["loop-1/1"]["within"] == ["loop-1", group]

    assert loops(manager).keys() == {"loop-1"}


# -- threads and tasks ------------------------------------------------------------------------------------------------


def test_loops_at_one_place_in_several_threads_need_names(manager: CheckpointManager) -> None:
    refused: list[str] = []
    both = threading.Barrier(2, timeout=300)

    def work(name: str | None) -> None:
        try:
            for number in cp.remaining(range(3), name=name):
                if number == 0:
                    both.wait()
        except RuntimeError as error:
            refused.append(str(error))
            both.abort()

    for names in ((None, None), ("users", "repos"), ("users", "users")):
        both.reset()
        with checkpointed("job", manager=manager) as cp:
            threads = [threading.Thread(target=work, args=(name,)) for name in names]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            cp.finalize()

    assert len([text for text in refused if "give each a name=" in text]) == 2
    assert any("run the loop 'users', so" in text for text in refused)


def test_threads_that_make_a_loop_at_the_same_moment_are_refused_as_well(manager: CheckpointManager) -> None:
    with busy_switching():
        for _ in range(20):
            refused: list[str] = []
            both = threading.Barrier(2, timeout=300)

            def work(both: threading.Barrier = both, refused: list[str] = refused) -> None:
                try:
                    for number in cp.remaining(range(3)):
                        if number == 0:
                            both.wait()
                except RuntimeError as error:
                    refused.append(str(error))
                    both.abort()

            with checkpointed("job", manager=manager) as cp:
                threads = [threading.Thread(target=work) for _ in range(2)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                cp.finalize()
            assert [text for text in refused if "give each a name=" in text]


async def test_loops_at_one_place_in_several_tasks_need_names(manager: CheckpointManager) -> None:
    async def work(name: str | None = None) -> None:
        async for _ in cp.remaining(range(3), name=name):
            await asyncio.sleep(0)

    async with checkpointed("job", manager=manager) as cp:
        ended = await asyncio.gather(work(), work(), return_exceptions=True)
        assert [type(error) for error in ended] == [type(None), RuntimeError]
        assert "give each a name=" in str(ended[1])
        await asyncio.gather(work("users"), work("repos"))


async def test_tasks_one_after_the_other_need_no_names(manager: CheckpointManager) -> None:
    done: list[int] = []

    async def work(start: int) -> None:
        async for number in cp.remaining(range(start, start + 3)):
            if number == 11 and not cp.resumed:
                raise Stop
            done.append(number)

    for _ in range(2):
        with contextlib.suppress(Stop):
            async with checkpointed("job", manager=manager) as cp:
                for start in (0, 10, 20):
                    await asyncio.wait_for(work(start), 10)

    assert done == [0, 1, 2, 10, 11, 12, 20, 21, 22]


# -- checkpoints of older releases ------------------------------------------------------------------------------------


def test_the_form_of_older_releases_goes_on_by_order_and_is_known_by_place_then(manager: CheckpointManager) -> None:
    def old(done: int, within: list[Any] | None = None) -> dict[str, Any]:
        return {"by": "position", "position": done, "total": 4, "samples": [], "within": within}

    forms = {"loop-1": old(4), "loop-2": old(1), "loop-2/1": old(3, ["loop-2", 1]), "users": old(2)}
    done = []
    with checkpointed("job", manager=manager, auto_cleanup=False) as cp:
        cp._operation.parts.loops = LoopRegistry(forms)
        assert list(cp.remaining(range(4))) == []
        assert list(cp.remaining(range(4), name="users")) == [2, 3]
        for outer in cp.remaining(range(4)):
            done += [(outer, inner) for inner in cp.remaining(range(4))]
            if outer == 2:
                cp.save()

    assert done == [(1, 3), *((outer, inner) for outer in (2, 3) for inner in range(4))]
    assert None not in [form.get("place") for form in loops(manager).values()]


def test_what_an_older_release_has_saved_and_this_run_has_not_met_is_told() -> None:
    form = {"by": "position", "position": 2, "total": 4, "samples": [], "within": None}

    assert LoopRegistry({"loop-1": form}).never_met() == ["the loop 'loop-1' left after 2 items of 4"]
    assert LoopRegistry({"loop-1": {**form, "position": 4}}).never_met() == []


@pytest.mark.parametrize(
    "form",
    [
        {"within": 5},
        {"within": ["loop-1"]},
        {"place": 3},
        {"run": 0},
        {"run": 2, "folded": 2},
        {"marks": [1]},
        {"within": ["loop-1", 0], "run": "x"},
    ],
)
def test_an_identity_that_cannot_have_been_saved_is_damage(form: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the place of its loop 'loop-1' cannot be read"):
        LoopRegistry({"loop-1": {"by": "position", "position": 2, "total": 4, "samples": [], **form}})


def test_loops_that_are_inside_each_other_end_nowhere() -> None:
    def form(within: str) -> dict[str, Any]:
        return {"by": "position", "position": 2, "total": 4, "samples": [], "within": [within, 1]}

    assert len(LoopRegistry({"a": form("b"), "b": form("a")}).never_met()) == 1


# -- turns of a plain loop around --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "pages"])
def test_a_plain_loop_around_that_comes_in_another_order_is_refused(
    manager: CheckpointManager, name: str | None
) -> None:
    done: list[str] = []

    def work(repos: list[Any], stop: str | None = None) -> None:
        with contextlib.suppress(Stop), checkpointed("job", manager=manager) as cp:
            for number, repo in enumerate(repos):
                for page in cp.remaining(range(3), name=name):
                    if f"{repo}{page}" == stop:
                        raise Stop
                    done.append(f"{repo}{page}")
                del number

    work(["a", "b", "c"], "b1")
    with pytest.raises(InputChangedError, match="another turn of the plain loop") as raised:
        work(["c", "b", "a"])
    assert any("name=f" in way for way in raised.value.ways_out)
    work(["a", "b", "c"])
    assert done == ["a0", "a1", "a2", "b0", "b1", "b2", "c0", "c1", "c2"]


def fetch_step() -> None: ...


def parse_step() -> None: ...


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([("fetch", object()), ("parse", object())], id="text beside objects"),
        pytest.param([(fetch_step, object()), (parse_step, object())], id="functions"),
        pytest.param([(("fetch", 1), []), (("parse", 1), [])], id="tuples"),
        pytest.param([(Stop, {}), (LookupError, {})], id="classes"),
    ],
)
def test_a_plain_loop_around_is_compared_by_those_of_its_variables_that_tell(
    steps: list[Any], manager: CheckpointManager
) -> None:
    def work(steps: list[Any], stop: int | None = None) -> None:
        with checkpointed("job", manager=manager) as cp:
            for step, _ in steps:
                for page in cp.remaining(range(3)):
                    if page == stop:
                        raise Stop(step)

    with pytest.raises(Stop):
        work(steps, 2)
    with pytest.raises(InputChangedError, match="another turn of the plain loop"):
        work(steps[::-1])
    work(steps)


def test_a_plain_loop_around_over_objects_is_not_compared(manager: CheckpointManager) -> None:
    done: list[int] = []
    for stop in (1, None):
        with contextlib.suppress(Stop), checkpointed("job", manager=manager) as cp:
            for _ in [object(), object()]:
                for page in cp.remaining(range(3)):
                    if page == stop:
                        raise Stop
                    done.append(page)

    assert done == [0, 1, 2, 0, 1, 2]


def test_loops_with_names_of_their_own_are_dropped_with_the_item_around() -> None:
    """Otherwise the next item of the same number brings them back, and the journal has only a part of each."""
    store = MemoryStore()

    def run(stop: tuple[int, int, str] | None) -> None:
        with checkpointed("job", every(items=1), store=store) as cp:
            for outer in cp.remaining(range(7)):
                for page in cp.remaining(range(3)):
                    for row in cp.remaining(["a", "b", "c"], name=f"rows {outer} {page}"):
                        if (outer, page, row) == stop:
                            raise ConnectionError

    for outer, page, row in [(1, 1, "b"), (3, 0, "b"), (5, 1, "a"), (6, 2, "c")]:
        with pytest.raises(ConnectionError):
            run((outer, page, row))
        restored = restore(store, "job", now=datetime.now(UTC))
        assert restored is not None
        assert [*restored.sections.loops] == ["loop-1", "loop-1/1", f"rows {outer} {page}"]
    run(None)


def test_names_of_items_before_are_forgotten_and_their_items_still_count(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        for outer in cp.remaining(range(100)):
            for _ in cp.remaining(range(2), name=f"rows {outer}" if outer % 3 else "every third"):
                for _ in cp.remaining(range(1), name=f"deep {outer}"):
                    pass
        views = cp._operation.parts.loops.views
        assert len(views) < 70
        assert cp.processed_items == 100 + 100 * 2 + 100 * 2
