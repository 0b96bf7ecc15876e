"""The power fails at any moment, and the disk keeps what it likes of all that was not synced: nothing reported is lost.

Each state that may be left is laid out and loaded: it is the last reported save or the one that was under way, never
anything else, and never an error.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointManager
from resumable._durable.artifact import Artifacts
from resumable._format import journal
from resumable._runtime import disk as _disk
from resumable._runtime import trees
from resumable._runtime.disk import JournalFile, without_room
from resumable.stores import FileStore
from resumable.stores._file import FileLease
from tests.conftest import Figure
from tests.faults import operations
from tests.faults.injection import WHOLE, scratch
from tests.faults.power import SECTOR, Disk, View, lay_out
from tests.faults.recording import Recorder, recording
from tests.support.stores import claimed

SCENARIOS = (*operations.WRITING, "torn", "long torn")
TORN = {"torn": 700, "long torn": 6000}
"""Bytes of a save that an earlier power cut has left."""
TORN_LINE = b'9900 0a1b2c3d {"seq":'
GO_ON_AFTER = 1 if WHOLE else 25
"""Try the next run, too, after each of this many states."""


def kind_of(scenario: str) -> str:
    """What the scenario's state looks like."""
    return {"torn": "append", "long torn": "append"}.get(scenario, scenario)


def prepare(scenario: str, directory: Path) -> None:
    if scenario != "first":  # there, the directory is missing, too
        operations.prepare(kind_of(scenario), directory)
    if scenario in TORN:
        path = operations.file_of(scenario, directory, ".journal")
        path.write_bytes(path.read_bytes() + TORN_LINE + b"z" * TORN[scenario])


def act(scenario: str, directory: Path, tell: Callable[[str], None]) -> None:
    operations.act(kind_of(scenario), directory, tell)


class Lost(AssertionError):
    """A state that must not be."""


class Trial:
    """One operation, recorded, and all that power cuts may leave of it."""

    def __init__(self, scenario: str, root: Path) -> None:
        self.scenario = scenario
        self.root = root / "disk"
        self.directory = self.root / "store"
        self.root.mkdir()
        prepare(scenario, self.directory)
        self.before = self.step()
        self.recorder = self._record()

    def _record(self) -> Recorder:
        with recording(self.root) as recorder:
            act(self.scenario, self.directory, recorder.tell)
        return recorder

    def states(self) -> Iterator[tuple[Disk, View]]:
        """All states, each once for what was reported by then."""
        seen: set[bytes] = set()
        for disk in self.recorder.disks():
            for view in disk.after_power_cut(whole=WHOLE):
                key = _fingerprint(view, disk.told)
                if key not in seen:
                    seen.add(key)
                    yield disk, view

    def check_all(self) -> Counter[str]:
        """How many states hold the old, and how many the new one.

        Raises:
            Lost: One holds neither.
        """
        found: Counter[str] = Counter()
        for number, (disk, view) in enumerate(self.states()):
            shutil.rmtree(self.root)
            lay_out(view, self.root)
            try:
                found[self.check(disk)] += 1
                if number % GO_ON_AFTER == 0 or self.scenario in ("sink", "artifact"):
                    self.go_on()
            except Exception as error:
                sizes = {os.path.basename(name): len(data) for name, data in view.items() if data is not None}
                raise Lost(f"{self.scenario}, state {number}, told {disk.told}, left {sizes}: {error!r}") from error
        return found

    def step(self) -> int | None:
        """Which step's state is stored, wholly as it must be; None if there is no checkpoint."""
        found = CheckpointManager(self.directory).load_checkpoint(operations.id_of(self.scenario))
        if found is None:
            return None
        step = int(found.state.get("step", 0))
        assert found.state == (operations.expected(kind_of(self.scenario), step) if step or found.state else {})
        return step

    def check(self, disk: Disk) -> str:
        """Whether it is the ``old`` or the ``new`` one."""
        step, begun, saved = self.step(), disk.last("begin"), disk.last("saved")
        if self.scenario == "finalize":
            assert step is None if saved else step in (None, self.before), step
            return "new" if step is None else "old"
        old, new = (int(saved) if saved else self.before), (int(begun) if begun else self.before)
        assert step in (old, new), step
        return "new" if step == new else "old"

    def go_on(self) -> None:
        """The next run finds the same, works, and leaves nothing behind; rows count as far as the checkpoint does."""
        directory = self.directory
        before = self.step()
        with operations.opened(self.scenario, directory, cleanup=True) as cp:
            if self.scenario == "sink":
                cp.sink(operations.rows_in(directory))
                assert operations.rows_in(directory).read_text() == operations.rows(before or 0)
            elif self.scenario == "artifact":
                assert operations.model_in(cp) == operations.model(before or 0)
            elif self.scenario != "finalize":
                number = operations.step(cp, kind_of(self.scenario))
                cp.save()
                assert self.step() == number == (before or 0) + 1
        assert {path.name for path in directory.iterdir()} <= {"rows.txt"}


