"""The end of a block: nobody writes after it, and a thread or task that is within a tick does not hold it up."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import AsyncCheckpoint, Checkpoint, CheckpointManager, StoreError, checkpointed, every
from resumable._report.stored.summary import summary_of
from resumable._report.stored.wording import error_of
from resumable.stores import open_store
from tests.support.stores import DictStore


class Stop(Exception):
    """What leaves a block in these tests."""


def stopped() -> Any:
    """The block is left by Stop."""
    return pytest.raises(Stop)


class SlowStore(DictStore):
    """Holds up the first write, and notes whether two ever met."""

    def __init__(self) -> None:
        super().__init__()
        self.is_writing, self.may_write = threading.Event(), threading.Event()
        self.writers = 0
        self.have_met = False
        self.error: StoreError | None = None

    def put(self, key: str, blob: bytes) -> str:
        self.writers += 1
        self.have_met |= self.writers > 1
        self.is_writing.set()
        self.may_write.wait(60)
        if self.error is not None:
            raise self.error
        where = super().put(key, blob)
        self.writers -= 1
        return where


def used_up(cp: Any) -> None:
    cp.observe(remaining=0, limit=10, reset_at=time.time() + 3600)


# -- after the block --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda cp: cp.tick(), id="tick"),
        pytest.param(lambda cp: cp.save(), id="save"),
        pytest.param(lambda cp: list(cp.remaining(range(3))), id="remaining"),
        pytest.param(lambda cp: list(cp.map(str, range(3))), id="map"),
        pytest.param(lambda cp: cp.sink("rows.txt"), id="sink"),
    ],
)
@pytest.mark.parametrize("error", [None, Stop()], ids=["finished", "left by an error"])
def test_what_would_be_saved_after_the_block_is_refused(
    use: Callable[[Checkpoint], object], error: Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        with checkpointed("job", every(items=1), store=tmp_path) as cp:
            cp.tick()
            if error is not None:
                raise error
    except Stop:
        pass
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(ValueError, match=r"'job' is closed.* nothing more is saved"):
        use(cp)

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("use", [AsyncCheckpoint.tick, AsyncCheckpoint.save], ids=["tick", "save"])
async def test_so_it_is_in_async_code(use: Any, tmp_path: Path) -> None:
    async with checkpointed("job", every(items=1), store=tmp_path) as cp:
        await cp.tick()

    with pytest.raises(ValueError, match="'job' is closed"):
        await use(cp)

    assert list(tmp_path.iterdir()) == []


def test_what_it_held_can_be_read_after_the_block(tmp_path: Path) -> None:
    with checkpointed("job", store=tmp_path) as cp:
        cp.state["sum"] = 3
        cp.tick(2)

    assert (cp.state, cp.processed_items, cp.metadata.processed_items) == ({"sum": 3}, 2, 2)


# -- while threads and tasks are within a tick ------------------------------------------------------------------------


def test_the_end_waits_for_a_save_of_a_thread() -> None:
    store = SlowStore()
    with stopped(), checkpointed("job", every(items=1), store=store) as cp:
        thread = threading.Thread(target=cp.tick)
        thread.start()
        assert store.is_writing.wait(60)
        threading.Timer(0.2, store.may_write.set).start()
        cp.state["by"] = "the block"
        raise Stop
    thread.join()

    found = CheckpointManager(store=store).load_checkpoint("job")
    assert found is not None
    assert found.state == {"by": "the block"}
    assert not store.have_met


def test_the_end_does_not_wait_for_the_quota_that_a_thread_waits_for(tmp_path: Path) -> None:
    with stopped(), checkpointed("job", store=tmp_path) as cp:
        used_up(cp)
        thread = threading.Thread(target=cp.tick)
        thread.start()
        while cp.metadata.save_count == 0:  # it saves before it waits
            time.sleep(0.01)
        raise Stop
    thread.join()


async def test_an_end_that_is_cancelled_while_another_task_saves_saves_first() -> None:
    store, ends = SlowStore(), asyncio.Event()

    async def work() -> None:
        async with checkpointed("job", every(hours=9), store=store) as cp:
            saver = asyncio.ensure_future(cp.save())
            await asyncio.to_thread(store.is_writing.wait, 60)
            cp.state["by"] = "the block"
            assert not saver.done()
            ends.set()
            raise Stop

    task = asyncio.ensure_future(work())
    await ends.wait()
    for _ in range(20):  # its end begins
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    store.may_write.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    found = CheckpointManager(store=store).load_checkpoint("job")
    assert found is not None
    assert found.state == {"by": "the block"}


async def test_a_cancellation_is_not_lost_with_the_save_that_fails_meanwhile() -> None:
    store = SlowStore()
    store.error = StoreError("the disk is full")

    async def work() -> None:
        async with checkpointed("job", every(items=1), store=store) as cp:
            with contextlib.suppress(StoreError):
                await cp.tick()
            pytest.fail("it was cancelled")

    task = asyncio.ensure_future(work())
    await asyncio.to_thread(store.is_writing.wait, 60)
    task.cancel()
    store.may_write.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_end_does_not_wait_for_the_quota_that_a_task_waits_for(tmp_path: Path) -> None:
    with stopped():
        async with checkpointed("job", store=tmp_path) as cp:
            used_up(cp)
            task = asyncio.ensure_future(cp.tick())
            while cp.metadata.save_count == 0:
                await asyncio.sleep(0.01)
            raise Stop

    await asyncio.wait_for(task, 60)


# -- a block that the program never leaves

LEFT_OPEN = """
from resumable import checkpointed, every

def pages():
    with checkpointed("job", every(hours=1)) as cp:
        rows = cp.sink("rows.txt")
        for i in cp.remaining(range(9)):
            rows.write(f"{i}\\n")
            yield i

SETUP
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "setup",
    [
        "left = pages()\nfor i in left:\n    if i == 4:\n        break",
        "cp = checkpointed('job', every(hours=1)).__enter__()\nrows = cp.sink('rows.txt')\n"
        "for i in cp.remaining(range(9)):\n    rows.write(f'{i}\\n')\n    if i == 4:\n        break",
    ],
    ids=["in a generator that waits", "entered by hand"],
)
def test_a_block_that_is_open_as_the_program_ends_is_saved(setup: str, tmp_path: Path) -> None:
    code = LEFT_OPEN.replace("SETUP", setup)
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)
    summary = summary_of(open_store(tmp_path), "job")
    assert summary is not None
    assert (summary.state, summary.processed_items) == ("stopped", 4)
    with checkpointed("job", store=tmp_path) as cp:
        rows = cp.sink(tmp_path / "rows.txt")
        for i in cp.remaining(range(9)):
            rows.write(f"{i}\n")
    assert (tmp_path / "rows.txt").read_text() == "".join(f"{i}\n" for i in range(9))


@pytest.mark.slow
def test_what_ended_the_program_is_what_ended_its_open_block(tmp_path: Path) -> None:
    code = LEFT_OPEN.replace("SETUP", "left = pages()\nfor i in left:\n    1 // (i - 4)")
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 1
    summary = summary_of(open_store(tmp_path), "job")
    assert summary is not None
    assert summary.state == "failed"
    assert error_of(summary).startswith("ZeroDivisionError: integer division or modulo by zero, at item 4")
