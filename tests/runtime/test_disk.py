"""The file store on a failing medium, and beside others: what stands, what is cleared, what is written anew."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointBusyError, CheckpointManager, StoreError, checkpointed
from resumable._runtime import disk
from resumable.stores import FileStore, Holder, Lease, _lock
from tests.support.stores import claimed, document, journal, put

NAME = ".checkpoint_crawl.json"


def loaded(directory: Path, operation_id: str = "crawl") -> Any:
    found = CheckpointManager(directory).load_checkpoint(operation_id)
    return found.state if found is not None else None


def names(directory: Path) -> set[str]:
    return set(os.listdir(directory))


def save(lease: Lease, snapshot: bytes) -> None:
    lease.stage(lease.where(), [snapshot])(b"")


# -- writes that fail -------------------------------------------------------------------------------------------------


def test_short_writes_are_written_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: max(1, len(data) // 2)]))
    state = {"text": "x" * 10_000}
    CheckpointManager(tmp_path).create_checkpoint("crawl", state)

    assert loaded(tmp_path) == state


@pytest.mark.parametrize(
    "sizes",
    [[], [0], [1, 2, 3], [(1 << 20) - 1, 1, 5], [7, 3 << 20, 9], [5 << 19, 1 << 20, 600_000, 600_000], [100_000] * 25],
)
def test_a_new_file_has_all_bytes_and_the_system_begins_early_to_write_what_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    begun: list[tuple[int, int]] = []
    monkeypatch.setattr(disk, "begin_sync", lambda descriptor, offset, length: begun.append((offset, length)))
    chunks = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    disk.write_new(tmp_path / "new", chunks)

    assert (tmp_path / "new").read_bytes() == b"".join(chunks)
    assert all(length >= 1 << 20 for _, length in begun)
    ends = [0, *(offset + length for offset, length in begun)]
    assert all(offset >= end for (offset, _), end in zip(begun, ends, strict=False))
    assert sum(length for _, length in begun) >= sum(sizes) - (2 << 20)


@pytest.mark.parametrize("name", ["write", "fsync", "replace", "link", "open"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT, errno.EROFS])
def test_a_save_that_fails_leaves_the_last_one_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    store = FileStore(tmp_path)
    put(store, "crawl", b"old")

    def fail(*args: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    with claimed(store, "crawl") as lease:
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            if name == "link":
                save(lease, b"new")  # as on a file system without links: it is copied
            else:
                with pytest.raises(StoreError, match=os.strerror(number)) as caught:
                    save(lease, b"new")
                assert str(tmp_path) in str(caught.value)

        assert document(store, "crawl") == (b"new" if name == "link" else b"old")
        assert not [left for left in names(tmp_path) if left.endswith(".tmp")]
        save(lease, b"newer")
    assert document(store, "crawl") == b"newer"


@contextmanager
def sync_failing_once(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[list[int]]:
    """The next sync fails, later ones do not; gives the inodes that were synced."""
    sync, seen = getattr(os, name), []

    def failing(descriptor: int) -> None:
        seen.append(os.fstat(descriptor).st_ino)
        if len(seen) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing)
        patch.setattr(disk, "sync_data", os.fdatasync)
        yield seen


def test_after_a_failed_fsync_the_next_save_is_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may have dropped the pages: a second fsync of the same file that succeeds proves nothing."""
    manager = CheckpointManager(tmp_path)
    manager.create_checkpoint("crawl", {"n": 1})
    held = os.open(tmp_path, os.O_RDONLY)  # so that inode numbers are not given again at once
    with sync_failing_once(monkeypatch, "fsync") as synced:
        with pytest.raises(StoreError):
            manager.create_checkpoint("crawl", {"n": 2})
        assert loaded(tmp_path) == {"n": 1}
        path = Path(manager.create_checkpoint("crawl", {"n": 3}))
    os.close(held)

    assert loaded(tmp_path) == {"n": 3}
    assert path.stat().st_ino in synced[1:]


def test_after_a_failed_journal_sync_everything_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with checkpointed("crawl", store=tmp_path, auto_cleanup=False) as cp:
        files = cp.mapping("files")
        files.update({f"{number}": "x" * 90 for number in range(200)})
        cp.save()
        snapshot = (tmp_path / NAME).stat().st_ino
        with sync_failing_once(monkeypatch, "fdatasync"):
            files["a"] = 1
            with pytest.raises(StoreError):
                cp.save()
            files["b"] = 2
            cp.save()
        assert (tmp_path / NAME).stat().st_ino != snapshot
        assert loaded(tmp_path)["files"] == files


