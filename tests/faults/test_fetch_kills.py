"""A fetch of every file of a repository through the example server, stopped again and again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.servers import ServerProcess, make_repository, read_files

ROOT = Path(__file__).parent.parent.parent
BETWEEN_SAVES, FILES = 25, 900
JOB = f"""
import sys, time
from pathlib import Path
import json
import httpx
from resumable import checkpointed, every

with checkpointed("fetch", every(items={BETWEEN_SAVES})) as cp, httpx.Client(base_url=sys.argv[1]) as client:
    tree = client.get("/repos/a/b/git/trees/HEAD?recursive=1").json()["tree"]
    files = cp.mapping("files")
    for path in cp.remaining([entry["path"] for entry in tree if entry["type"] == "blob"]):
        files[path] = client.get(f"/repos/a/b/contents/{{path}}").json()["content"]
        while len(files) == {FILES} and not Path("may-end").exists():
            time.sleep(0.01)
    Path("files.json").write_text(json.dumps(files))
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "repository"
    make_repository(path, files=FILES, commits=5)
    return path


@pytest.mark.parametrize(
    ("number", "stops", "repeated_each"),
    [
        pytest.param(signal.SIGKILL, 20, BETWEEN_SAVES + 1, id="SIGKILL"),
        pytest.param(signal.SIGINT, 6, 0, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 6, 0, id="SIGTERM"),
    ],
)
def test_whatever_stops_it_nothing_is_lost_and_little_repeated(
    number: signal.Signals, stops: int, repeated_each: int, repository: Path, tmp_path: Path
) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    chance = random.Random(number)
    stopped = 0
    with ServerProcess(repository, limit=10**6, delay=0.002) as server:
        while True:
            job = subprocess.Popen(
                [sys.executable, "-B", "-c", JOB, server.url], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL
            )
            if stopped < stops:
                _wait_until_it_works(server, job)
                time.sleep(chance.uniform(0, 0.1))
                job.send_signal(number)
            (tmp_path / "may-end").touch()
            code = job.wait()
            (tmp_path / "may-end").unlink()
            if code == 0:
                break
            stopped += 1
        served = [path for path, status, _ in server.requests if "/contents/" in path and status == 200]
    files = json.loads((tmp_path / "files.json").read_text())
    truth = read_files(repository)
    repeated = len(served) - len(set(served))
    print(f"\n{number.name}: stopped {stopped} times, {len(truth)} files, {repeated} requests repeated")
    assert files.keys() == truth.keys()
    assert stopped == stops
    assert repeated <= stopped * repeated_each
    assert not list(tmp_path.glob(".checkpoint_*"))


def _wait_until_it_works(server: ServerProcess, job: subprocess.Popen[bytes]) -> None:
    before = len(server.requests)
    while len(server.requests) < before + 3 and job.poll() is None:
        time.sleep(0.02)
