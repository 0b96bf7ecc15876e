"""Small loops that are made one after another at one place: what need not be looked up again for each."""

from __future__ import annotations

from operator import itemgetter
from threading import RLock
from types import FrameType
from typing import Any

from ..._runtime.interpreter import references
from ..again import NOTHING
from ..inputs import sources
from ..inputs.sources import PLAIN
from ..ledgers.by_key import KeyLedger
from ..ledgers.by_position import ItemKey
from ..levels import Levels
from ..loop import Ends, Loop, Over
from ..places.spots import Way
from ..remaining import OrderedLedger
from ..running import Running, RunningLoops, is_suspended
from ..sites import KEPT, Level, has_ended
from ..view import NEVER_BEGUN
from .loops import MOST, Common, SmallRemaining, quickly, sampled

_MANY = 512
"""So many inputs are kept until somebody looks."""


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


_Stretch = tuple[SmallRemaining[Any], ItemKey, int, int]
"""Loops of a streak that the view does not show yet, in one value, so that every thread sees them as one.

The newest, the mark of the item around, how many loops were made before it since the stretch began, and how many items
these did.
"""
_NEWEST = 4
"""References to the newest loop that only the streak holds, with those of the function that asks."""
_SHOWN = 6
"""So many while a view shows it, and an entry among the running loops holds it."""


