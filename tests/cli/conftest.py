"""A job that works, and the command line without click."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resumable._report import presence
from resumable.cli import main
from tests.support.command import JOB, until
from tests.support.damaged import journaled, sealed, two  # noqa: F401


@pytest.fixture
def home(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which runs tell other processes of themselves."""
    monkeypatch.setenv("RESUMABLE_INDEX", str(place / "state"))
    monkeypatch.setattr(presence, "_BEAT_SECONDS", 0.02)
    return place / "state"


@pytest.fixture
def job(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A job that works, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", JOB], env=environment, **pipes) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        until(lambda: list(home.glob("runs/*.json")))
        yield child
        child.kill()
        child.communicate()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command line without click."""
    monkeypatch.delitem(sys.modules, "resumable.cli._commands", raising=False)
    monkeypatch.setitem(sys.modules, "click", None)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["resumable", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        output = capsys.readouterr()
        return int(str(exit_.value.code)), output.out, output.err

    return call
