"""Leases that end by themselves: waited for, taken over, lost; and stores that are away, or behind what they said."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    CheckpointBusyError,
    StaleCheckpointError,
    StoreBehindError,
    StoreError,
    checkpointed,
    every,
    open_store,
)
from resumable.stores import EndingLease, Holder
from resumable.stores._lease import LeasedStore
from resumable.stores._medium import Parameters
from resumable.stores._sql import SQLStore, open_url
from tests.support.owners import other_process
from tests.support.stores import claimed, document, journal, put


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # where what cannot be saved is kept
    return f"sqlite:///{tmp_path}/store.db"


# -- who has it -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whether it is that process")
def test_a_killed_owner_of_this_machine_is_replaced_at_once(url: str) -> None:
    url += "?lease=600"
    with other_process(url) as process:
        with pytest.raises(CheckpointBusyError) as caught:
            open_store(url).claim("job", Holder.me())
        assert caught.value.lease_left is not None
        process.kill()
        process.wait()
        with claimed(open_store(url), "job"):
            pass


def test_an_owner_in_this_process_is_told_by_its_line(url: str) -> None:
    with claimed(open_store(url), "job"):
        with pytest.raises(CheckpointBusyError) as caught, checkpointed("job", store=url):
            pass
        assert "already open in this process" in str(caught.value)


# -- an owner that was shut out ---------------------------------------------------------------------------------------


def rob(url: str) -> None:
    """Take "job" from whoever has it, and save something."""
    lease = open_store(url + "?lease=60").claim("job", Holder.me(), take_over=True)
    lease.stage(lease.next, [b'{"version": "2.0", "operation_id": "job", "state": {"whose": "theirs"}}'])(b"")
    lease.release()


def test_an_owner_that_was_shut_out_is_told_at_the_next_save_and_writes_nothing(url: str, tmp_path: Path) -> None:
    def run() -> None:
        with checkpointed("job", every(items=1), store=url) as cp:
            sink = cp.sink(tmp_path / "rows")
            sink.write("one\n")
            cp.save()
            rob(url)
            sink.write("two\n")
            with pytest.raises(StaleCheckpointError):
                cp.save()
            cp.tick()

    with pytest.raises(StaleCheckpointError) as caught:
        run()

    assert caught.value.pid == os.getpid()
    assert not getattr(caught.value, "__notes__", [])
    assert b"theirs" in (document(open_store(url), "job") or b"")


def test_a_loop_that_saves_seldom_is_told_at_its_next_tick(url: str) -> None:
    """By the thread that renews."""

    def run() -> None:
        with checkpointed("job", every(hours=1), store=url + "?lease=0.3") as cp:
            cp.tick()
            cp.save()
            rob(url)
            until = time.monotonic() + 30
            while time.monotonic() < until:
                time.sleep(0.01)
                cp.tick()

    with pytest.raises(StaleCheckpointError):
        run()


def test_all_verbs_of_a_lost_lease_are_refused(url: str) -> None:
    with claimed(open_store(url), "job") as lease:
        lease.stage(lease.next, [b"x"])(b"")
        staged = lease.stage(lease.next, [b"late"])
        rob(url)
        verbs: list[Callable[[], object]] = [
            lambda: lease.append(lease.next, b"late"),
            lambda: staged(b""),
            lease.renew,
            lease.delete,
        ]
        for verb in verbs:
            with pytest.raises(StaleCheckpointError):
                verb()
        assert isinstance(lease, EndingLease)
        assert lease.is_overdue

    assert b"theirs" in (document(open_store(url), "job") or b"")


# -- what is lost on the way ------------------------------------------------------------------------------------------


class Flaky:
    """A medium whose verbs fail as *plan* says: away before or after it did them; or the answer is read late."""

    def __init__(self, inner: Any, plan: Callable[[str], str]) -> None:
        self._inner, self._plan = inner, plan

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found) or name in ("describe", "close"):
            return found

        def verb(*args: Any, **kwargs: Any) -> Any:
            how = self._plan(name)
            if how == "before":
                raise StoreError("it is away.", is_transient=True)
            done = found(*args, **kwargs)
            if how == "after":
                raise StoreError("its answer is lost.", is_transient=True)
            if how == "late":
                time.sleep(0.7)
            return Flaky(done, self._plan) if name == "claim" else done

        return verb


def flaky(url: str, plan: Callable[[str], str]) -> LeasedStore:
    return LeasedStore(Flaky(open_url(url, Parameters()), plan))


@pytest.mark.slow
def test_an_answer_that_is_read_late_renews_from_the_moment_it_was_asked_for(url: str) -> None:
    """A process that was suspended meanwhile must ask again before it writes: another may own the operation."""
    late: list[str] = []
    store = flaky(url, lambda verb: "late" if verb in late else "")
    lease = store.claim("job", Holder.me(), ttl=0.5)
    late.append("renew")
    lease.renew()
    assert lease.is_overdue
    late.clear()
    lease.release()


def test_an_owner_that_was_shut_out_adds_no_rows_as_its_block_ends(url: str, tmp_path: Path) -> None:
    def run() -> None:
        with checkpointed("job", every(hours=1), store=url) as cp:
            sink = cp.sink(tmp_path / "rows")
            for number in cp.remaining(range(4)):
                sink.write(f"{number}\n")
                if number == 1:
                    cp.save()
            with closing(open_store(url)) as other:
                other.claim("job", Holder.me(), take_over=True).release()
            lease: Any = cp._operation.writer.ending
            lease.renewed_at = float("-inf")  # it was suspended for longer than its lease

    with pytest.raises(StaleCheckpointError):
        run()
    assert (tmp_path / "rows").read_text() == "0\n1\n"  # as the last save found it


@pytest.mark.parametrize("how", ["before", "after"])
def test_each_answer_may_be_lost_once(url: str, how: str) -> None:
    turns = itertools.count()
    store = flaky(url, lambda verb: how if next(turns) % 2 == 0 else "")
    for first, last in ((0, 40), (40, 60)):
        with checkpointed("job", every(items=1), store=store, auto_cleanup=False) as cp:
            log, pages = cp.log("log"), cp.mapping("pages")
            assert [*log] == [*range(first)]
            for number in cp.remaining(range(last)):
                log.append(number)
                pages[str(number)] = "x" * 500
                if number % 10 == 0:
                    cp.save()
    with checkpointed("job", store=url) as cp:
        assert [*cp.log("log")] == [*range(60)]
        assert len(cp.mapping("pages")) == 60


def test_the_same_save_is_sent_again_and_no_other_under_its_number(url: str) -> None:
    fails: list[str] = []
    store = flaky(url, lambda verb: fails.pop() if verb == "append" and fails else "")
    with claimed(store, "job") as lease:
        assert isinstance(lease, EndingLease)
        lease.keep(lambda: None, 0)
        lease.stage(lease.next, [b"x"])(b"")
        number = lease.next
        for how in ("before", "after"):
            fails.append(how)
            with pytest.raises(StoreError):
                lease.append(number, b"1")
        with pytest.raises(StaleCheckpointError):
            lease.append(number, b"other")
        lease.append(number, b"1")
        lease.append(lease.next, b"2")

    assert journal(store, "job") == b"12"


class Away:
    """Whether the store is away, from now on or no more."""

    def __init__(self) -> None:
        self.is_away = False

    def __call__(self, verb: str) -> str:
        return "before" if self.is_away else ""


@pytest.mark.slow
def test_the_loop_goes_on_while_the_store_is_away_and_saves_when_it_is_back(url: str) -> None:
    away = Away()
    with checkpointed("job", every(items=1), store=remote(url, away), auto_cleanup=False) as cp:
        pages = cp.mapping("pages")
        pages["0"] = 0
        cp.save()
        away.is_away = True
        for number in range(1, 100):  # one that waited for the store would wait for its patience to end
            time.sleep(0.01)
            pages[f"{number}"] = 0
            cp.tick()
        away.is_away = False
    with checkpointed("job", store=url) as cp:
        assert len(cp.mapping("pages")) == 100


def remote(url: str, plan: Callable[[str], str]) -> LeasedStore:
    """A store that is written to beside the loop."""
    import dataclasses

    store = flaky(url, plan)
    store.traits = dataclasses.replace(store.traits, is_remote=True)
    return store


@pytest.mark.slow
def test_a_store_that_stays_away_ends_the_loop_after_its_patience(url: str) -> None:
    away = Away()

    def run() -> None:
        with checkpointed("job", every(items=1), store=remote(url, away), patience=0.3) as cp:
            cp.state["n"] = 0
            cp.save()
            away.is_away = True
            until = time.monotonic() + 30
            while time.monotonic() < until:
                time.sleep(0.01)
                cp.state["n"] += 1
                cp.tick()

    with pytest.raises(StoreError, match="away") as caught:
        run()

    assert any("could not be saved" in note for note in caught.value.__notes__)


@pytest.mark.slow
def test_a_loop_may_go_on_without_its_store_for_as_long_as_that_takes(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[int]:
        return [record.levelno for record in caplog.records if "cannot be saved" in record.getMessage()]

    away = Away()
    options: dict[str, Any] = {"on_store_error": "continue", "patience": 0.1, "auto_cleanup": False}
    with checkpointed("job", every(items=1), store=remote(url, away), **options) as cp:
        cp.state["n"] = 0
        cp.save()
        away.is_away = True
        ticks = 0
        while ticks < 60 or not told():
            time.sleep(0.01)
            cp.state["n"] += 1
            cp.tick()
            ticks += 1
        away.is_away = False
        count = cp.state["n"]
    with checkpointed("job", store=url) as cp:
        assert cp.state["n"] == count

    assert told() == [logging.WARNING]  # each five minutes


# -- a store that has lost what it had acknowledged -------------------------------------------------------------------


def roll_back(url: str, saved: list[str]) -> None:
    """Restore a backup: all tables as *saved*, which is empty for a new database."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            database.execute(f"DELETE FROM {name}")
        for line in saved:
            if line.startswith("INSERT"):
                database.execute(line)
        database.commit()


