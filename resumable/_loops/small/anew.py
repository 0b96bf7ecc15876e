"""Small loops that begin where others were made before: each takes over the view of the one before."""

from __future__ import annotations

from threading import get_ident
from types import FrameType
from typing import Any

from ..._runtime.boundary import Boundary
from ..._runtime.interpreter import has_gil
from ..again import NOTHING
from ..ledgers.failed import Failed
from ..levels import Levels
from ..loop import Loop, mapped_item
from ..places import place
from ..places.spots import Spots, Way, offset_of, point
from ..running import Around, RunningLoops
from ..sites import KEPT, Level, Site, has_ended
from ..view import LoopView
from .loops import MOST, AsyncSmallRemaining, Common, SmallRemaining
from .streak import Past, Streak, identified, is_kept_whole

_MANY = 4096
_DEPTH = 2
"""Number of calls from the user's code to here."""


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
        self._streaks: dict[int, Streak] = {}
        self._newest: Streak | None = None
        self.past = Past()

    def note(self, frame: FrameType, around: Around | None, site: Site) -> None:
        """*frame* has made a loop at *site*, inside the item *around*."""
        if not site.is_named:
            stop = None if around is None else around.frame
            self._spots.note(frame, site.key, stop, is_suspended=around is not None and around.is_suspended)

    def end_streaks(self) -> None:
        """A loop is made in another way, or begins again, or an item has failed: look up each place again."""
        if self._running.behind is not None:
            self._running.behind.stop()
        if self._streaks:
            self._streaks, self._newest = {}, None

    def again(self, owner: Any, items: Any, key: Any, name: str | None, *, is_async: bool = False) -> Loop[Any] | None:
        """A small loop that begins where an ended one was made before; None if it must be made otherwise."""
        frame = place.frame_at(_DEPTH)
        streak, code = self._newest, frame.f_code
        if streak is None or streak.code is not code or streak.offset != offset_of(frame):
            streak = self._streaks.get(point(frame))
        if (
            streak is not None
            and streak.code is code
            and (streak.end == id(frame) or streak.leads_from(frame))
            and (name is streak.name or name == streak.name)
        ):
            self._newest = streak
            loop = streak.next(items, key)
            if loop is not None:
                return loop
        boundary = self._running.again.boundary
        if (
            len(items) > MOST
            or boundary is None
            or mapped_item() is not None
            or not self._is_quick
            or not self._running.is_main(get_ident())
            or not owner.may_be_small()
        ):
            return None
        return self._look_up(owner, items, key, name, frame, boundary, is_async=is_async)

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
        what = identified(owner.operation_id, items, key)
        if what is None:
            return None
        common = Common(owner, view, site, running, boundary)
        loop: Loop[Any] = (
            AsyncSmallRemaining(items, owner, view, what, running, boundary)
            if is_async
            else SmallRemaining(items, common, what, [True])
        )
        self._show(level, site, view, loop, before)
        site.context = running.main_context
        if not is_async:
            self._begin_streak(frame, name, way, level, common)
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

    def _begin_streak(self, frame: FrameType, name: str | None, way: Way | None, level: Level, common: Common) -> None:
        mine, site = self._running.mine, common.site
        around = mine[-1] if mine else None
        if self._failed or site.runs[site.count] in self._levels.within:
            return
        if way is None:
            stop = None if around is None else around.frame
            way = self._spots.way(frame, stop, around is not None and around.is_suspended)
        if way is None or (way.outer and self._spots.is_opener(frame)):
            return  # the frame may be the one that has opened the checkpoint, or call itself
        if len(self._streaks) >= _MANY:
            self._streaks, self._newest = {}, None
        self._streaks[point(frame)] = Streak(
            name,
            way,
            around,
            level,
            Common(common.owner, site.runs[site.count], site, common.running, common.boundary),
            levels=self._levels,
            past=self.past,
        )

    def _view_for(self, site: Site) -> LoopView | None:
        """The view for the next run at *site*, which begins anew."""
        run, runs = site.count, site.runs
        if not run:
            view = site.spare
            return view if view is not None and view.site is site and not site.compacted and not runs else None
        if (
            (run < KEPT and (site.spare is None or is_kept_whole(self._running, run)))
            or run < site.compacted
            or run + 1 in runs
        ):
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

    def is_kept(self, view: LoopView) -> bool:
        """Whether more than the position of an ended loop must be kept."""
        return self._failed.is_known(view.name) or self._levels.is_kept(view)
