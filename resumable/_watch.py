"""Values that the program still holds after they were saved: is what it holds still what was saved?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, TypeVar

from . import _codec
from ._errors import StateEncodeError
from ._frozen import IMMUTABLE, LEAVES
from ._gil import has_gil
from ._plain import step

K = TypeVar("K", str, int)

ALWAYS_LOOKED_AT = 1000
"""So many watched values are compared at every save; of more, a part in turns."""


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
        self.update(_held(moved))
        for key, value in moved.items():
            if value != frozen[key] and _codec.encode(value) != _codec.encode(frozen[key]):
                self[key] = value  # Changed by another thread while it was being copied.

    def drop(self, keys: Mapping[K, Any]) -> None:
        """These keys have another value now."""
        if self:
            for key in keys:
                self.pop(key, None)

    def take_changed(self, current: Callable[[K], Any], limit: int, path: str) -> dict[K, Any]:
        """Compare the next *limit* originals; take out those that differ from what ``current(key)`` gives.

        Raises:
            StateEncodeError: If one was changed to what JSON cannot hold. All are still watched.
        """
        looked = dict(islice(self.items(), limit))
        if not looked:
            return {}
        # Counted before compared: what nobody holds now cannot change after the comparison.
        held = _held(looked, others=1)
        changed = {} if _same(looked, current) else _differing(looked, current, path)
        for key, value in looked.items():
            del self[key]
            if key in held and key not in changed:
                self[key] = value  # At the end of the queue.
        return changed


def _same(looked: Mapping[K, Any], current: Callable[[K], Any]) -> bool:
    try:
        return _codec.encode(list(looked.values())) == _codec.encode(list(map(current, looked)))
    except StateEncodeError:
        return False


def _differing(looked: Mapping[K, Any], current: Callable[[K], Any], path: str) -> dict[K, Any]:
    changed = {}
    for key, value in looked.items():
        where = f"{path}{step(key)}" if isinstance(key, str) else f"{path}[{key}]"
        if _codec.encode(value, where) != _codec.encode(current(key)):
            changed[key] = value
    return changed


# -- who holds a value ------------------------------------------------------------------------------------------------


def _all_let_go(flat: dict[K, Any], frozen: Mapping[K, Any]) -> bool:
    """Whether surely nobody holds or has changed any of them. At C speed; False means: look closely."""
    if not _COUNTS_ARE_TRUE or max(map(sys.getrefcount, flat.values())) > _ALONE:
        return False
    return list(flat.values()) == list(frozen.values())


def _held(values: dict[K, Any], others: int = 0) -> dict[K, Any]:
    """Those of *values* that somebody refers to besides *values* itself and so many *others*."""
    if not _COUNTS_ARE_TRUE:
        return dict(values)
    alone = _ALONE + others
    counts = list(map(sys.getrefcount, values.values()))
    return {
        key: value
        for (key, value), count in zip(values.items(), counts, strict=True)
        if (count > alone or _is_held_inside(value)) and not _is_constant(value)
    }


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
