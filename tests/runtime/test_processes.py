"""What is known of processes: whether the system has killed some for want of memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from resumable._runtime.processes import memory_kills

VERSION_1 = "9:name=systemd:/\n4:cpu,memory:/jobs/7\n0::/\n"


def tell(root: Path, groups: str, file: str, text: str) -> int | None:
    for name, told in (("proc/self/cgroup", groups), (file, text)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(told)
    return memory_kills(root)


def test_kills_for_want_of_memory_are_counted_as_the_system_tells_them(tmp_path: Path) -> None:
    one, two, three, four = (tmp_path / name for name in "abcd")

    assert (
        tell(one, "0::/user.slice/x.scope\n", "sys/fs/cgroup/user.slice/x.scope/memory.events", "low 0\noom_kill 3\n")
        == 3
    )
    assert tell(two, VERSION_1, "sys/fs/cgroup/memory/jobs/7/memory.oom_control", "under_oom 0\noom_kill 2\n") == 2
    # In a container, the path is that of the machine outside.
    assert tell(three, "0::/../other\n", "sys/fs/cgroup/memory.events", "oom_kill 1\n") == 1
    assert tell(four, "0::/\n", "sys/fs/cgroup/memory.events", "low 0\n") is None
    assert memory_kills(tmp_path / "nothing") is None


@pytest.mark.skipif(sys.platform != "linux", reason="has no control groups")
def test_this_system_tells_or_does_not() -> None:
    assert memory_kills() is None or memory_kills() == memory_kills()
