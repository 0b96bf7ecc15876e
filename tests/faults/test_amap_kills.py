"""Requests through ``amap`` against a server with faults, killed: none is lost, none repeated that was not in flight.

``python -m tests.faults --full -k amap`` kills 5 times during 10,000 requests; by default the suite makes fewer.
"""

from __future__ import annotations

import collections
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from resumable import CheckpointManager
from tests.faults.amap_job import WINDOW
from tests.faults.injection import WHOLE
from tests.faults.test_map_kills import lines, wait_for
from tests.support.servers import ServerProcess, make_repository

pytest.importorskip("httpx", reason="how to get it: pip install httpx")

ROOT = Path(__file__).parents[2]
KILLS, ITEMS = (5, 10_000) if WHOLE else (3, 800)


def start(url: str, directory: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-B", "-m", "tests.faults.amap_job", url, str(directory), str(ITEMS)]
    with (directory / "errors").open("ab") as errors:
        return subprocess.Popen(command, cwd=ROOT, stdout=errors, stderr=errors)


def answered(server: ServerProcess) -> collections.Counter[int]:
    """How often each item got its answer, as the server counts."""
    good = [request.path for request in server.requests if request.status == 200 and "item=" in request.path]
    return collections.Counter(int(parse_qs(urlsplit(path).query)["item"][0]) for path in good)


def test_killed_requests_lose_nothing_and_repeat_only_what_was_in_flight(
    tmp_path: Path, figure: Callable[[str], None]
) -> None:
    chance = random.Random("amap")
    repository = make_repository(tmp_path / "served.git", files=5, commits=30)
    directory = tmp_path / "job"
    directory.mkdir()
    faults = {"bad_gateway_every": 31, "drop_every": 37, "retry_after_every": 41, "retry_after": 1}
    with ServerProcess(repository, limit=10**6, **faults) as server:
        url = f"{server.url}/repos/ada/served/commits"
        for _ in range(KILLS):
            job = start(url, directory)
            landed = len(lines(directory, "landed"))
            wait_for(directory, "landed", landed + chance.randrange(1, ITEMS // (KILLS + 1)), job)
            job.kill()
            job.wait()
        job = start(url, directory)
        assert job.wait(300) == 0, (directory / "errors").read_text()
        times, statuses = answered(server), collections.Counter(request.status for request in server.requests)

    found = CheckpointManager(directory).load_checkpoint("requests")
    assert found is not None
    assert found.state["answers"] == {str(number): 1 for number in range(ITEMS)}
    assert times.keys() == set(range(ITEMS))
    repeated = times.total() - ITEMS
    assert repeated <= KILLS * WINDOW
    assert min(statuses[0], statuses[429], statuses[502]) > 0
    figure(f"amap: {ITEMS:,} requests, {KILLS} kills, 0 lost, {repeated} repeated of {KILLS * WINDOW} allowed")
