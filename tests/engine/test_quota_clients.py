"""Real clients against a real server with a short rate limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.bench_quota import CLIENTS, measure, paths_in
from tests.support.servers import ServerProcess, make_repository

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "repository"
    make_repository(path, files=130, commits=5)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_with_hooks_waits_for_the_quota_and_loses_nothing(
    client: str, repository: Path, tmp_path: Path
) -> None:
    row = measure(client, repository, paths_in(repository), tmp_path, limit=50, window=1)

    assert row["lost"] == 0
    assert row["repeated"] == 0
    assert row["refused %"] <= 1


@pytest.mark.slow
def test_killed_in_a_wait_it_goes_on_waiting_for_what_is_left_and_asks_nothing_before(
    repository: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-B", str(ROOT / "examples" / "fetch_loop.py"), "owner/name", "--base-url"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with ServerProcess(repository, limit=100, window=6) as server:
        time.sleep(-time.time() % 6)
        first = subprocess.Popen(
            [*command, server.url], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        )
        assert first.stderr is not None
        assert any("waiting" in line for line in first.stderr)
        first.kill()
        first.wait()
        first.stderr.close()
        before = len(server.requests)
        killed_at = time.time()

        second = subprocess.run([*command, server.url], cwd=tmp_path, env=environment, capture_output=True, text=True)

        assert second.returncode == 0, second.stderr
        asked = server.requests[before:]
    reset_at = -(-killed_at // 6) * 6
    assert min(at for _, _, at in asked) >= reset_at
    assert not [status for _, status, _ in asked if status == 403]
    assert len(json.loads((tmp_path / "files.json").read_text())) == len(paths_in(repository))
