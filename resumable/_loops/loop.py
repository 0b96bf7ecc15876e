"""One loop's place in its input: what it shares with its checkpoint, whatever steps through the items."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any, Generic, Protocol, TypeVar

from . import fingerprint, sources
from .by_key import KeyLedger
from .by_position import Ledger, PositionLedger, Saved
from .fingerprint import Sample

T = TypeVar("T")


class LoopOwner(Protocol):
    """What a loop asks of the checkpoint that it belongs to."""

    @property
    def operation_id(self) -> str: ...

    def check_in(self) -> int:
        """Save or raise, if due; how many items may pass before the next call, unless the loop is woken.

        Called in the loop's own thread before the first item, then between two items. What is given out is done
        then. If it raises, the loop raises; the item to come is not done. It must not wake the loop that calls.
        """
        ...

    def register(self, loop: Loop[Any]) -> None:
        """*loop* begins: from now on it can be woken and counts."""

    def unregister(self, loop: Loop[Any]) -> None:
        """*loop* came to its end: all its items are done. Not called for a loop that is left earlier."""


class AsyncLoopOwner(Protocol):
    """The same for ``async for``."""

    @property
    def operation_id(self) -> str: ...

    async def check_in_async(self) -> int: ...

    def register(self, loop: Loop[Any]) -> None: ...

    def unregister(self, loop: Loop[Any]) -> None: ...


class Loop(ABC, Generic[T]):
    """One loop's place in its input; what ``for`` and ``async for`` share.

    An item is done when the loop asks for the next one, or ends. The item at which an exception or a ``break``
    leaves the loop is not.

    Attributes:
        name: Tells the loops of one checkpoint apart.
        is_finished: Whether the loop came to its end, so that nothing is left.
    """

    def __init__(self, items: Any, owner: LoopOwner | AsyncLoopOwner, ledger: Ledger, name: str) -> None:
        self.name = name
        self.is_finished = False
        self._items = items
        self._owner = owner
        self._ledger = ledger
        self._flags = [True]
        ledger.total = sources.length(items)

    @abstractmethod
    def done(self) -> int:
        """How many items were done in this run. Exact in the loop's thread, signal handlers included.

        Seen from another thread it never runs ahead.
        """

    def wake(self) -> None:
        """Have the owner asked before the next item. Safe from any thread and in signal handlers."""
        self._flags.clear()

    @property
    def position(self) -> int:
        """How many items are done over all runs."""
        return self._ledger.start + self.done()

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
        if self.is_finished:
            return 0
        if isinstance(self._ledger, KeyLedger) and isinstance(self._items, Collection):
            return self._ledger.count_left(self._items)
        if self.total is None or isinstance(self._ledger, KeyLedger):
            raise TypeError("how many items are left is not known before the end: the input has no length")
        return max(0, self.total - self.position)

    def __bool__(self) -> bool:
        """Whether anything may be left."""
        try:
            return len(self) > 0
        except TypeError:
            return not self.is_finished

    def to_dict(self) -> dict[str, Any]:
        """The saved form, plain JSON: what a later loop takes as *saved*."""
        position = self._noted_position()
        if isinstance(self._ledger, PositionLedger):
            return self._ledger.to_dict(position, self._last_done(position))
        return self._ledger.to_dict(position)

    def as_now(self) -> Callable[[], dict[str, Any]]:
        """What gives the saved form later, as it is now, whatever is done meanwhile."""
        position = self._noted_position()
        if isinstance(self._ledger, PositionLedger):
            return self._ledger.as_now(position, self._last_done(position))
        return self._ledger.as_now(position)

    def changes(self) -> dict[str, Any]:
        """What has changed since what was last passed to :meth:`settle`; :func:`_keys.merged` puts it on top."""
        position = self._noted_position()
        if isinstance(self._ledger, PositionLedger):
            return self._ledger.changes(position, self._last_done(position))
        return self._ledger.changes(position)

    def settle(self, changes: Saved) -> None:
        """*changes* are safely stored. Until then :meth:`changes` names them again."""
        self._ledger.settle(changes)

    def _noted_position(self) -> int:
        self._ledger.total = self.total
        return self.position

    def _last_done(self, position: int) -> Sample | None:
        """The last done item, if it is at hand and the loop's body cannot have changed it."""
        items = self._items
        if not self._is_sampled or type(items) not in sources.SEEKABLE or not 0 < position <= len(items):
            return None
        item = items[position - 1]
        return fingerprint.sample(position - 1, item) if fingerprint.is_lasting(item) else None

    @property
    def _is_sampled(self) -> bool:
        return isinstance(self._ledger, PositionLedger) and self._ledger.is_sampled

    def _finish(self) -> None:
        if not self.is_finished:
            self.is_finished = True
            self._owner.unregister(self)
