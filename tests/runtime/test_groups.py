"""Commands end with the process that started them, even if it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from resumable._runtime.groups import Groups
from tests.support.running import REPOSITORY, is_alive

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups")

PROGRAM = """
import os, signal, subprocess
from resumable._runtime.groups import Groups
from tests.support.running import REPOSITORY, is_alive

with Groups() as groups:
    ended = subprocess.Popen(["true"], process_group=0)
    groups.add(ended.pid)
    ended.wait()
    groups.remove(ended.pid)
    command = ["sh", "-c", "sleep 300; true"]
    children = [subprocess.Popen(command, process_group=0, stdout=subprocess.DEVNULL) for _ in range(3)]
    for child in children:
        groups.add(child.pid)
    groups.remove(children[1].pid)
    print(*(child.pid for child in children), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who lives")
def test_the_groups_of_a_killed_process_end_and_no_others() -> None:
    """The shell's own children, too: they are in its group."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True, timeout=300
    )
    first, left, last = map(int, killed.stdout.split())
    try:
        until = time.monotonic() + 60
        while (is_alive(first) or is_alive(last)) and time.monotonic() < until:
            time.sleep(0.01)
        assert [is_alive(group) for group in (first, left, last)] == [False, True, False]
    finally:
        os.killpg(left, signal.SIGKILL)


def test_the_watcher_ends_with_the_block() -> None:
    with Groups() as groups:
        child = subprocess.Popen(["true"], process_group=0)
        groups.add(child.pid)
        child.wait()
        groups.remove(child.pid)
        watcher = groups._watcher

    assert watcher is not None
    assert watcher.returncode == 0


def test_a_watcher_that_was_killed_stops_nothing() -> None:
    with Groups() as groups:
        assert groups._watcher is not None
        groups._watcher.kill()
        groups._watcher.wait()
        groups.add(os.getpid())
        groups.remove(os.getpid())
