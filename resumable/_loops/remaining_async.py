"""Iterates over the items that are left, under ``async for``: each item takes a Python step."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import ref

from .._runtime.interpreter import is_at_async_for, running_here
from . import consumers
from .advice.bodies import look_at_body
from .advice.gathering import look_at_gathering
from .failing import Retries, all_of, late_retries, retries_of
from .inputs import sources
from .ledgers.by_position import Fingerprint, ItemKey, PositionLedger, Saved
from .loop import Loop, LoopOwner
from .places import place
from .remaining import OrderedLedger, ledger_for, source_of

if TYPE_CHECKING:
    from .ledgers.failed import Failed

T = TypeVar("T")


class AsyncRemaining(Loop[T], AsyncIterator[T]):
    """The items that are not done, for one ``async for`` in one task. See :class:`~.remaining.Remaining`.

    An error in a save loses no item: iteration may continue after it.
    """

    can_be_apart = True
    _owner: LoopOwner[Awaitable[int]]
    _ledger: OrderedLedger

    def __init__(self, items: Any, owner: LoopOwner[Awaitable[int]], ledger: OrderedLedger, name: str) -> None:
        super().__init__(items, owner, ledger, name)
        self._done = self._left = 0
        self._is_out = False
        self._has_begun = False
        self._ahead: list[T] = []
        self._asked: list[T] = []
        is_indexed = sources.is_indexed(items)
        is_async = isinstance(items, AsyncIterable) and not is_indexed
        self._source = sources.steady_async(items if is_async else source_of(cast(Iterable[T], items), ledger))
        self._to_skip = ledger.start if isinstance(ledger, PositionLedger) and not is_indexed else 0

    def done(self) -> int:
        return self._done

    async def _next_again(self, retries: Retries[T]) -> tuple[ItemKey, T] | None:
        if retries.current is not None:
            self._move_on()
            retries.end()
        entry = retries.take()
        if entry is None:
            self.retries = None
            return None
        if not self._has_begun:
            self._has_begun = True
            self.begin()
        await self._owner.check_in()
        self._move_on()
        retries.begin(entry[0])
        return entry

    def is_at_item(self) -> bool:
        return self._is_out or self._at_again is not None

    def __aiter__(self) -> AsyncIterator[T]:
        if self._has_begun and not (self.is_finished or self.is_halted):
            if sources.is_dead(self._source):
                raise consumers.cut_short()
            self._owner.register(self)
        look_at_gathering(self._owner.operation_id, self.position, place.frame_at(1))
        self.is_worked_on = look_at_body(self._owner, self.position)
        before = None if self.is_finished or self.is_halted else self.kept_by()
        holder = new_pass(self.__anext__, before, place.frame_at(1))
        self.keep_by(holder)
        return holder

    def keep_by(self, holder: object) -> None:
        me = ref(self)

        def left(_: object) -> None:
            loop = me()
            if loop is not None and not loop.is_finished:
                loop.note_end()

        self._holder = ref(holder, left)

    async def __anext__(self) -> T:
        if self.is_held:
            self._refuse_held()
        if self.retries is not None and (entry := await self._next_again(self.retries)) is not None:
            return entry[1]
        if self.is_halted or self.is_finished:
            raise StopAsyncIteration
        if self._is_out:  # the loop asks for an item, so the one before is done
            self._move_on()
            self._is_out, self._done, self._left = False, self._done + 1, self._left - 1
        if self.limit is not None and self._done >= self.limit:
            self.end()
            raise StopAsyncIteration
        if not self._ahead:
            await self._take()
        if self.retries is not None:
            return await self.__anext__()
        while self._left <= 0 or not self.flags:
            self._left, self.flags = 0, [True]  # if the owner raises, ask it again
            self._left = max(1, await self._owner.check_in())
        self._is_out = True
        self._move_on()
        return self._ahead.pop()

    async def _take(self) -> None:
        """Take the next item off the input before the owner is asked: after the last one there is nothing to save.

        At the end, failed items may be handed out once more.
        """
        if not self._has_begun:
            self._has_begun = True
            self.begin()
        if self._to_skip:
            await self._skip()
        if self._check_left_out is not None and not self.is_finished:
            self._note_left_out(len([one async for one in self._source if self._ledger.offer(one)]))
        while self._asked or await self._ask():
            if self._ledger.offer(self._asked[0]):  # if the key's function raises, ask it again
                self._ahead.append(self._asked.pop())
                return
            self._asked.pop()
            await self._check_in_if_woken()
        self.retries = late_retries(self.tries_again, self.name, self._items, self._ledger)
        if self.retries is None:
            self.end()
            raise StopAsyncIteration

    async def _ask(self) -> bool:
        """Take an item off the input. Returns whether there was one."""
        async for item in self._source:
            self._asked.append(item)
            return True
        return False

    async def _skip(self) -> None:
        ledger = cast(PositionLedger, self._ledger)
        await self._owner.check_in()
        async for item in self._source:
            ledger.pass_by(item)
            self._to_skip -= 1
            if not self._to_skip:
                break
            await self._check_in_if_woken()
        self._to_skip = 0
        ledger.check_passed()

    async def _check_in_if_woken(self) -> None:
        """Check in if woken: a source that sends requests may have to wait between them."""
        if not self.flags:
            self.flags = [True]
            await self._owner.check_in()


class AsyncPass(AsyncIterator[T]):
    """What one ``async for`` iterates over.

    Attributes:
        taker: The task that it began in.
    """

    __slots__ = ("__weakref__", "_next", "taker")

    def __init__(self, step: Callable[[], Awaitable[T]]) -> None:
        self._next = step
        self.taker: object = running_here()

    def __anext__(self) -> Awaitable[T]:
        return self._next()


class SharedPass(AsyncPass[T]):
    """What ``aiter()`` gives: any task may take items off it, but not while another one is at work on its item."""

    __slots__ = ()

    def __init__(self, step: Callable[[], Awaitable[T]]) -> None:
        super().__init__(step)
        self.taker = None

    def __anext__(self) -> Awaitable[T]:
        consumers.refuse_task(self.taker)
        self.taker = running_here()
        return self._next()


def new_pass(step: Callable[[], Awaitable[T]], before: object, frame: FrameType) -> AsyncPass[T]:
    """What *frame* iterates over from now on.

    Args:
        before: What is iterated over already, or None.

    Raises:
        RuntimeError: Another task iterates over *before*.
    """
    if isinstance(before, AsyncPass):
        consumers.refuse_task(before.taker)
    return AsyncPass(step) if is_at_async_for(frame) else SharedPass(step)


def remaining_async(
    items: Iterable[T] | AsyncIterable[T],
    owner: LoopOwner[Awaitable[int]],
    *,
    name: str,
    key: Callable[[T], object] | str | None = None,
    fingerprint: Fingerprint = "sampled",
    saved: Saved | None = None,
    limit: int | None = None,
    failed: Failed | None = None,
    retry_failed: bool = False,
) -> AsyncRemaining[T]:
    """Make a loop for ``async for``, over plain or async items. See :func:`~.remaining.remaining`."""
    items = sources.as_input(items)
    sources.refuse(items, has_key=key is not None, is_async=True)
    if retry_failed:
        items = all_of(items, failed, name, has_key=key is not None)
    ledger = ledger_for(owner, items, saved, key, fingerprint)
    loop: AsyncRemaining[T] = AsyncRemaining(items, owner, ledger, name)
    loop.retries = retries_of(loop.name, items, ledger, failed, is_wanted=retry_failed)
    loop.limit = sources.checked_limit(limit)
    loop.ends = sources.ends(items) if key is None and fingerprint == "sampled" else None
    return loop
