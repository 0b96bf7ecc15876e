"""Loops over a server's pages, and effects that must not happen twice: to be killed anywhere, and then to go on.

    python -m tests.faults.api_jobs JOB STEP SEED

kills a job at every STEP-th line that it runs, in the library and here, lets it go on, and tells as JSON how many kills
there were, and what was lost or done twice. Each run is a fork of this process.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import resumable
from resumable import UnknownOutcomeError, checkpointed, every

ITEMS = 5
PAGE = 2
PARTS = ["a", "b"]
"""Each item has a loop of its own within."""
_LIBRARY = str(Path(resumable.__file__).parent)
_PATIENCE_SECONDS = 100


def opened(directory: Path) -> checkpointed:
    return checkpointed("job", every(items=2), store=directory / "ck", auto_cleanup=False)


def fetch(cursor: int | None) -> tuple[list[dict[str, int]], int | None]:
    """A page of a server; the cursor is the number of its first item."""
    first = cursor or 0
    items = [{"id": number} for number in range(first, min(first + PAGE, ITEMS))]
    return items, first + PAGE if first + PAGE < ITEMS else None


async def fetch_async(cursor: int | None) -> tuple[list[dict[str, int]], int | None]:
    await asyncio.sleep(0)
    return fetch(cursor)


# -- pages: each part of an item is a row, once ----------------------------------------------------------------------


def pages(directory: Path, key: str | None = None) -> None:
    with opened(directory) as cp:
        rows, log = cp.sink(directory / "rows.txt"), cp.log("log")
        for item in cp.pages(fetch, key=key):
            for part in cp.remaining(PARTS):
                rows.write(f"{item['id']}{part}\n")
                log.append(f"{item['id']}{part}")


def pages_by_key(directory: Path) -> None:
    pages(directory, key="id")


def pages_in_async(directory: Path) -> None:
    async def crawl() -> None:
        async with opened(directory) as cp:
            rows, log = await cp.sink(directory / "rows.txt"), cp.log("log")
            async for item in cp.pages(fetch_async):
                async for part in cp.remaining(PARTS):
                    rows.write(f"{item['id']}{part}\n")
                    log.append(f"{item['id']}{part}")

    asyncio.run(crawl())


def check_rows(directory: Path) -> list[str]:
    """What is wrong with the rows, once the job came to its end."""
    found = resumable.CheckpointManager(directory / "ck").load_checkpoint("job")
    log = [] if found is None else found.state["log"]
    rows = (directory / "rows.txt").read_text().split()
    expected = [f"{item}{part}" for item in range(ITEMS) for part in PARTS]
    return [f"{what} {found}" for what, found in (("rows", rows), ("log", log)) if found != expected]


# -- once: each effect is a line that no kill takes back --------------------------------------------------------------


def do(directory: Path, key: int) -> int:
    descriptor = os.open(directory / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{key}\n".encode())
    with suppress(OSError):  # it has happened by now, so this must raise nothing
        os.close(descriptor)
    return key


def done(directory: Path) -> Counter[str]:
    path = directory / "effects"
    return Counter(path.read_text().split() if path.exists() else ())


def look(directory: Path, key: int) -> int | None:
    """Whether the effect has happened."""
    return key if done(directory)[str(key)] else None


def once(directory: Path) -> None:
    with opened(directory) as cp:
        log = cp.log("log")
        for key in cp.remaining(range(ITEMS)):
            log.append(key)
            try:
                cp.once(key, lambda key=key: do(directory, key))
            except UnknownOutcomeError:
                note(directory, "told")
                cp.once(key, lambda key=key: do(directory, key), unknown=lambda key=key: look(directory, key))


def once_in_async(directory: Path) -> None:
    async def work() -> None:
        async with opened(directory) as cp:
            log = cp.log("log")
            async for key in cp.remaining(range(ITEMS)):
                log.append(key)

                async def effect(key: int = key) -> int:
                    await asyncio.sleep(0)
                    return do(directory, key)

                try:
                    await cp.once(key, effect)
                except UnknownOutcomeError:
                    note(directory, "told")
                    await cp.once(key, effect, unknown=lambda key=key: look(directory, key))

    asyncio.run(work())


def note(directory: Path, what: str) -> None:
    with (directory / what).open("a") as file:
        file.write(".")


def check_effects(directory: Path) -> list[str]:
    """What is wrong with the effects, once the job came to its end."""
    counts = done(directory)
    return [] if counts == {str(key): 1 for key in range(ITEMS)} else [f"effects {dict(counts)}"]


Job = Callable[[Path], None]
JOBS: dict[str, tuple[Job, Callable[[Path], list[str]]]] = {
    "pages": (pages, check_rows),
    "pages by key": (pages_by_key, check_rows),
    "pages, async": (pages_in_async, check_rows),
    "once": (once, check_effects),
    "once, async": (once_in_async, check_effects),
}


def effects_twice(directory: Path) -> list[str]:
    """Effects that happened twice: at no moment may there be one."""
    return [f"effect {key} {count} times" for key, count in done(directory).items() if count > 1]


# -- killed at a line -------------------------------------------------------------------------------------------------


class Lines:
    """Counts the lines that run in the library and in the jobs, and ends the process at one of them."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.count = 0
        self._dies_at = dies_at

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_LIBRARY) and name != __file__:
            return None
        if event == "line":
            self.count += 1
            if self.count == self._dies_at:
                os._exit(9)
        return self


def forked(job: Job, directory: Path, lines: Lines | None = None) -> int:
    """Run *job* in a process of its own; how that ended."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(_PATIENCE_SECONDS)
            if lines is not None:
                threading.settrace(lines)
                sys.settrace(lines)
            job(directory)
            sys.settrace(None)
            if lines is not None:
                (directory / "lines").write_text(str(lines.count))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_everywhere(name: str, step: int, seed: int, root: Path) -> dict[str, Any]:
    """A kill at every *step*-th line, from the *seed*-th on; what came of it."""
    job, check = JOBS[name]
    warm = root / "warm"
    warm.mkdir()
    job(warm)  # what is loaded later, is loaded now
    first = root / "first"
    first.mkdir()
    assert forked(job, first, Lines()) == 0
    count = int((first / "lines").read_text())
    told: dict[str, Any] = {"lines": count, "kills": 0, "told": 0, "wrong": []}
    for number in range(1 + seed % step, count, step):
        directory = root / str(number)
        directory.mkdir()
        killed = forked(job, directory, Lines(number))
        again = forked(job, directory)
        wrong = [*effects_twice(directory), *(check(directory) if again == 0 else [f"ended with {again}"])]
        told["kills"] += killed == 9
        told["told"] += (directory / "told").exists()
        told["wrong"] += [f"line {number}: {what}" for what in wrong]
        shutil.rmtree(directory)
    return told


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(kill_everywhere(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(scratch))))
