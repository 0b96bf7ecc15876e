"""File names of ids, and checkpoints that lie under an older one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from resumable import CheckpointBusyError, StoreError
from resumable.stores import FileStore, Holder, _lock
from resumable.stores._names import file_name, hashed_name, names_for, plain_name
from tests.support.stores import claimed, delete, document, keys, put

OLD = ".checkpoint_a_b.json"
NEW = file_name("a/b")


def document_of(operation_id: str | None, **members: object) -> bytes:
    head = {"version": "2.0", "operation_id": operation_id} if operation_id is not None else {}
    return json.dumps({**head, **members}).encode()


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation_id", ["a_b", "my-operation", "x.json", "Größe", "Job", "a" * 180])
def test_an_id_of_safe_characters_keeps_its_name(operation_id: str) -> None:
    assert file_name(operation_id) == f".checkpoint_{operation_id}.json"


def test_the_specifications_ids_are_named_as_they_always_were() -> None:
    operation_id = "fetch_prebid/Prebid.js_master".replace("/", "_")

    assert file_name(operation_id) == ".checkpoint_fetch_prebid_Prebid.js_master.json"


@pytest.mark.parametrize("operation_id", ["", "a/b", "a b", "a\n", "a?", "a:b", "a\\b", "a" * 181, "é" * 91, "\x7f"])
def test_an_id_that_does_not_fit_always_gets_its_hash(operation_id: str) -> None:
    name = file_name(operation_id)

    assert name == hashed_name(operation_id) != plain_name(operation_id)
    assert name.isprintable()
    assert "/" not in name
    assert len(name.encode()) < 230


@pytest.mark.parametrize(("operation_id", "others"), [("a/b", (OLD,)), ("a_b", (hashed_name("a_b"),)), ("a?", ())])
def test_an_older_release_may_have_used_the_other_name(operation_id: str, others: tuple[str, ...]) -> None:
    assert names_for(operation_id) == (file_name(operation_id), *others)


# -- what lies under an older name ------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path)


def plant(directory: Path, name: str, raw: bytes) -> Path:
    (directory / name).write_bytes(raw)
    return directory / name


@pytest.mark.parametrize("raw", [document_of("a/b", n=1), document_of(None, n=1)], ids=["2.0", "1.0 without an id"])
def test_it_is_found_and_the_first_save_moves_it(store: FileStore, tmp_path: Path, raw: bytes) -> None:
    path = plant(tmp_path, OLD, raw)
    assert store.locate("a/b") == store.describe("a/b") == path
    assert document(store, "a/b") == raw
    with claimed(store, "a/b") as lease:
        found = lease.read()
        assert found is not None
        assert (found.snapshot, found.location) == (raw, path)
        commit = lease.stage(lease.next, [document_of("a/b", n=2)])
        assert path.read_bytes() == raw
        commit(b"")
        assert not path.exists()
        assert store.locate("a/b") == tmp_path / NEW

    assert document(store, "a/b") == document_of("a/b", n=2)
    assert store.read("a/b", previous=True).snapshot == raw  # type: ignore[union-attr]
    assert set(os.listdir(tmp_path)) == {NEW, f"{NEW}.prev", NEW.replace(".json", ".lock")}


def test_one_that_an_older_release_gave_a_hash_is_found_too(store: FileStore, tmp_path: Path) -> None:
    """It did so if another id had the plain name."""
    plant(tmp_path, hashed_name("a_b"), document_of("a_b", n=1))
    assert document(store, "a_b") == document_of("a_b", n=1)
    put(store, "a_b", document_of("a_b", n=2))

    assert keys(store) == ["a_b"]
    assert store.locate("a_b") == tmp_path / OLD
    assert document(store, "a_b") == document_of("a_b", n=2)
    assert not (tmp_path / hashed_name("a_b")).exists()


def test_one_of_another_id_is_not_taken(store: FileStore, tmp_path: Path) -> None:
    raw = document_of("a_b", n=1)
    plant(tmp_path, OLD, raw)
    for operation_id in ("a/b", "a b"):
        assert store.read(operation_id) is None
        put(store, operation_id, document_of(operation_id))
        assert delete(store, operation_id) is True

    assert document(store, "a_b") == raw


@pytest.mark.parametrize(
    "raw", [b"", b"{", document_of("a/c"), document_of("A/b"), b'{"operation_id": 1}', b"[" * 10**6]
)
def test_one_that_cannot_tell_whose_it_is_does_not_count_as_none(store: FileStore, tmp_path: Path, raw: bytes) -> None:
    """The operation would begin anew beside it."""
    plant(tmp_path, OLD, raw)

    assert document(store, "a/b") == raw


@pytest.mark.parametrize("first", [{"state": {"x": [1]}}, {"created_at": "2026-01-01"}])
def test_the_id_need_not_stand_first(store: FileStore, tmp_path: Path, first: dict[str, object]) -> None:
    plant(tmp_path, OLD, json.dumps({**first, "operation_id": "a_b", "version": "2.0"}).encode())

    assert store.read("a/b") is None
    assert keys(store) == ["a_b"]


def test_what_is_no_file_is_nobodys(store: FileStore, tmp_path: Path) -> None:
    (tmp_path / OLD).symlink_to(tmp_path / "elsewhere")
    assert store.read("a/b") is None
    with pytest.raises(StoreError):
        store.read("a_b")


def test_what_cannot_be_read_does_not_count_as_none(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, OLD, document_of("a/b"))

    def fail(*args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(StoreError, match="Permission denied"):
        store.read("a/b")


def test_while_an_older_release_works_there_it_is_busy(store: FileStore, tmp_path: Path) -> None:
    plant(tmp_path, OLD, document_of("a/b"))
    with _lock.holding(tmp_path / ".checkpoint_a_b.lock", "a/b", Holder("old", 7, "2026-01-01")):
        with pytest.raises(CheckpointBusyError) as caught:
            store.claim("a/b", Holder.me())
        assert (caught.value.host, caught.value.pid) == ("old", 7)
    with claimed(store, "a/b"):
        assert [entry.holder is not None for entry in store.list()] == [True]


def test_its_segments_go_with_it(store: FileStore, tmp_path: Path) -> None:
    plant(tmp_path, OLD, document_of("a/b"))
    plant(tmp_path, ".checkpoint_a_b.journal", b"1\n")
    with claimed(store, "a/b") as lease:
        lease.read()
        numbers = [lease.next, lease.next + 1]
        for number in numbers:
            lease.append(number, b"%d\n" % number)
        assert store.read("a/b") == lease.read()
        lease.stage(numbers[0], [document_of("a/b", n=2)])(b"")

    found = store.read("a/b")
    assert found is not None
    assert (found.location, found.journal) == (tmp_path / NEW, b"%d\n" % numbers[1])
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".checkpoint_a_b.")]


def test_a_move_that_was_cut_short_is_listed_once_and_deleted_wholly(store: FileStore, tmp_path: Path) -> None:
    put(store, "a/b", document_of("a/b", n=2))
    plant(tmp_path, OLD, document_of("a/b", n=1))
    assert [entry.location for entry in store.list()] == [tmp_path / NEW]
    assert document(store, "a/b") == document_of("a/b", n=2)
    assert delete(store, "a/b") is True

    assert store.read("a/b") is None
    assert os.listdir(tmp_path) == []
