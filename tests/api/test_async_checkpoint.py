"""Checkpoints under asyncio, and above all what a cancellation leaves."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import tenacity

from resumable import (
    AsyncCheckpoint,
    CheckpointBusyError,
    CheckpointData,
    CheckpointManager,
    InputChangedError,
    StateEncodeError,
    StoreError,
    checkpointed,
    current_checkpoint,
    every,
)
from resumable._runtime import disk
from resumable.testing import FaultyStore, ManualClock, MemoryStore
from tests.support.stores import DictStore

NEVER = every(hours=1000)


class Stop(Exception):
    """What leaves a block in these tests."""


class SlowStore(DictStore):
    """A store whose writes wait in their thread until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.began = threading.Event()
        self.may_go_on = threading.Event()
        self.threads: set[threading.Thread] = set()

    def put(self, key: str, blob: bytes) -> str:
        self.threads.add(threading.current_thread())
        self.began.set()
        assert self.may_go_on.wait(100)
        return super().put(key, blob)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(100):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def manager(store: FaultyStore) -> CheckpointManager:
    return CheckpointManager(store=store, clock=ManualClock(), save_strategy=NEVER)


def saved(manager: CheckpointManager) -> CheckpointData:
    data = manager.load_checkpoint("job")
    assert data is not None
    return data


# -- the same names ---------------------------------------------------------------------------------------------------


async def test_an_operation_is_resumed_and_removed_at_a_clean_exit(manager: CheckpointManager) -> None:
    with pytest.raises(Stop):  # noqa: PT012
        async with checkpointed("job", manager=manager) as cp:
            assert isinstance(cp, AsyncCheckpoint)
            assert not cp.resumed
            cp.state["n"] = 1
            await cp.tick(3)
            raise Stop
    assert saved(manager).metadata.last_save_reason == "Interrupted: Stop"

    async with checkpointed("job", manager=manager) as cp:
        assert cp.resumed
        assert cp.state == {"n": 1}
        assert cp.processed_items == 3
        assert current_checkpoint() is cp
    assert manager.list_checkpoints() == []


async def test_ticks_save_each_so_many_items(manager: CheckpointManager) -> None:
    counts = []
    async with checkpointed("job", every(items=3), manager=manager) as cp:
        for _ in range(7):
            await cp.tick()
            counts.append(cp.metadata.save_count)

    assert counts == [0, 0, 1, 1, 1, 2, 2]


async def test_a_tick_that_is_not_due_does_not_give_way_to_other_tasks(manager: CheckpointManager) -> None:
    """Awaiting it must cost next to nothing."""
    other_ran = False

    async def other() -> None:
        nonlocal other_ran
        other_ran = True

    async with checkpointed("job", manager=manager) as cp:
        await cp.tick()
        task = asyncio.create_task(other())
        for _ in range(100):
            await cp.tick()
        assert not other_ran
        await task


async def test_the_store_is_written_in_a_thread_while_the_loop_goes_on() -> None:
    slow = SlowStore()
    async with checkpointed("job", NEVER, store=slow) as cp:
        save = asyncio.create_task(cp.save())
        await until(slow.began.is_set)
        assert not save.done()
        slow.may_go_on.set()
        await save

    assert threading.main_thread() not in slow.threads


async def test_what_changes_while_a_save_is_written_is_not_in_it() -> None:
    """It was encoded before the write began."""
    slow = SlowStore()
    manager = CheckpointManager(store=slow)
    async with checkpointed("job", NEVER, manager=manager) as cp:
        cp.state["n"] = 1
        save = asyncio.create_task(cp.save())
        await until(slow.began.is_set)
        cp.state["n"] = 2
        slow.may_go_on.set()
        await save
        assert saved(manager).state == {"n": 1}
        await cp.save()
        assert saved(manager).state == {"n": 2}


