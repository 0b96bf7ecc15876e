"""``cp.stop()``: a loop stops after its item, in whatever thread, and its checkpoint is kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every, stop
from resumable._report.stored.summary import summary_of
from resumable._report.stored.wording import error_of
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


CAUGHT = """
import os, signal, time
from resumable import checkpointed, every

with checkpointed("job", every(hours=1), store=".") as cp:
    n = cp.state.get("n", 0)
    while n < 100_000:
        n += 1
        try:
            cp.state["n"] = n
            if n in SENT:
                os.kill(os.getpid(), signal.SIGNAL)
            time.sleep(0.01)
            cp.tick()
        except CAUGHT:
            print("caught", flush=True)
print("end")
"""
BEGUN_ANEW = """
import os, signal, time
from resumable import checkpointed, every

n = 0
with checkpointed("job", every(hours=1), store=".") as cp:
    while True:
        try:
            for _ in cp.remaining(range(100_000)):
                n += 1
                if n in SENT:
                    os.kill(os.getpid(), signal.SIGNAL)
                time.sleep(0.01)
            break
        except:
            print("caught", flush=True)
"""
AT_ONCE = """
import os, signal, time
from resumable import checkpointed, every

n = 0
with checkpointed("job", every(hours=1), store=".") as cp:
    while True:
        n += 1
        try:
            if n in SENT:
                os.kill(os.getpid(), signal.SIGNAL)
                time.sleep(1.1)
                os.kill(os.getpid(), signal.SIGNAL)
            time.sleep(0.01)
            cp.tick()
        except:
            print("caught", flush=True)
"""
"""The item is interrupted by the second signal."""


def run_caught(code: str, sent: str, name: str, directory: Path) -> subprocess.CompletedProcess[str]:
    code = code.replace("SENT", sent).replace("SIGNAL", name)
    return subprocess.run([sys.executable, "-c", code], cwd=directory, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("code", "items"), [(CAUGHT, 300), (BEGUN_ANEW, 300), (AT_ONCE, 299)], ids=["ticks", "begun anew", "at once"]
)
def test_a_program_that_catches_each_stop_is_told_and_the_next_signal_ends_it(
    code: str, items: int, name: str, tmp_path: Path
) -> None:
    """A bare except around the body of a loop that ticks: each signal was lost, and nothing was said."""
    ended = run_caught(code.replace("except CAUGHT", "except"), "(5, 300)", name, tmp_path)

    assert ended.returncode == -signal.Signals[name]
    assert ended.stdout == "caught\n" * (2 if code is AT_ONCE else 1)
    assert ended.stderr.count("Write except Exception: instead") == 1
    with checkpointed("job", store=tmp_path) as cp:
        assert cp.resumed
        assert cp.processed_items == items
        cp.keep()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_a_program_that_catches_ctrl_c_on_purpose_gets_each_one(tmp_path: Path) -> None:
    code = CAUGHT.replace("100_000", "450").replace("CAUGHT", "KeyboardInterrupt")
    ended = run_caught(code, "(5, 150, 300)", "SIGINT", tmp_path)

    assert (ended.returncode, ended.stdout) == (0, "caught\ncaught\ncaught\nend\n")
    assert ended.stderr == ""