def _fingerprint(view: View, told: Iterable[str]) -> bytes:
    digest = hashlib.blake2b(repr(list(told)).encode())
    for name in sorted(view):
        digest.update(repr((name, view[name])).encode())
    return digest.digest()


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Trial]]:
    operations.defer_threads(monkeypatch.setattr)
    with scratch() as root:
        yield lambda scenario: Trial(scenario, root)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_after_a_power_cut_the_reported_save_stands(
    scenario: str, trial: Callable[[str], Trial], figure: Figure
) -> None:
    tried = trial(scenario)
    found = tried.check_all()

    assert found["new"] > 0
    outcome = f"{len(tried.recorder.events)} writes: {found['old']} old, {found['new']} new, 0 lost"
    figure(f"power cut, {scenario}", found.total(), outcome)


# -- the journal, wherever its sectors end ----------------------------------------------------------------------------


REMNANTS = {
    "nothing": b"",
    "100 torn bytes": TORN_LINE.ljust(100, b"z"),
    "3000 torn bytes": TORN_LINE.ljust(3000, b"z"),
    "room that was made": b"\xff" * 5000,
}
"""What an earlier run has left behind the saves."""


def append_to_file(path: Path, end: int, lines: Iterable[bytes], done: Callable[[], None]) -> None:
    """Repair as the lease does, once it knows the *end* of what counts."""
    journal = JournalFile(path, end)
    for line in lines:
        journal.append(line)
        done()
    journal.close()


def append_by_lease(path: Path, end: int, lines: Iterable[bytes], done: Callable[[], None]) -> None:
    """Repair as a run does, which finds the end of the journal itself."""
    with claimed(FileStore(path.parent), "job") as lease:
        for line in lines:
            lease.append(lease.next, line)
            done()


@pytest.mark.parametrize(
    ("remnant", "append"),
    [(remnant, append_to_file) for remnant in REMNANTS]
    + [(remnant, append_by_lease) for remnant in REMNANTS if "torn" not in remnant],
)
def test_a_record_may_tear_at_any_sector_wherever_it_begins(
    remnant: str,
    append: Callable[[Path, int, Iterable[bytes], Callable[[], None]], None],
    tmp_path: Path,
    figure: Figure,
) -> None:
    """Even if only its first few bytes are lost: those that share a sector with the record before.

    The first one to be added makes the file longer, the next one is written over the room that the first one made.
    """
    count = 0
    for alignment in range(SECTOR) if WHOLE else (*range(0, SECTOR, 37), *range(SECTOR - 17, SECTOR)):
        padding = (alignment - 60) % SECTOR + 20
        first, at = journal.line(b'{"x":"%b"}' % (b"x" * padding), 1, 7)
        second, at = journal.line(b'{"x":"%b"}' % (b"y" * 1200), 2, at.crc)
        third, _ = journal.line(b'{"x":"%b"}' % (b"z" * 1200), 3, at.crc)
        directory = tmp_path / str(alignment)
        directory.mkdir()
        path = directory / ".checkpoint_job.journal"
        path.write_bytes(first + REMNANTS[remnant])
        with recording(directory) as recorder:
            append(path, len(first), (second, third), partial(recorder.tell, "saved"))
        for disk in recorder.disks():
            for view in disk.after_power_cut(whole=True):
                count += 1
                content = journal.read(without_room(view[str(path)] or b""))
                assert content is not None
                assert content.damage == "", (alignment, view)
                saved = [1, 2, 3][: 1 + len(disk.told)]
                assert [record["seq"] for record in content.records] in (saved, [1, 2, 3][: 2 + len(disk.told)])
    figure(f"power cut in a journal, after {remnant}", count, "0 lost")


