"""What goes through a loop: pools and functions that take items ahead of the work."""

from __future__ import annotations

import itertools
import logging
import multiprocessing.pool
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every

WAYS: dict[str, Callable[[Any], Any]] = {
    "groupby": lambda loop: itertools.groupby(loop),
    "pairwise": lambda loop: itertools.pairwise(loop),
    "tee": lambda loop: itertools.tee(loop)[0],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def thread_pool(loop: Any) -> list[str]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(str, loop))


def process_pool(loop: Any) -> list[str]:
    with ProcessPoolExecutor(1) as pool:
        return list(pool.map(str, loop))


def pool_of_multiprocessing(loop: Any) -> list[str]:
    with multiprocessing.pool.ThreadPool(1) as pool:
        return pool.map(str, loop)


@pytest.mark.parametrize("pool", [thread_pool, process_pool, pool_of_multiprocessing])
@pytest.mark.parametrize("items", [3, 100], ids=["few", "many"])
def test_a_pool_that_goes_through_a_loop_is_refused_before_it_takes_an_item(pool: Any, items: int) -> None:
    """Cut off meanwhile, the run would have handed out all items, and the next one would do none."""
    with checkpointed("job", every(items=1)) as cp:
        for _ in range(5):  # small loops are made in another way, once some were made
            for _ in cp.remaining(range(3)):
                pass
        with pytest.raises(RuntimeError, match=r"use cp\.map\(fn, items\)"):
            pool(cp.remaining(range(items)))
        cp.keep()

    with checkpointed("job", every(items=1)) as cp:
        assert list(cp.remaining(range(items), name="other")) == list(range(items))
        cp.finalize()


def test_a_loop_within_a_worker_is_gone_through() -> None:
    def work(item: int) -> list[int]:
        return [item + inner for inner in cp.remaining(range(3))]

    with checkpointed("job") as cp, ThreadPoolExecutor(2) as pool:
        results = dict(cp.map(work, [0, 10], executor=pool))

    assert results == {0: [0, 1, 2], 10: [10, 11, 12]}


@pytest.mark.parametrize("way", WAYS)
def test_what_takes_items_ahead_is_told_once(way: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="resumable"), checkpointed(f"{way} around") as cp:
        for _ in range(2):
            for _ in WAYS[way](cp.remaining(range(4))):
                pass

    told = f"{way} around: {way}() around the loop takes items ahead of the work, so they count as done"
    assert caplog.messages == [f"{told}.\n  Put it inside: cp.remaining({way}(...))"]


def test_inside_of_a_loop_they_are_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    def run() -> Iterator[tuple[int, int]]:
        with checkpointed("job", every(items=1)) as cp:
            for pair in cp.remaining(itertools.pairwise(range(5))):
                if pair == (2, 3) and not cp.resumed:
                    raise ConnectionError
                yield pair

    found: list[tuple[int, int]] = []
    with caplog.at_level(logging.WARNING, logger="resumable"):
        with pytest.raises(ConnectionError):
            found.extend(run())
        found.extend(run())

    assert found == list(itertools.pairwise(range(5)))
    assert caplog.messages == []


@pytest.mark.parametrize("items", [7, 100], ids=["few", "many"])
def test_chunks_that_are_taken_ahead_are_told_once(items: int, caplog: pytest.LogCaptureFixture) -> None:
    def chunks(loop: Any) -> Iterator[list[int]]:
        taken = iter(loop)
        while chunk := list(itertools.islice(taken, 3)):
            yield chunk

    with caplog.at_level(logging.WARNING, logger="resumable"), checkpointed(f"chunks of {items}") as cp:
        assert sum(map(len, chunks(cp.remaining(range(items))))) == items

    (told,) = caplog.messages
    assert "Make the batches first: cp.remaining(list(batched(items, 3)))" in told


def test_the_first_few_items_are_no_chunk(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="resumable"), checkpointed("few") as cp:
        assert sum(1 for _ in itertools.islice(cp.remaining(range(9)), 3)) == 3
        cp.finalize()

    assert caplog.messages == []


@pytest.mark.parametrize("more", [2, 100], ids=["few", "many"])
def test_a_list_that_grows_meanwhile_is_told_of(more: int, caplog: pytest.LogCaptureFixture) -> None:
    todo = list(range(more))
    with caplog.at_level(logging.WARNING, logger="resumable"), checkpointed(f"grow {more}", every(items=1)) as cp:
        for item in cp.remaining(todo):
            if item < 2:
                todo.append(item + 200)

    (told,) = caplog.messages
    assert 'todo = cp.log("todo")' in told


def test_a_list_of_the_checkpoint_may_grow_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    """What a run has put in is there when the next one goes on."""
    done: list[int] = []

    def run(stop: int) -> None:
        with checkpointed("crawl", every(items=1)) as cp:
            todo = cp.log("todo")
            if not todo:
                todo.extend([1, 2, 3])
            for item in cp.remaining(todo):
                if item == stop:
                    raise ConnectionError
                done.append(item)
                if item < 10:
                    todo.append(item * 10)

    with caplog.at_level(logging.WARNING, logger="resumable"):
        for stop in 2, 3, 20:
            with pytest.raises(ConnectionError):
                run(stop)
        run(0)

    assert done == [1, 2, 3, 10, 20, 30]
    assert caplog.messages == []
