"""Sources to loop over, and an owner that a test can steer."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import strategies as st

from resumable._loops.loop import Loop
from resumable._loops.remaining import Remaining, remaining
from resumable._runtime.boundary import Boundary
from resumable._runtime.interpreter import has_gil

FOREVER = 10**18


class FakeOwner:
    """Lets *step* items pass between two check-ins, and does *then* at each."""

    operation_id = "crawl"

    def __init__(self, step: int = FOREVER, then: Callable[[], None] = lambda: None) -> None:
        self.step = step
        self.then = then
        self.live: list[Loop[Any]] = []
        self.check_ins = 0
        self.boundary = Boundary()

    def check_in(self) -> int:
        self.check_ins += 1
        self.then()
        return self.step

    def register(self, loop: Loop[Any]) -> None:
        self.live.append(loop)

    def unregister(self, loop: Loop[Any]) -> None:
        assert loop.is_finished
        self.live.remove(loop)


@pytest.fixture(params=["in C", "no GIL"])
def stepping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no GIL":
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)


class AsyncFakeOwner(FakeOwner):
    """A fake owner for async loops."""

    async def check_in(self) -> int:  # type: ignore[override]
        return super().check_in()


both_ways = pytest.mark.usefixtures("stepping")
in_c = pytest.mark.skipif(not has_gil(), reason="without a GIL, each item is a step in Python")


def loop_over(items: Iterable[Any], owner: FakeOwner | None = None, **options: Any) -> Remaining[Any]:
    return remaining(items, owner or FakeOwner(), name="loop", **options)


def saved(loop: Loop[Any]) -> dict[str, Any]:
    """The saved form, as it comes back from a file."""
    return json.loads(json.dumps(loop.to_dict()))


class Numbers:
    """An iterable with an iterator in Python, as a paginated source has."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return NumbersIterator(self.count)


class NumbersIterator:
    def __init__(self, count: int) -> None:
        self.numbers = iter(range(count))

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        return next(self.numbers)


SOURCES: dict[str, Callable[[int], Iterable[int]]] = {
    "list": lambda count: list(range(count)),
    "tuple": lambda count: tuple(range(count)),
    "range": range,
    "dict": lambda count: dict.fromkeys(range(count)),
    "values": lambda count: {str(number): number for number in range(count)}.values(),
    "deque": lambda count: deque(range(count)),
    "generator": lambda count: (number for number in range(count)),
    "map": lambda count: map(int, range(count)),
    "iterator": lambda count: iter(range(count)),
    "own class": Numbers,
}

sources = st.sampled_from(sorted(SOURCES))


def stopped_at(stop: int, items: Iterable[Any], **options: Any) -> dict[str, Any]:
    loop = loop_over(items, **options)
    for number, _ in enumerate(loop):
        if number == stop:
            break
    return saved(loop)


def end_item(cp: Any) -> None:
    """What was written until now belongs to done items, whether or not the program ticks after it."""
    cp._operation.parts.cut.boundary.move()