# -- the test itself can fail -----------------------------------------------------------------------------------------


def nothing(*arguments: Any) -> None:
    pass


def in_place(new: Path, path: Path, kept: Path, old: Path) -> None:
    """Has the file itself overwritten."""
    data = new.read_bytes()
    descriptor = os.open(path, _disk.WRITE | os.O_CREAT, 0o600)
    os.ftruncate(descriptor, 0)
    _disk.write_all(descriptor, data)
    _disk.sync(descriptor)
    os.close(descriptor)
    os.unlink(new)
    _disk.sync_directory(path.parent)


def journal_first(lease: Any, new: Path, sequence: int) -> None:
    """Exchanges the journal although the snapshot that it goes on from does not stand yet."""
    cut = next(end for number, end in reversed(lease._ends) if number <= sequence)
    lease._move_journal(cut)
    lease._put_in_place(new, sequence)
    lease._close_journal()
    lease._begin_journal_at(cut)


def journal_last(lease: Any, new: Path, sequence: int) -> None:
    """Moves the journal although the snapshot stands already where it is not."""
    cut = next(end for number, end in reversed(lease._ends) if number <= sequence)
    lease._put_in_place(new, sequence)
    lease._move_journal(cut)
    lease._close_journal()
    lease._begin_journal_at(cut)


def journal_forgotten(lease: Any, new: Path, sequence: int) -> None:
    """Takes it that nothing was saved while the snapshot was written."""
    lease._put_in_place(new, sequence)
    lease._close_journal()
    lease._exchange_journal(lease._write_beside(lease._home.journal, []))
    lease._begin_journal()


def only_the_newest(artifacts: Any) -> set[str]:
    """Removes the version that is stored before another one is."""
    return {version.version for version in artifacts._now.values()} | artifacts._writing


CARELESS = [
    (_disk, "sync", nothing, "first"),
    (_disk, "sync", nothing, "replace"),
    (_disk, "sync", nothing, "fold"),
    (_disk, "sync", nothing, "move"),
    (_disk, "sync", nothing, "format 1"),
    (_disk, "sync_directory", nothing, "first"),
    (_disk, "sync_directory", nothing, "replace"),
    (_disk, "sync_directory", nothing, "fold"),
    (_disk, "sync_directory", nothing, "finalize"),
    (_disk, "sync_directory", nothing, "move journal"),
    (_disk, "sync_data", nothing, "append"),
    (_disk, "sync_data", nothing, "sink"),
    (trees, "sync_file", nothing, "artifact"),
    (_disk, "sync_directory", nothing, "artifact"),
    (Artifacts, "needed", only_the_newest, "artifact"),
    (_disk, "put_in_place", in_place, "replace"),
    (FileLease, "_compact", journal_first, "fold"),
    (FileLease, "_compact", journal_last, "move journal"),
    (FileLease, "_compact", journal_forgotten, "fold"),
    (FileLease, "_compact", journal_forgotten, "move journal"),
]
"""What is done badly, how, and the operation that finds it out."""


@pytest.mark.parametrize(("owner", "name", "careless", "scenario"), CARELESS)
def test_a_careless_store_is_found_out(
    owner: object,
    name: str,
    careless: Callable[..., Any],
    scenario: str,
    trial: Callable[[str], Trial],
    monkeypatch: pytest.MonkeyPatch,
    figure: Figure,
) -> None:
    monkeypatch.setattr(owner, name, careless)
    tried = trial(scenario)

    with pytest.raises(Lost):
        tried.check_all()
    figure(f"power cut, {scenario}, a store whose {name} is {careless.__name__}", 1, "found out")
