"""What a loop's body puts into variables of the program is warned of, where it is missing in the results."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every

ANEW = "lacks what earlier runs put into it"
AHEAD = "the loop only collects its items"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened() -> Any:
    return checkpointed("job", every(items=1))


def a_list(stops_at: int | None) -> Any:
    with opened() as cp:
        results = []
        for item in cp.remaining(range(5)):
            results.append(item * 2)
            if item == stops_at:
                raise LookupError
        return results


def a_sum(stops_at: int | None) -> Any:
    with opened() as cp:
        results = 0
        for item in cp.remaining(iter(range(5))):
            if item == stops_at:
                raise LookupError
            results += item
    return results


def a_counter(stops_at: int | None) -> Any:
    results: Counter[int] = Counter()
    with opened() as cp:
        for _, item in cp.remaining(enumerate(range(5))):
            results[item % 2] += 1
            if item == stops_at:
                raise LookupError
    return results


def of_a_map(stops_at: int | None) -> Any:
    results = {}
    with opened() as cp:
        for item, double in cp.map(lambda item: item * 2, range(5)):
            results[item] = double
            if item == stops_at:
                raise LookupError
    return results


def of_an_async_loop(stops_at: int | None) -> Any:
    async def job() -> Any:
        async with opened() as cp:
            results = []
            async for item in cp.remaining(range(5)):
                await asyncio.sleep(0)
                results.append(item)
                if item == stops_at:
                    raise LookupError
        return results

    return asyncio.run(job())


def of_an_async_map(stops_at: int | None) -> Any:
    async def job() -> Any:
        async with opened() as cp:
            results = set()
            async for item, _ in cp.amap(asyncio.sleep, [0, 0, 0, 0, 0.001]):
                results.add(item)
                if stops_at is not None and item == 0.001:
                    raise LookupError
        return results

    return asyncio.run(job())


@pytest.mark.parametrize("job", [a_list, a_sum, a_counter, of_a_map, of_an_async_loop, of_an_async_map])
def test_results_of_earlier_runs_that_are_missing(job: Callable[[int | None], Any], caplog: Any) -> None:
    with contextlib.suppress(LookupError):
        job(3)
    assert ANEW not in caplog.text
    job(None)

    assert f"'results' {ANEW}" in caplog.text


def only_looked_at_on_the_way(stops_at: int | None) -> None:
    count, failed = 0, []
    with opened() as cp:
        for item in cp.remaining(range(5)):
            count += 1
            if count % 2:
                failed.append(item)
            if item == stops_at:
                raise LookupError


def kept_in_the_state(stops_at: int | None) -> Any:
    with opened() as cp:
        odd = cp.state.setdefault("odd", [])
        for item in cp.remaining(range(5)):
            if item > 3:
                odd.append(item)
            if item == stops_at:
                raise LookupError
        return len(odd)


def in_a_collection(stops_at: int | None) -> Any:
    with opened() as cp:
        rows, sizes = cp.log("rows"), cp.mapping("sizes")
        for item in cp.remaining(range(5)):
            text = ""
            text += str(item)
            rows.append(text)
            sizes[text] = 1
            if item == stops_at:
                raise LookupError
        return len(rows), len(sizes)


def beside_a_count_in_a_list(stops_at: int | None) -> None:
    """The item of the outer loop, 0 at first, is no number that the body adds to."""
    count = [0]
    with opened() as cp:
        for item in cp.remaining(range(5)):
            for part in cp.remaining(range(2)):
                count[0] += item + part
                if part == 1 and stops_at is not None:
                    raise LookupError
            cp.set("done").add(item)


@pytest.mark.parametrize(
    "job", [only_looked_at_on_the_way, kept_in_the_state, in_a_collection, beside_a_count_in_a_list]
)
def test_what_is_not_missing(job: Callable[[int | None], Any], caplog: Any) -> None:
    with contextlib.suppress(LookupError):
        job(3)
    job(None)

    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_generator_that_gathers_items_ahead_of_the_work(caplog: Any) -> None:
    def chunks(cp: Any) -> Iterator[list[int]]:
        chunk = []
        for item in cp.remaining(range(5)):
            chunk.append(item)
            if len(chunk) == 2:
                yield chunk
                chunk = []
        yield chunk

    with opened() as cp:
        assert list(chunks(cp)) == [[0, 1], [2, 3], [4]]

    assert f"{AHEAD} in 'chunk'" in caplog.text


def test_a_list_of_items_that_is_made_ahead_of_the_work(caplog: Any) -> None:
    with checkpointed("other") as cp:
        todo = []
        for item in cp.remaining(range(5)):
            todo.append(item)
        assert len(todo) == 5

    assert f"{AHEAD} in 'todo'" in caplog.text


def test_a_list_in_the_state_may_gather_items(caplog: Any) -> None:
    with checkpointed("another") as cp:
        done = cp.state.setdefault("done", [])
        for item in cp.remaining(range(5)):
            done.append(item)
        assert len(done) == 5

    assert caplog.text == ""
