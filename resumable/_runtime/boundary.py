"""The boundary between done items and the unfinished one: a save holds what lies before it.

All loops of a checkpoint draw their items through one counter, in C. Whoever writes compares it with what it was at
the write before: if it moved, all that was written until then belongs to done items.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

if TYPE_CHECKING:
    Ticks = repeat[bool]
else:
    Ticks = repeat


class Boundary(msgspec.Struct, eq=False):
    """Counts the items that the loops of one checkpoint hand out.

    Attributes:
        ticks: Gives True for each item; what is left of it is the count.
        lock: A save holds it while it takes what was written.
        writers: What is saved, and written to.
        shared: How many maps run whose workers can write here.
        again: Knows what is written again, where that may be now.
        context: The thread or task that has opened the checkpoint; None if it is not known.
        apart: What loops in other ones hold back.
    """

    ticks: Ticks = msgspec.field(default_factory=partial(repeat, True, (1 << 60) - 1))
    lock: threading.RLock = msgspec.field(default_factory=threading.RLock)
    writers: list[Noting] = msgspec.field(default_factory=list)
    shared: int = 0
    again: Again | None = None
    context: object = None
    apart: list[HoldingApart] = msgspec.field(default_factory=list)

    def now(self) -> int:
        """The count. It falls."""
        return self.ticks.__length_hint__()

    def move(self) -> None:
        """All that was written until now belongs to done items."""
        next(self.ticks)

    def share(self, maps: int) -> None:
        """Add *maps* to the maps whose workers can write here: each write asks whether one of them has made it."""
        with self.lock:
            self.shared += maps
            for writer in self.writers:
                writer.attend()
                if not self.shared:
                    writer.end_sharing()

    def has(self, writer: Noting, row: Any) -> bool:
        """Whether *writer* has that *row* already, and is given it again."""
        return self.again is not None and self.again.has(writer, row)

    def held_back(self) -> HeldBack | None:
        """Where to put what is written here by a worker, or in a loop that runs apart; None for others."""
        if not self.shared:
            return None
        if working_for.get() is not None:
            return self.worker()
        apart = holding_back.get()
        return apart.held_back() if apart is not None and apart.boundary is self else None

    def worker(self) -> HeldBack | None:
        """Where to put what a worker writes here; None for whoever is no worker."""
        if not self.shared or (worker := working_for.get()) is None:
            return None
        return worker[0].held_back_for(worker[1])


class HeldBack(list[tuple[Callable[[Any], object], Any]]):
    """What the worker of a map has written for its item: it counts once that item is done.

    It is a list of the calls that write to sinks and logs, to be made once the loop's body gets the item. What was
    written to a dict or set stands there already.

    Attributes:
        at: The count at which the body got the item, or what the worker around holds back; None before that.
        keepers: What keeps apart what was written to it.
    """

    # No __init__: most items write nothing, and each item of a threaded map makes one of these.
    at: int | HeldBack | None = None
    keepers: Sequence[Keeping] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written."""
        return not self and not self.keepers

    def note(self, writer: Keeping) -> None:
        """*writer* has it already, and keeps it apart."""
        if not any(one is writer for one in self.keepers):
            self.keepers = (*self.keepers, writer)

    def is_done(self, now: int) -> bool:
        """Whether the item is done where the count is *now*."""
        at = self.at
        return at.is_done(now) if isinstance(at, HeldBack) else at is not None and now < at

    def write(self, at: int | HeldBack) -> None:
        """The body gets the item."""
        self.at = at
        for write, what in self:
            write(what)

    def drop(self) -> None:
        """The item has failed: nothing of it counts."""
        for writer in self.keepers:
            writer.take_back(self)


Where = list[tuple[int, int]]
"""Stretches of what was written, each from its start to its stop, in their order."""


_LONG = 10_000


def give_up_long(where: Where) -> None:
    """A row was not found in *where*: expect nothing more of it, if each such search takes long."""
    if sum(stop - start for start, stop in where) > _LONG:
        where.clear()


class Again(Protocol):
    """Knows what is written again when loops go on."""

    def has(self, writer: Noting, row: Any, /) -> bool: ...


class Keeping(Protocol):
    """What keeps apart what workers have written to it."""

    def take_back(self, held_back: HeldBack, /) -> None:
        """Undo what stands in it for an item that has failed."""