async def test_many_tasks_tick_one_checkpoint(manager: CheckpointManager) -> None:
    async def work(cp: AsyncCheckpoint[Any], name: str) -> None:
        for number in range(50):
            await asyncio.sleep(0)
            cp.state[name] = number + 1
            await cp.tick()

    async with checkpointed("job", every(items=7), manager=manager, auto_cleanup=False) as cp:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(work(cp, str(number)))
        assert cp.processed_items == 1000

    assert saved(manager).metadata.processed_items == 1000
    assert set(saved(manager).state.values()) == {50}


async def test_an_error_of_a_save_comes_out_of_the_tick(manager: CheckpointManager, store: FaultyStore) -> None:
    async with checkpointed("job", every(items=1), manager=manager) as cp:
        store.fail_next("write", error=StoreError("disk full"))
        with pytest.raises(StoreError, match="disk full"):
            await cp.tick()
        await cp.tick()
        assert saved(manager).metadata.processed_items == 2
        assert saved(manager).metadata.save_count == 1

        cp.state["bad"] = {1}
        with pytest.raises(StateEncodeError):
            await cp.tick()
        del cp.state["bad"]


async def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    async with checkpointed("job", store=tmp_path):
        with pytest.raises(CheckpointBusyError):
            async with checkpointed("job", store=tmp_path):
                pytest.fail("the block must not be entered")


async def test_one_checkpoint_is_current_in_each_task(manager: CheckpointManager) -> None:
    async def work(name: str) -> None:
        async with checkpointed(name, manager=manager) as cp:
            await asyncio.sleep(0.001)
            assert current_checkpoint() is cp

    await asyncio.gather(*(work(str(number)) for number in range(10)))


# -- loops ------------------------------------------------------------------------------------------------------------


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


SOURCES: dict[str, Callable[[], Any]] = {"list": lambda: list(range(10)), "async generator": lambda: numbers(10)}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("key", [None, lambda item: item], ids=["by position", "by key"])
async def test_a_loop_goes_on_where_it_stopped(source: str, key: Any, manager: CheckpointManager) -> None:
    done = []
    for stop in (3, 3, 7, None):
        try:
            async with checkpointed("job", manager=manager) as cp:
                async for item in cp.remaining(SOURCES[source](), key=key):
                    if item == stop:
                        raise Stop
                    done.append(item)
        except Stop:
            assert saved(manager).metadata.processed_items == stop

    assert done == list(range(10))
    assert manager.list_checkpoints() == []


async def test_a_loop_left_by_break_keeps_the_checkpoint(manager: CheckpointManager) -> None:
    async with checkpointed("job", manager=manager) as cp:
        async for item in cp.remaining(range(10)):
            if item == 4:
                break

    assert saved(manager).metadata.processed_items == 4


async def test_a_changed_input_is_refused(manager: CheckpointManager) -> None:
    with pytest.raises(Stop):  # noqa: PT012
        async with checkpointed("job", manager=manager) as cp:
            async for item in cp.remaining(["a", "b", "c"]):
                if item == "c":
                    raise Stop

    with pytest.raises(InputChangedError):  # noqa: PT012
        async with checkpointed("job", manager=manager) as cp:
            async for _ in cp.remaining(["x", "b", "c"]):
                pytest.fail("nothing may be done")


async def test_a_loop_in_a_retried_attempt_goes_on_where_the_attempt_before_left_it(manager: CheckpointManager) -> None:
    done, failures = [], iter([2, 5])
    fails_at = next(failures)
    async with checkpointed("job", manager=manager) as cp:
        async for attempt in cp.retrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none()):
            with attempt:
                async for item in cp.remaining(range(8)):
                    if item == fails_at:
                        fails_at = next(failures, -1)
                        raise ConnectionError
                    done.append(item)

    assert done == list(range(8))
    assert manager.list_checkpoints() == []


# -- cancellation -----------------------------------------------------------------------------------------------------


