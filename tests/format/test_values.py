"""Values of a class in a durable collection: to JSON and back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest

from resumable import InputChangedError, StateEncodeError
from resumable._format.values import Values


@dataclass
class Size:
    bytes: int
    ratio: float = 0.0
    tags: list[Any] = field(default_factory=list)


@pytest.fixture
def values() -> Values[Size]:
    return Values(Size, "$.state.files", "job", lambda text: None)


def where(key: Any) -> str:
    return f"$.state.files[{key!r}]"


def test_a_value_comes_back_as_it_was(values: Values[Size]) -> None:
    size = Size(3, math.inf, ["a", {"b": None}])

    _, plain = values.encoded(size, where, "a.py")

    assert values.value(plain, where("a.py")) == size


@pytest.mark.parametrize(
    ("value", "error", "told"),
    [
        pytest.param({"bytes": 3}, TypeError, r"^\$\.state\.files\['a'\] takes Size, not dict", id="another class"),
        pytest.param(Size(3, tags=[(1, 2)]), StateEncodeError, r"\['a'\]\.tags\[0\]", id="a tuple that becomes a list"),
        pytest.param(Size(3, tags=[object()]), StateEncodeError, r"\['a'\]", id="what JSON cannot hold"),
        pytest.param(Size("3"), StateEncodeError, r"\['a'\]\.bytes.*could not be loaded", id="a wrong type"),  # type: ignore[arg-type]
    ],
)
def test_what_would_change_is_refused_with_its_place(
    value: Any, error: type[Exception], told: str, values: Values[Size]
) -> None:
    with pytest.raises(error, match=told):
        values.encoded(value, where, "a")


@pytest.mark.parametrize(
    "plain", [{"bytes": "many"}, {"bytes": 1, "mode": 0o644}], ids=["a wrong type", "a lost field"]
)
def test_a_saved_value_that_no_longer_fits_is_refused(plain: dict[str, Any], values: Values[Size]) -> None:
    with pytest.raises(InputChangedError, match="files"):
        values.value(plain, where("a.py"))


def test_a_whole_number_in_a_field_of_floats_is_one_value(values: Values[Size]) -> None:
    assert values.is_one(b'{"bytes":1,"ratio":0}', b'{"ratio":0.0,"bytes":1}')
    assert not values.is_one(b'{"bytes":1}', b'{"bytes":2}')
    assert not values.is_one(b'{"bytes":1}', b'{"size":1}')


@pytest.mark.parametrize("kind", [dict[str, int], Any, "Size"], ids=str)
def test_the_class_of_values_is_a_class(kind: Any) -> None:
    with pytest.raises(TypeError, match="needs a class for its values"):
        Values(kind, "$.state.files", "job", print)


def test_dates_are_values_too() -> None:
    raw, _ = Values(date, "$.state.days", "job", print).encoded(date(2026, 3, 1), where, 0)

    assert raw == b'"2026-03-01"'
