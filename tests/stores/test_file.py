"""Checkpoints as files: their names, their modes, what is never touched, and what a failing medium leaves."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointCorruptError, CheckpointManager, StoreError, checkpointed
from resumable._runtime import disk
from resumable.stores import FileStore
from tests.support.stores import put

NAME = ".checkpoint_crawl.json"
V1 = {"files_data": {"a.js": {"sha": "1"}}, "processed_files": ["a.js"], "timestamp": "2024-01-15T10:30:00"}
V2 = {
    "version": "2.0",
    "operation_id": "crawl",
    "state": {"done": [1, 2]},
    "metadata": {"processed_items": 2},
    "created_at": "2024-01-15T10:30:00",
    "last_updated": "2024-01-15T10:45:30",
}


@pytest.fixture
def manager(tmp_path: Path) -> CheckpointManager:
    return CheckpointManager(tmp_path)


def loaded(directory: Path, operation_id: str = "crawl") -> dict[str, Any] | None:
    found = CheckpointManager(directory).load_checkpoint(operation_id)
    return found.state if found is not None else None


def names(directory: Path) -> set[str]:
    return set(os.listdir(directory))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# -- names and modes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation_id", "name"),
    [
        ("fetch_prebid_Prebid.js_master", ".checkpoint_fetch_prebid_Prebid.js_master.json"),
        ("my_operation", ".checkpoint_my_operation.json"),
        ("Größe_大", ".checkpoint_Größe_大.json"),
    ],
)
def test_files_are_named_as_specified(manager: CheckpointManager, tmp_path: Path, operation_id: str, name: str) -> None:
    assert manager.create_checkpoint(operation_id, {}) == tmp_path / name


@pytest.mark.parametrize(
    "operation_id", [".", "..", "../up", "a" * 10_000, "tab\there", "line\nend", "what?", "c:\\x", "a/b", "a b"]
)
def test_other_ids_get_a_safe_name_with_a_hash(manager: CheckpointManager, tmp_path: Path, operation_id: str) -> None:
    path = Path(manager.create_checkpoint(operation_id, {"of": operation_id}))

    assert path.parent == tmp_path
    assert path.name.isprintable()
    assert len(path.name.encode()) < 230
    assert loaded(tmp_path, operation_id) == {"of": operation_id}


def test_nothing_but_the_owner_may_read_any_of_the_files(tmp_path: Path) -> None:
    os.umask(os.umask(0))  # whatever it is
    with checkpointed("crawl", store=tmp_path, auto_cleanup=False) as cp:
        files = cp.mapping("files")
        files.update({f"{number}": "x" * 90 for number in range(200)})
        for number in range(3):
            files["new"] = number
            cp.save()
        modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}

    assert modes == dict.fromkeys([NAME, ".checkpoint_crawl.journal", ".checkpoint_crawl.lock"], 0o600)


def test_a_clean_end_leaves_an_empty_directory(tmp_path: Path) -> None:
    with checkpointed("crawl", store=tmp_path) as cp:
        cp.state["n"] = 1
        cp.save()
        cp.save()
        assert NAME in names(tmp_path)

    assert names(tmp_path) == set()


def test_a_new_directory_is_brought_to_the_disk_with_its_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must not take the directory that an acknowledged save lies in."""
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync_directory", synced.append)
    put(FileStore(tmp_path / "a" / "b"), "crawl", b"x")

    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


# -- what was planted -------------------------------------------------------------------------------------------------


def plant_link(path: Path) -> None:
    target = path.parent / "precious"
    target.write_text("precious")
    path.symlink_to(target)


PLANTS: dict[str, Callable[[Path], None]] = {"link": plant_link, "pipe": os.mkfifo, "directory": Path.mkdir}


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("suffix", [".json", ".json.prev", ".journal", ".journal.prev", ".lock"])
def test_what_was_planted_is_neither_followed_nor_waited_for(tmp_path: Path, plant: str, suffix: str) -> None:
    path = tmp_path / f".checkpoint_crawl{suffix}"
    PLANTS[plant](path)
    descriptors = open_descriptors()
    manager = CheckpointManager(tmp_path)
    for attempt in (lambda: manager.create_checkpoint("crawl", {"n": 1}), lambda: manager.load_checkpoint("crawl")):
        with contextlib.suppress(StoreError):
            attempt()
    manager.list_checkpoints()

    assert not (tmp_path / "precious").exists() or (tmp_path / "precious").read_text() == "precious"
    assert open_descriptors() == descriptors


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_checkpoint_is_refused_and_stays(tmp_path: Path, plant: str) -> None:
    PLANTS[plant](tmp_path / NAME)
    before = (tmp_path / NAME).lstat().st_mode
    with pytest.raises(StoreError):
        loaded(tmp_path)
    with pytest.raises(StoreError), checkpointed("crawl", store=tmp_path):
        pass

    assert (tmp_path / NAME).lstat().st_mode == before


