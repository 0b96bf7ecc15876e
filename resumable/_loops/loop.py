"""The base class of all loops: counts the done items, and saves its position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast
from weakref import ref

from .._runtime.boundary import Boundary, working
from .._text import shortened
from . import consumers
from .apart import Apart
from .inputs import sources
from .ledgers.by_position import ItemKey, Ledger, PositionLedger, Saved

if TYPE_CHECKING:
    from .failing import Retries
    from .ledgers.failed import Failed

T = TypeVar("T")
Items_co = TypeVar("Items_co", covariant=True)

_FOR_USERS = frozenset(("is_finished", "name", "position", "total"))
"""Names that completion shows besides those with an underscore."""
Ends = tuple[int, Any, Any]
Over = Ends | tuple[int, Any, Any, int]
"""A loop that is over: the ends of its input, and the position at which it was left before its end."""

mapped_item = cast("Callable[[], tuple[Loop[Any], ItemKey] | None]", working)
"""Returns the map and the item for which a map's function runs here. Loops that it makes belong to that item."""


class LoopOwner(Protocol[Items_co]):
    """What a loop needs of its checkpoint: ``LoopOwner[int]`` in plain code, ``LoopOwner[Awaitable[int]]`` in async."""

    @property
    def operation_id(self) -> str: ...

    @property
    def boundary(self) -> Boundary:
        """Counts the items that loops hand out."""
        ...

    def check_in(self) -> Items_co:
        """Save or raise, if due. Returns how many items may pass before the next call, unless the loop is woken.

        Called in the loop's own thread before the first item, then between two items; all items handed out before are
        done then. If it raises, the loop raises, and the next item is not done. It must not wake the calling loop.
        """
        ...

    def register(self, loop: Loop[Any]) -> None:
        """*loop* begins, or is iterated again after it was left: from now on it can be woken, and counts."""

    def unregister(self, loop: Loop[Any]) -> None:
        """*loop* has ended: all its items are done. Not called for a loop that is left earlier."""

    def halt(self, loop: Loop[Any]) -> None:
        """*loop* has reached its limit for this run: the loops around it stop, too."""


