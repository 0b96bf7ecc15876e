"""A journal on the disk, and the room behind its end."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from resumable import StoreError
from resumable._format import journal as _journal
from resumable._runtime import disk
from resumable._runtime.disk import JournalFile, without_room
from resumable.stores import FileStore, Lease
from tests.support.stores import claimed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".checkpoint_job.journal"


@pytest.fixture
def lease(path: Path) -> Iterator[Lease]:
    with claimed(FileStore(path.parent), "job") as lease:
        lease.stage(lease.next, [b"snapshot"])(b"")
        yield lease


def read(path: Path) -> bytes:
    return without_room(path.read_bytes())


def test_saves_stand_in_room_that_was_made_ahead_and_closing_cuts_it_off(path: Path) -> None:
    journal = JournalFile(path, 0)
    journal.append(b"one\n")
    size = path.stat().st_size
    for number in range(1, 100):
        journal.append(b"%d\n" % number)
    assert path.stat().st_size == size > 50_000
    whole = b"one\n" + b"".join(b"%d\n" % number for number in range(1, 100))
    assert read(path) == whole
    journal.close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize("length", [1, 60_000, 70_000, 3_000_000])
def test_a_save_that_is_longer_than_the_room_makes_more(path: Path, length: int) -> None:
    journal = JournalFile(path, 0)
    for _ in range(3):
        journal.append(b"x" * length + b"\n")
        assert journal.end < path.stat().st_size <= journal.end + (2 << 20)
    journal.close()
    assert path.read_bytes() == (b"x" * length + b"\n") * 3


def test_a_journal_is_opened_again_where_a_killed_run_left_it(path: Path) -> None:
    journal = JournalFile(path, 0)
    journal.append(b"one\n")  # and never closed
    again = JournalFile(path, journal.end)
    assert path.read_bytes() == b"one\n"
    again.append(b"two\n")
    again.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_disk_with_no_room_to_spare_takes_the_save_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all = disk.write_all

    def full(descriptor: int, data: bytes) -> None:
        if len(data) > 1000:
            write_all(descriptor, data[:500])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(descriptor, data)

    monkeypatch.setattr(disk, "write_all", full)
    journal = JournalFile(path, 0)
    for number in range(300):
        journal.append(b"%05d\n" % number)
        assert path.read_bytes() == b"".join(b"%05d\n" % earlier for earlier in range(number + 1))
    journal.close()
    assert path.stat().st_size == 1800


@pytest.mark.parametrize("has_room", [False, True])
def test_what_is_done_meanwhile_comes_after_the_bytes_and_before_they_are_safe(
    path: Path, monkeypatch: pytest.MonkeyPatch, has_room: bool
) -> None:
    journal = JournalFile(path, 0)
    if has_room:
        journal.append(b"one\n")
    told: list[object] = []
    monkeypatch.setattr(disk, "sync_data", lambda descriptor: told.append("synced"))
    journal.append(b"two\n", lambda: told.append(read(path)))
    assert told == [b"one\ntwo\n" if has_room else b"two\n", "synced"]


def test_a_system_that_cannot_begin_to_write_does_so_at_the_sync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name, **options: object())
    disk._of_system.cache_clear()
    journal = JournalFile(path, 0)
    journal.append(b"one\n", lambda: None)
    journal.close()
    disk._of_system.cache_clear()
    assert path.read_bytes() == b"one\n"


def test_an_append_that_fails_leaves_the_journal_as_it_was(
    path: Path, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease.append(lease.next, b"one\n")

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "sync_data", broken)
        with pytest.raises(StoreError, match=r"\.checkpoint_job\.journal: Input/output error"):
            lease.append(lease.next, b"two\n")
    assert path.read_bytes() == b"one\n"

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lease.append(lease.where(), b"two\n", b"", interrupted)
    assert path.read_bytes() == b"one\n"
    lease.append(lease.where(), b"three\n")
    lease.release()
    assert path.read_bytes() == b"one\nthree\n"


def test_a_journal_that_cannot_go_back_to_its_end_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came next would stand behind the room."""
    journal = JournalFile(path, 0)
    journal.append(b"one\n")
    journal.close()
    with monkeypatch.context() as patch:
        journal = JournalFile(path, 4)
        patch.setattr(os, "lseek", _refuse)
        with pytest.raises(PermissionError):
            journal.append(b"two\n")
    assert path.read_bytes() == b"one\n"


def test_a_folded_journal_takes_the_old_ones_place_and_goes_on(path: Path, lease: Lease) -> None:
    first = lease.next
    lease.append(first, b"old\n")
    lease.append(first + 1, b"new\n")
    lease.stage(first, [b"fold"])(b"")
    assert path.read_bytes() == b"new\n"
    assert path.with_name(".checkpoint_job.journal.prev").read_bytes() == b"old\nnew\n"
    lease.append(first + 2, b"and then\n")
    assert read(path) == b"new\nand then\n"
    assert path.stat().st_size > 50_000
    lease.release()
    assert path.read_bytes() == b"new\nand then\n"


def test_a_folded_journal_that_cannot_take_the_old_ones_place_leaves_it(
    path: Path, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease.append(lease.next, b"old\n")
    commit = lease.stage(lease.next - 1, [b"fold"])
    replace = os.replace

    def refuse_journal(old: Path, new: Path) -> None:
        replace(old, new) if new != path else _refuse()

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse_journal)
        commit(b"")
    lease.append(lease.next, b"and then\n")
    lease.release()
    assert path.read_bytes() == b"old\nand then\n"
    assert not [found for found in path.parent.iterdir() if found.suffix == ".tmp"]


def _refuse(*paths: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_cuts_nothing_off(path: Path, lease: Lease) -> None:
    first = lease.next
    lease.append(first, b"one\n")
    child = os.fork()
    if child == 0:
        lease.release()
        os._exit(0)
    lease.append(first + 1, b"two\n")
    os.waitpid(child, 0)
    lease.append(first + 2, b"three\n")
    assert path.stat().st_size > 50_000
    lease.release()
    assert path.read_bytes() == b"one\ntwo\nthree\n"


@pytest.mark.slow
def test_a_bit_that_flips_in_a_save_is_noticed_and_in_the_room_costs_none(path: Path) -> None:
    first, at = _journal.line(b'{"n":1}', 1, 7)
    second, _ = _journal.line('{"n":2,"text":"\x7f \u07bf \u4fff \U0010ffff"}'.encode(), 2, at.crc)
    journal = JournalFile(path, 0)
    journal.append(first)
    journal.append(second)
    raw, saves = path.read_bytes(), len(first + second)
    for position in (*range(saves + 1), *range(saves + 1, len(raw), 97)):
        for bit in range(8):
            image = bytearray(raw)
            image[position] ^= 1 << bit
            content = _journal.read(without_room(bytes(image)))
            assert content is not None, (position, bit)
            if position < saves:
                assert content.damage, (position, bit)
            else:
                assert [record["n"] for record in content.records] == [1, 2], (position, bit)
                assert not content.damage or position == saves
