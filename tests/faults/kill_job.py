"""Loops that are killed at random moments, again and again; what each kill leaves is looked at, then they go on.

    python -m tests.faults.kill_job SHAPE KILLS SEED

tells, as JSON, how many items were begun again, and what was found wrong. Each run is a fork of this process, so that
it may die at any moment from its first system call on, and thousands die in a minute.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resumable import CheckpointData, CheckpointManager, checkpointed, every
from resumable.stores import FileStore

FileStore.traits = dataclasses.replace(FileStore.traits, fold_after=0)  # so that small checkpoints see folds
ITEMS = 3000
SAVE_EVERY = 7
ASK_EVERY = 40
"""After this many items the loop saves itself, and knows what the save holds."""
LONGEST_SECONDS = 0.06
"""So long does a run work at most until it is killed: a loop is killed some ten or twenty times on its way."""
EARLY = 0.1
"""So many kills of all come before the first item, while the checkpoint is being opened."""
PATIENCE_SECONDS = 100
"""A run that takes longer hangs."""


class Notes:
    """What a run tells of itself; a kill takes nothing of it back, for the kernel holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._ready = os.pipe()
        self._is_ready = False

    def begun(self, item: int) -> None:
        os.pwrite(self._descriptor, b"%12d" % (item + 1), 0)
        if not self._is_ready:
            self._is_ready = True
            os.write(self._ready[1], b"!")

    def saved(self, items: int, count: int) -> None:
        """A save that holds *items* items was reported; it is the *count*-th."""
        os.pwrite(self._descriptor, b"%12d%12d" % (items, count), 12)

    def failed(self, text: str) -> None:
        os.pwrite(self._descriptor, text.encode(), 36)

    def read(self) -> tuple[int, int, int, str]:
        raw = self._path.read_bytes().ljust(36, b"\0")
        begun, items, count = (int(raw[at : at + 12].strip(b"\0 ") or 0) for at in (0, 12, 24))
        return begun, items, count, raw[36:].decode()

    def wait(self) -> None:
        """Until the first item begins, or the run is over."""
        os.close(self._ready[1])
        os.read(self._ready[0], 1)
        os.close(self._ready[0])

    def close(self) -> None:
        os.close(self._descriptor)


# -- the loops --------------------------------------------------------------------------------------------------------


def row(item: int) -> str:
    return f"{item} {'r' * (item % 50)}\n"


def journal(directory: Path, notes: Notes) -> None:
    """Saves go to a journal, which is folded in the background."""
    with checkpointed("job", every(items=SAVE_EVERY), store=directory, auto_cleanup=False) as cp:
        files, log, seen = cp.mapping("files"), cp.log("log"), cp.set("seen")
        for item in cp.remaining(range(ITEMS)):
            notes.begun(item)
            if item % ASK_EVERY == 0:
                cp.save()
                notes.saved(item, cp.metadata.save_count)
            files[str(item)] = {"sha": "x" * 100, "n": item}
            files.pop(str(item - 2000), None)
            log.append(item)
            seen.add(item % 100)
            cp.state["last"] = item


def snapshots(directory: Path, notes: Notes) -> None:
    """Each save writes everything."""
    with checkpointed("job", every(items=SAVE_EVERY), store=directory, auto_cleanup=False) as cp:
        for item in range(cp.state.get("last", -1) + 1, ITEMS):
            notes.begun(item)
            if item % ASK_EVERY == 0:
                cp.save()
                notes.saved(item, cp.metadata.save_count)
            cp.state["last"] = item
            cp.state["sum"] = cp.state.get("sum", 0) + item
            cp.tick()


def sink(directory: Path, notes: Notes) -> None:
    """Rows go to a file of their own."""
    with checkpointed("job", every(items=SAVE_EVERY), store=directory, auto_cleanup=False) as cp:
        rows = cp.sink(directory / "rows.txt")
        for item in cp.remaining(range(ITEMS)):
            notes.begun(item)
            if item % ASK_EVERY == 0:
                cp.save()
                notes.saved(item, cp.metadata.save_count)
            rows.write(row(item))
            cp.state["last"] = item


def asynchronous(directory: Path, notes: Notes) -> None:
    async def crawl() -> None:
        async with checkpointed("job", every(items=SAVE_EVERY), store=directory, auto_cleanup=False) as cp:
            log = cp.log("log")
            async for item in cp.remaining(range(ITEMS)):
                notes.begun(item)
                if item % ASK_EVERY == 0:
                    await cp.save()
                    notes.saved(item, cp.metadata.save_count)
                log.append(item)
                cp.state["last"] = item

    asyncio.run(crawl())


