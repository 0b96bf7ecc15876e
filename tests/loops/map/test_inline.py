"""What a map refuses at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from resumable import (
    Checkpoint,
    checkpointed,
    every,
)
from resumable.testing import MemoryStore

EACH = every(items=1)


def square(number: int) -> int:
    return number * number


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@contextlib.contextmanager
def opened(store: Any, strategy: Any = EACH, **options: Any) -> Iterator[Checkpoint]:
    with checkpointed("squares", strategy, store=store, **options) as cp:
        yield cp


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({"max_in_flight": 0}, ValueError, id="no window"),
        pytest.param({"max_in_flight": 1.5}, TypeError, id="half a task"),
        pytest.param({"retry": 3}, TypeError, id="a number for a policy"),
        pytest.param({"batch": 0}, ValueError, id="empty batch"),
        pytest.param({"max_crashes": 0}, ValueError, id="no crashes"),
        pytest.param({"on_error": "ignore"}, ValueError, id="unknown policy"),
        pytest.param({"executor": 3}, TypeError, id="no executor"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, Any], error: type[Exception], store: MemoryStore) -> None:
    with opened(store) as cp, pytest.raises(error):
        cp.map(square, range(3), **options)


def test_an_async_function_is_sent_to_amap(store: MemoryStore) -> None:
    async def work(number: int) -> int:
        return number

    with opened(store) as cp, pytest.raises(TypeError, match="amap"):
        cp.map(work, range(3))