def backup(url: str) -> list[str]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        return [*database.iterdump()]


@pytest.mark.parametrize("is_new", [True, False], ids=["an empty one", "a backup"])
def test_saves_that_the_store_has_lost_are_written_anew(
    url: str, is_new: bool, caplog: pytest.LogCaptureFixture
) -> None:
    saved: list[str] = []
    with checkpointed("job", every(items=1), store=url, auto_cleanup=False) as cp:
        log, state = cp.log("log"), cp.mapping("state")
        state.update({f"{number}": "x" * 100 for number in range(200)})
        for number in cp.remaining(range(100)):
            log.append(number)
            state["last"] = number
            if number == 30:
                saved = [] if is_new else backup(url)
            if number == 60:
                roll_back(url, saved)
    with checkpointed("job", store=url) as cp:
        assert [*cp.log("log")] == [*range(100)]
        assert cp.mapping("state")["last"] == 99

    assert any("has lost saves" in record.getMessage() for record in caplog.records)


def test_a_lease_that_the_store_has_forgotten_is_claimed_anew(url: str) -> None:
    with claimed(open_store(url), "job") as lease:
        lease.stage(lease.next, [b"x"])(b"")
        lease.append(lease.next, b"1")
        before = lease.term
        roll_back(url, [])
        with pytest.raises(StoreBehindError):
            lease.append(lease.next, b"2")
        lease.stage(lease.where(), [b"all"])(b"")
        lease.append(lease.next, b"3")

        assert lease.term >= before
    assert (document(open_store(url), "job"), journal(open_store(url), "job")) == (b"all", b"3")


