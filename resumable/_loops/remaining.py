"""What is left to do: iteration that knows at every moment which items are done.

By position the items pass in C: ``compress(items, checks)`` asks the owner every few thousand items, and the exact
count is what ``itertools.repeat`` has left. Elsewhere each item takes a step in Python. All else is shared.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain, compress, islice, repeat
from operator import length_hint
from types import GeneratorType
from typing import Any, TypeVar, cast

from .._runtime.interpreter import has_gil
from . import fingerprint as _fingerprint
from . import sources
from .by_key import KeyLedger
from .by_position import Fingerprint, Ledger, PositionLedger, Saved
from .loop import AsyncLoopOwner, Loop, LoopOwner
from .stepping import Stepping, cut_short

__all__ = ["AsyncLoopOwner", "AsyncRemaining", "Loop", "LoopOwner", "Remaining", "remaining", "remaining_async"]

T = TypeVar("T")

_FIRST_ROUND = 64
_LONGEST_ROUND = 4096


class Remaining(Loop[T], Iterator[T]):
    """The items that are not done, for one ``for`` in one thread.

    A second ``for`` over the same object goes on after the item that the first one was left at, as with any
    iterator, and so makes that item done; to get it again, ask the checkpoint for a new one. ``enumerate`` and
    ``zip`` work; where ``zip`` took an item and then found another input at its end, that item is not done.

    Raises:
        InputChangedError: If the input is not the one that the checkpoint was made with.
        RuntimeError: If iteration is taken up again after it was cut short by an error in its source or in a save.
    """


class PassingRemaining(Remaining[T]):
    """By position, in C."""

    _owner: LoopOwner
    _ledger: PositionLedger

    def __init__(self, items: Iterable[T], owner: LoopOwner, ledger: PositionLedger, name: str) -> None:
        self._given = 0
        self._quota: repeat[bool] = repeat(True, 0)
        self._round = (0, self._quota)
        self._raw: Iterator[T] | None = None
        self._witnesses: tuple[GeneratorType[Any, Any, Any], ...] = ()
        super().__init__(items, owner, ledger, name)
        self._source = _beginning(items, ledger)
        self._is_seekable = type(items) in sources.SEEKABLE

    def __iter__(self) -> Iterator[T]:
        if self._raw is None:
            self._raw = self._begin()
        elif not self.is_finished and any(map(sources.is_dead, self._witnesses)):
            raise cut_short()
        return self._raw

    def __next__(self) -> T:
        return next(iter(self))

    def done(self) -> int:
        # In this order: what is given out between the two looks must not count as done.
        given = self._count_given()
        asked = not all(witness.gi_suspended for witness in self._witnesses)
        return given if asked else max(given - 1, 0)

    def _count_given(self) -> int:
        upto, quota = self._round
        return upto - length_hint(quota)

    def _begin(self) -> Iterator[T]:
        feed = cast("GeneratorType[Iterable[T], None, None]", self._feed())
        checks = cast("GeneratorType[Iterator[bool], None, None]", self._checks())
        # While one of these runs, or has ended, the loop has asked for its next item.
        own = (self._source,) if isinstance(self._source, GeneratorType) else ()
        self._witnesses = (feed, checks, *own)
        self._owner.register(self)
        return compress(chain.from_iterable(feed), chain.from_iterable(checks))

    def _feed(self) -> Generator[Iterable[T], None, None]:
        """All items; where they cannot be looked at ahead, in stretches, with one sampled between two of them."""
        if not sources.is_indexed(self._items):
            self._ledger.check_passing(self._source)
        position = self._ledger.start
        while self._is_sampled and not self._is_seekable:
            sampled = _fingerprint.next_sampled(position)
            yield islice(self._source, sampled - position)
            one = tuple(islice(self._source, 1))
            if not one:
                break
            self._ledger.see(sampled, one[0])
            yield one
            position = sampled + 1
        yield self._source
        self._finish()

    def _checks(self) -> Generator[Iterator[bool], None, None]:
        """A True for each item that may pass; the item to come was taken off the input already.

        ``flags`` is asked before ``quota``: once a wake has emptied it, the round ends with the quota untouched.
        """
        longest = _FIRST_ROUND
        while True:
            flags = self._flags
            if len(flags) < longest:
                # Before check_in, so that a wake during it is not lost.
                flags = self._flags = [True] * longest
            given = self._count_given()
            count = max(1, min(self._owner.check_in(), longest))
            quota = repeat(True, count)
            self._round = (given + count, quota)
            if self._is_sampled and self._is_seekable:
                self._ledger.see_ahead(self._items, self._ledger.start + given, count)
            yield compress(flags, quota)
            longest = min(2 * longest, _LONGEST_ROUND)


class SteppingRemaining(Stepping[T], Remaining[T]):
    """By key or by position, one Python step an item."""

    _owner: LoopOwner

    def __init__(self, items: Iterable[T], owner: LoopOwner, ledger: Ledger, name: str) -> None:
        super().__init__(items, owner, ledger, name)
        self._source = _beginning(items, ledger)
        self._is_to_skip = isinstance(ledger, PositionLedger) and not sources.is_indexed(items)

    def __iter__(self) -> Iterator[T]:
        self._check_alive(self._source)
        return self

    def __next__(self) -> T:
        if self._ask() or self._ahead:
            for item in self._check_in():
                if self._offer(item):
                    return item
        for item in self._source:
            if self._offer(item):
                return item
        self._finish()
        raise StopIteration

    def _check_in(self) -> list[T]:
        """The item to come, if there is one. It stays ahead if the owner raises."""
        if self._is_to_skip:
            self._is_to_skip = False
            cast(PositionLedger, self._ledger).check_passing(self._source)
        self._ahead = self._ahead or list(islice(self._source, 1))
        while self._ahead:
            self._left = max(1, self._owner.check_in())
            if not self._ask():
                break
        ahead, self._ahead = self._ahead, []
        return ahead


class AsyncRemaining(Stepping[T], AsyncIterator[T]):
    """The items that are not done, for one ``async for`` in one task; else as :class:`Remaining`."""

    _owner: AsyncLoopOwner

    def __init__(self, items: Iterable[T] | AsyncIterable[T], owner: AsyncLoopOwner, ledger: Ledger, name: str) -> None:
        super().__init__(items, owner, ledger, name)
        self._source = sources.steady_async(items)
        self._to_skip = ledger.start if isinstance(ledger, PositionLedger) else 0

    def __aiter__(self) -> AsyncIterator[T]:
        self._check_alive(self._source)
        return self

    async def __anext__(self) -> T:
        if self._ask() or self._ahead:
            for item in await self._check_in():
                if self._offer(item):
                    return item
        async for item in self._source:
            if self._offer(item):
                return item
        self._finish()
        raise StopAsyncIteration

    async def _check_in(self) -> list[T]:
        if self._to_skip:
            await self._skip()
        if not self._ahead:
            async for item in self._source:
                self._ahead = [item]
                break
        while self._ahead:
            self._left = max(1, await self._owner.check_in_async())
            if not self._ask():
                break
        ahead, self._ahead = self._ahead, []
        return ahead

    async def _skip(self) -> None:
        ledger = cast(PositionLedger, self._ledger)
        while self._to_skip:
            async for item in self._source:
                ledger.pass_by(item)
                break
            else:
                break
            self._to_skip -= 1
        self._to_skip = 0
        ledger.check_passed()


def remaining(
    items: Iterable[T],
    owner: LoopOwner,
    *,
    name: str,
    key: Callable[[T], object] | str | None = None,
    fingerprint: Fingerprint = "sampled",
    saved: Saved | None = None,
) -> Remaining[T]:
    """The part of *items* that *saved* does not name as done.

    Args:
        name: Tells the loops of one owner apart.
        key: Gives an item's identity, a str or an int, or names the field or attribute that holds it. With it the
            order may change and items may come and go; without it the position counts.
        fingerprint: Without *key*: how to tell that the input is still the same. ``"sampled"`` compares a few done
            items, ``"full"`` each done one (microseconds an item), None trusts it. What is left is not compared.
        saved: What ``to_dict`` of an earlier loop gave, or ``merged`` made of it.

    Raises:
        InputChangedError: If *items* is not the input of *saved*. Where items can only be gone through one by one,
            the loop's first step raises it.
        TypeError: If *items* is text, a set without key, or no iterable.
        ValueError: If *saved* cannot have come from a loop.
    """
    sources.refuse(items, has_key=key is not None)
    ledger = _ledger(owner, saved, key, fingerprint)
    if isinstance(ledger, PositionLedger) and not ledger.is_full and has_gil():
        return PassingRemaining(items, owner, ledger, name)
    return SteppingRemaining(items, owner, ledger, name)


def remaining_async(
    items: Iterable[T] | AsyncIterable[T],
    owner: AsyncLoopOwner,
    *,
    name: str,
    key: Callable[[T], object] | str | None = None,
    fingerprint: Fingerprint = "sampled",
    saved: Saved | None = None,
) -> AsyncRemaining[T]:
    """As :func:`remaining`, for ``async for``; the first step raises what depends on the items."""
    sources.refuse(items, has_key=key is not None, is_async=True)
    return AsyncRemaining(items, owner, _ledger(owner, saved, key, fingerprint), name)


def _ledger(owner: LoopOwner | AsyncLoopOwner, saved: Saved | None, key: Any, fingerprint: Fingerprint) -> Ledger:
    if key is None:
        return PositionLedger(owner.operation_id, saved, fingerprint)
    return KeyLedger(owner.operation_id, saved, key)


def _beginning(items: Iterable[T], ledger: Ledger) -> Iterator[T]:
    """What to iterate over; the done part is off already if the items can be had by position."""
    if not isinstance(ledger, PositionLedger):
        return sources.steady(items)
    if sources.is_indexed(items):
        ledger.check_indexed(cast(Sequence[T], items))
    return sources.steady_from(items, ledger.start)
