"""Compares a decoded value with the original: types and values must be equal at every depth.

Plain ``==`` does not suffice. It says that True, 1 and 1.0 are equal, instants in different time zones, a defaultdict
and a dict; and it says that NaN differs from itself. An int in a field declared float is accepted.

Columns are compared first: all values of one depth and type together, at C speed. If a column may differ, its values
are compared one by one, which finds the path.
"""

from __future__ import annotations

import array
import dataclasses
import enum
import functools
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from itertools import chain, compress
from operator import attrgetter, is_, itemgetter
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

from .._json import scalar, scalar_comes_back, step

_EXACT: frozenset[type] = frozenset({str, int, bool, type(None), bytes, date, timedelta, UUID})
"""For these types, values of one type that are equal are interchangeable."""
_flat = chain.from_iterable


class Difference(Exception):
    """A value comes back as something else.

    Attributes:
        path: Its place, starting with ``$``.
        reason: What it becomes, and what to do.
        is_left_out: Whether the class itself says not to save it: a private attribute, an excluded field.
    """

    def __init__(self, path: str, reason: str, *, is_left_out: bool = False) -> None:
        super().__init__(path, reason)
        self.path, self.is_left_out = path, is_left_out
        self.reason = reason if ";" in reason else f"{reason}; {_CHANGED}"


_CHANGED = "look at what changes it on loading: a validator, a converter, init=False; or keep it out of the state"


def differences(one: Any, other: Any, path: str, note: Callable[[str], None]) -> Iterator[Difference]:
    """The differences between *one*, which was encoded, and *other*, which was decoded.

    Args:
        note: Called with changes that are harmless: one object in two places comes back as two objects, a scalar of
            numpy as a plain number.
    """
    if not are_alike([one], [other], set()):
        yield from Walk(note).differences(one, other, path)


# -- in columns; False means: compare one by one


def are_alike(ones: list[Any], others: list[Any], seen: set[int]) -> bool:
    """Whether all *ones* surely equal their partners, and no object is shared. *seen* collects their ids."""
    kinds = list(map(type, ones))
    if kinds != list(map(type, others)):
        return False
    distinct = set(kinds)
    if distinct <= _EXACT:
        return ones == others
    for kind in distinct:
        some, again = ones, others
        if len(distinct) > 1:
            picked = list(map(functools.partial(is_, kind), kinds))
            some, again = list(compress(ones, picked)), list(compress(others, picked))
        if not (some == again if kind in _EXACT else _are_alike_of(kind, some, again, seen)):
            return False
    return True


def _are_alike_of(kind: Any, ones: list[Any], others: list[Any], seen: set[int]) -> bool:
    if kind is float:
        return array.array("d", ones).tobytes() == array.array("d", others).tobytes()  # compares bits
    if kind is datetime:
        return _same_instants(ones, others)
    if kind is Decimal:
        return list(map(Decimal.as_tuple, ones)) == list(map(Decimal.as_tuple, others))
    if issubclass(kind, enum.Enum):
        return all(map(is_, ones, others))
    if issubclass(kind, PurePath):
        return ones == others
    if kind in (set, frozenset):
        members = [set(map(type, _flat(some))) for some in (ones, others)]
        if members[0] != members[1] or len(members[0]) > 1 or not members[0] <= _EXACT or ones != others:
            return False
    if not is_value(kind):
        ids = set(map(id, ones))
        if len(ids) < len(ones) or not seen.isdisjoint(ids):
            return False  # one object in two places
        seen |= ids
    if kind in (set, frozenset):
        return True
    if kind in (list, tuple):
        return list(map(len, ones)) == list(map(len, others)) and are_alike(
            list(_flat(ones)), list(_flat(others)), seen
        )
    if kind is dict:
        if list(map(len, ones)) != list(map(len, others)) or not are_alike(
            list(_flat(ones)), list(_flat(others)), seen
        ):
            return False
        values, again = (list(_flat(map(dict.values, some))) for some in (ones, others))
        return are_alike(values, again, seen)
    return _are_alike_objects(kind, ones, others, seen)


