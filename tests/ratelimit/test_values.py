"""Values of headers, one by one: read, or None."""

from __future__ import annotations

import pytest

from resumable.ratelimit._values import (
    YEAR,
    read_after,
    read_count,
    read_items,
    read_limit,
    read_number,
    read_skew,
    read_span,
    read_stamp,
    read_text,
)

NOW = 1_700_000_000.0
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
"""NOW."""


@pytest.mark.parametrize(
    ("value", "text"),
    [(b" 12 ", "12"), (12, "12"), (0.5, "0.5"), (True, ""), (None, ""), ("x" * 5000, ""), (1e300, "")],
)
def test_a_header_value_is_text(value: object, text: str) -> None:
    assert read_text(value) == text


@pytest.mark.parametrize(
    ("text", "number"),
    [("12", 12.0), (" -1.5e3 ", -1500.0), ("", None), ("nan", None), ("inf", None), ("1_000", None), ("٣", None)],
)
def test_a_number_is_finite_and_ascii(text: str, number: float | None) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(
    ("text", "count"), [("60", 60), ("59.9", 59), ("60, 10", 10), ("-1", None), ("9e99", None), ("60, x", None)]
)
def test_a_count_is_the_lowest_of_several(text: str, count: int | None) -> None:
    assert read_count(text) == count


@pytest.mark.parametrize(("text", "limit"), [("100, 10;w=1, 100;w=60", 100), ("100, 50", 50), (None, None)])
def test_a_limit_is_not_one_of_the_policies_behind_it(text: str | None, limit: int | None) -> None:
    assert read_limit(text) == limit


@pytest.mark.parametrize(("text", "seconds"), [("6m0s", 360.0), ("1.5h", 5400.0), ("12ms", 0.012), ("5x", None)])
def test_a_span_is_in_seconds(text: str, seconds: float | None) -> None:
    assert read_span(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [DATE, "2023-11-14T22:13:20Z", "2023-11-14 22:13:20 UTC", "2023-11-14T23:13:20+01:00"])
def test_a_stamp_is_read_in_every_form(text: str) -> None:
    assert read_stamp(text) == NOW


@pytest.mark.parametrize(("now", "skew"), [(NOW, 0.0), (NOW + 0.9, 0.0), (NOW + 30, 30.0), (NOW - 30, -30.0)])
def test_clocks_less_than_a_second_apart_agree(now: float, skew: float) -> None:
    assert read_skew(DATE, now) == skew


@pytest.mark.parametrize(
    ("text", "after"),
    [
        pytest.param("30", 30.0, id="distance"),
        pytest.param("30, 60", 60.0, id="the latest"),
        pytest.param("6m0s", 360.0, id="span"),
        pytest.param(str(int(NOW) + 5), 5.0, id="epoch"),
        pytest.param(str(int(NOW + 5) * 1000), 5.0, id="milliseconds"),
        pytest.param(str(int(NOW + 5) * 1_000_000), 5.0, id="microseconds"),
        pytest.param("2023-11-14T22:13:10Z", -10.0, id="past"),
        pytest.param("-1", None, id="below zero"),
        pytest.param(str(int(YEAR) + 1), None, id="later than any quota"),
    ],
)
def test_a_time_is_read_as_seconds_from_now(text: str, after: float | None) -> None:
    assert read_after(text, now=NOW) == after


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('"default";r=50;t=30, "day";r=9', [("default", {"r": "50", "t": "30"}), ("day", {"r": "9"})]),
        ("a;b", [("a", {"b": ""})]),
        ('"open', []),
        ('"good";r=1, ???', []),
    ],
)
def test_a_list_with_a_malformed_part_has_no_items(text: str, items: list[tuple[str, dict[str, str]]]) -> None:
    assert read_items(text) == items
