"""A body that hands its items on is warned of in the first run: after a kill they would be missing."""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from resumable import checkpointed

TOLD = "the loop hands its items on by"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def to_a_pool() -> None:
    with checkpointed("to a pool") as cp, ThreadPoolExecutor(2) as pool:
        for item in cp.remaining(range(5)):
            pool.submit(str, item)


def to_a_queue() -> None:
    todo: queue.Queue[int] = queue.Queue()
    with checkpointed("to a queue") as cp:
        for item in cp.remaining(range(5)):
            todo.put(item)


def to_threads() -> None:
    with checkpointed("to threads") as cp:
        for item in cp.remaining(range(5)):
            Thread(target=str, args=(item,)).start()


def to_tasks() -> None:
    async def main() -> None:
        async with checkpointed("to tasks") as cp, asyncio.TaskGroup() as group:
            async for item in cp.remaining(range(5)):
                group.create_task(asyncio.sleep(0, item))

    asyncio.run(main())


@pytest.mark.parametrize("job", [to_a_pool, to_a_queue, to_threads, to_tasks])
def test_what_hands_items_on(job: Callable[[], None], caplog: Any) -> None:
    job()

    assert [TOLD in one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == [True]


def a_batch_in_a_pool() -> None:
    with checkpointed("a batch") as cp, ThreadPoolExecutor(2) as pool:
        for batch in cp.remaining([[1, 2], [3, 4]]):
            for each in as_completed([pool.submit(str, item) for item in batch]):
                assert each.result()


def a_pool_in_the_body() -> None:
    with checkpointed("a pool in the body") as cp:
        for batch in cp.remaining([[1, 2], [3, 4]]):
            with ThreadPoolExecutor(2) as pool:
                for item in batch:
                    pool.submit(str, item)


def a_task_that_is_awaited() -> None:
    async def main() -> None:
        async with checkpointed("a task") as cp:
            async for _ in cp.remaining(range(5)):
                task = asyncio.create_task(asyncio.sleep(0))
                await task

    asyncio.run(main())


def a_cache() -> None:
    class Cache:
        def put(self, item: int) -> None: ...

    cache = Cache()
    with checkpointed("a cache") as cp:
        for item in cp.remaining(range(5)):
            cache.put(item)


def a_thread_beside_the_items() -> None:
    with checkpointed("a thread beside") as cp:
        for item in cp.remaining(range(5)):
            if item == 0:
                Thread(target=str).start()


@pytest.mark.parametrize(
    "job", [a_batch_in_a_pool, a_pool_in_the_body, a_task_that_is_awaited, a_cache, a_thread_beside_the_items]
)
def test_what_waits_for_its_items(job: Callable[[], None], caplog: Any) -> None:
    job()

    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_batch_that_the_body_fills_and_empties(caplog: Any) -> None:
    batch = []
    with checkpointed("a batch of its own") as cp:
        rows = cp.log("rows")
        for item in cp.remaining(range(5)):
            batch.append(item)
            if len(batch) == 2:
                rows.append(batch)
                batch = []

    assert "the loop collects items in 'batch'" in caplog.text


@pytest.mark.parametrize(
    ("commits", "isolation", "count"),
    [(False, "", 1), (True, "", 0), (False, None, 0)],
    ids=["late", "each", "automatic"],
)
def test_rows_of_a_database_that_are_committed_after_the_loop(
    commits: bool, isolation: Any, count: int, caplog: Any
) -> None:
    database = sqlite3.connect(":memory:", isolation_level=isolation)
    cursor = database.cursor()
    cursor.execute("create table numbers (number)")
    with checkpointed(f"rows {commits} {isolation}") as cp:
        if commits:
            for item in cp.remaining(range(3)):
                with database:
                    cursor.execute("insert into numbers values (?)", (item,))
        else:
            for item in cp.remaining(range(3)):
                cursor.execute("insert into numbers values (?)", (item,))
    database.close()

    assert caplog.text.count("its body commits nothing") == count
