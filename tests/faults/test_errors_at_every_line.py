"""Ordinary errors in the middle of items, at every line of a body: each row is there once in the end."""

from __future__ import annotations

import asyncio
import contextlib
import linecache
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import tenacity

from resumable import checkpointed, every
from resumable._runtime import disk
from tests.conftest import Figure
from tests.faults.injection import WHOLE

ITEMS = 5
STEP = 1 if WHOLE else 3


class UnexpectedError(Exception):
    """Any error of a program."""


class Written:
    """What a job writes to."""

    def __init__(self, cp: Any, sink: Any) -> None:
        self.sink = sink
        self.log, self.seen, self.counts = cp.log("log"), cp.set("seen"), cp.mapping("counts")

    def check(self) -> None:
        assert sorted(self.log) == list(range(ITEMS))
        assert self.seen == set(range(ITEMS))
        assert self.counts == {"all": ITEMS} | {str(item): {"n": item} for item in range(ITEMS)}


def note(to: Written, item: int) -> None:
    to.sink.write(f"{item}\n")
    to.log.append(item)
    to.seen.discard(item)
    to.seen.add(item)
    to.counts["all"] = to.counts.get("all", 0) + 1
    to.counts[str(item)] = {}
    to.counts[str(item)] = {"n": item}


def opened() -> checkpointed:
    return checkpointed("job", every(items=2), store="ck")


def loop() -> None:
    with opened() as cp:
        to = Written(cp, cp.sink("rows.txt"))
        for item in cp.remaining(range(ITEMS)):
            note(to, item)
            cp.save()
            to.counts[str(item)] = {"n": item}
        to.check()


def by_key() -> None:
    with opened() as cp:
        to = Written(cp, cp.sink("rows.txt"))
        for item in cp.remaining((item for item in range(ITEMS)), key=str):
            note(to, item)
        to.check()


def nested() -> None:
    with opened() as cp:
        to = Written(cp, cp.sink("rows.txt"))
        for pair in cp.remaining([(0, 1), (2,), (3, 4)]):
            for item in cp.remaining(pair):
                note(to, item)
            to.counts["all"] = to.counts["all"]
        to.check()


def ticks() -> None:
    with opened() as cp:
        to = Written(cp, cp.sink("rows.txt"))
        if not cp.processed_items:
            cp.tick()  # the item before the first tick could not be told from what sets the job up
        for item in range(cp.processed_items - 1, ITEMS):
            note(to, item)
            cp.tick()
        to.check()


def retried() -> None:
    with opened() as cp:
        to = Written(cp, cp.sink("rows.txt"))
        for item in cp.remaining(range(ITEMS)):
            for attempt in cp.retrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none(), reraise=True):
                with attempt:
                    if attempt.retry_state.attempt_number < 2:
                        raise ConnectionError
            note(to, item)
        to.check()


def mapped() -> None:
    with opened() as cp:
        to = Written(cp, cp.sink("rows.txt"))
        for item, _ in cp.map(lambda item: to.sink.write(f"{item}\n"), range(ITEMS)):
            to.log.append(item)
            to.seen.add(item)
            to.counts["all"] = to.counts.get("all", 0) + 1
            to.counts[str(item)] = {"n": item}
        to.check()


def threads() -> None:
    with opened() as cp, ThreadPoolExecutor(2) as pool:
        to = Written(cp, cp.sink("rows.txt"))
        for item, _ in cp.map(lambda item: to.sink.write(f"{item}\n"), range(ITEMS), executor=pool):
            to.log.append(item)
            to.seen.add(item)
            to.counts["all"] = to.counts.get("all", 0) + 1
            to.counts[str(item)] = {"n": item}
        to.check()


def tasks() -> None:
    async def job() -> None:
        async def work(item: int) -> None:
            to.sink.write(f"{item}\n")
            await asyncio.sleep(0)

        async with opened() as cp:
            to = Written(cp, await cp.sink("rows.txt"))
            async with contextlib.aclosing(cp.amap(work, range(ITEMS))) as results:
                async for item, _ in results:
                    to.log.append(item)
                    to.seen.add(item)
                    to.counts["all"] = to.counts.get("all", 0) + 1
                    to.counts[str(item)] = {"n": item}
            to.check()

    asyncio.run(job())


def in_async_for() -> None:
    async def job() -> None:
        async with opened() as cp:
            to = Written(cp, await cp.sink("rows.txt"))
            async for item in cp.remaining(range(ITEMS)):
                note(to, item)
                await cp.save()
            to.check()

    asyncio.run(job())


def fetch(cursor: int | None) -> tuple[list[int], int | None]:
    first = cursor or 0
    items = list(range(first, min(first + 2, ITEMS)))
    return items, first + 2 if first + 2 < ITEMS else None


def paged() -> None:
    with opened() as cp:
        to = Written(cp, cp.sink("rows.txt"))
        for item in cp.pages(fetch):
            note(to, item)
            cp.save()
        to.check()


def paged_by_key() -> None:
    with opened() as cp:
        to = Written(cp, cp.sink("rows.txt"))
        for item in cp.pages(fetch, key=int):
            note(to, item)
        to.check()


def paged_in_async_for() -> None:
    async def job() -> None:
        async with opened() as cp:
            to = Written(cp, await cp.sink("rows.txt"))
            async for item in cp.pages(fetch):
                note(to, item)
                await cp.save()
            to.check()

    asyncio.run(job())


def with_effects() -> None:
    with opened() as cp:
        to = Written(cp, cp.sink("rows.txt"))
        for item in cp.remaining(range(ITEMS)):
            to.counts["all"] = to.counts["all"] if item else 0
            note(to, cp.once(item, lambda item=item: item))
        to.check()


JOBS = [
    paged,
    paged_by_key,
    paged_in_async_for,
    with_effects,
    loop,
    by_key,
    nested,
    ticks,
    retried,
    mapped,
    threads,
    tasks,
    in_async_for,
]


class Lines:
    """Counts the lines of this file that run, and raises an error at one of them."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.count = 0
        self._fails_at = fails_at

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename != __file__ or frame.f_code.co_name in ("check", "opened", "__init__"):
            return None
        head = linecache.getline(__file__, frame.f_lineno).lstrip()
        # These are passed once more after what they hold, and then do nothing of their own.
        if event == "line" and not head.startswith(("for ", "async for ", "with ", "async with ")):
            self.count += 1
            if self.count == self._fails_at:
                raise UnexpectedError
        return self


def run(job: Callable[[], None], fails_at: int | None = None) -> int:
    lines, before = Lines(fails_at), sys.gettrace()
    sys.settrace(lines)
    try:
        job()
    finally:
        sys.settrace(before)
    return lines.count


def test_an_error_at_any_line_leaves_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    tried = twice = lost = 0
    with disk.without_syncs():
        for job in JOBS:
            place = tmp_path / job.__name__
            place.mkdir()
            monkeypatch.chdir(place)
            for number in range(1, run(job) + 1, STEP):
                here = place / str(number)
                here.mkdir()
                monkeypatch.chdir(here)
                with contextlib.suppress(UnexpectedError):
                    run(job, number)
                if Path("ck").is_dir() and any(Path("ck").iterdir()):
                    run(job)
                rows = Counter(Path("rows.txt").read_text().split()) if Path("rows.txt").exists() else Counter()
                tried += 1
                twice += sum(count - 1 for count in rows.values())
                lost += ITEMS - len(rows) if rows else 0
    figure("errors at every line of a body", tried, f"rows twice {twice}, rows lost {lost}")
    assert (twice, lost) == (0, 0)
    assert tried > 100
