"""A block inside of another checkpoint's: it warns of rows that may be lost."""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resumable import RateLimitExhausted, StoreError, checkpointed, every
from resumable.testing import FaultyStore, MemoryStore


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level(logging.WARNING, logger="resumable")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(name: str) -> Any:
    return checkpointed(name, every(items=1))


@pytest.mark.parametrize("kind", ["sink", "log", "ticks"])
def test_a_row_of_an_inner_loop_in_the_outer_checkpoint_is_told_once(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened("outer") as cp:
        rows, log = cp.sink("rows.txt"), cp.log("log")
        for item in cp.remaining(range(3)):
            rows.write(f"{item}\n")
            with opened("inner") as inner:
                for part in range(2) if kind == "ticks" else inner.remaining(range(2)):
                    if kind == "log":
                        log.append(part)
                    else:
                        rows.write(f"{item} {part}\n")
                    if kind == "ticks":
                        inner.state["part"] = part
                        inner.tick()
    (told,) = caplog.messages
    assert told.startswith("outer: ")
    assert "an item of 'inner', a checkpoint inside of this one, writes to" in told
    assert len(rows.path.read_text().split()) == (3 if kind == "log" else 15)


def test_it_is_told_once_for_all_inner_operations(caplog: pytest.LogCaptureFixture) -> None:
    with opened("outer of many") as cp:
        log = cp.log("log")
        for item in cp.remaining(range(3)):
            with opened(f"inner-{item}") as inner:
                for part in inner.remaining(range(2)):
                    log.append(part)

    (told,) = caplog.messages
    assert "an item of 'inner-0'" in told


def test_rows_around_an_inner_block_are_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    def run(stop: int) -> None:
        with opened("outer") as cp:
            rows, log = cp.sink("rows.txt"), cp.log("log")
            rows.write("head\n")
            for item in cp.remaining(range(3)):
                rows.write(f"{item}\n")
                with opened(f"inner {item}") as inner:
                    rows.write(f"{item} begins\n")
                    seen = inner.mapping("seen")
                    for part in inner.remaining(range(2)):
                        seen[str(part)] = part
                        if part == item == stop:
                            raise ConnectionError
                    rows.write(f"{item} ends\n")
                    log.append(dict(seen))
                rows.write(f"{item} is done\n")

    for stop in (0, 1):
        with pytest.raises(ConnectionError):
            run(stop)
    run(9)

    lines = Path("rows.txt").read_text().splitlines()
    assert lines == ["head", *(f"{item}{text}" for item in range(3) for text in ("", " begins", " ends", " is done"))]
    assert caplog.messages == []


def test_rows_that_a_resume_writes_again_after_an_inner_block_are_there_once(here: Path) -> None:
    def run(stop: tuple[str, int, int] | None) -> None:
        with opened("outer") as cp:
            rows = cp.sink("rows.txt")
            for outer in cp.remaining(["a", "b"], name="outer"):
                with checkpointed(f"inner {outer}") as inner:
                    assert len([*inner.remaining(range(2))]) == 2
                for page in cp.remaining(range(2), name=f"pages {outer}"):
                    rows.write(f"{outer}{page}\n")
                    for row in cp.remaining(range(2), name=f"rows {outer} {page}"):
                        if (outer, page, row) == stop:
                            raise ConnectionError

    for stop in [("a", 0, 1), ("a", 1, 1), ("b", 0, 0), ("b", 1, 1)]:
        with pytest.raises(ConnectionError):
            run(stop)
    run(None)

    assert (here / "rows.txt").read_text().split() == ["a0", "a1", "b0", "b1"]


def test_a_write_after_many_inner_blocks_takes_as_few_calls_as_after_one() -> None:
    with checkpointed("outer") as cp:
        log = cp.log("log")
        for number in range(40):
            with checkpointed(f"inner {number}"):
                pass
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(len(inspect.stack(context=0)) + 35)
        try:
            log.append(1)
        finally:
            sys.setrecursionlimit(limit)
        assert list(log) == [1]


TOLD = "outer: 'inner a', a checkpoint inside an item of this one, writes to "


def test_rows_of_a_block_inside_an_item_are_warned_of_once(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A resume does the item again, and the block inside it, which had ended: the same rows came twice, untold."""
    with opened("outer") as cp:
        for item in cp.remaining(["a", "b", "c"]):
            with opened(f"inner {item}") as inner:
                inner.sink("rows.txt").write(f"{item}\n")
    (told,) = caplog.messages
    assert told.startswith(f"{TOLD}{here / 'rows.txt'}.")
    assert "Use one checkpoint" in told


async def test_rows_of_an_async_block_inside_an_item_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async with opened("outer") as cp:
        async for item in cp.remaining(["a", "b", "c"]):
            async with opened(f"inner {item}") as inner:
                (await inner.sink("rows.txt")).write(f"{item}\n")
    (told,) = caplog.messages
    assert told.startswith(TOLD)


def test_rows_that_cannot_be_there_twice_are_not_warned_of(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened("outer") as cp:
        with opened("before") as inner:
            inner.sink("before.txt").write("outside of all items\n")
        for item in cp.remaining(["a", "b"]):
            with opened(f"inner {item}") as inner:
                inner.sink(f"{item}.txt", existing="replace").write(f"{item}\n")
    assert not caplog.messages


def in_a_worker(item: int) -> int:
    with opened(f"inner {item}") as inner:
        return sum(inner.remaining(range(item)))


@pytest.mark.slow
def test_a_block_may_be_opened_in_another_process_of_a_map() -> None:
    """It looked for what the map's checkpoint writes, which is not there."""
    with opened("outer") as cp:
        done = cp.map(in_a_worker, range(4), executor=lambda: ProcessPoolExecutor(2))
        assert sorted(result for _, result in done) == [0, 0, 1, 3]


# -- a stop of an inner block that the program catches in the item around it


def exhausting(name: str, is_used_up: bool) -> Any:
    """A checkpoint that raises once its quota is used up, while that is so."""

    def exhausted(limit: Any) -> None:
        if is_used_up:
            raise RateLimitExhausted(limit.reset_at, "core")

    return checkpointed(name, every(items=1), on_exhausted=exhausted)


def use_up(inner: Any) -> None:
    inner.observe(remaining=0, limit=10, reset_at=time.time() + 0.2, resource="core")


@pytest.mark.parametrize("levels", [1, 2])
def test_a_quota_that_ends_an_inner_block_and_is_caught_does_not_make_the_item_around_it_count(levels: int) -> None:
    """The outer item counted as done though the inner block had items left: they were never done, and nothing said."""
    done: list[tuple[int, int]] = []

    def inner_block(item: int, is_used_up: bool) -> None:
        with exhausting(f"inner {item}", is_used_up) as inner:
            for part in inner.remaining(range(3)):
                done.append((item, part))
                if is_used_up and (item, part) == (1, 1):
                    use_up(inner)

    def run(is_used_up: bool) -> None:
        with opened("outer") as outer:
            for item in outer.remaining(range(3)):
                with contextlib.suppress(Exception):
                    if levels == 1:
                        inner_block(item, is_used_up)
                        continue
                    with opened(f"middle {item}") as middle:
                        for _ in middle.remaining(range(1)):
                            with contextlib.suppress(Exception):
                                inner_block(item, is_used_up)

    with pytest.raises(RateLimitExhausted):
        run(is_used_up=True)
    run(is_used_up=False)

    assert done == [(item, part) for item in range(3) for part in range(3)]


def test_an_inner_block_that_is_tried_again_in_its_item_makes_the_item_whole() -> None:
    done: list[tuple[int, int]] = []

    def inner_block(item: int, is_used_up: bool) -> None:
        with exhausting(f"inner {item}", is_used_up) as inner:
            for part in inner.remaining(range(3)):
                done.append((item, part))
                if is_used_up and item == part == 1:
                    use_up(inner)

    with opened("outer") as outer:
        for item in outer.remaining(range(3)):
            try:
                inner_block(item, is_used_up=True)
            except RateLimitExhausted:
                inner_block(item, is_used_up=False)

    assert done == [(item, part) for item in range(3) for part in range(3)]


def test_a_stop_that_is_caught_inside_the_inner_block_does_not_stop_the_item_around_it() -> None:
    done: list[int] = []
    with opened("outer") as outer:
        for item in outer.remaining(range(3)):
            with exhausting("inner", is_used_up=True) as inner:
                use_up(inner)
                inner.state["item"] = item
                with contextlib.suppress(RateLimitExhausted):
                    inner.tick()
            done.append(item)

    assert done == [0, 1, 2]


def test_an_error_of_the_programs_own_that_is_caught_lets_the_item_around_it_count() -> None:
    done: list[int] = []
    with opened("outer") as outer:
        for item in outer.remaining(range(3)):
            with contextlib.suppress(KeyError), opened(f"inner {item}") as inner:
                for _ in inner.remaining(range(3)):
                    raise KeyError
            done.append(item)

    assert done == [0, 1, 2]


async def test_a_stop_of_an_async_inner_block_that_is_caught_does_not_make_the_item_around_it_count() -> None:
    done: list[tuple[int, int]] = []

    async def run(stop_at: int) -> None:
        async with opened("outer") as outer:
            async for item in outer.remaining(range(3)):
                with contextlib.suppress(SystemExit):
                    async with opened(f"inner {item}") as inner:
                        async for part in inner.remaining(range(3)):
                            done.append((item, part))
                            if len(done) == stop_at:
                                inner.stop()

    with pytest.raises(SystemExit):
        await run(5)
    await run(0)

    assert done == [(item, part) for item in range(3) for part in range(3)]


def test_an_inner_block_that_could_not_be_saved_at_its_end_does_not_make_the_item_around_it_count() -> None:
    store, done = FaultyStore(MemoryStore()), list[int]()

    def run(fails: bool) -> None:
        with opened("outer") as outer:
            for item in outer.remaining(range(3)):
                with contextlib.suppress(StoreError), checkpointed("inner", store=store, auto_cleanup=False) as inner:
                    inner.state["item"] = item
                    done.append(item)
                    store.fails = StoreError("down") if fails and item == 1 else None

    with pytest.raises(StoreError):
        run(fails=True)
    store.fails = None
    run(fails=False)

    assert done == [0, 1, 1, 2]
