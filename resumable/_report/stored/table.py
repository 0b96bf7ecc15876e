"""A mapping, log or set as rows and columns, with the kind of each column."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from ..._json import to_exact_json

KEY, VALUE = "key", "value"
"""The names of the columns of a mapping's keys, and of values that are not records."""
_MANY, _SPARSE = 1000, 10
"""Records with more different fields than this, of which most records have only a few, are not a table."""
_EXACT = 1 << 53
"""A float holds every whole number up to this one exactly."""


@dataclass(frozen=True, slots=True)
class ListOf:
    """Lists of one kind of value."""

    items: Kind


@dataclass(frozen=True, slots=True)
class Record:
    """Dicts whose fields hold one kind of value each; a dict may lack some."""

    fields: dict[str, Kind]


Kind = Literal["nothing", "bool", "int", "uint", "float", "text", "mixed"] | ListOf | Record
"""``nothing`` is None only; ``int`` and ``uint`` have 64 bits; ``mixed`` values have no common type."""


class Table:
    """One row for each entry of a collection.

    A collection of records, which are dicts, has a column for each field; None counts as a record without fields.
    Others have one column, ``value``. The keys of a mapping stand in a column before them.

    Args:
        collection: A dict is a mapping; a list keeps its order; a set is sorted, texts after numbers.
        key_column: The name of the column of keys; None leaves it out.

    Attributes:
        fields: The names of the columns, in their order.

    Raises:
        ValueError: Records have a field with the name of the column of keys.
    """

    def __init__(self, collection: Collection[Any], key_column: str | None = KEY) -> None:
        is_mapping = isinstance(collection, dict)
        self._keys: list[str] | None = list(collection) if is_mapping and key_column is not None else None
        self._values = _values_of(collection)
        self._has_records = _are_records(self._values)
        fields = _fields_of(self._values) if self._has_records else [VALUE]
        if self._keys is not None and key_column is not None:
            if key_column in fields:
                raise ValueError(
                    f"the entries have a field {key_column!r} themselves: name the column of keys otherwise, "
                    "key_column=... (--key-column)"
                )
            fields = [key_column, *fields]
        self.fields: list[str] = fields

    def __len__(self) -> int:
        return len(self._values)

    def members(self) -> list[Any]:
        """The values, one for each row."""
        return self._values

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row by column, without the fields that it lacks."""
        rows = (value or {} for value in self._values) if self._has_records else ({VALUE: v} for v in self._values)
        if self._keys is None:
            return iter(rows)
        name = self.fields[0]
        return ({name: key, **row} for key, row in zip(self._keys, rows, strict=True))

    def columns(self) -> dict[str, list[Any]]:
        """The values of each column; None where a row has none."""
        columns: dict[str, list[Any]] = {}
        for name in self.fields:
            if self._keys is not None and name == self.fields[0]:
                columns[name] = self._keys
            elif self._has_records:
                columns[name] = [value.get(name) if value else None for value in self._values]
            else:
                columns[name] = self._values
        return columns


def _values_of(collection: Collection[Any]) -> list[Any]:
    if isinstance(collection, dict):
        return list(collection.values())
    if isinstance(collection, list):
        return collection
    return sorted(collection, key=_place)


def _place(member: Any) -> tuple[Any, ...]:
    """Where a member of a set stands: None, then false and true, numbers, NaN, texts."""
    if member is None:
        return (0,)
    if isinstance(member, bool | str):
        return (1, member) if isinstance(member, bool) else (4, member)
    return (3,) if member != member else (2, member)


def _are_records(values: Sequence[Any]) -> bool:
    return set(map(type, values)) - {type(None)} == {dict} and not _is_scattered([v for v in values if v is not None])


def _fields_of(records: Iterable[dict[str, Any] | None]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(filter(None, records))))


def _is_scattered(records: Sequence[dict[str, Any]]) -> bool:
    """Whether dicts have no field, or so many different ones that they are mappings instead of records."""
    count = len(set(chain.from_iterable(records)))
    return not count or (count > _MANY and count * len(records) > _SPARSE * sum(map(len, records)))


def kind_of(values: Iterable[Any]) -> Kind:
    """The common kind of *values*, None left out."""
    found = list(values)
    types = set(map(type, found)) - {type(None)}
    if len(types) == 1 and types <= {list, dict}:
        nested = [value for value in found if value is not None]
        return _kind_of_lists(nested) if types == {list} else _kind_of_dicts(nested)
    if not types:
        return "nothing"
    if types <= {int, float}:
        return _kind_of_numbers([value for value in found if type(value) is int], has_floats=float in types)
    return "bool" if types == {bool} else "text" if types == {str} else "mixed"


def _kind_of_numbers(whole: Sequence[int], *, has_floats: bool) -> Kind:
    least, most = min(whole, default=0), max(whole, default=0)
    if has_floats:
        return "float" if least >= -_EXACT and most <= _EXACT else "mixed"
    if least >= -(1 << 63) and most < 1 << 63:
        return "int"
    return "uint" if least >= 0 and most < 1 << 64 else "mixed"


def _kind_of_lists(lists: Sequence[list[Any]]) -> Kind:
    items = kind_of(chain.from_iterable(lists))
    return "mixed" if items == "mixed" else ListOf(items)


def _kind_of_dicts(records: Sequence[dict[str, Any]]) -> Kind:
    if _is_scattered(records):
        return "mixed"
    names = _fields_of(records)
    fields: dict[str, Kind] = {name: kind_of(one[name] for one in records if name in one) for name in names}
    return "mixed" if "mixed" in fields.values() else Record(fields)


def as_text(value: Any) -> str | None:
    """Texts and None as they are, ``NaN``, ``inf`` and ``-inf``; everything else as JSON, with these spelled."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    return to_exact_json(value).decode()


def fitted(value: Any, kind: Kind) -> Any:
    """*value* with the exact types of *kind*: each field of a record, and floats where whole numbers are mixed in."""
    if value is None:
        return None
    if isinstance(kind, ListOf):
        return [fitted(item, kind.items) for item in value]
    if isinstance(kind, Record):
        return {name: fitted(value.get(name), field) for name, field in kind.fields.items()}
    return float(value) if kind == "float" else as_text(value) if kind == "mixed" else value
