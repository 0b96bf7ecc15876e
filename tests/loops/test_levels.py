"""Loops inside items of other loops."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    CheckpointManager,
    InputChangedError,
    checkpointed,
    every,
)
from tests.support.blocks import Stop

NEVER = every(hours=1000)


Done = list[tuple[str, int]]


def nested(
    manager: CheckpointManager,
    stop: tuple[str, int] | None = None,
    outer: str = "abcd",
    breaks_at: int | None = None,
    **options: Any,
) -> Done:
    """Four groups of five, left at *stop*; each group is given up at *breaks_at*."""
    done: Done = []
    try:
        with checkpointed("job", manager=manager) as cp:
            for group in cp.remaining(list(outer), **options):
                for number in cp.remaining(range(5)):
                    if (group, number) == stop:
                        raise Stop
                    if number == breaks_at:
                        break
                    done.append((group, number))
    except Stop:
        pass
    return done


EVERY = [(group, number) for group in "abcd" for number in range(5)]


@pytest.mark.parametrize("stop", EVERY, ids=str)
def test_an_inner_loop_goes_on_at_its_place_and_the_next_ones_begin_anew(
    stop: tuple[str, int], manager: CheckpointManager
) -> None:
    first, second = nested(manager, stop), nested(manager)

    assert first + second == EVERY
    assert manager.list_checkpoints() == []


@pytest.mark.parametrize("seed", range(10))
def test_nested_loops_stopped_again_and_again_lose_and_repeat_nothing(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    manager = CheckpointManager(tmp_path, save_strategy=every(items=chance.randint(1, 6)))
    done: Done = []
    for _ in range(100):
        done += nested(manager, chance.choice([*EVERY, None]))
        if manager.list_checkpoints() == []:
            break

    assert done == EVERY


def test_an_inner_loop_belongs_to_the_key_of_the_outer_item_not_to_its_place_in_line(
    manager: CheckpointManager,
) -> None:
    """By key the order may change: the inner place of "b" must not be taken for that of what now stands there."""
    first = nested(manager, ("b", 3), key=str)

    second = nested(manager, outer="dcba", key=str)

    assert first == [("a", n) for n in range(5)] + [("b", n) for n in range(3)]
    assert sorted(second) == [("b", 3), ("b", 4), *EVERY[10:]]


def test_inner_loops_that_are_left_by_break_hold_nothing_back(manager: CheckpointManager) -> None:
    """The outer item was done; what its inner loop left out, it left out for good."""
    done = nested(manager, breaks_at=2)

    assert done == [(group, number) for group in "abcd" for number in range(2)]
    assert manager.list_checkpoints() == []


@pytest.mark.parametrize("stop", [("b", 1), ("c", 0), ("d", 1)], ids=str)
def test_inner_loops_that_are_left_by_break_do_not_confuse_the_next_ones(
    stop: tuple[str, int], manager: CheckpointManager
) -> None:
    first, second = nested(manager, stop, breaks_at=2), nested(manager, breaks_at=2)

    assert first + second == [(group, number) for group in "abcd" for number in range(2)]


def test_many_inner_loops_cost_no_more_than_the_first(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        for number in cp.remaining(range(300)):
            for inner in cp.remaining(range(3)):
                if inner == 2 and number % 2:
                    break
        loops = cp._operation.parts.loops

        assert cp.processed_items == 300 + 150 * 3 + 150 * 2
        assert len(loops.views) == 2
        assert sum(map(len, loops.running._by_context.values())) <= 1


def test_loops_three_deep_go_on_at_the_innermost_place(manager: CheckpointManager) -> None:
    every_one = [(a, b, c) for a in range(3) for b in range(3) for c in range(3)]

    def work(stop: tuple[int, int, int] | None) -> list[tuple[int, int, int]]:
        done = []
        try:
            with checkpointed("job", manager=manager) as cp:
                for a in cp.remaining(range(3)):
                    for b in cp.remaining(range(3)):
                        for c in cp.remaining(range(3)):
                            if (a, b, c) == stop:
                                raise Stop
                            done.append((a, b, c))
        except Stop:
            pass
        return done

    for stop in every_one:
        assert work(stop) + work(None) == every_one


def test_a_total_of_outer_items_is_dropped_once_a_later_run_meets_the_inner_loop(tmp_path: Path) -> None:
    """The first run ended before its inner loop began: its 4 would be told as ``24 of 4``."""
    with pytest.raises(Stop), checkpointed("job", store=tmp_path) as cp:  # noqa: PT012
        for _ in cp.remaining(range(4)):
            raise Stop
    assert cp.metadata.total_items == 4

    with checkpointed("job", store=tmp_path) as cp:
        for _ in cp.remaining(range(4)):
            for _ in cp.remaining(range(5)):
                assert cp.metadata.total_items is None
    assert (cp.metadata.processed_items, cp.metadata.total_items) == (24, None)


@pytest.mark.parametrize("middle", [False, True], ids=["two deep", "three deep"])
@pytest.mark.parametrize("items", [["a", "b"], [("a", 1), ("b", 2)], [{"name": "a"}, {"name": "b"}]], ids=str)
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_loop_does_not_go_on_inside_another_item(items: list[Any], stop: int, middle: bool, tmp_path: Path) -> None:
    """No item of the outer list is done, so that only the one under way can tell that the order is another one."""
    done: list[Any] = []

    def run(items: list[Any], stop: int | None = None) -> list[Any]:
        done.clear()
        with checkpointed("job", every(items=1), store=tmp_path) as cp:
            for item in cp.remaining(items):
                for _ in cp.remaining(range(2)) if middle else [0]:
                    for number in cp.remaining(range(3)):
                        if len(done) == stop:
                            raise LookupError
                        done.append((item, number))
                if stop == len(done) == 3:
                    raise LookupError
        return done

    with pytest.raises(LookupError):
        run(items, stop)
    for _ in range(2):  # the refusal saves nothing that would let the next run pass
        with pytest.raises(InputChangedError, match="and a loop inside it goes on in the middle"):
            run(items[::-1])

    every_one = [(item, number) for item in items for _ in range(1 + middle) for number in range(3)]
    assert run(items) == every_one[stop:]


@pytest.mark.parametrize("has_inner", [False, True])
@pytest.mark.parametrize("make", [dict, lambda keys: dict(keys).keys()], ids=["dict", "keys"])
def test_the_keys_of_a_dict_are_compared_up_to_the_one_under_way(
    make: Callable[[Any], Any], tmp_path: Path, *, has_inner: bool
) -> None:
    """Between two samples, only the last done key and the one under way can tell."""
    keys = [(letter, None) for letter in "abcdefgh"]

    def run(keys: list[tuple[str, None]], stop: str = "") -> list[str]:
        done: list[str] = []
        with checkpointed("job", every(items=1), store=tmp_path) as cp:
            for key in cp.remaining(make(keys)):
                for number in cp.remaining(range(2)) if has_inner else [1]:
                    if key == stop and number:
                        raise LookupError
                    done.append(f"{key}{number}")
        return done

    with pytest.raises(LookupError):
        run(keys, "g")
    with pytest.raises(InputChangedError):
        run([*keys[:5], ("new", None), *keys[5:]])  # f, which is done, would be done again
    if has_inner:
        with pytest.raises(InputChangedError):
            run([*keys[:6], keys[7], keys[6]])  # h would go on in the middle
    assert run(keys) == (["g1", "h0", "h1"] if has_inner else ["g1", "h1"])
