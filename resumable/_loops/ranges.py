"""Which positions are done, as ranges: what is finished out of order costs gaps, not items."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Any


class Ranges:
    """A set of integers >= 0, held as sorted ranges that neither overlap nor touch.

    Memory and the saved form grow with the number of gaps. ``add`` and ``in`` search O(log gaps).

    Args:
        numbers: What it holds at first, in any order.

    Raises:
        ValueError: If a number is negative.
    """

    __slots__ = ("_count", "_firsts", "_lasts")

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._count = 0
        for number in sorted(numbers):
            self._append(number)

    def _append(self, number: int) -> None:
        if self._lasts and number == self._lasts[-1] + 1:
            self._lasts[-1] = number
            self._count += 1
        else:
            self.add(number)

    @classmethod
    def from_list(cls, pairs: Any, *, total: int | None = None) -> Ranges:
        """Read what :meth:`to_list` gave, and believe nothing: a wrong done set skips items in silence.

        Args:
            pairs: ``[[first, last], ...]``, both included.
            total: How many positions there are, if known; none at or beyond it can be done.

        Raises:
            ValueError: If *pairs* is anything that :meth:`to_list` cannot have given.
        """
        if not isinstance(pairs, list) or not all(_is_range(pair) for pair in pairs):
            raise ValueError(f"done ranges must be pairs [first, last] with 0 <= first <= last, not {pairs!r:.80}")
        for (_, last), (first, _) in pairwise(pairs):
            if first <= last + 1:
                raise ValueError(f"done ranges must be sorted with gaps between: {first} follows {last}")
        if total is not None and pairs and pairs[-1][1] >= total:
            raise ValueError(f"position {pairs[-1][1]} cannot be done, there are only {total}")
        ranges = cls()
        ranges._firsts = [first for first, _ in pairs]
        ranges._lasts = [last for _, last in pairs]
        ranges._count = sum(last - first + 1 for first, last in pairs)
        return ranges

    def to_list(self) -> list[list[int]]:
        """``[[first, last], ...]``, sorted, both ends included."""
        return [[first, last] for first, last in zip(self._firsts, self._lasts, strict=True)]

    def add(self, number: int) -> bool:
        """Put *number* in; whether it is new.

        Raises:
            ValueError: If *number* is negative.
        """
        if number < 0:
            raise ValueError(f"a position must be >= 0, not {number}")
        after = bisect_right(self._firsts, number)
        if after and self._lasts[after - 1] >= number:
            return False
        self._insert(number, after)
        self._count += 1
        return True

    def _insert(self, number: int, after: int) -> None:
        joins_left = after > 0 and self._lasts[after - 1] == number - 1
        joins_right = after < len(self._firsts) and self._firsts[after] == number + 1
        if joins_left and joins_right:
            del self._firsts[after], self._lasts[after - 1]
        elif joins_left:
            self._lasts[after - 1] = number
        elif joins_right:
            self._firsts[after] = number
        else:
            self._firsts.insert(after, number)
            self._lasts.insert(after, number)

    def __contains__(self, number: int) -> bool:
        after = bisect_right(self._firsts, number)
        return after > 0 and number <= self._lasts[after - 1]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        spans = zip(self._firsts, self._lasts, strict=True)
        return chain.from_iterable(range(first, last + 1) for first, last in spans)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self.to_list() == other.to_list()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Ranges({self.to_list()!r})"

    @property
    def head(self) -> int:
        """The first number that is missing."""
        return self._lasts[0] + 1 if self._firsts and self._firsts[0] == 0 else 0

    def missing_below(self, stop: int) -> Iterator[int]:
        """All numbers below *stop* that are missing, ascending. O(gaps) besides what it yields."""
        starts = chain((0,), (last + 1 for last in self._lasts))
        ends = chain(self._firsts, (stop,))
        return chain.from_iterable(range(a, min(b, stop)) for a, b in zip(starts, ends, strict=True))


def _is_range(pair: object) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        # Not isinstance: True is an int, too.
        and all(type(number) is int for number in pair)
        and 0 <= pair[0] <= pair[1]
    )
