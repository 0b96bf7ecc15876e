"""Small loops that begin where others were made before: each takes over the view of the one before."""

from __future__ import annotations

from threading import get_ident
from types import CodeType, FrameType
from typing import Any

from .._runtime.boundary import Boundary
from .._runtime.interpreter import has_gil
from . import place, sources
from .again import NOTHING
from .by_key import KeyLedger
from .failed import Failed
from .levels import Levels
from .loop import Loop, mapped_item
from .remaining import OrderedLedger
from .running import Around, Running, RunningLoops
from .sites import KEPT, Level, Site, has_ended
from .small import MOST, AsyncSmallRemaining, SmallRemaining, sampled
from .spots import Spots, Way, point
from .view import LoopView

_MANY = 4096
_DEPTH = 3
"""Number of calls from the user's code to here."""


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


class _Streak:
    """Small loops that are made one after another at one place: what need not be looked up again.

    It ends when a loop is made in any other way. Until then, the newest run is the only one at its site that is kept
    whole.

    Attributes:
        code: The code that makes the loops.
        name: The user's name for them.
        way: The frames that lead to them; None if they have a name.
        around: The loop around.
        level: What is made within its item.
        site: The site there.
        view: Shows the newest run.
    """

    __slots__ = ("around", "code", "level", "name", "site", "view", "way")

    def __init__(
        self, code: CodeType, name: str | None, way: Way | None, around: Running | None, level: Level, site: Site
    ) -> None:
        self.code, self.name, self.way, self.around = code, name, way, around
        self.level, self.site, self.view = level, site, site.runs[site.count]


