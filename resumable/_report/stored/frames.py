"""Converts a table to pandas, polars, Parquet, CSV and JSON lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..._json import is_exact, to_exact_json
from .table import Kind, ListOf, Record, Table, as_text, fitted, kind_of

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, unused-ignore]
    import polars

T = TypeVar("T")

_ROWS_AT_A_TIME = 4096
_PANDAS_DTYPES = {"bool": ("bool", "boolean"), "int": ("int64", "Int64"), "uint": ("uint64", "UInt64")}
"""For a column that is full, and for one where values are missing."""


def _needed(package: str, what_for: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        text = f"{what_for} needs a package that is not installed:  pip install {error.name}"
        raise ModuleNotFoundError(text, name=error.name) from None


def to_pandas(table: Table) -> pandas.DataFrame:
    """A DataFrame of pandas. Raises ModuleNotFoundError if pandas is not installed."""
    pd = _needed("pandas", "a DataFrame of pandas")
    columns = {name: pd.Series(values, **_pandas_dtype(values)) for name, values in table.columns().items()}
    frame: pandas.DataFrame = pd.DataFrame(columns, columns=table.fields)
    return frame


def _pandas_dtype(values: list[Any]) -> dict[str, str]:
    kind = kind_of(values)
    if kind == "text":
        return {}  # what pandas makes of texts differs by its release
    if kind == "float":
        return {"dtype": "float64"}
    full, with_gaps = _PANDAS_DTYPES.get(kind, ("object", "object")) if isinstance(kind, str) else ("object", "object")
    return {"dtype": with_gaps if None in values else full}


def to_polars(table: Table) -> polars.DataFrame:
    """A DataFrame of polars. Raises ModuleNotFoundError if polars is not installed."""
    pl = _needed("polars", "a DataFrame of polars")
    dtypes = {"nothing": pl.Null, "bool": pl.Boolean, "int": pl.Int64, "uint": pl.UInt64, "float": pl.Float64}
    typed = partial(_type_of, {**dtypes, "text": pl.String, "mixed": pl.String}, pl.List, pl.Struct)
    columns = {name: pl.Series(name, *_typed(values, typed)) for name, values in table.columns().items()}
    frame: polars.DataFrame = pl.DataFrame(columns)  # a dict, for in a list a column '' would get another name
    return frame


def to_parquet(table: Table) -> bytes:
    """The bytes of a Parquet file. Raises ModuleNotFoundError if pyarrow is not installed."""
    pa, parquet = _needed("pyarrow", "Parquet"), _needed("pyarrow.parquet", "Parquet")
    types = {"nothing": pa.null(), "bool": pa.bool_(), "int": pa.int64(), "uint": pa.uint64(), "float": pa.float64()}
    typed = partial(
        _type_of,
        {**types, "text": pa.string(), "mixed": pa.string()},
        pa.list_,
        lambda fields: pa.struct(list(fields.items())),
    )
    columns = {name: pa.array(*_typed(values, typed)) for name, values in table.columns().items()}
    written = io.BytesIO()
    parquet.write_table(pa.table(columns), written)
    return written.getvalue()


def _typed(values: list[Any], typed: Callable[[Kind], Any]) -> tuple[list[Any], Any]:
    """The values of a column, and its type; values without a common type become texts."""
    kind = kind_of(values)
    fits = isinstance(kind, str) and kind != "mixed"
    return values if fits else [fitted(value, kind) for value in values], typed(kind)


def _type_of(plain: dict[str, Any], list_of: Callable[[Any], Any], record: Callable[[Any], Any], kind: Kind) -> Any:
    if isinstance(kind, ListOf):
        return list_of(_type_of(plain, list_of, record, kind.items))
    if isinstance(kind, Record):
        return record({name: _type_of(plain, list_of, record, field) for name, field in kind.fields.items()})
    return plain[kind]


# -- lines ------------------------------------------------------------------------------------------------------------


def csv_pieces(table: Table) -> Iterator[bytes]:
    """A CSV file in pieces: UTF-8, a line of names, then a line for each row. None is an empty cell.

    Texts and numbers are written as they are, also ``NaN``, ``inf`` and ``-inf``; true, false, lists and dicts as JSON.
    """
    yield _csv([table.fields])
    for some in _some_at_a_time(zip(*table.columns().values(), strict=True)):
        yield _csv([_cell(value) for value in row] for row in some)


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    lines = _Lines()
    # With "\n" alone as its end of line, a writer before Python 3.13 does not quote a text that holds "\r".
    csv.writer(lines, lineterminator="\r\n").writerows(rows)
    return "".join(lines.written).encode()


class _Lines:
    """What a ``csv.writer`` writes, each line with "\n" at its end."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, line: str) -> None:
        self.written.append(line[:-2] + "\n")


def _cell(value: Any) -> Any:
    return as_text(value) if isinstance(value, bool | list | dict) or value != value else value


def jsonl_pieces(table: Table) -> Iterator[bytes]:
    """JSON lines in pieces: an object for each row, without the fields that it lacks.

    NaN and the infinities are ``{"$float": "nan"}``, ``"inf"`` and ``"-inf"``.
    """
    encoder = msgspec.json.Encoder()
    for some in _some_at_a_time(table.rows()):
        lines = encoder.encode_lines(some)
        yield lines if is_exact(lines) else b"".join(to_exact_json(row) + b"\n" for row in some)


def _some_at_a_time(rows: Iterator[T]) -> Iterator[list[T]]:
    while some := list(islice(rows, _ROWS_AT_A_TIME)):
        yield some
