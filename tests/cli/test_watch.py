"""``list --all``, ``watch`` and ``tail``: jobs while they work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every
from resumable._report import live, places
from resumable.cli._watch import event_line
from tests.support.command import resumable, state
from tests.support.media import free_port
from tests.support.running import REPOSITORY

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.slow
def test_watch_prints_a_line_at_each_change_until_the_job_has_ended(job: subprocess.Popen[str]) -> None:
    command = [sys.executable, "-m", "resumable", "watch", "job", "--every", "0.1"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        first = watching.stdout.readline()
        job.terminate()
        rest = watching.communicate(timeout=300)[0]

    assert first.startswith("job  running  ")
    assert "job  stopped" in rest.splitlines()[-1]
    assert watching.returncode == 0


@pytest.mark.slow
def test_a_job_that_was_killed_is_no_longer_shown_as_working(job: subprocess.Popen[str]) -> None:
    job.kill()
    job.wait()

    assert state() == "killed"
    assert resumable("stop", "job").exit_code == 1


def keep(operation_id: str, store: str, items: int, **state: Any) -> None:
    with checkpointed(operation_id, every(hours=1), store=store, auto_cleanup=False) as cp:
        cp.state.update(state)
        for number in cp.remaining(range(10)):
            if number == items:
                break


def test_all_places_are_listed() -> None:
    keep("one", "here", 3)
    keep("two", "there", 4)

    shown = resumable("list", "--all").output
    assert [line.split()[0] for line in shown.splitlines()[1:]] == ["two", "one"] or "one" in shown
    assert str(Path("here").absolute()) in shown
    assert str(Path("there").absolute()) in shown
    assert "two" not in resumable("list", "--all", "on*").output


@pytest.mark.slow
def test_servers_that_are_gone_cost_as_long_as_one_and_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep("one", "here", 3)
    gone = [f"redis://127.0.0.1:{free_port()}/0" for _ in range(8)]
    for place in gone:
        places.note_place(places.directory() or home, place)

    at_once, look = threading.Barrier(len(gone), timeout=300), live._look

    def look_together(place: str, found: Any) -> None:
        if place in gone:
            at_once.wait()
        look(place, found)

    with monkeypatch.context() as patch:
        patch.setattr(live, "_look", look_together)
        result = resumable("list", "--all")
    assert "one" in result.output
    assert [place for place in gone if f"not reached: {place} (" not in result.stderr] == []
    assert "tried again" not in result.stderr
    told = json.loads(resumable("list", "--all", "--json").stdout)
    assert sorted(one["store"] for one in told["unreached"]) == sorted(gone)


def test_without_an_index_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no checkpoints in any known place" in resumable("list", "--all").output
    keep("one", ".", 3)
    monkeypatch.setenv("RESUMABLE_INDEX", "off")

    assert "$RESUMABLE_INDEX is off" in resumable("list", "--all").output
    assert "$RESUMABLE_INDEX is off" in resumable("tail", "one").output


def test_watching_a_list_needs_a_terminal() -> None:
    assert "needs a terminal" in resumable("list", "--watch").output


def test_an_event_reads_well_whatever_it_holds() -> None:
    event = {"name": "failed_item", "at": "2026-11-26T21:42:08+00:00", "processed_items": 5, "total_items": 9}
    event |= {"loop": "urls", "key": "a\x1b[31m", "error": "ValueError: no"}

    assert event_line(event).endswith("failed_item  5 of 9           urls a\\x1b[31m: ValueError: no")
    assert event_line({"at": "x"}).startswith("?  None")
