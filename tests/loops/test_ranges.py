"""Numbers saved as ranges: what is written comes back, and nothing else is believed."""

from __future__ import annotations

import json
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable._loops.ledgers.by_key import count_in_ranges, from_ranges, to_ranges

numbers = st.sets(st.integers(0, 60)).map(sorted)


@given(numbers)
def test_the_saved_form_is_sorted_with_gaps_and_comes_back_equal(done: list[int]) -> None:
    ranges = json.loads(json.dumps(to_ranges(done)))

    assert all(last + 1 < first for (_, last), (first, _) in pairwise(ranges))
    assert list(from_ranges(ranges)) == done
    assert count_in_ranges(ranges) == len(done)


def test_both_ends_are_included() -> None:
    assert to_ranges([*range(1000), *range(1005, 1011)]) == [[0, 999], [1005, 1010]]


def test_a_million_numbers_are_counted_without_going_through_them() -> None:
    assert count_in_ranges([[0, 10**18 - 1], [10**18 + 1, 10**18 + 1]]) == 10**18 + 1


@pytest.mark.parametrize(
    "ranges",
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
    ],
)
@pytest.mark.parametrize("read", [from_ranges, count_in_ranges])
def test_an_implausible_done_set_is_refused(read: Any, ranges: Any) -> None:
    """Taken as it is, it would skip items in silence."""
    with pytest.raises(ValueError, match=r"done"):
        read(ranges)


def test_ten_thousand_gaps_behind_a_billion_items_stay_small() -> None:
    """What completes out of order costs gaps: the million in front of the window is one range."""
    window = 10_000
    done = sorted(Random(1).sample(range(5 * window), 4 * window))
    ranges = [[0, 10**9 - 1], *([first + 10**9 + 1, last + 10**9 + 1] for first, last in to_ranges(done))]

    assert count_in_ranges(ranges) == 10**9 + 4 * window
    assert len(json.dumps(ranges)) < 1_000_000
