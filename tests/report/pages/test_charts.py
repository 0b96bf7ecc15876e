"""Charts: round axes, lines with gaps, and nothing that breaks out of its text."""

from __future__ import annotations

import math
import re

import pytest

from resumable._report.pages.charts import Chart, Mark, Series, figure, ticks, time_text, time_ticks


@pytest.mark.parametrize("highest", [1e-6, 0.3, 1, 7, 99, 100, 101, 12_345, 1e12])
def test_ticks_are_round_few_and_reach_the_highest(highest: float) -> None:
    steps = ticks(highest)

    assert steps[0] == 0
    assert len(steps) <= 6
    assert steps[-2] < highest <= steps[-1] * (1 + 1e-9)


@pytest.mark.parametrize("highest", [0, -1, math.inf, math.nan])
def test_what_is_no_height_has_an_axis_all_the_same(highest: float) -> None:
    assert ticks(highest) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("end", "texts"),
    [
        (9, ["0", "2 s", "4 s", "6 s", "8 s"]),
        (3600, ["0", "15 min", "30 min", "45 min", "1 h"]),
        (5 * 86400, ["0", "1 d", "2 d", "3 d", "4 d", "5 d"]),
    ],
)
def test_times_are_round_in_their_unit(end: float, texts: list[str]) -> None:
    assert [time_text(step) for step in time_ticks(end)] == texts


def chart(points: list[tuple[float, float]], **options: object) -> str:
    series = [Series("<items>", points, is_stepped=bool(options.pop("is_stepped", False)))]
    return figure(Chart(title="A & B", told="up", series=series, end=10.0, unit=str, **options))  # type: ignore[arg-type]


def line_in(html: str) -> str:
    (found,) = re.findall(r'class="line main" d="([^"]*)"', html)
    return str(found)


def test_a_line_has_a_gap_where_a_value_is_missing() -> None:
    assert line_in(chart([(0, 0), (5, math.nan), (10, 1)], top=1.0)) == "M0.0 300.0M1000.0 0.0"


def test_a_stepped_line_keeps_its_height_up_to_the_next_point() -> None:
    assert line_in(chart([(0, 0), (10, 1)], is_stepped=True)) == "M0.0 300.0H1000.0L1000.0 0.0"


def test_no_text_is_markup() -> None:
    html = chart([(0, 1)], marks=[Mark(1, '"><script>')], bands=[(1, 2, "<b>")], lines=[(1, "a<b")])

    assert "A &amp; B" in html
    assert "<script>" not in html
    assert "<b>" not in html
