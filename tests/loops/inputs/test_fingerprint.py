"""Digests are the same in every process and differ for what differs."""

from __future__ import annotations

import datetime
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable._loops.inputs.fingerprint import (
    canonical,
    canonical_all,
    digest,
    is_lasting,
    next_sampled,
    roll,
    sample,
    samples_from,
    show,
    thinned,
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@dataclass
class Point:
    x: int
    where: Path


class Opaque:
    pass


class Unfriendly:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.slow
@given(json_values, json_values)
def test_digests_are_equal_just_when_values_are(one: Any, other: Any) -> None:
    # repr as well, because 1 == True.
    assert (digest(one) == digest(other)) is (one == other and show_all(one) == show_all(other))


def show_all(value: Any) -> str:
    """A repr that does not depend on the order of keys."""
    if isinstance(value, dict):
        return f"{{{sorted((key, show_all(inner)) for key, inner in value.items())}}}"
    return f"[{[show_all(inner) for inner in value]}]" if isinstance(value, list) else repr(value)


def test_the_order_of_keys_does_not_count() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(Point(1, Path("a")), Point(1, Path("b")), id="dataclass"),
        pytest.param(Path("a"), Path("b"), id="path"),
        pytest.param(datetime.date(2026, 1, 1), datetime.date(2026, 1, 2), id="date"),
        pytest.param(b"a", b"b", id="bytes"),
        pytest.param({1, 2}, {1, 3}, id="set"),
        pytest.param(1 + 2j, 1 + 3j, id="repr only"),
        pytest.param("\ud800", "\ud801", id="file name that is not UTF-8"),
    ],
)
def test_other_values_count_by_their_parts_or_their_repr(one: object, other: object) -> None:
    assert digest(one) != digest(other)
    assert len(digest(one)) == 16


def test_an_object_without_a_value_is_shown_by_its_class() -> None:
    assert show(Opaque()).endswith("Opaque>")
    assert " at 0x" not in show(Opaque())


def test_no_value_makes_it_raise() -> None:
    endless: list[Any] = []
    endless.append(endless)

    for item in (endless, float("nan"), {(1, 2): 3}, 2**100, lambda: 0):
        assert len(digest(item)) == 16
        assert len(show(item)) <= 80
    assert show(Unfriendly()).endswith("Unfriendly>")


def test_digests_are_the_same_in_another_process() -> None:
    """Text hashes differ there, and with them the order of sets."""
    program = (
        "from pathlib import Path; from resumable._loops.inputs.fingerprint import digest;"
        "print(digest([{'b', 'a', 'c'}, {Path('x'), Path('y'), Path('z')}, {'k': {1, 2}}, (1, {'q', 'r', 's'} , 2j)]));"
        "pairs = {frozenset(pair) for pair in ('ab', 'bc', 'cd', 'de')};"
        "print(*map(digest, [pairs, {'k': pairs}, {frozenset(pairs)}, {(1, one) for one in pairs}]))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-B", "-c", program],
            env={"PYTHONHASHSEED": seed, "RESUMABLE_INDEX": "off", "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in "1234"
    }

    assert len(answers) == 1


def test_numbers_that_json_lacks_differ_from_none() -> None:
    """JSON writes null for each of them: a missing value that became None was not seen."""
    items: list[Any] = [[one] for one in (math.nan, None, math.inf, -math.inf)]
    items += [{"a": (one, 2**100)} for one in (math.nan, None)]

    assert len(set(map(digest, items))) == len(items)
    assert canonical_all(items) == b"".join(map(canonical, items))
    assert canonical_all(items[1:2]) == canonical(items[1]) == b"[null]"


def test_show_is_one_line_of_at_most_80_letters() -> None:
    assert show("a" * 500) == "'" + "a" * 78 + "…"
    assert show({"b": 1}) == "{'b': 1}"


def test_a_difference_names_both_values() -> None:
    assert sample(3, "a.py").difference("a.py") is None
    assert sample(3, "a.py").difference("b.py") == "items[3] was 'a.py', is 'b.py' now"


def test_a_difference_that_the_short_form_hides_is_still_told() -> None:
    difference = sample(3, "a" * 100 + "x").difference("a" * 100 + "y")

    assert difference is not None
    assert "still shows as" in difference


@pytest.mark.parametrize(
    ("position", "sampled"), [(0, 0), (1, 1), (2, 3), (4, 7), (4095, 4095), (4096, 8191), (8191, 8191), (8192, 12287)]
)
def test_sampled_positions_are_dense_at_first_then_every_4096th(position: int, sampled: int) -> None:
    assert next_sampled(position) == sampled


def test_few_samples_are_kept_however_many_items() -> None:
    samples = tuple(sample(position, position) for position in (0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 4095))

    assert [one.position for one in thinned(samples)] == [0, 7, 63, 511, 1023, 4095]


def test_rolling_digests_depend_on_order() -> None:
    assert roll(roll("", "a"), "b") != roll(roll("", "b"), "a")


@pytest.mark.parametrize("values", [None, [[0, "x"]], [["0", "x", "y"]], [[-1, "x", "y"]], {"a": 1}])
def test_malformed_samples_are_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="samples are malformed"):
        samples_from(values)


def test_what_a_body_may_have_changed_is_not_lasting() -> None:
    assert is_lasting("a")
    assert is_lasting(Path("a"))
    assert not is_lasting({"a": 1})
