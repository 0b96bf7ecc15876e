"""Small loops that follow one another, of which nobody is told: whoever looks sees the newest, and none is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, finalize

import pytest

from resumable import Checkpoint, checkpointed, every
from resumable._loops.sites import Site
from resumable.testing import FaultyStore, MemoryStore

Items = list[tuple[int, ...]]
Key = Callable[[Any], str] | None


class Stop(Exception):
    """Ends a run."""


def in_a_row(cp: Checkpoint, did: Callable[..., None], key: Key) -> None:
    for number in range(80):
        for item in cp.remaining((1, 2), key=key):
            did(number, item)


def once_in_each_item(cp: Checkpoint, did: Callable[..., None], key: Key) -> None:
    for number in cp.remaining(range(9)):
        for item in cp.remaining([number, 2, 3], key=key):
            did(number, item)


def several_in_each_item(cp: Checkpoint, did: Callable[..., None], key: Key) -> None:
    for number in cp.remaining(range(5)):
        for again in range(6):
            for item in cp.remaining(range(3), key=key):
                did(number, again, item)


def of_a_map(cp: Checkpoint, did: Callable[..., None], key: Key) -> None:
    for number, _ in cp.map(abs, range(9)):
        for again in range(3):
            for item in cp.remaining((1, 2), key=key):
                did(number, again, item)


def three_deep(cp: Checkpoint, did: Callable[..., None], key: Key) -> None:
    for number in cp.remaining(range(4), name="outer"):
        for middle in cp.remaining(range(6)):
            for item in cp.remaining((1, 2), key=key):
                did(number, middle, item)


PROGRAMS = [in_a_row, once_in_each_item, several_in_each_item, of_a_map, three_deep]


def run(
    program: Callable[..., None],
    store: Any,
    stop_at: int | None = None,
    *,
    key: Key = None,
    look: Callable[[Checkpoint], object] = lambda cp: None,
    is_killed: bool = False,
) -> Items:
    """The items that one run does. If it is killed, its last save is made inside the item at which it ends."""
    done: Items = []

    def did(*what: int) -> None:
        if len(done) == stop_at:
            if is_killed:
                cp.save()
                store.fail_next("write", times=99)
            raise Stop
        look(cp)
        done.append(what)

    with contextlib.suppress(Stop), checkpointed("job", every(hours=1), store=store, auto_cleanup=False) as cp:
        program(cp, did, key)
    return done


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("key", [None, str], ids=["by position", "by key"])
def test_each_item_is_done_once_wherever_the_runs_before_ended(program: Callable[..., None], key: Key) -> None:
    """Where a loop goes on in a saved item, its place cannot serve the next one: runs there got a wrong number."""
    whole = run(program, MemoryStore(), key=key)

    for first, second, is_killed in product((1, 9, 14), (2, 15), (True, False)):
        memory = MemoryStore()
        done = run(program, FaultyStore(memory), first, key=key, is_killed=is_killed)
        done += run(program, FaultyStore(memory), second, key=key, is_killed=is_killed)
        done += run(program, memory, key=key)
        assert done == whole, (first, second, is_killed)
        assert run(program, memory, key=key) == []


def left_in_a_row(cp: Checkpoint, did: Callable[..., None], key: Key) -> None:
    for number in range(80):
        for item in cp.remaining((1, 2, 3), key=key):
            did(number, item)
            if item > number % 4:
                break


def left_in_items(cp: Checkpoint, did: Callable[..., None], key: Key) -> None:
    for number in cp.remaining(range(7)):
        for again in range(5):
            for item in cp.remaining([number, 8, 9], key=key):
                did(number, again, item)
                if again % 3 == 1:
                    break


def left_by_errors(cp: Checkpoint, did: Callable[..., None], key: Key) -> None:
    for number in range(30):
        with contextlib.suppress(ZeroDivisionError):
            for item in cp.remaining((1, 2, 3), key=key):
                did(number, item)
                1 / ((number + item) % 4)


def left_and_held(cp: Checkpoint, did: Callable[..., None], key: Key) -> None:
    held = []
    for number in range(30):
        loop = cp.remaining((1, 2, 3), key=key)
        for item in loop:
            did(number, item)
            if number % 2:
                break
        if number % 3:
            held.append(loop)
        if number % 7 == 6 and not held[-1].is_compacted:
            for item in held[-1]:
                did(number, item, "held")


def asked_for_in_vain(cp: Checkpoint, did: Callable[..., None], key: Key) -> None:
    for number in range(40):
        loop = cp.remaining((number, 2), key=key)
        if number % 3:
            for item in loop:
                did(number, item)


LEFT = [left_in_a_row, left_in_items, left_by_errors, left_and_held, asked_for_in_vain]


def nobody_is_forgotten(cp: Checkpoint) -> None:
    """Each loop is told of."""
    cp._operation.parts.loops.small.end_streaks()


@pytest.mark.slow
@pytest.mark.parametrize("program", LEFT)
@pytest.mark.parametrize("key", [None, str], ids=["by position", "by key"])
def test_loops_that_are_left_go_on_wherever_each_of_them_would(program: Callable[..., None], key: Key) -> None:
    def three_runs(look: Callable[[Checkpoint], object]) -> list[Items]:
        memory = MemoryStore()
        one = run(program, FaultyStore(memory), first, key=key, is_killed=is_killed, look=look)
        two = run(program, FaultyStore(memory), second, key=key, is_killed=is_killed, look=look)
        return [one, two, run(program, memory, key=key, look=look)]

    for first, second, is_killed in product((1, 9, 14, 70), (2, 15, 33), (True, False)):
        each = three_runs(nobody_is_forgotten)
        assert three_runs(lambda cp: None) == each, (first, second, is_killed)
        assert three_runs(lambda cp: cp.processed_items % 3 or cp.save()) == each, (first, second, is_killed)


@pytest.mark.parametrize("program", [*PROGRAMS, *LEFT])
def test_whoever_looks_changes_nothing_and_sees_every_item(program: Callable[..., None]) -> None:
    seen: list[list[int]] = []
    for look_at in (range(0), range(3, 400, 7), range(400)):
        counts: list[int] = []

        def look(cp: Checkpoint, look_at: range = look_at, counts: list[int] = counts) -> None:
            counts.append(cp.processed_items if len(counts) in look_at else -1)

        run(program, MemoryStore(), look=look)
        seen.append([count for count in counts if count >= 0])
    assert seen[0] == []
    assert seen[1] == seen[2][3::7]
    assert seen[2] == sorted(seen[2])


def test_a_loop_that_the_program_holds_is_not_touched_by_those_that_follow() -> None:
    held = []
    with checkpointed("job", store=MemoryStore()) as cp:
        for number in cp.remaining(range(12)):
            loop = cp.remaining([number] * (number % 3 + 1))
            assert list(loop) == [number] * (number % 3 + 1)
            held.append(loop)
        assert [(one.position, one.total, len(one), one.is_finished) for one in held] == [
            (number % 3 + 1, number % 3 + 1, 0, True) for number in range(12)
        ]
        assert [list(one) for one in held] == [[]] * 12


def test_nothing_that_the_program_hangs_on_a_loop_is_found_at_a_later_one() -> None:
    """A loop once took over the object of an earlier one, with its attributes and the weak references to it."""
    known: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
    ended: list[int] = []
    with checkpointed("job", store=MemoryStore()) as cp:
        for number in range(40):
            loop: Any = cp.remaining((1, 2, 3))
            assert loop not in known
            assert not hasattr(loop, "mine")
            known[loop] = loop.mine = number
            finalize(loop, ended.append, number)
            assert list(loop) == [1, 2, 3]
    assert len(ended) > 30


@pytest.mark.parametrize("opens_at", [0, 4, 9, 15])
def test_a_file_that_is_opened_between_small_loops_gets_each_row_once(opens_at: int, tmp_path: Path) -> None:
    def program(stop_at: int) -> None:
        with contextlib.suppress(Stop), checkpointed("job", every(hours=1), store=store) as cp:
            for number in cp.remaining(range(20)):
                for item in cp.remaining((1, 2, 3)):
                    if number >= opens_at:
                        sink = cp.sink(tmp_path / "rows.txt")
                    if number * 3 + item == stop_at:
                        raise Stop
                    if number >= opens_at:
                        sink.write(f"{number} {item}\n")

    store = MemoryStore()
    for stop_at in (17, 40, -1):
        program(stop_at)
    rows = [f"{number} {item}" for number in range(opens_at, 20) for item in (1, 2, 3)]
    assert (tmp_path / "rows.txt").read_text().splitlines() == rows


def test_an_item_that_fails_in_a_small_loop_is_noted_there() -> None:
    with checkpointed("job", store=MemoryStore()) as cp:
        for number in cp.remaining(range(12), name="outer"):
            for item in cp.remaining(("a", "b"), name="inner"):
                if (number, item) == (9, "b"):
                    cp.fail(item, "no")
        assert list(cp.failed) == [1]
        assert cp._operation.parts.failed.holders("outer") == {9}
        cp.finalize()


def test_a_save_while_the_next_run_takes_the_view_can_be_read() -> None:
    """The run was named that had just been compacted, and the whole checkpoint was refused."""
    site = Site("=rows")
    site.compacted = 7

    assert site.identity(None, 7).run == 8
    assert site.identity(None, 8).run == 8
    site.left[7] = 2
    assert site.identity(None, 7).run == 7
