"""``pause``, ``resume``, ``stop`` and ``retry-failed``: a person asks something of a job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every
from tests.support.command import JOB, resumable, state, until
from tests.support.media import place_in
from tests.support.running import REPOSITORY

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.slow
def test_a_job_is_paused_resumed_and_stopped_from_outside(job: subprocess.Popen[str]) -> None:
    assert resumable("pause", "job").exit_code == 0
    until(lambda: state() == "paused")
    assert "= paused" in resumable("list", "--all").output
    assert "= paused" in resumable("list").output
    assert "= paused" in resumable("show").output

    assert "goes on" in resumable("resume", "job").output
    until(lambda: state() == "running")
    assert "was not paused" in resumable("resume", "job").output

    assert "this run of job tries 1 failed item again" in resumable("retry-failed", "job").output
    assert "stops after its item" in resumable("stop", "job").output
    assert job.wait(60) == 143
    assert "job  stopped" in resumable("watch", "job").output
    told = resumable("tail", "job").output
    assert [name for name in ("paused", "going_on", "failed_item", "stopping") if name not in told] == []


@pytest.mark.slow
@pytest.mark.parametrize("medium", ["sqlite", "redis"])
def test_from_another_machine_a_job_is_asked_through_its_store(medium: str, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/jobs.db" if medium == "sqlite" else place_in(medium, tmp_path)
    program = JOB.replace("every(seconds=0.2)", "every(seconds=0.2), store=sys.argv[1]")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "RESUMABLE_INDEX": str(tmp_path / "there")}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program, place], env=environment, **pipes) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"

        def done() -> int:
            (pulse,) = [json.loads(path.read_text()) for path in Path("there/runs").glob("*.json")]
            return int(pulse["items"])

        until(lambda: list(Path("there/runs").glob("*.json")))
        assert resumable("pause", "job", "--store", place).exit_code == 0
        until(lambda: '"paused"' in "".join(path.read_text() for path in Path("there/runs").glob("*.json")))
        before = done()
        assert "goes on" in resumable("resume", "job", "--store", place).output
        until(lambda: done() > before)
        assert "stops after its item" in resumable("stop", "job", "--store", place).output
        assert child.wait(60) == 143

        assert resumable("stop", "job", "--store", place).exit_code == 1  # it does not run


def keep(operation_id: str, store: str, items: int, **state: Any) -> None:
    with checkpointed(operation_id, every(hours=1), store=store, auto_cleanup=False) as cp:
        cp.state.update(state)
        for number in cp.remaining(range(10)):
            if number == items:
                break


def test_what_does_not_run_cannot_be_asked_anything() -> None:
    keep("one", ".", 3)

    for verb in ("stop", "pause"):
        assert "one is not running" in resumable(verb, "one").output
    assert "is not running (stopped)" in resumable("resume", "one").output
    assert "has no failed items" in resumable("retry-failed", "one").output
    assert resumable("stop", "none").exit_code == 1
