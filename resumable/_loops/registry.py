"""The loops of one checkpoint: which they are, where each stands, and which one runs inside which."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from .loop import Loop
from .values import ValuelessError

Within = list[Any] | None
"""The loop that another one runs inside, and at which of its items: ``[name, key or position]``."""


class LoopView:
    """One name's loop as a save sees it, whether it has begun in this run or not.

    A loop inside another starts afresh with each of the outer one's items; its saved position belongs to one of them.

    Attributes:
        loop: The newest loop of this name; None until this run has made one.
        context: The thread or task that made it.
        number: How many loops this run had made by then.
        is_abandoned: A retry gave it up; the next loop of this name continues at its position.
    """

    def __init__(self, saved: Mapping[str, Any]) -> None:
        self._saved = dict(saved)
        self._is_new = False
        self._committed: dict[str, Any] | None = None
        self.loop: Loop[Any] | None = None
        self.within: Within = None
        self.context: object = None
        self.number = 0
        self.is_abandoned = False

    def saved_within(self, within: Within) -> dict[str, Any] | None:
        """The saved form to continue from, if it was left at this item of the outer loop."""
        saved = self.to_dict() if self.is_abandoned else dict(self._saved)
        if not saved or saved.pop("within", None) != within:
            return None
        return saved

    def begin(
        self, loop: Loop[Any], saved: Mapping[str, Any] | None, within: Within, context: object, number: int
    ) -> None:
        """Show *loop*, which was made from *saved*, from now on."""
        # The store holds *saved* itself only if it came from the checkpoint that was loaded.
        self._is_new = saved is None or self.loop is not None
        if saved is not None:
            self._saved = {}  # a second loop of this name starts from its first item
        self.loop, self.within, self.context, self.number = loop, within, context, number
        self._committed, self.is_abandoned = None, False

    def done(self) -> int:
        """How many items its loop has done in this run."""
        return self.loop.done() if self.loop is not None else 0

    def to_dict(self) -> dict[str, Any]:
        """All that is to be saved of it."""
        return self.as_now()()

    def as_now(self) -> Callable[[], dict[str, Any]]:
        """A function that gives the saved form of this moment later, whatever is done meanwhile."""
        if self.loop is None:
            return partial(dict, dict(self._saved))
        form, within = self.loop.as_now(), self.within
        return lambda: {**form(), "within": within}

    def changes(self) -> dict[str, Any] | None:
        """What changed since the last :meth:`commit`; None if nothing."""
        if self.loop is None:
            return None
        if self._is_new:
            return {**self.to_dict(), "new": True}
        changes = {**self.loop.changes(), "within": self.within}
        return None if changes == self._committed else changes

    def committer(self) -> Callable[[Mapping[str, Any]], None]:
        """A function to call with changes that are stored; it does nothing once another loop has taken the name."""
        loop = self.loop

        def commit(changes: Mapping[str, Any]) -> None:
            if loop is not None and self.loop is loop:
                changes = {**loop.changes(), **changes} if changes.get("new") else dict(changes)
                self._is_new, self._committed = False, changes
                loop.commit(changes)

        return commit


Make = Callable[[str, dict[str, Any] | None], Loop[Any]]
"""Makes a loop from its name and its saved form."""


class LoopRegistry:
    """All loops of one checkpoint.

    Args:
        saved: Their saved forms, by name.
        damaged: Makes the error for a saved form that this library cannot have written; it gets what is wrong.

    Attributes:
        views: What a save sees of them, by name.
    """

    def __init__(
        self, saved: Mapping[str, Mapping[str, Any]], damaged: Callable[[str], Exception] = ValueError
    ) -> None:
        self._damaged = damaged
        self.views = {name: LoopView(form) for name, form in saved.items()}
        self._main_context = _context()
        self._running: dict[object, list[Loop[Any]]] = {}
        self._counts: dict[str, tuple[Within, int]] = {}
        self._made = 0
        self._done_before = 0

    def begin(self, name: str | None, make: Make) -> Loop[Any]:
        """Have *make* make a new loop. Without a *name* it is named by the order of calls."""
        within = self._within()
        name = name if name is not None else self._default_name(within)
        view = self.views.get(name) or LoopView({})
        saved = view.saved_within(within)
        loop = self._make(make, name, saved)
        done = view.done()
        self._made += 1
        view.begin(loop, saved, within, _context(), self._made)
        self._done_before += done  # after that: a save of another thread's in between must count nothing twice
        self.views[name] = view
        return loop

    def _make(self, make: Make, name: str, saved: dict[str, Any] | None) -> Loop[Any]:
        try:
            return make(name, saved)
        except ValuelessError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            if saved is None:
                raise
            make(name, None)  # raises it again if the caller's arguments are wrong
            raise self._damaged(f"the place of its loop {name!r} cannot be read: {error}") from None

    def begun(self, loop: Loop[Any]) -> None:
        """*loop* gives out its first item."""
        self._running.setdefault(_context(), []).append(loop)

    def ended(self, loop: Loop[Any]) -> None:
        """*loop* came to its end."""
        for context, running in list(self._running.items()):
            if loop in running:
                running.remove(loop)
            if not running:
                del self._running[context]

    def _within(self) -> Within:
        # A thread without a loop of its own was perhaps started for an item of the main one's loop.
        for context in (_context(), self._main_context):
            running = self._running.get(context, [])
            while running:
                if self._is_current(running[-1]):
                    return [running[-1].name, running[-1].current_item()]
                running.pop()
        return None

    def _is_current(self, loop: Loop[Any]) -> bool:
        """Whether *loop* may go on: no newer one has its name, and the loop outside it is still at the same item."""
        view = self.views[loop.name]
        if view.loop is not loop or loop.is_finished:
            return False
        if view.within is None:
            return True
        outer = self.views[view.within[0]].loop
        return outer is not None and self._is_current(outer) and outer.current_item() == view.within[1]

    def _default_name(self, within: Within) -> str:
        outer = within[0] if within else ""
        item, number = self._counts.get(outer, (None, 0))
        number = number + 1 if item == within else 1
        self._counts[outer] = within, number
        return f"{outer}/{number}" if within else f"loop-{number}"

    def done(self) -> int:
        """How many items all loops of this run have done."""
        # In this order: a loop that is replaced meanwhile must count nothing twice.
        return self._done_before + sum(map(LoopView.done, list(self.views.values())))

    def total(self) -> int | None:
        """How many items the loops of this run have in all.

        None if one of them does not know, or runs inside another, where it begins again and again.
        """
        views = [(view.within, view.loop.total) for view in list(self.views.values()) if view.loop is not None]
        totals = [total for within, total in views if within is None and total is not None]
        return sum(totals) if len(totals) == len(views) else None

    def wake(self) -> None:
        """Have each running loop check in before its next item."""
        for running in list(self._running.values()):
            for loop in running[:]:
                loop.wake()

    def left(self) -> Iterator[Loop[Any]]:
        """Loops that have begun, did not come to their end, and are not inside an item that is done."""
        running = [loop for loops in list(self._running.values()) for loop in loops]
        return (loop for loop in running if self._is_current(loop) and loop)

    # -- retries

    def continuing(self) -> Callable[[Any], None]:
        """A ``before`` hook for tenacity: loops of an attempt go on where the attempt before left them."""
        first_attempts: WeakKeyDictionary[Any, tuple[object, int, dict[str, tuple[Within, int]]]] = WeakKeyDictionary()

        def before(retry_state: Any) -> None:
            if retry_state in first_attempts:
                self._rewind(*first_attempts[retry_state])
            else:
                first_attempts[retry_state] = _context(), self._made, dict(self._counts)

        return before

    def _rewind(self, context: object, made: int, counts: dict[str, tuple[Within, int]]) -> None:
        """What *context* has begun since *made* loops were made begins again, each loop where it stands."""
        for view in self.views.values():
            if view.context == context and view.number > made:
                view.is_abandoned = True
        running = self._running.get(context, [])
        running[:] = [loop for loop in running if not self.views[loop.name].is_abandoned]
        self._counts = dict(counts)


def _context() -> object:
    """The asyncio task that runs, or else the thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task if task is not None else threading.get_ident()
