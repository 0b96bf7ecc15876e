"""A directory that cannot lock files, and who owns an operation there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resumable.stores import Holder
from resumable.stores._lease_file import claimed as claimed_by_file

ELSEWHERE = Holder("elsewhere", 7, "2026-01-01T00:00:00+00:00")
NO_LOCKS = """
import errno, fcntl, os, signal, sys
def flock(*args): raise OSError(errno.ENOLCK, "no locks available")
fcntl.flock = flock
from resumable import StaleCheckpointError, checkpointed, every
from resumable.stores import FileStore, Holder
store = FileStore(sys.argv[1], lease=float(sys.argv[2]))
"""


HOLD = f"""{NO_LOCKS}
lease = store.claim("job", Holder.me())
print("owned", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_process(directory: Path, seconds: float, code: str = HOLD) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-B", "-c", code, str(directory), str(seconds)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        try:
            yield process
        finally:
            process.kill()


def left_behind(directory: Path, seconds: float) -> Any:
    """An owner of "job" on another machine has fallen silent, whose lease lasts so many seconds."""
    directory.mkdir(exist_ok=True)
    lease = claimed_by_file(directory / ".checkpoint_job.lock", "job", ELSEWHERE, seconds, take_over=False)
    lease.release = lambda: None  # type: ignore[method-assign]
    path = directory / ".checkpoint_job.lock.1"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"process": ""}))
    from resumable.stores._renewal import RENEWALS

    RENEWALS.remove(lease)
    return lease