class SmallLoops:
    """Makes small loops where others were made before.

    Args:
        levels: Where loops are made.
        running: The loops that run.
        failed: The failed items.
        outside: The stack when the checkpoint was opened.

    Attributes:
        past: Sums over the loops that no view shows any more.
    """

    def __init__(self, levels: Levels, running: RunningLoops, failed: Failed, outside: place.Stack) -> None:
        self._levels, self._running, self._failed = levels, running, failed
        self._spots = Spots(outside)
        self._is_quick = has_gil()  # without a GIL, counts could be read half-updated
        self._streaks: dict[int, _Streak] = {}
        self.past = Past()

    def note(self, frame: FrameType, around: Around | None, site: Site) -> None:
        """*frame* has made a loop at *site*, inside the item *around*."""
        if not site.is_named:
            stop = None if around is None else around.frame
            self._spots.note(frame, site.key, stop, is_suspended=around is not None and around.is_suspended)

    def end_streaks(self) -> None:
        """A loop is made in another way, or begins again, or an item has failed: look up each place again."""
        if self._streaks:
            self._streaks = {}

    def again(self, owner: Any, items: Any, key: Any, name: str | None, *, is_async: bool = False) -> Loop[Any] | None:
        """A small loop that begins where an ended one was made before; None if it must be made otherwise."""
        running, thread = self._running, get_ident()
        boundary = running.again.boundary
        if (
            len(items) > MOST
            or boundary is None
            or mapped_item() is not None
            or not self._is_quick
            or not running.is_main(thread)
        ):
            return None
        frame = place.frame_at(_DEPTH)
        streak = self._streaks.get(point(frame))
        if streak is None or is_async or streak.code is not frame.f_code or streak.name != name:
            return self._look_up(owner, items, key, name, frame, boundary, is_async=is_async)
        before = self._before(streak, frame)
        if before is None:
            return self._look_up(owner, items, key, name, frame, boundary)
        what = (sources.ends(items) if key is None else None) or _ledger_for(owner.operation_id, items, key)
        if what is None:
            return None
        view, site, past, done = streak.view, streak.site, self.past, before.done()
        loop: Loop[Any] = SmallRemaining(items, owner, view, what, thread, site, running, boundary)
        past.made += 1
        if view.wrote is not NOTHING and site.count:  # else it shows the last loop of the item before
            site.keep_written(view)
        if streak.around is not None:
            view.within = streak.level.within
        view.follow(loop, before, site, past.made)
        past.done += done  # afterwards, so that a save in another thread counts nothing twice
        if streak.around is None:
            past.add(before.total)
        if name is None:
            streak.level.made += 1
        return loop

    def _before(self, streak: _Streak, frame: FrameType) -> Loop[Any] | None:
        """The loop before the one that *frame* makes now; None if *streak* does not tell."""
        way, view, mine, around = streak.way, streak.view, self._running.mine, streak.around
        if way is not None and not (way.leads_from(frame) if way.outer else way.end == id(frame)):
            return None
        if around is None:
            if mine and self._running.innermost(frame) is not None:
                return None
        else:
            loop = around.loop
            if not mine or mine[-1] is not around or loop.is_halted or loop.is_left:
                return None
            if way is None and around.frame[0] != id(frame):
                return None
            if not self._levels.come_to(streak.level, loop.current_item()):
                return None
            count = streak.site.count
            if (self._is_kept_whole(count)) if count else (streak.site.spare is not view):
                return None
        return view.loop if has_ended(view) else None

    def _look_up(
        self,
        owner: Any,
        items: Any,
        key: Any,
        name: str | None,
        frame: FrameType,
        boundary: Boundary,
        *,
        is_async: bool = False,
    ) -> Loop[Any] | None:
        running = self._running
        around = running.innermost(frame)
        stop = None if around is None else around.frame
        way = self._spots.find(frame, stop, around is not None and around.is_suspended) if name is None else None
        level = self._levels.root if around is None else self._levels.serving(around.view, around.item)
        if level is None or (way is None and name is None):
            return None
        site = level.sites.get(f"={name}" if way is None else way.key)
        if site is None or not (site.context is None or site.context is running.main_context):
            return None
        view = self._view_for(site)
        if view is None or (before := view.loop) is None:
            return None
        what = (sources.ends(items) if key is None else None) or _ledger_for(owner.operation_id, items, key)
        if what is None:
            return None
        kind: Any = AsyncSmallRemaining if is_async else SmallRemaining
        loop: Loop[Any] = kind(items, owner, view, what, get_ident(), site, running, boundary)
        self._show(level, site, view, loop, before)
        site.context = running.main_context
        if not is_async:
            self._begin_streak(frame, name, way, level, site)
        return loop

    def _show(self, level: Level, site: Site, view: LoopView, loop: Loop[Any], before: Loop[Any]) -> None:
        past, done = self.past, before.done()
        if level.within is None:
            past.add(before.total)
        if view in self._levels.within:
            self._levels.keep_one(view)
        if site.count and view.wrote is not NOTHING:
            site.keep_written(view)
        past.made += 1
        view.begin_again(loop, before, site, level.within, past.made)
        past.done += done  # afterwards, so that a save in another thread counts nothing twice
        level.made += not site.is_named

    def _begin_streak(self, frame: FrameType, name: str | None, way: Way | None, level: Level, site: Site) -> None:
        mine = self._running.mine
        around = mine[-1] if mine else None
        if way is not None and way.outer and self._spots.is_opener(frame):
            return  # it may be the frame that has opened the checkpoint, or call itself
        if way is None and around is not None and around.frame[0] != id(frame):
            return
        if site.runs[site.count] not in self._levels.within:
            if len(self._streaks) >= _MANY:
                self._streaks = {}
            self._streaks[point(frame)] = _Streak(frame.f_code, name, way, around, level, site)

    def _view_for(self, site: Site) -> LoopView | None:
        """The view for the next run at *site*, which begins anew."""
        run, runs = site.count, site.runs
        if not run:
            view = site.spare
            return view if view is not None and view.site is site and not site.compacted and not runs else None
        if (run < KEPT and (site.spare is None or self._is_kept_whole(run))) or run < site.compacted or run + 1 in runs:
            return None
        while len(runs) > 1:
            compacted = site.compact(self.is_kept, kept=2)
            if compacted is None:
                return None
            self._levels.drop(compacted)
        view = runs.get(run)
        if view is None or site.compacted + 1 != run or self._failed.is_known(view.name):
            return None
        if view in self._levels.within and self._levels.is_kept(view):
            return None
        return view if has_ended(view) else None

    def _is_kept_whole(self, run: int) -> bool:
        """Whether it must be known exactly what was written before the *run* of a loop inside an item."""
        again = self._running.again
        return run < KEPT and bool(again.writers or again.has_expected or again.open)

    def is_kept(self, view: LoopView) -> bool:
        """Whether more than the position of an ended loop must be kept."""
        return self._failed.is_known(view.name) or self._levels.is_kept(view)


def _ledger_for(operation_id: str, items: Any, key: Any) -> OrderedLedger | None:
    """A ledger of its own for a loop over *items*; None if the loop has to find out what is wrong with them."""
    if key is not None:
        return KeyLedger(operation_id, items, None, key)
    try:
        return sampled(operation_id, items, items)
    except Exception:
        return None
