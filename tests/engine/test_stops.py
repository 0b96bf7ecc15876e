"""``cp.stop()``: a loop stops after its item, in whatever thread, and its checkpoint is kept."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every, stop
from resumable._report.summary import summary_of
from resumable._report.wording import error_of
from resumable.stores import open_store


def ended() -> Any:
    """The block is left by the exit code of SIGTERM."""
    return pytest.raises(SystemExit, match=r"^143$")


def begun_then(directory: Path) -> list[int]:
    """What the next run begins."""
    with checkpointed("job", store=directory) as cp:
        return list(cp.remaining(range(6)))


@pytest.mark.parametrize("of_all", [False, True], ids=["cp.stop()", "resumable.stop()"])
def test_the_item_ends_and_nothing_is_done_again(of_all: bool, tmp_path: Path) -> None:
    begun = []
    with ended(), checkpointed("job", every(hours=1), store=tmp_path) as cp:
        for number in cp.remaining(range(6)):
            if number == 2:
                stop() if of_all else cp.stop()
            begun.append(number)

    assert begun == [0, 1, 2]
    assert begun_then(tmp_path) == [3, 4, 5]


def test_a_loop_that_ticks_stops_at_its_tick(tmp_path: Path) -> None:
    with ended(), checkpointed("job", every(hours=1), store=tmp_path) as cp:
        for number in range(6):
            cp.state["done"] = number
            cp.stop()
            cp.tick()

    with checkpointed("job", store=tmp_path) as cp:
        assert cp.state == {"done": 0}


def test_a_block_in_a_thread_is_stopped_from_another(tmp_path: Path) -> None:
    stopped: list[object] = []
    at_third, may_go_on = threading.Event(), threading.Event()

    def work() -> None:
        try:
            with checkpointed("job", every(hours=1), store=tmp_path) as cp:
                for number in cp.remaining(range(6)):
                    if number == 2:
                        at_third.set()
                        may_go_on.wait(60)
        except SystemExit as error:
            stopped.append(error.code)

    thread = threading.Thread(target=work)
    thread.start()
    assert at_third.wait(60)
    stop()
    may_go_on.set()
    thread.join(60)

    assert stopped == [143]
    assert begun_then(tmp_path) == [3, 4, 5]


def test_what_is_told_is_the_request_and_no_signal(tmp_path: Path) -> None:
    with ended(), checkpointed("job", store=tmp_path) as cp:
        for _ in cp.remaining(range(6)):
            cp.stop()

    summary = summary_of(open_store(tmp_path), "job")
    assert summary is not None
    assert summary.state == "stopped"
    assert error_of(summary).startswith("a request to stop, at item 1")


GROUP = """
import asyncio, os, signal
from resumable import checkpointed, every

async def job(number):
    async with checkpointed(f"job-{number}", every(items=1)) as cp:
        async for i in cp.remaining(range(10**6)):
            await asyncio.sleep(0.001)
            if i == 20 and number == 1:
                os.kill(os.getpid(), signal.SIGNAL)

async def main():
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(job(number))

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_tasks_that_a_signal_stops_show_no_traceback(tmp_path: Path) -> None:
    code = GROUP.replace("SIGNAL", "SIGTERM")
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 143
    assert "Traceback" not in ended.stderr
    store = open_store(tmp_path)
    found = [summary_of(store, f"job-{number}") for number in range(3)]
    assert [summary and summary.state for summary in found] == ["stopped"] * 3
