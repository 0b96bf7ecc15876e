"""Which loops run, and in which thread."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    CheckpointManager,
    RateLimitExhausted,
    checkpointed,
    every,
)
from tests.support.blocks import Stop

NEVER = every(hours=1000)


def test_loops_within_a_loop_have_no_total_unless_one_is_told(manager: CheckpointManager) -> None:
    for told in (None, 15):
        with checkpointed("job", manager=manager, total=told) as cp:
            for _ in cp.remaining(range(3)):
                for _ in cp.remaining(range(4)):
                    assert cp.metadata.total_items == told


def test_two_loops_side_by_side_each_have_their_place(manager: CheckpointManager) -> None:
    def pairs(stop: int | None) -> list[tuple[int, str]]:
        done = []
        with checkpointed("job", manager=manager) as cp:
            for number, letter in zip(cp.remaining(range(4)), cp.remaining(list("abcd")), strict=True):
                if number == stop:
                    raise Stop
                done.append((number, letter))
        return done

    with pytest.raises(Stop):
        pairs(2)

    assert pairs(None) == [(2, "c"), (3, "d")]


def test_loops_in_threads_each_go_on_at_their_place(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, save_strategy=every(items=1))

    def work(cp: Any, name: str, done: list[str], stop: int) -> None:
        for number in cp.remaining(range(30), name=name):
            if number == stop:
                return
            done.append(f"{name}{number}")

    def all_threads(stops: tuple[int, ...]) -> list[str]:
        done: list[str] = []
        with checkpointed("job", manager=manager) as cp:
            threads = [
                threading.Thread(target=work, args=(cp, name, done, stop))
                for name, stop in zip("abcd", stops, strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return done

    first, second = all_threads((3, 17, 29, 10)), all_threads((99, 99, 99, 99))

    assert len(first) == 3 + 17 + 29 + 10
    assert sorted(first + second) == sorted(f"{name}{number}" for name in "abcd" for number in range(30))
    assert manager.list_checkpoints() == []


# -- a stop that the program catches


def in_blocks(cp: Any, row: Any) -> None:
    for outer in cp.remaining(range(4)):
        with contextlib.suppress(BaseException):
            for inner in cp.remaining(range(3)):
                row(f"{outer}.{inner}")


def deeper(cp: Any, row: Any) -> None:
    for first in cp.remaining(range(2)):
        for second in cp.remaining(["a", "b"], key=str):
            with contextlib.suppress(BaseException):
                for third in cp.remaining(iter(range(3))):
                    row(f"{first}{second}{third}")


def another_loop_after(cp: Any, row: Any) -> None:
    for outer in cp.remaining(range(4)):
        with contextlib.suppress(BaseException):
            for inner in cp.remaining(range(3)):
                row(f"{outer}.{inner}")
        for letter in cp.remaining(["x", "y"]):
            row(f"{outer}.{letter}")


def in_maps(cp: Any, row: Any) -> None:
    for outer, _ in cp.map(str, range(4)):
        with contextlib.suppress(BaseException):
            for inner, _ in cp.map(str, range(3)):
                row(f"{outer}.{inner}")


@pytest.mark.parametrize("job", [in_blocks, deeper, another_loop_after, in_maps])
def test_a_stop_that_is_caught_around_an_inner_loop_leaves_the_outer_item_to_the_next_run(
    job: Any, manager: CheckpointManager, tmp_path: Path
) -> None:
    """A bare except around the inner loop swallowed SIGTERM: the rest of that loop was never done, and nobody told."""
    rows: list[str] = []

    def run(stop_at: int | None) -> None:
        with checkpointed("job", NEVER, manager=manager) as cp:
            sink = cp.sink(tmp_path / "rows.txt")

            def row(text: str) -> None:
                sink.write(text + "\n")
                rows.append(text)
                if len(rows) == stop_at:
                    cp.stop()

            job(cp, row)

    for stop_at in (2, 8):
        with pytest.raises(SystemExit):
            run(stop_at)
    run(None)

    written = (tmp_path / "rows.txt").read_text().split()
    assert len(written) == len(set(written)) == len(set(rows))
    assert sorted(set(rows)) == sorted(rows)


async def test_a_caught_stop_in_async_loops_leaves_the_outer_item_to_the_next_run(manager: CheckpointManager) -> None:
    done = []

    async def run(stop_at: int | None) -> None:
        async with checkpointed("job", manager=manager) as cp:
            async for outer in cp.remaining(range(3)):
                with contextlib.suppress(BaseException):
                    async for inner in cp.remaining(iter(range(3))):
                        done.append((outer, inner))
                        if len(done) == stop_at:
                            cp.stop()

    with pytest.raises(SystemExit):
        await run(5)
    await run(None)

    assert done == [(outer, inner) for outer in range(3) for inner in range(3)]


def refusing(times: int) -> Any:
    """An answer to a quota that is used up: an error, that many times."""
    answers = iter([RateLimitExhausted(None, "core")] * times)

    def answer(limit: object) -> None:
        for error in answers:
            raise error

    return answer


def use_up_quota(cp: Any, reset_after: float) -> None:
    cp.observe(remaining=0, limit=10, reset_at=time.time() + reset_after)


def test_an_exhausted_quota_that_is_caught_does_not_make_the_outer_item_count(manager: CheckpointManager) -> None:
    done = []

    def run(stop_at: int | None) -> None:
        with checkpointed("job", manager=manager, on_exhausted=refusing(0 if stop_at is None else 1)) as cp:
            for outer in cp.remaining(range(3)):
                with contextlib.suppress(Exception):
                    for inner in cp.remaining(range(3)):
                        done.append((outer, inner))
                        if len(done) == stop_at:
                            use_up_quota(cp, 3600)

    with pytest.raises(RateLimitExhausted):
        run(5)
    run(None)

    assert done == [(outer, inner) for outer in range(3) for inner in range(3)]


def test_an_inner_loop_that_is_begun_again_after_an_exhausted_quota_makes_the_item_whole(
    manager: CheckpointManager,
) -> None:
    done = []

    def inner_loop(cp: Any, outer: int) -> None:
        for inner in cp.remaining(range(3)):
            done.append((outer, inner))
            if len(done) == 5:
                use_up_quota(cp, 3600)

    with checkpointed("job", manager=manager, on_exhausted=refusing(1)) as cp:
        for outer in cp.remaining(range(3)):
            try:
                inner_loop(cp, outer)
            except RateLimitExhausted:
                inner_loop(cp, outer)

    assert sorted(set(done)) == [(outer, inner) for outer in range(3) for inner in range(3)]
    assert manager.load_checkpoint("job") is None


def test_a_tick_whose_stop_is_caught_has_counted(manager: CheckpointManager) -> None:
    """A tick says that its work is done, so a loop around it may go on."""
    done = []
    with checkpointed("job", manager=manager) as cp:
        for outer in cp.remaining(range(2)):
            for inner in range(3):
                done.append((outer, inner))
                if len(done) == 2:
                    cp.stop()
                with contextlib.suppress(SystemExit):
                    cp.tick()

    assert done == [(outer, inner) for outer in range(2) for inner in range(3)]
