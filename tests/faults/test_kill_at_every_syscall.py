"""Killed or failed at any system call of a save, a fold, a load or an end: the checkpoint is old or new, never half.

Every call is killed at. By default every other one also fails, with one of the errors in turn; with
``RESUMABLE_FAULTS=all`` every call fails with every error.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from resumable import CheckpointCorruptError, CheckpointManager
from resumable._format.repair import repair
from tests.conftest import Figure
from tests.faults import operations
from tests.faults.injection import WHOLE, Outcome, Point, Servers, scratch, strace

ERRORS = ("ENOSPC", "EIO", "EINTR", "EACCES", "EDQUOT")


class Directory:
    """Where one operation is done again and again, each time from the same beginning."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root
        self.template = root / "template"
        operations.prepare(name, self.template)
        self.before = self.step_in(self.template)
        lies = operations.older_file_of if name in operations.MOVED else operations.file_of
        has_journal = lies(name, self.template, ".journal").exists()
        assert has_journal is (name in operations.JOURNALED)

    def fresh(self, number: int) -> Path:
        directory = self.root / f"run {number}"
        shutil.copytree(self.template, directory)
        return directory

    def points(self, servers: Servers) -> list[Point]:
        with servers.one() as server:
            return server.points(self.name, self.fresh(-1))

    def step_in(self, directory: Path) -> int | None:
        """Which step's state is stored, wholly as it must be; None if there is no checkpoint.

        What was to be repaired and is not yet, is repaired now; what was copied half, is copied again.
        """
        try:
            found = CheckpointManager(directory).load_checkpoint(operations.id_of(self.name))
        except CheckpointCorruptError as error:
            if self.name == "copy" and "Run resumable copy again" in str(error):
                self.go_back(directory)
                operations.copy_here(directory, lambda text: None)
                return self.step_in(directory)
            assert self.name == "repair"
            if directory != self.template:
                operations.mend(directory, lambda text: None)
            return operations.MENDED
        if found is None:
            return None
        step = int(found.state.get("step", 0))
        assert found.state == operations.expected(self.name, step)
        return step

    def go_back(self, directory: Path) -> None:
        """Instead of copying again, go back to what was there before; between two renames, to the one before that."""
        other = directory.with_name(f"{directory.name} back")
        shutil.copytree(directory, other)
        repair(operations.file_of(self.name, other), now=operations.NOW)
        found = CheckpointManager(other).load_checkpoint(operations.id_of(self.name))
        assert found is not None
        steps = (self.before or 0, operations.PREPARED + operations.COPIED)  # of the same saves, one journal has more
        assert found.state in ({"files": operations.PADDING}, *(operations.expected(self.name, one) for one in steps))
        shutil.rmtree(other)

    def check(self, directory: Path, outcome: Outcome) -> str:
        """Whether the checkpoint is the ``old`` one or the ``new`` one; fails if it is neither."""
        step, begun, saved = self.step_in(directory), outcome.last("begin"), outcome.last("saved")
        if self.name == "finalize":
            assert step is None if saved else step in (None, self.before)
            return "new" if step is None else "old"
        old = int(saved) if saved else self.before
        new = int(begun) if begun else self.before
        assert step in (old, new)
        return "new" if step == new else "old"

    def go_on(self, directory: Path) -> None:
        """The next run works, and leaves nothing behind."""
        before = self.step_in(directory)
        with operations.opened(self.name, directory, cleanup=True) as cp:
            assert cp.state.get("step") == (before or None)
            if self.name == "sink":
                cp.sink(operations.rows_in(directory))
                assert operations.rows_in(directory).read_text() == operations.rows(before or 0)
            if self.name == "artifact":
                assert operations.model_in(cp) == operations.model(before or 0)
                assert len([*directory.glob(".checkpoint_*.files/*")]) <= 3  # what is kept of the two saves before, too
                operations.write_model(cp, (before or 0) + 1)
            number = operations.step(cp, self.name) if self.name != "finalize" else None
            cp.save()
            assert number is None or self.step_in(directory) == number
        left = {path.name for path in directory.iterdir() if ".corrupt-" not in path.name}
        if self.name in operations.MOVED:  # a lock, which holds nothing, may lie where nobody goes any more
            left.discard(operations.older_file_of(self.name, directory, ".lock").name)
        assert left == ({"rows.txt"} if self.name == "sink" else set())


@pytest.fixture(params=operations.NAMES)
def directory(request: pytest.FixtureRequest) -> Iterator[Directory]:
    with scratch() as root:
        yield Directory(request.param, root)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    strace()
    servers = Servers()
    yield servers
    servers.close()


def test_a_kill_at_any_call_leaves_the_old_or_the_new_one(
    directory: Directory, servers: Servers, figure: Figure
) -> None:
    grid = directory.points(servers)
    found: Counter[str] = Counter()

    def kill(number: int, point: Point) -> None:
        run = directory.fresh(number)
        with servers.one() as server:
            outcome = server.inject(directory.name, run, point, "signal=SIGKILL")
        assert outcome.was_killed, f"not hit: {point}"
        try:
            found[directory.check(run, outcome)] += 1
            directory.go_on(run)
        except BaseException as error:
            error.add_note(f"killed before {point}; told {outcome.lines}")
            raise
        shutil.rmtree(run)

    servers.map(kill, grid)
    figure(f"kill at each call, {directory.name}", len(grid), f"{found['old']} old, {found['new']} new")


def test_an_error_of_any_call_is_told_and_the_next_try_stands(
    directory: Directory, servers: Servers, figure: Figure
) -> None:
    grid = directory.points(servers)
    told: Counter[str] = Counter()
    faults = [(point, error) for index, point in enumerate(grid) for error in errors_for(index)]

    def fail(number: int, fault: tuple[Point, str]) -> None:
        point, error = fault
        run = directory.fresh(number)
        with servers.one() as server:
            outcome = server.inject(directory.name, run, point, f"error={error}")
        try:
            assert outcome.returncode == 0
            assert outcome.last("saved") == outcome.last("begin") is not None
            directory.check(run, outcome)
            told["told" if outcome.last("failed") else "borne"] += 1
            directory.go_on(run)
        except BaseException as failure:
            failure.add_note(f"{error} at {point}; told {outcome.lines}")
            raise
        shutil.rmtree(run)

    servers.map(fail, faults)
    outcome = f"{told['told']} told, {told['borne']} did no harm"
    figure(f"error of each call, {directory.name}", len(faults), outcome)


def errors_for(index: int) -> tuple[str, ...]:
    if WHOLE:
        return ERRORS
    return (ERRORS[index // 2 % len(ERRORS)],) if index % 2 == 0 else ()
