"""``list --all``, ``watch``, ``tail``, ``diff``, ``pause``, ``stop``, ``resume``, ``retry-failed``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from resumable import checkpointed, every
from resumable._report import places, presence
from resumable.cli._commands import commands
from resumable.cli._watch import event_line
from tests.support.media import free_port, place_in

REPOSITORY = Path(__file__).parents[2]
JOB = """
import sys, time
from resumable import checkpointed, every
from resumable._report import presence
presence._BEAT_SECONDS, presence._PULSE_SECONDS = 0.05, 0.0
with checkpointed("job", every(seconds=0.2)) as cp:
    for number in cp.remaining(range(100_000)):
        time.sleep(0.01)
        if number == 40:
            cp.fail(number, "no")
            print("begun", flush=True)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CHECKPOINT_DIR", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESUMABLE_INDEX", str(tmp_path / "state"))
    monkeypatch.setattr(presence, "_BEAT_SECONDS", 0.02)
    return tmp_path / "state"


def resumable(*arguments: str) -> Result:
    return CliRunner().invoke(commands, list(arguments), catch_exceptions=False)


def until(fact: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := fact()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
    return found


@pytest.fixture
def job() -> Iterator[subprocess.Popen[str]]:
    """A job that works, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", JOB], env=environment, **pipes) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        until(lambda: list(Path("state").glob("runs/*.json")))
        yield child
        child.kill()
        child.communicate()


def state() -> str:
    (one,) = json.loads(resumable("list", "--all", "--json").output)["checkpoints"]
    return str(one["state"])


@pytest.mark.slow
def test_a_job_is_paused_resumed_and_stopped_from_outside(job: subprocess.Popen[str]) -> None:
    assert resumable("pause", "job").exit_code == 0
    until(lambda: state() == "paused")
    assert "= paused" in resumable("list", "--all").output
    assert "= paused" in resumable("list").output

    assert "goes on" in resumable("resume", "job").output
    until(lambda: state() == "running")
    assert "was not paused" in resumable("resume", "job").output

    assert "1 failed item is tried again" in resumable("retry-failed", "job").output
    assert "stops after its item" in resumable("stop", "job").output
    assert job.wait(60) == 143
    assert "job  stopped" in resumable("watch", "job").output
    told = resumable("tail", "job").output
    assert [name for name in ("paused", "going_on", "failed_item", "stopping") if name not in told] == []


@pytest.mark.slow
@pytest.mark.parametrize("medium", ["sqlite", "redis"])
def test_from_another_machine_a_job_is_asked_through_its_store(medium: str, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/jobs.db" if medium == "sqlite" else place_in(medium, tmp_path)
    program = JOB.replace("every(seconds=0.2)", "every(seconds=0.2), store=sys.argv[1]")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "RESUMABLE_INDEX": str(tmp_path / "there")}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program, place], env=environment, **pipes) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"

        def done() -> int:
            (pulse,) = [json.loads(path.read_text()) for path in Path("there/runs").glob("*.json")]
            return int(pulse["items"])

        until(lambda: list(Path("there/runs").glob("*.json")))
        assert resumable("pause", "job", "--store", place).exit_code == 0
        until(lambda: '"paused"' in "".join(path.read_text() for path in Path("there/runs").glob("*.json")))
        before = done()
        assert "goes on" in resumable("resume", "job", "--store", place).output
        until(lambda: done() > before)
        assert "stops after its item" in resumable("stop", "job", "--store", place).output
        assert child.wait(60) == 143

        assert resumable("stop", "job", "--store", place).exit_code == 1  # it does not run


@pytest.mark.slow
def test_watch_prints_a_line_at_each_change_until_the_job_has_ended(job: subprocess.Popen[str]) -> None:
    command = [sys.executable, "-m", "resumable", "watch", "job", "--every", "0.1"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        first = watching.stdout.readline()
        job.terminate()
        rest = watching.communicate(timeout=60)[0]

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
def test_servers_that_are_gone_cost_as_long_as_one_and_are_named(home: Path) -> None:
    keep("one", "here", 3)
    gone = [f"redis://127.0.0.1:{free_port()}/0" for _ in range(8)]
    for place in gone:
        places.note_place(places.directory() or home, place)

    began = time.monotonic()
    result = resumable("list", "--all")
    assert time.monotonic() - began < 20  # one after the other they take 8 times 3 seconds
    assert "one" in result.output
    assert [place for place in gone if f"not reached: {place} (" not in result.stderr] == []
    assert "tried again" not in result.stderr
    told = json.loads(resumable("list", "--all", "--json").stdout)
    assert sorted(one["store"] for one in told["unreached"]) == sorted(gone)


def test_without_an_index_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no checkpoints in any place" in resumable("list", "--all").output
    keep("one", ".", 3)
    monkeypatch.setenv("RESUMABLE_INDEX", "off")

    assert "$RESUMABLE_INDEX is off" in resumable("list", "--all").output
    assert "$RESUMABLE_INDEX is off" in resumable("tail", "one").output


def test_watching_a_list_needs_a_terminal() -> None:
    assert "needs a terminal" in resumable("list", "--watch").output


def test_what_does_not_run_cannot_be_asked_anything() -> None:
    keep("one", ".", 3)

    for verb in ("stop", "pause"):
        assert "one is not running" in resumable(verb, "one").output
    assert "is not running (stopped)" in resumable("resume", "one").output
    assert "has no failed items" in resumable("retry-failed", "one").output
    assert resumable("stop", "none").exit_code == 1


def test_two_operations_are_compared_value_by_value() -> None:
    keep("one", ".", 3, page=1, same=[1, 2], gone="x")
    keep("two", ".", 4, page=2, same=[1, 2, 3], new={"a": 1})

    result = resumable("diff", "one", "two")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "~ $.state.page: 1 -> 2",
        "+ $.state.same[2]: 3",
        "- $.state.gone: 'x'",
        "+ $.state.new: {'a': 1}",
        "~ $.loops['loop-1'][0]: 3 -> 4",
        "~ $.processed_items: 3 -> 4",
    ]
    as_json = json.loads(resumable("diff", "one", "two", "--json").output)
    assert as_json[0] == {"path": "$.state.page", "before": 1, "after": 2}
    assert resumable("diff", "one", "one").exit_code == 0
    assert resumable("diff", "one", "none").exit_code == 1


def test_one_operation_is_compared_with_its_snapshot_before() -> None:
    keep("one", ".", 3)
    assert "only one snapshot" in resumable("diff", "one").output
    keep("one", ".", 5)

    assert "~ $.processed_items: 3 -> 5" in resumable("diff", "one").output
    assert resumable("diff", "none").exit_code == 1


def test_an_event_reads_well_whatever_it_holds() -> None:
    event = {"name": "failed_item", "at": "2026-11-26T21:42:08+00:00", "processed_items": 5, "total_items": 9}
    event |= {"loop": "urls", "key": "a\x1b[31m", "error": "ValueError: no"}

    assert event_line(event).endswith("failed_item  5 of 9           urls a\\x1b[31m: ValueError: no")
    assert event_line({"at": "x"}).startswith("?  None")
