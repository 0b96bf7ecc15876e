"""``remaining(limit=n)``: at most n items a run, and the next run goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resumable import AsyncCheckpoint, Checkpoint, checkpointed, every
from resumable.testing import MemoryStore
from tests.support.loops import FakeOwner, both_ways, loop_over, stepping

__all__ = ["stepping"]  # a fixture


def generated() -> Iterator[int]:
    yield from range(7)


INPUTS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "list": (lambda: list(range(7)), {}),
    "generator": (generated, {}),
    "by key": (lambda: list(range(7)), {"key": str}),
    "a generator by key": (generated, {"key": str}),
    "full": (lambda: list(range(7)), {"fingerprint": "full"}),
    "not compared": (generated, {"fingerprint": None}),
}


def runs_until_gone(store: MemoryStore, run: Callable[[Checkpoint], None]) -> int:
    """Run until the checkpoint is removed; how many runs that took."""
    for number in range(1, 30):
        with checkpointed("job", store=store) as cp:
            run(cp)
        if not list(store.list()):
            return number
    raise AssertionError("it never ends")


@both_ways
@pytest.mark.parametrize("kind", INPUTS)
def test_each_run_does_as_many_items_as_it_may(kind: str) -> None:
    store, (make, options), done = MemoryStore(), INPUTS[kind], list[list[int]]()

    def run(cp: Checkpoint) -> None:
        done.append(list(cp.remaining(make(), limit=3, **options)))

    runs_until_gone(store, run)

    assert [one for one in done if one] == [[0, 1, 2], [3, 4, 5], [6]]


@both_ways
def test_a_limit_that_is_never_reached_changes_nothing() -> None:
    store = MemoryStore()

    assert runs_until_gone(store, lambda cp: print(list(cp.remaining([1, 2, 3], limit=4)))) == 1
    assert runs_until_gone(store, lambda cp: print(list(cp.remaining([1, 2, 3], limit=3)))) == 1


@both_ways
def test_it_ends_without_another_item_being_taken_from_the_input() -> None:
    taken = []

    def pages() -> Iterator[int]:
        for page in range(9):
            taken.append(page)
            yield page

    with checkpointed("job", store=MemoryStore()) as cp:
        loop = cp.remaining(pages(), limit=2)
        assert [*loop] == [0, 1]
        assert [*loop] == []

    assert taken == [0, 1]


def test_a_line_says_so_and_how_to_go_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with checkpointed("job", store=MemoryStore()) as cp:
        for _ in cp.remaining(range(5000), limit=1200):
            pass

    assert caplog.messages[-1] == "job: limit of 1,200 items reached; run it again to go on"


@both_ways
def test_the_loops_around_stop_at_their_items_which_are_not_done(tmp_path: Path) -> None:
    """If the outer item counted, the rest of the inner loop would never be done."""
    done: list[tuple[str, int]] = []

    def run(cp: Checkpoint) -> None:
        sink = cp.sink(tmp_path / "out.txt")
        for name in cp.remaining(["a", "b", "c"]):
            for number in cp.remaining(range(5), limit=2):
                done.append((name, number))
            sink.write(f"{name} is through\n")

    store = MemoryStore()
    assert runs_until_gone(store, run) == 7
    assert done == [(name, number) for name in "abc" for number in range(5)]
    assert (tmp_path / "out.txt").read_text() == "a is through\nb is through\nc is through\n"


@both_ways
def test_an_outer_loop_counts_its_own_items() -> None:
    done: list[tuple[str, int]] = []

    def run(cp: Checkpoint) -> None:
        for name in cp.remaining(["a", "b", "c"], limit=2):
            done.extend((name, number) for number in cp.remaining(range(5)))

    assert runs_until_gone(MemoryStore(), run) == 2
    assert len(done) == len(set(done)) == 15


@both_ways
def test_loops_after_it_are_not_inside_it() -> None:
    seen: list[int] = []

    def run(cp: Checkpoint) -> None:
        kept = iter(cp.remaining(range(4), limit=2))
        seen.extend(kept)
        seen.extend(cp.remaining([10, 11]))

    assert runs_until_gone(MemoryStore(), run) == 2
    assert sorted(seen) == [0, 1, 2, 3, 10, 11]


def test_an_error_behind_the_limit_keeps_what_was_done() -> None:
    store, seen = MemoryStore(), list[int]()
    for _ in range(2):
        with contextlib.suppress(ZeroDivisionError), checkpointed("job", every(hours=9), store=store) as cp:
            seen.extend(cp.remaining(range(4), limit=2))
            raise ZeroDivisionError

    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("options", [{}, {"key": str}])
def test_async(options: dict[str, Any]) -> None:
    store, done = MemoryStore(), list[tuple[str, int]]()

    async def run(cp: AsyncCheckpoint) -> None:
        async for name in cp.remaining(["a", "b"], **options):
            loop = cp.remaining(range(5), limit=2, **options)
            async for number in loop:
                done.append((name, number))
            async for _ in loop:
                raise AssertionError("it gives out nothing more")

    async def main() -> None:
        for _ in range(20):
            async with checkpointed("job", store=store) as cp:
                await run(cp)
            if not list(store.list()):
                return

    asyncio.run(main())
    assert done == [(name, number) for name in "ab" for number in range(5)]


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), (2.5, TypeError)])
def test_what_is_no_limit_is_refused(limit: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="limit must be"):
        loop_over([1], FakeOwner(), limit=limit)


def test_inside_a_map_it_is_refused() -> None:
    """The map's item would count as done, and the rest of the inner loop would never be."""
    with checkpointed("job", store=MemoryStore()) as cp:
        with pytest.raises(ValueError, match="inside a map"):
            list(cp.map(lambda item: list(cp.remaining([1, 2], limit=1)), [1, 2]))
        with pytest.raises(ValueError, match="inside a map"):  # noqa: PT012
            for _ in cp.map(abs, [1, 2]):
                list(cp.remaining([1, 2], limit=1))
        cp.finalize()