class Loop(ABC, Generic[T]):
    """One loop over items: plain, async, or many at a time.

    Attributes:
        name: Distinguishes the loops of one checkpoint.
        is_finished: Whether the loop has ended, so that nothing is left.
        ends: The length, the first and the last item of its input, if these identify the input.
        is_compacted: Whether it was left, and only its position is kept.
        can_be_held: Whether it can stop at an item that is not done.
        can_be_apart: Whether each item takes a Python step, so that it can run apart.
        apart: The writes of its unfinished item, if it runs at the same time as others.
        retries: Failed items to hand out first, though they count as done; None without any.
        tries_again: Where to look at the end for failed items to retry; None until a person asks for it.
        flags: Empty once the loop was woken: the owner is asked before the next item.
        limit: How many items it hands out in this run, at most.
        is_halted: Whether it hands out no more in this run, though items may be left.
        is_worked_on: Whether a ``for`` does the work on its items, and does not only hand them out.
        is_held: Whether it halts at an item that is not done, because a loop inside has stopped.
        cut_by: The error that stopped the loop inside, if the program may have caught it; raised instead of an item.
    """

    can_be_held = True
    can_be_apart: bool = False
    apart: Apart | None = None
    ends: Ends | None = None
    is_compacted = False
    retries: Retries[T] | None = None
    tries_again: Failed | None = None
    limit: int | None = None
    is_halted: bool = False
    is_held: bool = False
    is_worked_on: bool = False
    cut_by: BaseException | None = None

    def __init__(self, items: Any, owner: LoopOwner[Any], ledger: Ledger, name: str) -> None:
        self.name = name
        self.is_finished: bool = False
        self.flags: list[bool] = [True]
        self._items = items
        self._owner = owner
        self._worker = owner.boundary.worker()
        # Items of a loop inside a worker's item do not move the boundary of the checkpoint.
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
        """Whether it was made inside a worker's item, so that nothing of it counts before that item is done."""
        return self._worker is not None

    @property
    def is_held_back(self) -> bool:
        """Whether the worker's item around it has written something that does not count yet."""
        return self._worker is not None and not self._worker.is_empty

    @abstractmethod
    def done(self) -> int:
        """How many items this run has done. Exact in the loop's thread, also in signal handlers.

        Another thread may see a smaller number, never a larger one.
        """

    @abstractmethod
    def is_at_item(self) -> bool:
        """Whether an item was handed out, and the next one was not asked for yet."""

    @property
    def is_beside(self) -> bool:
        """Whether others run at the same time, so that its unfinished item's writes are held back."""
        return self._worker is not None or self.apart is not None

    def run_apart(self, boundary: Boundary) -> None:
        """The loop begins in its own thread or task."""
        if self.apart is None:
            self.apart, self._boundary = Apart(boundary, lambda: self.is_left), Boundary()

    def _move_on(self) -> None:
        """An item is done, or is handed out: earlier writes belong to the item before."""
        self._boundary.move()
        if self.apart is not None:
            self.apart.begin()

    def must_settle(self) -> bool:
        """Whether the next item was asked for, but the writes of the one before are not separated yet."""
        return False

    def note_settled(self) -> None:
        """They are separated now."""

    def wake(self) -> None:
        """Ask the owner before the next item. Safe from any thread and in signal handlers."""
        self.flags.clear()

    @property
    def position(self) -> int:
        """Number of done items over all runs."""
        return self._ledger.start + self.done()

    def current_item(self) -> ItemKey:
        """The item that the loop is at: loops inside it are saved as part of this item."""
        if self._at_again is not None:
            return self._at_again
        return self._ledger.item_at(self.position)

    def mark(self) -> ItemKey | None:
        """A value that no other item of the loop has; None if the loop may not be at an item, or not in order."""
        return None

    def marked(self, mark: ItemKey) -> ItemKey:
        """The item with that *mark*."""
        return mark

    def told_item(self) -> str:
        """The present item for people: ``21 of 60 ('x')``; without ``('x')`` if getting it would run foreign code."""
        at = self._at_again if isinstance(self._at_again, int) else self.position
        number = f"{at + 1:,}" + ("" if self.total is None else f" of {self.total:,}")
        if not isinstance(self._ledger, PositionLedger) or type(self._items) not in sources.SEEKABLE:
            return number
        return f"{number} ({shortened(self._items[at])})"

    def note_inner(self) -> None:
        """Loops are made inside its items: a save notes the item that is under way."""
        self._ledger.has_inner = True

    def check_under_way(self) -> None:
        """A loop inside the present item goes on. Raises InputChangedError if it is another item than before."""
        self._ledger.check_under_way(self.position)

    def keys(self) -> list[ItemKey] | None:
        """The keys of the done items; None if items are not identified by key."""
        return self._ledger.keys(self.position)

    def has_done(self, item: ItemKey) -> bool:
        """Whether *item* is done. Another thread may see this late."""
        return item != self._at_again and self._ledger.has_done(item, self.position)

    def has_passed(self, item: ItemKey, at: ItemKey) -> bool:
        """Whether *item* is done when the loop is at the item *at*."""
        return self.has_done(item)

    @property
    def _at_again(self) -> ItemKey | None:
        """The failed item that is handed out again at present; None if none is."""
        return None if self.retries is None else self.retries.current

    def is_at(self, item: object) -> bool | None:
        """Whether *item* is the one that the loop is at; None if that is unknown."""
        return self._ledger.is_at(item, self.current_item())

    # -- iteration

    def keep_by(self, holder: object) -> None:
        """*holder* is what a ``for`` iterates over: once it is freed, that ``for`` was left."""
        self._holder = ref(holder)

    def kept_by(self) -> object:
        """What a ``for`` iterates over now; None if none does."""
        return self._holder() if self._holder is not None else None

    @property
    def is_left(self) -> bool:
        """Whether the ``for`` was left: by ``break``, ``return``, an error, the end of a zip.

        Without reference counts this is noticed late.
        """
        return self._holder is not None and self._holder() is None

    @property
    def can_be_compacted(self) -> bool:
        """Whether its position, and the ends of its input, are all that must be kept of it."""
        return self.ends is not None

    def leave_out(self, check: Callable[[], None]) -> None:
        """Hand out nothing, because an earlier run has done all items.

        Args:
            check: Called once the items have passed; raises if they have changed.
        """
        self._check_left_out = check
        self._ledger.is_left_out = True

    def _note_left_out(self, count: int) -> None:
        """*count* items have passed and are done."""
        assert self._check_left_out is not None
        self._ledger.start = count
        self._check_left_out()

    # -- progress

    @property
    def total(self) -> int | None:
        """Number of items, done ones included; None while unknown."""
        length = sources.length(self._items)
        return self.position if length is None and self.is_finished else length

    def __len__(self) -> int:
        """Number of items left; by key, the items are iterated over to count them.

        Raises:
            TypeError: The input has no length.
            RuntimeError: A pool asks, which is about to take all items.
        """
        consumers.refuse_pools()  # in a thread of multiprocessing's pool, a later error would make it wait for ever
        left = 0 if self.is_finished else self._ledger.count_left(self.position)
        if left is None:
            raise TypeError("how many items are left is not known before the end: the input has no length")
        return left

    def __bool__(self) -> bool:
        """Whether any item may be left."""
        try:
            return len(self) > 0
        except TypeError:
            return not self.is_finished

    def to_dict(self) -> dict[str, Any]:
        """The saved form, plain JSON: a later loop takes it as *saved*."""
        return self.as_now()()

    def as_now(self) -> Callable[[], dict[str, Any]]:
        """A function that returns the saved form of this moment later, whatever is done meanwhile."""
        self._note_total()
        return self._ledger.as_now(self.position)

    def changes(self) -> dict[str, Any]:
        """The changes since the last :meth:`commit`; :func:`~.by_key.merged` adds them to a saved form."""
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
        """*changes* are stored. Until then :meth:`changes` repeats them."""
        self._ledger.commit(changes)

    def begin(self) -> None:
        """The loop is asked for its first item."""
        self._owner.register(self)

    def hold(self) -> None:
        """Stop at this item, which is not done."""
        self.is_halted = self.is_held = True
        self.wake()

    def cut_off(self, error: BaseException) -> None:
        """*error* has stopped a loop inside this item: the item is not done, also if the program catches *error*."""
        self.cut_by, self.is_held = error, True
        self.wake()

    def mend(self) -> None:
        """The program has begun the loop inside again: the item may be done."""
        self.cut_by, self.is_held = None, False

    def _refuse_held(self) -> None:
        """The next item is asked for, though the present one is not done."""
        if self.cut_by is not None:
            raise self.cut_by.with_traceback(None)

    def end(self) -> None:
        """All items are done or given up, or the limit for this run is reached.

        Raises what :meth:`cut_off` was called with, if the last item is not done for that.
        """
        if self.is_held:
            self._refuse_held()
            return
        if self.apart is not None:
            self.apart.end()
        if self.limit is not None and self.done() >= self.limit and self:
            self.is_halted = True
            self._boundary.move()
            self._owner.halt(self)
            self.note_end()
        elif not self.is_finished:
            self.is_finished = True
            self._boundary.move()
            self._owner.unregister(self)
            self.note_end()

    def note_end(self) -> None:
        """The loop has ended, or was left: keep samples, for the program may change its input now."""
        self._ledger.note_end(self.position)
