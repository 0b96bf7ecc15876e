"""Detects changes that C code makes to a frozen list past its methods, as ``heapq.heappush`` does.

A frozen list keeps a copy of its content. Each save checks some of a collection's values in turn; the last save, all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import chain
from typing import Any, Generic, TypeVar

from .._errors import StateEncodeError
from .._json import LEAVES, check
from .frozen import FrozenDict, FrozenList, freeze

K = TypeVar("K")

_AT_LEAST = 16  # values that each save checks
_SHORT = 256  # entries of a list that each save compares; only the last save compares longer lists
_AT_ONCE = 1000
_FROZEN: frozenset[type] = frozenset({FrozenDict, FrozenList})


class Turns(Generic[K]):
    """Chooses which values a save checks.

    Attributes:
        is_last: Whether the next save is the last one, which checks all.
    """

    __slots__ = ("_left", "is_last")

    def __init__(self) -> None:
        self._left: list[K] = []
        self.is_last = False

    def take(self, keys: Callable[[], Collection[K]], changes: int) -> list[K]:
        """The next of *keys*; more changes in the save mean more keys."""
        if self.is_last:
            return list(keys())
        count, taken = _AT_LEAST + 2 * changes, self._left
        if len(taken) <= count:
            self._left = list(keys())
            count -= len(taken)
        else:
            taken = []
        taken += self._left[-count:]
        del self._left[-count:]
        return taken


def changed_below(values: dict[K, Any], *, is_last: bool) -> list[K]:
    """The keys of those frozen *values* that contain a changed list.

    Args:
        is_last: Whether to compare long lists, too, instead of only their lengths.
    """
    keys = list(values)
    changed: list[K] = []
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        if not _are_certainly_flat([values[key] for key in some]):
            changed += [key for key in some if _is_changed(values[key], is_last)]
    return changed


def _are_certainly_flat(values: list[Any]) -> bool:
    kinds = set(map(type, values)) - LEAVES
    if not kinds:
        return True
    if kinds != {FrozenDict}:
        return False
    dicts = (value for value in values if type(value) is FrozenDict)
    return LEAVES.issuperset(map(type, chain.from_iterable(map(dict.values, dicts))))


def _is_changed(value: Any, is_last: bool) -> bool:
    inner: Collection[Any]
    if type(value) is FrozenList:
        if len(value) != len(value.kept):
            return True
        if (is_last or len(value) <= _SHORT) and tuple(value) != value.kept:
            return True
        inner = value if value.is_nested else ()
    elif type(value) is FrozenDict:
        inner = value.values()
    else:
        return False
    return any(_is_changed(item, is_last) for item in inner if type(item) in _FROZEN)


def accept(value: Any, path: str, *, nan: bool) -> None:
    """Accept what C code has put into a frozen *value*, and freeze it.

    Raises:
        StateEncodeError: JSON cannot hold it. Nothing was changed.
    """
    check(value, path, nan=nan)
    _refreeze(value)


def _refreeze(value: Any) -> None:
    if type(value) is FrozenList:
        for index, item in enumerate(value):
            list.__setitem__(value, index, freeze(item))
            _refreeze(item)
        value.keep()
    elif type(value) is FrozenDict:
        for item in value.values():
            _refreeze(item)


def refuse_both(path: str) -> StateEncodeError:
    """The error for a copy that C code has changed while the program holds the original."""
    return StateEncodeError(
        path,
        "code that bypasses the methods of a list, such as heapq, changed its saved copy, while the program still "
        "holds the list that was assigned; change only that list, or assign a changed copy",
    )


def refuse_removal(path: str) -> StateEncodeError:
    """The error for a log that has lost entries."""
    return StateEncodeError(
        path,
        "code that bypasses the methods of a list, such as heapq, removed entries from it; a log only grows, so keep "
        "a queue as a list in cp.mapping(name)",
    )
