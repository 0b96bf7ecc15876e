"""Iterates over the items that are left, and knows at every moment which items are done.

Items pass in C: ``compress(items, checks)`` asks the owner every few thousand items, and ``itertools.repeat`` has the
exact count. Under ``async for``, and in interpreters without a GIL, each item takes a Python step.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain, compress, islice, repeat
from operator import itemgetter, length_hint
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .._runtime.interpreter import has_gil
from . import consumers
from .advice.bodies import look_at_body
from .advice.gathering import look_at_gathering
from .apart import is_apart
from .failing import Retries, all_of, given_again, late_retries, retries_of
from .inputs import sources
from .ledgers.by_key import KeyLedger
from .ledgers.by_page import PageLedger
from .ledgers.by_position import Fingerprint, ItemKey, PositionLedger, Saved
from .loop import Loop, LoopOwner
from .places import place

if TYPE_CHECKING:
    from .ledgers.failed import Failed

T = TypeVar("T")

OrderedLedger = PositionLedger | KeyLedger | PageLedger

_FIRST_ROUND = 64
_LONGEST_ROUND = 4096


class Remaining(Loop[T], Iterator[T]):
    """The items that are not done, for one ``for`` in one thread.

    An item is done when the loop asks for the next one, or ends. If an exception or a ``break`` leaves the loop at an
    item, that item is not done.

    A second ``for`` over this object continues after the item at which the first one was left, as with any iterator,
    and so makes that item done; to get it again, ask the checkpoint for a new loop. ``enumerate`` and ``zip`` work; if
    ``zip`` took an item and then another input ended, that item is not done.

    Raises:
        InputChangedError: The input is not the one that the checkpoint was made with.
        RuntimeError: Iteration continues after an error in its source or in a save has cut it short.
    """

    _owner: LoopOwner[int]
    _ledger: OrderedLedger
    _late: Retries[T] | None = None

    def __init__(self, items: Iterable[T], owner: LoopOwner[int], ledger: OrderedLedger, name: str) -> None:
        super().__init__(items, owner, ledger, name)
        self._source = source_of(items, ledger)
        self._passing: Iterator[T] | None = None
        # When one of these runs or has ended, the loop has asked for its next item.
        self._witnesses: tuple[GeneratorType[Any, Any, Any], ...] = ()
        self._settled_at = 0
        self._thread = threading.get_ident()
        self._again: Generator[T] | None = None

    def _given_again(self, retries: Retries[T]) -> Iterator[T]:
        self._again = given_again(retries, self._owner, self._move_on, self._thread)
        return self._again

    def _end_pass(self) -> None:
        """All items were handed out. Failed items may be handed out once more; otherwise this is the end."""
        is_wanted = self.tries_again is not None and self._holder is not None and not self.is_held
        if is_wanted and (self.limit is None or self.done() < self.limit):
            self._late = self.retries = late_retries(self.tries_again, self.name, self._items, self._ledger)
        if self._late is None:
            self.end()

    def _passes(self, passing: Iterator[T]) -> Generator[Iterator[T]]:
        """What one ``for`` iterates over: the items pass in C, and this is freed when the ``for`` is left."""
        try:
            yield passing
        except GeneratorExit:
            self.note_end()
            raise
        while self._late is not None:
            yield self._given_again(self._late)
            self._late = None
            self._end_pass()

    def is_at_item(self) -> bool:
        if self._again is not None and self._at_again is not None:
            return cast("GeneratorType[T, None, None]", self._again).gi_suspended
        return self._count_given() > 0 and not self.is_finished and (self.is_held or self._has_all_witnesses())

    def must_settle(self) -> bool:
        if not self._count_given() or self.is_halted or self.is_held or self._has_all_witnesses():
            return False
        # A dead witness never counts again, so remove it.
        return not (self._settled_at == self._count_given() and any(map(sources.is_dead, self._witnesses)))

    def note_settled(self) -> None:
        self._settled_at = self._count_given()

    def _has_all_witnesses(self) -> bool:
        """Whether the loop has not asked for its next item yet."""
        for witness in self._witnesses:  # noqa: SIM110  # a generator would take three times as long
            if not witness.gi_suspended:
                return False
        return True

    @abstractmethod
    def _count_given(self) -> int:
        """Number of items that this run has handed out."""

    def __iter__(self) -> Iterator[T]:
        consumers.refuse_pools()
        is_numbered = consumers.look_at_call(self._owner.operation_id, self.position)
        look_at_gathering(self._owner.operation_id, self.position, place.frame_at(1))
        if self._holder is not None and not self.is_left and not self._count_given():
            consumers.say_takes_ahead(self._owner.operation_id, "a second iterator")
        self.is_worked_on = look_at_body(self._owner, self.position, is_numbered=is_numbered)
        holder = self._passes(self._begun())
        self.keep_by(holder)
        return chain.from_iterable(holder)

    def __next__(self) -> T:
        if self._holder is not None and not self.is_left and self.is_at_item():
            consumers.say_next(self._owner.operation_id)
        passing = self._begun()
        self._holder = None  # while this object is iterated directly, nobody can see when that ends
        return next(passing)

    def _begun(self) -> Iterator[T]:
        if self._passing is None:
            passing = iter(()) if self._check_left_out is not None else self._begin()
            if self.retries is not None:
                passing = chain(self._given_again(self.retries), passing)
            self._owner.register(self)
            self._passing = passing
            if self._check_left_out is not None:
                self._note_left_out(sum(1 for _ in self._ledger.offered(self._source)))
                self.end()
        elif self.is_halted:
            return iter(())
        elif self._late is not None and self._again is not None:
            self._owner.register(self)
            return self._again
        elif not self.is_finished:
            if any(map(sources.is_dead, self._witnesses)):
                raise consumers.cut_short()
            if self.is_left:
                self._owner.register(self)
        return self._passing

    @abstractmethod
    def _begin(self) -> Iterator[T]:
        """What the loop iterates over; calls :meth:`end` at its end."""

    def _skip(self) -> None:
        """Skip the done items of an input that can only be iterated."""
        if isinstance(self._ledger, PositionLedger) and not sources.is_indexed(self._items):
            if self.flags:
                self.flags = [True] * _LONGEST_ROUND
            self._ledger.check_passing(chain.from_iterable(self._watched()))

    def _watched(self) -> Generator[Iterator[T]]:
        """The source in parts, cut when the loop is woken: a source that sends requests may have to wait between them.

        Other sources are cut now and then.
        """
        is_quick = type(self._items) in sources.SEEKABLE
        is_out: list[bool] = []
        source = chain(self._source, chain.from_iterable(_noted(is_out)))
        self._owner.check_in()
        while not is_out:
            if is_quick:
                yield islice(source, _LONGEST_ROUND)
            else:
                yield map(itemgetter(1), zip(self.flags, source, strict=False))
            if not self.flags:
                self.flags = [True] * _FIRST_ROUND
                self._owner.check_in()

    def _looked_at_each(self) -> Iterator[T]:
        """The items to do, each examined; done items are skipped."""
        is_skipping = self._ledger.start > 0
        return self._ledger.offered(chain.from_iterable(self._watched()) if is_skipping else self._source)


class PassingRemaining(Remaining[T]):
    """Items pass in C, in rounds between two check-ins."""

    def __init__(self, items: Iterable[T], owner: LoopOwner[int], ledger: OrderedLedger, name: str) -> None:
        super().__init__(items, owner, ledger, name)
        self._is_seekable = type(items) in sources.SEEKABLE
        self.is_halted, self.retries = False, None  # read faster than defaults of the class, which mark() reads
        # The number of handed-out items at the end of the round, and the rest of the round.
        self._round = (0, repeat(True, 0))
        self._sampled: PositionLedger | None = None
        self._looked_at: Iterator[T] = self._source
        if not isinstance(ledger, PositionLedger) or ledger.is_full:
            self._looked_at = self._looked_at_each()
        elif ledger.is_sampled:
            self._sampled = ledger

    def done(self) -> int:
        # In this order: an item that is handed out between the two reads must not count as done.
        given = self._count_given()
        return max(given - 1, 0) if self.is_held or self._has_all_witnesses() else given

    def _count_given(self) -> int:
        upto, quota = self._round
        return upto - length_hint(quota)

    def current_item(self) -> ItemKey:
        if self.retries is not None:
            return super().current_item()
        upto, quota = self._round  # inlined from done(), which is slower
        given = upto - length_hint(quota)
        if given and (self.is_held or self._has_all_witnesses()):
            given -= 1
        return self._ledger.item_at(self._ledger.start + given)

    def mark(self) -> ItemKey | None:
        holder = self._holder
        if holder is None or holder() is None or self.is_finished or self.is_halted or self.retries is not None:
            return None
        upto, quota = self._round
        return upto - quota.__length_hint__()

    def marked(self, mark: ItemKey) -> ItemKey:
        assert isinstance(mark, int)
        return self._ledger.item_at(self._ledger.start + mark - 1)

    def has_passed(self, item: ItemKey, at: ItemKey) -> bool:
        if self.retries is not None:
            return self.has_done(item)
        ledger = self._ledger
        if type(ledger) is PositionLedger:
            return item < at  # type: ignore[operator]  # both are positions
        return ledger.has_done(item, ledger.start + self.done())

    def _begin(self) -> Iterator[T]:
        feed, checks = self._feed(), self._checks()
        generators = [one for one in (feed, checks, self._looked_at) if isinstance(one, GeneratorType)]
        self._witnesses = tuple(generators)
        return compress(chain.from_iterable(feed), chain.from_iterable(checks))

    def _feed(self) -> Generator[Iterable[T]]:
        """All items; if they cannot be sampled ahead, in parts with a sampled item between."""
        self._skip()
        items = self._looked_at if self.limit is None else islice(self._looked_at, self.limit)
        if self._sampled is None or self._is_seekable:
            yield items
        else:
            yield from self._sampled.stretches(items)
        self._end_pass()

    def _checks(self) -> Generator[Iterator[bool]]:
        """One True for each item that may pass; the next item has been taken off the input already.

        ``flags`` comes before ``quota``: a wake empties it, and then the round ends with the quota untouched.
        """
        longest, ticks = _FIRST_ROUND, self._boundary.ticks
        consumers.look_at_pull(self._owner.operation_id)
        while True:
            flags = self.flags
            if len(flags) < longest:
                # Before check_in, so that a wake during it is not lost.
                flags = self.flags = [True] * longest
            if self.is_held:
                self._refuse_held()
                return
            given = self._count_given()
            consumers.check_thread(self._thread)
            count = max(1, min(self._owner.check_in(), longest))
            quota = repeat(True, count)
            self._round = (given + count, quota)
            if self._sampled is not None and self._is_seekable:
                self._sampled.see_ahead(cast(Sequence[T], self._items), given, count)
            yield compress(compress(flags, quota), ticks)
            longest = min(2 * longest, _LONGEST_ROUND)


class SteppingRemaining(Remaining[T]):
    """Each item takes a Python step: if it runs apart, or without a GIL, where C's counts could be half-updated."""

    can_be_apart = True

    def __init__(self, items: Iterable[T], owner: LoopOwner[int], ledger: OrderedLedger, name: str) -> None:
        super().__init__(items, owner, ledger, name)
        self._given = self._done = 0

    def done(self) -> int:
        return self._done

    def _count_given(self) -> int:
        return self._given

    def _begin(self) -> Iterator[T]:
        steps = self._steps()
        self._witnesses = (cast("GeneratorType[T, None, None]", steps),)
        return steps

    def _steps(self) -> Generator[T]:
        self._skip()
        left = 0
        for item in islice(self._looked_at_each(), self.limit):
            while left <= 0 or not self.flags:
                self.flags = [True]
                consumers.check_thread(self._thread)
                left = max(1, self._owner.check_in())
            self._given += 1
            self._move_on()
            yield item
            if self.is_held:
                self._refuse_held()
                return
            self._note_done()
            left -= 1
        self._end_pass()

    def _note_done(self) -> None:
        if self.apart is None:
            self._done += 1
            return
        with self.apart.boundary.lock:  # a save in another thread sees both or neither
            self.apart.write()
            self._done += 1


