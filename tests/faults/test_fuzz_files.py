"""A slice of the hostile files; the whole runs by hand, see ``fuzz_files`` and ``fuzz_guided``."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.faults.fuzz_files import fuzz
from tests.faults.hostile import Guard, load, seeds
from tests.faults.injection import WHOLE, scratch

REPOSITORY = Path(__file__).parents[2]
COUNT = 1_000_000 if WHOLE else 5000
GUIDED = 1_000_000 if WHOLE else 10_000


def test_the_seeds_are_valid() -> None:
    assert [load(snapshot, journal) for snapshot, journal in seeds()] == ["loaded"] * 5


@pytest.mark.timeout(3 * 3600)
def test_only_our_own_errors_come_out(figure: Figure) -> None:
    outcomes, longest = fuzz(COUNT)
    used = outcomes.pop("used")
    assert set(outcomes) <= {"loaded", "CheckpointCorruptError"}
    assert outcomes["CheckpointCorruptError"] > COUNT / 2
    assert outcomes["loaded"] > used > COUNT / 100
    assert longest < 5
    outcome = f"0 foreign exceptions, nothing executed or touched, longest {longest * 1000:.0f} ms"
    figure("hostile files, by chance", COUNT, f"{used:,} gone on from, {outcome}")


@pytest.mark.timeout(3 * 3600)
def test_a_fuzzer_led_by_coverage_finds_nothing(figure: Figure) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("needs atheris:  pip install atheris")
    with scratch() as directory:
        done = subprocess.run(
            [sys.executable, "-B", "-m", "tests.faults.fuzz_guided", "--runs", str(GUIDED)],
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(directory)},
            cwd=REPOSITORY,
        )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    covered = [int(number) for number in re.findall(r" cov: (\d+) ", done.stderr)]
    assert f"Done {GUIDED} runs" in done.stderr
    assert covered[-1] > covered[0] > 0, "no code was instrumented"
    figure("hostile files, led by coverage", GUIDED, f"{covered[-1]} branches reached, 0 foreign exceptions")


def test_the_guard_hears_what_is_done_to_the_world(tmp_path: Path) -> None:
    guard = Guard(tmp_path)
    guard.watch((tmp_path / "own").touch)
    for deed in (
        (tmp_path.parent / "other").touch,
        lambda: eval("1"),
        lambda: subprocess.run(["true"]),
        lambda: os.rename(tmp_path / "own", tmp_path.parent / "away"),
    ):
        guard.told.clear()
        with pytest.raises(AssertionError):
            guard.watch(deed)
