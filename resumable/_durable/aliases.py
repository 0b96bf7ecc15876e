"""Values that the program still holds after they were saved: is what it holds still what was saved?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from operator import is_
from typing import Any, TypeVar

from .._json import encode, step
from .._runtime.interpreter import has_gil
from .frozen import IMMUTABLE, LEAVES

K = TypeVar("K", str, int)

_TOGETHER = 1000
"""So many are compared at once."""


class Watch(dict[K, Any]):
    """Originals by key, each to be compared with the frozen copy that stands in the collection.

    One that nobody else holds can no longer change, and is let go after a last look.
    """

    __slots__ = ()

    def add(self, originals: dict[K, Any], frozen: Mapping[K, Any], *, flat: bool = False) -> None:
        """Watch those of *originals* that somebody holds.

        The only other references to them must be those in *originals*, which is emptied; *frozen* has their
        copies, in the same order. *flat* says that there are no containers in any of them.
        """
        if flat and _all_let_go(originals, frozen):
            originals.clear()
            return
        moved = {key: value for key, value in originals.items() if frozen[key] is not value}
        originals.clear()
        free = _let_go(list(moved), list(moved.values()))
        self.update(moved)
        self.drop(free)
        for key, value in moved.items():
            if value != frozen[key] and encode(value) != encode(frozen[key]):
                self[key] = value  # Changed by another thread while it was being copied.

    def drop(self, keys: Iterable[K]) -> None:
        """These keys have another value now, or one that can no longer change."""
        if self:
            for key in keys:
                self.pop(key, None)

    def take_changed(self, into: dict[K, Any], current: Callable[[list[K]], list[Any]], path: str) -> None:
        """Compare each original with what ``current`` gives for its key; move those that differ.

        An interruption leaves each here, or there, or in both places.

        Raises:
            StateEncodeError: If one was changed to what JSON cannot hold. All are still watched.
        """
        if not self:
            return
        keys, values = list(self), list(self.values())
        # Counted before compared: what nobody holds now cannot change after the comparison.
        free = _let_go(keys, values)
        changed: dict[K, Any] = {}
        for start in range(0, len(keys), _TOGETHER):
            some = keys[start : start + _TOGETHER]
            changed |= _differing(some, values[start : start + _TOGETHER], current(some), path)
        into.update(changed)
        self.drop(changed)
        self.drop(free)


def _differing(keys: list[K], values: list[Any], saved: list[Any], path: str) -> dict[K, Any]:
    if _are_surely_same(values, saved):
        return {}
    changed = {}
    for key, value, before in zip(keys, values, saved, strict=True):
        where = f"{path}{step(key)}" if isinstance(key, str) else f"{path}[{key}]"
        if encode(value, where) != encode(before):
            changed[key] = value
    return changed


def _are_surely_same(values: list[Any], saved: list[Any]) -> bool:
    """Whether each of *values* has the very objects in it that its copy has."""
    if set(map(type, values)) != {dict} or values != saved:
        return False
    # Equal is not enough: 1 == 1.0 == True.
    ours, theirs = (chain.from_iterable(map(dict.values, dicts)) for dicts in (values, saved))
    return all(map(is_, ours, theirs))


# -- who holds a value ------------------------------------------------------------------------------------------------


def _all_let_go(flat: dict[K, Any], frozen: Mapping[K, Any]) -> bool:
    """Whether surely nobody holds or has changed any of them. At C speed; False means: look closely."""
    if not _COUNTS_ARE_TRUE or max(map(sys.getrefcount, flat.values())) > _ALONE:
        return False
    return list(flat.values()) == list(frozen.values())


def _let_go(keys: list[K], values: list[Any]) -> list[K]:
    """The keys of those *values* that nobody refers to but this list and one dict."""
    if not _COUNTS_ARE_TRUE:
        return []
    counts = list(map(sys.getrefcount, values))
    free = [index for index, count in enumerate(counts) if count <= _ALONE + 1 and not _is_held_inside(values[index])]
    if tuple in set(map(type, values)):
        free += [index for index, value in enumerate(values) if _is_constant(value)]
    return [keys[index] for index in free]


def _inner(value: Any) -> list[Any]:
    """The containers directly in *value* that could change."""
    items = value.values() if isinstance(value, dict) else value
    if set(map(type, items)) <= IMMUTABLE:
        return []
    return [item for item in items if type(item) not in IMMUTABLE and not _is_constant(item)]


def _is_held_inside(value: Any) -> bool:
    inner = _inner(value)
    if not inner:
        return False
    return max(map(sys.getrefcount, inner)) > _ALONE_INSIDE or any(map(_is_held_inside, inner))


def _is_constant(value: Any) -> bool:
    # A tuple of constants is shared by all the code that names it, and cannot change.
    return type(value) is tuple and set(map(type, value)) <= LEAVES


_COUNTS_ARE_TRUE = has_gil()
_ALONE = max(map(sys.getrefcount, {"": []}.values())) if _COUNTS_ARE_TRUE else 0
_ALONE_INSIDE = _ALONE + 1
