"""What a dict tells of its keys without being asked for them, which is faster than anything else.

CPython stores a dict whose keys are all exact strings in a table of its own kind: without their hashes, which each
string knows. The first key of another kind changes the table for good. So there are dicts that have strings only, and
still do not tell: once, they had another key. Whoever asks looks at the keys of those one by one.

Two things depend on the kind of the table: which objects the garbage collector sees in the dict, and its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .interpreter import has_gil, parts_of_all


class _Text(str):
    __slots__ = ()


class _WithVariables:
    def __init__(self) -> None:
        self.a = 1


PARTS_TELL_KEYS: bool = (
    has_gil()
    and parts_of_all({"a": 1, "b": None}) == [1, None]
    and parts_of_all(vars(_WithVariables())) == [1]
    and all(len(parts_of_all({key: 1})) == 2 for key in (1, None, 1.0, True, (), _Text("a")))
)
"""Whether a dict refers to its keys only if one of them is, or was, not an exact string, as the garbage collector sees
it: such keys cannot be part of a cycle. This goes through many small dicts faster than anything else.

False from Python 3.13 on: the values of ``vars(thing)`` are stored in the thing, and the dict does not refer to them.
"""


_COUNTS = (0, 4, 5, 9, 10, 20, 21, 40)
"""Counts of keys with which tables of all sizes up to 40 keys are nearly full, or just too small."""


def _with_text_keys() -> Iterator[dict[Any, int]]:
    for count in _COUNTS:
        yield {str(number): number for number in range(count)}


def _with_another_key() -> Iterator[dict[Any, int]]:
    """Dicts in which a key that is no exact string was the first one or the last one."""
    for other in (1, _Text("a")):
        yield {**vars(_WithVariables()), other: 1}
        for names in _with_text_keys():
            yield {other: 1, **names}
            yield {**names, other: 1}


def _sizes(dicts: Iterable[dict[Any, int]]) -> frozenset[int]:
    return frozenset(one.__sizeof__() for one in dicts)


SIZES_WITH_TEXT_KEYS: frozenset[int] = (
    _sizes(_with_text_keys()) - _sizes(_with_another_key()) if has_gil() else frozenset()
)
"""Sizes that only a dict with some forty keys at most has, all of them exact strings. Empty if dicts do not tell.

To compare the size takes as long as to look at one key.
"""
