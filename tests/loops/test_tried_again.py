"""``resumable retry-failed`` on a run that works: its loops try again what has failed, before they are at their end."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every
from resumable._engine.presence import Control
from resumable._loops import remaining as remaining_module
from resumable._report import presence
from resumable._report.wishes import ask
from resumable.stores import MemoryStore
from tests.support import stores

BAD = frozenset({2, 5, 7})
SMALL, LARGE = 9, 200


class Work:
    """Does items, of which the bad ones fail the first time; before the last one, somebody asks to try them again."""

    def __init__(self, store: MemoryStore, heard: threading.Event, items: int, *, fails_twice: bool = False) -> None:
        self.store, self.tried = store, Counter[int]()
        self._heard, self._last, self._fails_twice = heard, items - 1, fails_twice

    def __call__(self, item: int) -> bool:
        """Whether it went well."""
        self.tried[item] += 1
        if item == self._last and self.tried[item] == 1:
            ask(self.store, "job", "retry-failed")
            assert self._heard.wait(60)
        return item not in BAD or (self.tried[item] > 1 and not self._fails_twice)

    def do(self, item: int) -> None:
        """Raise ValueError if it does not go well."""
        if not self(item):
            raise ValueError(item)


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a run has heard that it is to try again."""
    event, try_again = threading.Event(), Control.try_failed_again

    def noting(run: Control) -> None:
        try_again(run)
        event.set()

    monkeypatch.setenv("RESUMABLE_INDEX", str(tmp_path / "state"))
    monkeypatch.setattr(presence, "_BEAT_SECONDS", 0.02)
    monkeypatch.setattr(presence, "_EARLY", 0.0)
    monkeypatch.setattr(Control, "try_failed_again", noting)
    return event


def loop(work: Work, items: Iterable[int], **options: Any) -> None:
    with checkpointed("job", every(hours=1), store=work.store) as cp:
        cp.save()
        for item in cp.remaining(items, **options):
            if not work(item):
                cp.fail(item, "no")


async def loop_async(work: Work, items: Iterable[int], **options: Any) -> None:
    async with checkpointed("job", every(hours=1), store=work.store) as cp:
        await cp.save()
        async for item in cp.remaining(items, **options):
            if not await asyncio.to_thread(work, item):
                cp.fail(item, "no")


def in_map(work: Work, items: Iterable[int], **options: Any) -> None:
    with checkpointed("job", every(hours=1), store=work.store) as cp:
        cp.save()
        for _ in cp.map(work.do, items, on_error="skip", **options):
            pass


def in_threads(work: Work, items: Iterable[int], **options: Any) -> None:
    with ThreadPoolExecutor(3) as pool:
        in_map(work, items, executor=pool, **options)


async def in_tasks(work: Work, items: Iterable[int], **options: Any) -> None:
    async with checkpointed("job", every(hours=1), store=work.store) as cp:
        await cp.save()
        async for _ in cp.amap(lambda item: asyncio.to_thread(work.do, item), items, on_error="skip", **options):
            pass


