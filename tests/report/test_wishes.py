"""What a person asks of a run: to try again what has failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from resumable import checkpointed
from resumable._report import presence
from resumable._report.wishes import ask
from resumable.stores import FileStore


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESUMABLE_INDEX", str(tmp_path / "state"))
    monkeypatch.setattr(presence, "_BEAT_SECONDS", 0.02)
    monkeypatch.setattr(presence, "_PULSE_SECONDS", 0.0)
    monkeypatch.setattr(presence, "_EARLY", 0.0)
    return tmp_path / "state"


def store() -> FileStore:
    return FileStore("ck")


def test_failed_items_are_tried_again_by_the_next_run_if_asked_for() -> None:

    def run() -> list[int]:
        done = []
        with checkpointed("job", store="ck") as cp:
            for number in cp.remaining(range(5)):
                done.append(number)
                if number == 3 and len(done) > 1:
                    cp.fail(number, "no")
        return done

    assert run() == [0, 1, 2, 3, 4]
    assert run() == []
    ask(store(), "job", "retry-failed")
    assert run() == [3]
    assert store().wish("job") is None


def test_a_map_tries_them_again_as_well() -> None:
    tried: list[int] = []

    def run(fails: bool) -> None:
        def halve(number: int) -> int:
            tried.append(number)
            if fails and number == 3:
                raise ValueError(number)
            return number

        with checkpointed("job", store="ck") as cp:
            for _ in cp.map(halve, range(5), on_error="skip"):
                pass

    run(fails=True)
    ask(store(), "job", "retry-failed")
    tried.clear()
    run(fails=False)
    assert tried == [3]
