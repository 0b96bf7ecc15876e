"""A directory whose file system has no locks: a lease file says who works on an operation."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from resumable import CheckpointBusyError, StaleCheckpointError, checkpointed
from resumable.stores import EndingLease, FileStore, Holder
from tests.support.stores import claimed, document, journal
from tests.support.unlocked import left_behind, other_process


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.__getitem__, autouse=True)
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*arguments: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_one_has_it_and_others_are_told_who(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    with claimed(store, "job") as lease:
        lease.stage(lease.next, [b"a"])(b"")
        lease.append(lease.next, b"1\n")
        with pytest.raises(CheckpointBusyError) as caught:
            store.claim("job", Holder.me())
        assert caught.value.pid == os.getpid()
        assert caught.value.lease_left is not None
        (entry,) = store.list()
        assert entry.holder is not None
        assert entry.holder.pid == os.getpid()
    assert (document(store, "job"), journal(store, "job")) == (b"a", b"1\n")
    assert next(store.list()).holder is None
    with claimed(store, "job") as lease:
        assert lease.delete()
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_an_owner_of_this_machine_that_was_killed_is_replaced_at_once(tmp_path: Path) -> None:
    with other_process(tmp_path, 600) as process:
        process.kill()
        process.wait()
        with checkpointed("job", store=tmp_path) as cp:  # one that waited for the lease would wait for ten minutes
            cp.tick()


@pytest.mark.slow
def test_a_run_waits_for_the_rest_of_a_silent_owners_lease(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its clock may be a year ahead: only how long nothing changed counts."""
    left_behind(tmp_path, 0.7)
    os.utime(tmp_path / ".checkpoint_job.lock.1", (time.time() + 1e7, time.time() + 1e7))
    began = time.monotonic()
    with checkpointed("job", store=tmp_path) as cp:
        cp.tick()

    assert time.monotonic() - began >= 0.6
    assert any("process 7 on elsewhere works on it" in record.getMessage() for record in caplog.records)


def test_a_run_does_not_wait_if_it_takes_over(tmp_path: Path) -> None:
    theirs = left_behind(tmp_path, 600)
    with checkpointed("job", store=tmp_path, take_over=True) as cp:
        cp.tick()
        with pytest.raises(StaleCheckpointError):
            theirs.renew()


@pytest.mark.slow
def test_an_owner_that_lives_is_not_replaced(tmp_path: Path) -> None:
    with other_process(tmp_path, 10) as process:
        with pytest.raises(CheckpointBusyError) as caught, checkpointed("job", store=tmp_path):
            pass
        assert caught.value.pid == process.pid


def test_of_many_who_claim_at_once_one_has_it(tmp_path: Path) -> None:
    store, owners, gate = FileStore(tmp_path), list[object](), threading.Barrier(8)

    def claim() -> None:
        gate.wait()
        with suppress(CheckpointBusyError):
            owners.append(store.claim("job", Holder.me()))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(owners) == 1
    owners[0].release()  # type: ignore[attr-defined]


def test_two_threads_may_renew_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the machine slept, the loop and the thread that renews both find the lease overdue."""
    store = FileStore(tmp_path)
    with claimed(store, "job") as lease:
        seek, both = os.lseek, threading.Barrier(2)

        def slow(*arguments: int) -> int:
            at = seek(*arguments)
            with suppress(threading.BrokenBarrierError):
                both.wait(0.1)
            return at

        monkeypatch.setattr(os, "lseek", slow)
        assert isinstance(lease, EndingLease)
        threads = [threading.Thread(target=lease.renew) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        monkeypatch.undo()

        lease.stage(lease.next, [b"still mine"])(b"")
        assert document(store, "job") == b"still mine"
