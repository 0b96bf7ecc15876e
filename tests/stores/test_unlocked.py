"""Writes through a lease of files: checked before and after, where no lock can be taken."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointBusyError, StaleCheckpointError, StoreError, checkpointed, every
from resumable.stores import EncryptedStore, FileStore, Holder
from tests.support.stores import document, journal
from tests.support.unlocked import NO_LOCKS, other_process


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.__getitem__, autouse=True)
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*arguments: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_loop_works_there(tmp_path: Path) -> None:
    for upto in (5, 9):
        with checkpointed("job", every(items=1), store=tmp_path, auto_cleanup=False) as cp:
            log = cp.log("log")
            assert list(log) == [*range(5 if upto == 9 else 0)]
            for number in cp.remaining(range(upto)):
                log.append(number)
    assert not list(tmp_path.glob("*.lock.*"))


@pytest.mark.slow
def test_an_encrypted_one_is_owned_so_too(tmp_path: Path) -> None:
    store = EncryptedStore(FileStore(tmp_path), EncryptedStore.new_key())
    with checkpointed("job", store=store) as cp:
        cp.tick()
        with pytest.raises(CheckpointBusyError):
            store.claim("job", Holder.me())


STOPPED = f"""{NO_LOCKS}
def outcome(verb):
    try:
        verb()
    except StaleCheckpointError:
        return "refused"
    return "done"

lease = store.claim("job", Holder.me())
lease.stage(lease.next, [b"old"])(b"")
lease.append(lease.next, b"1\\n")
late = lease.stage(lease.next - 1, [b"late"])
print("owned", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
whole = lambda: lease.stage(lease.next, [b"whole"])(b"")
verbs = lambda: lease.append(lease.next, b"2\\n"), lambda: late(b""), lease.renew, lease.delete, whole
files = lambda: lease.put_artifact("a", [b"a"]), lambda: lease.keep_artifacts(())
print(*map(outcome, (*verbs, *files)), flush=True)
lease.release()
"""


@pytest.mark.slow
def test_an_owner_that_was_stopped_for_longer_than_its_lease_is_refused(tmp_path: Path) -> None:
    store = FileStore(tmp_path, lease=0.5)
    with other_process(tmp_path, 0.5, STOPPED) as owner:
        assert owner.stdout is not None
        os.waitid(os.P_PID, owner.pid, os.WSTOPPED | os.WNOWAIT)
        lease = claimed_when_free(store)
        assert document(store, "job") == b"old"
        lease.append(lease.next, b"ours\n")
        os.kill(owner.pid, signal.SIGCONT)
        assert owner.stdout.read().split() == ["refused"] * 7
    lease.append(lease.next, b"too\n")
    lease.release()
    assert (document(store, "job"), journal(store, "job")) == (b"old", b"1\nours\ntoo\n")
    assert not list(tmp_path.glob("*.lock.*"))


def claimed_when_free(store: FileStore) -> Any:
    until = time.monotonic() + 60
    while True:
        try:
            return store.claim("job", Holder.me())
        except CheckpointBusyError:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_what_is_on_its_way_when_the_owner_is_shut_out_comes_to_nothing(tmp_path: Path) -> None:
    """Stopped between the look and the write, it meets a journal and a new snapshot that are no longer there."""
    store = FileStore(tmp_path)
    lease: Any = store.claim("job", Holder.me())
    lease.stage(lease.next, [b"a"])(b"")
    lease.append(lease.next, b"1\n")
    unguarded = lease._lease
    staged = unguarded.stage(lease.next, [b"b"])
    other = store.claim("job", Holder.me(), take_over=True)
    with pytest.raises(StoreError):
        unguarded.append(lease.next, b"2\n")
    with pytest.raises(StoreError):
        staged(b"")
    assert (document(store, "job"), journal(store, "job")) == (b"a", b"1\n")
    other.append(other.next, b"3\n")
    lease.release()
    assert journal(store, "job") == b"1\n3\n"
    other.release()


def test_a_save_during_which_the_owner_is_shut_out_does_not_count(tmp_path: Path) -> None:
    """The other one knows whether it was made; this one cannot."""
    store = FileStore(tmp_path)
    lease = store.claim("job", Holder.me())
    lease.stage(lease.next, [b"a"])(b"")
    others: list[Any] = []
    with pytest.raises(StaleCheckpointError):
        lease.append(
            lease.next, b"1\n", meanwhile=lambda: others.append(store.claim("job", Holder.me(), take_over=True))
        )
    found = others[0].read()
    others[0].append(others[0].next, b"2\n")
    assert journal(store, "job") == found.journal + b"2\n"
    others[0].release()
    lease.release()


def test_a_loop_that_was_shut_out_hears_it_at_its_next_tick(tmp_path: Path) -> None:
    store = FileStore(tmp_path)

    def job() -> None:
        with checkpointed("job", every(hours=1), store=store) as cp:
            for number in range(1000):
                cp.tick()
                cp.state["n"] = number
                if number == 3:
                    other = store.claim("job", Holder.me(), take_over=True)
                    cp.save()
                    other.release()

    with pytest.raises(StaleCheckpointError):
        job()
