"""Small loops that follow one another: none takes another's place, whatever comes in between, and each costs little."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import tenacity

from resumable import Checkpoint, InputChangedError, checkpointed, every
from resumable.testing import MemoryStore

Did = Callable[..., None]
OUTER = 12


class Stop(Exception):
    """Ends a run."""


def two_callers(cp: Checkpoint, did: Did) -> None:
    def work(*what: Any) -> None:
        for item in cp.remaining((1, 2)):
            did(*what, item)

    for number in cp.remaining(range(OUTER)):
        work(number, "first")
        if number % 3:
            work(number, "second")


def two_functions(cp: Checkpoint, did: Did) -> None:
    def one(number: int) -> None:
        for item in cp.remaining((1, 2)):
            did("one", number, item)

    def other(number: int) -> None:
        for item in cp.remaining((3, 4)):
            did("other", number, item)

    for number in range(OUTER):
        one(number)
        other(number)


def several_in_an_item(cp: Checkpoint, did: Did) -> None:
    for number in cp.remaining(range(OUTER)):
        for again in range(number % 5):
            for item in cp.remaining((1, 2)):
                did(number, again, item)
        for item in cp.remaining([number]):
            did(number, item)


def large_ones_between(cp: Checkpoint, did: Did) -> None:
    for number in cp.remaining(range(OUTER)):
        for item in cp.remaining((1, 2)):
            did(number, item)
        for item in cp.remaining(range(70 if number % 4 == 3 else 0)):
            did(number, "large", item)
        for item in cp.remaining((5, 6), name="named"):
            did(number, "named", item)


def records(cp: Checkpoint, did: Did) -> None:
    for number in range(OUTER):
        for record in cp.remaining([{"id": number}, {"id": number + 1}]):
            record["done"] = True
            did(number, record["id"])


def a_recursion(cp: Checkpoint, did: Did, depth: int = 0) -> None:
    for item in cp.remaining((1, 2)):
        if depth < 3:
            a_recursion(cp, lambda *what, item=item: did(item, *what), depth + 1)
        did(depth, item)


def small_in_small(cp: Checkpoint, did: Did) -> None:
    for number in range(OUTER):
        for middle in cp.remaining(("a", "b")):
            for item in cp.remaining((1, 2), key=str):
                did(number, middle, item)


PROGRAMS = [two_callers, two_functions, several_in_an_item, large_ones_between, records, a_recursion, small_in_small]


def run_once(program: Callable[..., None], store: Any, stop_at: int | None, strategy: Any = None) -> list[Any]:
    done: list[Any] = []

    def did(*what: Any) -> None:
        if len(done) == stop_at:
            raise Stop
        done.append(what)

    with contextlib.suppress(Stop), checkpointed("job", strategy, store=store, auto_cleanup=False) as cp:
        program(cp, did)
    return done


@pytest.mark.parametrize("program", PROGRAMS)
def test_cut_off_anywhere_each_item_is_done_once(program: Callable[..., None]) -> None:
    whole = run_once(program, MemoryStore(), None)
    for stop_at in range(0, len(whole), max(1, len(whole) // 7)):
        store = MemoryStore()
        first = run_once(program, store, stop_at)
        middle = run_once(program, store, 5, every(items=1))
        rest = run_once(program, store, None)
        assert first + middle + rest == whole, stop_at
        assert run_once(program, store, None) == []


def test_records_that_are_others_in_the_next_run_are_seen() -> None:
    def program(cp: Checkpoint, first: int) -> None:
        for number in range(20):
            for record in cp.remaining([{"id": number + first}, {"id": number}]):
                if number == 15 and record["id"] == 15 and not first:
                    raise Stop

    store = MemoryStore()
    with contextlib.suppress(Stop), checkpointed("job", store=store) as cp:
        program(cp, 0)
    with pytest.raises(InputChangedError), checkpointed("job", store=store) as cp:
        program(cp, 100)


def test_records_that_cannot_be_compared_are_refused_as_in_any_loop() -> None:
    with checkpointed("job", store=MemoryStore()) as cp:
        for number in range(9):
            items: list[Any] = [{"id": number}, object() if number == 8 else 1]
            with pytest.raises(TypeError, match="Give key=") if number == 8 else contextlib.nullcontext():
                assert len(list(cp.remaining(items))) == 2
        cp.finalize()


def calls_for_one(program: Callable[[Checkpoint], Any]) -> int:
    """How many functions of Python *program* calls, the tenth time."""
    calls: list[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            calls.append(frame.f_code.co_qualname)

    with checkpointed("job", every(hours=1), store=MemoryStore()) as cp:
        for number in cp.remaining(range(80)):
            if number == 70:
                sys.setprofile(note)
            program(cp)
            if number == 70:
                sys.setprofile(None)
        cp.finalize()
    return len(calls)


def test_a_small_loop_takes_few_calls() -> None:
    """It took 46; of several in an item, 240 each, and with records 260."""

    def one(cp: Checkpoint) -> None:
        for _ in cp.remaining((1, 2, 3)):
            pass

    def several(cp: Checkpoint) -> None:
        for _ in range(4):
            one(cp)

    def of_records(cp: Checkpoint) -> None:
        for _ in cp.remaining([{"id": 1}, {"id": 2}]):
            pass

    def never_begun(cp: Checkpoint) -> None:
        for _ in range(4):
            cp.remaining((1, 2, 3))

    assert calls_for_one(one) < 17
    assert calls_for_one(several) < 4 * 17
    assert calls_for_one(of_records) < 60
    assert calls_for_one(never_begun) < 4 * 34


def test_what_is_saved_of_several_loops_in_an_item_does_not_grow() -> None:
    sizes = []
    for many in (5, 200):
        store = MemoryStore()
        with contextlib.suppress(Stop), checkpointed("job", every(hours=1), store=store) as cp:
            for _ in cp.remaining(range(3)):
                for _ in range(many):
                    for _ in cp.remaining((1, 2, 3)):
                        pass
            raise Stop
        stored = store.read("job")
        assert stored is not None
        sizes.append(len(stored.snapshot))

    assert all(after < before + 300 for before, after in pairwise(sizes))


@pytest.mark.parametrize("fails_at", [(4, 0, 2), (5, 1, 1), (6, 2, 3), (7, 0, 1)])
def test_a_retry_in_a_later_item_goes_on_with_the_runs_of_that_item(fails_at: tuple[int, int, int]) -> None:
    """The runs of the item before were counted, too: items were left out, and others done twice."""
    done: list[tuple[int, int, int]] = []
    to_fail = [fails_at]
    with checkpointed("job", store=MemoryStore()) as cp:
        for number in cp.remaining(range(8)):
            for attempt in cp.retrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none()):
                with attempt:
                    for again in range(number % 4 + 1):
                        for item in cp.remaining((1, 2, 3)):
                            if (number, again, item) in to_fail:
                                to_fail.clear()
                                raise ValueError
                            done.append((number, again, item))

    assert done == [
        (number, again, item) for number in range(8) for again in range(number % 4 + 1) for item in (1, 2, 3)
    ]
