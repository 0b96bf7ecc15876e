"""Small loops, of which there may be thousands: each reuses the parts of the one before at its place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Generator, Iterator, Sequence
from functools import cached_property
from operator import attrgetter
from threading import get_ident
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..._runtime import processes
from ..._runtime.boundary import Boundary
from ..._runtime.interpreter import running_here
from .. import consumers
from ..failing import late_retries
from ..ledgers.by_key import KeyLedger
from ..ledgers.by_position import ItemKey, PositionLedger
from ..loop import Ends, Items_co, LoopOwner
from ..places import place
from ..remaining import OrderedLedger, Remaining
from ..remaining_async import AsyncRemaining, new_pass
from ..running import RunningLoops
from ..sites import Site
from ..view import LoopView

if TYPE_CHECKING:
    from ..ledgers.failed import Failed

T = TypeVar("T")
MOST = 64
"""A loop over more items is not small: passing them in C pays."""
_frame_at = place.frame_at
_new = object.__new__
_ASK: tuple[bool, ...] = ()
"""The flags of a loop that asks before each item."""


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
        sure: The same, if no other frame can be at that address; else 0.
    """

    newest: SmallRemaining[Any] | None
    at: int
    sure: int

    def is_sure_of(self, frame: FrameType, /) -> None: ...
    def begins(self, loop: SmallRemaining[Any], frame: FrameType, /) -> None: ...
    def ended(self, loop: SmallRemaining[Any], /) -> None: ...


class Common:
    """What small loops have in common that are made at one place.

    Attributes:
        owner: Their checkpoint.
        view: Shows the newest.
        site: The place.
        boundary: Counts their items.
        ticks: Of the boundary: ``next()`` of it for each item, and at the end. ``count`` gives how many are left.
        running: The loops that run.
        streak: Makes them, and tells that they begin and end; None if they are told of one by one.
        thread: The thread they run in.
        name: The name of the view.
    """

    __slots__ = ("boundary", "count", "name", "owner", "running", "site", "streak", "thread", "ticks", "view")

    def __init__(
        self,
        owner: SmallOwner[int],
        view: LoopView,
        site: Site,
        running: RunningLoops,
        boundary: Boundary,
        streak: Telling | None = None,
    ) -> None:
        self.owner, self.view, self.site, self.running, self.boundary = owner, view, site, running, boundary
        self.ticks, self.count = boundary.ticks, boundary.ticks.__length_hint__
        self.streak, self.thread, self.name = streak, get_ident(), view.name


class _Shared:
    """An attribute that all loops have in :class:`Common`."""

    def __set_name__(self, _: type, name: str) -> None:
        self._read = attrgetter("common." + name.removeprefix("_"))

    def __get__(self, loop: Any, _: type | None = None) -> Any:
        return self if loop is None else self._read(loop)


def _shared() -> Any:
    return _Shared()


