"""Calls in workers: errors that do not pickle, and quotas that come back."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
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
from resumable._loops.map.calls import MappedFunction, call_remotely
from resumable.testing import MemoryStore

EACH = every(items=1)


def unpicklable_error(number: int) -> int:
    if number == 3:
        error = ValueError("three")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error
    return number


def sees_quota(number: int) -> int:
    reset = str(int(time.time()) + 3600)
    left = str(90 - number)
    current().observe({"x-ratelimit-limit": "100", "x-ratelimit-remaining": left, "x-ratelimit-reset": reset})
    return number


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@contextlib.contextmanager
def opened(store: Any, strategy: Any = EACH, **options: Any) -> Iterator[Checkpoint]:
    with checkpointed("squares", strategy, store=store, **options) as cp:
        yield cp


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("pool", [ProcessPoolExecutor, loky.ProcessPoolExecutor], ids=["processes", "loky"])
def test_an_error_that_does_not_pickle_costs_no_other_item(pool: Any, batch: int, store: MemoryStore) -> None:
    """A worker of loky's dies of it."""
    with opened(store) as cp:
        found = dict(cp.map(unpicklable_error, range(8), executor=partial(pool, 1), on_error="collect", batch=batch))
    assert {item: str(result) for item, result in found.items() if isinstance(result, Exception)} == {
        3: "ValueError: three"
    }


def test_an_error_that_stands_in_for_one_that_does_not_pickle_has_it_not_as_its_context() -> None:
    """Picklers that take along what an error came of, as tblib's does, would fail again."""
    with pytest.raises(RuntimeError, match="ValueError: three") as caught:
        call_remotely(MappedFunction(unpicklable_error), 3)

    assert caught.value.__context__ is None


def test_interrupts_of_the_worker_are_no_error_of_the_item(store: MemoryStore) -> None:
    def interrupt(number: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), opened(store) as cp:
        list(cp.map(interrupt, range(3), executor=partial(ThreadPoolExecutor, 1), on_error="skip"))
    with opened(store) as cp:
        assert cp.failed == {}


def test_what_a_worker_process_sees_of_the_quota_is_known_here(store: MemoryStore) -> None:
    with opened(store) as cp:
        list(cp.map(sees_quota, range(8), executor=partial(ProcessPoolExecutor, 2)))
        assert cp.metadata.rate_limit_remaining == 83
    with opened(store) as cp:
        list(cp.map(sees_quota, range(20), executor=partial(ProcessPoolExecutor, 2), batch=5))
        assert cp.metadata.rate_limit_remaining == 71
