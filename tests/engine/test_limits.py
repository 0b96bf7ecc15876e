"""A run ends before its work does when its time is up or its budget is spent: all saved, with its own exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import tenacity

from resumable import (
    BudgetExhausted,
    Checkpoint,
    CheckpointManager,
    RunAgain,
    StaleCheckpointError,
    StoreError,
    checkpointed,
    every,
    resumable,
)
from resumable._runtime.observer import Observed, Observer, installed
from resumable.testing import FaultyStore, ManualClock, MemoryStore


@pytest.fixture
def manager(clock: ManualClock) -> CheckpointManager:
    return CheckpointManager(store=MemoryStore(), clock=clock)


# -- time


def test_a_loop_ends_in_time_for_an_item_and_the_last_save(manager: CheckpointManager, clock: ManualClock) -> None:
    done: list[int] = []
    began = clock.now()

    with pytest.raises(RunAgain) as raised, checkpointed("crawl", manager=manager, max_runtime=100) as cp:  # noqa: PT012
        for number in cp.remaining(range(50)):
            clock.advance(8)
            done.append(number)

    assert 80 < clock.now() - began <= 90
    assert raised.value.code == 75
    assert "stopped" in str(raised.value)
    with checkpointed("crawl", manager=manager) as cp:
        assert next(iter(cp.remaining(range(50)))) == len(done)


def test_an_item_that_takes_long_leaves_more_room(manager: CheckpointManager, clock: ManualClock) -> None:
    began = clock.now()

    with pytest.raises(RunAgain), checkpointed("crawl", manager=manager, max_runtime=100) as cp:  # noqa: PT012
        for number in cp.remaining(range(99)):
            clock.advance(30 if number == 3 else 1)

    assert clock.now() - began < 100 - 15


def test_a_run_does_one_item_at_least(manager: CheckpointManager, clock: ManualClock) -> None:
    """Else a job whose items take longer than the time it has would never come to its end."""
    for expected in range(3):
        with pytest.raises(RunAgain), checkpointed("crawl", manager=manager, max_runtime=10) as cp:  # noqa: PT012
            for number in cp.remaining(range(4)):
                assert number == expected
                clock.advance(15)

    with checkpointed("crawl", manager=manager, max_runtime=10) as cp:
        assert list(cp.remaining(range(4))) == [3]


@pytest.mark.parametrize("given", [60, 60.0, timedelta(minutes=1)])
def test_a_loop_that_ticks_is_woken_in_time(manager: CheckpointManager, clock: ManualClock, given: Any) -> None:
    ticks = 0
    began = clock.now()

    with pytest.raises(RunAgain), checkpointed("crawl", every(hours=9), manager=manager, max_runtime=given) as cp:  # noqa: PT012
        while True:
            clock.advance(0.01)
            ticks += 1
            cp.state["n"] = ticks
            cp.tick()

    assert 55 < clock.now() - began <= 60
    assert manager.load_checkpoint("crawl").state == {"n": ticks}  # type: ignore[union-attr]


def test_a_wait_for_a_quota_that_outlasts_the_time_is_not_begun(manager: CheckpointManager, clock: ManualClock) -> None:
    began = clock.now()

    with pytest.raises(RunAgain), checkpointed("crawl", manager=manager, max_runtime=600) as cp:  # noqa: PT012
        for _ in cp.remaining(range(3)):
            cp.observe(remaining=0, limit=10, reset_at=clock.utc().timestamp() + 3600)

    assert clock.now() - began < 1


def test_a_last_item_is_not_cut_off(manager: CheckpointManager, clock: ManualClock) -> None:
    with checkpointed("crawl", manager=manager, max_runtime=10) as cp:
        for _ in cp.remaining(range(1)):
            clock.advance(100)
    with checkpointed("crawl", manager=manager, max_runtime=10, total=1) as cp:
        clock.advance(100)
        cp.state["n"] = 1
        cp.tick()

    assert manager.load_checkpoint("crawl") is None


def test_auto_asks_the_batch_system(
    manager: CheckpointManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(clock.utc().timestamp()) + 100))
    began = clock.now()

    with pytest.raises(RunAgain), checkpointed("crawl", manager=manager, max_runtime="auto") as cp:  # noqa: PT012
        for _ in cp.remaining(range(50)):
            clock.advance(10)

    assert 70 < clock.now() - began < 100


def test_auto_is_no_limit_where_nobody_says_when(
    manager: CheckpointManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_END_TIME", "PBS_WALLTIME", "CI_JOB_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)

    with checkpointed("crawl", manager=manager, max_runtime="auto") as cp:
        for _ in cp.remaining(range(5)):
            clock.advance(1e6)


def test_auto_says_that_the_end_is_of_another_job(
    manager: CheckpointManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(clock.utc().timestamp()) - 7200))

    with checkpointed("crawl", manager=manager, max_runtime="auto") as cp:
        for _ in cp.remaining(range(5)):
            clock.advance(1e6)

    assert "the batch system's variables say that the job ended 2h00m ago" in caplog.text


def test_numbers_of_numpy_are_spent_as_well(manager: CheckpointManager) -> None:
    numpy = pytest.importorskip("numpy")
    with checkpointed("crawl", manager=manager) as cp:
        cp.spend(tokens=numpy.int64(3), usd=numpy.float32(0.5))
        assert cp.spent == {"tokens": 3.0, "usd": 0.5}


def test_the_time_is_up_for_maps_and_async_loops(manager: CheckpointManager, clock: ManualClock) -> None:
    async def job() -> None:
        async with checkpointed("async", manager=manager, max_runtime=100) as cp:
            async for _ in cp.remaining(range(50)):
                clock.advance(8)

    with pytest.raises(RunAgain):
        asyncio.run(job())
    with (
        pytest.raises(RunAgain),
        checkpointed("map", manager=manager, max_runtime=100) as cp,
        ThreadPoolExecutor(2) as pool,
    ):
        for _ in cp.map(lambda _: clock.advance(8), range(50), executor=pool, max_in_flight=1):
            pass

    assert {manager.load_checkpoint(name).metadata.processed_items for name in ("async", "map")} <= set(range(8, 13))  # type: ignore[union-attr]


def test_a_retry_does_not_try_again(manager: CheckpointManager, clock: ManualClock) -> None:
    attempts: list[int] = []

    @resumable(
        operation_id="crawl",
        manager=manager,
        max_runtime=100,
        retry=tenacity.Retrying(retry=tenacity.retry_if_exception(lambda error: True)),
    )
    def job(cp: Checkpoint) -> None:
        attempts.append(1)
        for _ in cp.remaining(range(50)):
            clock.advance(8)

    with pytest.raises(RunAgain):
        job()

    assert len(attempts) == 1


def test_a_loop_in_a_thread_that_is_stopped_is_not_taken_for_done(
    manager: CheckpointManager, clock: ManualClock
) -> None:
    """A thread that ends by SystemExit says nothing."""

    def work(cp: Checkpoint) -> None:
        with contextlib.suppress(RunAgain):
            for _ in range(50):
                clock.advance(8)
                cp.state["n"] = cp.state.get("n", 0) + 1
                cp.tick()

    with pytest.raises(RunAgain), checkpointed("crawl", manager=manager, max_runtime=100) as cp:  # noqa: PT012
        thread = threading.Thread(target=work, args=(cp,))
        thread.start()
        thread.join()

    assert 8 < manager.load_checkpoint("crawl").state["n"] < 13  # type: ignore[union-attr]


def test_who_catches_it_in_the_block_keeps_the_checkpoint(manager: CheckpointManager, clock: ManualClock) -> None:
    with checkpointed("crawl", manager=manager, max_runtime=100) as cp:
        try:
            for _ in range(50):
                clock.advance(8)
                cp.tick()
        except RunAgain:
            pass

    assert manager.load_checkpoint("crawl").metadata.last_save_reason.startswith("Stopped: ")  # type: ignore[union-attr]


def test_what_could_not_be_saved_does_not_say_run_again(clock: ManualClock) -> None:
    store = FaultyStore(MemoryStore())
    manager = CheckpointManager(store=store, clock=clock)

    with pytest.raises(RunAgain) as raised, checkpointed("a", every(hours=9), manager=manager, max_runtime=9) as cp:  # noqa: PT012
        for _ in cp.remaining(range(50)):
            clock.advance(2)
            store.fails = StoreError("disk full")

    assert raised.value.code == 1


@pytest.mark.parametrize("given", [0, -1, timedelta(0), "soon", True, [1]])
def test_what_is_no_time_is_refused(given: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="max_runtime must be"):
        checkpointed("crawl", max_runtime=given)
    with pytest.raises((TypeError, ValueError), match="max_runtime must be"):
        resumable(operation_id="crawl", max_runtime=given)(lambda cp: None)


# -- budgets


def spend(manager: CheckpointManager, usd: Any, price: Any = 1) -> list[int]:
    done: list[int] = []
    try:
        with checkpointed("crawl", manager=manager, budget={"usd": usd}) as cp:
            for number in cp.remaining(range(8)):
                cp.spend(usd=price, tokens=100)
                done.append(number)
    except BudgetExhausted:
        pass
    return done


def test_a_budget_counts_over_all_runs_and_a_larger_one_goes_on(manager: CheckpointManager) -> None:
    assert spend(manager, 3) == [0, 1, 2]
    assert spend(manager, 3) == []
    assert spend(manager, 5) == [3, 4]
    assert manager.load_checkpoint("crawl") is not None
    assert spend(manager, Decimal("100.5")) == [5, 6, 7]
    assert manager.load_checkpoint("crawl") is None


def test_a_sum_of_floats_hits_its_budget(manager: CheckpointManager) -> None:
    assert spend(manager, 0.3, 0.1) == [0, 1, 2]


def test_the_error_says_what_is_left(manager: CheckpointManager) -> None:
    with pytest.raises(BudgetExhausted, match=r"usd 6 of 5.*raise budget=") as raised:  # noqa: PT012, SIM117
        with checkpointed("crawl", manager=manager, budget={"usd": 5, "tokens": 1000}) as cp:
            for _ in cp.remaining(range(8)):
                cp.spend(usd=3, tokens=100)

    error = pickle.loads(pickle.dumps(raised.value))
    assert (error.spent, error.left, error.code) == (
        {"usd": 6.0, "tokens": 200.0},
        {"usd": -1.0, "tokens": 800.0},
        75,
    )
    with pytest.raises(BudgetExhausted) as raised, checkpointed("crawl", manager=manager, budget={"usd": 5}):
        pass
    assert raised.value.code == 1


def test_what_was_spent_within_an_unfinished_item_counts(manager: CheckpointManager) -> None:
    with pytest.raises(ConnectionError), checkpointed("crawl", manager=manager) as cp:  # noqa: PT012
        for _ in cp.remaining(range(8)):
            cp.spend(usd=2)
            raise ConnectionError
    with checkpointed("crawl", manager=manager) as cp:
        assert cp.spent == {"usd": 2.0}
        cp.keep()


def test_workers_spend(manager: CheckpointManager) -> None:
    def work(number: int) -> int:
        checkpoint.spend(usd=1)
        return number

    with (
        pytest.raises(BudgetExhausted),
        checkpointed("crawl", manager=manager, budget={"usd": 5}) as checkpoint,
        ThreadPoolExecutor(2) as pool,
    ):
        for _ in checkpoint.map(work, range(100), executor=pool, max_in_flight=2):
            pass

    assert 5 <= checkpoint.spent["usd"] <= 10


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), "1", True, None])
def test_what_is_no_amount_is_refused_and_not_counted(manager: CheckpointManager, amount: Any) -> None:
    with checkpointed("crawl", manager=manager) as cp:
        with pytest.raises((TypeError, ValueError), match="usd must be"):
            cp.spend(tokens=1, usd=amount)
        assert cp.spent == {}
    with pytest.raises((TypeError, ValueError), match="usd must be"):
        checkpointed("crawl", budget={"usd": amount})


# -- exit codes


def exit_code(path: Path, body: str) -> tuple[int | None, str]:
    program = f"import time\nfrom resumable import *\n{body}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=path, capture_output=True, text=True, check=False, timeout=300
    )
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "item", "says"),
    [
        pytest.param("max_runtime=0.5", "time.sleep(0.05)", "has stopped, because its", id="time"),
        pytest.param("budget={'usd': 1}", "cp.spend(usd=1)", "has spent its budget (usd 1 of 1)", id="budget"),
        pytest.param(
            "on_exhausted='raise'",
            "cp.observe(remaining=0, limit=9, reset_at=time.time() + 99)",
            "RateLimitExhausted: the rate limit is used up",
            id="rate limit",
        ),
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        "with checkpointed('a', {options}) as cp:\n  for _ in cp.remaining(range(99)):\n    {item}",
        "@resumable(operation_id='a', {options})\ndef f(cp):\n  for _ in cp.remaining(range(99)):\n    {item}\nf()",
        "import asyncio\nasync def f():\n  async with checkpointed('a', {options}) as cp:\n"
        "    async for _ in cp.remaining(range(99)):\n      {item}\nasyncio.run(f())",
    ],
    ids=["block", "function", "async"],
)
def test_exit_code_75_says_run_again(tmp_path: Path, options: str, item: str, says: str, form: str) -> None:
    code, shown = exit_code(tmp_path, form.format(options=options, item=item))

    assert code == 75
    assert says in shown


@pytest.mark.slow
def test_other_errors_keep_their_exit_code(tmp_path: Path) -> None:
    body = (
        "try:\n  with checkpointed('a', on_exhausted='raise') as cp:\n    for _ in cp.remaining(range(9)):\n"
        "      cp.observe(remaining=0, limit=9, reset_at=time.time() + 99)\nexcept RateLimitExhausted: pass\n1 / 0"
    )

    assert exit_code(tmp_path, body)[0] == 1


# -- saves that fail


@pytest.fixture
def faulty() -> FaultyStore:
    return FaultyStore(MemoryStore())


def test_a_full_disk_is_outlived(faulty: FaultyStore, clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    manager = CheckpointManager(store=faulty, clock=clock)
    tries: list[int] = []

    with checkpointed("crawl", every(items=2), manager=manager, on_save_error="warn") as cp, caplog.at_level("WARNING"):
        for number in cp.remaining(range(20)):
            faulty.fails = StoreError("disk full") if 4 <= number < 12 else None
            if cp.metadata.save_count and (not tries or tries[-1] != cp.metadata.save_count):
                tries.append(cp.metadata.save_count)
        cp.keep()

    told = [record.getMessage() for record in caplog.records if "cannot be saved" in record.getMessage()]
    assert len(told) == 1
    assert "disk full" in told[0]
    assert manager.load_checkpoint("crawl").metadata.processed_items == 20  # type: ignore[union-attr]
    assert len(tries) >= 5


def test_a_save_that_failed_is_tried_again_when_the_next_one_is_due(faulty: FaultyStore, clock: ManualClock) -> None:
    """Not at each item: an attempt costs as much as a save."""
    manager = CheckpointManager(store=faulty, clock=clock)
    tries: list[float] = []

    class Counting(Observer):
        def failed(self, operation: Observed, error: BaseException) -> None:
            tries.append(clock.now())

    began = clock.now()
    with (
        installed(Counting()),
        checkpointed("crawl", every(minutes=5), manager=manager, on_save_error="warn") as cp,
    ):
        faulty.fails_on["write"] = StoreError("disk full")
        for _ in cp.remaining(range(20)):
            clock.advance(60)
        faulty.fails_on.clear()
        cp.keep()

    assert [round(at - began) for at in tries] == [300, 600, 900]
    assert manager.load_checkpoint("crawl").metadata.processed_items == 20  # type: ignore[union-attr]


@pytest.mark.parametrize("how", [lambda cp: cp.save(), lambda cp: None], ids=["asked for", "the last one"])
def test_a_save_that_must_stand_raises(faulty: FaultyStore, how: Callable[[Any], object]) -> None:
    block = checkpointed("crawl", every(items=1), manager=CheckpointManager(store=faulty), on_save_error="warn")

    with pytest.raises(StoreError, match="disk full"), block as cp:  # noqa: PT012
        cp.keep()
        cp.tick()
        faulty.fails = StoreError("disk full")
        cp.tick()
        how(cp)


def test_a_lost_lease_is_not_outlived(faulty: FaultyStore) -> None:
    block = checkpointed("crawl", every(items=1), manager=CheckpointManager(store=faulty), on_save_error="warn")

    with pytest.raises(StaleCheckpointError), block as cp:  # noqa: PT012
        faulty.fails = StaleCheckpointError("crawl")
        cp.tick()


def test_a_wrong_word_is_refused() -> None:
    with pytest.raises(ValueError, match="on_save_error must be"):
        checkpointed("crawl", on_save_error="ignore")  # type: ignore[arg-type]


def test_the_log_says_how_far_it_is(
    manager: CheckpointManager, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with (  # noqa: PT012
        pytest.raises(RunAgain),
        caplog.at_level(logging.WARNING),
        checkpointed("crawl", manager=manager, max_runtime=100) as cp,
    ):
        for _ in cp.remaining(range(50)):
            clock.advance(10)

    assert (
        "'crawl' has stopped, because its time limit of 2 min is reached. Saved; run it again to go on. "
        "9 of 50 items are done" in caplog.text
    )
