"""The identity of this process among all processes of all machines, and whether another one has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START = 18
"""The position of the start time in ``/proc/PID/stat``, counted after name and state."""
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)
_PR_SET_PDEATHSIG = 1

pid = os.getpid()
"""The id of this process, without a system call."""


def _note_pid() -> None:
    global pid
    pid = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_pid)


def passed_seconds() -> float:
    """Seconds of a clock that goes on while the process is suspended, and while the machine sleeps."""
    return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)


def identity_of(pid: int) -> str:
    """An identity that no other process has had since this machine began: boot, pid namespace, and start time.

    Returns:
        "" if the system does not tell, or there is no such process.
    """
    world = _world()
    start = _start_of(pid)
    return f"{world} {start}" if world and start else ""


def has_ended(pid: int, identity: str) -> bool:
    """Whether the process with *identity* has ended; False if unknown, for instance on another machine."""
    world, _, start = identity.rpartition(" ")
    return bool(world) and world == _world() and _start_of(pid) != start


def ending_with_parent() -> Callable[[], None] | None:
    """What a new process calls before its program begins, so that it gets SIGTERM once the thread that made it is gone.

    Returns:
        A function for ``preexec_fn=``; None where no system call does that.
    """
    if sys.platform != "linux":
        return None
    import ctypes  # only who starts jobs needs it

    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was killed before this was asked
            os.kill(os.getpid(), signal.SIGTERM)

    return ask


def die_with_parent() -> None:
    """Let the system kill this process when its parent ends; does nothing if that is impossible."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def memory_kills(root: Path = Path("/")) -> int | None:
    """How many processes in this one's control group and below the system has killed for lack of memory.

    Args:
        root: Where ``/proc`` and ``/sys`` are.

    Returns:
        None if the system does not tell.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in groups:
        _, kinds, path = line.split(":", 2)
        if not kinds:  # version 2
            files = [root / f"sys/fs/cgroup{place}/memory.events" for place in (path.rstrip("/"), "")]
        elif "memory" in kinds.split(","):
            files = [root / f"sys/fs/cgroup/memory{place}/memory.oom_control" for place in (path.rstrip("/"), "")]
        else:
            continue
        for file in files:  # in a container, the path may be that of the host
            if (count := _count_in(file)) is not None:
                return count
    return None


def _count_in(file: Path) -> int | None:
    try:
        facts = dict(line.split(" ", 1) for line in file.read_text().splitlines())
        return int(facts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


@cache
def _world() -> str:
    """The scope in which pids and start times are unique; "" if unknown."""
    try:
        boot = _BOOT_ID.read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """The start time of a process, in ticks since the boot; "" if there is none, or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    state, *fields = text.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[_START]