SHAPES: dict[str, Callable[[Path, Notes], None]] = {
    "journal": journal,
    "snapshots": snapshots,
    "sink": sink,
    "async": asynchronous,
}


# -- what is left -----------------------------------------------------------------------------------------------------


def check(shape: str, directory: Path) -> tuple[int, int]:
    """How many items are done and how often it was saved; all parts of the checkpoint must agree on it."""
    found = CheckpointManager(directory).load_checkpoint("job")
    if found is None:
        return 0, 0
    done = found.metadata.processed_items
    assert found.state == expected(shape, done, found.state)
    if shape != "snapshots":
        assert done == 0 or found.internal["loops"]["loop-1"]["position"] == done
    if shape == "sink" and done:
        check_rows(directory / "rows.txt", found, done)
    return done, found.metadata.save_count


def expected(shape: str, done: int, found: dict[str, Any]) -> dict[str, Any]:
    """The state after *done* items."""
    last = {"last": done - 1} if done else {}
    if shape == "snapshots":
        return last | ({"sum": sum(range(done))} if done else {})
    if shape == "async":
        return {"log": list(range(done))} | last
    if shape == "sink":
        return last
    files = {str(item): {"sha": "x" * 100, "n": item} for item in range(max(0, done - 2000), done)}
    assert set(found.get("seen", [])) == {item % 100 for item in range(done)}
    return {"files": files, "log": list(range(done)), "seen": found.get("seen", [])} | last if found else {}


def check_rows(path: Path, found: CheckpointData, done: int) -> None:
    """What the checkpoint holds of the file is there; more may follow, which the next run cuts off."""
    rows = "".join(map(row, range(done)))
    (saved,) = found.internal["sinks"].values()
    assert saved["offset"] == len(rows)
    assert path.read_text()[: len(rows)] == rows


# -- kills ------------------------------------------------------------------------------------------------------------


class Kills:
    """One loop, killed until it has died often enough; begun anew when it comes to its end."""

    def __init__(self, shape: str, root: Path, seed: int) -> None:
        self.shape = shape
        self.root = root
        self.chance = random.Random(f"{shape} {seed}")
        self.told: dict[str, Any] = {"kills": 0, "ends": 0, "repeated": 0, "saves": 0, "wrong": []}

    def walk(self, kills: int) -> dict[str, Any]:
        notes = Notes(self.root / "notes")
        SHAPES[self.shape](self.root / "warm", notes)  # what is loaded later, is loaded now, for all children
        notes.wait()
        notes.close()
        loop = 0
        while self.told["kills"] < kills:
            loop += 1
            directory = self.root / f"loop {loop}"
            try:
                self._one_loop(directory, kills)
            except Exception as error:
                self.told["wrong"].append(f"{directory.name}, kill {self.told['kills']}: {error!r}")
            shutil.rmtree(directory, ignore_errors=True)
        return self.told

    def _one_loop(self, directory: Path, kills: int) -> None:
        done = saves = 0
        while done < ITEMS and self.told["kills"] < kills:
            is_early, delay = self.chance.random() < EARLY, self.chance.random() * LONGEST_SECONDS
            code, (begun, reported, count, failure) = run(self.shape, directory, self.root / "notes", is_early, delay)
            assert code in (0, -signal.SIGKILL), f"ended with {code}: {failure}"
            self.told["ends" if code == 0 else "kills"] += 1
            before = done
            done, saves = check(self.shape, directory)
            assert done >= max(before, reported), f"{done} items left of {reported} that were reported saved"
            assert saves >= count, f"{saves} saves left of {count}"
            assert code or done == ITEMS
            self.told["repeated"] += max(0, begun - done)
        self.told["saves"] += saves


def run(shape: str, directory: Path, path: Path, is_early: bool, delay: float) -> tuple[int, tuple[int, int, int, str]]:
    """A run that is killed *delay* seconds after it or its first item began; how it ended, and what it told."""
    notes = Notes(path)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(PATIENCE_SECONDS)
            SHAPES[shape](directory, notes)
            code = 0
        except BaseException:
            notes.failed(traceback.format_exc())
        finally:
            os._exit(code)
    if is_early:
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        notes.wait()
    else:
        notes.wait()
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    notes.close()
    return code, notes.read()


def main() -> None:
    shape, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as scratch:
        told = Kills(shape, Path(scratch), seed).walk(kills)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
