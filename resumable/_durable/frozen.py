"""Frozen copies: saved values that refuse in-place changes, so that no change is lost.

Reading a ``FrozenDict`` or ``FrozenList`` is a dict's or a list's own, at its speed. Copies of every kind are plain.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection
from itertools import chain
from typing import Any, NoReturn, SupportsIndex, TypeVar

from .._json import LEAVES, SURE, scalar
from .._runtime.interpreter import collector_paused, untracker

K = TypeVar("K")

_ADVICE = (
    "a value in a durable collection is frozen once it was saved, because a change inside it would go unnoticed. "
    "In a mapping, assign a changed copy: files[key] = {**files[key], 'size': 1} or files[key] = [*files[key], item]. "
    "An entry of a log stays as it was appended"
)


def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError(_ADVICE)


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed. ``dict(d)``, ``{**d}``, ``copy``, ``deepcopy`` and ``pickle`` make plain ones."""

    __slots__ = ()

    is_json_native = True
    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse  # pyright: ignore

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return dict, (dict(self),)


class FrozenList(list[Any]):
    """A list that cannot be changed. ``list(l)``, ``[*l]``, ``copy``, ``deepcopy`` and ``pickle`` make plain ones.

    Attributes:
        kept: Its content when it was frozen, because C code can change it all the same.
        is_nested: Whether it contains a dict or list.
    """

    __slots__ = ("is_nested", "kept")

    kept: tuple[Any, ...]
    is_nested: bool

    is_json_native = True
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse  # pyright: ignore
    append = extend = insert = pop = remove = clear = sort = reverse = _refuse  # pyright: ignore

    def keep(self) -> None:
        """Make the present content the frozen one."""
        self.kept = tuple(self)
        self.is_nested = not LEAVES.issuperset(map(type, self.kept))

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return list, (list(self),)


_FEW = 500
"""With at most this many copies, hide them from the garbage collector later: so few rarely start a collection."""

IMMUTABLE: frozenset[type] = LEAVES | {FrozenDict, FrozenList}


def freeze(value: Any) -> Any:
    """A copy of *value* as it is now, frozen at every depth; *value* must be plain JSON. Immutable parts are shared."""
    if type(value) in IMMUTABLE:
        return value
    # Copy first, check then: another thread may be changing the original.
    copy: Any
    if isinstance(value, dict):
        copy = FrozenDict(value)
        for key, item in copy.items():
            if type(item) not in IMMUTABLE:
                dict.__setitem__(copy, key, freeze(item))
    elif not isinstance(value, (list, tuple)):
        return scalar(value)
    else:
        copy = FrozenList(value)
        for index, item in enumerate(copy):
            if type(item) not in IMMUTABLE:
                list.__setitem__(copy, index, freeze(item))
        copy.keep()
    untracker()(copy)
    return copy


def freeze_all(values: list[Any]) -> list[Any]:
    """Freeze each of *values*, which must be plain JSON, and hide the copies from the garbage collector."""
    flat = freeze_flat(values)
    if flat is None:
        return list(map(freeze, values))
    hide_few(flat)
    return flat


def freeze_flat(values: list[Any]) -> list[Any] | None:
    """Freeze each of *values* at C speed; None if not all are dicts of numbers, strings, booleans and None.

    The caller must hide the copies with :func:`hide_few`.
    """
    if set(map(type, values)) != {dict}:
        return None
    with collector_paused():
        frozen = list(map(FrozenDict, values))
        if len(frozen) > _FEW:
            deque(map(untracker(), frozen), 0)
    kinds = set(map(type, chain.from_iterable(map(dict.values, frozen))))
    if not kinds <= LEAVES or not set(map(type, set().union(*frozen))) <= {str}:
        return None
    inner = chain.from_iterable(map(dict.values, frozen))
    if float in kinds and not all(math.isfinite(value) for value in inner if type(value) is float):
        return None
    return frozen


def hide_few(flat: Collection[FrozenDict]) -> None:
    """Hide copies that :func:`freeze_flat` made from the garbage collector, if it has not hidden them itself."""
    if len(flat) <= _FEW:
        deque(map(untracker(), flat), 0)


def freeze_checked(values: dict[K, Any], check: Callable[[], None]) -> tuple[dict[K, Any], bool]:
    """Freeze *values*. Returns the copies, and whether :func:`freeze_flat` made all of them.

    Args:
        check: Raises if *values* are not plain JSON; called only if that is possible.
    """
    originals = list(values.values())
    flat = freeze_flat(originals)
    frozen = dict(values)  # allocates space for all of them at once
    if flat is not None:
        frozen.update(zip(values, flat, strict=True))
    elif not SURE.issuperset(map(type, originals)):
        check()
        frozen.update(zip(values, map(freeze, originals), strict=True))
    return frozen, flat is not None
