"""A map's loop: which items are to do, which are done, and which have failed."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar, cast

from ..._runtime.boundary import Boundary, HeldBack, working_for
from ..._text import shortened
from ..advice.bodies import look_at_results
from ..inputs import sources
from ..ledgers.by_key import KeyLedger
from ..ledgers.by_position import ItemKey, Saved
from ..ledgers.failed import Failed, entries_of, error_text, is_there_again
from ..ledgers.out_of_order import OutOfOrderLedger
from ..loop import Loop, LoopOwner
from ..places import place

AnyOrderLedger = KeyLedger | OutOfOrderLedger

T = TypeVar("T")
R = TypeVar("R")


class MapLoop(Loop[T]):
    """The loop of one ``map``: :meth:`to_do` hands out items, :meth:`finish` notes that they are done.

    A failed item counts as handed out and not done; only *retry_failed* hands it out again.

    Attributes:
        current: The key of the item in the loop's body.
        left_out: Keys of items that failed in an earlier run, and are not tried again.
        is_out: Whether the loop's body, or the function that is called in its place, has an item.
        ticks: ``next()`` of it for each item, when it begins and when it ends.
        held_back: What workers have written, by the keys of their items.
        is_async: Whether the items need ``async for``.
        finish: Called with the key of an item that is done.
        on_wake: Also called by :meth:`wake`; from any thread and from signal handlers.
    """

    can_be_held = False
    _ledger: AnyOrderLedger

    def __init__(
        self, items: Any, owner: LoopOwner[Any], ledger: AnyOrderLedger, name: str, failed: Failed, retry_failed: bool
    ) -> None:
        super().__init__(items, owner, ledger, name)
        self.on_wake: Callable[[], None] = lambda: None
        self.current: ItemKey = 0
        self.is_out = False
        self.held_back: dict[ItemKey, HeldBack] = {}
        self._has_workers = False
        self.ticks = self._boundary.ticks
        self.is_async = not isinstance(items, Iterable)
        self._all_failed = failed
        known = failed.of(name)
        self.left_out = frozenset() if retry_failed else known
        # Items that are done, but contain a loop in which something failed.
        again = known | failed.holders(name) if retry_failed else ()
        self._done_again = {key for key in again if ledger.has_done(key, ledger.start)}
        self._out_again: set[ItemKey] = set()
        self.finish: Callable[[ItemKey], object] = self._finish_retried if known or self._done_again else ledger.add
        self._finish_whole: Callable[[ItemKey], object] = self.finish

    def done(self) -> int:
        return self._ledger.done - self._ledger.start

    def is_at_item(self) -> bool:
        return self.is_out and not self.has_done(self.current)

    def must_settle(self) -> bool:
        return self.is_out and self.has_done(self.current)

    def give_out(self, key: ItemKey) -> None:
        """The loop's body gets the item with *key*."""
        self.current = key
        self.is_out = True
        next(self.ticks)
        if self.apart is not None:
            self.apart.begin()
        if self.held_back:
            self.write_held_back(key)

    def write_held_back(self, key: ItemKey) -> None:
        """The writes of the worker for *key* belong to the item that the loop's body gets."""
        held_back = self.held_back.pop(key, None)
        if held_back or (held_back is not None and held_back.keepers):
            around = self._worker if self.apart is None else self.apart.held_back()
            held_back.write(self._boundary.now() if around is None else around)

    def take_back(self) -> None:
        """The body has finished the item."""
        next(self.ticks)
        if self.apart is not None:
            self.apart.write()
        self.is_out = False

    def begin(self) -> None:
        super().begin()
        self.is_worked_on = look_at_results(self._owner, self.position, place.caller())

    def cut_off(self, error: BaseException) -> None:
        super().cut_off(error)
        self._finish_whole = self.finish
        self.finish = lambda key: self._refuse_held()

    def mend(self) -> None:
        super().mend()
        self.finish = self._finish_whole

    def run_apart(self, boundary: Boundary) -> None:
        super().run_apart(boundary)
        self.ticks = self._boundary.ticks

    def told_item(self) -> str:
        return shortened(self.current)

    def current_item(self) -> ItemKey:
        return self.current

    def mark(self) -> ItemKey | None:
        if not self.is_out or self._out_again or self.is_finished or self.is_halted or self.is_left:
            return None
        return self.current

    def wake(self) -> None:
        super().wake()
        self.on_wake()

    def call_here(self, fn: Callable[[T], R], key: ItemKey, item: T) -> R:
        """Call *fn* for the *item* with *key*, in a context of its own: loops made meanwhile belong to that item."""
        working_for.set((self, key))
        return fn(item)

    def held_back_for(self, key: ItemKey, /) -> HeldBack | None:
        """Where to put the writes for the item with *key* until the loop's body gets it.

        If the body calls the function itself, that is where the writes of an item around the loop go, if anywhere.
        """
        if not self._has_workers:
            return self._worker
        return self.held_back.get(key) or self.held_back.setdefault(key, HeldBack())

    def drop(self, key: ItemKey) -> None:
        """Undo the writes of the worker for *key*, which failed."""
        if self.held_back and (held_back := self.held_back.pop(key, None)) is not None:
            held_back.drop()

    def drop_all(self, keys: Iterable[ItemKey]) -> None:
        """Undo the writes of the workers for *keys*, which are not done."""
        for key in keys:
            self.drop(key)

    def share(self, maps: int) -> None:
        """Workers in this process, which can write to collections and sinks, begin or have ended."""
        self._has_workers = maps > 0
        self._boundary.share(maps)

    def has_done(self, item: ItemKey) -> bool:
        return item not in self._out_again and super().has_done(item)

    def _finish_retried(self, key: ItemKey) -> None:
        if key in self._out_again:
            self._out_again.discard(key)
        else:
            self._ledger.add(key)
        self._all_failed.discard(self.name, key)

    def give_up(self, key: ItemKey, error: BaseException) -> None:
        """The item has failed for good."""
        self.drop(key)
        self._all_failed.add(self.name, key, error_text(error))

    def to_try_again(self) -> list[tuple[ItemKey, T]]:
        """The failed items to retry, each with its key, if a person asks for it; only items that can be read again."""
        if self.tries_again is None or not is_there_again(self._items, self._ledger):
            return []
        keys = self.tries_again.take_owed(self.name)
        if not keys:
            return []
        self.finish = self._finish_retried
        entries = list(entries_of(self._items, self._ledger, keys))
        if isinstance(self._ledger, KeyLedger):
            for key, _ in entries:
                self._ledger.hand_out_again(key)
        return entries

    def to_do_and_again(self) -> Iterator[tuple[ItemKey, T]]:
        """The items of :meth:`to_do`, then those of :meth:`to_try_again`."""
        return chain(self.to_do(), chain.from_iterable(iter(self.to_try_again, [])))

    def to_do(self) -> Iterator[tuple[ItemKey, T]]:
        """The items to work on, each with its key; each counts as handed out from then on.

        Raises InputChangedError if the done items have changed.
        """
        if self._check_left_out is not None and not self.is_finished:
            self._note_left_out(len([self._ledger.add(key) for key, _ in self._entries()]))
            return iter(())
        entries = self._entries()
        if self._done_again and is_there_again(self._items, self._ledger):
            entries = chain(entries, self._hand_out_again())  # after the check that the input is unchanged
        return (entry for entry in entries if entry[0] not in self.left_out) if self.left_out else entries

    def _hand_out_again(self) -> Iterator[tuple[ItemKey, T]]:
        for key, item in entries_of(self._items, self._ledger, self._done_again):
            self._out_again.add(key)
            yield key, item

    def _entries(self) -> Iterator[tuple[ItemKey, T]]:
        if isinstance(self._ledger, OutOfOrderLedger) and sources.is_indexed(self._items):
            return self._ledger.entries(self._items)
        return self._hand_out(self._items)

    def _hand_out(self, items: Iterable[T]) -> Iterator[tuple[ItemKey, T]]:
        hand_out = self._ledger.hand_out
        for item in items:
            if (key := hand_out(item)) is not None:
                yield key, item
        self._check_end()

    async def to_do_async(self) -> AsyncIterator[tuple[ItemKey, T]]:
        """The items to work on, for an input that needs ``async for``. See :meth:`to_do`."""
        async for item in cast(AsyncIterable[T], self._items):
            key = self._ledger.hand_out(item)
            if key is not None and self._check_left_out is not None:
                self._ledger.add(key)
            elif key is not None and key not in self.left_out:
                yield key, item
        if self._check_left_out is not None:
            self._note_left_out(self._ledger.done)
        self._check_end()

    def _check_end(self) -> None:
        if isinstance(self._ledger, OutOfOrderLedger):
            self._ledger.check_end()


def map_loop(
    items: Any,
    owner: LoopOwner[Any],
    *,
    name: str,
    key: Callable[[T], object] | str | None = None,
    saved: Saved | None = None,
    failed: Failed | None = None,
    retry_failed: bool = False,
    is_async: bool = False,
) -> MapLoop[T]:
    """Make a map's loop over the *items* that *saved* does not name as done. Raises what :func:`remaining` raises."""
    items = sources.as_input(items)
    sources.refuse(items, has_key=key is not None, is_async=is_async)
    ledger: AnyOrderLedger
    if key is None:
        ledger = OutOfOrderLedger(owner.operation_id, items, saved)
    else:
        ledger = KeyLedger(owner.operation_id, items, saved, key)
    return MapLoop(items, owner, ledger, name, Failed() if failed is None else failed, retry_failed)
