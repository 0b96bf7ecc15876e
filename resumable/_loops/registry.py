"""The loops of one checkpoint: which they are, where each stands, and which one runs inside which."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from .by_key import KeyLedger
from .remaining import Loop

Within = list[Any] | None
"""The loop that another one runs inside, and at which of its items: ``[name, key or position]``."""


class LoopView:
    """One loop as the saver sees it, whether it has begun in this run or not.

    A loop inside another starts afresh with each of the outer one's items; its saved place belongs to one of them.

    Attributes:
        number: In which order the loops of this run were made.
        strand: The thread or task that made it.
        is_over: A retry gave it up: the next loop of its name goes on where it stands.
    """

    def __init__(self, saved: Mapping[str, Any]) -> None:
        self._saved = dict(saved)
        self._is_new = False
        self._settled: dict[str, Any] | None = None
        self.loop: Loop[Any] | None = None
        self.within: Within = None
        self.number = 0
        self.strand: object = None
        self.is_over = False

    def place_within(self, within: Within) -> dict[str, Any] | None:
        """The place to go on from, if it was left at this item of the outer loop."""
        place = self.to_dict() if self.is_over else dict(self._saved)
        if not place or place.pop("within", None) != within:
            return None
        return place

    def begin(
        self, loop: Loop[Any], place: Mapping[str, Any] | None, within: Within, strand: object, number: int
    ) -> None:
        """From now on *loop* tells, which was made from *place*."""
        # The store holds the place itself only if the last one to tell was the checkpoint that was loaded.
        self._is_new = place is None or self.loop is not None
        if place is not None:
            self._saved = {}  # a second loop of the same name begins anew
        self.loop, self.within, self.strand, self.number = loop, within, strand, number
        self._settled, self.is_over = None, False

    def done(self) -> int:
        """How many items the loop that tells has finished."""
        return self.loop.done() if self.loop is not None else 0

    def to_dict(self) -> dict[str, Any]:
        """All that is to be saved of it."""
        return dict(self._saved) if self.loop is None else {**self.loop.to_dict(), "within": self.within}

    def as_now(self) -> Callable[[], dict[str, Any]]:
        """What gives that later, as it is now, whatever is done meanwhile."""
        if self.loop is None:
            saved = dict(self._saved)
            return lambda: saved
        place, within = self.loop.as_now(), self.within
        return lambda: {**place(), "within": within}

    def changes(self) -> dict[str, Any] | None:
        """What changed since the last ``settle``; None if nothing."""
        if self.loop is None:
            return None
        if self._is_new:
            return {**self.loop.to_dict(), "within": self.within, "new": True}
        changes = {**self.loop.changes(), "within": self.within}
        return None if changes == self._settled else changes

    def committer(self) -> Callable[[Mapping[str, Any]], None]:
        """What takes note that changes are safely stored; of those of the loop that tells now, and of no later one."""
        loop = self.loop
        return lambda changes: self.commit(changes) if self.loop is loop else None

    def commit(self, changes: Mapping[str, Any]) -> None:
        """*changes* are safely stored."""
        assert self.loop is not None
        if changes.get("new"):
            changes = {**self.loop.changes(), **changes}
        self._is_new, self._settled = False, dict(changes)
        self.loop.settle(changes)


Make = Callable[[str, dict[str, Any] | None], Loop[Any]]
"""Makes a loop from its name and its saved place."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a strand was when a retry began."""

    strand: object
    number: int
    counts: Mapping[str, tuple[Within, int]]


