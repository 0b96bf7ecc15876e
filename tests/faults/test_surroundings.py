"""What goes on around a loop: a clock that jumps, a directory that is read-only or gone, a sync that fails once."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from resumable import Checkpoint, CheckpointManager, StoreError, checkpointed, every
from resumable._runtime import disk
from resumable.testing import ManualClock
from tests.conftest import Figure
from tests.faults import operations
from tests.faults.injection import WHOLE
from tests.faults.operations import NEVER

REPOSITORY = Path(__file__).parents[2]
HOUR = timedelta(hours=1)


def stored(directory: Path, operation_id: str = "job") -> dict[str, Any] | None:
    found = CheckpointManager(directory).load_checkpoint(operation_id)
    return found.state if found is not None else None


# -- the clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "jumps", [[HOUR], [-HOUR], [HOUR, -HOUR], [-HOUR, HOUR]], ids=["on", "back", "on-back", "back-on"]
)
def test_a_wall_clock_that_jumps_moves_no_save(jumps: list[timedelta], tmp_path: Path, figure: Figure) -> None:
    """A save is due each minute, whatever the wall clock shows; stamps are what it shows."""
    steady, jumpy = ManualClock(), ManualClock()
    saves = []
    for name, clock in (("steady", steady), ("jumpy", jumpy)):
        saved_at = []
        manager = CheckpointManager(tmp_path / name, every(seconds=60), auto_cleanup=False, clock=clock)
        with checkpointed("job", manager=manager) as cp:
            count = cp.metadata.save_count
            for item in range(600):
                clock.advance(1.5)
                if clock is jumpy and item % 10 == 5:
                    clock.jump(jumps[item // 10 % len(jumps)].total_seconds())
                cp.tick()
                if cp.metadata.save_count > count:
                    count = cp.metadata.save_count
                    saved_at.append(item)
                    found = CheckpointManager(tmp_path / name).load_checkpoint("job")
                    assert found is not None
                    assert found.last_updated == clock.utc().replace(tzinfo=UTC)
                    assert datetime(2025, 12, 1, tzinfo=UTC) < found.last_updated
        saves.append(saved_at)

    assert saves[0] == saves[1] == list(range(39, 600, 40))
    with checkpointed("job", store=tmp_path / "jumpy") as cp:
        assert cp.processed_items == 600
    figure("clock jumps by hours", 60, f"{len(saves[1])} saves, each when it was due")


# -- the directory ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def moved_away(directory: Path) -> Iterator[None]:
    """It is not there, and nothing can be made in its place."""
    directory.rename(directory.with_name("away"))
    directory.write_text("a file")
    yield
    directory.unlink()
    directory.with_name("away").rename(directory)


def test_a_directory_that_vanishes_costs_no_item(tmp_path: Path, figure: Figure) -> None:
    """Saves fail in plain words while it is gone; once it is back the next one tells everything."""
    directory = tmp_path / "store"
    refused = 0
    with checkpointed("job", NEVER, store=directory, auto_cleanup=False) as cp:
        files = cp.mapping("files")
        files.update(operations.PADDING)
        cp.save()
        for number in range(6):
            files[f"new {number}"] = number
            if number % 2:
                cp.save()
                continue
            with moved_away(directory):
                with contextlib.suppress(StoreError):
                    cp.save()  # it may still reach an open journal
                files[f"more {number}"] = "x" * 9000
                with pytest.raises(StoreError, match="store"):
                    cp.save()
            refused += 1
        assert stored(directory) == {"files": dict(files)}
    figure("directory gone", 2 * refused, f"{refused} saves refused, 0 lost")


def test_a_directory_removed_for_good_is_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    with checkpointed("job", NEVER, store=directory, auto_cleanup=False) as cp:
        for number in range(3):
            cp.state["n"] = number
            cp.save()
            assert stored(directory) == {"n": number}
            shutil.rmtree(directory)


READ_ONLY = """
import os, subprocess, sys
from resumable import Checkpoint, CheckpointManager, StoreError, checkpointed, every

directory = sys.argv[1]
def mount(how):
    subprocess.run(["mount", "-o", f"remount,{how}", directory], check=True)

