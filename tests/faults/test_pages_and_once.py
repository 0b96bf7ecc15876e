"""Pages and effects under a kill at every system call and every line: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.faults.api_jobs import JOBS, effects_twice
from tests.faults.injection import WHOLE, Point, Servers, scratch, strace

ERRORS = ("ENOSPC", "EIO", "EACCES", "EDQUOT")
STEP = 1 if WHOLE else 290
"""Kill at every n-th line; without ``--full`` at every third call."""
REPOSITORY = Path(__file__).parents[2]
OF_ONE_THREAD = [name for name in JOBS if "async" not in name]
"""The others make their system calls in several threads, which strace counts each for itself."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    strace()
    servers = Servers()
    yield servers
    servers.close()


@pytest.mark.timeout(0 if WHOLE else 300)
@pytest.mark.parametrize("name", OF_ONE_THREAD)
def test_a_kill_at_any_call_loses_nothing_and_repeats_nothing(name: str, servers: Servers, figure: Figure) -> None:
    check = JOBS[name][1]
    found: Counter[str] = Counter()

    with scratch() as root:
        (root / "first").mkdir()
        with servers.one() as server:
            points = server.points(name, root / "first")[:: 1 if WHOLE else 3]

        def kill(number: int, point: Point) -> None:
            directory = root / str(number)
            directory.mkdir()
            with servers.one() as server:
                outcome = server.inject(name, directory, point, "signal=SIGKILL")
                assert outcome.was_killed, f"not hit: {point}"
                early = effects_twice(directory)
                again = server.run(name, directory, "-e", "trace=none")
            assert again.returncode == 0, f"killed before {point}: {again.lines}"
            assert [*early, *check(directory)] == [], f"killed before {point}"
            found["told"] += (directory / "told").exists()
            shutil.rmtree(directory)

        servers.map(kill, points)
    told = f", {found['told']} told of an effect" if "once" in name else ""
    figure(f"kill at each call, {name}", len(points), f"0 lost, 0 twice{told}")


@pytest.mark.timeout(0 if WHOLE else 300)
@pytest.mark.parametrize("name", OF_ONE_THREAD)
def test_an_error_of_any_call_loses_nothing_and_repeats_nothing(name: str, servers: Servers, figure: Figure) -> None:
    """Run the job again after a reported error, as a person would."""
    check = JOBS[name][1]
    told: Counter[str] = Counter()

    with scratch() as root:
        (root / "first").mkdir()
        with servers.one() as server:
            points = server.points(name, root / "first")[1 :: 1 if WHOLE else 4]

        def fail(number: int, point: Point) -> None:
            directory = root / str(number)
            directory.mkdir()
            error = ERRORS[number % len(ERRORS)]
            with servers.one() as server:
                outcome = server.inject(name, directory, point, f"error={error}")
            assert outcome.returncode == 0, f"{error} at {point}: {outcome.lines}"
            assert check(directory) == [], f"{error} at {point}: {outcome.lines}"
            told["told" if outcome.last("failed") else "borne"] += 1
            shutil.rmtree(directory)

        servers.map(fail, points)
    outcome = f"{told['told']} told, {told['borne']} did no harm"
    figure(f"error of each call, {name}", len(points), outcome)


@pytest.mark.timeout(0 if WHOLE else 300)
@pytest.mark.parametrize("name", JOBS)
def test_a_kill_at_any_line_loses_nothing_and_repeats_nothing(name: str, figure: Figure) -> None:
    command = [sys.executable, "-B", "-m", "tests.faults.api_jobs", name, str(STEP), str(os.getpid())]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=REPOSITORY)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)

    assert told["wrong"] == []
    assert told["kills"] > (told["lines"] // STEP) * 0.9
    what = f", {told['told']} told of an effect" if "once" in name else ""
    figure(f"kill at a line, {name}", told["kills"], f"0 lost, 0 twice{what}")
    if "once" in name:
        assert told["told"] > 0