def remaining(
    items: Iterable[T],
    owner: LoopOwner[int],
    *,
    name: str,
    key: Callable[[T], object] | str | None = None,
    fingerprint: Fingerprint = "sampled",
    saved: Saved | None = None,
    limit: int | None = None,
    failed: Failed | None = None,
    retry_failed: bool = False,
) -> Remaining[T]:
    """Make a loop over the *items* that *saved* does not name as done. See ``Checkpoint.remaining``.

    Args:
        fingerprint: Without *key*: which done items to compare with those of the earlier run. ``"full"``, all of them,
            takes microseconds an item.
        saved: What ``to_dict`` of an earlier loop or ``merged`` returned.
        limit: How many items to hand out, at most.
        failed: The failed items of all loops.
        retry_failed: Hand out this loop's failed items first.

    Raises:
        InputChangedError: *items* is not the input of *saved*. If items can only be iterated, the loop's first step
            raises it.
        TypeError: *items* is text, a set without key, or no iterable.
        ValueError: *saved* is malformed, or *limit* is below 1.
    """
    items = sources.as_input(items)
    sources.refuse(items, has_key=key is not None)
    if retry_failed:
        items = all_of(items, failed, name, has_key=key is not None)
    ledger = ledger_for(owner, items, saved, key, fingerprint)
    kind: type[Remaining[T]] = PassingRemaining if has_gil() and not is_apart(owner.boundary) else SteppingRemaining
    loop = kind(items, owner, ledger, name)
    loop.limit = sources.checked_limit(limit)
    loop.ends = sources.ends(items) if key is None and fingerprint == "sampled" else None
    loop.retries = retries_of(loop.name, items, ledger, failed, is_wanted=retry_failed)
    return loop


def ledger_for(
    owner: LoopOwner[Any], items: Any, saved: Saved | None, key: Any, fingerprint: Fingerprint
) -> OrderedLedger:
    """The ledger of the done *items*."""
    if key is None:
        return PositionLedger(owner.operation_id, items, saved, fingerprint)
    return KeyLedger(owner.operation_id, items, saved, key)


def source_of(items: Iterable[T], ledger: OrderedLedger) -> Iterator[T]:
    """The iterator over *items*; starts behind the done items if they can be skipped by position."""
    return sources.steady_from(items, ledger.start) if isinstance(ledger, PositionLedger) else iter(items)


def _noted(is_out: list[bool]) -> Generator[tuple[()]]:
    """Yields nothing, but sets *is_out* when asked."""
    is_out.append(True)
    yield ()
