"""Functions that are called before each save, to bring the state up to date."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointContext, SaveDecision, SaveStrategy, StoreError, checkpointed, every
from resumable._models import SaveCosts
from resumable.stores import FileStore


class Stop(Exception):
    """Ends a run as an error of the program's own does."""


def restored(path: Path) -> Any:
    with checkpointed("job", store=path) as cp:
        cp.keep()
        return cp.state, cp.processed_items


@pytest.mark.parametrize("entries", [1, 5000], ids=["small", "written by a thread"])
def test_it_is_called_once_for_each_save_and_in_the_loops_thread(entries: int, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    total = 0
    with contextlib.suppress(Stop), checkpointed("job", every(items=3), store=tmp_path) as cp:
        cp.state["filling"] = ["x" * 20] * entries

        @cp.before_save
        def bring() -> None:
            cp.state["total"] = total
            calls.append((threading.get_ident(), cp.metadata.save_count))

        for number in cp.remaining(range(20)):
            if number == 10:
                raise Stop
            total += number
    saves = cp.metadata.save_count
    assert {thread for thread, _ in calls} == {threading.get_ident()}
    assert len(calls) == saves >= 3
    state, done = restored(tmp_path)
    assert (state["total"], done) == (sum(range(10)), 10)


def test_it_may_write_to_collections_which_the_save_then_holds(tmp_path: Path) -> None:
    with contextlib.suppress(Stop), checkpointed("job", every(items=1), store=tmp_path) as cp:
        counts = cp.mapping("counts")
        done = 0
        cp.before_save(lambda: counts.update(done=done))
        for number in cp.remaining(range(5)):
            if number == 3:
                raise Stop
            done += 1
    state, _ = restored(tmp_path)
    assert state["counts"]["done"] >= 2


def test_its_time_is_part_of_what_the_save_costs(tmp_path: Path) -> None:
    class Asked(SaveStrategy):
        costs = SaveCosts()

        def should_save(self, context: CheckpointContext) -> SaveDecision:
            self.costs = context.save_costs or self.costs
            return SaveDecision(True, "Always")

    strategy = Asked()
    with checkpointed("job", strategy, store=tmp_path) as cp:
        cp.before_save(lambda: time.sleep(0.05))
        for _ in cp.remaining(range(4)):
            pass
    assert (strategy.costs.average_seconds or 0) >= 0.04


def test_what_it_raises_is_the_failure_of_the_save(tmp_path: Path) -> None:
    is_bad = False

    def bring() -> None:
        if is_bad:
            raise StoreError("cannot copy")

    with checkpointed("job", every(items=1), store=tmp_path, auto_cleanup=False, on_save_error="warn") as cp:
        cp.before_save(bring)
        cp.state["n"] = 1
        cp.tick()
        is_bad = True
        cp.state["n"] = 2
        cp.tick()  # told in the log; what was saved stands
        with pytest.raises(StoreError, match="cannot copy"):
            cp.save()
        assert FileStore(tmp_path).read("job") is not None
        is_bad = False


def test_an_async_checkpoint_calls_it_in_the_event_loop(tmp_path: Path) -> None:
    async def run() -> None:
        total = 0
        async with checkpointed("job", every(items=2), store=tmp_path) as cp:
            cp.before_save(lambda: cp.state.update(total=total, task=asyncio.current_task() is not None))
            async for number in cp.remaining(range(9)):
                if number == 5:
                    raise Stop
                total += number

    with pytest.raises(Stop):
        asyncio.run(run())
    assert restored(tmp_path)[0] == {"total": 10, "task": True}


def test_async_functions_are_refused(tmp_path: Path) -> None:
    async def bring() -> None: ...

    with checkpointed("job", store=tmp_path) as cp, pytest.raises(TypeError, match="plain function"):
        cp.before_save(bring)


def test_a_save_in_it_is_no_save_of_its_own(tmp_path: Path) -> None:
    with checkpointed("job", every(items=1), store=tmp_path) as cp:
        calls: list[int] = []

        def bring() -> None:
            calls.append(1)
            cp.save()

        cp.before_save(bring)
        cp.state["n"] = 1
        cp.tick()
        assert len(calls) == cp.metadata.save_count == 1
