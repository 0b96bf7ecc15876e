"""A map whose coordinator or workers are killed: nothing is lost, and no more is repeated than was in flight.

``python -m tests.faults --full -k map`` kills each 20 times; by default the suite kills a few times.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointManager
from tests.faults.injection import WHOLE
from tests.faults.map_job import BAD, WINDOW

ROOT = Path(__file__).parents[2]
KILLS = 20 if WHOLE else 2
ITEMS = 100 * KILLS
CLUSTERS = ("dask", "ray")
PACKAGES = {"loky": "loky", "mpi": "mpi4py mpich", "dask": "distributed", "ray": "ray"}
Figure = Callable[[str], None]
Start = Callable[..., subprocess.Popen[bytes]]


def _engine(name: str) -> object:
    missing = name in PACKAGES and find_spec(PACKAGES[name].split()[0]) is None
    skip = pytest.mark.skipif(missing, reason=f"how to get it: pip install {PACKAGES.get(name)}")
    return pytest.param(name, marks=skip)


engines = pytest.mark.parametrize(
    "engine", list(map(_engine, ("threads", "processes", "spawned", "loky", "mpi", "dask", "ray")))
)
dying = pytest.mark.parametrize("engine", list(map(_engine, ("processes", "loky", "dask", "ray"))))


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a job; whatever becomes of it, nothing of it runs on after the test."""
    jobs: list[subprocess.Popen[bytes]] = []

    def start(engine: str, directory: Path, *poison: int, items: int = ITEMS, seconds: float = 0.004) -> Any:
        command = [sys.executable, "-B", "-m", "tests.faults.map_job", engine, str(directory), str(items), str(seconds)]
        with (directory / "errors").open("ab") as errors:
            settings: Any = {"cwd": ROOT, "env": {**os.environ, "RESUMABLE_JOB": str(directory)}}
            settings |= {"stdout": errors, "stderr": errors, "start_new_session": True}
            job = subprocess.Popen([*command, *map(str, poison)], **settings)
        jobs.append(job)
        return job

    yield start
    for job in jobs:
        end_group(job)


def kills_of(engine: str) -> int:
    """A cluster takes as long to start as all else here together."""
    return 1 if engine in CLUSTERS and not WHOLE else KILLS


def lines(directory: Path, name: str) -> list[str]:
    path = directory / name
    return path.read_text().splitlines() if path.exists() else []


def wait_for(directory: Path, name: str, count: int, job: subprocess.Popen[bytes]) -> bool:
    """Wait until a file has that many lines. Returns False if the job ended before."""
    deadline = time.monotonic() + 300
    while len(lines(directory, name)) < count and job.poll() is None:
        assert time.monotonic() < deadline, (directory / "errors").read_text()
        time.sleep(0.01)
    return job.poll() is None


def end_group(job: subprocess.Popen[bytes]) -> None:
    """The clusters' own processes: they are in the job's session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL)
    job.wait()


def check_whole(directory: Path, items: int = ITEMS, without: tuple[int, ...] = ()) -> None:
    (finished,) = lines(directory, "finished")
    failed = json.loads(finished)
    assert failed.keys() == set(map(str, (BAD, *without))), (failed, (directory / "errors").read_text())
    assert failed[str(BAD)] == f"ValueError: {BAD} is bad luck"
    found = CheckpointManager(directory).load_checkpoint("map")
    assert found is not None
    assert found.state["squares"] == {str(n): n * n for n in range(items) if n not in (BAD, *without)}


def repeats(directory: Path, name: str) -> int:
    counts = collections.Counter(line.split()[0] for line in lines(directory, name))
    return sum(counts.values()) - len(counts)


@engines
def test_a_killed_coordinator_repeats_no_more_than_was_in_flight(
    engine: str, start: Start, tmp_path: Path, figure: Figure
) -> None:
    chance, kills = random.Random(f"coordinator {engine}"), kills_of(engine)
    for _ in range(kills):
        job = start(engine, tmp_path)
        landed = len(lines(tmp_path, "landed"))
        if wait_for(tmp_path, "landed", landed + chance.randrange(1, ITEMS // (2 * KILLS)), job):
            time.sleep(chance.random() * 0.01)
        end_coordinator(engine, job, tmp_path)
    job = start(engine, tmp_path)
    assert job.wait(300) == 0, (tmp_path / "errors").read_text()
    check_whole(tmp_path)
    assert repeats(tmp_path, "begun") <= kills * WINDOW
    figure(f"map, {engine}: {kills} kills of the coordinator, 0 lost, {repeats(tmp_path, 'begun')} repeated")


def end_coordinator(engine: str, job: subprocess.Popen[bytes], directory: Path) -> None:
    """Kill it alone, and see its workers die by themselves where that was promised."""
    workers = {int(line.split()[1]) for line in lines(directory, "begun")} - {job.pid}
    has_workers = any(_is_alive(pid, directory) for pid in workers)
    is_at_work = job.poll() is None and len(set(lines(directory, "landed"))) < ITEMS - 1
    assert has_workers or not is_at_work or engine in (*CLUSTERS, "threads")
    job.kill()
    job.wait()
    if engine in CLUSTERS:
        end_group(job)
        return
    deadline = time.monotonic() + 100
    while left := {pid for pid in workers if _is_alive(pid, directory)}:
        assert time.monotonic() < deadline, f"workers outlived their coordinator: {left}"
        time.sleep(0.01)


def _is_alive(pid: int, directory: Path) -> bool:
    """Whether a process of the job runs still, and not another one that got its number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        is_ours = str(directory).encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return is_ours and stat.rpartition(")")[2].split()[0] != "Z"


@dying
def test_killed_workers_cost_nobody_an_item(engine: str, start: Start, tmp_path: Path, figure: Figure) -> None:
    chance = random.Random(f"worker {engine}")
    job = start(engine, tmp_path)
    killed = 0
    for _ in range(kills_of(engine)):
        begun = len(lines(tmp_path, "begun"))
        if not wait_for(tmp_path, "begun", begun + chance.randrange(8, ITEMS // (2 * KILLS)), job):
            break
        item, worker = lines(tmp_path, "begun")[-1].split()
        # An item whose worker was killed is begun again alone; hit twice, it is given up, as it should be.
        if sum(line.split()[0] == item for line in lines(tmp_path, "begun")) > 1:
            continue
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(worker), signal.SIGKILL)
            killed += 1
    assert job.wait(600) == 0, (tmp_path / "errors").read_text()
    check_whole(tmp_path)
    assert repeats(tmp_path, "landed") == 0
    figure(f"map, {engine}: {killed} workers killed, 0 lost, {repeats(tmp_path, 'begun')} begun again")


@dying
def test_poison_is_given_up_exactly(engine: str, start: Start, tmp_path: Path, figure: Figure) -> None:
    items = 3000 if WHOLE else 300 if engine in CLUSTERS else 900
    poison = (items // 4, items // 4 + 1, items // 3)
    job = start(engine, tmp_path, *poison, items=items, seconds=0)
    assert job.wait(600) == 0, (tmp_path / "errors").read_text()
    check_whole(tmp_path, items, poison)
    figure(f"map, {engine}: 3 poison items among {items:,}, exactly those given up")
