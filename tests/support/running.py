"""A job in a process of its own, which saves at each item: to look at while it runs, and to kill."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
JOB = """
import sys
from resumable import checkpointed, every
from resumable.stores import FileStore, Traits
FileStore.traits = Traits(fold_after=int(sys.argv[1]))
with checkpointed("job", every(items=1)) as cp:
    cp.state["fill"] = "x" * 20_000  # else each save is a snapshot
    files, rows, seen = cp.mapping("files"), cp.log("rows"), cp.set("seen")
    for number in cp.remaining(range(1_000_000), name="main"):
        files[f"f{number}"] = {"number": number, "half": number / 2}
        rows.append({"number": number})
        seen.add(number)
        cp.state["done"] = number + 1
        if number == 20:
            print("going", flush=True)
"""


@contextmanager
def running_job(directory: Path, *, fold_after: int = 1 << 30) -> Iterator[subprocess.Popen[str]]:
    """The job ``job``, some items after its start, in *directory*. It is killed at the end, if it still runs.

    Args:
        fold_after: From so many bytes of journal on, it writes a new snapshot.
    """
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    program = [sys.executable, "-c", JOB, str(fold_after)]
    with subprocess.Popen(program, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True) as job:
        try:
            assert job.stdout is not None
            assert job.stdout.readline() == "going\n"
            yield job
        finally:
            job.kill()


def is_alive(group: int) -> bool:
    """Whether a process of that group still runs. Linux only."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            state, _, of = status.read_text().rpartition(") ")[2].split()[:3]
            if int(of) == group and state != "Z":
                return True
    return False
