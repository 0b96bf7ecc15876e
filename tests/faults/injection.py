"""A child process, killed or failed at any of its system calls by strace."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
_REPOSITORY = Path(__file__).parents[2]
_MEMORY = Path("/dev/shm")


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory where there is one: what a kill leaves does not depend on how slow an fsync is."""
    where = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where, prefix="resumable-faults-") as directory:
        yield Path(directory)


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

    @property
    def was_killed(self) -> bool:
        return self.returncode in (-9, 137)

    def last(self, word: str) -> str | None:
        """What the last line that begins with *word* says."""
        found = [line.removeprefix(f"{word} ") for line in self.lines if line.startswith(f"{word} ")]
        return found[-1] if found else None


class Server:
    """Forks children that have all code loaded, and traces each from its first call on."""

    def __init__(self) -> None:
        self._scratch = contextlib.ExitStack()
        directory = self._scratch.enter_context(scratch())
        environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY), "TMPDIR": str(directory)}
        environment["CHECKPOINT_DIR"] = str(directory)
        self._process = subprocess.Popen(
            [sys.executable, "-B", "-m", "tests.faults.operations"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=_REPOSITORY,
        )

    def run(self, name: str, directory: Path, *tracing: str) -> Outcome:
        """Do *name* in *directory* under strace."""
        output = directory.with_name(f"{directory.name}.out")
        ready = directory.with_name(f"{output.name}.ready")
        pid = int(self._ask([name, str(directory), str(output)]))
        while not ready.exists():
            time.sleep(0.001)
        command = [strace(), "-f", *tracing, "-p", str(pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            attached = tracer.stderr.readline()
            os.kill(pid, signal.SIGUSR1)
            returncode = int(self._answer())
            tracer.stderr.read()
        if "attached" not in attached:
            pytest.skip(f"strace may not attach here: {attached}")
        text = ready.read_text()
        ready.unlink()
        return Outcome(returncode, text.splitlines())

    def points(self, name: str, directory: Path) -> list[Point]:
        """All calls that touch files in an undisturbed run."""
        with tempfile.NamedTemporaryFile("r", errors="replace") as log:
            outcome = self.run(name, directory, "-o", log.name, "-e", f"trace={_KNOWN}")
            assert outcome.returncode == 0, outcome.lines
            return list(_points_in(log.read()))

    def inject(self, name: str, directory: Path, point: Point, fault: str) -> Outcome:
        """A run in which *fault*, such as ``signal=SIGKILL`` or ``error=EIO``, hits *point*."""
        where = f"inject={point.name}:{fault}:when={point.number}"
        return self.run(name, directory, "-o", os.devnull, "-e", f"trace={point.name}", "-e", where)

    def _ask(self, question: object) -> str:
        assert self._process.stdin is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        self._process.communicate()
        self._scratch.close()


def _points_in(log: str) -> Iterator[Point]:
    counts: collections.Counter[str] = collections.Counter()
    for line in log.splitlines():
        match = re.match(r"\d+\s+((\w+)\(.*)", line)
        if match is not None:
            counts[match.group(2)] += 1
            yield Point(match.group(2), counts[match.group(2)], match.group(1)[:90])


class Servers:
    """One server for each processor."""

    def __init__(self) -> None:
        self._count = os.cpu_count() or 1
        self._free: queue.SimpleQueue[Server] = queue.SimpleQueue()
        self._all = [Server() for _ in range(self._count)]
        for server in self._all:
            self._free.put(server)

    @contextmanager
    def one(self) -> Iterator[Server]:
        """A server that nobody else uses."""
        server = self._free.get()
        try:
            yield server
        finally:
            self._free.put(server)

    def map(self, function: Callable[[int, T], object], items: Sequence[T]) -> None:
        """Call *function* with each item and its number, several at a time."""
        with ThreadPoolExecutor(self._count) as executor:
            list(executor.map(function, range(len(items)), items))

    def close(self) -> None:
        for server in self._all:
            server.close()
