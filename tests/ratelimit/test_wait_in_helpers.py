"""Retries of a helper's own, within a checkpoint's block: a save before a long wait, and a sleep that can be ended."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tenacity

from resumable import Checkpoint, checkpointed, every, wait_rate_limit
from resumable._retry import retrying
from resumable.testing import FaultyStore, MemoryStore
from tests.support.stores import DictStore


class Refused(Exception):
    """What a client raises, with its response."""

    def __init__(self, seconds: int) -> None:
        self.status = 429
        self.headers = {"Retry-After": str(seconds)}


class Server:
    """Refuses once."""

    def __init__(self, seconds: int = 600) -> None:
        self.seconds = seconds
        self.asked = 0

    def ask(self) -> None:
        self.asked += 1
        if self.asked == 1:
            raise Refused(self.seconds)


@pytest.fixture
def store() -> DictStore:
    return DictStore()


@pytest.fixture
def cp(store: DictStore) -> Iterator[Checkpoint]:
    with checkpointed("job", every(hours=1), store=store) as cp:
        cp.tick()
        yield cp


def saves_before(sleep_seconds: int, store: Any) -> list[int]:
    """How many checkpoints there are when tenacity sleeps."""
    seen: list[int] = []
    policy = tenacity.Retrying(wait=wait_rate_limit(), sleep=lambda seconds: seen.append(len(list(store.keys()))))
    policy(Server(sleep_seconds).ask)
    return seen


def test_a_long_wait_is_saved_before(cp: Checkpoint, store: DictStore) -> None:
    assert saves_before(600, store) == [1]
    assert cp.metadata.last_save_reason == "Retry: Refused (attempt 2)"


def test_a_short_wait_is_not(cp: Checkpoint, store: DictStore) -> None:
    assert saves_before(1, store) == [0]


def test_without_a_checkpoint_nothing_is_saved_and_tenacitys_sleep_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    tenacity.Retrying(wait=wait_rate_limit(jitter=0))(Server().ask)

    assert slept == [pytest.approx(601, abs=30)]


def test_a_policy_of_the_library_saves_once(cp: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    retrying(cp, tenacity.Retrying(wait=wait_rate_limit()))(Server().ask)

    assert cp.metadata.save_count == 1


def test_a_save_that_fails_does_not_hide_the_refusal() -> None:
    store = FaultyStore(MemoryStore())
    policy = tenacity.Retrying(wait=wait_rate_limit(), stop=tenacity.stop_after_attempt(2), sleep=lambda seconds: None)
    with checkpointed("job", every(hours=1), store=store) as cp:
        cp.tick()
        store.fail_next("stage")
        policy(Server().ask)


def test_another_thread_asks_for_the_save(cp: Checkpoint, store: DictStore) -> None:
    from contextvars import copy_context

    thread = threading.Thread(target=copy_context().run, args=(saves_before, 600, store))
    thread.start()
    thread.join()
    assert not list(store.keys())

    cp.tick()

    assert cp.metadata.last_save_reason == "Retry: Refused (attempt 2)"


async def test_async_code_saves_while_it_sleeps(tmp_path: Path) -> None:
    async def ask() -> None:
        server.ask()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        while cp.metadata.last_save_reason != "Retry: Refused (attempt 2)":
            await asyncio.sleep(0.01)

    server, slept = Server(), list[float]()
    async with checkpointed("job", every(hours=1), store=tmp_path) as cp:
        await cp.tick()
        await tenacity.AsyncRetrying(wait=wait_rate_limit(), sleep=sleep)(ask)

    assert len(slept) == 1


@pytest.mark.parametrize("wait", [wait_rate_limit(), tenacity.wait_fixed(600)], ids=["ours", "tenacity's"])
def test_a_signal_ends_the_sleep(wait: Any, tmp_path: Path) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    with checkpointed("job", every(hours=1), store=tmp_path) as cp:
        cp.tick()
        timer.start()
        with pytest.raises(SystemExit) as caught:
            tenacity.Retrying(wait=wait)(Server().ask)
        timer.join()
    assert caught.value.code == 143


def test_a_sleep_follows_the_wall_clock(cp: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop that was suspended: the monotonic clock stood still."""
    naps: list[float] = []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 300 * len(naps))
    monkeypatch.setattr(time, "sleep", naps.append)

    tenacity.Retrying(wait=wait_rate_limit(jitter=0))(Server().ask)

    assert len(naps) == 3


def mapped(how: str, wait: Any, cp: Checkpoint, fn: Any, pool: ThreadPoolExecutor) -> list[Any]:
    """The results of *fn* for two items in threads, tried again by the map's policy or by one of the function's own."""
    policy = tenacity.Retrying(wait=wait, before_sleep=cp.before_sleep if how == "hook" else None)
    if how == "map":
        return list(cp.map(fn, range(2), executor=pool, retry=policy))
    return list(cp.map(lambda item: policy.copy()(fn, item), range(2), executor=pool))


@pytest.mark.parametrize(
    ("how", "wait"),
    [
        ("map", wait_rate_limit()),
        ("map", tenacity.wait_fixed(600)),
        ("own", wait_rate_limit()),
        ("hook", tenacity.wait_fixed(600)),
    ],
)
def test_a_stop_ends_the_sleep_of_a_mapped_call(how: str, wait: Any, store: DictStore) -> None:
    """A pool waits for its threads at its end: a sleep of an hour would keep the program for that long."""

    def ask(item: int) -> None:
        cp.stop()
        raise Refused(600)

    with (
        pytest.raises(SystemExit),
        checkpointed("job", every(hours=1), store=store) as cp,
        ThreadPoolExecutor(2) as pool,
    ):
        mapped(how, wait, cp, ask, pool)

    with checkpointed("job", store=store) as cp, ThreadPoolExecutor(2) as pool:
        assert not cp.failed
        assert len(mapped(how, wait, cp, str, pool)) == 2


def test_a_sleep_that_ends_within_the_grace_of_a_stop_goes_on(store: DictStore) -> None:
    asked: list[int] = []

    def ask(item: int) -> int:
        asked.append(item)
        if asked.count(item) == 1:
            while len(asked) < 2:
                time.sleep(0.001)
            cp.stop()
            raise Refused(0)
        return item

    with (
        pytest.raises(SystemExit),
        checkpointed("job", every(hours=1), store=store) as cp,
        ThreadPoolExecutor(2) as pool,
    ):
        mapped("map", tenacity.wait_fixed(0.2), cp, ask, pool)

    with checkpointed("job", store=store) as cp, ThreadPoolExecutor(2) as pool:
        assert mapped("map", tenacity.wait_fixed(0.2), cp, ask, pool) == []