def _same_instants(ones: list[Any], others: list[Any]) -> bool:
    zones = [list(map(attrgetter("tzinfo"), some)) for some in (ones, others)]
    folds = [list(map(attrgetter("fold"), some)) for some in (ones, others)]
    distinct = [set(map(id, some)) for some in zones]
    is_one_zone = distinct[0] == distinct[1] and len(distinct[0]) == 1
    if not is_one_zone and list(map(_rules, zones[0])) != list(map(_rules, zones[1])):
        return False
    return folds[0] == folds[1] and ones == others


def _are_alike_objects(kind: Any, ones: list[Any], others: list[Any], seen: set[int]) -> bool:
    """Compares objects, one column for each field; False if they may hold anything else."""
    names, has_dict = _columns_of(kind)
    if names is None:
        return False
    if not has_dict:
        columns = [[list(map(attrgetter(name), some)) for name in names] for some in (ones, others)]
    else:
        held = [list(map(vars, some)) for some in (ones, others)]
        if any(set().union(*some) != set(names) or set(map(len, some)) != {len(names)} for some in held):
            return False
        columns = [[list(map(itemgetter(name), some)) for name in names] for some in held]
        for name in ("__pydantic_private__", "__pydantic_extra__") if _is_model(kind) else ():
            more, again = (list(map(attrgetter(name), some)) for some in (ones, others))
            if not are_alike(more, again, seen):
                return False
    return all(are_alike(one, other, seen) for one, other in zip(*columns, strict=True))


@functools.lru_cache
def _columns_of(kind: Any) -> tuple[tuple[str, ...] | None, bool]:
    """The fields of a class, and whether its objects have a dict; None for the fields if there may be others."""
    has_dict, slots = bool(getattr(kind, "__dictoffset__", 0)), _slots_of(kind)
    if hasattr(kind, "__struct_fields__"):
        return (None if has_dict else kind.__struct_fields__), False
    if dataclasses.is_dataclass(kind):
        names = tuple(field.name for field in dataclasses.fields(kind))
        return (names if slots <= set(names) else None), has_dict
    if _is_model(kind) and not getattr(kind, "__pydantic_root_model__", False):
        return tuple(kind.__pydantic_fields__), True
    return None, False


def _is_model(kind: Any) -> bool:
    return hasattr(kind, "__pydantic_fields__") and hasattr(kind, "__pydantic_root_model__")


@functools.lru_cache
def is_value(kind: Any) -> bool:
    """Whether an object of this *kind* is immutable, so that nobody notices whether two places share it."""
    if issubclass(kind, (tuple, frozenset, str, int, float, bytes, complex, date, time, timedelta, Decimal, PurePath)):
        return True
    if issubclass(kind, (enum.Enum, UUID, type(None))):
        return True
    if hasattr(kind, "__struct_config__"):
        return bool(kind.__struct_config__.frozen)
    frozen = getattr(getattr(kind, "__dataclass_params__", None), "frozen", False)
    return bool(frozen or getattr(kind, "model_config", {}).get("frozen", False) or hasattr(kind, "get_secret_value"))


# -- one by one, for the path


