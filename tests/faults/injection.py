"""A child process, killed or failed at any of its system calls by strace."""

from __future__ import annotations

import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

WHOLE = os.environ.get("RESUMABLE_FAULTS") == "all"
"""Every point, not a slice of them."""
CALLS = (
    "open openat creat read pread64 write pwrite64 writev close fsync fdatasync sync_file_range ftruncate truncate "
    "fallocate rename renameat renameat2 link linkat unlink unlinkat mkdir mkdirat rmdir flock fcntl lseek stat lstat "
    "fstat newfstatat statx getdents getdents64 chmod fchmod"
)
"""Those that touch files, as far as this machine knows them (``?`` tells strace to leave out others)."""
_KNOWN = ",".join(f"?{name}" for name in CALLS.split())
_MARK = "getpriority"
_REPOSITORY = Path(__file__).parents[2]


def strace() -> str:
    """Where it is; without it, the test is skipped."""
    path = shutil.which("strace")
    if path is None:
        pytest.skip("needs strace:  apt-get install strace")
    return path


@dataclass(frozen=True)
class Point:
    """One system call of a run: the *number*-th of that *name*."""

    name: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.name} no. {self.number}, {self.text}"


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and what it told."""

    returncode: int
    lines: list[str]
    errors: str

    @property
    def was_killed(self) -> bool:
        return self.returncode in (-9, 137)

    def last(self, word: str) -> str | None:
        """What the last line that begins with *word* says."""
        found = [line.removeprefix(f"{word} ") for line in self.lines if line.startswith(f"{word} ")]
        return found[-1] if found else None


def run(arguments: Sequence[str], *tracing: str) -> Outcome:
    """A Python module under strace, or without if there is nothing to trace. It never writes a ``.pyc``."""
    command = [sys.executable, "-B", "-m", *arguments]
    if tracing:
        command = [strace(), "-f", "-qq", "--seccomp-bpf", *tracing, *command]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(_REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=_REPOSITORY, timeout=60)
    return Outcome(done.returncode, done.stdout.splitlines(), done.stderr)


def points(arguments: Sequence[str]) -> list[Point]:
    """All calls that touch files between the two marks of an undisturbed run."""
    with tempfile.NamedTemporaryFile("r", errors="replace") as log:
        outcome = run(arguments, "-o", log.name, "-e", f"trace={_MARK},{_KNOWN}")
        assert outcome.returncode == 0, outcome.errors
        return list(_between_marks(log))


def _between_marks(log: Iterator[str] | object) -> Iterator[Point]:
    counts: collections.Counter[str] = collections.Counter()
    inside = False
    for line in log:  # type: ignore[attr-defined]
        match = re.match(r"\d+\s+((\w+)\(.*)", line)
        if match is None:
            continue
        name = match.group(2)
        counts[name] += 1
        if name == _MARK:
            inside = not inside
        elif inside and not match.group(1).startswith("write(1,"):
            yield Point(name, counts[name], match.group(1)[:90])


def inject(arguments: Sequence[str], point: Point, fault: str) -> Outcome:
    """A run in which *fault*, such as ``signal=SIGKILL`` or ``error=EIO``, hits *point*."""
    tracing = f"inject={point.name}:{fault}:when={point.number}"
    return run(arguments, "-o", os.devnull, "-e", f"trace={point.name}", "-e", tracing)


def slice_of(whole: Sequence[T], count: int) -> list[T]:
    """About *count*, evenly spread; all of them if the whole suite was asked for."""
    if WHOLE or len(whole) <= count:
        return list(whole)
    return [whole[index * len(whole) // count] for index in range(count)]


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """As many at a time as there are processors."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as executor:
        yield executor
