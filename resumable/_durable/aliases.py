"""Aliases: objects assigned to a collection that the program can still change. Saves compare them with their copies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain, compress, count, repeat
from operator import is_, is_not
from typing import Any, TypeVar

from .._json import LEAVES, encode_spelled, is_scalar, step
from .._runtime.interpreter import ALONE, COUNTS_ARE_TRUE, reference_counts
from .frozen import IMMUTABLE

K = TypeVar("K", str, int)

MANY = 8192
"""From this many new values on, some are saved without a copy: fewer are copied and read quickly."""
_AT_ONCE = 1000  # aliases compared by one call
_ALONE_INSIDE = ALONE + 1
_PLAIN: frozenset[type] = frozenset({dict, list})


class Aliases(dict[K, Any]):
    """Aliases by the key of their frozen copy. If only this dict holds one, it is compared once more, then dropped."""

    __slots__ = ()

    def add(self, originals: dict[K, Any], frozen: Mapping[K, Any], *, flat: bool = False) -> None:
        """Add those *originals* that the program still holds.

        Args:
            originals: The only container that refers to them, so that reference counts are exact; it is emptied.
            frozen: Their copies, in the same order.
            flat: Whether surely none of them contains a dict or list.
        """
        if flat and _nobody_holds_any(originals, frozen):
            originals.clear()
            return
        moved = {
            key: value
            for key, value in originals.items()
            if (copy := frozen[key]) is not value and type(copy) not in LEAVES
        }
        originals.clear()
        if not moved:
            return
        free = _free(list(moved), list(moved.values()))
        self.update(moved)
        self.drop(free)
        for key, value in moved.items():
            if value != frozen[key] and encode_spelled(value) != encode_spelled(frozen[key]):
                self[key] = value  # another thread changed it during the copy

    def drop(self, keys: Iterable[K]) -> None:
        """Remove *keys*: they have new values, or values that cannot change."""
        for key in keys:
            self.pop(key, None)

    def move_changed(self, into: dict[K, Any], saved: Callable[[K], Any], path: str) -> None:
        """Move the aliases that differ from their copies to *into*. An interruption loses none.

        Args:
            saved: Returns the copy for a key.
            path: The collection's place in the checkpoint, for messages.

        Raises:
            StateEncodeError: JSON cannot hold a changed value. All aliases stay here.
        """
        keys, values = list(self), list(self.values())
        # Count before comparing: a value that nobody else holds cannot change after the comparison.
        free = _free(keys, values)
        changed: dict[K, Any] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            changed |= _differing(some, values[start : start + _AT_ONCE], list(map(saved, some)), path)
        into.update(changed)
        self.drop(changed)
        self.drop(free)


def _differing(keys: list[K], values: list[Any], saved: list[Any], path: str) -> dict[K, Any]:
    changed: dict[K, Any] = {}
    if not _are_certainly_same(values, saved):
        for key, value, before in zip(keys, values, saved, strict=True):
            where = f"{path}{step(key)}" if isinstance(key, str) else f"{path}[{key}]"
            if encode_spelled(value, where) != encode_spelled(before):
                changed[key] = value
    return changed


def _are_certainly_same(values: list[Any], saved: list[Any]) -> bool:
    """Whether each dict of *values* contains the very objects that its copy contains."""
    if set(map(type, values)) != {dict} or values != saved:
        return False
    # Equal is not enough: 1 == 1.0 == True.
    ours, theirs = (chain.from_iterable(map(dict.values, dicts)) for dicts in (values, saved))
    return all(map(is_, ours, theirs))


# -- who holds a value ------------------------------------------------------------------------------------------------


def _nobody_holds_any(flat: dict[K, Any], frozen: Mapping[K, Any]) -> bool:
    """Whether surely nobody holds or has changed any of them, at C speed. If False, check each."""
    if not COUNTS_ARE_TRUE or max(reference_counts(flat.values())) > ALONE:
        return False
    return list(flat.values()) == list(frozen.values())


def _free(keys: list[K], values: list[Any]) -> list[K]:
    """The keys of those *values* that only this list and one dict refer to, or that cannot change."""
    if not COUNTS_ARE_TRUE:
        return []
    counts = list(reference_counts(values))
    free = [index for index, count in enumerate(counts) if count <= ALONE + 1 and not is_held_inside(values[index])]
    if tuple in set(map(type, values)):
        free += [index for index, value in enumerate(values) if _is_constant(value)]
    return [keys[index] for index in free]


def is_held_inside(value: Any) -> bool:
    """Whether the program may hold something inside *value*."""
    items = value.values() if isinstance(value, dict) else value
    if IMMUTABLE.issuperset(map(type, items)):
        return False
    inner = [item for item in items if type(item) not in IMMUTABLE and not _is_constant(item)]
    return bool(inner) and (max(reference_counts(inner)) > _ALONE_INSIDE or any(map(is_held_inside, inner)))


def _is_constant(value: Any) -> bool:
    # A tuple constant is shared by all code that names it, but cannot change.
    return is_scalar(value) or (type(value) is tuple and set(map(type, value)) <= LEAVES)


# -- many new values at once -------------------------------------------------------------------------------------------


def elsewhere(collection: dict[str, Any], keys: list[str], values: Collection[Any]) -> list[int]:
    """The indexes of those *values* that the *collection* does not hold: their keys have newer values, or copies."""
    here = dict.values(collection) if len(keys) == len(collection) else map(dict.get, repeat(collection), keys)
    if all(map(is_, values, here)):
        return []
    return list(compress(count(), map(is_not, values, map(dict.get, repeat(collection), keys))))


def held(values: Collection[Any], beside: int, *, are_tracked: bool) -> list[int] | None:
    """The indexes of those *values* that the program may change; None if that cannot be determined.

    A save need not copy the others. They stay in the collection unchanged, and are frozen when the program first reads
    them, as loaded values are. So from now on, the collection must see each reading.

    Args:
        beside: Number of references to each value besides the program's and the one in *values*.
        are_tracked: Whether the garbage collector tracks any; it does not track a dict without containers.
    """
    if not COUNTS_ARE_TRUE:
        return None
    if not are_tracked and max(reference_counts(values)) <= ALONE + beside:
        return []
    values, beside = list(values), beside + 1
    found, kinds = set(), set(map(type, values))
    if max(reference_counts(values)) > ALONE + beside:
        many = compress(range(len(values)), map((ALONE + beside).__lt__, reference_counts(values)))
        found = {index for index in many if type(values[index]) not in IMMUTABLE}
    if odd := kinds - IMMUTABLE - _PLAIN:
        found.update(index for index, value in enumerate(values) if type(value) in odd)
    if are_tracked and not _are_alone_inside(values):
        found.update(index for index, value in enumerate(values) if type(value) in _PLAIN and is_held_inside(value))
    return sorted(found)


def _are_alone_inside(values: list[Any]) -> bool:
    """Whether surely nobody else holds anything inside *values*."""
    level = _inner(values)
    while level:
        if not set(map(type, level)) <= _PLAIN or max(reference_counts(level)) > ALONE + 1:
            return False
        level = _inner(level)
    return True


def _inner(values: Iterable[Any]) -> list[Any]:
    """The items of the dicts and lists of *values* that may be shared themselves."""
    containers = [value for value in values if type(value) in _PLAIN]
    items = chain.from_iterable(value.values() if type(value) is dict else value for value in containers)
    return [item for item in items if type(item) not in IMMUTABLE and type(item) not in LEAVES]