class Walk:
    """Compares two values step by step.

    Args:
        note: Called with changes that are harmless.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        # Keeps the object, too, so that no other gets its id meanwhile.
        self._met: dict[int, tuple[str, Any, Any]] = {}

    def differences(self, one: Any, other: Any, path: str) -> Iterator[Difference]:
        """Each place at which *other* differs from *one*."""
        kind = type(one)
        if kind is not type(other) and (plain := scalar(one)) is not one:
            self._note(scalar_comes_back(one, plain, path))
            one, kind = plain, type(plain)
        if kind is not type(other):
            if not (kind is int and type(other) is float and one == other):  # a field declared float
                yield Difference(path, f"a {kind.__name__} comes back as a {type(other).__name__}; {_cure(kind)}")
        elif kind in _EXACT:
            if one != other:
                yield Difference(path, f"another {kind.__name__} comes back")
        elif kind is float:
            if not _same_float(one, other):
                yield Difference(path, "another float comes back")
        elif issubclass(kind, (datetime, time)):
            yield from _instants(one, other, path)
        elif issubclass(kind, enum.Enum):
            if one is not other:
                yield Difference(path, f"another member of {kind.__name__} comes back")
        elif issubclass(kind, Decimal):
            if one.as_tuple() != other.as_tuple():  # 1.0 == 1.00, and a signalling NaN raises
                yield Difference(path, "another Decimal comes back")
        else:
            yield from self._containers(one, other, path)

    def _containers(self, one: Any, other: Any, path: str) -> Iterator[Difference]:
        if not is_value(cast(Any, type(one))):
            before = self._met.get(id(one))
            if before is not None:
                if before[2] is not other:
                    self._note(f"{path} is the same object as {before[0]}, and comes back as a separate one")
                return
            self._met[id(one)] = (path, one, other)
        if isinstance(one, dict):
            yield from self._dicts(one, other, path)
        elif isinstance(one, (list, tuple, deque)):
            if len(one) != len(other) or getattr(one, "maxlen", None) != getattr(other, "maxlen", None):
                yield Difference(path, f"{len(one):,} items come back as {len(other):,}, or with another maxlen")
            for index, (item, again) in enumerate(zip(one, other, strict=False)):
                yield from self.differences(item, again, f"{path}[{index}]")
        elif isinstance(one, (set, frozenset)):
            if len(one) != len(other) or Counter(map(_token, one)) != Counter(map(_token, other)):
                yield Difference(path, "other members come back")
            return
        elif hasattr(one, "get_secret_value"):
            if one.get_secret_value() != other.get_secret_value():
                yield Difference(path, "a secret comes back masked; give it a serializer, or keep it out of the state")
            return
        yield from self._fields(one, other, path)

    def _dicts(self, one: Any, other: Any, path: str) -> Iterator[Difference]:
        if getattr(one, "default_factory", None) is not getattr(other, "default_factory", None):
            yield Difference(path, "another default_factory comes back")
        if len(one) != len(other):
            yield Difference(path, f"{len(one):,} entries come back as {len(other):,}")
        for key, again in zip(one, other, strict=False):  # order matters
            where = f"{path}{step(key)}" if type(key) is str else f"{path}[{key!r:.40}]"
            wrong = next(self.differences(key, again, f"{path}: the key {key!r:.40}"), None)
            if wrong is None and type(key) is not type(again):  # 1 and 1.0 are two keys in JSON
                wrong = Difference(where, f"the key {key!r:.40} comes back as {again!r:.40}; use float(key)")
            if wrong is not None:
                yield wrong
                return
            yield from self.differences(one[key], other[again], where)

    def _fields(self, one: Any, other: Any, path: str) -> Iterator[Difference]:
        mine, others = _held(one), _held(other)
        if mine is None or others is None:
            if not isinstance(one, (dict, list, tuple, deque)) and one != other:
                yield Difference(path, f"another {type(one).__name__} comes back")
            return
        left_out = _left_out(one)
        for name in dict.fromkeys([*mine, *others]):
            for wrong in self._field(name, mine, others, f"{path}.{name}"):
                wrong.is_left_out |= name in left_out
                yield wrong

    def _field(self, name: str, mine: dict[str, Any], others: dict[str, Any], path: str) -> Iterator[Difference]:
        if (name in mine) != (name in others):
            lost = f"it is lost; {_LOST}" if name in mine else "it was not there, and comes back"
            yield Difference(path, lost)
        elif name in mine:
            yield from self.differences(mine[name], others[name], path)


_LOST = "declare it as a field of the class"


def _cure(kind: type) -> str:
    name = kind.__name__
    if kind.__module__.partition(".")[0] == "numpy":
        return "keep x.item() or x.tolist()"
    if issubclass(
        kind, (list, tuple, set, frozenset, dict, str, int, float, bytes, bytearray, datetime, date, PurePath)
    ):
        return f"declare the field with {name} in its type, or assign the type that comes back"
    return f"declare the field as {name} itself, not as a base class of it, Any, or a bare list or dict"


def _same_float(one: float, other: float) -> bool:
    if math.isnan(one) and math.isnan(other):
        return True  # the sign of a NaN is an accident
    return one == other and math.copysign(1, one) == math.copysign(1, other)


def _instants(one: Any, other: Any, path: str) -> Iterator[Difference]:
    """Compare zone and fold: ``==`` of datetimes compares instants only."""
    if one.replace(tzinfo=None, fold=0) != other.replace(tzinfo=None, fold=0):
        yield Difference(path, f"another {type(one).__name__} comes back")
    elif _rules(one.tzinfo) != _rules(other.tzinfo):
        yield Difference(
            path,
            f"its time zone {one.tzinfo} comes back as {other.tzinfo}; keep it in UTC, x.astimezone(timezone.utc), or "
            "the zone's name in a field of its own",
        )
    elif one.fold != other.fold:
        yield Difference(path, f"its fold={one.fold} is lost; keep it in UTC")


def _rules(zone: tzinfo | None) -> Any:
    """What identifies a zone: its offset if that never changes, else its name."""
    if zone is None:
        return None
    if getattr(zone, "key", None) in ("UTC", "Etc/UTC"):
        return timedelta(0)
    offset = zone.utcoffset(None)
    return (type(zone), str(zone)) if offset is None else offset


def _token(value: Any) -> Any:
    """A key that is equal only for equal values of equal types (1 == True). In sets, an int and a float may match."""
    value = scalar(value)
    if type(value) in (int, float):
        return "number", value
    if isinstance(value, (tuple, frozenset)):
        tokens = tuple(map(_token, value))
        return type(value), frozenset(tokens) if isinstance(value, frozenset) else tokens
    if isinstance(value, Decimal):
        return type(value), value.as_tuple()
    if isinstance(value, enum.Enum):
        return type(value), id(value)  # its fields would lead to its class and back
    if isinstance(value, datetime):
        return type(value), value.replace(tzinfo=None, fold=0), str(_rules(value.tzinfo)), value.fold
    fields = _held(value)
    if fields:
        return type(value), tuple(map(_token, fields.values()))
    # A field that does not count for the hash may hold a list.
    return type(value), value if type(value).__hash__ is not None else repr(value)


def _held(value: Any) -> dict[str, Any] | None:
    """Everything that an object holds, private and undeclared attributes included; None for a value without any."""
    kind: Any = type(value)
    names, slots = getattr(kind, "__struct_fields__", None), _slots_of(kind)
    if names is None and dataclasses.is_dataclass(kind):
        fields = tuple(field.name for field in dataclasses.fields(kind))
        names = (*fields, *sorted(slots - set(fields)))
    elif names is None and (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        names = tuple(attribute.name for attribute in attributes)
    held = {name: getattr(value, name) for name in names or () if hasattr(value, name)}
    if hasattr(value, "__dict__"):
        held |= value.__dict__
        for name in held.keys() - set(names or ()):
            if isinstance(getattr(kind, name, None), functools.cached_property):
                del held[name]  # it is computed again
    if _is_model(kind):
        held |= (value.__pydantic_private__ or {}) | (value.__pydantic_extra__ or {})
    return held if held or names is not None else None


@functools.lru_cache
def _slots_of(kind: Any) -> frozenset[str]:
    """The names of the slots of a class and its bases; none for built-in types."""
    names = [
        f"_{one.__name__.lstrip('_')}{name}" if name.startswith("__") else name
        for one in kind.__mro__
        for name in _named(one.__dict__.get("__slots__", ()))
    ]
    return frozenset(name for name in names if not name.endswith("__"))


def _named(slots: Any) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots


def _left_out(value: Any) -> set[str]:
    """The attributes that its class excludes from saving."""
    kind = type(value)
    if not _is_model(kind):
        return set()
    excluded = {name for name, field in kind.__pydantic_fields__.items() if field.exclude}
    return excluded | set(value.__pydantic_private__ or ())
