"""What a run tells others while it works, and what it hears from them; all in a state directory of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from resumable import checkpointed, every
from resumable._format.sections import Run
from resumable._report import places, presence
from resumable._report.live import live_of
from resumable._report.places import events_of, events_path, pulse_of
from resumable._report.stored.summary import ending_of, summaries, summary_of
from resumable._report.wishes import ask
from tests.support.watched import go_on, noting, store, until, work

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESUMABLE_INDEX", str(tmp_path / "state"))
    monkeypatch.setattr(presence, "_BEAT_SECONDS", 0.02)
    monkeypatch.setattr(presence, "_PULSE_SECONDS", 0.0)
    monkeypatch.setattr(presence, "_EARLY", 0.0)
    return tmp_path / "state"


def test_a_run_tells_how_far_it_is_between_its_saves(home: Path) -> None:
    with checkpointed("job", every(hours=1), store="ck") as cp:
        work(cp, lambda _: (pulse := pulse_of(store(), "job")) and pulse.items == 10)
        pulse = pulse_of(store(), "job")
        one = live_of(store(), "job")

    assert pulse is not None
    assert (pulse.operation_id, pulse.pid, pulse.total, pulse.run) == ("job", os.getpid(), 100_000, 1)
    assert one is not None
    assert (one.state, one.summary.processed_items, one.shown.processed_items) == ("running", 0, 10)
    assert pulse_of(store(), "job") is None
    assert places.places() == [str(Path("ck").absolute())]
    assert [path.stat().st_mode & 0o777 for path in home.rglob("*.json")] == [0o600]


def test_its_events_can_be_read_after_it_has_finished(home: Path) -> None:
    with checkpointed("job", every(hours=1), store="ck") as cp:
        work(cp, lambda _: pulse_of(store(), "job"), items=11)
        cp.finalize()
    events, _ = events_of(events_path(home, str(Path("ck").absolute()), "job"))

    assert [event["name"] for event in events] == ["opened", "saved", "done"]


def test_a_run_that_is_over_at_once_tells_only_its_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "_BEAT_SECONDS", 60.0)
    with checkpointed("job", every(items=1), store="ck", auto_cleanup=False) as cp:
        for _ in cp.remaining(range(2)):
            pass

    assert [path.parent.name for path in home.rglob("*.json*")] == ["places"]


def test_a_run_that_fails_at_once_leaves_its_events(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is over before it could tell anything, and is the one that is asked about."""
    monkeypatch.setattr(presence, "_BEAT_SECONDS", 60.0)
    with pytest.raises(ValueError, match="no"), checkpointed("job", every(items=1), store="ck") as cp:  # noqa: PT012
        for number in cp.remaining(range(5)):
            if number == 3:
                raise ValueError("no")
    events, _ = events_of(events_path(home, str(Path("ck").absolute()), "job"))

    assert [event["name"] for event in events] == ["opened", "saved", "stopping"]
    assert events[-1]["error"] == "ValueError: no"


def test_a_pause_is_seen_from_a_machine_that_has_no_pulse_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has the request, and the save that was made for it."""
    states: list[tuple[str, str]] = []

    def look() -> None:
        elsewhere = live_of(store(), "job")
        assert elsewhere is not None
        states.append((elsewhere.state, elsewhere.says.partition(" since ")[0]))

    def ask_it() -> None:
        until(lambda: (one := live_of(store(), "job")) and one.state == "running")
        ask(store(), "job", "pause")
        until(lambda: (one := live_of(store(), "job")) and one.state == "paused")
        monkeypatch.setenv("RESUMABLE_INDEX", str(tmp_path / "elsewhere"))
        look()
        go_on()
        look()
        ask(store(), "job", "stop")

    errors: list[BaseException] = []
    asking = threading.Thread(target=noting(ask_it, errors))
    with pytest.raises(SystemExit), checkpointed("job", every(hours=1), store="ck") as cp:  # noqa: PT012
        cp.save()
        asking.start()
        for _ in cp.remaining(range(1_000_000)):
            time.sleep(0.001)
    asking.join()

    assert not errors
    assert states == [("paused", "paused"), ("running", "")]


def test_a_run_that_is_soon_over_starts_no_thread(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(presence, "_BEAT_SECONDS", 600.0)
    started: list[str] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    with checkpointed("job", every(items=1), store="ck", auto_cleanup=False) as cp:
        for _ in cp.remaining(range(3)):
            assert len(list(home.glob("runs/*"))) == 0

    assert set(started) <= {"resumable-alarm"}
    assert places.places() == [str(Path("ck").absolute())]


@pytest.mark.slow
def test_a_forked_child_tells_nothing(home: Path) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    program = f"""
import os, sys, time
sys.path.insert(0, {str(REPOSITORY)!r})
from resumable import checkpointed, every
from resumable._report import presence
presence._BEAT_SECONDS = 0.02
with checkpointed("job", every(items=1), store="ck") as cp:
    for number in cp.remaining(range(3)):
        time.sleep(0.1)
        if number == 1 and not os.fork():
            import threading
            os._exit(len([t for t in threading.enumerate() if t.name == "resumable-presence"]))
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


KILLED_EARLY = """
import os, signal, time
from resumable import checkpointed, every
from resumable._report import presence

presence._BEAT_SECONDS = 0.1
with checkpointed("job", every(hours=1), store="ck") as cp:
    for number in cp.remaining(range(10)):
        if cp.resumed:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 2:
            cp.save()
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_run_that_was_killed_before_its_first_save_is_counted(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Three kills in a row, and a person would read each time that it is run 2."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    for _ in range(3):
        subprocess.run([sys.executable, "-c", KILLED_EARLY], env=environment, timeout=60)
    seen = summary_of(store(), "job")
    assert seen is not None
    assert (seen.state, seen.runs) == ("killed", 3)
    assert [summary.state for summary in summaries(store())] == ["killed"]

    with pytest.raises(KeyboardInterrupt), checkpointed("job", store="ck", progress=True):
        raise KeyboardInterrupt
    assert "Run 4; run 3 was cut off" in (said := capfd.readouterr().err), said
    assert "before its first save" in said
    seen = summary_of(store(), "job")
    assert seen is not None
    assert [(run.run, run.items, ending_of(run)) for run in seen.history] == [
        (1, 2, "killed"),
        (2, 2, "killed"),
        (3, 2, "killed"),
        (4, 2, "stopped"),
    ]


def test_runs_of_an_operation_that_was_removed_do_not_count(home: Path) -> None:
    old = Run(run=7, began="2026-01-01T00:00:00+00:00", pid=1)
    newer = Run(run=1, began="2026-01-02T00:00:00+00:00", reason="Auto: 1 s")
    address = places.place_of(store())
    assert address is not None
    pulse = places.Pulse("job", address, "a", 1, 7, 0.0, 0.0, 3, unsaved=[old])
    places.write(places.pulse_path(home, address, "job"), pulse)
    runs = [newer]
    places.add_unsaved(store(), "job", runs)

    assert runs == [newer]
