"""Finds one object in two places of a state: it would come back as two, and a change in one would miss the other."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice, repeat
from typing import Any

import msgspec

from .._durable import Durable
from .._json import LEAVES, step
from .._runtime.dicts import PARTS_TELL_KEYS
from .._runtime.interpreter import parts_of_all

_MOST = 10_000
"""How many objects are compared, at most; the first ones."""
_PLAIN: frozenset[type] = frozenset({dict, list})


def shared_in(state: Any) -> str:
    """``$.state.b is the same list as $.state.a …`` for the first shared object in *state*; "" if there is none."""
    if _are_surely_apart(state):
        return ""
    seen: dict[int, tuple[int, str]] = {}  # by id: the number of its container, and its place in it
    todo = [("$.state", 0, state)]
    for place, around, value in todo:  # the list grows meanwhile
        number = id(value)
        if number in seen and not isinstance(value, tuple):
            first, second = _path(seen, number), _path(seen, around) + place
            return f"{second} is the same {type(value).__name__} as {first}, and comes back as a separate one"
        seen[number] = around, place
        if (room := _MOST - len(todo)) > 0:
            todo += [(name, number, one) for name, one in _parts(value, room) if _has_parts(one)]
    return ""


def _are_surely_apart(state: Any) -> bool:
    """Whether certainly no dict or list stands in *state* twice, found level by level without their places."""
    level, seen, count = [state], set[int](), 0
    while level:
        count += len(level)
        seen.update(map(id, level))
        if len(seen) < count or not _PLAIN.issuperset(map(type, level)):
            return False
        room = _MOST - count
        inner = _first_within(level, room) if room > 0 else []
        is_over = LEAVES.issuperset(map(type, inner))
        level = [] if is_over else [one for one in inner if type(one) in _PLAIN or _has_parts(one)][:room]
    return True


def _first_within(containers: list[Any], most: int) -> list[Any]:
    """What *containers* hold, of large ones the first *most*; each is read by one call: threads may add to it."""
    if PARTS_TELL_KEYS and max(map(len, containers)) <= most // 8:
        return parts_of_all(*containers)
    dicts = [one for one in containers if type(one) is dict]
    lists = [one for one in containers if type(one) is list]
    each: Iterable[Iterable[Any]] = chain(map(dict.values, dicts), lists)
    return list(islice(chain.from_iterable(map(list, map(islice, each, repeat(most)))), _MOST * 10))


def _path(seen: dict[int, tuple[int, str]], number: int) -> str:
    places = []
    while number:
        number, place = seen[number]
        places.append(place)
    return "".join(reversed(places))


def _has_parts(value: Any) -> bool:
    if isinstance(value, dict | list | tuple | set):
        return not isinstance(value, Durable)
    return _fields(type(value)) is not None


def _parts(value: Any, most: int) -> Iterable[tuple[str, Any]]:
    """What *value* holds that may have parts itself, by its place in there, out of the first *most*."""
    if isinstance(value, dict):
        some = list(islice(value.items(), most))  # one call: other threads may add to it
        return [
            (step(key) if isinstance(key, str) else f"[{key!r:.80}]", one)
            for key, one in some
            if type(one) not in LEAVES
        ]
    if isinstance(value, list | tuple):
        return [(f"[{index}]", one) for index, one in enumerate(islice(value, most)) if type(one) not in LEAVES]
    if isinstance(value, set):
        return ()
    held = [(f".{name}", getattr(value, name, None)) for name in _fields(type(value)) or ()]
    return [(place, one) for place, one in held if type(one) not in LEAVES]


def _fields(kind: type[Any]) -> Iterable[str] | None:
    """The fields of a class of mutable records; None for any other class."""
    if issubclass(kind, msgspec.Struct):
        return None if kind.__struct_config__.frozen else kind.__struct_fields__
    if (given := getattr(kind, "__dataclass_params__", None)) is not None:
        return None if given.frozen else kind.__dataclass_fields__
    if hasattr(kind, "__pydantic_core_schema__"):
        return getattr(kind, "model_fields", None)
    return None
