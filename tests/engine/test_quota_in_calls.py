"""Loops and pages inside the calls of a map wait for a quota by themselves; the map waits only with none in flight."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from resumable import AsyncCheckpoint, Checkpoint, CheckpointManager, RateLimitExhausted, checkpointed, every
from resumable.testing import ManualClock, MemoryStore

NAMES = ["a", "b", "c"]


class Server:
    """Gives 4 answers in each 5 seconds, in pages of one item, and refuses the rest."""

    def __init__(self, clock: ManualClock) -> None:
        self.refused = self.asked = 0
        self._clock, self._lock = clock, threading.Lock()
        self._used, self._window = 0, -1

    def answer(self, number: int = 0) -> Any:
        now = int(self._clock.utc().timestamp())
        with self._lock:
            if now // 5 != self._window:
                self._used, self._window = 0, now // 5
            self._used += 1
            self.asked += 1
            is_refused = self._used > 4
            self.refused += is_refused
            left = max(0, 4 - self._used)
        reset = (now // 5 + 1) * 5
        headers = {"X-RateLimit-Limit": "4", "X-RateLimit-Remaining": str(left), "X-RateLimit-Reset": str(reset)}
        if number < 4:
            headers["Link"] = f'<https://api.example/{number + 1}>; rel="next"'
        status = 429 if is_refused else 200
        return SimpleNamespace(
            status_code=status,
            headers=headers,
            url="https://api.example/",
            json=lambda: [number],
            raise_for_status=fail,
        )


def fail() -> None:
    raise ConnectionError("429")


@pytest.fixture
def manager(clock: ManualClock) -> CheckpointManager:
    return CheckpointManager(store=MemoryStore(), clock=clock, save_strategy=every(hours=1000))


def page(cursor: str | None, server: Server) -> Any:
    return server.answer(int(cursor.rpartition("/")[2]) if cursor else 0)


def fetched(cp: Checkpoint, server: Server, name: str, *, by_page: bool) -> list[int]:
    if by_page:
        return list(cp.pages(lambda cursor: page(cursor, server), name=f"pages of {name}"))
    numbers = []
    for number in cp.remaining(range(5), name=f"numbers of {name}"):
        cp.observe(server.answer())
        numbers.append(number)
    return numbers


async def fetched_async(cp: AsyncCheckpoint, server: Server, name: str, *, by_page: bool) -> list[int]:
    async def fetch(cursor: str | None) -> Any:
        await asyncio.sleep(0)
        return page(cursor, server)

    if by_page:
        return [number async for number in cp.pages(fetch, name=f"pages of {name}")]
    numbers = []
    async for number in cp.remaining(range(5), name=f"numbers of {name}"):
        await asyncio.sleep(0)
        cp.observe(server.answer())
        numbers.append(number)
    return numbers


@pytest.mark.parametrize("by_page", [False, True], ids=["loop", "pages"])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_call_waits_between_its_requests(
    workers: int, by_page: bool, manager: CheckpointManager, clock: ManualClock
) -> None:
    server, got = Server(clock), dict[str, list[int]]()
    with checkpointed("job", manager=manager) as cp:
        executor = (lambda: ThreadPoolExecutor(workers)) if workers else None
        for name, numbers in cp.map(lambda name: fetched(cp, server, name, by_page=by_page), NAMES, executor=executor):
            got[name] = numbers

    assert got == {name: list(range(5)) for name in NAMES}
    # Each window may end with a request of each other worker on its way.
    assert server.refused <= max(workers - 1, 0) * 4


@pytest.mark.parametrize("by_page", [False, True], ids=["loop", "pages"])
@pytest.mark.parametrize("tasks", [1, 3])
def test_a_task_waits_between_its_requests(
    tasks: int, by_page: bool, manager: CheckpointManager, clock: ManualClock
) -> None:
    server, got = Server(clock), dict[str, list[int]]()

    async def job() -> None:
        async with checkpointed("job", manager=manager) as cp:

            async def call(name: str) -> list[int]:
                return await fetched_async(cp, server, name, by_page=by_page)

            async for name, numbers in cp.amap(call, NAMES, max_in_flight=tasks):
                got[name] = numbers

    asyncio.run(job())

    assert got == {name: list(range(5)) for name in NAMES}
    assert server.refused <= (tasks - 1) * 4


def test_what_a_call_would_wait_for_is_raised_where_that_is_wanted(
    manager: CheckpointManager, clock: ManualClock
) -> None:
    server = Server(clock)
    with pytest.raises(RateLimitExhausted), checkpointed("job", manager=manager, on_exhausted="raise") as cp:
        for _ in cp.map(
            lambda name: fetched(cp, server, name, by_page=False), NAMES, executor=lambda: ThreadPoolExecutor(1)
        ):
            pass
    assert server.asked == 4


def test_a_host_that_the_program_waits_for_itself_is_left_to_it(manager: CheckpointManager, clock: ManualClock) -> None:
    began = clock.now()
    with checkpointed("job", manager=manager) as cp:

        def call(name: str) -> int:
            cp.wait_for("other.example")
            cp.observe(remaining=0, limit=9, reset_at=clock.utc().timestamp() + 10, host="other.example")
            return sum(cp.remaining(range(5), name=f"numbers of {name}"))

        assert [number for _, number in cp.map(call, ["a"], executor=lambda: ThreadPoolExecutor(1))] == [10]
    assert clock.now() - began < 5