with checkpointed("job", every(hours=9), store=directory, auto_cleanup=False) as cp:
    files = cp.mapping("files")
    files.update({str(number): "x" * 90 for number in range(200)})
    cp.save()
    files["a"] = 1
    cp.save()
stood = CheckpointManager(directory).load_checkpoint("job").state
mount("ro")
assert CheckpointManager(directory).load_checkpoint("job").state == stood
try:
    with checkpointed("job", store=directory):
        raise AssertionError("opened where nothing can be saved")
except StoreError as error:
    assert "Read-only" in str(error), error
mount("rw")
with checkpointed("job", store=directory) as cp:
    assert cp.state == stood
assert [name for name in os.listdir(directory)] == []
"""


def test_a_read_only_file_system_is_told_at_the_start(tmp_path: Path, figure: Figure) -> None:
    """Not after an hour of work; what is stored can still be read."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root, to mount a small file system")
    script = f'mount -t tmpfs -o size=1m none {tmp_path} && exec "$@"'
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, "-B", "-c"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [*command, READ_ONLY, str(tmp_path)], capture_output=True, text=True, env=environment, timeout=300
    )
    if "mount:" in done.stderr:
        pytest.skip(f"may not mount here: {done.stderr}")

    assert done.returncode == 0, done.stderr
    figure("file system read-only", 1, "told when it is opened, the checkpoint stands")


# -- a sync that fails once -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", operations.WRITING)
def test_each_sync_may_fail_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    """The save fails, the last one stands, and the next one goes into a file that was never synced before."""
    number, failed = 0, True
    while failed:
        directory = tmp_path / str(number)
        operations.prepare(name, directory)
        told: list[str] = []
        with monkeypatch.context() as patch:
            syncs = Syncs(patch, fails=number)
            for _ in range(2):
                try:
                    operations.act(name, directory, told.append)
                    break
                except StoreError:
                    told.append("failed")
        failed = syncs.failed_inode is not None
        assert syncs.failed_inode not in syncs.inodes_after, "a file whose sync had failed was trusted again"
        found = CheckpointManager(directory).load_checkpoint(operations.id_of(name))
        saved = [text.removeprefix("saved ") for text in told if text.startswith("saved ")][-1]
        if name == "finalize":
            assert found is None
        else:
            assert found is not None
            assert found.state == operations.expected(name, int(saved))
        number += 1
    figure(f"fsync fails once, {name}", number - 1, "0 trusted again, 0 lost")