def test_a_directory_sync_that_fails_is_a_failed_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new name may not survive a power cut: it must not count."""

    def fail(directory: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with claimed(FileStore(tmp_path), "crawl") as lease:
        monkeypatch.setattr(disk, "sync_directory", fail)
        with pytest.raises(StoreError):
            save(lease, b"new")


# -- the journal's file -----------------------------------------------------------------------------------------------


def test_a_journal_that_vanished_is_noticed_before_it_is_added_to(tmp_path: Path) -> None:
    """Else there would be a hole in front of what is added, and all of it would count as torn."""
    with claimed(FileStore(tmp_path), "crawl") as lease:
        save(lease, b"old")
        lease.append(lease.next, b"0123456789")
    with claimed(FileStore(tmp_path), "crawl") as lease:
        lease.read()
        (tmp_path / ".checkpoint_crawl.journal").unlink()
        with pytest.raises(StoreError, match="shorter"):
            lease.append(lease.next, b"x")


def test_what_was_not_there_when_the_journal_was_read_is_cut_off_by_the_next_append(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    with claimed(store, "crawl") as lease:
        save(lease, b"old")
        lease.append(lease.next, b"good ")
    with claimed(store, "crawl") as lease:
        lease.read()
        with open(tmp_path / ".checkpoint_crawl.journal", "ab") as file:
            file.write(b"torn")
        lease.append(lease.next, b"new")

    assert journal(store, "crawl") == b"good new"


def test_without_syncs_nothing_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda descriptor, name=name: synced.append(name))
    monkeypatch.setattr(disk, "sync_data", os.fdatasync)
    for is_synced in (False, True, False):
        with claimed(FileStore(tmp_path), "crawl") as lease, contextlib.ExitStack() as stack:
            if not is_synced:
                stack.enter_context(disk.without_syncs())
                stack.enter_context(disk.without_syncs())
            save(lease, b"1")
            lease.append(lease.next, b"2")
        assert set(synced) == ({"fsync", "fdatasync"} if is_synced else set())
        synced.clear()


# -- locks and leftovers ----------------------------------------------------------------------------------------------


def test_an_owner_clears_what_a_killed_save_left_and_nothing_else(tmp_path: Path) -> None:
    mine = {f".checkpoint_x{suffix}.0123abcd.tmp" for suffix in (".json", ".json.prev", ".journal", ".journal.prev")}
    others = {
        ".checkpoint_x.js.json.0123abcd.tmp",
        ".checkpoint_x.json.json.0123abcd.tmp",
        ".checkpoint_x.journal.json.0123abcd.tmp",
        ".checkpoint_xy.json.0123abcd.tmp",
        ".checkpoint_x.json.notours.tmp",
        "x.tmp",
    }
    for name in mine | others:
        (tmp_path / name).touch()
    with claimed(FileStore(tmp_path), "x"):
        pass

    assert names(tmp_path) == others


def test_deleting_does_not_take_the_lock_from_under_its_owner(tmp_path: Path) -> None:
    with claimed(FileStore(tmp_path), "crawl") as lease:
        save(lease, b"x")
        assert lease.delete() is True
        with pytest.raises(CheckpointBusyError):
            FileStore(tmp_path).claim("crawl", Holder.me())


def test_a_lock_that_cannot_be_taken_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system's own text names the path again."""

    def fail(path: Any, *args: Any, **options: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(path))

    monkeypatch.setattr(os, "open", fail)
    lock = tmp_path / ".checkpoint_crawl.lock"
    with pytest.raises(StoreError) as caught, _lock.holding(lock, "crawl", Holder.me()):
        raise AssertionError

    assert str(caught.value) == f"cannot lock {lock}: Read-only file system. Nothing was read or written."


@pytest.mark.parametrize("content", [b"", b"null", b"{", b'{"pid": "x"}', b'{"pid": 1e308}', b"[" * 4000, b"\xff"])
def test_whatever_the_lock_file_says_busy_is_busy(tmp_path: Path, content: bytes) -> None:
    with claimed(FileStore(tmp_path), "crawl") as lease:
        save(lease, b"x")
        (tmp_path / ".checkpoint_crawl.lock").write_bytes(content)
        with pytest.raises(CheckpointBusyError):
            FileStore(tmp_path).claim("crawl", Holder.me())
        assert next(FileStore(tmp_path).list()).holder is not None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets few people make links")
def test_a_checkpoint_that_is_a_link_is_refused_by_that_name(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / NAME).symlink_to("real.json")

    with pytest.raises(StoreError, match="it is a link"):
        loaded(tmp_path)
