"""The progress of a run that works, from its pulse and its last save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed
from resumable._report import presence
from resumable._report.live import Live, everywhere
from resumable._report.places import Pulse, note_place, places
from resumable._report.stored.summary import Summary


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESUMABLE_INDEX", str(tmp_path / "state"))
    monkeypatch.setattr(presence, "_BEAT_SECONDS", 0.02)
    monkeypatch.setattr(presence, "_PULSE_SECONDS", 0.0)
    monkeypatch.setattr(presence, "_EARLY", 0.0)
    return tmp_path / "state"


SUMMARY = Summary(operation_id="job", state="running", processed_items=3, total_items=10)


def pulse(**facts: Any) -> Pulse:
    told: dict[str, Any] = {"at": 1000.0, "since": 1000.0, "items": 4, "total": 10, "item_seconds": 2.0} | facts
    return Pulse(operation_id="job", place="/x", host="h", pid=1, run=1, **told)


@pytest.mark.parametrize(
    ("told", "now", "state", "says"),
    [
        (pulse(), 1002.0, "running", "last item 2 s ago"),
        (pulse(), 1020.0, "silent", "no sign of life since"),
        (pulse(at=1100.0), 1100.0, "stuck", "no item for 2 min"),
        (pulse(at=1100.0, item_seconds=10.0), 1100.0, "running", "last item 2 min ago"),
        (pulse(does="paused"), 1001.0, "paused", "paused since"),
        (pulse(does="waits", whom="api\x1b", until=1065.0), 1001.0, "waiting", "waits 1:04 for api\\x1b"),
        (None, 1001.0, "running", ""),
    ],
)
def test_how_a_run_stands_is_said(told: Pulse | None, now: float, state: str, says: str) -> None:
    one = Live(SUMMARY, told, now)

    assert one.state == state
    assert says in one.says


def test_what_is_shown_is_newer_than_the_save() -> None:
    shown = Live(SUMMARY, pulse(), 1001.0).shown

    assert (shown.processed_items, shown.percent, shown.left_seconds) == (4, 40, 12.0)


def test_a_place_with_parameters_is_found_by_its_file(home: Path, tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/store.db{query}" for query in ("", "?table_prefix=mine_", "?compress=zstd")]
    for url in urls:
        with checkpointed("job", store=url, auto_cleanup=False) as cp:
            cp.tick()
        note_place(home, url)

    assert {place for place, _, _ in everywhere()} == set(urls)
    (tmp_path / "store.db").unlink()
    assert [*everywhere()] == []
    assert places() == []
