"""``when_done="skip"``: what has finished stays done until somebody says otherwise."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from resumable import (
    AsyncCheckpoint,
    Checkpoint,
    CheckpointManager,
    InputChangedError,
    ResumableError,
    checkpointed,
    every,
    resumable,
)
from resumable.cli._commands import commands
from resumable.stores import MemoryStore
from resumable.testing import ManualClock
from tests.support import stores


@pytest.fixture
def manager(clock: ManualClock) -> CheckpointManager:
    return CheckpointManager(store=MemoryStore(), clock=clock)


def crawl(
    manager: CheckpointManager, count: int = 5, fails_at: int = -1, **options: Any
) -> tuple[list[int], bool, Any]:
    done: list[int] = []
    with checkpointed("crawl", manager=manager, **{"when_done": "skip", **options}) as cp:
        pages = cp.mapping("pages")
        for number in cp.remaining(range(count)):
            if number == fails_at:
                raise ConnectionError
            done.append(number)
            pages[str(number)] = number
        return done, cp.is_done, dict(pages)


PAGES = {str(number): number for number in range(5)}


def test_a_block_that_has_finished_gives_nothing_out_and_has_its_state(manager: CheckpointManager) -> None:
    """What comes after the loop runs again, and must not see an empty state."""
    assert crawl(manager) == ([0, 1, 2, 3, 4], False, PAGES)
    before = stores.document(manager.store, "crawl")

    assert crawl(manager) == ([], True, PAGES)
    assert crawl(manager, count=9) == ([], True, PAGES), "other items are nothing to do, either"
    assert stores.document(manager.store, "crawl") == before
    assert crawl(manager, resume=False)[0] == [0, 1, 2, 3, 4]
    assert crawl(manager)[0] == []


def test_what_has_not_finished_goes_on(manager: CheckpointManager) -> None:
    with pytest.raises(ConnectionError):
        crawl(manager, fails_at=3)

    assert crawl(manager)[0] == [3, 4]
    assert crawl(manager)[0] == []


def test_by_default_what_has_finished_is_done_anew(manager: CheckpointManager) -> None:
    assert crawl(manager, when_done="restart")[0] == [0, 1, 2, 3, 4]
    assert stores.keys(manager.store) == []
    assert crawl(manager)[0] == [0, 1, 2, 3, 4]
    assert crawl(manager, when_done="restart") == ([0, 1, 2, 3, 4], False, PAGES)
    assert stores.keys(manager.store) == []


def test_a_checkpoint_that_was_kept_as_finished_counts(manager: CheckpointManager) -> None:
    crawl(manager, when_done="restart", auto_cleanup=False)

    assert crawl(manager) == ([], True, PAGES)


def test_a_loop_that_ticks_goes_on_with_what_is_new(manager: CheckpointManager) -> None:
    def job(count: int) -> int:
        with checkpointed("crawl", every(items=1), manager=manager, when_done="skip") as cp:
            done = cp.state.setdefault("done", [])
            before = len(done)
            for number in range(before, count):
                done.append(number)
                cp.tick()
            return len(done) - before

    assert [job(5), job(5), job(8), job(8)] == [5, 0, 3, 0]


def test_an_error_in_a_block_that_stays_done_changes_nothing(manager: CheckpointManager) -> None:
    crawl(manager)
    before = stores.document(manager.store, "crawl")

    with pytest.raises(ZeroDivisionError), checkpointed("crawl", manager=manager, when_done="skip"):
        raise ZeroDivisionError

    assert stores.document(manager.store, "crawl") == before


def test_maps_and_async_loops_give_nothing_out(manager: CheckpointManager) -> None:
    async def job() -> int:
        count = 0
        async with checkpointed("crawl", manager=manager, when_done="skip") as cp:
            async for _ in cp.remaining(range(3)):
                count += 1
            async for _ in cp.amap(asyncio.sleep, [0, 0]):
                count += 1
        return count

    def fetch(cursor: Any) -> tuple[list[int], None]:
        return [1, 2], None

    def mapped() -> int:
        with checkpointed("map", manager=manager, when_done="skip") as cp:
            return (
                len(list(cp.map(str, range(3))))
                + len(list(cp.remaining(["a", "b"], key=str)))
                + len(list(cp.pages(fetch)))
            )

    assert [asyncio.run(job()), asyncio.run(job())] == [5, 0]
    assert [mapped(), mapped()] == [7, 0]


# -- decorated functions


def function(manager: CheckpointManager, calls: list[Any], result: Any = None, **options: Any) -> Any:
    @resumable(operation_id="job", manager=manager, when_done="skip", **options)
    def job(cp: Checkpoint, *arguments: Any) -> Any:
        big = cp.mapping("big")
        for number in cp.remaining(range(100)):
            big[str(number)] = "x" * 200
        calls.append(arguments)
        return result

    return job


@pytest.mark.parametrize("result", [None, {"n": [1, 2.5, "x"]}, "text", 0, False])
def test_a_function_is_called_once_and_its_result_given_back(manager: CheckpointManager, result: Any) -> None:
    calls: list[Any] = []
    job = function(manager, calls, result)

    assert [job(), job(), job()] == [result] * 3
    assert len(calls) == 1


def test_a_function_leaves_a_small_marker(tmp_path: Path) -> None:
    calls: list[Any] = []
    manager = CheckpointManager(tmp_path)
    job = function(manager, calls, 7, strategy=every(items=10))

    assert [job(), job()] == [7, 7]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 8192


def test_a_function_that_keeps_its_state_has_it(manager: CheckpointManager) -> None:
    job = function(manager, [], 7, auto_cleanup=False)

    assert [job(), job()] == [7, 7]
    assert len(manager.load_checkpoint("job").state["big"]) == 100  # type: ignore[union-attr]


def test_a_marker_has_no_typed_state(manager: CheckpointManager) -> None:
    calls: list[int] = []

    @dataclass
    class Pages:
        urls: list[str] = field(default_factory=list)

    @resumable(operation_id="job", manager=manager, when_done="skip", state=Pages)
    def job(cp: Checkpoint[Any]) -> int:
        calls.append(1)
        cp.state.urls.append("a")
        cp.tick()
        return len(cp.state.urls)

    assert [job(), job()] == [1, 1]
    assert calls == [1]


def test_an_async_function_too(manager: CheckpointManager) -> None:
    calls: list[int] = []

    @resumable(operation_id="job", manager=manager, when_done="skip")
    async def job(cp: AsyncCheckpoint) -> int:
        calls.append(1)
        return 7

    assert [asyncio.run(job()), asyncio.run(job())] == [7, 7]
    assert calls == [1]


def test_each_call_has_its_own_marker_and_other_arguments_are_refused(manager: CheckpointManager) -> None:
    @resumable(operation_id="job_{number}", manager=manager, when_done="skip")
    def job(cp: Checkpoint, number: int, more: str = "") -> int:
        return number * 2

    assert [job(1), job(2), job(1)] == [2, 4, 2]
    with pytest.raises(InputChangedError, match="more was ''"):
        job(1, more="x")


def test_a_result_that_cannot_be_kept_is_told_and_never_made_up(
    manager: CheckpointManager, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Any] = []
    job = function(manager, calls, {1, 2})

    assert job() == {1, 2}
    assert "its result cannot be kept" in caplog.text
    with pytest.raises(ResumableError, match="JSON cannot hold a set"):
        job()
    assert len(calls) == 1


def test_a_function_that_fails_is_called_again(manager: CheckpointManager) -> None:
    calls: list[int] = []

    @resumable(operation_id="job", manager=manager, when_done="skip")
    def job(cp: Checkpoint) -> int:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError
        return 7

    with pytest.raises(ConnectionError):
        job()
    assert [job(), job()] == [7, 7]
    assert len(calls) == 2


# -- what people see


def test_it_says_since_when(manager: CheckpointManager, clock: ManualClock, capsys: pytest.CaptureFixture[str]) -> None:
    crawl(manager)
    clock.advance(3 * 3600 + 60)
    crawl(manager)

    assert "crawl: finished already, 3 h ago; nothing to do." in capsys.readouterr().err


def test_the_command_line_knows_it(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    function(manager, [], 7)()
    runner, where = CliRunner(), ["--dir", str(tmp_path)]

    assert "finished" in runner.invoke(commands, ["list", *where]).output
    shown = runner.invoke(commands, ["show", "job", *where]).output
    assert "stays done" in shown
    assert "its result is kept" in shown
    runner.invoke(commands, ["rm", "-y", "job", *where])
    calls: list[Any] = []
    function(manager, calls)()
    assert len(calls) == 1


def test_a_wrong_word_is_refused() -> None:
    with pytest.raises(ValueError, match="when_done must be 'restart' or 'skip'"):
        checkpointed("crawl", when_done="ignore")  # type: ignore[arg-type]
