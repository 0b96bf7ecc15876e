"""When the batch system ends a job, by the variables that it sets."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from resumable._runtime.jobs import end_of_job


@pytest.mark.parametrize(
    ("environment", "end"),
    [
        pytest.param({"SLURM_JOB_END_TIME": "2000000000"}, 2e9, id="Slurm"),
        pytest.param({"COBALT_ENDTIME": "2000000000.5"}, 2000000000.5, id="Cobalt"),
        pytest.param({"CI_JOB_TIMEOUT": "3600", "CI_JOB_STARTED_AT": "2033-05-18T03:33:20Z"}, 2e9 + 3600, id="GitLab"),
        pytest.param({"SLURM_JOB_END_TIME": "2000000000", "COBALT_ENDTIME": "1900000000"}, 1.9e9, id="the earliest"),
        pytest.param({}, None, id="none"),
        pytest.param({"SLURM_JOB_END_TIME": "", "PBS_WALLTIME": "unlimited"}, None, id="no number"),
        pytest.param({"SLURM_JOB_END_TIME": "0"}, None, id="unlimited"),
    ],
)
def test_the_end_is_read(environment: dict[str, str], end: float | None) -> None:
    assert end_of_job(environment) == end


@pytest.mark.parametrize(("late", "counts"), [(30, True), (90, False)])
def test_an_end_that_is_long_over_is_of_another_job(late: int, counts: bool) -> None:
    """tmux keeps the variables of the job that it was started in; and a job may be given more time."""
    ends = {"SLURM_JOB_END_TIME": "1900000000"}

    assert end_of_job(ends, now=1.9e9 + late) == (1.9e9 if counts else None)
    assert end_of_job(ends | {"COBALT_ENDTIME": "2000000000"}, now=1.9e9 + 90) == 2e9


def test_a_job_of_oar_began_when_its_nodes_were_listed(tmp_path: Path) -> None:
    nodes = tmp_path / "nodes"
    nodes.touch()

    end = end_of_job({"OAR_JOB_WALLTIME_SECONDS": "60", "OAR_NODE_FILE": str(nodes)})

    assert end == pytest.approx(nodes.stat().st_mtime + 60)


@pytest.mark.slow
@pytest.mark.parametrize("walltime", ["3600", "1:00:00", "01:00:00"])
def test_a_length_counts_from_the_jobs_shell(walltime: str) -> None:
    """A program that is started late in its job has what is left of it."""
    program = "import os; from resumable._runtime.jobs import end_of_job; print(end_of_job(os.environ))"
    command = ["sh", "-c", f"date +%s.%N; sleep 2; {sys.executable} -c '{program}'"]
    began = time.time()

    done = subprocess.run(
        command,
        env={"PBS_WALLTIME": walltime, "RESUMABLE_INDEX": "off", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )

    shell_works_at, end = map(float, done.stdout.split())
    assert began - 0.7 < end - 3600 < shell_works_at + 0.7
