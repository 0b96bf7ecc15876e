"""Real clients against a real server with a short rate limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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
    for window in (6, 12, 24, 48):
        place = tmp_path / str(window)
        place.mkdir()
        if was_killed_in_a_wait(repository, place, window):
            break
    else:
        pytest.fail("this machine is too slow to use up a quota")


def was_killed_in_a_wait(repository: Path, place: Path, window: int) -> bool:
    """False if its wait was over before it was killed, or its quota never used up."""
    command = [sys.executable, "-B", str(ROOT / "examples" / "fetch_loop.py"), "owner/name", "--base-url"]
    settings: Any = {"cwd": place, "env": os.environ | {"PYTHONPATH": str(ROOT)}, "text": True}
    with ServerProcess(repository, limit=100, window=window) as server:
        time.sleep(-time.time() % window)
        with subprocess.Popen([*command, server.url], stderr=subprocess.PIPE, **settings) as first:
            assert first.stderr is not None
            has_waited = any("waiting" in line for line in first.stderr)
            first.kill()
        before, killed_at = server.requests, time.time()
        if not has_waited or max(at for _, _, at in before) // window != killed_at // window:
            return False

        second = subprocess.run([*command, server.url], capture_output=True, **settings)

        assert second.returncode == 0, second.stderr
        asked = server.requests[len(before) :]
    reset_at = -(-killed_at // window) * window
    assert min(at for _, _, at in asked) >= reset_at
    assert not [status for _, status, _ in asked if status == 403]
    assert len(json.loads((place / "files.json").read_text())) == len(paths_in(repository))
    return True
