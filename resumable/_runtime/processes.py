"""Which process this is, among all processes of all machines, and whether another one has ended."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START = 18
"""Its place among the fields of ``/proc/PID/stat`` that follow name and state."""
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


pid = os.getpid()
"""Of this process, without asking the system."""


def _note_pid() -> None:
    global pid
    pid = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_pid)


def passed_seconds() -> float:
    """Seconds of a clock that goes on while the process is stopped, and while the machine sleeps."""
    return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)


def identity_of(pid: int) -> str:
    """What no other process has had since this machine began: the boot, the pid namespace, and the start time.

    Returns:
        "" where the system does not tell, or there is no such process.
    """
    world = _world()
    start = _start_of(pid)
    return f"{world} {start}" if world and start else ""


def has_ended(pid: int, identity: str) -> bool:
    """Whether the process that had *identity* has ended, as far as can be told: one of another machine never has."""
    world, _, start = identity.rpartition(" ")
    return bool(world) and world == _world() and _start_of(pid) != start


@cache
def _world() -> str:
    """Within which pids and start times mean something; "" if that is not known."""
    try:
        boot = _BOOT_ID.read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """When it began, in ticks since the boot; "" if there is no such process, or only what is left of one."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    state, *fields = text.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[_START]
