"""A journal is folded into a new snapshot; whatever of that fails, no save is lost or applied twice."""

from __future__ import annotations

import dataclasses
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from resumable import Checkpoint, CheckpointManager, StoreError, checkpointed, every
from resumable._engine.document import Document
from resumable._engine.options import Options
from resumable._engine.writer import Writer
from resumable._format.journal import Position
from resumable._runtime.disk import without_room
from resumable._runtime.observer import Observer, installed
from resumable._runtime.steps import run
from resumable.stores import FileStore
from resumable.stores._file import FileLease

PADDING = {f"{number}": "x" * 90 for number in range(120)}
JOURNAL = ".checkpoint_crawl.journal"


def stored(directory: Path) -> dict[str, Any]:
    found = CheckpointManager(directory).load_checkpoint("crawl")
    assert found is not None
    return found.state


def journal_size(directory: Path, operation_id: str = "crawl") -> int:
    """What the saves take, without the room made ahead for the next ones."""
    return len(without_room((directory / f".checkpoint_{operation_id}.journal").read_bytes()))


def now(cp: Checkpoint) -> dict[str, Any]:
    return {**cp.state, "files": dict(cp.mapping("files")), "log": list(cp.log("log"))}


def step(cp: Checkpoint) -> None:
    number = len(cp.log("log"))
    cp.log("log").append(number)
    cp.mapping("files")["last"] = number
    cp.mapping("files")[f"new {number}"] = "y" * 1500
    cp.tick()


@contextmanager
def opened(directory: Path) -> Iterator[Checkpoint]:
    with checkpointed("crawl", every(items=1), store=directory, auto_cleanup=False) as cp:
        cp.mapping("files").update(PADDING)
        cp.log("log")
        yield cp


class HeldFold:
    """Background writes wait until they are let go, and then fail if they shall."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: StoreError | None = None
        self.go_on = threading.Event()
        self._pieces = Document.pieces
        monkeypatch.setattr(Document, "pieces", lambda document, at, pause=None: self.pieces(document, at, pause))

    def pieces(self, document: Document, at: Position, pause: float | None) -> Iterable[bytes]:
        if pause is not None:
            self.go_on.wait()
            if self.error is not None:
                raise self.error
        return self._pieces(document, at, pause)


def step_into_a_fold(cp: Checkpoint) -> None:
    """Up to a fold that is under way, with two saves since it began."""
    step(cp)
    while cp._operation.writer.compaction is None:
        step(cp)
    step(cp)
    step(cp)


def let_go(held: HeldFold, cp: Checkpoint) -> None:
    """Let the fold go on, to its end."""
    held.go_on.set()
    run(cp._operation.writer.wait())


def keep_journal(*args: object) -> None:
    raise OSError("as if killed before it")


@pytest.mark.parametrize("least", [0, 40_000])
def test_a_journal_is_folded_once_it_outgrows_the_snapshot_and_is_worth_it(
    least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold takes several syncs, however little there is to fold."""
    monkeypatch.setattr(FileStore, "traits", dataclasses.replace(FileStore.traits, fold_after=least))
    snapshot, journal = (tmp_path / f".checkpoint_job.{kind}" for kind in ("json", "journal"))
    longest, written = 0, set()
    with checkpointed("job", every(hours=9), store=tmp_path, auto_cleanup=False) as cp:
        files = cp.mapping("files")
        files.update({f"{number}": "x" * 90 for number in range(100)})
        for number in range(120):
            files["new"] = f"{number}" * 200
            cp.save()
            run(cp._operation.writer.wait())
            written.add(snapshot.stat().st_ino)
            if journal.exists():
                longest = max(longest, journal_size(tmp_path, "job"))
        folded_at = max(least, snapshot.stat().st_size)
        assert folded_at - 2000 < longest < folded_at + 2000
    assert len(written) > 1


def test_saves_during_a_fold_stand_before_and_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = HeldFold(monkeypatch)
    with opened(tmp_path) as cp:
        step_into_a_fold(cp)
        snapshot = (tmp_path / ".checkpoint_crawl.json").stat().st_ino
        assert stored(tmp_path) == now(cp)
        let_go(held, cp)
        assert stored(tmp_path) == now(cp)
        cp.save()
        assert (tmp_path / ".checkpoint_crawl.json").stat().st_ino != snapshot
        assert stored(tmp_path) == now(cp)


