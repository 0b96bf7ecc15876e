"""The order of a dict's keys in a save: where deleted keys stood, and keys that were deleted and assigned again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import takewhile
from operator import indexOf
from typing import Any, TypeVar

T = TypeVar("T")

Removal = tuple[str | None, int, int | None, Any]
"""A key that was deleted since the last save began; its index then; the item that deleted it; the removal before."""
UNORDERED: Removal = (None, 0, None, None)
"""Stands for no key. New keys may have been noted in another order than that of the dict."""
_SEARCHED = 1 << 16
"""In larger dicts, in bytes, no key is searched: they go to the journal, which keeps the order without an index."""


def index_of(key: str, entries: dict[str, Any]) -> int:
    """Where *key* stands; 0 if finding it would take long, or another thread changes the dict meanwhile."""
    with suppress(RuntimeError, ValueError):
        if next(reversed(dict.keys(entries)), None) == key:
            return len(entries) - 1
        if dict.__sizeof__(entries) <= _SEARCHED:
            return indexOf(dict.keys(entries), key)
    return 0


def removals(newest: Removal | None) -> Iterator[Removal]:
    """The removals, newest first."""
    while newest is not None:
        yield newest
        newest = newest[3]


def only_of(item: int | None, newest: Removal | None) -> Removal | None:
    """The removals that *item* made."""
    kept: Removal | None = None
    for key, index, by, _ in reversed([*removals(newest)]):
        if by == item and key is not None:
            kept = (key, index, by, kept)
    return kept


def with_removed(entries: dict[str, Any], newest: Removal | None, before: Mapping[str, Any], absent: Any) -> list[str]:
    """The keys of *entries* with the deleted ones in place; keys deleted and assigned again stand there, too.

    Args:
        newest: The removals of the unfinished item.
        before: By key that it has changed: the value when the item began, or *absent*.
    """
    first: dict[str, int] = {}
    for key, index, _, _ in reversed([*removals(newest)]):
        if key is not None and before.get(key, absent) is not absent:
            first.setdefault(key, index)
    order = [key for key in unless_changed(lambda: list(dict.keys(entries))) if key not in first]
    for key, index in reversed(first.items()):
        order.insert(index, key)
    return order


def added_last(
    changed: dict[str, Any], newest_first: Callable[[], Iterable[str]], dirty: Mapping[str, Any]
) -> dict[str, Any]:
    """*changed*, with added keys last, in their order. All that were added are *changed* or *dirty*."""
    either = {**changed, **dirty}
    added = unless_changed(lambda: list(takewhile(either.__contains__, newest_first())))
    new = frozenset(added)
    older = {key: value for key, value in changed.items() if key not in new}
    return older | {key: changed[key] for key in reversed(added) if key in changed}


def unless_changed(read: Callable[[], T]) -> T:
    """What *read* returns, once no other thread has changed the dict's size meanwhile."""
    while True:
        with suppress(RuntimeError):
            return read()
