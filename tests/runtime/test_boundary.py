"""What threads and tasks of a map write is there once in the end, whatever fails, and whenever the program dies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every

PROGRAM = """
import asyncio, os, random, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from resumable import checkpointed, every

way, number, is_last = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "last"
chance = random.Random(number)

def write(item, part):
    sink.write(f"{item} {part}\\n")
    log.append([item, part])
    seen.add(f"{item} {part}")
    counts[str(item)] = counts.get(str(item), 0) + 1
    counts["latest"] = item
    if not is_last and chance.random() < 0.03:
        raise ValueError(item)

def work(item):
    parts = cp.remaining(range(3), name=f"parts of {item}") if item % 2 else range(3)
    for part in parts:
        write(item, part)
        time.sleep(chance.random() / 500)
    return item

async def work_async(item):
    for part in range(3):
        write(item, part)
        await asyncio.sleep(chance.random() / 500)
    return item

def note(item):
    got[str(item)] = got.get(str(item), 0) + 1
    sink.write(f"{item} body\\n")

def plain():
    global cp, sink, log, seen, counts, got
    with checkpointed("job", every(items=3), store="ck") as cp, ThreadPoolExecutor(4) as pool:
        sink, log, seen = cp.sink("rows"), cp.log("log"), cp.set("seen")
        counts, got = cp.mapping("counts"), cp.mapping("got")
        options = {"on_error": "skip", "retry_failed": is_last, "max_in_flight": 6}
        for item, _ in cp.map(work, range(60), executor=pool, **options):
            note(item)
        if is_last:
            print_all()

async def tasks():
    global cp, sink, log, seen, counts, got
    async with checkpointed("job", every(items=3), store="ck") as cp:
        sink, log, seen = await cp.sink("rows"), cp.log("log"), cp.set("seen")
        counts, got = cp.mapping("counts"), cp.mapping("got")
        async for item, _ in cp.amap(
            work_async, range(60), on_error="skip", retry_failed=is_last, max_in_flight=6
        ):
            note(item)
        if is_last:
            print_all()

def print_all():
    import json
    print(json.dumps([dict(counts), dict(got), sorted(seen), sorted(log)]))

if not is_last:
    threading.Timer(0.05 + 0.1 * chance.random(), os.kill, (os.getpid(), signal.SIGKILL)).start()
plain() if way == "threads" else asyncio.run(tasks())
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["threads", "tasks"])
@pytest.mark.parametrize("seed", range(3))
def test_after_kills_and_errors_all_is_there_once(way: str, seed: int, tmp_path: Path) -> None:
    def run(number: int, which: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, way, str(number), which]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    for number in range(4):
        killed = run(10 * seed + number, "killed")
        assert killed.returncode in (0, -signal.SIGKILL), killed.stderr
    last = run(10 * seed + 9, "last")

    assert last.returncode == 0, last.stderr
    counts, got, seen, log = json.loads(last.stdout)
    assert counts.pop("latest") in range(60)
    assert counts == {str(item): 3 for item in range(60)}
    assert got == {str(item): 1 for item in range(60)}
    assert log == [[item, part] for item in range(60) for part in range(3)]
    assert seen == sorted(f"{item} {part}" for item in range(60) for part in range(3))
    rows = sorted((tmp_path / "rows").read_text().splitlines())
    assert rows == sorted(f"{item} {part}" for item in range(60) for part in [0, 1, 2, "body"])


def opened(directory: Path) -> checkpointed:
    return checkpointed("job", every(hours=1), store=directory)


def state(cp: Any) -> tuple[dict[str, Any], set[Any]]:
    return dict(cp.mapping("pages")), set(cp.set("seen"))


def test_a_save_within_a_workers_item_leaves_out_what_it_wrote(tmp_path: Path) -> None:
    has_written, may_end = threading.Event(), threading.Event()

    def work(item: int) -> None:
        pages[str(item)] = item
        seen.add(item)
        if item == 1:
            has_written.set()
            may_end.wait(60)

    with opened(tmp_path) as cp, ThreadPoolExecutor(2) as pool:
        pages, seen = cp.mapping("pages"), cp.set("seen")
        for _ in cp.map(work, range(2), executor=pool):
            if not may_end.is_set():
                has_written.wait(60)
                assert state(cp) == ({"0": 0, "1": 1}, {0, 1})
                cp.save()
                (tmp_path / "copy").mkdir()
                for file in tmp_path.glob(".checkpoint_job.*"):
                    if file.suffix in (".json", ".journal"):
                        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
                may_end.set()
        cp.keep()
    with opened(tmp_path / "copy") as cp:
        assert state(cp) == ({}, set())
        cp.keep()
    with opened(tmp_path) as cp:
        assert state(cp) == ({"0": 0, "1": 1}, {0, 1})


def test_what_a_worker_wrote_whose_item_failed_is_taken_back(tmp_path: Path) -> None:
    def work(item: int) -> None:
        pages[f"{item}"] = item
        pages["latest"] = item
        seen.add(item)
        if item == 2:
            raise ValueError

    with opened(tmp_path) as cp, ThreadPoolExecutor(1) as pool:
        pages, seen = cp.mapping("pages"), cp.set("seen")
        for _ in cp.map(work, range(3), executor=pool, on_error="skip"):
            pass
        assert state(cp) == ({"0": 0, "1": 1, "latest": 1}, {0, 1})
    with opened(tmp_path) as cp:
        assert state(cp) == ({"0": 0, "1": 1, "latest": 1}, {0, 1})


def test_a_loop_within_a_workers_item_does_not_count_items_of_the_body(tmp_path: Path) -> None:
    """Its items go on while a body is half-way: a save then holds nothing that the body wrote."""

    def work(item: int) -> int:
        for _ in cp.remaining(range(50)):
            time.sleep(0.001)
        return item

    def run(fails_at: int | None) -> None:
        for item, _ in cp.map(work, range(12), executor=pool):
            log.append([item, "begins"])
            time.sleep(0.01)
            if item == fails_at:
                raise KeyError
            log.append([item, "ends"])

    for fails_at in (2, 7):
        with pytest.raises(KeyError), opened(tmp_path) as cp, ThreadPoolExecutor(4) as pool:  # noqa: PT012
            log = cp.log("log")
            run(fails_at)
    with opened(tmp_path) as cp, ThreadPoolExecutor(4) as pool:
        log = cp.log("log")
        run(None)
        assert sorted(log) == [[item, which] for item in range(12) for which in ("begins", "ends")]
