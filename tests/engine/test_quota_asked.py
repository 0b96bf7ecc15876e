"""Whose quota it is, and where a program waits for it: accounts, hosts, and waits before a request of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from resumable import (
    AsyncCheckpoint,
    Checkpoint,
    CheckpointManager,
    RateLimitExhausted,
    checkpointed,
    every,
)
from resumable.testing import ManualClock, MemoryStore

SLOW, FAST = "slow.example", "fast.example"


class Answer:
    """What a server says that has *left* requests left, for an hour."""

    def __init__(self, clock: ManualClock, left: int, host: str = FAST, status: int = 200, **headers: str) -> None:
        self.status_code, self.url = status, f"https://{host}/items"
        reset = str(int(clock.utc().timestamp()) + 3600)
        quota = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": str(left), "X-RateLimit-Reset": reset}
        self.headers = quota | {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture
def manager(clock: ManualClock) -> CheckpointManager:
    return CheckpointManager(store=MemoryStore(), clock=clock, save_strategy=every(hours=1000))


@pytest.fixture
def cp(manager: CheckpointManager) -> Iterator[Checkpoint]:
    with checkpointed("job", manager=manager) as cp:
        yield cp
        cp.finalize()


def waited(clock: ManualClock, cp: Checkpoint) -> float:
    """How long a check-in waits."""
    began = clock.now()
    cp.tick()
    return clock.now() - began


# -- refusals


def test_a_refusal_without_a_time_is_a_minute(cp: Checkpoint, clock: ManualClock) -> None:
    cp.observe(Answer(clock, 50, status=429))

    assert waited(clock, cp) == pytest.approx(61, abs=0.2)


def test_a_success_ends_a_refusal(cp: Checkpoint, clock: ManualClock) -> None:
    """The program has tried again itself, and sooner."""
    cp.observe(Answer(clock, 50, status=429, Retry_After="600"))
    cp.observe(Answer(clock, 49))

    assert waited(clock, cp) == 0


def test_a_success_elsewhere_does_not(cp: Checkpoint, clock: ManualClock) -> None:
    cp.observe(Answer(clock, 50, status=429, Retry_After="600"), account="A")
    cp.observe(Answer(clock, 49, SLOW), account="A")

    assert waited(clock, cp) > 600


def test_what_is_no_refusal_changes_nothing(cp: Checkpoint, clock: ManualClock) -> None:
    for status in (200, 202, 301, 404, 500, 502):
        cp.observe(Answer(clock, 50, status=status, Retry_After="600"))

    assert waited(clock, cp) == 0


class RefusesOnce:
    """A server that refuses one request, and from then on all for a second; it counts those that come too early."""

    def __init__(self) -> None:
        self.asked = self.early = 0
        self.refused_at: float | None = None

    def ask(self, item: int) -> Any:
        self.asked += 1
        now = time.monotonic()
        if self.refused_at is None and self.asked > 4:
            self.refused_at = now
            return SimpleNamespace(status_code=429, url=f"https://{FAST}/", headers={"Retry-After": "1"})
        self.early += self.refused_at is not None and now < self.refused_at + 1
        return SimpleNamespace(status_code=200, url=f"https://{FAST}/", headers={})


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_a_map_waits_though_answers_that_were_out_come_in(workers: int) -> None:
    server = RefusesOnce()

    def work(item: int) -> Any:
        answer = server.ask(item)
        time.sleep(0.02)
        return answer

    with checkpointed("job", every(hours=1), store="memory://") as cp:
        pool = ThreadPoolExecutor(workers)
        assert len(list(cp.map(work, range(30), executor=pool, max_in_flight=workers))) == 30

    assert server.early < 3 * workers  # each that was at work may begin another one before the refusal is read


@pytest.mark.slow
async def test_an_amap_waits_though_answers_that_were_out_come_in() -> None:
    server = RefusesOnce()

    async def work(item: int) -> Any:
        answer = server.ask(item)
        await asyncio.sleep(0.02)
        return answer

    async with checkpointed("job", every(hours=1), store="memory://") as cp:
        assert len([item async for item, _ in cp.amap(work, range(30), max_in_flight=4)]) == 30

    assert server.early < 12


# -- accounts


@pytest.mark.slow
def test_a_loop_waits_once_all_accounts_are_empty(cp: Checkpoint, clock: ManualClock) -> None:
    cp.observe(Answer(clock, 0), account="A")
    cp.observe(Answer(clock, 5), account="B")
    assert waited(clock, cp) == 0

    cp.observe(Answer(clock, 0), account="B")

    assert waited(clock, cp) > 3500


def test_a_token_is_neither_stored_nor_shown(manager: CheckpointManager, clock: ManualClock) -> None:
    token = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
    with checkpointed("job", manager=manager) as cp:
        cp.observe(Answer(clock, 5), account=token)
        assert cp.ready_account(FAST) == token
        cp.tick()
        cp.keep()

    assert token not in repr(manager.load_checkpoint("job"))


def test_the_account_with_quota_left_is_ready(cp: Checkpoint, clock: ManualClock) -> None:
    assert cp.ready_account(FAST) == ""
    assert cp.ready_account(FAST, ["A", "B"]) == "A"
    cp.observe(Answer(clock, 0), account="A")
    assert cp.ready_account(FAST, ["A", "B"]) == "B"
    assert cp.ready_account(f"https://{FAST}/items", ["A", "B"]) == "B"
    assert clock.now() == 1000


def test_where_none_has_any_left_the_first_is_waited_for(cp: Checkpoint, clock: ManualClock) -> None:
    cp.observe(Answer(clock, 0), account="A")
    clock.advance(600)
    cp.observe(Answer(clock, 0), account="B")

    assert cp.ready_account(FAST) == "A"
    assert clock.now() - 1000 == pytest.approx(3601, abs=1.2)


# -- hosts


@pytest.mark.slow
def test_a_host_that_the_program_asks_for_is_waited_for_there_only(cp: Checkpoint, clock: ManualClock) -> None:
    cp.observe(Answer(clock, 0, SLOW))
    cp.wait_for(host=FAST)
    assert clock.now() == 1000

    cp.wait_for(host=SLOW)

    assert clock.now() > 1000 + 3500


@pytest.mark.slow
def test_a_named_host_does_not_stop_the_work_for_another(cp: Checkpoint, clock: ManualClock) -> None:
    cp.wait_for(host=SLOW)
    cp.observe(Answer(clock, 0, SLOW))

    assert waited(clock, cp) == 0
    cp.observe(Answer(clock, 0, FAST))
    assert waited(clock, cp) > 3500, "nobody says when that one is asked"


def test_the_next_run_leaves_it_to_the_program_too(manager: CheckpointManager, clock: ManualClock) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.wait_for(host=SLOW)
        cp.observe(Answer(clock, 0, SLOW))
        cp.tick()
        cp.keep()
    began = clock.now()

    with checkpointed("job", manager=manager) as cp:
        assert clock.now() == began
        cp.wait_for(host=SLOW)
        assert clock.now() - began > 3500


def test_one_account_of_a_host(cp: Checkpoint, clock: ManualClock) -> None:
    cp.observe(Answer(clock, 0), account="A")
    cp.observe(Answer(clock, 9), account="B")

    cp.wait_for(host=FAST, account="B")
    assert clock.now() == 1000
    cp.wait_for(host=FAST, account="A")
    assert clock.now() > 1000 + 3500


def test_one_quota_of_a_host(cp: Checkpoint, clock: ManualClock) -> None:
    cp.observe(Answer(clock, 0, X_RateLimit_Resource="search"))

    cp.wait_for(host=FAST, resource="core")
    assert clock.now() == 1000
    cp.wait_for(host=FAST, resource="search")
    assert clock.now() > 1000 + 3500


# -- waits of the program's own


@pytest.mark.slow
def test_an_item_that_asks_many_times_may_wait_between(manager: CheckpointManager, clock: ManualClock) -> None:
    with checkpointed("job", manager=manager) as cp:
        for item in cp.remaining(range(2)):
            for left in (1, 0, 1):
                cp.wait_if_exhausted()
                cp.observe(Answer(clock, left))
            if item == 1:
                data = manager.load_checkpoint("job")
                assert data is not None
                assert data.metadata.processed_items == 1, "the item is not done"

    assert clock.now() - 1000 == pytest.approx(2 * 3601, abs=2)


def test_a_wait_of_the_programs_own_may_raise(manager: CheckpointManager, clock: ManualClock) -> None:
    with checkpointed("job", manager=manager, on_exhausted="raise") as cp:
        cp.observe(Answer(clock, 0))
        with pytest.raises(RateLimitExhausted):
            cp.wait_if_exhausted()


def test_a_success_that_another_thread_sees_ends_the_wait() -> None:
    with checkpointed("job", every(hours=1), store="memory://") as cp:
        cp.observe({"Retry-After": "600"})
        timer = threading.Timer(0.3, cp.observe, [{"X-RateLimit-Remaining": "5"}])
        timer.start()
        cp.wait_if_exhausted()
        timer.join()


async def test_tasks_go_on_while_one_waits() -> None:
    """It waits without its turn: others tick, save, and ask other hosts meanwhile."""
    seen: list[Any] = []

    async def wait(cp: AsyncCheckpoint) -> None:
        await cp.wait_for(host=SLOW)
        seen.append("slow")

    async with checkpointed("job", every(hours=1), store="memory://") as cp:
        clock = ManualClock()
        cp.observe(Answer(clock, 5, SLOW, status=429, Retry_After="600"))
        waiting = asyncio.create_task(wait(cp))
        await asyncio.sleep(0.05)
        for item in range(3):
            await asyncio.wait_for(cp.wait_for(host=FAST), 60)
            await asyncio.wait_for(cp.tick(), 60)
            seen.append(item)
        await asyncio.wait_for(cp.save(), 60)
        assert await cp.ready_account(FAST, ["A"]) == "A"
        cp.observe(Answer(clock, 4, SLOW))
        await asyncio.wait_for(waiting, 60)
        await cp.wait_if_exhausted()

    assert seen == [0, 1, 2, "slow"]


async def test_a_task_that_waits_can_be_cancelled() -> None:
    async with checkpointed("job", every(hours=1), store="memory://") as cp:
        await cp.wait_for(host=SLOW)
        cp.observe(Answer(ManualClock(), 5, SLOW, status=429, Retry_After="600"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cp.wait_for(host=SLOW), 0.2)
