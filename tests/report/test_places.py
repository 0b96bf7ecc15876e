"""The files by which other processes know where checkpoints lie, and what a run does."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every
from resumable._report import live, places, presence
from resumable._report.live import everywhere
from resumable._report.places import add_events, events_of


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESUMABLE_INDEX", str(tmp_path / "state"))
    monkeypatch.setattr(presence, "_BEAT_SECONDS", 0.02)
    monkeypatch.setattr(presence, "_PULSE_SECONDS", 0.0)
    monkeypatch.setattr(presence, "_EARLY", 0.0)
    return tmp_path / "state"


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("RESUMABLE_INDEX", "off")
    with checkpointed("job", every(items=1), store="ck", auto_cleanup=False) as cp:
        for _ in cp.remaining(range(3)):
            time.sleep(0.05)

    assert not home.exists()
    assert list(everywhere()) == []
    assert "resumable-presence" not in {thread.name for thread in threading.enumerate()}


def test_a_state_directory_that_cannot_be_written_does_no_harm(home: Path) -> None:
    home.write_text("a file is in its place")

    with checkpointed("job", every(items=1), store="ck") as cp:
        for _ in cp.remaining(range(5)):
            time.sleep(0.02)


def test_damaged_files_are_left_out(home: Path) -> None:
    (home / "places").mkdir(parents=True)
    (home / "places" / "a.json").write_bytes(b"\xff{")
    (home / "places" / "b.json").write_text('{"place": 7, "at": "x"}')
    places.note_place(home, "/no/such/directory")

    assert list(everywhere()) == []
    assert places.places() == []


def test_a_place_that_does_not_answer_holds_up_nobody(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def look(place: str, found: Any) -> None:
        gate.wait(60)

    monkeypatch.setattr(live, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(live, "_look", look)
    places.note_place(home, "redis://10.255.255.1:6379/0")
    places.note_place(home, f"sqlite:///{home}/gone.db")

    assert list(everywhere()) == []
    assert places.places() == ["redis://10.255.255.1:6379/0"]
    gate.set()


def test_events_take_a_bounded_size(home: Path) -> None:
    path = home / "events" / "x.jsonl"
    line = b'{"name":"saved"}\n' * 1000
    for _ in range(100):
        add_events(path, line)

    assert path.stat().st_size < 2 * places._MOST_EVENTS
    assert {event["name"] for event in events_of(path)[0]} == {"saved"}


def test_events_of_many_operations_take_a_bounded_number_of_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_MOST_OPERATIONS", 10)
    for number in range(25):
        path = home / "events" / f"{number}.jsonl"
        add_events(path, b"{}\n")
        os.utime(path, (number, number))

    names = [int(path.stem) for path in (home / "events").iterdir()]
    assert len(names) <= 10
    assert max(names) == 24