def run(way: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    done = way(*arguments, **options)
    if done is not None:
        asyncio.run(done)


WAYS = {"loop": loop, "async loop": loop_async, "map": in_map, "threads": in_threads, "tasks": in_tasks}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
by_key = pytest.mark.parametrize("options", [{}, {"key": lambda item: item}], ids=["by position", "by key"])


@each_way
@by_key
@pytest.mark.parametrize("count", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.slow
def test_what_has_failed_is_tried_again_once_before_the_end(
    way: Callable[..., Any], options: dict[str, Any], count: int, heard: threading.Event
) -> None:
    work = Work(MemoryStore(), heard, count)
    run(way, work, list(range(count)), **options)

    assert work.tried == Counter(range(count)) + Counter(BAD)
    assert stores.document(work.store, "job") is None
    assert work.store.wish("job") is None


def test_so_in_interpreters_without_a_gil(heard: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remaining_module, "has_gil", lambda: False)
    work = Work(MemoryStore(), heard, LARGE)
    loop(work, list(range(LARGE)))

    assert work.tried == Counter(range(LARGE)) + Counter(BAD)
    assert stores.document(work.store, "job") is None


@each_way
def test_what_fails_again_waits_to_be_asked_for_again(way: Callable[..., Any], heard: threading.Event) -> None:
    work = Work(MemoryStore(), heard, LARGE, fails_twice=True)
    run(way, work, list(range(LARGE)))
    assert work.tried == Counter(range(LARGE)) + Counter(BAD)
    assert work.store.wish("job") is None

    run(way, work, list(range(LARGE)))
    assert work.tried == Counter(range(LARGE)) + Counter(BAD)

    ask(work.store, "job", "retry-failed")
    run(way, work, list(range(LARGE)))
    assert work.tried == Counter(range(LARGE)) + Counter(BAD) + Counter(BAD)


@pytest.mark.parametrize("count", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("leaves_by", ["error", "break"])
def test_a_run_that_ends_within_it_leaves_the_rest_to_the_next(
    heard: threading.Event, count: int, leaves_by: str
) -> None:
    work = Work(MemoryStore(), heard, count)

    def until_the_second() -> None:
        with checkpointed("job", every(hours=1), store=work.store) as cp:
            cp.save()
            for item in cp.remaining(list(range(count))):
                is_good = work(item)
                if item == 5 and work.tried[5] == 2:
                    if leaves_by == "break":
                        break
                    raise OSError("killed")
                if not is_good:
                    cp.fail(item, "no")

    if leaves_by == "error":
        with pytest.raises(OSError, match="killed"):
            until_the_second()
    else:
        until_the_second()
    loop(work, list(range(count)))

    assert work.tried == Counter(range(count)) + Counter(BAD) + Counter({5: 1})
    assert stores.document(work.store, "job") is None


@pytest.mark.parametrize("way", [loop, in_map, in_threads], ids=["loop", "map", "threads"])
def test_an_input_that_can_only_be_gone_through_leaves_them_to_the_next_run(
    way: Callable[..., Any], heard: threading.Event
) -> None:
    work = Work(MemoryStore(), heard, LARGE)
    run(way, work, iter(range(LARGE)))
    assert work.tried == Counter(range(LARGE))
    assert work.store.wish("job") is not None

    run(way, work, iter(range(LARGE)))
    assert work.tried == Counter(range(LARGE)) + Counter(BAD)
    assert stores.document(work.store, "job") is None
    assert work.store.wish("job") is None


def test_an_item_that_is_tried_again_is_the_one_that_loops_inside_belong_to(heard: threading.Event) -> None:
    work, inner = Work(MemoryStore(), heard, SMALL), Counter[tuple[int, int]]()
    with checkpointed("job", every(items=1), store=work.store) as cp:
        for item in cp.remaining(list(range(SMALL))):
            for part in cp.remaining(list(range(3))):
                inner[item, part] += 1
            if not work(item):
                cp.fail(item, "no")

    assert work.tried == Counter(range(SMALL)) + Counter(BAD)
    assert {inner[item, part] for item in BAD for part in range(3)} == {2}


@pytest.mark.parametrize("is_map", [False, True], ids=["loop", "map"])
@pytest.mark.parametrize("count", [SMALL, LARGE], ids=["small", "large"])
def test_what_has_failed_in_a_loop_inside_of_a_done_item_is_left_to_the_next_run(
    heard: threading.Event, is_map: bool, count: int
) -> None:
    """No other item of that loop is done twice for it."""
    store, outer, inner = MemoryStore(), Counter[int](), Counter[tuple[int, int]]()

    def run() -> None:
        def body(item: int) -> None:
            outer[item] += 1
            for part in cp.remaining(list(range(3)), name="inner"):
                inner[item, part] += 1
                if item in BAD and part == 1 and inner[item, part] == 1:
                    cp.fail(part, "no")
            if item == count - 1 and outer[item] == 1:
                ask(store, "job", "retry-failed")
                assert heard.wait(60)

        with checkpointed("job", every(hours=1), store=store) as cp:
            cp.save()
            if is_map:
                for _ in cp.map(body, list(range(count)), name="outer"):
                    pass
            else:
                for item in cp.remaining(list(range(count)), name="outer"):
                    body(item)

    run()
    assert set(inner.values()) == {1}
    assert store.wish("job") is not None
    run()
    assert {where: times for where, times in inner.items() if times > 1} == {(item, 1): 2 for item in BAD}
    assert stores.document(store, "job") is None


def test_a_map_tries_again_what_an_earlier_run_gave_up_before_it_comes_to_it(heard: threading.Event) -> None:
    """By key, the input has not been gone through so far: the item is no second one of its key."""
    work = Work(MemoryStore(), heard, LARGE, fails_twice=True)
    heard.set()
    in_map(work, list(range(10)), key=str, name="map")  # ends without being asked
    heard.clear()

    tried: list[int] = []

    def do(item: int) -> int:
        tried.append(item)
        if item == 100:
            ask(work.store, "job", "retry-failed")
            assert heard.wait(60)
        return item

    with checkpointed("job", every(hours=1), store=work.store) as cp:
        cp.save()
        for _ in cp.map(do, list(range(LARGE - 1, -1, -1)), key=str, on_error="skip", name="map"):
            pass
    assert Counter(tried) == Counter(BAD) + Counter(range(10, LARGE))
    assert stores.document(work.store, "job") is None
