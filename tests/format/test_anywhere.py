"""Checkpoints in any store: verified, repaired, and copied from one to another."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from resumable import (
    CheckpointBusyError,
    CheckpointCorruptError,
    CheckpointManager,
    StoreError,
    checkpointed,
    every,
    open_store,
)
from resumable._format.anywhere import copy, repair_in, verify_in
from resumable._format.document import begun_copy
from resumable._report.stored.summary import summaries
from resumable.stores import ArtifactLease, ArtifactStore, CheckpointStore, EncryptedStore, FileStore
from tests.support.stores import DictStore, claimed, document, journal, keys, put

NOW = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return open_store(f"sqlite:///{tmp_path}/store.db")


def run(store: CheckpointStore, upto: int = 60) -> list[int]:
    """A job that has a snapshot, and a journal since; returns what it found done."""
    with checkpointed("job", every(items=5), store=store, auto_cleanup=False) as cp:
        log, pages = cp.log("log"), cp.mapping("pages")
        before = list(log)
        for number in cp.remaining(range(upto)):
            log.append(number)
            pages[str(number)] = "x" * 400
    return before


def stores(place: Path) -> dict[str, CheckpointStore]:
    return {
        "files": FileStore(place / "files"),
        "memory": open_store(f"memory://{place}"),
        "a database": open_store(f"sqlite:///{place}/other.db"),
    }


@pytest.mark.parametrize("source", ["files", "memory", "a database"])
@pytest.mark.parametrize("target", ["files", "memory", "a database"])
def test_a_copy_goes_on_where_the_original_was(source: str, target: str, tmp_path: Path) -> None:
    one, other = stores(tmp_path / "from")[source], stores(tmp_path / "to")[target]
    run(one)
    done = copy(one, other, "job", now=NOW)

    assert (document(other, "job"), journal(other, "job")) == (document(one, "job"), journal(one, "job"))
    assert journal(one, "job") != b""
    assert done.location == str(other.describe("job"))
    for each in (one, other):
        assert run(each, 80) == [*range(60)]
        assert run(each, 80) == [*range(80)]


def test_what_was_moved_is_gone_where_it_was(store: CheckpointStore, tmp_path: Path) -> None:
    run(store)
    other = FileStore(tmp_path / "files")
    with claimed(store, "job"), pytest.raises(CheckpointBusyError):
        copy(store, other, "job", now=NOW, move=True)
    assert keys(other) == []

    assert copy(store, other, "job", now=NOW, move=True).is_moved
    assert keys(store) == []
    assert run(other) == [*range(60)]


def test_a_newer_one_is_replaced_by_force_only(store: CheckpointStore, tmp_path: Path) -> None:
    other = FileStore(tmp_path / "files")
    run(store)
    run(other, 70)
    with pytest.raises(StoreError, match="newer"):
        copy(store, other, "job", now=NOW)
    assert run(other, 70) == [*range(70)]

    copy(store, other, "job", now=NOW, is_forced=True)
    assert run(other) == [*range(60)]


def test_what_cannot_be_copied_is_said(store: CheckpointStore) -> None:
    with pytest.raises(StoreError, match="no checkpoint of 'job'"):
        copy(store, open_store(DictStore()), "job", now=NOW)
    run(store)
    with pytest.raises(StoreError, match="whole checkpoints only"):
        copy(store, open_store(DictStore()), "job", now=NOW)
    put(store, "job", b"{}")
    with pytest.raises(CheckpointCorruptError):
        copy(store, open_store("memory://"), "job", now=NOW)


def test_artifacts_go_with_it(store: CheckpointStore, tmp_path: Path) -> None:
    run(store)
    with claimed(store, "job") as lease:
        lease.put_artifact("v1", [b"abc", b"def"])  # type: ignore[attr-defined]
    other = FileStore(tmp_path / "files")

    assert copy(store, other, "job", now=NOW).artifacts == 1
    assert b"".join(other.read_artifact("job", "v1")) == b"abcdef"
    with checkpointed("job", store=other, auto_cleanup=False) as cp:
        cp.state.clear()  # all of it is written anew
        with cp.artifact("model").open("wb") as file:
            file.write(b"abc")
    with pytest.raises(StoreError, match=r"cannot keep artifacts|whole checkpoints"):
        copy(other, EncryptedStore(DictStore(), EncryptedStore.new_key()), "job", now=NOW)


class Saving(FileStore):
    """A run saves, and removes what it has replaced, whenever somebody reads an artifact."""

    saves = 1

    def read_artifact(self, key: str, name: str) -> Iterator[bytes]:
        if self.saves:
            self.saves -= 1
            write_model(FileStore(self.directory), str(self.saves))
        return super().read_artifact(key, name)


def write_model(store: CheckpointStore, text: str) -> None:
    for _ in range(2):  # the second time, none but the newest is left
        with checkpointed("job", store=store, auto_cleanup=False) as cp:
            cp.state.clear()
            with cp.artifact("model").open("w") as file:
                file.write(text)


def test_a_run_may_save_while_its_artifacts_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, other = Saving(tmp_path / "from"), FileStore(tmp_path / "to")
    write_model(FileStore(tmp_path / "from"), "begun")
    copy(source, other, "job", now=NOW)
    with checkpointed("job", store=other) as cp:
        assert cp.artifact("model").path.read_text() == "0"

    source.saves = 1000
    monkeypatch.setattr("resumable._format.anywhere._MOST_TRIES", 2)
    with pytest.raises(StoreError, match="faster than they can be copied"):
        copy(source, other, "job", now=NOW)


def test_a_run_may_save_while_its_encrypted_artifacts_are_copied_without_the_key(tmp_path: Path) -> None:
    secret, place = EncryptedStore.new_key(), tmp_path / "from"

    class Beside(FileStore):
        def read_artifact(self, key: str, name: str) -> Iterator[bytes]:
            run(EncryptedStore(place, secret), 20)
            return super().read_artifact(key, name)

    write_model(EncryptedStore(place, secret), "weights")
    copy(Beside(place), FileStore(tmp_path / "to"), "job", now=NOW)
    with checkpointed("job", store=EncryptedStore(tmp_path / "to", secret)) as cp:
        assert cp.artifact("model").path.read_text() == "weights"


def test_an_artifact_that_a_run_replaces_meanwhile_is_no_damage(tmp_path: Path) -> None:
    write_model(FileStore(tmp_path), "begun")
    assert not verify_in(Saving(tmp_path), "job", now=NOW).problem


def test_a_copy_without_an_artifact_is_refused(store: CheckpointStore, tmp_path: Path) -> None:
    write_model(store, "abc")
    with claimed(store, "job") as lease:
        lease.keep_artifacts([])  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match="'model' of 'job' is missing"):
        copy(store, FileStore(tmp_path / "files"), "job", now=NOW, move=True)
    assert keys(store) == ["job"]


@pytest.mark.parametrize("target", ["files", "memory", "a database"])
def test_a_copy_that_was_broken_off_is_no_checkpoint_until_it_is_made_again(target: str, tmp_path: Path) -> None:
    """A snapshot without the saves since would be an older state that looks whole."""
    source, goal = stores(tmp_path / "from")["a database"], stores(tmp_path / "to")[target]
    run(source, 20)
    copy(source, goal, "job", now=NOW)
    run(source)
    stored = source.read("job")
    assert stored is not None
    with claimed(goal, "job") as lease:  # a kill leaves it so
        lease.stage(lease.next, [begun_copy("job", "sqlite:///store.db")])(b"")
        lease.append(lease.next + 1, stored.journal[:1000])

    with pytest.raises(CheckpointCorruptError, match=r"from sqlite:///store\.db .*Run resumable copy again"):
        run(goal)
    with pytest.raises(CheckpointCorruptError, match="resumable repair"):
        CheckpointManager(store=goal).load_checkpoint("job")
    (shown,) = summaries(goal)
    assert (shown.state, "copy again" in (shown.problem or "")) == ("damaged", True)
    copy(source, goal, "job", now=NOW)
    assert (document(goal, "job"), journal(goal, "job")) == (stored.snapshot, stored.journal)
    assert run(goal, 80) == [*range(60)]


def test_what_a_broken_off_copy_has_replaced_can_be_had_back(store: CheckpointStore, tmp_path: Path) -> None:
    run(other := FileStore(tmp_path / "older"), 10)
    run(store, 20)
    with claimed(store, "job") as lease:
        lease.stage(lease.next, [begun_copy("job", "elsewhere")])(b"")
        lease.append(lease.next + 1, b"saves of another snapshot\n")
    with pytest.raises(StoreError, match="newer"):
        copy(other, store, "job", now=NOW)
    assert repair_in(store, "job", now=NOW).problem

    assert run(store, 40) == [*range(20)]


def test_a_part_of_an_artifact_is_copied_again(store: CheckpointStore, tmp_path: Path) -> None:
    with checkpointed("job", store=store, auto_cleanup=False) as cp:
        with cp.artifact("model").write() as path:
            path.write_text("m" * 3000)
        cp.tick()
    ((name, _),) = cast("ArtifactStore", store).list_artifacts("job")
    goal = FileStore(tmp_path / "goal")
    with claimed(goal, "job") as lease:
        cast("ArtifactLease", lease).put_artifact(name, [b"a part"])
    copy(store, goal, "job", now=NOW)

    with checkpointed("job", store=goal) as cp:
        assert cp.artifact("model").path.read_text() == "m" * 3000


def test_a_good_one_is_good(store: CheckpointStore) -> None:
    run(store)
    found = verify_in(store, "job", now=NOW)

    assert (found.verdict, found.problem, found.location) == ("good", "", store.describe("job"))
    assert repair_in(store, "job", now=NOW).problem == ""


def damage(tmp_path: Path, statement: str) -> None:
    with closing(sqlite3.connect(tmp_path / "store.db")) as database:
        assert database.execute(statement).rowcount
        database.commit()


LAST = "(SELECT max(seq) FROM resumable_segments)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "left"),
    [
        pytest.param(
            f"UPDATE resumable_segments SET data = x'64616d616765640a' WHERE seq = {LAST} - 1", 50, id="a segment"
        ),
        pytest.param(f"DELETE FROM resumable_segments WHERE seq = {LAST} - 1", 50, id="a missing segment"),
    ],
)
def test_the_last_good_save_is_gone_back_to(store: CheckpointStore, tmp_path: Path, statement: str, left: int) -> None:
    run(store)
    damage(tmp_path, statement)
    found = verify_in(store, "job", now=NOW)
    assert found.verdict == "damaged"
    with pytest.raises(CheckpointCorruptError):
        run(store)
    with claimed(store, "job"), pytest.raises(CheckpointBusyError):
        repair_in(store, "job", now=NOW)

    assert repair_in(store, "job", now=NOW).problem
    before = run(store)
    assert before == [*range(len(before))]
    assert len(before) >= left
    assert run(store) == [*range(60)]


def test_a_snapshot_without_its_pieces_is_damaged(store: CheckpointStore, tmp_path: Path) -> None:
    run(store)
    name = "(SELECT snapshot FROM resumable_operations)"
    damage(tmp_path, f"DELETE FROM resumable_pieces WHERE name = {name}")

    found = verify_in(store, "job", now=NOW)
    assert (found.verdict, found.problem) == ("damaged", "1 of its 1 pieces are missing")
    with pytest.raises(CheckpointCorruptError, match="pieces are missing"):
        run(store)
    repair_in(store, "job", now=NOW)
    assert run(store) != []
