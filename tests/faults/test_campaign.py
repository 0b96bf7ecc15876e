"""A slice of the campaign: a loop that holds all there is, killed often, against a model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Figure

ROOT = Path(__file__).parents[2]
KILLS = 60
FORGETFUL = """
from resumable._durable.artifact import Artifacts
from tests.faults import campaign
Artifacts.needed = lambda self: {one.version for one in self._now.values()} | self._writing
print(campaign.campaign(60, 1)[1])
"""
"""Removes the version that is stored before another one is."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_a_loop_that_holds_all_there_is_goes_on_as_the_model_says(figure: Figure) -> None:
    command = [sys.executable, "-m", "tests.faults.campaign", "--kills", f"{KILLS}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" 0 differences\n")
    figure("killed at random with all there is", KILLS, "0 differences")


def test_a_careless_one_is_found_out() -> None:
    done = subprocess.run([sys.executable, "-c", FORGETFUL], capture_output=True, text=True, cwd=ROOT, check=True)

    assert int(done.stdout.splitlines()[-1]) > 0
