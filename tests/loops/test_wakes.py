"""Wakes from timers and signal handlers, and counts read from there."""

from __future__ import annotations

import gc
import threading
from collections import deque
from typing import Any

import pytest

from resumable._loops.remaining import Remaining
from tests.support.interrupts import busy_switching, needs_signals, signals
from tests.support.loops import SOURCES, FakeOwner, both_ways, in_c, loop_over, saved, stepping

__all__ = ["stepping"]  # a fixture


# Wakes and reads from elsewhere


@both_ways
@pytest.mark.parametrize("source", SOURCES)
def test_a_woken_loop_checks_in_before_the_next_item(source: str) -> None:
    owner = FakeOwner()
    loop = loop_over(SOURCES[source](300), owner)
    checked_at: list[int] = []
    for item in loop:
        if item % 7 == 0:
            owner.then = lambda: checked_at.append(loop.done())
            loop.wake()
        else:
            owner.then = lambda: None

    assert [number for number in checked_at if number % 7 == 1] == list(range(1, 300, 7))


@both_ways
def test_a_wake_during_a_check_in_is_not_lost() -> None:
    def then() -> None:
        if owner.check_ins == 1:
            loop.wake()

    owner = FakeOwner(then=then)
    loop = loop_over(range(10), owner)
    next(loop)

    assert owner.check_ins == 2


followed = pytest.mark.parametrize(
    ("options", "count"),
    [({}, 300_000), ({"key": int}, 300_000), ({"fingerprint": "full"}, 20_000)],
    ids=["sampled", "by key", "full"],
)


@pytest.mark.slow
@both_ways
@followed
@pytest.mark.parametrize("source", ["list", "generator", "own class"])
def test_wakes_from_other_threads_lose_no_item_and_no_count(source: str, options: dict[str, Any], count: int) -> None:
    """Thousands of wakes at moments that nobody chose, and reads that must never run ahead or backwards."""
    stop = threading.Event()
    loop: Remaining[int]
    wrong: list[tuple[int, ...]] = []

    def then() -> None:
        if loop.done() != position + 1:
            wrong.append((loop.done(), position))

    def disturb() -> None:
        before = 0
        while not stop.is_set():
            loop.wake()
            done = loop.done()
            # One may lag behind the other by what passed between, never lead.
            if done > position + 1 or done < before - 1:
                wrong.append((before, done, position))
            before = done

    position, owner = -1, FakeOwner(then=then)
    loop = loop_over(SOURCES[source](count), owner, **options)
    threads = [threading.Thread(target=disturb) for _ in range(2)]
    with busy_switching():
        try:
            for thread in threads:
                thread.start()
            for item in loop:
                if item != position + 1:
                    wrong.append((item, position))
                position = item
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    assert wrong == []
    assert loop.done() == count
    assert owner.check_ins > 3
    assert list(loop_over(SOURCES[source](count), saved=saved(loop), **options)) == []


@both_ways
@followed
@pytest.mark.parametrize("source", ["list", "generator", "own class"])
@needs_signals
@pytest.mark.slow
def test_a_signal_handler_reads_the_exact_count(source: str, options: dict[str, Any], count: int) -> None:
    """It runs between any two bytecodes: in the body, in the source, in a check-in, in the key's function."""
    seen: list[tuple[int, int, bool]] = []
    forms: list[tuple[int, dict[str, Any]]] = []
    loop = loop_over(SOURCES[source](count), FakeOwner(step=50), **options)

    def handler(*_: object) -> None:
        seen.append((loop.done(), position, is_in_body))
        if len(seen) in (3, 30, 60):  # not each time: by key it takes longer than the timer
            forms.append((seen[-1][0], loop.to_dict()))
        loop.wake()

    position, is_in_body = -1, False
    with signals(handler, 0.0002):
        for item in loop:
            position = item
            is_in_body = True
            for _ in range(10):
                abs(item)  # a call is where handlers run
            is_in_body = False

    assert [(done, last) for done, last, is_in_body in seen if is_in_body and done != last] == []
    # Elsewhere `position` may still name the item before, which is done.
    assert [(done, last) for done, last, _ in seen if done - last not in (0, 1)] == []
    assert any(is_in_body for _, _, is_in_body in seen)
    assert loop.done() == count
    for done, form in forms:
        assert next(loop_over(SOURCES[source](count), saved=form, **options), count) == done


@in_c
def test_the_longest_round_needs_no_wake_in_a_fast_loop() -> None:
    owner = FakeOwner()
    deque(loop_over(range(100_000), owner), maxlen=0)

    assert 100_000 / 4096 < owner.check_ins < 40


@both_ways
def test_a_loop_that_is_woken_at_each_item_keeps_few_samples() -> None:
    owner = FakeOwner()
    loop = loop_over(list(range(3000)), owner)
    for _ in loop:
        loop.wake()

    positions = [position for position, *_ in saved(loop)["samples"]]
    assert positions == [0, 7, 63, 511, 1023, 2047, 2999]


def test_loops_leave_no_uncollectable_garbage() -> None:
    for item in loop_over(range(10)):
        if item == 5:
            break
    gc.collect()

    assert gc.garbage == []
