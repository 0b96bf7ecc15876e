"""Small loops that are made one after another at one place: what need not be looked up again for each."""

from __future__ import annotations

from threading import get_ident
from types import FrameType
from typing import Any

from .._runtime.boundary import Boundary
from . import sources
from .again import NOTHING
from .by_key import KeyLedger
from .levels import Levels
from .loop import Loop
from .remaining import OrderedLedger
from .running import Running, RunningLoops
from .sites import KEPT, Level, Site, has_ended
from .small import MOST, SmallRemaining, sampled
from .spots import Way


class Past:
    """Sums over the loops of this run that no view shows any more.

    Attributes:
        done: How many items they did.
        total: How many they had; None if that is not known.
        made: How many loops this run made, those that views show included.
    """

    __slots__ = ("done", "made", "total")

    def __init__(self) -> None:
        self.done = self.made = 0
        self.total: int | None = 0

    def add(self, total: int | None) -> None:
        """A loop with this *total*, outside of all others, is not shown any more."""
        if self.total is not None:
            self.total = None if total is None else self.total + total


class Streak:
    """Small loops that are made one after another by one call, reached by the same frames.

    It ends when a loop is made in any other way. Until then, the newest run is the only one at its site that is kept
    whole.

    Args:
        name: The user's name for the loops.
        way: The frames that lead to them. As they end at one that is under way, no other thread or task comes here.
        around: The loop around.
        level: What is made within its item.
        site: The site there; its newest run is the first of these loops.

    Attributes:
        code: The code that makes the loops.
        name: The user's name for them.
    """

    __slots__ = (
        *("_around", "_boundary", "_level", "_levels", "_mine", "_outer", "_past", "_running", "_site", "_thread"),
        *("_view", "_way", "code", "name"),
    )

    def __init__(
        self,
        name: str | None,
        way: Way,
        around: Running | None,
        level: Level,
        site: Site,
        *,
        levels: Levels,
        running: RunningLoops,
        past: Past,
        boundary: Boundary,
    ) -> None:
        self.code, self.name = way.code, name
        self._way, self._around, self._level, self._site, self._view = way, around, level, site, site.runs[site.count]
        self._outer = None if around is None else around.loop
        self._levels, self._running, self._past, self._boundary = levels, running, past, boundary
        self._mine, self._thread = running.mine, get_ident()

    def next(self, owner: Any, items: Any, key: Any, frame: FrameType) -> Loop[Any] | None:
        """The loop that *frame* makes now; None if it has to be made otherwise."""
        way, view, site, past = self._way, self._view, self._site, self._past
        if (not way.leads_from(frame) if way.outer else way.end != id(frame)) or len(items) > MOST:
            return None
        before = view.loop
        if before is None or not (before.is_finished or has_ended(view, held=1)) or not self._is_there():
            return None
        what = (sources.ends(items) if key is None else None) or ledger_for(owner.operation_id, items, key)
        if what is None:
            return None
        done = before.done()
        loop: Loop[Any] = SmallRemaining(items, owner, view, what, self._thread, site, self._running, self._boundary)
        past.made += 1
        if view.wrote is not NOTHING:
            site.keep_written(view)
        if self._outer is not None:
            view.within = self._level.within
        view.follow(loop, before, site, past.made)
        past.done += done  # afterwards, so that a save in another thread counts nothing twice
        if self._outer is None:
            past.add(before.total)
        if self.name is None:
            self._level.made += 1
        return loop

    def _is_there(self) -> bool:
        """Whether the next loop is made inside an item of the loop around, and in nothing else."""
        mine, outer = self._mine, self._outer
        if outer is None:
            return not mine or self._running.top() is None
        if not mine or mine[-1] is not self._around:
            if self._running.top() is not self._around:
                return False
        elif outer.is_halted or outer.is_left:
            return False
        level, site, item = self._level, self._site, outer.current_item()
        if (item != level.item or level.is_over or not site.count) and not self._levels.come_to(level, item):
            return False
        count = site.count
        return not is_kept_whole(self._running, count) if count else site.spare is self._view


def is_kept_whole(running: RunningLoops, run: int) -> bool:
    """Whether it must be known exactly what was written before the *run* of a loop inside an item."""
    again = running.again
    return run < KEPT and bool(again.writers or again.has_expected or again.open)


def ledger_for(operation_id: str, items: Any, key: Any) -> OrderedLedger | None:
    """A ledger of its own for a loop over *items*; None if the loop has to find out what is wrong with them."""
    if key is not None:
        return KeyLedger(operation_id, items, None, key)
    try:
        return sampled(operation_id, items, items)
    except Exception:
        return None
