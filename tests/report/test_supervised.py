"""What a supervisor reads from the file in which its job tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every
from resumable._report.supervised import CAREFUL, FILE, read_report


def told(path: Path, *events: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps({"operation_id": "a"} | event) + "\n" for event in events)


def test_the_most_items_and_the_last_event_of_each_operation_count(tmp_path: Path) -> None:
    path = tmp_path / "told"
    told(path, {"name": "saved", "processed_items": 7}, {"name": "saved", "processed_items": 5})
    told(path, {"name": "stopping", "operation_id": "b", "again_at": 9.0, "loop": "x", "key": 3})

    found, _ = read_report(path, 0)

    assert found.items == {"a": 7, "b": 0}
    assert [event.operation_id for event in found.ended] == ["b"]
    assert found.newest is not None
    assert found.newest.operation_id == "b"
    assert (found.again_at, found.item) == (9.0, ("b", "x", 3))


def test_an_item_that_failed_is_not_saved_yet(tmp_path: Path) -> None:
    told(tmp_path / "told", {"name": "failed_item", "processed_items": 8})

    assert read_report(tmp_path / "told", 0)[0].items == {}


def test_a_line_that_a_kill_has_cut_in_two_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "told"
    told(path, {"name": "saved", "processed_items": 7})
    end = path.stat().st_size
    with path.open("a") as file:
        file.write('{"name": "sav')

    assert read_report(path, 0)[0].items == {"a": 7}
    assert read_report(path, end)[0].last == {}


def test_a_job_tells_its_supervisor_and_saves_each_item_if_it_is_to_be_careful(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "told"
    path.touch()
    monkeypatch.setenv(FILE, str(path))
    monkeypatch.setenv(CAREFUL, "1")

    with checkpointed("job", every(items=1000), store=tmp_path) as cp:
        for item in cp.remaining(range(5)):
            if item == 3:
                assert read_report(path, 0)[0].items == {"job": 3}

    assert read_report(path, 0)[0].ended == []
