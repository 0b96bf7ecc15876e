"""What both checkpoints share: state, metadata, counts of items, threads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    CheckpointManager,
    SaveStrategy,
    auto,
    checkpointed,
    every,
)
from resumable._engine.session import Session
from resumable.testing import ManualClock
from tests.support.blocks import Stop, saved, stopped
from tests.support.interrupts import busy_switching


def test_the_state_may_be_replaced_by_another_dict(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.state = {"new": 1}
        cp.save()

        assert saved(manager).state == {"new": 1}


def test_metadata_can_be_set_and_is_kept(manager: CheckpointManager) -> None:
    with stopped(), checkpointed("job", manager=manager, total=9) as cp:
        cp.metadata.tool_name = "crawler"
        cp.metadata.extra["mine"] = [1]
        cp.error()
        raise Stop

    with checkpointed("job", manager=manager) as cp:
        assert cp.metadata.tool_name == "crawler"
        assert cp.metadata.extra == {"mine": [1]}
        assert cp.metadata.total_items == 9
        assert cp.metadata.error_count == 1


def test_save_count_goes_on_over_runs(manager: CheckpointManager) -> None:
    for _ in range(3):
        with stopped(), checkpointed("job", manager=manager) as cp:
            cp.save()
            raise Stop

    assert saved(manager).metadata.save_count == 6


def test_a_tick_saves_each_so_many_items(manager: CheckpointManager) -> None:
    saves = []
    with checkpointed("job", every(items=3), manager=manager) as cp:
        for _ in range(10):
            cp.tick()
            saves.append(cp.metadata.save_count)

    assert saves == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]


def test_a_tick_of_many_items_counts_them_all(manager: CheckpointManager) -> None:
    with checkpointed("job", every(items=100), manager=manager) as cp:
        cp.tick(250)
        assert saved(manager).metadata.processed_items == 250
        cp.tick(99)
        assert cp.metadata.save_count == 1
        cp.tick()
        assert cp.metadata.save_count == 2


def test_a_tick_saves_each_so_many_seconds(manager: CheckpointManager, clock: ManualClock) -> None:
    saves = []
    with checkpointed("job", every(seconds=60), manager=manager) as cp:
        for _ in range(7):
            clock.advance(25)
            cp.tick()
            saves.append(cp.metadata.save_count)

    assert saves == [0, 0, 1, 1, 1, 2, 2]


def test_time_is_seen_without_asking_the_clock_at_each_tick(manager: CheckpointManager, clock: ManualClock) -> None:
    class Counting(ManualClock):
        looks = 0

        def now(self) -> float:
            self.looks += 1
            return super().now()

    counting = Counting()
    manager.clock = counting
    with checkpointed("job", every(seconds=60), manager=manager) as cp:
        cp.tick()
        before = counting.looks
        for _ in range(10_000):
            cp.tick()
        assert counting.looks == before
        counting.advance(61)
        cp.tick()
        assert cp.metadata.save_count == 1


def test_a_strategy_of_the_users_is_asked_at_each_tick(manager: CheckpointManager) -> None:
    class Third(SaveStrategy):
        def should_save(self, context: Any) -> Any:
            return context.processed_items % 3 == 0, "Third: as I like it"

    with checkpointed("job", Third(), manager=manager) as cp:
        cp.tick()
        cp.tick()
        assert manager.list_checkpoints() == []
        cp.tick()
        assert saved(manager).metadata.last_save_reason == "Third: as I like it"


def test_the_first_tick_of_the_automatic_strategy_saves_once(manager: CheckpointManager) -> None:
    """It must learn what a save costs."""
    with checkpointed("job", auto(), manager=manager) as cp:
        cp.tick()
        assert saved(manager).metadata.save_count == 1


@pytest.fixture
def _busy_threads() -> Any:
    with busy_switching():
        yield


def in_threads(count: int, work: Any) -> list[BaseException]:
    """Run *work* in that many threads at once. Returns what they raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.usefixtures("_busy_threads")
def test_thirty_two_threads_tick_one_checkpoint_and_the_count_is_exact(manager: CheckpointManager) -> None:
    with checkpointed("job", every(items=997), manager=manager) as cp:
        errors = in_threads(32, lambda: [cp.tick() for _ in range(5_000)])

        assert errors == []
        assert cp.processed_items == 160_000
        assert cp.metadata.save_count >= 150
        cp.save()
        assert saved(manager).metadata.processed_items == 160_000


@pytest.mark.usefixtures("_busy_threads")
def test_threads_may_observe_and_count_errors_while_others_save(manager: CheckpointManager) -> None:
    with checkpointed("job", every(items=50), manager=manager) as cp:

        def work() -> None:
            for _ in range(100):
                # Of one window, the lowest number stays: a thread may be held up between asking and telling.
                cp.observe(remaining=next(left), limit=5000, reset_at=reset_at)
                cp.error()
                cp.tick()

        left = iter(range(4000, 0, -1))
        reset_at = manager.clock.utc().timestamp() + 3600
        errors = in_threads(16, work)

        assert errors == []
        assert cp.metadata.error_count == cp.processed_items == 1600
        assert cp.metadata.rate_limit_remaining == 4000 - 1599


def test_a_thread_held_up_in_observe_does_not_undo_what_another_observed(
    manager: CheckpointManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_held, may_go = threading.Event(), threading.Event()
    observe = Session.observe

    def held_up(session: Session, remaining: int, total: int | None) -> None:
        if remaining == 40:
            is_held.set()
            may_go.wait(0.3)
        observe(session, remaining, total)

    monkeypatch.setattr(Session, "observe", held_up)
    with checkpointed("job", manager=manager) as cp:
        older = threading.Thread(target=lambda: cp.observe(remaining=40, limit=50))
        older.start()
        assert is_held.wait(10)
        cp.observe(remaining=39, limit=50)
        may_go.set()
        older.join()

        assert cp.metadata.rate_limit_remaining == 39


@pytest.mark.slow
@pytest.mark.usefixtures("_busy_threads")
def test_threads_may_add_to_the_state_while_another_saves(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, save_strategy=every(items=1))
    names = iter(range(10**9))

    def work() -> None:
        for _ in range(60):
            cp.state[f"key {next(names)}"] = [1, 2]
            cp.tick()

    with stopped(), checkpointed("job", manager=manager) as cp:
        errors = in_threads(8, work)
        raise Stop

    assert errors == []
    assert len(saved(manager).state) == 480
