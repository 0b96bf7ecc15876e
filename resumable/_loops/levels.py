"""Which items of loops contain other loops, and which of those items are done."""

from __future__ import annotations

from collections.abc import Iterator

from .ledgers.by_position import ItemKey
from .sites import Level, Site
from .view import LoopView

_MANY_LEVELS = 64


class Levels:
    """The loops inside items of loops, level by level.

    Attributes:
        root: The level outside of all loops.
        within: The levels inside items, by the outer loop.
        lost: Unfinished loops that this run has not met, inside done items: each with its progress, for people.
    """

    def __init__(self) -> None:
        self.root = Level()
        self.lost: list[str] = []
        self.within: dict[LoopView, dict[ItemKey, Level]] = {}
        self._purge_at = _MANY_LEVELS

    def at(self, outer: LoopView | None, item: ItemKey) -> Level:
        """The level of an *item* of *outer*, made if necessary."""
        if outer is None:
            return self.root
        levels = self.within.setdefault(outer, {})
        level = levels.get(item)
        if level is not None and level.is_over:
            self._lose(levels.pop(item))
            level = None
        if level is None:
            if len(levels) >= self._purge_at:
                self._purge(levels)
            level = levels[item] = Level(outer, item)
        return level

    def _purge(self, levels: dict[ItemKey, Level]) -> None:
        """Remove the levels of items that are done."""
        for item in [item for item, level in levels.items() if level.is_gone]:
            self._lose(levels.pop(item))
        self._purge_at = max(_MANY_LEVELS, 2 * len(levels))

    def _lose(self, level: Level) -> None:
        """Drop everything in *level*. Note unfinished loops that this run has not met."""
        for site in level.sites.values():
            for view in site.runs.values():
                if not view.is_dropped and view.identity.within == level.within:
                    self.drop(view)

    def drop(self, view: LoopView) -> None:
        """Drop *view*, and everything inside it."""
        if view.is_unmet:
            self.lost.append(view.told())
        view.is_dropped = True
        self.forget(view)

    def forget(self, outer: LoopView) -> None:
        """*outer* begins anew: nothing is inside it."""
        for level in self.within.pop(outer, {}).values():
            self._lose(level)

    def forget_done(self, outer: LoopView) -> None:
        """*outer* resumes: drop the levels that a save in another thread left for items that are done."""
        for item, level in list(self.within.get(outer, {}).items()):
            if outer.is_through(item):
                for view in [view for site in level.sites.values() for view in site.runs.values()]:
                    view.is_dropped = True  # *outer* may show another loop later, in which the item is not done
                level.sites.clear()

    def keep(self, outer: LoopView, item: ItemKey) -> None:
        """Something inside the *item* of *outer* has failed: never reuse its level for another item."""
        level = self.within.get(outer, {}).get(item)
        if level is not None:
            level.can_serve = False

    def is_kept(self, outer: LoopView) -> bool:
        """Whether there are loops in items of *outer* that are not done."""
        levels = self.within.get(outer)
        return levels is not None and any(level.sites and not level.is_gone for level in levels.values())

    def sites(self, *, of_done: bool = True) -> Iterator[Site]:
        """All places where loops were made; without *of_done* not those inside items that are done."""
        yield from self.root.sites.values()
        for levels in self.within.values():
            for level in levels.values():
                if of_done or not level.is_gone:
                    yield from level.sites.values()

    # -- a level that is reused for many items

    def serving(self, outer: LoopView, item: ItemKey) -> Level | None:
        """The level for the present *item* of *outer*; reuses one of a done item. None if there is none."""
        levels = self.within.get(outer)
        if not levels:
            return None
        level = levels.get(item)
        if level is not None and not level.is_over:
            return level
        before, spare = levels.popitem()
        loop = outer.loop
        if loop is None or not (spare.can_serve and (spare.is_over or loop.has_passed(before, item))):
            levels[before] = spare
            return None
        if levels:
            self._purge(levels)
        spare.recycle(item)
        levels[item] = spare
        return spare

    def can_move_on(self, level: Level) -> bool:
        """Whether *level* can serve the next item, too, once the present one is done."""
        levels = None if level.outer is None else self.within.get(level.outer)
        is_alone = levels is not None and len(levels) == 1 and levels.get(level.item) is level
        return is_alone and level.can_serve and not level.is_over

    def come_to(self, level: Level, item: ItemKey) -> bool:
        """Have *level* serve the *item* that the loop around is at; False if it cannot."""
        outer, before = level.outer, level.item
        levels = None if outer is None else self.within.get(outer)
        if outer is None or levels is None or len(levels) > 1 or levels.get(before) is not level:
            return False
        if item == before:
            return not level.is_over
        if not level.can_serve or level.is_over or outer.loop is None or not outer.loop.has_passed(before, item):
            return False
        level.recycle(item)
        del levels[before]
        levels[item] = level
        return True

    def keep_one(self, outer: LoopView) -> None:
        """*outer* begins anew: keep one of its levels for reuse."""
        levels = self.within.get(outer)
        if not levels:
            return
        item, spare = levels.popitem()
        for level in levels.values():
            self._lose(level)
        levels.clear()
        spare.is_over = True
        for site in spare.sites.values():
            for view in site.runs.values():
                view.is_dropped = True
        levels[item] = spare
