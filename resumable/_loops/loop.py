"""A loop over items: how many are done, and how its position is saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast
from weakref import ref

from .._runtime.boundary import Boundary, working_for
from .._text import shortened
from . import consumers, sources
from .apart import Apart
from .by_position import ItemKey, Ledger, PositionLedger, Saved

if TYPE_CHECKING:
    from .failed import Failed
    from .failing import Retries

T = TypeVar("T")
Items_co = TypeVar("Items_co", covariant=True)

_FOR_USERS = frozenset(("is_finished", "name", "position", "total"))
"""Names that completion shows, besides those with an underscore."""
Ends = tuple[int, Any, Any]

mapped_item = cast("ContextVar[tuple[Loop[Any], ItemKey] | None]", working_for)
"""The map and its item for which the function of that map runs here. Loops made meanwhile are inside that item."""


class LoopOwner(Protocol[Items_co]):
    """What a loop needs of its checkpoint: ``LoopOwner[int]`` in plain code, ``LoopOwner[Awaitable[int]]`` in async."""

    @property
    def operation_id(self) -> str: ...

    @property
    def boundary(self) -> Boundary:
        """What counts the items that are handed out."""
        ...

    def check_in(self) -> Items_co:
        """Save or raise, if due. Return how many items may pass before the next call, unless the loop is woken.

        Called in the loop's own thread before the first item, then between two items. Each item that was given out
        is done then. If it raises, the loop raises; the item to come is not done. It must not wake the calling loop.
        """
        ...

    def register(self, loop: Loop[Any]) -> None:
        """*loop* begins, or another ``for`` goes on with it: from now on it can be woken, and counts."""

    def unregister(self, loop: Loop[Any]) -> None:
        """*loop* came to its end: all its items are done. Not called for a loop that is left earlier."""

    def halt(self, loop: Loop[Any]) -> None:
        """*loop* has given out as many items as it may in this run: the loops around it are to stop, too."""


class Loop(ABC, Generic[T]):
    """One loop over items, plain, async, or many at a time.

    Attributes:
        name: Distinguishes the loops of one checkpoint.
        is_finished: Whether the loop came to its end, so that nothing is left.
        ends: The length, the first and the last item of its input, where that tells it from another one.
        is_folded: Whether it was left, and only its position is kept.
        can_be_held: Whether it can stop at an item that is not done.
        can_be_apart: Whether it takes a step of Python between two items, so that it can run apart.
        apart: What its item has written, if it runs beside others in a thread or task of its own.
        retries: What is given out first, though it counts as done; None if nothing is.
        tries_again: Where to look before the end for what is to be tried again; None as long as nobody asks for it.
        flags: Empty once the loop was woken: its owner is asked before the next item.
        limit: How many items it gives out in this run at most.
        is_halted: Whether it gives out nothing more in this run, though items may be left.
        is_held: Whether that is for the limit of a loop inside the item that it is at, which is not done.
    """

    can_be_held = True
    can_be_apart: bool = False
    apart: Apart | None = None
    ends: Ends | None = None
    is_folded = False
    retries: Retries[T] | None = None
    tries_again: Failed | None = None
    limit: int | None = None
    is_halted: bool = False
    is_held: bool = False

    def __init__(self, items: Any, owner: LoopOwner[Any], ledger: Ledger, name: str) -> None:
        self.name = name
        self.is_finished: bool = False
        self.flags: list[bool] = [True]
        self._items = items
        self._owner = owner
        self._worker = owner.boundary.worker()
        # The items of a loop within a worker's item are no boundary for the loop around them all.
        self._boundary = owner.boundary if self._worker is None else Boundary()
        self._ledger = ledger
        self._holder: ref[Any] | None = None
        self._check_left_out: Callable[[], None] | None = None
        ledger.total = sources.length(items)

    def __repr__(self) -> str:
        """``<Remaining 'loop-1': 21 of 60 done>``"""
        kind = type(self).__name__.removeprefix("Passing").removeprefix("Stepping").replace("Small", "")
        of = "" if self.total is None else f" of {self.total:,}"
        return f"<{kind} {self.name!r}: {self.position:,}{of} done>"

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name.startswith("_") or name in _FOR_USERS]

    @property
    def is_in_worker(self) -> bool:
        """Whether it was made within a worker's item, so that nothing of it counts before that is done."""
        return self._worker is not None

    @property
    def is_held_back(self) -> bool:
        """Whether the worker's item that it was made in has written something, which does not count yet."""
        return self._worker is not None and not self._worker.is_empty

    @abstractmethod
    def done(self) -> int:
        """How many items were done in this run. Exact in the loop's thread, signal handlers included.

        Seen from another thread it never runs ahead.
        """

    @abstractmethod
    def is_at_item(self) -> bool:
        """Whether an item was given out, and the next one was not asked for yet."""

    @property
    def is_beside(self) -> bool:
        """Whether others run beside it, and what its unfinished item writes is held back."""
        return self._worker is not None or self.apart is not None

    def run_apart(self, boundary: Boundary) -> None:
        """The loop begins in a thread or task of its own."""
        if self.apart is None:
            self.apart, self._boundary = Apart(boundary, lambda: self.is_left), Boundary()

    def _move_on(self) -> None:
        """An item was done, or is given out: what was written until now belongs to what came before."""
        self._boundary.move()
        if self.apart is not None:
            self.apart.begin()

    def must_settle(self) -> bool:
        """Whether the next item was asked for, and what the one before has written is not yet told from new writes."""
        return False

    def note_settled(self) -> None:
        """It is told now."""

    def wake(self) -> None:
        """Have the owner asked before the next item. Safe from any thread and in signal handlers."""
        self.flags.clear()

    @property
    def position(self) -> int:
        """How many items are done over all runs."""
        return self._ledger.start + self.done()

    def current_item(self) -> ItemKey:
        """Which item the loop is at: loops inside it are saved as part of this item."""
        if self._at_again is not None:
            return self._at_again
        return self._ledger.item_at(self.position)

    def told_item(self) -> str:
        """The item that the loop is at: ``21 of 60 ('x')``; without the item where only other code could give it."""
        at = self._at_again if isinstance(self._at_again, int) else self.position
        number = f"{at + 1:,}" + ("" if self.total is None else f" of {self.total:,}")
        if not isinstance(self._ledger, PositionLedger) or type(self._items) not in sources.SEEKABLE:
            return number
        return f"{number} ({shortened(self._items[at])})"

    def keys(self) -> list[ItemKey] | None:
        """The keys of the done items; None if it is not followed by key."""
        return self._ledger.keys(self.position)

    def has_done(self, item: ItemKey) -> bool:
        """Whether *item* is done. Seen from another thread it may be late."""
        return item != self._at_again and self._ledger.has_done(item, self.position)

    def has_passed(self, item: ItemKey, at: ItemKey) -> bool:
        """Whether *item* is done, now that the loop is at the item *at*."""
        return self.has_done(item)

    @property
    def _at_again(self) -> ItemKey | None:
        """Which of the items that have failed is out again; None if none is."""
        return None if self.retries is None else self.retries.current

    def is_at(self, item: object) -> bool:
        """Whether *item* is, as far as that can be told, the one that the loop is at."""
        return self._ledger.is_at(item, self.current_item())

    # -- who goes through it

    def keep_by(self, holder: object) -> None:
        """*holder* is what a ``for`` goes through: once it is dropped, that ``for`` was left."""
        self._holder = ref(holder)

    @property
    def is_left(self) -> bool:
        """Whether the ``for`` that went through it was left: by ``break``, ``return``, an error, the end of a zip.

        Without reference counts this is noticed late.
        """
        return self._holder is not None and self._holder() is None

    @property
    def is_foldable(self) -> bool:
        """Whether its position is all that must be kept of it, and the ends of its input."""
        return self.ends is not None

    def leave_out(self, check: Callable[[], None]) -> None:
        """Give out nothing: an earlier run has done all items.

        Args:
            check: Called once the items have passed; raises if they are other ones.
        """
        self._check_left_out = check
        self._ledger.is_left_out = True

    def _note_left_out(self, count: int) -> None:
        """*count* items have passed and are done."""
        assert self._check_left_out is not None
        self._ledger.start = count
        self._check_left_out()

    # -- how far it is

    @property
    def total(self) -> int | None:
        """How many items there are, done ones included; None as long as that is not known."""
        length = sources.length(self._items)
        return self.position if length is None and self.is_finished else length

    def __len__(self) -> int:
        """How many items are left; by key they are gone through to be counted.

        Raises:
            TypeError: If the input has no length.
            RuntimeError: If a pool asks, which is about to take all items.
        """
        consumers.refuse_pools()  # multiprocessing's would wait for ever for an error in its own thread
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
        self._note_total()
        return self._ledger.as_now(self.position)

    def changes(self) -> dict[str, Any]:
        """What has changed since the last :meth:`commit`; :func:`~.by_key.merged` puts it on top of a saved form."""
        self._note_total()
        return self._ledger.changes(self.position)

    def _note_total(self) -> None:
        before, total = self.ends[0] if self.ends is not None else self._ledger.total, self.total
        if before is not None and total is not None and total > before and type(self._items) is list:
            self._say_grown()
        self._ledger.total = total

    def _say_grown(self) -> None:
        state = getattr(self._owner, "state", None)
        if type(state) is not dict or not any(value is self._items for value in state.values()):
            consumers.say_grown(self._owner.operation_id, self.name)

    def commit(self, changes: Saved) -> None:
        """*changes* are safely stored. Until then :meth:`changes` repeats them."""
        self._ledger.commit(changes)

    def begin(self) -> None:
        """The first item is asked for."""
        self._owner.register(self)

    def hold(self) -> None:
        """Stop at this item, which is not done."""
        self.is_halted = self.is_held = True
        self.wake()

    def end(self) -> None:
        """All items are done, or given up; or as many as may be in this run."""
        if self.is_held:
            return
        if self.apart is not None:
            self.apart.end()
        if self.limit is not None and self.done() >= self.limit and self:
            self.is_halted = True
            self._boundary.move()
            self._owner.halt(self)
        elif not self.is_finished:
            self.is_finished = True
            self._boundary.move()
            self._owner.unregister(self)
