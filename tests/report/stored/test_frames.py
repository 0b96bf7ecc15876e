"""Tables as pandas, polars and Parquet hold them, with their dtypes, and as lines of CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable._json import unspelled
from resumable._report.stored.frames import csv_pieces, jsonl_pieces, to_pandas, to_parquet, to_polars
from resumable._report.stored.table import Table, as_text, kind_of

FILES: dict[str, Any] = {
    "a.py": {"size": 1, "big": 2**63, "ok": True, "score": 1, "sha": "f1", "tags": ["x"], "at": {"line": 1}, "odd": 1},
    "b.py": {"size": 2, "big": 2, "ok": False, "score": 0.5, "sha": "f2", "tags": [], "at": {"of": 2.5}, "odd": "1"},
}
WITH_GAPS = {**FILES, "c.py": None, "d.py": {"size": 2**60 + 1, "note": "new"}}


def test_a_frame_of_pandas_has_the_columns_and_dtypes_that_hold_the_values() -> None:
    pandas = pytest.importorskip("pandas")

    frame = to_pandas(Table(FILES))

    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "key": str(pandas.Series(["text"]).dtype),
        "size": "int64",
        "big": "uint64",
        "ok": "bool",
        "score": "float64",
        "sha": str(pandas.Series(["text"]).dtype),
        "tags": "object",
        "at": "object",
        "odd": "object",
    }
    assert frame.to_dict("records") == [{"key": key, **record} for key, record in FILES.items()]


def test_whole_numbers_with_gaps_stay_whole_in_pandas() -> None:
    """By itself pandas makes them floats, which do not hold 2**60 + 1."""
    pytest.importorskip("pandas")

    frame = to_pandas(Table(WITH_GAPS))

    dtypes = {name: str(frame[name].dtype) for name in ("size", "big", "ok", "score")}
    assert dtypes == {"size": "Int64", "big": "UInt64", "ok": "boolean", "score": "float64"}
    assert frame["size"].isna().tolist() == [False, False, True, False]
    assert (frame["size"][3], frame["big"][0]) == (2**60 + 1, 2**63)
    assert frame["note"].isna().tolist() == [True, True, True, False]


def test_a_frame_of_polars_has_the_columns_and_dtypes_that_hold_the_values() -> None:
    pl = pytest.importorskip("polars")

    frame = to_polars(Table(WITH_GAPS))

    assert dict(frame.schema) == {
        "key": pl.String,
        "size": pl.Int64,
        "big": pl.UInt64,
        "ok": pl.Boolean,
        "score": pl.Float64,
        "sha": pl.String,
        "tags": pl.List(pl.String),
        "at": pl.Struct({"line": pl.Int64, "of": pl.Float64}),
        "odd": pl.String,
        "note": pl.String,
    }
    assert frame["size"].to_list() == [1, 2, None, 2**60 + 1]
    assert frame["at"].to_list()[:2] == [{"line": 1, "of": None}, {"line": None, "of": 2.5}]
    assert frame["odd"].to_list() == ["1", "1", None, None]


def test_a_parquet_file_has_the_columns_and_types_that_hold_the_values() -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    table = parquet.read_table(io.BytesIO(to_parquet(Table(WITH_GAPS))))

    assert {field.name: field.type for field in table.schema} == {
        "key": pa.string(),
        "size": pa.int64(),
        "big": pa.uint64(),
        "ok": pa.bool_(),
        "score": pa.float64(),
        "sha": pa.string(),
        "tags": table.schema.field("tags").type,
        "at": pa.struct([("line", pa.int64()), ("of", pa.float64())]),
        "odd": pa.string(),
        "note": pa.string(),
    }
    assert table.schema.field("tags").type.value_type == pa.string()
    assert table.column("size").to_pylist() == [1, 2, None, 2**60 + 1]
    assert table.column("tags").to_pylist() == [["x"], [], None, None]


ODD: list[Any] = [{}, [], set(), [None], [[]], [[], [None]], [{}], {"a": {"b": {"c": None}}}, ["a", 1], [2**70], [[{}]]]


@pytest.mark.parametrize("collection", ODD, ids=str)
def test_whatever_it_holds_every_frame_takes_it(collection: Any) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = Table(collection)

    heights = {len(to_pandas(table)), to_polars(table).height}
    heights.add(parquet.read_table(io.BytesIO(to_parquet(table))).num_rows)

    assert heights == {len(collection)}
    assert list(to_pandas(table).columns) == to_polars(table).columns == table.fields


LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-9, 9) | st.text("ab,", max_size=2)
NAMES = st.sampled_from(["a", "b", "", " é"])
NESTED = st.recursive(LEAVES, lambda one: st.lists(one, max_size=3) | st.dictionaries(NAMES, one, max_size=3))
NUMBERS = st.integers(-9, 9) | st.floats(-9, 9)
ALIKE = st.lists(st.dictionaries(NAMES, st.lists(NUMBERS, max_size=2), max_size=2), max_size=2)


def without_gaps(value: Any) -> Any:
    """*value* without None in dicts: a frame fills in the fields that a record lacks."""
    if isinstance(value, dict):
        return {name: without_gaps(held) for name, held in value.items() if held is not None}
    return list(map(without_gaps, value)) if isinstance(value, list) else value


@pytest.mark.slow
@given(st.lists(st.dictionaries(NAMES, NESTED | NUMBERS | ALIKE, max_size=4), max_size=5) | st.lists(ALIKE, max_size=5))
@settings(max_examples=150, deadline=None)
def test_every_value_comes_back_from_polars_and_parquet(log: list[Any]) -> None:
    pytest.importorskip("polars")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = Table(log)

    polars, arrow = to_polars(table), parquet.read_table(io.BytesIO(to_parquet(table)))

    assert polars.columns == arrow.column_names == table.fields
    for name, values in table.columns().items():
        expected = [as_text(value) for value in values] if kind_of(values) == "mixed" else values
        for found in (polars[name].to_list(), arrow.column(name).to_pylist()):
            assert list(map(without_gaps, found)) == list(map(without_gaps, expected))


def test_what_only_a_late_record_holds_is_not_left_out() -> None:
    pytest.importorskip("polars")
    late = {"at": {"line": 1, "names": ["x"]}}

    frame = to_polars(Table([{"at": {"line": None}}] * 500 + [late]))

    assert frame["at"].to_list()[-1] == late["at"]


@pytest.mark.parametrize(
    ("convert", "package"), [(to_pandas, "pandas"), (to_polars, "polars"), (to_parquet, "pyarrow")]
)
def test_a_package_that_is_missing_is_named_with_its_cure(
    convert: Callable[[Table], object], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]

    with pytest.raises(ModuleNotFoundError, match=f"pip install {package}$") as caught:
        convert(Table([1]))

    assert caught.value.name == package


# -- lines


def csv_of(collection: Any) -> str:
    return b"".join(csv_pieces(Table(collection))).decode()


def test_csv_has_a_line_of_names_and_a_line_for_each_entry() -> None:
    assert csv_of(WITH_GAPS).splitlines() == [
        "key,size,big,ok,score,sha,tags,at,odd,note",
        'a.py,1,9223372036854775808,true,1,f1,"[""x""]","{""line"":1}",1,',
        'b.py,2,2,false,0.5,f2,[],"{""of"":2.5}",1,',
        "c.py,,,,,,,,,",
        "d.py,1152921504606846977,,,,,,,,new",
    ]


def test_csv_comes_back_from_a_reader_as_it_was() -> None:
    texts = ["a,b", 'say "x"', "two\nlines", "carriage\rreturn", "", "=1+1", "é\u2028", "  spaces "]

    rows = list(csv.reader(io.StringIO(csv_of(texts), newline="")))

    assert rows == [["value"], *([text] for text in texts)]


def test_none_alone_in_its_line_is_a_row_all_the_same() -> None:
    assert list(csv.reader(io.StringIO(csv_of([None, "a", None])))) == [["value"], [""], ["a"], [""]]


def test_lines_of_json_hold_what_each_entry_holds() -> None:
    lines = b"".join(jsonl_pieces(Table(WITH_GAPS))).splitlines()

    assert [json.loads(line) for line in lines] == [{"key": key, **(record or {})} for key, record in WITH_GAPS.items()]
    assert b"".join(jsonl_pieces(Table(["a\nb", None]))) == b'{"value":"a\\nb"}\n{"value":null}\n'
    assert b"".join(jsonl_pieces(Table([]))) == b""


NAN, INF = math.nan, math.inf
FLOATS: dict[str, Any] = {
    "a": {"score": NAN, "odd": "x", "deep": [NAN, {"b": -INF}]},
    "b": {"score": INF, "odd": NAN, "deep": None},
    "c": {"score": -0.5, "odd": -INF},
}


def test_numbers_that_json_has_not_are_in_every_format() -> None:
    table = Table(FLOATS)
    lines = b"".join(jsonl_pieces(table)).splitlines()

    assert [json.loads(line).get("score") for line in lines] == [{"$float": "nan"}, {"$float": "inf"}, -0.5]
    assert repr([unspelled(json.loads(line)) for line in lines]) == repr([{"key": k, **v} for k, v in FLOATS.items()])
    assert csv_of(FLOATS).splitlines() == [
        "key,score,odd,deep",
        'a,NaN,x,"[{""$float"":""nan""},{""b"":{""$float"":""-inf""}}]"',
        "b,inf,NaN,",
        "c,-0.5,-inf,",
    ]
    assert repr(Table({NAN, INF, -INF, 1, "a", None}).members()) == "[None, -inf, 1, inf, nan, 'a']"


def test_numbers_that_json_has_not_are_in_frames_and_parquet() -> None:
    polars, parquet = pytest.importorskip("polars"), pytest.importorskip("pyarrow.parquet")
    table = Table(FLOATS)
    frames = [to_polars(table).to_dicts(), parquet.read_table(io.BytesIO(to_parquet(table))).to_pylist()]

    for rows in frames:
        assert repr([row["score"] for row in rows]) == "[nan, inf, -0.5]"
        assert [row["odd"] for row in rows] == ["x", "NaN", "-inf"]
    assert polars.read_csv(io.BytesIO(csv_of(FLOATS).encode()))["score"].dtype == polars.Float64
    pytest.importorskip("pandas")
    assert repr(to_pandas(table)["score"].tolist()) == "[nan, inf, -0.5]"


@pytest.mark.parametrize("count", [4095, 4096, 4097, 9000])
def test_no_row_is_lost_between_two_pieces(count: int) -> None:
    table = Table([{"number": number} for number in range(count)])

    assert b"".join(csv_pieces(table)).count(b"\n") == count + 1
    assert [json.loads(line)["number"] for line in b"".join(jsonl_pieces(table)).splitlines()] == list(range(count))
