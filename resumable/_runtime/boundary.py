"""The boundary between done items and the unfinished one: a save contains what lies before it.

All loops of a checkpoint draw their items through one counter, in C. Each write compares it with its value at the write
before: if it has moved, everything written until then belongs to done items.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from functools import partial
from itertools import repeat
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

_log = logging.getLogger("resumable")

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
        look: Called before each write while set.
        context: The thread or task that has opened the checkpoint; None if it is not known.
        apart: What loops in other ones hold back.
        on_writer: Called when the program can write to something more.
        note_outside: Called before what these hold back counts: whatever was written until then counts with it.
        has_many: Whether many new values wait for the next save, so that some should be taken ahead of it.
        wake: Called when that has become so.
        forked_from: In a forked child, whose operation it is; "" in the process that has opened it.
        pid: The process that has opened it.
        granted: Loops may hand out items until the count reaches this; then a check-in is due.
    """

    ticks: Ticks = msgspec.field(default_factory=partial(repeat, True, (1 << 60) - 1))
    lock: threading.RLock = msgspec.field(default_factory=threading.RLock)
    writers: list[Noting] = msgspec.field(default_factory=list)
    shared: int = 0
    again: Again | None = None
    look: Callable[[], None] | None = None
    context: object = None
    apart: list[HoldingApart] = msgspec.field(default_factory=list)
    on_writer: Callable[[], None] | None = None
    note_outside: Callable[[], None] | None = None
    has_many: bool = False
    wake: Callable[[], None] | None = None
    forked_from: str = ""
    pid: int = msgspec.field(default_factory=os.getpid)
    granted: float = inf

    def now(self) -> int:
        """The count. It decreases."""
        return self.ticks.__length_hint__()

    def move(self) -> None:
        """Everything written until now belongs to done items."""
        next(self.ticks)

    def add(self, writer: Noting) -> None:
        """The program can write to *writer*, too."""
        self.writers.append(writer)
        if self.on_writer is not None:
            self.on_writer()

    def note_many(self) -> None:
        """Many values were written at once."""
        self.has_many = True
        if self.wake is not None:
            self.wake()

    def look_by(self, look: Callable[[], None] | None) -> None:
        """Call *look* before each write from now on; None: nothing."""
        with self.lock:
            self.look = look
            for writer in self.writers:
                writer.attend()

    def forked(self, operation_id: str) -> None:
        """This is a child that was forked from the owner of the operation: nothing that it writes is saved."""
        self.lock = threading.RLock()  # a thread that is not here may have held it
        self.forked_from = operation_id
        for writer in self.writers:
            writer.hold()

    def share(self, maps: int) -> None:
        """Add *maps* to the number of maps whose workers can write here: each write then checks for a worker."""
        with self.lock:
            self.shared += maps
            for writer in self.writers:
                writer.attend()
                if not self.shared:
                    writer.end_sharing()

    def has(self, writer: Noting, row: Any) -> bool:
        """Whether *writer* has *row* already, and the program writes it again."""
        if self.look is not None:
            self.look()
        return self.again is not None and self.again.has(writer, row)

    @property
    def is_asked(self) -> bool:
        """Whether each write asks what to do with it."""
        return self.shared > 0 or self.again is not None or self.look is not None

    def held_back(self) -> HeldBack | None:
        """Where to put the writes of a worker, or of a loop that runs apart; None for any other code."""
        if not self.shared:
            return None
        if working() is not None:
            return self.worker()
        apart = holding_back.get()
        return apart.held_back() if apart is not None and apart.boundary is self else None

    def worker(self) -> HeldBack | None:
        """Where to put a worker's writes; None for any other code."""
        if not self.shared or (worker := working()) is None:
            return None
        return worker[0].held_back_for(worker[1])


