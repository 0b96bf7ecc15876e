"""The file store, stopped at each call to the disk: what is read next, what goes on, and what is cleared away."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from resumable import StoreError
from resumable._runtime import disk
from resumable.stores import FileStore, Lease
from resumable.stores._names import hashed_name, plain_name
from tests.support.stores import claimed, delete, document, put

CALLS = ("open", "write", "fsync", "fdatasync", "link", "replace", "unlink", "ftruncate", "mkdir")
KEY, MOVED = "crawl", "moved here/from there"
LINES = [b"%d\n" % number for number in range(1, 7)]
forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@contextmanager
def failing_at(call: int, fail: Callable[[], Any]) -> Iterator[list[str]]:
    """Call *fail* instead of the *call*-th call to the disk (from 1); gives the names of the calls so far."""
    seen: list[str] = []
    whole = {name: getattr(os, name) for name in CALLS}

    def counting(name: str) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            seen.append(name)
            return fail() if len(seen) == call else whole[name](*args, **options)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counting(name))
        patch.setattr(disk, "sync_data", os.fdatasync)
        yield seen


def fail_once() -> Any:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


# -- what is done, from what was there --------------------------------------------------------------------------------


def prepared(directory: Path, lease: Lease) -> int:
    """A snapshot with five segments; returns the number of the third."""
    number = lease.next
    lease.stage(number, [b"old"])(b"")
    for index, line in enumerate(LINES[:5], 1):
        lease.append(number + index, line)
    return number + 3


def fold(lease: Lease, third: int) -> None:
    commit = lease.stage(third, [b"new"])
    lease.append(lease.next, LINES[5])
    commit(b"")


def replace(lease: Lease, third: int) -> None:
    lease.stage(lease.next, [b"new"])(b"")


def append(lease: Lease, third: int) -> None:
    lease.append(lease.next, LINES[5])


def remove(lease: Lease, third: int) -> None:
    lease.delete()


DEEDS: dict[str, Callable[[Lease, int], None]] = {"fold": fold, "replace": replace, "append": append, "delete": remove}


def check(directory: Path, deed: str) -> None:
    """What is there is old, with all of its segments, or new, with all that came after it."""
    found = FileStore(directory).read(KEY)
    if found is None:
        assert deed == "delete"
    elif found.snapshot == b"old":
        assert found.journal in (b"".join(LINES[:5]), b"".join(LINES))
    else:
        behind = b"".join(LINES[3:]) if deed == "fold" else b""
        assert found.snapshot == b"new"
        assert found.journal.endswith(behind)
        assert b"".join(LINES).endswith(found.journal) or b"".join(LINES[:5]) == found.journal


def go_on(directory: Path) -> None:
    """A new owner saves, and nothing is left but what it needs."""
    with claimed(FileStore(directory), KEY) as lease:
        left = [name for name in os.listdir(directory) if name.endswith(".tmp")]
        assert left == []
        found = lease.read()
        if found is not None:
            lease.append(lease.next, b"next\n")
            assert FileStore(directory).read(KEY).journal == found.journal + b"next\n"  # type: ignore[union-attr]
        lease.stage(lease.next, [b"newest"])(b"")
        assert document(FileStore(directory), KEY) == b"newest"
        lease.delete()
    assert os.listdir(directory) == []


@pytest.mark.slow
@forking
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("deed", DEEDS)
def test_a_process_that_dies_at_any_call_leaves_old_or_new(tmp_path: Path, deed: str) -> None:
    def run(directory: Path, call: int) -> int:
        child = os.fork()
        if child == 0:
            with claimed(FileStore(directory), KEY) as lease:
                third = prepared(directory, lease)
                with failing_at(call, lambda: os._exit(9)):
                    DEEDS[deed](lease, third)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    for call in range(1, 100):
        directory = tmp_path / str(call)
        outcome = run(directory, call)
        check(directory, deed)
        go_on(directory)
        if outcome == 0:
            assert call > (5 if deed != "append" else 2)
            return
        assert outcome == 9
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("deed", DEEDS)
def test_a_call_that_fails_leaves_old_or_new_and_the_owner_goes_on(tmp_path: Path, deed: str) -> None:
    for call in range(1, 100):
        directory = tmp_path / str(call)
        failed = False
        with claimed(FileStore(directory), KEY) as lease:
            third = prepared(directory, lease)
            with failing_at(call, fail_once) as seen:
                try:
                    DEEDS[deed](lease, third)
                except StoreError:
                    failed = True
            check(directory, deed)
            if not failed:
                after = lease.where()
                lease.append(after, b"after\n")
                found = lease.read()
                assert deed == "delete" or (found is not None and found.journal.endswith(b"after\n"))
            number = lease.where()
            lease.stage(number, [b"whole"])(b"")
            lease.append(number + 1, b"last\n")
        found = FileStore(directory).read(KEY)
        assert found is not None
        assert (found.snapshot, found.journal) == (b"whole", b"last\n")
        assert [name for name in os.listdir(directory) if name.endswith(".tmp")] == []
        if len(seen) < call:
            return
    raise AssertionError("it never came to its end")


def test_a_fold_succeeds_although_its_journal_cannot_be_exchanged(tmp_path: Path) -> None:
    """What the snapshot holds already may stay in the journal."""
    with claimed(FileStore(tmp_path), KEY) as lease:
        third = prepared(tmp_path, lease)
        commit = lease.stage(third, [b"new"])
        with failing_at(1, fail_once) as seen:  # the first call of a commit makes the new journal
            commit(b"")
        assert seen[0] == "open"
        lease.append(lease.next, LINES[5])
        found = lease.read()

    assert found is not None
    assert (found.snapshot, found.journal) == (b"new", b"".join(LINES))


# -- the first save of a checkpoint that lies under an older name -----------------------------------------------------


def older_files(directory: Path) -> Path:
    """A checkpoint as an older release left it, with a save before it and a journal."""
    path = directory / str(plain_name(MOVED))
    path.write_bytes(b'{"version": "2.0", "operation_id": "%s", "n": 1}' % MOVED.encode())
    for suffix in (".json.prev", ".journal"):
        path.with_name(path.name.removesuffix(".json") + suffix).write_bytes(b"older")
    return path


@pytest.mark.slow
@forking
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_move_that_dies_at_any_call_loses_nothing(tmp_path: Path) -> None:
    for call in range(1, 100):
        directory = tmp_path / str(call)
        directory.mkdir()
        old = older_files(directory).read_bytes()
        child = os.fork()
        if child == 0:
            with claimed(FileStore(directory), MOVED) as lease, failing_at(call, lambda: os._exit(9)):
                lease.stage(lease.next, [b"new"])(b"")
            os._exit(0)
        outcome = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        store = FileStore(directory)
        assert document(store, MOVED) in (old, b"new")
        assert len(list(store.list())) >= 1
        put(store, MOVED, b"newer")
        assert document(store, MOVED) == b"newer"
        assert {path.name for path in directory.glob("*.json")} == {hashed_name(MOVED)}
        assert delete(store, MOVED) is True
        assert [name for name in os.listdir(directory) if not name.endswith(".lock")] == []
        if outcome == 0:
            assert os.listdir(directory) == []
            return
    raise AssertionError("it never came to its end")
