"""Each page of the guide does what it says, is short, and goes on after a kill in the middle."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from examples.github_server import GitHubServer
from examples.guide import (
    failures,
    logs,
    nested_loops,
    output_files,
    rate_limits,
    retries,
    shards,
    start_over,
)
from examples.guide.testing_a_loop import test_word_lengths_survive_any_stop as test_the_page_on_tests
from resumable import CheckpointManager
from tests.support.servers import make_repository

__all__ = ["test_the_page_on_tests"]
ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "examples" / "guide"
PAGES = sorted(path.stem for path in GUIDE.glob("*.py") if path.stem not in ("__init__", "pages"))
KILL = """
import os, sys, time
from importlib import import_module
left, sleep = 4, time.sleep
def dies(seconds):
    global left
    left -= 1
    os._exit(9) if not left else sleep(seconds)
time.sleep = dies
module, call = sys.argv[1:]
eval(call, vars(import_module(module)))
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def killed(page: str, call: str) -> None:
    """A process makes *call* in *page*, and dies in its fourth sleep."""
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILL, f"examples.guide.{page}", call]
    assert subprocess.run(command, env=environ, capture_output=True, timeout=300).returncode == 9


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_short_and_says_how_to_run_it(page: str) -> None:
    text = (GUIDE / f"{page}.py").read_text(encoding="utf-8")

    assert len(text.splitlines()) < 40
    assert f"examples.guide.{page}" in text or f"examples/guide/{page}.py" in text


@pytest.mark.slow
def test_start_over() -> None:
    killed("start_over", "main()")
    assert start_over.main(fresh=True) == 20

    killed("start_over", "main()")
    assert start_over.main() in range(17, 21)  # what was saved is left out


@pytest.mark.slow
def test_nested_loops() -> None:
    killed("nested_loops", "main()")

    done = nested_loops.main()

    steps = [f"epoch {epoch}, step {step}" for epoch in range(3) for step in range(5)]
    assert done == [*steps, "short report", "long report"]


AT_RANDOM = """
import signal, sys
from examples.guide import training
signal.signal(signal.SIGALRM, signal.SIG_DFL)
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]))
print(training.main())
"""


@pytest.mark.skipif(find_spec("numpy") is None, reason="how to get it: pip install numpy")
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")
def test_training_ends_bit_by_bit_as_if_nobody_had_stopped_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed 20 times; a run that comes to its end before that is compared, and begins anew."""
    losses = import_module("examples.guide.training").main()
    weights = (here / "weights.npz").read_bytes()
    (here / "killed").mkdir()
    monkeypatch.chdir(here / "killed")
    chance, kills, ends = random.Random(3), 0, 0

    while kills < 20 or ends == 0:
        seconds = chance.uniform(0.02, 0.5) if kills < 20 else 60
        command = [sys.executable, "-c", AT_RANDOM, f"{seconds}"]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=300)
        if done.returncode == 0:
            ends += 1
            assert done.stdout.decode().strip() == f"{losses}"
            assert Path("weights.npz").read_bytes() == weights
            assert [path.name for path in Path().iterdir()] == ["weights.npz"]
        else:
            assert done.returncode == -signal.SIGALRM, done.stderr
            kills += 1


def test_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(failures.main()) == ["broken b"]
    assert list(failures.main()) == ["broken b"]

    monkeypatch.setattr(failures, "download", str.upper)
    assert failures.main(again=True) == {}
    assert CheckpointManager().list_checkpoints() == []


def test_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([0.0, 0.5, 0.5, 0.0, 0.0] + [0.5] * 100)
    monkeypatch.setattr("random.random", lambda: next(answers))

    assert retries.doubles(40) == [2 * number for number in range(40)]


def test_rate_limits(tmp_path: Path) -> None:
    server = GitHubServer(make_repository(tmp_path / "repository", files=30, commits=1, extra={"a": b"123"}), limit=4)
    with server:
        sizes: dict[str, int] = rate_limits.main("any/name", server.url)

    assert sizes == {"a": 3}


@pytest.mark.slow
@pytest.mark.parametrize("is_killed", [False, True])
def test_output_files(is_killed: bool, here: Path) -> None:
    if is_killed:
        killed("output_files", "main()")
    output_files.main()

    rows = [f"{number},{number * number}" for number in range(20)]
    assert (here / "squares.csv").read_text().splitlines() == ["number,square", *rows]


@pytest.mark.slow
def test_shards() -> None:
    killed("shards", "main(0, 3)")

    assert sum(shards.main(shard, 3) for shard in range(3)) == sum(range(60))


def test_logs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "my.job"):
        logs.main()

    assert [record.message for record in caplog.records if record.name == "my.job"] == [
        "item 0",
        "item 5",
        "item 10",
        "item 15",
    ]
