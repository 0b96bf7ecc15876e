"""Inputs: refuses wrong ones, and iterates over an input from a position on."""

from __future__ import annotations

from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from itertools import islice
from types import AsyncGeneratorType, GeneratorType
from typing import Any, TypeVar, cast

T = TypeVar("T")

SEEKABLE = (list, tuple, range)
"""Types whose iterators can be set to a position at once."""
LASTING: tuple[type[Any], ...] = (*SEEKABLE, dict, type({}.keys()))
"""Types whose items can be had again at any time. A loop's body may change what ``items()`` of a dict gives."""
PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
"""Immutable types of items."""
_EMPTY: dict[object, object] = {}
# Their iterators run no Python code, so nothing can happen while a loop asks them for an item.
_BUILT_IN = (*SEEKABLE, dict, deque, *map(type, (_EMPTY.keys(), _EMPTY.values(), _EMPTY.items())))


class Indexed(Sequence[T]):
    """A data set that has only ``__len__`` and ``__getitem__``, as in training libraries.

    Iteration stops at its length, because not all of them raise IndexError there.
    """

    def __init__(self, items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, position: Any) -> Any:
        return self._items[position]

    def __iter__(self) -> Iterator[T]:
        return map(self._items.__getitem__, range(len(self._items)))


def as_input(items: Any) -> Any:
    """*items*, wrapped as a sequence if they can only be indexed."""
    kind = type(items)
    if kind in SEEKABLE:
        return items
    is_iterable = isinstance(items, (Iterable, AsyncIterable, Mapping))
    is_indexed = hasattr(kind, "__len__") and hasattr(kind, "__getitem__")
    return Indexed(items) if is_indexed and not is_iterable and not isinstance(items, type) else items


def refuse(items: object, *, has_key: bool, is_async: bool = False) -> None:
    """Raise TypeError if *items* is text, has no order and no key, or needs ``async for``."""
    if type(items) in SEEKABLE:
        return
    if isinstance(items, (str, bytes, bytearray)):
        raise TypeError(f"the items are a {type(items).__name__}, which would come letter by letter; put it in a list")
    if isinstance(items, (set, frozenset)) and not has_key:
        raise TypeError("a set has another order in every run; give key=..., or sorted(items)")
    if isinstance(items, GeneratorType) and items.gi_frame is None:
        raise ValueError(f"{items.__name__}: this generator is exhausted; call its function again")
    if is_async or isinstance(items, Iterable):
        return
    if isinstance(items, AsyncIterable):
        raise TypeError("an async iterable needs an async checkpoint: async with checkpointed(...), async for")
    advice = "; call it, or, in map(), put the function first" if callable(items) else ""
    raise TypeError(f"the items must be an iterable, not {items!r:.80}{advice}")


def length(items: object) -> int | None:
    """Number of *items*; None if unknown."""
    try:
        return len(items)  # type: ignore[arg-type]
    except (TypeError, OverflowError):
        return None


def ends(items: Any) -> tuple[int, Any, Any] | None:
    """The number of *items*, the first and the last; None if one of these is mutable or not available."""
    if type(items) not in SEEKABLE:
        return None
    count = len(items)
    if not count:
        return 0, None, None
    first, last = items[0], items[-1]
    return (count, first, last) if type(first) in PLAIN and type(last) in PLAIN else None


def is_indexed(items: object) -> bool:
    """Whether any item can be read by its position, without iterating over those before it."""
    return type(items) in SEEKABLE or isinstance(items, Sequence)


def steady(items: Iterable[T]) -> Iterator[T]:
    """Iterate over *items* with a built-in iterator or a generator: no other Python code runs."""
    if isinstance(items, GeneratorType) or type(items) in _BUILT_IN:
        return iter(items)
    return _pull(items)


def steady_from(items: Iterable[T], start: int) -> Iterator[T]:
    """Iterate as :func:`steady` does, from position *start* if that needs no skipping, else from the beginning."""
    if type(items) in SEEKABLE:
        seekable: Any = iter(items)
        seekable.__setstate__(start)
        return cast(Iterator[T], seekable)
    if isinstance(items, deque):
        return islice(items, start, None)
    if is_indexed(items) and start:
        return _pull_from(cast(Sequence[T], items), start)
    return steady(items)


def steady_async(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Iterate over plain or async *items* under ``async for``."""
    if isinstance(items, AsyncIterable):
        return aiter(items)
    return _pull_async(items)


def is_dead(source: object) -> bool:
    """Whether a generator has ended, well or with an error; False for other iterators, where that is unknown."""
    if isinstance(source, GeneratorType):
        return source.gi_frame is None
    return isinstance(source, AsyncGeneratorType) and source.ag_frame is None


def _pull(items: Iterable[T]) -> Generator[T, None, None]:
    yield from items


def _pull_from(items: Sequence[T], start: int) -> Generator[T, None, None]:
    while start < (stop := len(items)):  # the loop's body may append to them
        yield from map(items.__getitem__, range(start, stop))
        start = stop


async def _pull_async(items: Iterable[T]) -> AsyncGenerator[T, None]:
    for item in items:
        yield item


def checked_limit(limit: int | None) -> int | None:
    """*limit*, if it is valid.

    Raises:
        TypeError: It is no int.
        ValueError: It is below 1.
    """
    if limit is not None and type(limit) is not int:
        raise TypeError(f"limit must be an int, not {limit!r:.80}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}: how many items to do in one run, or None for all")
    return limit
