"""Executors: given or made by a factory, of threads or of processes."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import Any

import loky
import pytest

from resumable import (
    Checkpoint,
    checkpointed,
    every,
)
from resumable import current_checkpoint as current
from resumable.testing import MemoryStore

EACH = every(items=1)


def die_at(poison: tuple[int, ...], number: int) -> int:
    if number in poison:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@contextlib.contextmanager
def opened(store: Any, strategy: Any = EACH, **options: Any) -> Iterator[Checkpoint]:
    with checkpointed("squares", strategy, store=store, **options) as cp:
        yield cp


def test_without_a_factory_a_broken_pool_is_told_with_the_way_out(store: MemoryStore) -> None:
    with (
        ProcessPoolExecutor(1) as pool,
        pytest.raises(BrokenExecutor) as caught,
        opened(store) as cp,
    ):
        list(cp.map(partial(die_at, (3,)), range(6), executor=pool))
    assert any("give a factory" in note for note in caught.value.__notes__)


class Counts:
    """How often it was called, this very object."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, number: int) -> int:
        self.calls += 1
        return self.calls


@pytest.mark.parametrize("pool", [ProcessPoolExecutor, loky.ProcessPoolExecutor], ids=["processes", "loky"])
def test_worker_processes_are_sent_the_function_once(pool: Any, store: MemoryStore) -> None:
    """What it holds, such as a client's open connections, serves all items of a worker."""
    with opened(store) as cp:
        found = sorted(result for _, result in cp.map(Counts(), range(9), executor=partial(pool, 1)))
    assert found == list(range(1, 10))


@pytest.mark.parametrize("pool", [ProcessPoolExecutor, partial(ProcessPoolExecutor, 1)], ids=["type", "factory"])
def test_a_function_that_does_not_pickle_is_told_at_once_and_blamed_on_no_item(pool: Any, store: MemoryStore) -> None:
    with opened(store) as cp:
        with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
            list(cp.map(lambda number: number, range(9), executor=pool, on_error="skip"))
        assert cp.failed == {}
        cp.finalize()


def test_threads_of_the_pool_run_each_item_in_a_copy_of_the_loops_context(store: MemoryStore) -> None:
    name: ContextVar[str] = ContextVar("name", default="nobody")

    def work(number: int) -> str:
        before = name.get()
        name.set(f"item {number}")
        return before

    name.set("the loop's")
    with opened(store) as cp:
        found = {result for _, result in cp.map(work, range(9), executor=partial(ThreadPoolExecutor, 2))}
    assert found == {"the loop's"}
    assert name.get() == "the loop's"


def test_threads_of_the_pool_know_the_checkpoint(store: MemoryStore) -> None:
    with opened(store) as cp:
        found = [
            result for _, result in cp.map(lambda _: current() is cp, range(9), executor=partial(ThreadPoolExecutor, 3))
        ]
    assert found == [True] * 9