async def cancelled_at(work: Callable[[], Any], when: Callable[[], bool]) -> asyncio.Task[Any]:
    task = asyncio.create_task(work())
    await until(when)
    task.cancel()
    return task


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancellation_at_any_await_saves_what_was_ticked(turns: int, tmp_path: Path) -> None:
    """After how many turns of the loop it comes decides at which await: in the item, a save, the exit."""
    manager = CheckpointManager(tmp_path, save_strategy=every(items=2))
    ticked = 0

    async def work() -> None:
        nonlocal ticked
        async with checkpointed("job", manager=manager) as cp:
            while True:
                cp.state["n"] = cp.state.get("n", 0) + 1
                ticked += 1
                await cp.tick()
                await asyncio.sleep(0)

    task = asyncio.create_task(work())
    await until(lambda: ticked > 0)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ticked > 0
    assert saved(manager).state == {"n": ticked}
    assert saved(manager).metadata.processed_items == ticked
    assert saved(manager).metadata.last_save_reason == "Interrupted: CancelledError"


async def test_a_cancellation_during_a_save_waits_for_it_and_is_raised() -> None:
    slow = SlowStore()
    manager = CheckpointManager(store=slow)

    async def work() -> None:
        async with checkpointed("job", NEVER, manager=manager) as cp:
            await cp.tick(5)
            await cp.save("Mine")
            pytest.fail("the cancellation must come out of the save")

    task = await cancelled_at(work, slow.began.is_set)
    await asyncio.sleep(0.01)
    assert not task.done()
    slow.may_go_on.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert saved(manager).metadata.save_count == 2
    assert saved(manager).metadata.processed_items == 5


async def test_a_second_cancellation_does_not_break_the_save_either() -> None:
    slow = SlowStore()
    manager = CheckpointManager(store=slow)
    ticked = asyncio.Event()

    async def work() -> None:
        async with checkpointed("job", NEVER, manager=manager) as cp:
            await cp.tick(5)
            ticked.set()
            await asyncio.sleep(3600)

    task = await cancelled_at(work, ticked.is_set)
    await until(slow.began.is_set)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.005)
    assert not task.done()
    slow.may_go_on.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert saved(manager).metadata.processed_items == 5


async def test_a_cancelled_operation_is_free_again_when_the_task_is_done(tmp_path: Path) -> None:
    async def work() -> None:
        async with checkpointed("job", store=tmp_path) as cp:
            await cp.tick()
            await asyncio.sleep(3600)

    for _ in range(3):
        task = await cancelled_at(work, lambda: (tmp_path / ".checkpoint_job.json").exists())
        with pytest.raises(asyncio.CancelledError):
            await task

    async with checkpointed("job", store=tmp_path) as cp:
        assert cp.resumed


async def test_a_timeout_saves_and_is_a_timeout(manager: CheckpointManager) -> None:
    with pytest.raises(TimeoutError):  # noqa: PT012
        async with asyncio.timeout(None) as limit, checkpointed("job", manager=manager) as cp:
            await cp.tick(2)
            limit.reschedule(asyncio.get_running_loop().time())
            await asyncio.sleep(3600)

    assert saved(manager).metadata.processed_items == 2


async def test_a_cancellation_and_a_save_that_fails_is_still_a_cancellation(
    manager: CheckpointManager, store: FaultyStore
) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with checkpointed("job", manager=manager) as cp:
            await cp.tick()
            store.fails_on["write"] = StoreError("disk full")
            entered.set()
            await asyncio.sleep(3600)

    task = await cancelled_at(work, entered.is_set)
    with pytest.raises(asyncio.CancelledError) as raised:
        await task

    assert any("disk full" in note for note in raised.value.__notes__)


async def test_a_cancellation_on_entry_owns_nothing(tmp_path: Path) -> None:
    block = checkpointed("job", store=tmp_path)

    async def work() -> None:
        async with block:
            await asyncio.sleep(3600)

    for turns in range(4):
        task = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async with checkpointed("job", store=tmp_path):
        pass


