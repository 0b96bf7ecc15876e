"""Done sets as ranges: equal to a set in every way but size."""

from __future__ import annotations

import json
from collections import deque
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable._loops.ranges import Ranges

numbers = st.lists(st.integers(0, 60))


@given(numbers, numbers)
def test_ranges_answer_as_a_set_does(at_first: list[int], later: list[int]) -> None:
    model, ranges = set(at_first), Ranges(at_first)

    for number in later:
        assert ranges.add(number) is (number not in model)
        model.add(number)

    assert len(ranges) == len(model)
    assert list(ranges) == sorted(model)
    assert [number in ranges for number in range(-1, 62)] == [number in model for number in range(-1, 62)]
    assert ranges.head == next(number for number in range(62) if number not in model)


@given(numbers, st.integers(0, 70))
def test_missing_below_is_the_complement(done: list[int], stop: int) -> None:
    assert list(Ranges(done).missing_below(stop)) == sorted(set(range(stop)) - set(done))


@given(numbers)
def test_the_saved_form_is_sorted_with_gaps_and_comes_back_equal(done: list[int]) -> None:
    pairs = json.loads(json.dumps(Ranges(done).to_list()))

    assert all(last + 1 < first for (_, last), (first, _) in pairwise(pairs))
    assert Ranges.from_list(pairs) == Ranges(done)
    assert len(Ranges.from_list(pairs)) == len(set(done))


def test_to_list_includes_both_ends() -> None:
    assert Ranges([*range(1000), *range(1005, 1011)]).to_list() == [[0, 999], [1005, 1010]]


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([[5, 9], [0, 2]], id="unsorted"),
        pytest.param([[0, 5], [5, 9]], id="overlapping"),
        pytest.param([[0, 5], [6, 9]], id="touching"),
        pytest.param([[-1, 5]], id="negative"),
        pytest.param([[5, 4]], id="backwards"),
        pytest.param([[0, 1.0]], id="not ints"),
        pytest.param([[False, True]], id="booleans"),
        pytest.param([[0, 1, 2]], id="three ends"),
        pytest.param([3], id="bare numbers"),
        pytest.param({"0": 5}, id="no list"),
        pytest.param([[0, 100]], id="beyond the total"),
    ],
)
def test_an_implausible_done_set_is_refused(pairs: Any) -> None:
    """Taken as it is, it would skip items in silence."""
    with pytest.raises(ValueError, match=r"done"):
        Ranges.from_list(pairs, total=100)


def test_a_negative_position_is_refused() -> None:
    with pytest.raises(ValueError, match=">= 0"):
        Ranges().add(-1)


def test_at_a_billion_items_with_ten_thousand_in_flight_it_stays_small() -> None:
    """What completes out of order costs gaps: the million in front of the window is one range."""
    random, window = Random(1), 10_000
    ranges = Ranges.from_list([[0, 10**9 - 1]])
    in_flight = deque(range(10**9, 10**9 + window))
    for handed_out in range(10**9 + window, 10**9 + 5 * window):
        in_flight.rotate(random.randrange(window))
        ranges.add(in_flight.popleft())
        in_flight.append(handed_out)

    assert len(ranges) == 10**9 + 4 * window
    assert len(json.dumps(ranges.to_list())) < 1_000_000
    assert set(ranges.missing_below(10**9 + 5 * window)) == set(in_flight)
