"""What of an input is done when items end out of order: by position a head and what is missing below it, or by key.

A loop over ``map`` is told of each item that is handed out and of each that is done or given up; what steps through
the items and who works on them is not known here.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar, cast

from . import _fingerprint, _sources
from ._errors import InputChangedError
from ._failed import Failed, Key, error_text
from ._keys import KeyLedger
from ._ledgers import Saved
from ._place import AsyncLoopOwner, Loop, LoopOwner
from ._ranges import Ranges

T = TypeVar("T")

_MANY_SAMPLES = 40
_MOST_MISSING = 10_000_000


class ScatteredLedger(KeyLedger):
    """Done by position, in any order: the key is the position. Memory follows what is missing, not what is done.

    Raises:
        InputChangedError: If *saved* was made by key, or by a loop that goes in order.
        ValueError: If *saved* cannot have come from a ledger: missing < head <= handed out must hold.
    """

    def __init__(self, operation_id: str, saved: Saved | None = None) -> None:
        if saved and saved.get("by") != "scattered":
            raise _followed_otherwise(operation_id, saved, "out of order, by position")
        saved = saved or {}
        self._operation_id = operation_id
        # What is at or beyond the head was handed out, perhaps, but none of it is done.
        self.head = _count_from(saved, "head")
        if not self.head <= _count_from(saved, "handed"):
            raise ValueError(f"{self.head} saved positions cannot be done, only {saved.get('handed')} were handed out")
        missing = Ranges.from_list(saved.get("missing", []), total=self.head)
        if len(missing) > _MOST_MISSING:
            raise ValueError(f"{len(missing)} saved positions cannot be missing")
        # In ascending order, as positions are handed out in it; copied in one step when a save runs in a thread.
        self._missing = dict.fromkeys(missing)
        self._handed = self.head
        self._samples = _fingerprint.samples_from(saved.get("samples", ()))
        if any(one.position not in self for one in self._samples):
            raise ValueError("a saved sample is of a position that is not done")
        self._expected = {one.position: one for one in self._samples}
        self._settled_samples: frozenset[int] = frozenset()
        self._next_sampled = _fingerprint.next_sampled(self.head)
        self._passed = 0
        self._offered: Key = 0
        self.start = self.head - len(missing)
        self.total: int | None = None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, int) and 0 <= key < self._handed and key not in self._missing

    @property
    def missing(self) -> list[int]:
        """What was handed out and is not done, ascending."""
        return list(self._missing)

    def offer(self, item: Any) -> bool:
        """Look at the next *item* of an input that is gone through from its first; False if it is done already."""
        self._offered = position = self._passed
        self._passed += 1
        if position >= self.head:
            self.hand_out(position, item)
            return True
        if position in self._expected:
            self.compare(position, item)
        return position in self._missing

    def hand_out(self, position: int, item: Any) -> None:
        """*item*, one that was never handed out, is to be worked on now."""
        if position == self._next_sampled:
            self._see(position, item)
        self._missing[position] = None
        self._handed = position + 1

    def _see(self, position: int, item: Any) -> None:
        self._next_sampled = _fingerprint.next_sampled(position + 1)
        samples = (*self._samples, _fingerprint.sample(position, item))
        # One assignment of a whole tuple: a save may read it in another thread.
        self._samples = samples if len(samples) < _MANY_SAMPLES else _fingerprint.thinned(samples, last=8)

    def add(self, key: Key) -> None:
        self._missing.pop(cast(int, key), None)

    def check_indexed(self, items: Sequence[Any]) -> None:
        """Compare what is done of *items*, without going through it.

        Raises:
            InputChangedError: If it is not the same.
        """
        self.check_length(len(items))
        for position in self._expected:
            self.compare(position, items[position])

    def check_length(self, length: int) -> None:
        """*length* items are all that there are.

        Raises:
            InputChangedError: If items beyond that are done.
        """
        if length < self.head:
            self._fail(f"items up to the {self.head}th were done, but there are only {length} now")

    def compare(self, position: int, item: Any) -> None:
        """Look whether *item* is the one that was at *position*.

        Raises:
            InputChangedError: If it is not.
        """
        difference = self._expected[position].difference(item)
        if difference is not None:
            self._fail(difference)

    def _fail(self, difference: str) -> NoReturn:
        raise InputChangedError(
            self._operation_id,
            [difference],
            [
                f"start over:  resumable rm {self._operation_id}",
                "start over, and from then on let order and number change:  map(..., key=...)",
            ],
        )

    def count_left(self, items: Collection[Any]) -> int:
        return max(0, len(items) - self._handed) + len(self._missing)

    def to_dict(self, position: int) -> dict[str, Any]:
        head = handed = self._handed
        missing = list(self._missing)
        while missing and missing[-1] >= head - 1:
            head = min(head, missing.pop())
        undone = set(missing)
        samples = [one for one in self._samples if one.position < head and one.position not in undone]
        return {
            "by": "scattered",
            "head": head,
            "handed": handed,
            "missing": _spans(missing),
            "total": self.total,
            "samples": list(map(list, _fingerprint.thinned(samples))),
        }

    def changes(self, position: int) -> dict[str, Any]:
        form = self.to_dict(position)
        return form | {"samples": [one for one in form["samples"] if one[0] not in self._settled_samples]}

    def settle(self, changes: Saved) -> None:
        now = {one[0] for one in changes["samples"]}
        kept = {one.position for one in self._samples}
        self._settled_samples = frozenset(now | (self._settled_samples & kept))


class Done(Loop[T]):
    """One ``map``'s place in its input. Not iterable itself: :meth:`to_do` hands out, :meth:`finish` is told.

    An item that was given up counts as handed out and not done; it is handed out again only if that is asked for.

    Attributes:
        on_wake: Called by :meth:`wake`, besides; from any thread and from signal handlers.
    """

    _ledger: KeyLedger

    def __init__(
        self,
        items: Any,
        owner: LoopOwner | AsyncLoopOwner,
        ledger: KeyLedger,
        name: str,
        failed: Failed | None = None,
        *,
        retry_failed: bool = False,
    ) -> None:
        super().__init__(items, owner, ledger, name)
        self.on_wake: Callable[[], None] = lambda: None
        self._done = 0
        self._all_failed = failed if failed is not None else Failed()
        self._failed = self._all_failed.of(name)
        self._skipped = frozenset() if retry_failed else frozenset(self._failed)
        self._retried = frozenset(self._failed)
        self._is_scattered = isinstance(ledger, ScatteredLedger)
        if isinstance(ledger, ScatteredLedger) and _sources.is_indexed(items):
            ledger.check_indexed(items)

    def done(self) -> int:
        return self._done

    def wake(self) -> None:
        super().wake()
        self.on_wake()

    @property
    def was_woken(self) -> bool:
        """Whether the owner wants to be asked before the next item."""
        return not self._flags

    def rearm(self) -> None:
        """The owner is about to be asked."""
        self._flags = [True]

    def begin(self) -> None:
        """The first item is asked for."""
        self._owner.register(self)

    def end(self) -> None:
        """All items are done or given up."""
        self._finish()

    def at(self, key: Key) -> None:
        """The body of the loop works on this item now: loops inside it belong to it."""
        self._ledger._offered = key

    def finish(self, key: Key) -> None:
        """The item is done."""
        self._ledger.add(key)
        self._done += 1
        if key in self._retried:
            self._all_failed.discard(self.name, key)

    def give_up(self, key: Key, error: BaseException) -> None:
        """The item failed for good."""
        self._all_failed.add(self.name, key, error_text(error))

    def to_do(self) -> Iterator[tuple[Key, T]]:
        """The items to work on, each with its key; each counts as handed out from then on.

        Raises:
            InputChangedError: The items that are done are not the ones that were.
        """
        if not self._is_scattered:
            return self._by_key(_sources.steady(self._items))
        if _sources.is_indexed(self._items):
            return self._by_index()
        return self._by_passing(_sources.steady(self._items))

    def _by_index(self) -> Iterator[tuple[Key, T]]:
        ledger = cast(ScatteredLedger, self._ledger)
        items = cast(Sequence[T], self._items)
        for position in ledger.missing:
            if position not in self._skipped:
                yield position, items[position]
        hand_out = ledger.hand_out
        for position, item in enumerate(_sources.steady_from(items, ledger.head), ledger.head):
            hand_out(position, item)
            if position not in self._skipped:
                yield position, item

    def _by_passing(self, source: Iterable[T]) -> Iterator[tuple[Key, T]]:
        ledger = cast(ScatteredLedger, self._ledger)
        for item in source:
            if ledger.offer(item) and (key := ledger._offered) not in self._skipped:
                yield key, item
        ledger.check_length(ledger._passed)

    def _by_key(self, source: Iterable[T]) -> Iterator[tuple[Key, T]]:
        handed: set[Key] = set(self._skipped)
        for item in source:
            key = self._ledger._checked_key(item)
            if key not in self._ledger and key not in handed:
                handed.add(key)
                yield key, item

    async def to_do_async(self) -> AsyncIterator[tuple[Key, T]]:
        """The same for an input that needs ``async for``."""
        handed: set[Key] = set(self._skipped)
        async for item in cast(AsyncIterable[T], self._items):
            if not self._ledger.offer(item):
                continue
            key = self._ledger._offered
            if key not in handed:
                if not self._is_scattered:
                    handed.add(key)
                yield key, item
        if isinstance(self._ledger, ScatteredLedger):
            self._ledger.check_length(self._ledger._passed)


def done_loop(
    items: Any,
    owner: LoopOwner | AsyncLoopOwner,
    *,
    name: str,
    key: Callable[[T], object] | str | None = None,
    saved: Saved | None = None,
    failed: Failed | None = None,
    retry_failed: bool = False,
    is_async: bool = False,
) -> Done[T]:
    """A loop over what *saved* does not name as done.

    Raises:
        InputChangedError: If *items* is not the input of *saved*.
        TypeError: If *items* is text, a set without key, or no iterable.
        ValueError: If *saved* cannot have come from a loop.
    """
    _sources.refuse(items, has_key=key is not None, is_async=is_async)
    ledger: KeyLedger
    if key is None:
        ledger = ScatteredLedger(owner.operation_id, saved)
    elif saved and saved.get("by") == "scattered":
        raise _followed_otherwise(owner.operation_id, saved, "by key")
    else:
        ledger = KeyLedger(owner.operation_id, saved, key)
    return Done(items, owner, ledger, name, failed, retry_failed=retry_failed)


def _followed_otherwise(operation_id: str, saved: Saved, now: str) -> Exception:
    was = {"key": "by key", "position": "in order, by position", "scattered": "out of order, by position"}
    if saved.get("by") not in was:
        return ValueError(f"a saved loop must be by one of {sorted(was)}, not {saved.get('by')!r}")
    return InputChangedError(
        operation_id,
        [f"the loop was followed {was[saved['by']]}, and is to be followed {now} now"],
        ["go on as before", f"start over:  resumable rm {operation_id}"],
    )


def _count_from(saved: Saved, name: str) -> int:
    value = saved.get(name, 0)
    if type(value) is not int or value < 0:
        raise ValueError(f"a saved {name} must be an int >= 0, not {value!r:.80}")
    return value


def _spans(numbers: Sequence[int]) -> list[list[int]]:
    """Ascending *numbers* as ``[[first, last], ...]``, the form of :class:`Ranges`, in one pass."""
    spans: list[list[int]] = []
    last = -2
    for number in numbers:
        if number == last + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
        last = number
    return spans