class SlowClaims(MemoryStore):
    """A store whose claims wait in their thread until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.may_go_on = threading.Event(), threading.Event()

    def claim(self, key: str, me: Any, **how: Any) -> Any:
        self.began.set()
        assert self.may_go_on.wait(100)
        return super().claim(key, me, **how)


def ends_by_another_task(work: Callable[[], Any], store: SlowClaims | SlowStore, when: threading.Event) -> None:
    """Run *work* in asyncio.run(), which ends *when* a thread works for *store*: all tasks are cancelled."""

    async def fails() -> None:
        await until(when.is_set)
        asyncio.get_running_loop().call_later(0.1, store.may_go_on.set)
        raise Stop

    async def main() -> None:
        await asyncio.gather(work(), fails())

    with pytest.raises(Stop):
        asyncio.run(main())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_end_of_asyncio_run_while_the_operation_is_claimed_owns_nothing() -> None:
    slow = SlowClaims()
    left: list[BaseException] = []

    async def work() -> None:
        try:
            async with checkpointed("job", store=slow):
                pytest.fail("the cancellation must come out of the entry")
        except BaseException as error:
            left.append(error)
            raise

    ends_by_another_task(work, slow, slow.began)

    assert [type(error) for error in left] == [asyncio.CancelledError]
    with checkpointed("job", store=slow) as cp:
        assert not cp.resumed


def test_an_end_of_asyncio_run_during_a_save_waits_for_it_and_loses_no_item() -> None:
    slow = SlowStore()
    left: list[BaseException] = []

    async def work() -> None:
        try:
            async with checkpointed("job", every(items=1), store=slow) as cp:
                cp.state["n"] = 1
                await cp.tick()
                cp.state["n"] = 2
                await cp.tick()
        except BaseException as error:
            left.append(error)
            raise

    ends_by_another_task(work, slow, slow.began)

    assert [type(error) for error in left] == [asyncio.CancelledError]
    with checkpointed("job", store=slow) as cp:
        assert cp.resumed
        assert (cp.state["n"], cp.processed_items) in [(1, 1), (2, 2)]


def test_an_end_of_asyncio_run_while_another_task_saves_for_the_block_loses_no_item() -> None:
    slow, leaving = SlowStore(), threading.Event()

    async def work() -> None:
        async with checkpointed("job", every(items=1), store=slow) as cp:
            done = cp.state.setdefault("done", [])

            async def each(number: int) -> None:
                done.append(number)
                await cp.tick()

            ticking = [asyncio.create_task(each(number)) for number in range(3)]
            await until(slow.began.is_set)
            assert not any(task.done() for task in ticking)
            leaving.set()  # from here on, the block waits for them

    ends_by_another_task(work, slow, leaving)

    with checkpointed("job", store=slow) as cp:
        assert cp.state == {}  # the block had ended, and its work is done


async def test_a_cancelled_loop_repeats_the_item_that_was_under_way_and_no_other(manager: CheckpointManager) -> None:
    begun: list[int] = []

    async def work(blocks_at: int | None) -> None:
        async with checkpointed("job", manager=manager) as cp:
            async for item in cp.remaining(range(6)):
                begun.append(item)
                if item == blocks_at:
                    await asyncio.sleep(3600)

    task = await cancelled_at(lambda: work(3), lambda: 3 in begun)
    with pytest.raises(asyncio.CancelledError):
        await task
    await work(None)

    assert begun == [0, 1, 2, 3, 3, 4, 5]


@pytest.mark.slow
async def test_a_wait_for_the_quota_is_on_the_managers_clock(manager: CheckpointManager) -> None:
    clock = manager.clock
    began, turns = clock.now(), 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async with checkpointed("job", manager=manager) as cp:
        cp.observe(remaining=0, limit=10, reset_at=clock.utc().timestamp() + 3600)
        await cp.tick()
    task.cancel()

    assert 3600 <= clock.now() - began < 3700
    assert turns > 100, "other tasks must go on meanwhile"


async def test_nothing_is_waited_for_after_the_last_item(manager: CheckpointManager) -> None:
    clock = manager.clock
    began, reset_at = clock.now(), clock.utc().timestamp() + 3600
    async with checkpointed("job", manager=manager) as cp:
        async for number in cp.remaining(numbers(10)):
            cp.observe(remaining=9 - number, limit=10, reset_at=reset_at)

    assert clock.now() == began


async def test_a_cancellation_ends_a_wait_for_the_quota() -> None:
    manager = CheckpointManager(store=MemoryStore(), save_strategy=NEVER)
    waiting = asyncio.Event()

    async def work() -> None:
        async with checkpointed("job", manager=manager) as cp:
            reset_at = manager.clock.utc().timestamp() + 3600
            cp.observe(remaining=0, limit=10, reset_at=reset_at)
            waiting.set()
            await cp.tick()
            pytest.fail("the tick must wait")

    task = await cancelled_at(work, waiting.is_set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert saved(manager).metadata.processed_items == 1


# -- the disk works while the loop goes on ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_what_changes_while_a_save_waits_for_the_disk_is_in_the_next_one(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Assigned, deleted, and changed inside: the thread that writes also freezes what it wrote."""
    chance = random.Random(seed)
    sync = disk.sync_data

    def slow(descriptor: int) -> None:
        time.sleep(chance.random() * 0.003)
        sync(descriptor)

    monkeypatch.setattr(disk, "sync_data", slow)
    held: dict[str, dict[str, Any]] = {}

    async def work(files: dict[str, Any]) -> None:
        for number in range(150):
            key = f"key {chance.randrange(20)}"
            match chance.randrange(4):
                case 0:
                    files[key] = held[key] = {"n": number, "list": [number]}
                case 1:
                    files[key] = {"free": number}
                    held.pop(key, None)
                case 2 if key in held:
                    held[key]["list"].append(number)
                case 3:
                    files.pop(key, None)
                    held.pop(key, None)
            await asyncio.sleep(chance.random() * 0.001)

    async def save(cp: AsyncCheckpoint[Any]) -> None:
        for _ in range(60):
            await cp.save()

    async with checkpointed("job", every(items=7), store=tmp_path, auto_cleanup=False) as cp:
        files = cp.mapping("files")
        files.update({f"{number}": "x" * 90 for number in range(500)})
        await cp.save()
        await asyncio.gather(work(files), work(files), save(cp))
        expected = {key: held.get(key, value) for key, value in files.items()}

    found = CheckpointManager(tmp_path).load_checkpoint("job")
    assert found is not None
    assert found.state["files"] == expected


def test_other_event_loops_are_told_what_is_needed(manager: CheckpointManager) -> None:
    """On trio or curio, coroutines are driven by other loops; asyncio's own words would not say what to do."""

    async def job() -> None:
        async with checkpointed("crawl", manager=manager):
            pass

    with pytest.raises(RuntimeError, match="need asyncio or uvloop"):
        job().send(None)

    assert not list(manager.store.list())


async def test_an_item_whose_key_cannot_be_made_is_not_lost(manager: CheckpointManager) -> None:
    """Taken up again, the loop asks for its key again."""
    done, failures = [], [3]

    def key(item: int) -> str:
        if item in failures:
            failures.remove(item)
            raise ConnectionError
        return str(item)

    async with checkpointed("job", manager=manager) as cp:
        loop = cp.remaining(range(6), key=key)
        with pytest.raises(ConnectionError):
            done.extend([item async for item in loop])
        with contextlib.suppress(StopAsyncIteration):
            while True:
                done.append(await anext(loop))

    assert done[-3:] == [3, 4, 5]
