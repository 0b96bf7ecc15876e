"""Many new records are taken at the end of each item, so that no save makes the loop stand still for long."""

from __future__ import annotations

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import resumable
from resumable import checkpointed, every
from resumable._durable import aliases
from resumable._engine import ahead


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "MANY", 50)
    monkeypatch.setattr(ahead, "MANY", 50)


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """How many records waited after each time that some were taken."""
    seen: list[list[int]] = []
    take = ahead.take_ahead

    def noting(parts: Any, *more: Any) -> None:
        take(parts, *more)
        seen.append([one.waiting for one in parts.cut.boundary.writers])

    monkeypatch.setattr("resumable._engine.operation.take_ahead", noting)
    return seen


def record(number: int) -> dict[str, Any]:
    return {"number": number, "tags": ["a"]}


def fill(cp: Any, kind: str, numbers: range) -> None:
    if kind == "mapping":
        cp.mapping("m").update({f"k{number}": record(number) for number in numbers})
    else:
        cp.log("m").extend([record(number) for number in numbers])


def stored(directory: Path, name: str = "m") -> Any:
    return json.loads(json.dumps(resumable.read("job", store=directory).state[name]))


def expected(kind: str, count: int) -> Any:
    entries = [record(number) for number in range(count)]
    return {f"k{number}": entry for number, entry in enumerate(entries)} if kind == "mapping" else entries


@pytest.mark.parametrize("kind", ["mapping", "log"])
def test_what_one_item_wrote_is_taken_at_the_end_of_the_next_ones(
    kind: str, tmp_path: Path, takes: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_AT_ONCE", -1.0)  # one piece at each item's end
    with suppress(ZeroDivisionError), checkpointed("job", every(items=100), store=tmp_path) as cp:
        for item in cp.remaining(range(20)):
            if item == 2:
                fill(cp, kind, range(230))
            if item == 12:
                fill(cp, kind, range(230, 240))
                raise ZeroDivisionError

    left = [waiting[0] for waiting in takes]
    assert left[0] == 180
    assert left == sorted(left, reverse=True)  # a sample in between takes all at once
    assert left[-1] < 50
    assert stored(tmp_path) == expected(kind, 230)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mapping", "log"])
@pytest.mark.parametrize("by_tick", [False, True])
def test_small_writes_are_taken_after_some_time(
    kind: str, by_tick: bool, tmp_path: Path, takes: list[list[int]]
) -> None:
    number = 0
    with checkpointed("job", every(hours=1), store=tmp_path) as cp:
        for number in itertools.count() if by_tick else cp.remaining(itertools.count()):
            fill(cp, kind, range(number, number + 1))
            if by_tick:
                cp.tick()
            if takes and number > 100:
                break
        cp.keep()
    assert stored(tmp_path) == expected(kind, number + by_tick)  # a loop that is left does its item again


def test_records_of_an_unfinished_item_are_not_taken(tmp_path: Path) -> None:
    """Between two ticks lies one item."""
    with suppress(ZeroDivisionError), checkpointed("job", every(hours=1), store=tmp_path) as cp:
        rows = cp.log("m")
        rows.extend([record(number) for number in range(10)])
        cp.tick()
        rows.extend([record(number) for number in range(10, 200)])
        operation: Any = cp._operation
        ahead.take_ahead(operation.parts, operation.session, operation.clock)
        raise ZeroDivisionError

    assert stored(tmp_path) == expected("log", 10)


@pytest.mark.parametrize("kind", ["mapping", "log"])
def test_workers_of_a_map_write_many_records(kind: str, tmp_path: Path, takes: list[list[int]]) -> None:
    lock = threading.Lock()

    with checkpointed("job", every(items=7), store=tmp_path) as cp:
        collection: Any = cp.mapping("m") if kind == "mapping" else cp.log("m")

        def work(item: int) -> int:
            some = range(item * 60, item * 60 + 60)
            with lock:
                if kind == "mapping":
                    collection.update({f"k{number}": record(number) for number in some})
                else:
                    collection.extend([record(number) for number in some])
            return item

        with ThreadPoolExecutor(3) as pool:
            for _ in cp.map(work, range(30), executor=pool):
                pass
        cp.keep()

    found = stored(tmp_path)
    assert takes
    if kind == "mapping":
        assert found == expected(kind, 1800)
    else:
        assert sorted(one["number"] for one in found) == list(range(1800))
