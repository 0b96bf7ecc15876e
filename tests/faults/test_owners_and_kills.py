"""Many processes on one operation, kills at random moments, and a disk that is full when it matters most."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.faults.injection import WHOLE, scratch
from tests.faults.kill_job import SHAPES

KILLS = 10_000 if WHOLE else 200
REPOSITORY = Path(__file__).parents[2]


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-B", "-c", code, *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


# -- one owner at a time ----------------------------------------------------------------------------------------------

OWNERS = """
import os, random, sys, time
from resumable import CheckpointBusyError, checkpointed

directory, count, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
inside = os.path.join(directory, "inside")

def work(number):
    chance, done, busy = random.Random(number), 0, 0
    while done < rounds:
        ends = chance.random() < 0.5  # a clean end removes the checkpoint and the lock file
        try:
            with checkpointed("job", store=directory, auto_cleanup=ends):
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails if another one is inside
                time.sleep(0.0005)
                os.unlink(inside)
        except CheckpointBusyError as error:
            busy += 1
            time.sleep(chance.random() * 0.002)
        else:
            done += 1
    os.write(1, f"{done} {busy}\\n".encode())

children = []
for number in range(count):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work(number)
            code = 0
        finally:
            os._exit(code)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
sys.exit(max(codes))
"""


@pytest.mark.parametrize(("processes", "rounds"), [(2, 60), (20, 8)], ids=["two processes", "twenty processes"])
def test_one_process_at_a_time_owns_an_operation(tmp_path: Path, processes: int, rounds: int, figure: Figure) -> None:
    command = python(OWNERS, tmp_path, processes, rounds)
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=500)

    assert done.returncode == 0, done.stderr
    counts = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [count for count, _ in counts] == [rounds] * processes
    refused = sum(busy for _, busy in counts)
    figure(f"{processes} processes on one operation", processes * rounds, f"{refused} refused, 0 together")


# -- kills at random moments ------------------------------------------------------------------------------------------


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_kill_at_any_moment_loses_nothing_that_was_reported_saved(shape: str, figure: Figure) -> None:
    kills = KILLS // len(SHAPES)
    with scratch() as directory:
        done = subprocess.run(
            [sys.executable, "-B", "-W", "error", "-m", "tests.faults.kill_job", shape, str(kills), "7"],
            capture_output=True,
            text=True,
            env={**environment(), "TMPDIR": str(directory)},
            cwd=REPOSITORY,
        )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert told["wrong"] == []
    assert told["kills"] == kills
    again = f"{told['repeated']} begun again ({told['repeated'] / kills:.1f} a kill)"
    figure(f"random kill in a loop, {shape}", kills, f"0 lost, {again}, 0 hangs; {told['ends']} came to their end")


# -- a full disk ------------------------------------------------------------------------------------------------------

FULL = """
import json, os, resource, signal, sys
from resumable import CheckpointManager, checkpointed, every

directory, kind = sys.argv[1], sys.argv[2]
told = {}
with checkpointed("job", every(hours=9), store=directory, auto_cleanup=False) as cp:
    cp.state["n"] = 1
    cp.save()
before = CheckpointManager(directory).load_checkpoint("job").state
if kind == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
else:
    with open(os.path.join(directory, "filler"), "wb", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            pass
error = RuntimeError("the user's own")
try:
    with checkpointed("job", every(hours=9), store=directory) as cp:
        cp.state["big"] = "x" * 500_000
        cp.tick()
        raise error
except RuntimeError as caught:
    told["same"] = caught is error
    told["notes"] = caught.__notes__
told["stands"] = CheckpointManager(directory).load_checkpoint("job").state == before
told["left"] = [name for name in os.listdir(directory) if name.endswith(".tmp")]
print(json.dumps(told))
"""


@pytest.mark.parametrize("kind", ["limit", "tmpfs"])
def test_the_users_error_survives_a_disk_that_is_full(tmp_path: Path, kind: str, figure: Figure) -> None:
    """It gets a note that the save failed, and the last save stands."""
    command = python(FULL, tmp_path, kind)
    if kind == "tmpfs":
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            pytest.skip("needs root, to mount a small file system")
        script = f'mount -t tmpfs -o size=64k none {tmp_path} && exec "$@"'
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=200)
    if kind == "tmpfs" and "mount:" in done.stderr:
        pytest.skip(f"may not mount here: {done.stderr}")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["same"] is True
    assert "could not be saved as it stopped" in told["notes"][-1]
    assert told["stands"] is True
    assert told["left"] == []
    full = "file size limit" if kind == "limit" else "file system full"
    figure(f"{full} at the save of an exception", 1, "the user's error, with a note; the checkpoint stands")