def test_saves_go_on_in_the_journal_where_the_disk_has_no_room_for_a_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held = HeldFold(monkeypatch)
    held.error = StoreError("the disk is full.")
    held.go_on.set()
    with opened(tmp_path) as cp:
        step_into_a_fold(cp)
        snapshot = (tmp_path / ".checkpoint_crawl.json").read_bytes()
        size = journal_size(tmp_path)
        while journal_size(tmp_path) < 1.8 * size:
            step(cp)
            assert stored(tmp_path) == now(cp)

        assert (tmp_path / ".checkpoint_crawl.json").read_bytes() == snapshot
        assert 1 <= caplog.text.count("Saves go on in its journal") <= 2
        held.error = None
        while (tmp_path / ".checkpoint_crawl.json").read_bytes() == snapshot:
            step(cp)
        let_go(held, cp)  # the last save follows the new journal to the disk, beside the loop
        assert stored(tmp_path) == now(cp)


def test_a_fold_whose_journal_cannot_be_replaced_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = HeldFold(monkeypatch)
    monkeypatch.setattr(FileLease, "_exchange_journal", keep_journal)
    with opened(tmp_path) as cp:
        step_into_a_fold(cp)
        let_go(held, cp)
        step(cp)
        assert stored(tmp_path) == now(cp)
        step(cp)
        assert stored(tmp_path) == now(cp)


def test_a_journal_that_outlived_its_snapshot_fits_no_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its saves would be applied again, to a snapshot that holds them and more."""
    held = HeldFold(monkeypatch)
    with opened(tmp_path) as cp:
        step_into_a_fold(cp)
        held.error = StoreError("disk full")
        let_go(held, cp)
        journal = (tmp_path / JOURNAL).read_bytes()
        cp.state["much"] = "z" * 20_000  # too much for the journal
        step(cp)
        (tmp_path / JOURNAL).write_bytes(journal)
        assert stored(tmp_path) == now(cp)


def test_the_journal_of_a_killed_fold_fits_no_snapshot_of_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, held = tmp_path / "killed", HeldFold(monkeypatch)
    with opened(tmp_path / "first") as cp:
        step_into_a_fold(cp)
        shutil.copytree(tmp_path / "first", killed)
        before = now(cp)
        held.go_on.set()
    journal = (killed / JOURNAL).read_bytes()
    with opened(killed) as cp:
        assert now(cp) == before
        cp.mapping("files").update({f"many {number}": "z" * 90 for number in range(200)})  # too much for the journal
        step(cp)
        (killed / JOURNAL).write_bytes(journal)
        assert stored(killed) == now(cp)


class Plain(Observer):
    """Has no thread write, as a supervised run whose items are saved one by one does."""

    def configure(self, options: Options) -> Options:
        return dataclasses.replace(options, works_beside=False)


@pytest.mark.parametrize("is_plain", [False, True])
def test_a_fold_is_made_once_and_no_save_comes_between_its_parts(
    is_plain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save that did not wait for a fold's last part met files that were just replaced."""
    monkeypatch.setattr(FileStore, "traits", dataclasses.replace(FileStore.traits, fold_after=0))
    begun: list[int] = []
    compact = Writer._compact
    monkeypatch.setattr(Writer, "_compact", lambda one, save: (begun.append(one._journal_size), compact(one, save)))
    stage = FileLease.stage

    def slow(lease: FileLease, *arguments: Any) -> Callable[[bytes], None]:
        commit = stage(lease, *arguments)
        return lambda summary: (time.sleep(0.02), commit(summary))[1]

    monkeypatch.setattr(FileLease, "stage", slow)
    with installed(Plain()) if is_plain else nullcontext(), opened(tmp_path) as cp:
        for _ in range(40):
            step(cp)
        cp.save()
        assert stored(tmp_path) == now(cp)

    assert len(begun) > 1
    assert min(begun) > 10_000, "a fold of a journal that was just folded"


def test_a_save_costs_what_changed_however_much_there_is() -> None:
    """Also where nothing was read since there was so much."""

    def least_seconds(count: int) -> float:
        with checkpointed(f"of {count}", every(hours=1), store="memory://") as cp:
            files = cp.mapping("files")
            files.update({str(number): {"sha": "x" * 40, "size": number} for number in range(count)})
            cp.save()
            took = []
            for turn in range(12):
                files.update({str(number): {"sha": f"{turn:040}", "size": turn} for number in range(100)})
                began = time.thread_time()
                cp.save()
                took.append(time.thread_time() - began)
        return min(took)

    tries = (least_seconds(12_000) < 5 * least_seconds(1_000) for _ in range(5))
    assert any(tries)