class HoldingBack(Protocol):
    """A map, for its workers."""

    def held_back_for(self, key: Any, /) -> HeldBack | None:
        """Where to put what is written for the item with *key*; None if that counts with what the body writes."""
        ...


class HoldingApart(Protocol):
    """A loop in a thread or task of its own."""

    boundary: Boundary

    def held_back(self) -> HeldBack | None:
        """Where to put what is written now; None where that is outside of its items."""
        ...

    def write(self) -> None:
        """What was held back counts."""


holding_back: ContextVar[HoldingApart | None] = ContextVar("holding_back", default=None)
"""The loop that runs apart and whose item this is."""
working_for: ContextVar[tuple[HoldingBack, Any] | None] = ContextVar("working_for", default=None)
"""The map and the key of its item for which the function of that map runs here."""


_MORE_THAN_ANY = repeat(True, (1 << 63) - 1)
"""Gives a count that is no boundary's."""


class Noting:
    """Mixin for what programs write to: it knows where the unfinished item began.

    Before each write: ``if self._ticks.__length_hint__() != self._seen: self._cross()``; CPython calls that faster than
    ``self._boundary.now()``. No call may stand between that and the write: a save in another thread, or in a signal
    handler, comes only after calls.
    """

    if not TYPE_CHECKING:  # A mixin needs empty slots; the attributes below are slots of the classes that use it.
        __slots__ = ()

    _for_users: ClassVar[frozenset[str]] = frozenset()
    """Names that completion shows, besides those with an underscore."""

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name.startswith("_") or name in self._for_users]

    _boundary: Boundary
    _ticks: Ticks
    _seen: int | None  # The count at the last write; None while a save holds the writers off.
    _at: int | None  # What it was before the save.

    def attach(self, boundary: Boundary) -> None:
        """Take the *boundary* of a checkpoint: what was written before is no part of an item."""
        self._boundary = boundary
        self._seen = self._at = boundary.now()
        self.attend()

    def attend(self) -> None:
        """Look at the boundary at each write that comes first in its item; at each of all, where workers can write."""
        is_asked = self._boundary.shared or self._boundary.again is not None
        self._ticks = _MORE_THAN_ANY if is_asked else self._boundary.ticks

    def end_sharing(self) -> None:
        """No worker can write to it any more."""

    @property
    def boundary(self) -> Boundary:
        """What it was attached to."""
        return self._boundary

    # -- rows that are written again

    @property
    def known_as(self) -> str:
        """Tells it from others in the checkpoint; "" if writing to it again does no harm."""
        return ""

    def written_since(self, now: int) -> tuple[int, int] | None:
        """Where that stands which was written since the count was *now*; None if nothing was."""
        return None

    def numbers_changed_since(self, now: int) -> Sequence[str]:
        """The places of the numbers that are others since the count was *now*."""
        return ()

    def is_there(self, row: Any, where: Where, /) -> bool:
        """Whether *row* is what stands next in *where*, or soon after; what lies before is taken off then."""
        return False

    @property
    def _last_seen(self) -> int | None:
        """The count at the last write, also while a save holds the writers off."""
        return self._at if self._seen is None else self._seen

    # -- for saves, which hold the boundary's lock

    def hold(self) -> None:
        """Have writers in other threads wait until :meth:`let_go`."""
        if self._seen is not None:
            self._at, self._seen = self._seen, None

    def settle(self, now: int) -> None:
        """Note where the unfinished item began. To be called between :meth:`hold` and :meth:`let_go`.

        Args:
            now: The count at the moment that is saved. The loop may have gone on since; it has written nothing.
        """
        seen = self._seen
        if (self._at if seen is None else seen) != now:
            self._note()
        self._at = now

    def let_go(self) -> None:
        """Let writers go on."""
        if self._seen is None:
            self._seen = self._at

    # -- for writers

    @abstractmethod
    def _cross(self) -> None:
        """An item was handed out since the last write: note where that was. It ends as the test does."""

    def _wait(self) -> None:
        with self._boundary.lock:
            if self._seen is None:  # a signal handler within a save
                self._seen = self._boundary.now()

    @abstractmethod
    def _note(self) -> None:
        """All that was written until now belongs to done items."""