def test_an_owner_that_claims_anew_stays_the_owner_until_it_is_answered(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the first try fails: another thread of its process cannot have the operation."""
    store = open_store(url)
    with claimed(store, "job") as lease:
        lease.stage(lease.next, [b"x"])(b"")
        saved = backup(url)
        lease.append(lease.next, b"1")
        roll_back(url, saved)
        claim, tries = SQLStore.claim, list[bool]()

        def claim_late(*arguments: Any, **options: Any) -> Any:
            if not tries:
                tries.append(True)
                with pytest.raises(CheckpointBusyError, match="already open in this process"):
                    store.claim("job", Holder.me())
                raise StoreError("away")
            return claim(*arguments, **options)

        monkeypatch.setattr(SQLStore, "claim", claim_late)
        with pytest.raises(StoreError, match="away"):
            lease.append(lease.next, b"2")
        with pytest.raises(StoreBehindError):
            lease.append(lease.next, b"2")
        lease.stage(lease.where(), [b"all"])(b"")
        assert document(store, "job") == b"all"
    with claimed(store, "job"):
        pass


@pytest.mark.parametrize("is_whole", [False, True], ids=["a save", "a fold"])
def test_a_loss_that_the_renewal_finds_out_is_told_to_whoever_saves_next(url: str, is_whole: bool) -> None:
    """Else a save would go on from one that is lost."""
    with claimed(open_store(url), "job") as lease:
        lease.stage(lease.next, [b"x"])(b"")
    saved = backup(url)
    with claimed(open_store(url), "job") as lease:
        lease.append(lease.next, b"1")
        fold = lease.stage(lease.next - 1, [b"until 1"])
        roll_back(url, saved)
        with pytest.raises(StoreBehindError):
            lease.renew()
        with pytest.raises(StoreBehindError):
            fold(b"") if is_whole else lease.append(lease.next, b"2")
        lease.stage(lease.where(), [b"all"])(b"")
        lease.append(lease.next, b"3")

    assert (document(open_store(url), "job"), journal(open_store(url), "job")) == (b"all", b"3")


def test_a_whole_snapshot_over_lost_saves_is_told_too(url: str) -> None:
    """It would heal them, but what else is lost, such as artifacts, is to be put anew before it."""
    with claimed(open_store(url), "job") as lease:
        lease.stage(lease.next, [b"x"])(b"")
        saved = backup(url)
        lease.append(lease.next, b"1")
        roll_back(url, saved)
        with pytest.raises(StoreBehindError):
            lease.stage(lease.next, [b"all"])(b"")
        lease.stage(lease.where(), [b"all"])(b"")
        assert document(open_store(url), "job") == b"all"


def test_what_the_store_has_lost_is_removed_without_a_word(url: str) -> None:
    with claimed(open_store(url), "job") as lease:
        lease.stage(lease.next, [b"x"])(b"")
        roll_back(url, [])
        assert lease.delete() is False
    assert document(open_store(url), "job") is None


def test_a_process_that_began_in_the_same_moment_is_another_one(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its start time, which is told to a hundredth of a second, is the same."""
    monkeypatch.setattr("resumable.stores._lease.has_ended", lambda pid, identity: False)
    store = open_store(url)
    with claimed(store, "job"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            database.execute(
                "UPDATE resumable_operations SET nonce = 'another' || nonce, "
                'holder = replace(replace(holder, ?, ?), \'"nonce":"\', \'"nonce":"another\')',
                (f'"pid":{os.getpid()}', f'"pid":{os.getppid()}'),
            )
            database.commit()
        with pytest.raises(CheckpointBusyError):
            store.claim("job", Holder.me())


def test_what_this_process_could_not_release_it_may_own_again_at_once(url: str) -> None:
    """Its disk was full, say; nobody but this process has it."""
    put(open_store(url), "job", b"x")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        database.execute(
            "CREATE TRIGGER is_full BEFORE UPDATE OF nonce ON resumable_operations WHEN NEW.nonce = '' "
            "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
        )
        open_store(url).claim("job", Holder.me()).release()
        with claimed(open_store(url), "job"), pytest.raises(CheckpointBusyError):
            open_store(url).claim("job", Holder.me())
        database.execute("DROP TRIGGER is_full")
        database.commit()
        lease = open_store(url).claim("job", Holder.me())
        lease.release()
        assert [entry.holder for entry in open_store(url).list()] == [None]


# -- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_opens_a_store_of_its_own(url: str) -> None:
    store = open_store(url)
    with claimed(store, "other") as lease:
        lease.stage(lease.next, [b"x"])(b"")
        child = os.fork()
        if child == 0:
            code = 0
            try:
                with claimed(open_store(url), "job") as mine:
                    mine.stage(mine.next, [b"child"])(b"")
            except BaseException:
                code = 1
            try:
                store.read("other")
                code = 2
            except StoreError as error:
                code = code or (0 if "forked" in str(error) else 3)
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert document(store, "job") == b"child"


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_where_it_was(url: str) -> None:
    program = """
import os, signal, sys
from resumable import checkpointed, every
with checkpointed("job", every(items=1), store=sys.argv[1]) as cp:
    for number in cp.remaining(range(10)):
        cp.mapping("done")[str(number)] = os.getpid()
        if number == 5 and not cp.resumed:
            os.kill(os.getpid(), signal.SIGKILL)
    print(len(cp.mapping("done")), len(set(cp.mapping("done").values())))
"""
    command = [sys.executable, "-B", "-c", program, f"{url}?lease=3600"]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "10 2\n"  # nobody has waited for the lease of the dead