class Streak:
    """Small loops that are made one after another by one call, reached by the same frames.

    It ends when a loop is made in any other way. Until then, the newest run is the only one at its site that is kept
    whole.

    While nothing else happens than that they end or are left, one after another, nobody is told: the view shows the
    newest when somebody looks, see :meth:`catch_up`.

    Args:
        name: The user's name for the loops.
        way: The frames that lead to them. As they end at one that is under way, no other thread or task comes here.
        around: The loop around.
        level: What is made within its item.
        common: What the loops have in common; the newest run at the site is the first of them.

    Attributes:
        code: The code that makes the loops.
        name: The user's name for them.
        newest: The last loop, while nobody need be told of it.
        at: The address of the frame that iterated over the loop before.
        sure: The same, if no other frame can be at that address; else 0.
        end: The address of the frame that makes the loops, if no other can be there, nor another thread run it; else 0.
        leads_from: Whether the frames around one that stands where these loops are made are those of the others.
        offset: The bytecode offset there.
    """

    __slots__ = (
        *("_again", "_around", "_before", "_common", "_entry", "_is_over", "_level", "_levels", "_lock", "_mine"),
        *("_now", "_outer", "_past", "_running", "_shown", "_site", "_view", "_way"),
        *("at", "code", "end", "leads_from", "name", "newest", "offset", "sure"),
    )

    def __init__(
        self,
        name: str | None,
        way: Way,
        around: Running | None,
        level: Level,
        common: Common,
        *,
        levels: Levels,
        past: Past,
    ) -> None:
        common.streak = self
        self.code, self.offset, self.name = way.code, way.offset, name
        self.end, self.leads_from = 0 if way.outer or is_suspended(way.code) else way.end, way.leads_from
        self._way, self._around, self._level, self._common = way, around, level, common
        self._site, self._view, self._running = common.site, common.view, common.running
        self._outer = None if around is None else around.loop
        self._levels, self._past = levels, past
        self._mine, self._again = common.running.mine, common.running.again
        self._entry: Running | None = None
        self._lock = RLock()
        self._now: _Stretch | None = None
        self._shown: _Stretch | None = None
        self.newest: SmallRemaining[Any] | None = None
        self.at = self.sure = 0
        self._is_over = False
        # How each loop of the stretch but the newest ended; None if the next one was made inside another item.
        self._before: list[Over | None] = []

    def next(self, items: Any, key: Any) -> Loop[Any] | None:
        """The next loop; None if it has to be made otherwise."""
        now, outer = self._now, self._outer
        if now is None or self._is_over:
            return self._made(items, key)
        before, mark, made, done = now
        at = 0 if outer is None else outer.mark()
        if before.is_finished:
            over: Over | None = before.ends
        elif references(before) <= (_SHOWN if now is self._shown else _NEWEST) and before.ends is not None:
            over = *before.ends, before.passed if before.has_begun else NEVER_BEGUN
        else:
            return self._made(items, key)
        if at != mark:
            over = None
        elif over is None:
            return self._made(items, key)
        if at is None or made >= _MANY:
            return self._made(items, key)
        count = len(items)
        if count and key is None and type(items[0]) in PLAIN and type(items[-1]) in PLAIN and count <= MOST:
            ends = count, items[0], items[-1]  # inlined from sources.ends()
            loop: SmallRemaining[Any] = quickly(items, self._common, ends, before.flags)
        elif (what := self._identified(items, key)) is not None:
            loop = SmallRemaining(items, self._common, what, before.flags)  # whoever wakes one wakes the newest
        else:
            return None
        log = self._before
        log += (over,)  # no call: nothing comes between this and the next line
        self._now = loop, at, made + 1, done + before.passed
        self.newest = loop
        return loop

    def _identified(self, items: Any, key: Any) -> Ends | OrderedLedger | None:
        return identified(self._common.owner.operation_id, items, key) if len(items) <= MOST else None

    def _made(self, items: Any, key: Any) -> Loop[Any] | None:
        """The next loop, which is shown at once; None if it has to be made otherwise."""
        if self._now is not None or self._running.behind is not self:
            self._end_stretch()
        view, site, past = self._view, self._site, self._past
        before = view.loop
        if before is None or not (before.is_finished or has_ended(view, held=1)) or not self._is_there():
            return None
        what = (sources.ends(items) if key is None and len(items) <= MOST else None) or self._identified(items, key)
        if what is None:
            return None
        done = before.done()
        loop: SmallRemaining[Any] = SmallRemaining(items, self._common, what, [True])
        past.made += 1
        if view.wrote is not NOTHING and site.count:  # else it shows the last loop of the item before
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
        around = self._around
        if around is None or around.loop is not outer or outer.is_finished:
            return False
        if not mine or mine[-1] is not around:
            if self._running.top() is not around:
                return False
        elif outer.is_halted or outer.is_left:
            return False
        level, site, item = self._level, self._site, outer.current_item()
        if (item != level.item or level.is_over or not site.count) and not self._levels.come_to(level, item):
            return False
        count = site.count
        return not is_kept_whole(self._running, count) if count else site.spare is self._view

    # -- loops that nobody is told of

    def is_sure_of(self, frame: FrameType) -> None:
        """*frame* iterates over the newest loop; if the place knows its code, that need not be looked up again."""
        self.sure = self.end if id(frame) == self.end and self._site.gone_through_by is frame.f_code else 0

    def begins(self, loop: SmallRemaining[Any], frame: FrameType) -> None:
        """*loop* hands out its first item to *frame*."""
        entry = self._entry
        if entry is None or self.newest is not loop:
            self._begin_stretch(loop, frame)
        else:
            self.at = id(frame)
            self.is_sure_of(frame)
            entry.frame, entry.is_suspended = (id(frame), id(frame.f_code)), is_suspended(frame.f_code)

    def _begin_stretch(self, loop: SmallRemaining[Any], frame: FrameType) -> None:
        running, mine, outer = self._running, self._mine, self._outer
        self._end_stretch()
        if mine and mine[-1] is self._entry:
            mine.pop()
        self._entry = running.begun_in(loop, self._view, frame)
        running.behind, self._is_over = self, False
        mark = 0 if outer is None else outer.mark()
        if self._entry is None or mark is None or running.on_end is not None or self._again.is_comparing():
            return
        if len(mine) == 1 if outer is None else mine[-2] is self._around and self._is_at(mark):
            self._before = []
            self._shown = self._now = loop, mark, 0, 0
            self.newest, self.at = loop, id(frame)
            self.is_sure_of(frame)

    def _end_stretch(self) -> None:
        if self._running.behind is not None:
            self._running.behind.stop()
        self._now = self._shown = self.newest = None

    def _is_at(self, mark: ItemKey) -> bool:
        """Whether the loop belongs to the item with that *mark*, and others can follow in the next items."""
        outer, level = self._outer, self._level
        return outer is not None and outer.marked(mark) == level.item and self._levels.can_move_on(level)

    def ended(self, loop: SmallRemaining[Any]) -> None:
        """*loop* has come to its end."""
        if self.newest is not loop:
            self._running.ended(loop)

    def stop(self) -> None:
        """Show the newest loop, and tell of the next one when it begins."""
        self._is_over, self.newest = True, None
        self.catch_up()

    def catch_up(self) -> None:
        """Show the newest loop, as if each had been shown when it was made."""
        with self._lock:
            now, shown, entry = self._now, self._shown, self._entry
            if now is None or shown is None:
                return
            loop, mark, made, done = now
            view, past, since = self._view, self._past, self._before[shown[2] : made]
            if entry is not None and loop.has_begun:
                entry.loop = loop
            if now is shown:
                view.has_begun = loop.has_begun
                return
            if mark != shown[1] and self._outer is not None:
                self._levels.come_to(self._level, self._outer.marked(mark))
                view.within = self._level.within
            if view.wrote is not NOTHING and self._site.count:  # as above
                self._site.keep_written(view)
            ended = in_last_item(since)
            view.follow_many(loop, ended, self._site, past.made + len(since))
            view.has_begun = loop.has_begun
            if self._shown is not shown:  # a signal handler has looked meanwhile
                return
            self._shown = now
            past.made += len(since)
            past.done += done - shown[3]
            if self._outer is None and past.total is not None:
                past.total += sum(map(itemgetter(0), ended))
            if self.name is None:
                self._level.made += len(ended) + (len(ended) < len(since))


def in_last_item(before: list[Over | None]) -> list[Over]:
    """How those loops ended that were made inside the same item as the newest one."""
    if None not in before:
        return before  # type: ignore[return-value]
    after = len(before) - before[::-1].index(None)
    return before[after:]  # type: ignore[return-value]


def is_kept_whole(running: RunningLoops, run: int) -> bool:
    """Whether it must be known exactly what was written before the *run* of a loop inside an item."""
    again = running.again
    return run < KEPT and again.is_comparing()


def identified(operation_id: str, items: Any, key: Any) -> Ends | OrderedLedger | None:
    """What identifies *items*: their ends, or a ledger. None if the loop has to find out what is wrong with them."""
    if key is not None:
        return KeyLedger(operation_id, items, None, key)
    try:
        return sources.ends(items) or sampled(operation_id, items, items)
    except Exception:
        return None
