"""A large state: whatever is wrong with it or with the disk, the last checkpoint stands."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointManager, StateEncodeError, StoreError, checkpointed, every
from resumable.stores._file import FileLease

NEVER = every(hours=9)


def large() -> dict[str, Any]:
    return {f"file {number}": {"size": number, "sha": "x" * 90} for number in range(12_000)}


def restored(directory: Path) -> dict[str, Any]:
    found = CheckpointManager(directory).load_checkpoint("crawl")
    assert found is not None
    return found.state


def checkpoints(directory: Path) -> dict[str, bytes]:
    """All files but the lock, which says since when it is held."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix != ".lock"}


def saver_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "resumable-save"]


def test_a_large_state_comes_back(tmp_path: Path) -> None:
    with checkpointed("crawl", NEVER, store=tmp_path) as cp:
        cp.state["files"] = large()
        cp.save()
        assert restored(tmp_path) == {"files": large()}
        assert not saver_threads()


@pytest.mark.parametrize("wrong", [float("nan"), {1: "a"}, {1, 2}, b"raw"], ids=repr)
def test_a_large_state_that_json_cannot_hold_replaces_nothing(tmp_path: Path, wrong: object) -> None:
    manager = CheckpointManager(tmp_path)
    manager.create_checkpoint("crawl", {"files": large(), "n": 1})
    before = checkpoints(tmp_path)
    bad = large()
    bad["file 11999"]["sha"] = wrong
    with pytest.raises(StateEncodeError, match=r"\$\.state\.files\['file 11999'\]\.sha"):
        manager.create_checkpoint("crawl", {"files": bad, "n": 2})
    assert checkpoints(tmp_path) == before
    assert not saver_threads()
    manager.create_checkpoint("crawl", {"files": large(), "n": 3})
    assert restored(tmp_path)["n"] == 3


@pytest.mark.slow
def test_a_name_that_json_would_change_is_refused_in_a_large_state(tmp_path: Path) -> None:
    state: dict[Any, Any] = {"files": large(), 7: "seven"}
    with pytest.raises(StateEncodeError, match="7 is not a string"):
        CheckpointManager(tmp_path).create_checkpoint("crawl", state)
    assert CheckpointManager(tmp_path).load_checkpoint("crawl") is None


def test_a_tuple_in_a_large_state_is_told_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="is a tuple and will come back as a list"):
        CheckpointManager(tmp_path).create_checkpoint("crawl", {"files": large(), "pair": (1, 2)})
    assert restored(tmp_path)["pair"] == [1, 2]


def test_a_store_that_fails_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = CheckpointManager(tmp_path)
    manager.create_checkpoint("crawl", {"n": 1})

    def fail(*args: object) -> Path:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(FileLease, "stage", fail)
        with pytest.raises(StoreError, match="the disk is full"):
            manager.create_checkpoint("crawl", {"files": large()})
    assert restored(tmp_path) == {"n": 1}
    assert not saver_threads()


def test_an_output_that_cannot_be_synced_keeps_a_large_state_from_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise StoreError("no space for the rows")

    with checkpointed("crawl", NEVER, store=tmp_path) as cp:
        cp.state["n"] = 1
        rows = cp.sink(tmp_path / "rows.txt")
        cp.save()
        cp.state["files"] = large()
        with monkeypatch.context() as patch:
            patch.setattr(type(rows), "sync", fail)
            with pytest.raises(StoreError, match="no space for the rows"):
                cp.save()
        assert restored(tmp_path) == {"n": 1}
        assert not saver_threads()
        cp.save()
        assert restored(tmp_path)["files"] == large()