# -- generations, versions, corruption --------------------------------------------------------------------------------


def test_the_save_before_is_kept_and_offered(manager: CheckpointManager, tmp_path: Path) -> None:
    for number in range(4):
        path = Path(manager.create_checkpoint("crawl", {"n": number}))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointCorruptError) as caught:
        manager.load_checkpoint("crawl")

    assert caught.value.previous == f"{path}.prev"
    os.replace(f"{path}.prev", path)
    assert loaded(tmp_path) == {"n": 2}


def test_a_previous_save_that_is_bad_too_is_not_offered(manager: CheckpointManager) -> None:
    for number in range(2):
        path = Path(manager.create_checkpoint("crawl", {"n": number}))
    path.write_text("{")
    Path(f"{path}.prev").write_text("{}")
    with pytest.raises(CheckpointCorruptError) as caught:
        manager.load_checkpoint("crawl")

    assert caught.value.previous is None


@pytest.mark.parametrize(
    ("document", "state"),
    [
        pytest.param(V2, {"done": [1, 2]}, id="2.0 of another tool"),
        pytest.param(V1, {"files_data": {"a.js": {"sha": "1"}}, "processed_files": ["a.js"]}, id="no version"),
        pytest.param({**V1, "version": "1.0"}, {k: V1[k] for k in ("files_data", "processed_files")}, id="1.0"),
    ],
)
def test_older_documents_load_and_stay_untouched_until_a_save(tmp_path: Path, document: Any, state: Any) -> None:
    raw = json.dumps(document).encode()
    (tmp_path / NAME).write_bytes(raw)

    assert loaded(tmp_path) == state
    assert (tmp_path / NAME).read_bytes() == raw
    with checkpointed("crawl", store=tmp_path, auto_cleanup=False) as cp:
        assert (tmp_path / NAME).read_bytes() == raw
        cp.save()
        assert (tmp_path / f"{NAME}.prev").read_bytes() == raw
    assert loaded(tmp_path) == state


BAD: dict[str, tuple[bytes, str]] = {
    "nothing in it": (b"", "JSON"),
    "cut": (json.dumps(V2).encode()[:-9], "JSON"),
    "no text": (b"\xff\xfe\x00", "JSON"),
    "no object": (b"[1]", "not a JSON object"),
    "no checkpoint": (b"{}", "version None"),
    "of the future": (json.dumps({**V2, "version": "3.0"}).encode(), "a newer release wrote it, with version '3.0'"),
    "of another operation": (json.dumps({**V2, "operation_id": "other"}).encode(), "another operation, 'other'"),
    "edited": (b"", "digest does not match"),
}


def plant_bad(directory: Path, kind: str) -> bytes:
    if kind == "edited":
        path = Path(CheckpointManager(directory).create_checkpoint("crawl", {"n": 1}))
        path.write_bytes(path.read_bytes().replace(b'"n": 1', b'"n": 2'))
    else:
        (directory / NAME).write_bytes(BAD[kind][0])
    return (directory / NAME).read_bytes()


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_checkpoint_is_said_to_be_none_and_never_overwritten(tmp_path: Path, kind: str) -> None:
    raw = plant_bad(tmp_path, kind)
    with pytest.raises(CheckpointCorruptError, match=BAD[kind][1]) as caught:
        CheckpointManager(tmp_path).load_checkpoint("crawl")
    with pytest.raises(CheckpointCorruptError):
        CheckpointManager(tmp_path).create_checkpoint("crawl", {})
    with pytest.raises(CheckpointCorruptError), checkpointed("crawl", store=tmp_path) as cp:
        cp.save()

    assert caught.value.location == str(tmp_path / NAME)
    assert caught.value.operation_id == "crawl"
    assert (tmp_path / NAME).read_bytes() == raw
    assert CheckpointManager(tmp_path).list_checkpoints() == ["other" if "another" in kind else "crawl"]


def test_deleting_is_how_to_get_rid_of_a_bad_one(tmp_path: Path) -> None:
    plant_bad(tmp_path, "cut")
    assert CheckpointManager(tmp_path).delete_checkpoint("crawl") is True
    assert names(tmp_path) == set()