class HeldBack(list[tuple[Callable[[Any], object], Any]]):
    """The writes of a map's worker for its item: they count once that item is done.

    The list holds the calls that write to sinks and logs, to be made once the loop's body gets the item. Writes to a
    dict or set are in it already.

    Attributes:
        at: The count at which the body got the item, or the outer worker's writes; None before that.
        keepers: The collections that track these writes.
    """

    # No __init__, because each item of a threaded map makes one, and most write nothing.
    at: int | HeldBack | None = None
    keepers: Sequence[Keeping] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written."""
        return not self and not self.keepers

    def note(self, writer: Keeping) -> None:
        """*writer* has the write already, and tracks it."""
        if not any(one is writer for one in self.keepers):
            self.keepers = (*self.keepers, writer)

    def is_done(self, now: int) -> bool:
        """Whether the item is done at the count *now*."""
        at = self.at
        return at.is_done(now) if isinstance(at, HeldBack) else at is not None and now < at

    def write(self, at: int | HeldBack) -> None:
        """The body gets the item."""
        self.at = at
        for write, what in self:
            write(what)

    def drop(self) -> None:
        """The item has failed: undo its writes."""
        for writer in self.keepers:
            writer.take_back(self)


Where = list[tuple[int, int]]
"""Ranges of what was written, each from its start to its stop, in order."""


_LONG = 10_000


def remove_found(where: Where, number: int, found: int, size: int, *, in_order: bool) -> None:
    """Remove from *where* a row of that *size*, *found* in the stretch of that *number*, and perhaps all before it."""
    start, stop = where[number]
    before = [] if in_order else [*where[:number], *([(start, found)] if start < found else [])]
    where[: number + 1] = [*before, (found + size, stop)]


def give_up_long(where: Where) -> None:
    """A row was not found in *where*: drop the ranges if such a search takes long."""
    if sum(stop - start for start, stop in where) > _LONG:
        where.clear()


class Again(Protocol):
    """Detects rows that resumed loops write again."""

    def has(self, writer: Noting, row: Any, /) -> bool: ...


class Keeping(Protocol):
    """A collection that tracks what workers have written to it."""

    def take_back(self, held_back: HeldBack, /) -> None:
        """Undo the writes for an item that has failed."""


class HoldingBack(Protocol):
    """A map, for its workers."""

    def held_back_for(self, key: Any, /) -> HeldBack | None:
        """Where to put the writes for the item with *key*; None if they count with what the body writes."""
        ...


class HoldingApart(Protocol):
    """A loop in a thread or task of its own."""

    boundary: Boundary

    def held_back(self) -> HeldBack | None:
        """Where to put what is written now; None outside of its items."""
        ...

    def write(self) -> None:
        """Let the held-back writes count."""


holding_back: ContextVar[HoldingApart | None] = ContextVar("holding_back", default=None)
"""The loop that runs apart, while one of its items is worked on."""
Working = tuple[HoldingBack, Any]
"""A map and the key of the item for which its function runs."""


class InlineCalls:
    """The calls that a map makes one after the other in its loop's own thread.

    It stays in :data:`working_for` between two calls: to set that for each item would take longer than a short call.

    Attributes:
        around: The item of another map around this one.
        item: The item for which the function runs; between two calls, *around*.
    """

    __slots__ = ("_token", "around", "item")

    def __init__(self) -> None:
        self.item = self.around = working()
        self._token: Token[Any] | None = None

    def attend(self) -> None:
        """The calls are made in the present context from now on."""
        self._token = working_for.set(self)

    def __enter__(self) -> InlineCalls:
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            with contextlib.suppress(ValueError):  # a generator may be closed in another context
                working_for.reset(self._token)


working_for: ContextVar[Working | InlineCalls | None] = ContextVar("working_for", default=None)
"""Set while a map's function runs; read it with :func:`working`."""


def working() -> Working | None:
    """The map and the item for which a map's function runs here; None outside of maps' functions."""
    here = working_for.get()
    return here.item if type(here) is InlineCalls else here  # type: ignore[return-value]


_MORE_THAN_ANY = repeat(True, (1 << 63) - 1)
"""Its length is a count that no boundary has."""


class Noting:
    """Mixin for collections and sinks: tracks where the unfinished item began.

    Before each write: ``if self._ticks.__length_hint__() != self._seen: self._cross()``; CPython calls that faster than
    ``self._boundary.now()``. No call may come between that and the write, because a save in another thread, or in a
    signal handler, runs only after a call.
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
    _at: int | None  # Its value before the save.

    def attach(self, boundary: Boundary) -> None:
        """Use the *boundary* of a checkpoint: earlier writes belong to no item."""
        self._boundary = boundary
        self._seen = self._at = boundary.now()
        self.attend()
        if boundary.forked_from:
            self.hold()

    def attend(self) -> None:
        """Compare the boundary at the first write of each item; if workers can write, at every write."""
        boundary = self._boundary  # is_asked, without the call
        is_asked = boundary.shared or boundary.again is not None or boundary.look is not None
        self._ticks = _MORE_THAN_ANY if is_asked else boundary.ticks

    def end_sharing(self) -> None:
        """Workers can no longer write to it."""

    @property
    def boundary(self) -> Boundary:
        """The boundary that it uses."""
        return self._boundary

    # -- rows written again

    @property
    def known_as(self) -> str:
        """Its identity in the checkpoint; "" if writing to it again does no harm."""
        return ""

    def written_since(self, now: int) -> tuple[int, int] | None:
        """The range written since the count was *now*; None if nothing was."""
        return None

    def has_written_since(self, now: int) -> bool:
        """Whether anything was written since the count was *now*."""
        return self.written_since(now) is not None

    def numbers_changed_since(self, now: int) -> Sequence[str]:
        """The paths of numbers that have changed since the count was *now*."""
        return ()

    def is_there(self, row: Any, where: Where, /, *, in_order: bool = True) -> bool:
        """Whether *row* comes next in *where*, or soon after. If so, it is removed from *where*.

        Args:
            in_order: Whether rows come in the order of *where*, so that what lies before is removed, too.
        """
        return False

    @property
    def _last_seen(self) -> int | None:
        """The count at the last write, even while a save holds the writers off."""
        return self._at if self._seen is None else self._seen

    # -- for saves, which hold the boundary's lock

    def hold(self) -> None:
        """Make writers in other threads wait until :meth:`let_go`."""
        if self._seen is not None:
            self._at, self._seen = self._seen, None

    def settle(self, now: int) -> None:
        """Note where the unfinished item began. Call it between :meth:`hold` and :meth:`let_go`.

        Args:
            now: The count at the saved moment. The loop may have gone on since, but has written nothing.
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
        """An item was handed out since the last write: note where that was, then compare again."""

    def _wait(self) -> None:
        if self._boundary.forked_from:
            _say_unsaved(self._boundary.forked_from)
        with self._boundary.lock:
            if self._seen is None:  # a signal handler inside a save
                self._seen = self._boundary.now()

    @abstractmethod
    def _note(self) -> None:
        """Everything written until now belongs to done items."""


@functools.lru_cache(maxsize=256)
def _say_unsaved(operation_id: str) -> None:
    _log.warning(
        "%s: this process was forked from the one that opened the checkpoint. What it writes to a log, mapping or set "
        "stays in it, and is not saved. Return it to that process, as the function of cp.map does.",
        operation_id,
    )
