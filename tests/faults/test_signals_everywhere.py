"""Ctrl-C and SIGTERM, once and twice, at every line that the library runs during a loop.

After one signal no ticked item is lost. After two, which stop at once, no save is lost that stood. By default only some
of the lines are tried, with ``RESUMABLE_FAULTS=all`` each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.faults.injection import WHOLE, scratch
from tests.faults.signal_job import SHAPES

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

REPOSITORY = Path(__file__).parents[2]
EVERY = 1 if WHOLE else 151


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_signal_at_any_line_loses_nothing_that_counts(
    shape: str, number: signal.Signals, times: int, figure: Figure
) -> None:
    with scratch() as directory:
        command = [sys.executable, "-B", "-W", "error", "-m", "tests.faults.signal_job"]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(directory)}
        done = subprocess.run(
            [*command, shape, str(int(number)), str(times), str(EVERY)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=REPOSITORY,
        )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert told["wrong"] == []
    ended = ", ".join(f"{count} {how}" for how, count in sorted(told["ended"].items()))
    times_told = "once" if times == 1 else "twice"
    outcome = f"of {told['lines']} lines: {ended}; {told['repeated']} begun again, 0 lost, 0 hangs"
    figure(f"{number.name} {times_told}, {shape}", told["runs"], outcome)
