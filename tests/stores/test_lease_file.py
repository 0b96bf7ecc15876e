"""A directory whose file system has no locks: a lease file says who works on an operation."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointBusyError, StaleCheckpointError, StoreError, checkpointed, every
from resumable.stores import EncryptedStore, FileStore, Holder
from resumable.stores._lease_file import claimed as claimed_by_file
from tests.support.stores import claimed, document, journal

ELSEWHERE = Holder("elsewhere", 7, "2026-01-01T00:00:00+00:00")
NO_LOCKS = """
import errno, fcntl, os, signal, sys
def flock(*args): raise OSError(errno.ENOLCK, "no locks available")
fcntl.flock = flock
from resumable import StaleCheckpointError, checkpointed, every
from resumable.stores import FileStore, Holder
store = FileStore(sys.argv[1], lease=float(sys.argv[2]))
"""
HOLD = f"""{NO_LOCKS}
lease = store.claim("job", Holder.me())
print("owned", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.__getitem__, autouse=True)
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*arguments: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


@contextmanager
def other_process(directory: Path, seconds: float, code: str = HOLD) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-B", "-c", code, str(directory), str(seconds)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        try:
            yield process
        finally:
            process.kill()


def left_behind(directory: Path, seconds: float) -> Any:
    """An owner of "job" on another machine has fallen silent, whose lease lasts so many seconds."""
    directory.mkdir(exist_ok=True)
    lease = claimed_by_file(directory / ".checkpoint_job.lock", "job", ELSEWHERE, seconds, take_over=False)
    lease.release = lambda: None  # type: ignore[method-assign]
    path = directory / ".checkpoint_job.lock.1"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"process": ""}))
    from resumable.stores._renewal import RENEWALS

    RENEWALS.remove(lease)
    return lease


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


@pytest.mark.slow
def test_an_owner_of_this_machine_that_was_killed_is_replaced_at_once(tmp_path: Path) -> None:
    with other_process(tmp_path, 600) as process:
        process.kill()
        process.wait()
        began = time.monotonic()
        with checkpointed("job", store=tmp_path) as cp:
            cp.tick()
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_a_run_waits_for_the_rest_of_a_silent_owners_lease(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whose clock may be a year ahead: only that nothing has changed for so long counts."""
    left_behind(tmp_path, 0.7)
    os.utime(tmp_path / ".checkpoint_job.lock.1", (time.time() + 1e7, time.time() + 1e7))
    began = time.monotonic()
    with checkpointed("job", store=tmp_path) as cp:
        cp.tick()

    assert time.monotonic() - began >= 0.6
    assert any("held by host elsewhere, pid 7" in record.getMessage() for record in caplog.records)


def test_a_run_does_not_wait_if_it_takes_over(tmp_path: Path) -> None:
    theirs = left_behind(tmp_path, 600)
    with checkpointed("job", store=tmp_path, take_over=True) as cp:
        cp.tick()
        with pytest.raises(StaleCheckpointError):
            theirs.renew()


@pytest.mark.slow
def test_an_owner_that_lives_is_not_replaced(tmp_path: Path) -> None:
    with other_process(tmp_path, 0.9) as process:
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
