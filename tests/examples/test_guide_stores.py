"""The guide's pages on stores that machines share: each goes on after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from examples.guide import array_job, kubernetes_job
from resumable import open_store
from tests.examples.test_guide import killed
from tests.support import databases  # noqa: F401 - which place_in finds by their names
from tests.support.media import place_in
from tests.support.stores import keys


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_tasks_of_an_array_share_a_database() -> None:
    killed("array_job", "main(1, 3)")
    sums: dict[int, int] = {}
    threads = [
        threading.Thread(target=lambda task: sums.update({task: array_job.main(task, 3)}), args=(task,))
        for task in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sums == {task: sum(range(task, 60, 3)) for task in range(3)}
    assert keys(open_store("sqlite:///checkpoints.db")) == ["array-0", "array-1", "array-2"]


@pytest.mark.slow
def test_a_job_in_pods_goes_on_in_the_next_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_STORE", place_in("postgresql", tmp_path))
    killed("kubernetes_job", "main()")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "examples.guide.kubernetes_job"]
    environ = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=300)

    assert done.stdout == f"{kubernetes_job.main()}\n" == f"{sum(number * number for number in range(60))}\n"
