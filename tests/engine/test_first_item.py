"""A program that ticks is stopped in its first item: what set it up counts, what the item wrote does not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from resumable import Checkpoint, DurableDict, checkpointed, every, resumable
from tests.support.budget import cost_of

Stop = Callable[[str], None]
LINKS = {"/": ["/a", "/b"], "/a": ["/c", "/"], "/b": ["/c"], "/c": []}


class StoppedError(Exception):
    """Ends a run."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(**options: Any) -> Any:
    return checkpointed("job", every(items=1), **options)


def with_settings(stop: Stop) -> Any:
    with opened() as cp:
        rows, log = cp.sink("rows.txt"), cp.log("log")
        cp.state.setdefault("settings", {"depth": 3})
        stop("set up")
        for item in range(cp.processed_items, 3):
            stop("begin")
            rows.write(f"{item}\n")
            log.append(item)
            stop("end")
            cp.tick()
        return list(log)


def with_a_counter_of_runs(stop: Stop) -> Any:
    with opened() as cp:
        rows = cp.sink("rows.txt")
        cp.state["runs"] = cp.state.get("runs", 0) + 1
        stop("set up")
        for item in range(cp.processed_items, 3):
            stop("begin")
            rows.write(f"{item}\n")
            stop("end")
            cp.tick()


def crawl(stop: Stop, cp: Checkpoint, *, is_new: bool, set_up: Callable[[], None]) -> Any:
    queue, found, rows = cp.mapping("queue"), cp.mapping("found"), cp.sink("rows.txt")
    if is_new:
        set_up()
    stop("set up")
    while queue:
        url = next(iter(queue))
        depth = queue.pop(url)
        stop("begin")
        rows.write(f"{url}\n")
        found[url] = depth
        for link in LINKS[url]:
            if link not in found and link not in queue:
                queue[link] = depth + 1
        stop("end")
        cp.tick()
    return dict(found)


def if_not_resumed(stop: Stop) -> Any:
    with opened() as cp:

        def set_up() -> None:
            cp.mapping("queue")["/"] = 0
            cp.state["number"] = 0

        return crawl(stop, cp, is_new=not cp.resumed, set_up=set_up)


def if_not_resumed_with_settings(stop: Stop) -> Any:
    with opened() as cp:

        def set_up() -> None:
            cp.state["settings"] = {"depth": 3}
            cp.mapping("queue")["/"] = 0

        return crawl(stop, cp, is_new=not cp.resumed, set_up=set_up)


def if_the_state_is_new(stop: Stop) -> Any:
    with opened() as cp:

        def set_up() -> None:
            cp.state["errors"] = []
            cp.mapping("queue")["/"] = 0

        return crawl(stop, cp, is_new="errors" not in cp.state, set_up=set_up)


def if_the_queue_is_empty(stop: Stop) -> Any:
    with opened() as cp:
        queue, found = cp.mapping("queue"), cp.mapping("found")
        return crawl(stop, cp, is_new=not queue and not found, set_up=lambda: queue.update({"/": 0}))


@dataclass
class State:
    rate: float = 0.5
    names: list[str] = field(default_factory=lambda: ["a"])
    queue: DurableDict[int] = field(default_factory=DurableDict)
    found: DurableDict[int] = field(default_factory=DurableDict)


def typed_if_not_resumed(stop: Stop) -> Any:
    with opened(state=State) as cp:
        return crawl(stop, cp, is_new=not cp.resumed, set_up=lambda: cp.mapping("queue").update({"/": 0}))


def typed_with_settings(stop: Stop) -> Any:
    with opened(state=State) as cp:

        def set_up() -> None:
            cp.state.rate = 0.25
            cp.mapping("queue")["/"] = 0

        return crawl(stop, cp, is_new=cp.state.rate != 0.25, set_up=set_up)


def in_a_function(stop: Stop) -> Any:
    @resumable(operation_id="job", strategy=every(items=1))
    def job(cp: Checkpoint) -> Any:
        rows = cp.sink("rows.txt")
        if "head" not in cp.state:
            rows.write("head\n")
            cp.state["head"] = True
        stop("set up")
        for item in range(cp.processed_items, 3):
            step(cp, rows, item)
        return cp.state

    def step(cp: Checkpoint, rows: Any, item: int) -> None:
        stop("begin")
        rows.write(f"{item}\n")
        stop("end")
        cp.tick()

    return job()


def in_async_code(stop: Stop) -> Any:
    async def job() -> Any:
        async with opened() as cp:
            rows, log = await cp.sink("rows.txt"), cp.log("log")
            cp.state.setdefault("settings", {"depth": 3})
            stop("set up")
            for item in range(cp.processed_items, 3):
                stop("begin")
                rows.write(f"{item}\n")
                log.append(item)
                await asyncio.sleep(0)
                stop("end")
                await cp.tick()
            return list(log)

    return asyncio.run(job())


JOBS = [
    with_settings,
    with_a_counter_of_runs,
    if_not_resumed,
    if_not_resumed_with_settings,
    if_the_state_is_new,
    if_the_queue_is_empty,
    typed_if_not_resumed,
    typed_with_settings,
    in_a_function,
    in_async_code,
]
PLACES = [["set up"], ["begin"], ["end"], ["end", "set up", "end"], ["begin", "end"]]


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_a_first_item_that_is_stopped_is_done_again_after_the_set_up(
    job: Callable[[Stop], Any], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job(lambda place: None)
    rows = Path("rows.txt").read_text()

    for places in PLACES:
        folder = here / "-".join(places)
        folder.mkdir()
        monkeypatch.chdir(folder)
        for where in places:

            def stop(place: str, where: str = where) -> None:
                if place == where:
                    raise StoppedError

            with contextlib.suppress(StoppedError):
                job(stop)
                pytest.fail("it must stop")

        assert (job(lambda place: None), Path("rows.txt").read_text()) == (whole, rows), places


def test_writes_are_looked_at_until_the_first_item_has_begun() -> None:
    with opened() as cp:
        queue, log = cp.mapping("queue"), cp.log("log")
        boundary = queue.boundary
        queue["/"] = 0
        assert boundary.look is not None
        for item in range(3):
            log.append(item)
            assert boundary.look is None
            cp.tick()
        cp.set("more").add(1)
        assert boundary.look is None


def test_without_a_loop_that_ticks_only_the_first_writes_are_looked_at() -> None:
    with opened() as cp:
        log = cp.log("log")
        for item in range(2000):
            log.append(item)
        assert log.boundary.look is None


def fill(queue: DurableDict[int], first: int) -> None:
    for number in range(first, first + 20):
        queue[f"{number}"] = number


def test_a_write_of_the_set_up_searches_the_program_once() -> None:
    with opened() as cp:
        queue = cp.mapping("queue")
        writes = partial(fill, queue)
        first, later = (cost_of(partial(writes, number)).calls for number in (0, 100))
        assert later < first / 4
        while queue:
            queue.popitem()
            cp.tick()


def tick_later(cp: Checkpoint) -> None:
    cp.tick()


def test_a_function_that_ticks_may_be_imported_after_the_first_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(globals(), "tick_later")
    with opened() as cp:
        log = cp.log("log")
        for number in range(3):
            log.append(number)
        assert log.boundary.look is not None
        monkeypatch.undo()
        for item in range(3):
            log.append(item)
            assert log.boundary.look is None
            tick_later(cp)