class Syncs:
    """Counts syncs, of which one fails."""

    def __init__(self, patch: pytest.MonkeyPatch, fails: int) -> None:
        self.left = fails
        self.failed_inode: int | None = None
        self.inodes_after: list[int] = []
        self._held: list[int] = []
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self._failing(getattr(os, name)))
        patch.setattr(disk, "sync_data", os.fdatasync)
        patch.setattr(os, "ftruncate", self._cutting(os.ftruncate))

    def _failing(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def failing(descriptor: int) -> None:
            status = os.fstat(descriptor)
            if self.failed_inode is not None:
                self.inodes_after.append(status.st_ino)
            elif self.left == 0:
                self.failed_inode = -1 if stat.S_ISDIR(status.st_mode) else status.st_ino
                self._held.append(os.dup(descriptor))  # so that the number is not given again
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self.left -= 1
            sync(descriptor)

        return failing

    def _cutting(self, cut: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def cutting(descriptor: int, size: int) -> None:
            cut(descriptor, size)
            if os.fstat(descriptor).st_ino == self.failed_inode:
                self.failed_inode = -1  # what may be lost is not in it any more

        return cutting

    def __del__(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)


def test_rows_whose_sync_failed_never_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run cuts the file back to the last save, and does again what came after."""
    fdatasync, left = os.fdatasync, [1]

    def failing(descriptor: int) -> None:
        if not left.pop():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fdatasync(descriptor)

    rows = tmp_path / "rows.txt"
    with pytest.raises(StoreError, match="Run again"), checkpointed("job", NEVER, store=tmp_path) as cp:  # noqa: PT012
        sink = cp.sink(rows)
        sink.write("good\n")
        cp.save()
        with monkeypatch.context() as patch:
            patch.setattr(disk, "sync_data", failing)
            left[:] = [0]
            sink.write("bad\n")
            with pytest.raises(StoreError, match="Input/output"):
                cp.save()
        cp.save()
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        cp.sink(rows)
        assert rows.read_text() == "good\n"


def test_a_row_that_was_half_written_is_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full for a moment."""
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) <= 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[: len(data) // 2])

    rows = tmp_path / "rows.txt"
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        sink = cp.sink(rows)
        sink.write("first row\n")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            with pytest.raises(StoreError, match="No space"):
                cp.save()
        cp.save()
        assert rows.read_text() == "first row\n"


# -- threads that tick ------------------------------------------------------------------------------------------------


def test_threads_that_tick_lose_no_item(tmp_path: Path, figure: Figure) -> None:
    """While they tick and save, each stored state is one that was: all items that it counts are in it."""
    threads, items = 8, 3000 if WHOLE else 200
    seen = 0
    with checkpointed("job", every(items=50), store=tmp_path, auto_cleanup=False) as cp:
        log = cp.log("log")
        turn = threading.Lock()

        def work(number: int) -> None:
            for item in range(items):
                with turn:
                    log.append([number, item])
                    cp.tick()

        running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for thread in running:
            thread.start()
        while any(thread.is_alive() for thread in running):
            found = CheckpointManager(tmp_path).load_checkpoint("job")
            if found is not None:
                assert len(found.state["log"]) == found.metadata.processed_items
                seen += 1
        for thread in running:
            thread.join()
    found = CheckpointManager(tmp_path).load_checkpoint("job")
    assert found is not None
    assert sorted(found.state["log"]) == [[number, item] for number in range(threads) for item in range(items)]
    figure(f"{threads} threads tick", threads * items, f"read {seen} times meanwhile: 0 lost, 0 torn")


# -- forks ------------------------------------------------------------------------------------------------------------


def forked(cp: Checkpoint[dict[str, Any]], item: int) -> int:
    """The process id of a child that works on as if the checkpoint were its own."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with contextlib.suppress(StoreError):
            cp.log("log").extend(["of a child"] * 50)
            cp.mapping("files")[f"child {item}"] = "x" * 5000
            cp.tick(5)
            cp.save()
        if item % 2:
            cp.leave_block(None if item % 4 == 1 else KeyboardInterrupt())
        code = 0
    finally:
        os._exit(code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forks_in_the_middle_of_a_loop_change_nothing(tmp_path: Path, figure: Figure) -> None:
    """Before a save, after one, during a fold; the children save, leave the block, or just end."""
    items = 600 if WHOLE else 60
    with checkpointed("job", every(items=3), store=tmp_path, auto_cleanup=False) as cp:
        files, log = cp.mapping("files"), cp.log("log")
        for item in cp.remaining(range(items)):
            files[str(item)] = "x" * 300
            log.append(item)
            assert os.waitstatus_to_exitcode(os.waitpid(forked(cp, item), 0)[1]) == 0
            found = stored(tmp_path)
            assert found is None or found["log"] == list(range(len(found["files"])))
    assert stored(tmp_path) == {"files": {str(item): "x" * 300 for item in range(items)}, "log": list(range(items))}
    figure("fork in the middle", items, "0 children wrote, 0 lost")


# -- short writes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", operations.WRITING)
def test_each_write_may_take_only_a_part(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """The system may write a part at any call: the rest is written nevertheless, or an error says so."""
    write, calls = os.write, 0
    operations.defer_threads(monkeypatch.setattr)

    def short(descriptor: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        return write(descriptor, data[: max(1, len(data) // 3)])

    operations.prepare(name, tmp_path / "store")
    told: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short)
        operations.act(name, tmp_path / "store", told.append)
    found = stored(tmp_path / "store", operations.id_of(name))
    if name == "finalize":
        assert found is None
    else:
        assert found == operations.expected(name, int(told[-1].removeprefix("saved ")))
    if name == "sink":
        assert operations.rows_in(tmp_path / "store").read_text() == operations.rows(4)
    assert calls or name == "finalize"
    figure(f"short writes, {name}", calls, "0 lost, 0 half")
