"""Done items as positions in any order: a head, and the missing positions below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, NoReturn, TypeVar

from ..._errors import InputChangedError
from ..._text import command_for
from ..inputs import fingerprint, sources
from ..inputs.fingerprint import Samples
from .by_key import count_in_ranges, from_ranges, to_ranges
from .by_position import ItemKey, Ledger, Saved, count_from, opened

T = TypeVar("T")
_MOST_MISSING = 10_000_000


class OutOfOrderLedger(Ledger):
    """The done items as positions, in any order. Its memory depends on the missing items, not on the done ones.

    Attributes:
        head: No position from here on was done when the run began; some may have been handed out.
        add: Called with the position of an item that was handed out and is done.

    Raises:
        InputChangedError: *saved* was made by key, or by a loop in order, or *items* have changed.
        ValueError: *saved* is malformed: missing < head <= handed out must hold.
    """

    def __init__(self, operation_id: str, items: Any = None, saved: Saved | None = None) -> None:
        saved = opened(operation_id, saved, "scattered")
        self._operation_id = operation_id
        self._items = items
        self.head = count_from(saved, "head")
        if not self.head <= count_from(saved, "handed"):
            raise ValueError(f"{self.head} saved positions cannot be done, only {saved.get('handed')} were handed out")
        # Ascending, as positions are handed out; a save in a thread copies it in one step.
        self._missing = dict.fromkeys(self._missing_from(saved.get("missing", []))) if saved else {}
        self.add: Callable[[Any], object] = self._missing.pop
        self._handed = self.head
        self._samples = Samples(saved.get("samples", ()))
        if not all(map(self._is_done, self._samples.expected)):
            raise ValueError("a saved sample is of a position that is not done")
        self._next_sampled = fingerprint.next_sampled(self.head)
        self._passed = 0
        self.start = self.head - len(self._missing)
        if sources.is_indexed(items):
            self._check_indexed(items)

    def _missing_from(self, ranges: Any) -> Iterator[int]:
        count = count_in_ranges(ranges)
        if ranges and ranges[-1][1] >= self.head:
            raise ValueError(f"position {ranges[-1][1]} cannot be missing below {self.head}")
        if count > _MOST_MISSING:
            raise ValueError(f"{count} saved positions cannot be missing")
        return from_ranges(ranges)

    def _is_done(self, position: int) -> bool:
        return position < self._handed and position not in self._missing

    @property
    def missing(self) -> list[int]:
        """The positions that were handed out and are not done, ascending."""
        return list(self._missing)

    @property
    def done(self) -> int:
        """Number of done items over all runs."""
        return self._handed - len(self._missing)

    # -- hand out

    def entries(self, items: Sequence[T]) -> Iterator[tuple[int, T]]:
        """Hand out the undone *items*: first the missing ones, then those after the head."""
        new = self._hand_out_all(sources.steady_from(items, self.head))
        again = self.missing
        return chain(((position, items[position]) for position in again), new) if again else new

    def _hand_out_all(self, items: Iterable[T]) -> Iterator[tuple[int, T]]:
        missing, sampled = self._missing, self._next_sampled
        for position, item in enumerate(items, self._handed):
            if position == sampled:
                sampled = self._see(position, item)
            missing[position] = None
            self._handed = position + 1
            yield position, item

    def hand_out(self, item: Any) -> int | None:
        """The position of the next *item*, for an input that is iterated from the start; None if it is done.

        Raises:
            InputChangedError: It is done, and has changed.
        """
        position = self._passed
        self._passed += 1
        if position >= self.head:
            if position == self._next_sampled:
                self._see(position, item)
            self._missing[position] = None
            self._handed = position + 1
        elif position in self._samples.expected:
            self._compare(position, item)
        return position if position in self._missing else None

    def _see(self, position: int, item: Any) -> int:
        """Sample the *item* at *position*. Returns the position that is sampled next."""
        self._next_sampled = fingerprint.next_sampled(position + 1)
        self._samples.add(position, item)
        return self._next_sampled

    def has_done(self, item: ItemKey, position: int) -> bool:
        return isinstance(item, int) and self._is_done(item)

    def count_left(self, position: int) -> int | None:
        length = sources.length(self._items)
        return None if length is None else max(0, length - self._handed) + len(self._missing)

    # -- has the input changed?

    def _check_indexed(self, items: Sequence[Any]) -> None:
        """Compare the done *items* by index, without iterating."""
        self._check_length(len(items))
        for position in self._samples.expected:
            self._compare(position, items[position])

    def check_end(self) -> None:
        """An iterated input has ended. Raises InputChangedError if items beyond its end are done."""
        self._check_length(self._passed)

    def _check_length(self, length: int) -> None:
        if length < self.head:
            self._fail(f"some of the first {self.head:,} items are done, but there are only {length:,} now")

    def _compare(self, position: int, item: Any) -> None:
        if (difference := self._samples.expected[position].difference(item)) is not None:
            self._fail(difference)

    def _fail(self, difference: str) -> NoReturn:
        start_over = f"start over, which does all items again:  {command_for('rm', self._operation_id)}"
        with_key = "start over, and allow order and number to change from then on:  map(..., key=...)"
        raise InputChangedError(self._operation_id, [difference], [start_over, with_key])

    # -- saved form

    def as_now(self, position: int) -> Callable[[], dict[str, Any]]:
        return partial(self._form, self._handed, self.missing)

    def _form(self, handed: int, missing: list[int]) -> dict[str, Any]:
        head, missing = handed, missing[:]
        while missing and missing[-1] >= head - 1:
            head = min(head, missing.pop())
        undone = set(missing)
        return {
            "by": "scattered",
            "head": head,
            "handed": handed,
            "missing": to_ranges(missing),
            "total": self.total,
            "samples": self._samples.saved(lambda position: position < head and position not in undone),
        }
