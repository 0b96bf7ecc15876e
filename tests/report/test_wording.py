"""Counts, positions and sizes in words."""

from __future__ import annotations

import pytest

from resumable._report.wording import items_failed, number, size


@pytest.mark.parametrize(("count", "text"), [(0, "0 items failed"), (1, "1 item failed"), (4321, "4,321 items failed")])
def test_one_item_is_no_plural(count: int, text: str) -> None:
    assert items_failed(count) == text


@pytest.mark.parametrize(("value", "text"), [(None, "?"), (0, "0"), (3412, "3,412")])
def test_an_unknown_number_is_a_question_mark(value: int | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (9_949, "9.9 KB"), (9_950, "10 KB"), (999_500, "1.0 MB")],
)
def test_a_size_never_has_four_digits(count: int, text: str) -> None:
    assert size(count) == text
