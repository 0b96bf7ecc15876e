"""The examples of one job in many shards, run as users run them: several processes, killed and started again."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from resumable import CheckpointManager
from resumable._report.stored.shards import Sum, sums_of
from resumable._report.stored.summary import Summary, summaries
from resumable.stores import FileStore
from tests.support.servers import PostgresServer, find_postgres

ROOT = Path(__file__).parents[2]
POLLS = threading.Event()


SLOWLY = ("--seconds", "0.2")
"""It shall not be done before it is killed."""


def digest(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


class Job:
    """An example's processes, and how its shards stand."""

    def __init__(self, example: str, directory: Path, *arguments: str, **environment: str) -> None:
        self.directory = directory
        self._command = [sys.executable, "-B", str(ROOT / "examples" / example), "--store", str(directory), *arguments]
        self._environment = os.environ | environment | {"PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*self._command, *arguments],
            env=self._environment,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def shards(self) -> list[Summary]:
        return summaries(FileStore(self.directory))

    def sum(self) -> Sum:
        """What ``resumable list`` tells of all shards."""
        (found,) = sums_of(self.shards())
        return found

    def until(self, items: int) -> None:
        """Wait until that many are saved as done in all; fails if all processes end before."""
        while sum(shard.processed_items or 0 for shard in self.shards()) < items:
            assert any(process.poll() is None for process in self._started), "they ended too soon"
            POLLS.wait(0.02)

    def close(self) -> None:
        for process in self._started:
            process.kill()
            print(*process.communicate())  # shown if the test fails


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    started: list[Job] = []
    yield started
    for job in started:
        job.close()


def ends_well(process: subprocess.Popen[str]) -> str:
    try:
        output, _ = process.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # it tells where its threads are
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output


def digests_in(directory: Path, operation: str, shards: int) -> dict[str, str]:
    """The results of all shards; fails if one is in two of them."""
    found: dict[str, str] = {}
    for shard in range(shards):
        data = CheckpointManager(directory).load_checkpoint(f"{operation}-{shard}")
        assert data is not None
        assert not found.keys() & data.state["digests"].keys()
        found |= data.state["digests"]
    return found


@pytest.mark.slow
def test_an_array_job_goes_on_in_the_shards_that_were_killed(tmp_path: Path, jobs: list[Job]) -> None:
    job = Job("many_shards.py", tmp_path, "--items", "400", "--seconds", "0.01", "--workers", "2")
    jobs.append(job)
    killed = [job.start("--shard", f"{shard}/4", *SLOWLY) for shard in range(2)]

    job.until(20)
    for process in killed:
        process.kill()
        process.wait()
    assert job.sum().states == {"killed": 2}
    for process in [job.start("--shard", f"{shard}/4") for shard in range(4)]:
        assert "100 done" in ends_well(process)

    found = job.sum()
    assert (found.pattern, found.states, found.percent) == ("array-*", {"finished": 4}, 100)
    assert digests_in(tmp_path, "array", 4) == {str(number): digest(number) for number in range(400)}


def test_a_shard_of_an_array_of_another_size_is_refused(tmp_path: Path, jobs: list[Job]) -> None:
    job = Job("many_shards.py", tmp_path, "--items", "40", "--seconds", "0")
    jobs.append(job)
    ends_well(job.start("--shard", "1/4"))

    output, _ = job.start("--shard", "1/8").communicate(timeout=200)

    assert "InputChangedError: the checkpoint of 'array-1' was made with other input" in output


@pytest.mark.slow
@pytest.mark.parametrize("example", ["many_shards.py", "dask_job.py"])
@pytest.mark.parametrize("shard", ["5/3", "3/3", "-1/3", "0/0", "1", "a/b", "1/2/3", ""])
def test_a_shard_that_there_is_not_is_a_wrong_call(example: str, shard: str, tmp_path: Path, jobs: list[Job]) -> None:
    if example == "dask_job.py":
        pytest.importorskip("distributed", reason="how to get it: pip install distributed")
    job = Job(example, tmp_path)
    jobs.append(job)
    process = job.start(f"--shard={shard}")

    output, _ = process.communicate(timeout=200)

    assert process.returncode == 2
    assert f"argument --shard: {shard!r} is no shard: of 16 there are 0/16 to 15/16" in output
    assert list(tmp_path.iterdir()) == []


def test_no_two_examples_take_one_another_for_themselves() -> None:
    ids = [
        set(re.findall(r'checkpointed\(\s*f?"([^"]+)"', path.read_text())) for path in (ROOT / "examples").glob("*.py")
    ]

    assert set.union(*ids) >= {"array-{shard}", "dask-{shard}"}
    assert sum(map(len, ids)) == len(set.union(*ids))


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("distributed"), reason="how to get it: pip install distributed")
def test_a_dask_job_goes_on_where_its_coordinator_was_killed(tmp_path: Path, jobs: list[Job]) -> None:
    job = Job("dask_job.py", tmp_path, "--items", "160", "--seconds", "0.01", "--batch", "4")
    jobs.append(job)
    coordinator = job.start(*SLOWLY)

    job.until(16)
    coordinator.kill()
    coordinator.wait()
    assert "160 done, 0 failed" in ends_well(job.start())

    assert [(shard.state, shard.runs) for shard in job.shards()] == [("finished", 2)]
    assert digests_in(tmp_path, "dask", 1) == {str(number): digest(number) for number in range(160)}


# -- DBOS


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    programs = find_postgres()
    if programs is None or not importlib.util.find_spec("dbos"):
        pytest.skip("how to get it: apt-get install postgresql; pip install dbos")
    with PostgresServer(programs) as server:
        yield server


def rows_in(directory: Path) -> Counter[int]:
    """How often each number is in the results; fails if one is wrong."""
    rows = [json.loads(line) for path in directory.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert all(row["digest"] == digest(row["number"]) for row in rows)
    return Counter(row["number"] for row in rows)


@pytest.mark.slow
def test_shards_in_a_queue_of_dbos_go_on_wherever_they_are_recovered(
    tmp_path: Path, jobs: list[Job], postgres: PostgresServer
) -> None:
    """Two processes, both killed, and one interrupted; DBOS knows which shards they had, we know how far."""
    options = ["--shards", "6", "--items", "360", "--seconds", "0.01"]
    job = Job("dbos_shards.py", tmp_path, *options, DBOS_SYSTEM_DATABASE_URL=postgres.url)
    jobs.append(job)
    here, there = job.start("--name", "here", *SLOWLY), job.start("--name", "there", *SLOWLY)

    job.until(60)
    for process in (here, there):
        process.kill()
        process.wait()
    before = {shard.operation_id: shard.runs for shard in job.shards() if shard.state == "killed"}
    here = job.start("--name", "here", *SLOWLY)
    job.until(140)
    here.send_signal(signal.SIGINT)
    output, _ = here.communicate(timeout=200)
    assert here.returncode == 130, output
    for process in [job.start("--name", name) for name in ("here", "there")]:
        lines = ends_well(process).splitlines()  # DBOS works in threads, of which we say that no signal reaches them
        assert [line for line in lines if line.endswith("done")] == [f"digests/{n}: 60 done" for n in range(6)]

    assert rows_in(tmp_path) == Counter(range(360))
    found = job.sum()
    assert (found.pattern, found.states, found.percent) == ("digests/*", {"finished": 6}, 100)
    after = {shard.operation_id: shard.runs for shard in job.shards()}
    assert before
    assert all((after[shard] or 0) > (runs or 0) for shard, runs in before.items())
