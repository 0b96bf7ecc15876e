"""A loop over items: how many are done, and how its position is saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from . import sources
from .by_position import ItemKey, Ledger, Saved

T = TypeVar("T")
Items_co = TypeVar("Items_co", covariant=True)


class LoopOwner(Protocol[Items_co]):
    """What a loop needs of its checkpoint: ``LoopOwner[int]`` in plain code, ``LoopOwner[Awaitable[int]]`` in async."""

    @property
    def operation_id(self) -> str: ...

    def check_in(self) -> Items_co:
        """Save or raise, if due. Return how many items may pass before the next call, unless the loop is woken.

        Called in the loop's own thread before the first item, then between two items. Each item that was given out
        is done then. If it raises, the loop raises; the item to come is not done. It must not wake the calling loop.
        """
        ...

    def register(self, loop: Loop[Any]) -> None:
        """*loop* begins: from now on it can be woken, and counts."""

    def unregister(self, loop: Loop[Any]) -> None:
        """*loop* came to its end: all its items are done. Not called for a loop that is left earlier."""


class Loop(ABC, Generic[T]):
    """One loop over items, plain, async, or many at a time.

    Attributes:
        name: Distinguishes the loops of one checkpoint.
        is_finished: Whether the loop came to its end, so that nothing is left.
        flags: Empty once the loop was woken: its owner is asked before the next item.
    """

    def __init__(self, items: Any, owner: LoopOwner[Any], ledger: Ledger, name: str) -> None:
        self.name = name
        self.is_finished = False
        self.flags = [True]
        self._items = items
        self._owner = owner
        self._ledger = ledger
        ledger.total = sources.length(items)

    @abstractmethod
    def done(self) -> int:
        """How many items were done in this run. Exact in the loop's thread, signal handlers included.

        Seen from another thread it never runs ahead.
        """

    def wake(self) -> None:
        """Have the owner asked before the next item. Safe from any thread and in signal handlers."""
        self.flags.clear()

    @property
    def position(self) -> int:
        """How many items are done over all runs."""
        return self._ledger.start + self.done()

    def current_item(self) -> ItemKey:
        """Which item the loop is at: loops inside it are saved as part of this item."""
        return self._ledger.item_at(self.position)

    @property
    def total(self) -> int | None:
        """How many items there are, done ones included; None as long as that is not known."""
        length = sources.length(self._items)
        return self.position if length is None and self.is_finished else length

    def __len__(self) -> int:
        """How many items are left; by key they are gone through to be counted.

        Raises:
            TypeError: If the input has no length.
        """
        left = 0 if self.is_finished else self._ledger.count_left(self.position)
        if left is None:
            raise TypeError("how many items are left is not known before the end: the input has no length")
        return left

    def __bool__(self) -> bool:
        """Whether anything may be left."""
        try:
            return len(self) > 0
        except TypeError:
            return not self.is_finished

    def to_dict(self) -> dict[str, Any]:
        """The saved form, plain JSON: what a later loop takes as *saved*."""
        return self.as_now()()

    def as_now(self) -> Callable[[], dict[str, Any]]:
        """A function that gives the saved form of this moment later, whatever is done meanwhile."""
        self._ledger.total = self.total
        return self._ledger.as_now(self.position)

    def changes(self) -> dict[str, Any]:
        """What has changed since the last :meth:`commit`; :func:`~.by_key.merged` puts it on top of a saved form."""
        self._ledger.total = self.total
        return self._ledger.changes(self.position)

    def commit(self, changes: Saved) -> None:
        """*changes* are safely stored. Until then :meth:`changes` repeats them."""
        self._ledger.commit(changes)

    def begin(self) -> None:
        """The first item is asked for."""
        self._owner.register(self)

    def end(self) -> None:
        """All items are done, or given up."""
        if not self.is_finished:
            self.is_finished = True
            self._owner.unregister(self)
