"""A mapping, log or set becomes rows and columns, with the kind of each column."""

from __future__ import annotations

from typing import Any

import pytest

from resumable._report.stored.table import Kind, ListOf, Record, Table, as_text, kind_of


@pytest.mark.parametrize(
    ("collection", "columns"),
    [
        pytest.param(
            {"a": {"size": 1, "ok": True}}, {"key": ["a"], "size": [1], "ok": [True]}, id="mapping of records"
        ),
        pytest.param({"a": 1, "b": 2}, {"key": ["a", "b"], "value": [1, 2]}, id="mapping of values"),
        pytest.param([{"size": 1}, {"ok": True}], {"size": [1, None], "ok": [None, True]}, id="log of records"),
        pytest.param(["b", "a"], {"value": ["b", "a"]}, id="log of values"),
        pytest.param({"b", "a", 3, None, 2.5, True}, {"value": [None, True, 2.5, 3, "a", "b"]}, id="set"),
        pytest.param({"a": None, "b": {"x": 1}}, {"key": ["a", "b"], "x": [None, 1]}, id="a record that is None"),
        pytest.param({"a": 1, "b": {"x": 1}}, {"key": ["a", "b"], "value": [1, {"x": 1}]}, id="records and values"),
        pytest.param([{}, {}], {"value": [{}, {}]}, id="records without any field"),
        pytest.param([None, None], {"value": [None, None]}, id="nothing but None"),
        pytest.param([[1], [2, 3]], {"value": [[1], [2, 3]]}, id="lists"),
        pytest.param({}, {"key": [], "value": []}, id="empty mapping"),
        pytest.param([], {"value": []}, id="empty log"),
        pytest.param(set(), {"value": []}, id="empty set"),
    ],
)
def test_each_collection_has_its_columns(collection: Any, columns: dict[str, list[Any]]) -> None:
    table = Table(collection)

    assert table.columns() == columns
    assert list(table.columns()) == table.fields == list(columns)
    assert len(table) == len(collection)


def test_a_row_holds_what_its_entry_holds_and_no_more() -> None:
    mapping = {"a": {"size": 1}, "b": None, "c": {"size": None, "ok": True}}

    assert list(Table(mapping).rows()) == [
        {"key": "a", "size": 1},
        {"key": "b"},
        {"key": "c", "size": None, "ok": True},
    ]
    assert list(Table(["x", None]).rows()) == [{"value": "x"}, {"value": None}]


def test_the_column_of_keys_has_any_name_or_is_left_out() -> None:
    assert Table({"a": {"size": 1}}, "path").fields == ["path", "size"]
    assert Table({"a": {"size": 1}}, None).columns() == {"size": [1]}
    assert Table([{"key": 1}], "key").fields == ["key"]


def test_a_field_with_the_name_of_the_column_of_keys_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="the entries have a field 'key' themselves"):
        Table({"a": {"key": 1}})
    with pytest.raises(ValueError, match="a field 'value' themselves"):
        Table({"a": 1}, "value")


def test_dicts_that_are_mappings_are_not_spread_over_a_million_columns() -> None:
    """Each has keys of its own: a table of them would have as many columns as there are entries, all but empty."""
    scattered = {str(user): {f"{user}-{day}": day for day in range(3)} for user in range(2000)}
    wide = [{f"feature {number}": number for number in range(3000)}] * 2

    assert Table(scattered).fields == ["key", "value"]
    assert kind_of(list(scattered.values())) == "mixed"
    assert len(Table(wide).fields) == 3000


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], "nothing"),
        ([None], "nothing"),
        ([True, None], "bool"),
        ([1, None, -(2**63)], "int"),
        ([2**63, 1], "uint"),
        ([2**63, -1], "mixed"),
        ([2**64], "mixed"),
        ([1, 2.5], "float"),
        ([2**53 + 1, 2.5], "mixed"),
        (["a", None], "text"),
        (["a", 1], "mixed"),
        ([True, 1], "mixed"),
        ([[1], [], None, [2.5]], ListOf("float")),
        ([[]], ListOf("nothing")),
        ([[1], ["a"]], "mixed"),
        ([[1], 1], "mixed"),
        ([{"a": 1}, {"b": ["x"]}, None], Record({"a": "int", "b": ListOf("text")})),
        ([{"a": 1}, {"a": "x"}], "mixed"),
        ([{"a": {}}], "mixed"),
        ([{}], "mixed"),
        ([[{"a": [{"b": None}]}]], ListOf(Record({"a": ListOf(Record({"b": "nothing"}))}))),
    ],
    ids=str,
)
def test_the_kind_of_a_column_loses_nothing(values: list[Any], kind: Kind) -> None:
    assert kind_of(values) == kind


@pytest.mark.parametrize(
    ("value", "text"),
    [("a,b", "a,b"), (None, None), (1.5, "1.5"), (True, "true"), ([1, "é"], '[1,"é"]'), ({"a": None}, '{"a":null}')],
)
def test_as_text_a_text_stays_and_all_else_is_json(value: Any, text: str | None) -> None:
    assert as_text(value) == text