class SmallRemaining(Remaining[T]):
    """A few items, all to be done; each takes a Python step, and nothing is prepared.

    Without a ledger, the items must be immutable: samples are taken when somebody asks for them.

    Attributes:
        common: What it shares with other loops.
        passed: How many items it has done.
    """

    # Set many times faster than what is in a dict.
    __slots__ = ("_as_made", "_feed", "_is_out", "_items", "common", "ends", "flags", "is_finished", "passed")

    name: str = _shared()
    _owner: Any = _shared()
    _boundary: Boundary = _shared()
    _thread: int = _shared()
    _feed: Iterator[T] | None
    _own: Iterator[T] | None = None
    can_be_apart = False
    _check_left_out = _worker = None  # loops in a worker's item are made otherwise
    _settled_at = 0
    _was_left = _is_dead = False

    def __init__(  # not the base class's, which prepares what few items do not need; streaks do without it, too
        self, items: Any, common: Common, what: Ends | OrderedLedger, flags: list[bool]
    ) -> None:
        self.common, self._items, self.flags, self._feed = common, items, flags, None
        self.is_finished = self._is_out = False
        self.passed = 0
        self._as_made = items.copy() if type(items) is list else items
        if isinstance(what, tuple):
            self.ends = what
        else:
            self.ends = None
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
        return self.passed + self._has_item()

    def _has_item(self) -> bool:
        """Whether an item was handed out that is not done. By key, it may not be known yet."""
        if not self._is_out or self.ends is not None:
            return self._is_out
        return type(self._ledger) is not KeyLedger or self._ledger.has_met(self.passed)

    @property
    def position(self) -> int:
        return self.passed

    def current_item(self) -> ItemKey:
        if self.retries is not None and self._at_again is not None:
            return self._at_again
        return self._ledger.item_at(self.passed) if self.ends is None else self.passed

    def mark(self) -> ItemKey | None:
        if self._was_left or self.is_finished or self.is_halted or self.retries is not None or not self._has_item():
            return None
        return self.passed + 1

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
        return not self.is_finished and self._has_item()

    def must_settle(self) -> bool:
        if not self.passed or self._has_item() or self.is_halted:
            return False
        return not (self._settled_at == self.passed and self._is_dead)

    @property
    def is_left(self) -> bool:
        # Before the first item, nothing can be inside one.
        return self._was_left or not self._count_given()

    # -- iteration

    def __next__(self) -> T:
        if self._own is None or self._was_left:
            if self.is_at_item() and not self._was_left:
                consumers.say_next(self._owner.operation_id)
            self._feed = self._feed or self._new_feed()
            self._own = iter(self)
        return next(self._own)

    def end(self) -> None:
        self.is_finished = True
        next(self.common.ticks)
        self.common.running.ended(self)

    @property
    def total(self) -> int:
        return len(self._items)

    def _begin(self) -> Iterator[T]:
        return iter(self)

    def _new_feed(self) -> Iterator[T]:
        items = iter(self._items)
        return items if self.ends is not None or type(self._ledger) is not KeyLedger else self._ledger.offered(items)

    def __iter__(self) -> Generator[T, None, None]:
        common, given, feed = self.common, 0, self._feed
        if feed is None:
            frame, streak = _frame_at(1), common.streak
            self._feed = feed = self._new_feed() if self.ends is None else iter(self._items)
            if (
                streak is None
                or streak.newest is not self
                or (
                    streak.sure != id(frame)
                    and (
                        streak.at != id(frame)
                        or common.site.gone_through_by is not frame.f_code
                        or get_ident() != common.thread
                    )
                )
            ):
                consumers.check_thread(common.thread)
                if common.site.gone_through_by is not frame.f_code:
                    self._begin_by_new_code()
                    common.site.gone_through_by = consumers.look_at_pull(common.owner.operation_id)
                    if streak is not None:
                        streak.is_sure_of(frame)
                elif streak is None:
                    common.running.begun_in(self, common.view, frame)
                elif streak.newest is not self or streak.at != id(frame):
                    streak.begins(self, frame)
        elif self.is_finished or self.is_halted:
            return
        else:
            given = self._go_on()
        ticks, boundary, count = common.ticks, common.boundary, common.count
        may_pass = count() - len(self._items) + given > boundary.granted and processes.pid == boundary.pid
        flags: Sequence[bool] = self.flags if may_pass else _ASK
        self._is_out = True
        try:
            for item in feed:
                if not flags:
                    flags = self._asked(given)
                    if self.is_halted:
                        return
                self.passed = given
                next(ticks)  # nothing comes between these two: an interruption finds both or neither
                given += 1
                yield item
            if not flags and self.is_held:  # whoever holds it clears the flags
                self._refuse_held()
                return
        except GeneratorExit:
            self._was_left = True
            raise
        except BaseException:
            self._note_error(given)
            raise
        if not flags and self.tries_again is not None:
            self.passed, self._is_out = given, False
            yield from self._tried_again(self.tries_again)
        self.passed, self._is_out, self.is_finished = given, False, True
        next(ticks)
        streak = common.streak
        if streak is None:
            common.running.ended(self)
        elif streak.newest is not self:
            streak.ended(self)

    def _begin_by_new_code(self) -> None:
        """Code that has not gone through a loop of this place asks for the first item."""
        common = self.common
        consumers.refuse_pools()
        frame = place.users_frame()
        if common.streak is None:
            common.running.begun_in(self, common.view, frame)
        elif common.streak.newest is not self or common.streak.at != id(frame):
            common.streak.begins(self, frame)

    def _go_on(self) -> int:
        """A second ``for`` iterates over it. Returns how many items are done."""
        consumers.check_thread(self._thread)
        if self._is_dead:
            raise consumers.cut_short()
        self._was_left = False
        self._owner.register(self)
        self.passed, self._is_out = self._count_given(), False
        return self.passed

    def _note_error(self, given: int) -> None:
        self._is_dead = True
        if not self.is_held:
            self.passed, self._is_out = given, False

    def _asked(self, given: int) -> Sequence[bool]:
        """Ask the owner before the next item, after those *given*. Returns what is empty if it must be asked again."""
        if self.is_held:
            self._refuse_held()  # raises if an error has stopped it
            return _ASK
        self.passed, self._is_out = given, False
        upto = given
        while upto <= given or not self.flags:
            self.flags[:] = [True]  # in place: all loops of a streak share them
            consumers.check_thread(self._thread)
            upto = given + max(1, self._owner.check_in())
        self._is_out = True
        return self.flags if upto >= len(self._items) and self.tries_again is None else _ASK

    def _tried_again(self, failed: Failed) -> Generator[T]:
        while (retries := late_retries(failed, self.name, self._items, self._ledger)) is not None:
            self.retries = retries
            for item in self._given_again(retries):
                self._is_out = True
                try:
                    yield item
                except GeneratorExit:
                    self._was_left = True
                    raise
                finally:
                    self._is_out = False


def quickly(items: Any, common: Common, ends: Ends, flags: list[bool]) -> SmallRemaining[Any]:
    """Make a loop in half the time that a call of its class takes."""
    self: Any = _new(SmallRemaining)
    self.common, self._items, self.ends, self.flags, self._feed = common, items, ends, flags, None
    self.is_finished = self._is_out = False
    self.passed = 0
    self._as_made = items.copy() if type(items) is list else items
    return self  # type: ignore[no-any-return]


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

    def note_end(self) -> None:
        """Do nothing: the loop keeps all its items as they were."""

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
        before = None if self.is_finished or self.is_halted else self.kept_by()
        holder = new_pass(self.__anext__, before, place.frame_at(1))
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
    ledger.as_made = as_made
    return ledger
