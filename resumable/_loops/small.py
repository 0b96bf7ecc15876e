"""Small loops, of which there may be thousands: each reuses the parts of the one before at its place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Generator, Iterator
from functools import cached_property
from threading import get_ident
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .._runtime.boundary import Boundary
from .._runtime.interpreter import running_here
from . import consumers, place
from .by_key import KeyLedger
from .by_position import ItemKey, PositionLedger
from .failing import late_retries
from .loop import Ends, Items_co, LoopOwner
from .remaining import OrderedLedger, Remaining
from .remaining_async import AsyncPass, AsyncRemaining
from .running import RunningLoops
from .sites import Site
from .view import LoopView

if TYPE_CHECKING:
    from .failed import Failed

T = TypeVar("T")
MOST = 64
"""A loop over more items is not small: passing them in C pays."""


class SmallOwner(LoopOwner[Items_co], Protocol[Items_co]):
    """What a small loop needs of its checkpoint, in addition."""

    def may_pass(self, items: int) -> bool:
        """Whether this many items may pass before the next check-in."""
        ...


class Telling(Protocol):
    """Makes small loops, and tells the others that they begin and end.

    Attributes:
        newest: The last loop, if nobody need be told of it.
        at: The address of the frame that iterated over the loop before.
    """

    newest: SmallRemaining[Any] | None
    at: int

    def begins(self, loop: SmallRemaining[Any], frame: FrameType, /) -> None: ...
    def ended(self, loop: SmallRemaining[Any], /) -> None: ...


class SmallRemaining(Remaining[T]):
    """A few items, all to be done; each takes a Python step, and nothing is prepared.

    Without a ledger, the items must be immutable: samples are taken when somebody asks for them.

    Attributes:
        passed: How many items it has done.
    """

    is_finished = False
    passed = 0

    _granting: SmallOwner[int]
    _feed: Iterator[T] | None = None
    _own: Iterator[T] | None = None
    can_be_apart = False
    _check_left_out = _worker = None  # loops in a worker's item are made otherwise
    _given = _settled_at = 0
    _was_left = _is_dead = False

    def __init__(  # not the base class's, which prepares what few items do not need
        self,
        items: Any,
        owner: SmallOwner[int],
        view: LoopView,
        what: Ends | OrderedLedger,
        thread: int,
        site: Site,
        running: RunningLoops,
        boundary: Boundary,
        streak: Telling | None = None,
    ) -> None:
        self.name = view.name
        self.flags = [True]
        self._items = items
        self._owner = self._granting = owner
        self._running = running
        self._boundary = boundary
        self._thread = thread
        self._site, self._view, self._streak = site, view, streak
        if isinstance(what, tuple):
            self.ends = what
            self._as_made = items[:] if type(items) is list else items
        else:
            self._ledger = what  # pyright: ignore

    @cached_property
    def _ledger(self) -> OrderedLedger:  # type: ignore[override]
        return sampled(self._owner.operation_id, self._items, self._as_made)

    # -- progress

    @property
    def has_begun(self) -> bool:
        """Whether an item was asked for."""
        return self._feed is not None

    def done(self) -> int:
        return self.passed

    def _count_given(self) -> int:
        return self._given

    @property
    def position(self) -> int:
        return self.passed

    def current_item(self) -> ItemKey:
        if self.retries is not None and self._at_again is not None:
            return self._at_again
        return self._ledger.item_at(self.passed) if self.ends is None else self.passed

    def mark(self) -> ItemKey | None:
        if self._was_left or self.is_finished or self.is_halted or self.retries is not None:
            return None
        return self._given if self._given != self.passed else None

    def marked(self, mark: ItemKey) -> ItemKey:
        assert isinstance(mark, int)
        return self._ledger.item_at(mark - 1) if self.ends is None else mark - 1

    def has_done(self, item: ItemKey) -> bool:
        if self.retries is not None and item == self._at_again:
            return False
        if self.ends is None:
            return self._ledger.has_done(item, self.passed)
        return isinstance(item, int) and item < self.passed

    def is_at_item(self) -> bool:
        return self._given != self.passed and not self.is_finished

    def must_settle(self) -> bool:
        if not self._given or self._given != self.passed or self.is_halted:
            return False
        return not (self._settled_at == self._given and self._is_dead)

    @property
    def is_left(self) -> bool:
        # Before the first item, nothing can be inside one.
        return self._was_left or not self._given

    # -- iteration

    def __next__(self) -> T:
        if self._own is None or self._was_left:
            if self.is_at_item() and not self._was_left:
                consumers.say_next(self._owner.operation_id)
            self._own = self._steps(is_for=False)
        return next(self._own)

    def end(self) -> None:
        self.is_finished = True
        next(self._boundary.ticks)
        self._running.ended(self)

    @property
    def total(self) -> int:
        return len(self._items)

    def _begin(self) -> Iterator[T]:
        return iter(self)

    def _new_feed(self) -> Iterator[T]:
        items = iter(self._items)
        return items if self.ends is not None or type(self._ledger) is not KeyLedger else self._ledger.offered(items)

    def __iter__(self) -> Iterator[T]:
        return self._steps()

    def _steps(self, *, is_for: bool = True) -> Generator[T, None, None]:
        if get_ident() != self._thread:
            consumers.check_thread(self._thread)  # raises
        feed, given, count = self._feed, 0, len(self._items)
        if feed is None and is_for:
            frame, site, streak = place.frame_at(1), self._site, self._streak
            is_known = site.gone_through_by is frame.f_code
            if not is_known:
                consumers.refuse_pools()
                frame = place.users_frame()
            self._feed = feed = iter(self._items) if self.ends is not None else self._new_feed()
            if streak is None:
                self._running.begun_in(self, self._view, frame)
            elif streak.newest is not self or streak.at != id(frame):
                streak.begins(self, frame)
            if not is_known:
                site.gone_through_by = consumers.look_at_pull(self._owner.operation_id)
        elif is_for and (self.is_finished or self.is_halted):
            return
        elif is_for and self._is_dead:
            raise consumers.cut_short()
        else:
            self._feed = feed = feed or self._new_feed()
            self._was_left = False
            self._owner.register(self)
            given = self.passed = self._given
        move, flags = self._boundary.ticks.__next__, self.flags
        upto = given + count if self._granting.may_pass(count) else given
        try:
            for item in feed:
                if given >= upto or not flags:
                    upto = self._asked(given, upto)
                # In this order: an interruption finds the item before done, or this one begun.
                move()
                given += 1
                self._given = given
                yield item
                if self.is_held:
                    self._refuse_held()
                    return
                self.passed = given
        except GeneratorExit:
            self._was_left = True
            raise
        except BaseException:
            self._is_dead = True
            raise
        if self.tries_again is not None:
            yield from self._tried_again(self.tries_again)
        self.is_finished = True
        move()
        streak = self._streak
        if streak is None:
            self._running.ended(self)
        elif streak.newest is not self:
            streak.ended(self)

    def _asked(self, given: int, upto: int) -> int:
        """Ask the owner before the next item, after those *given*. Returns up to which item it need not be asked."""
        while given >= upto or not self.flags:
            self.flags[:] = [True]  # in place: all loops of a streak share them
            consumers.check_thread(self._thread)
            upto = given + max(1, self._owner.check_in())
        return upto

    def _tried_again(self, failed: Failed) -> Generator[T]:
        while (retries := late_retries(failed, self.name, self._items, self._ledger)) is not None:
            self.retries = retries
            for item in self._given_again(retries):
                self._given = self.passed + 1
                try:
                    yield item
                except GeneratorExit:
                    self._was_left = True
                    raise
                finally:
                    self._given = self.passed


class AsyncSmallRemaining(AsyncRemaining[T]):
    """A few items by position for one ``async for``, in the task that opened the checkpoint; nothing is prepared.

    Without a ledger, the items must be immutable: samples are taken when somebody asks for them.
    """

    is_finished = False

    _granting: SmallOwner[Awaitable[int]]
    _feed: Iterator[T] | None = None
    can_be_apart = False
    _check_left_out = _worker = _holder = None  # loops in a worker's item are made otherwise
    _done = _left = 0
    _is_out = False
    _has_begun = True

    def __init__(  # not the base class's, which prepares what few items do not need
        self,
        items: Any,
        owner: SmallOwner[Awaitable[int]],
        view: LoopView,
        what: Ends | OrderedLedger,
        thread: int,
        site: Site,
        running: RunningLoops,
        boundary: Boundary,
    ) -> None:
        self.name = view.name
        self.flags = [True]
        self._items = items
        self._owner = self._granting = owner
        self._running, self._view = running, view
        self._boundary = boundary
        self._task = running.main_context
        self._ahead = []
        if isinstance(what, tuple):
            self.ends = what
            self._as_made = items[:] if type(items) is list else items
        else:
            self._ledger = what  # pyright: ignore

    @cached_property
    def _ledger(self) -> OrderedLedger:  # type: ignore[override]
        return sampled(self._owner.operation_id, self._items, self._as_made)

    # -- progress

    @property
    def position(self) -> int:
        return self._done

    def current_item(self) -> ItemKey:
        return self._done if self.retries is None or self._at_again is None else self._at_again

    def has_done(self, item: ItemKey) -> bool:
        return isinstance(item, int) and item < self._done and (self.retries is None or item != self._at_again)

    @property
    def is_left(self) -> bool:
        # Before the first item, nothing can be inside one.
        return not (self._is_out or self._done) or super().is_left

    # -- iteration

    def __aiter__(self) -> AsyncIterator[T]:
        if self._feed is None:
            self._begin_feed(place.users_frame() if running_here() is self._task else None)
        elif not (self.is_finished or self.is_halted):
            self._owner.register(self)
        holder = AsyncPass(self.__anext__)
        self.keep_by(holder)
        return holder

    def _begin_feed(self, frame: FrameType | None) -> None:
        self._feed = iter(self._items)
        if frame is not None:
            self._running.begun_in(self, self._view, frame)
        else:
            self._owner.register(self)
        if self._granting.may_pass(len(self._items)):
            self._left = len(self._items)

    async def __anext__(self) -> T:
        if self.is_held:
            self._refuse_held()
        if self.is_halted or self.is_finished:
            raise StopAsyncIteration
        if self._feed is None:
            self._begin_feed(None)
        if self._is_out:  # the loop asks for an item, so the one before is done
            next(self._boundary.ticks)
            self._is_out, self._done, self._left = False, self._done + 1, self._left - 1
        ahead = self._ahead
        if not ahead:
            assert self._feed is not None
            for item in self._feed:
                ahead.append(item)
                break
            else:
                return await self._at_end()
        while self._left <= 0 or not self.flags:
            self._left, self.flags = 0, [True]  # if the owner raises, ask it again
            self._left = max(1, await self._owner.check_in())
        self._is_out = True
        next(self._boundary.ticks)
        return ahead.pop()

    async def _at_end(self) -> T:
        """Hand out a failed item once more if a person asks for it; otherwise this is the end."""
        if self.tries_again is not None:  # else the ledger would be made for it
            self.retries = self.retries or late_retries(self.tries_again, self.name, self._items, self._ledger)
        while self.retries is not None:
            if (entry := await self._next_again(self.retries)) is not None:
                return entry[1]
            self.retries = late_retries(self.tries_again, self.name, self._items, self._ledger)
        self.end()
        raise StopAsyncIteration


def sampled(operation_id: str, items: Any, as_made: Any) -> PositionLedger:
    """A ledger for *items*, which knows samples of what they were, *as_made*."""
    ledger = PositionLedger(operation_id, items, None, "sampled")
    ledger.see_ahead(as_made, 0, len(as_made))
    return ledger