class Loops:
    """All loops of one checkpoint.

    Args:
        saved: Their saved places, by name.
        damaged: Makes the error for a place that this library cannot have saved, from what is wrong with it.
    """

    def __init__(
        self, saved: Mapping[str, Mapping[str, Any]], damaged: Callable[[str], Exception] = ValueError
    ) -> None:
        self._damaged = damaged
        self.views = {name: LoopView(place) for name, place in saved.items()}
        self._home = _strand()
        self._running: dict[object, list[Loop[Any]]] = {}
        self._counts: dict[str, tuple[Within, int]] = {}
        self._made = 0
        self._done_before = 0

    def begin(self, name: str | None, make: Make) -> Loop[Any]:
        """A new loop, made by *make* from its name and its saved place."""
        within = self._within()
        name = name if name is not None else self._default_name(within)
        view = self.views.get(name) or LoopView({})
        place = view.place_within(within)
        loop = self._make(make, name, place)
        done = view.done()
        self._made += 1
        view.begin(loop, place, within, _strand(), self._made)
        self._done_before += done  # after that: a save of another thread's in between must count nothing twice
        self.views[name] = view
        return loop

    def _make(self, make: Make, name: str, place: dict[str, Any] | None) -> Loop[Any]:
        try:
            return make(name, place)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            if place is None:
                raise
            make(name, None)  # raises the same if it is the caller's fault
            raise self._damaged(f"the place of its loop {name!r} cannot be read: {error}") from None

    def begun(self, loop: Loop[Any]) -> None:
        """*loop* gives out its first item."""
        self._running.setdefault(_strand(), []).append(loop)

    def ended(self, loop: Loop[Any]) -> None:
        """*loop* came to its end."""
        for strand, running in list(self._running.items()):
            if loop in running:
                running.remove(loop)
            if not running:
                del self._running[strand]

    def _within(self) -> Within:
        # A thread without a loop of its own was perhaps started for an item of the loop at home.
        for strand in (_strand(), self._home):
            running = self._running.get(strand, [])
            while running:
                if self._is_current(running[-1]):
                    return [running[-1].name, _item_of(running[-1])]
                running.pop()
        return None

    def _is_current(self, loop: Loop[Any]) -> bool:
        """Whether *loop* may go on: it tells for its name, and the loop outside it is still at the same item."""
        view = self.views[loop.name]
        if view.loop is not loop or loop.is_finished:
            return False
        if view.within is None:
            return True
        outer = self.views[view.within[0]].loop
        return outer is not None and self._is_current(outer) and _item_of(outer) == view.within[1]

    def _default_name(self, within: Within) -> str:
        outer = within[0] if within else ""
        item, number = self._counts.get(outer, (None, 0))
        number = number + 1 if item == within else 1
        self._counts[outer] = within, number
        return f"{outer}/{number}" if within else f"loop-{number}"

    def done(self) -> int:
        """How many items all loops of this run have finished."""
        done = self._done_before
        for view in list(self.views.values()):
            done += view.done()
        return done

    def total(self) -> int | None:
        """How many items the loops of this run have in all.

        None if one does not know, or lies within another, where it begins again and again.
        """
        total = 0
        for view in list(self.views.values()):
            if view.loop is not None:
                if view.within is not None or view.loop.total is None:
                    return None
                total += view.loop.total
        return total

    def wake(self) -> None:
        """Have each running loop ask before its next item."""
        for running in list(self._running.values()):
            for loop in running[:]:
                loop.wake()

    def left(self) -> Iterator[Loop[Any]]:
        """Loops that have begun, did not come to their end, and are not inside an item that is done."""
        running = [loop for loops in list(self._running.values()) for loop in loops]
        return (loop for loop in running if self._is_current(loop) and loop)

    # -- retries

    def mark(self) -> Mark:
        """Where this thread or task is now."""
        return Mark(_strand(), self._made, dict(self._counts))

    def rewind(self, mark: Mark) -> None:
        """What was begun since *mark* begins again: each loop where the one of its name before it stands."""
        for view in self.views.values():
            if view.strand == mark.strand and view.number > mark.number:
                view.is_over = True
        running = self._running.get(mark.strand, [])
        running[:] = [loop for loop in running if not self.views[loop.name].is_over]
        self._counts = dict(mark.counts)

    def continuing(self) -> Callable[[Any], None]:
        """A ``before`` hook for tenacity: loops of an attempt go on where the attempt before left them."""
        marks: WeakKeyDictionary[Any, Mark] = WeakKeyDictionary()

        def before(retry_state: Any) -> None:
            mark = marks.get(retry_state)
            if mark is None:
                marks[retry_state] = self.mark()
            else:
                self.rewind(mark)

        return before


def _item_of(loop: Loop[Any]) -> str | int:
    """Which item the loop is at. By key the order may change, so that the position says nothing in the next run."""
    ledger = loop._ledger
    return ledger._offered if isinstance(ledger, KeyLedger) else loop.position


def _strand() -> object:
    """The task or thread that runs."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task if task is not None else threading.get_ident()
