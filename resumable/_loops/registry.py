"""The loops of one checkpoint: identifies them, keeps their positions, and nests them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import RLock
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from .._runtime.interpreter import is_alive, running_here, stack
from .edited import check_body, check_nesting, is_lost_with_outer, moved_from
from .inputs.values import ValuelessError
from .ledgers.by_position import ItemKey
from .ledgers.failed import Around as FailedAround
from .ledgers.failed import Failed
from .levels import Levels
from .loop import Loop
from .places import place
from .running import Around, Opening, RunningLoops
from .sites import Level, Site
from .small.anew import SmallLoops
from .view import LoopView

Make = Callable[[str, dict[str, Any] | None], Loop[Any]]
"""Makes a loop from its name and its saved form."""
_MANY_VIEWS = 32
"""From this many views on, those of done items are looked for, each time that their number has doubled."""


@dataclass(frozen=True, slots=True)
class _FirstAttempt:
    """Where a thread or task was when a retry's first attempt began."""

    context: object
    number: int
    counts: Mapping[Site, int]


class LoopRegistry:
    """All loops of one checkpoint.

    A loop is identified by the item of the loop around it, by its name or its place in the program, and by the number
    of runs there.

    Args:
        saved: The saved forms, by name.
        damaged: Makes the error for a saved form that this library cannot have written; gets the reason.
        opened: Who opened the checkpoint, and where; by default, the caller.
        failed: The failed items. A loop with failed items is kept, and its name with it.

    Attributes:
        views: The loops as a save sees them, by name. Of small loops that follow one another, perhaps not the newest.
        running: The loops that run now.
        small: Makes small loops where others were made before.

    Raises:
        Exception: The error that *damaged* makes.
    """

    def __init__(
        self,
        saved: Mapping[str, Mapping[str, Any]],
        damaged: Callable[[str], Exception] = ValueError,
        *,
        opened: Opening | None = None,
        operation_id: str = "",
        failed: Failed | None = None,
    ) -> None:
        self._damaged = damaged
        self._operation_id = operation_id
        self._failed = Failed() if failed is None else failed
        self.views: dict[str, LoopView] = {}
        self._levels = Levels()
        main_context, self._outside = opened or (running_here(), stack())
        self.running = RunningLoops(self.views, main_context, operation_id)
        self.small = SmallLoops(self._levels, self.running, self._failed, self._outside)
        self._past = self.small.past
        self._lock = RLock()
        self._taken: dict[str, int] = {}
        self._forget_at = _MANY_VIEWS
        self._has_inner = False
        for name, form in saved.items():
            self.views[name] = self._read(name, form)
        self._of_earlier = [*self.views.values()]
        for view in self._of_earlier:
            self._put(view)

    def shown(self) -> dict[str, LoopView]:
        """The :attr:`views`, each as it is now."""
        if self.running.behind is not None:
            self.running.behind.catch_up()
        return self.views

    def _read(self, name: str, form: Mapping[str, Any]) -> LoopView:
        try:
            return LoopView(name, form, self._failed.holds)
        except (ValueError, TypeError, AttributeError) as error:
            raise self._damaged(f"the place of its loop {name!r} cannot be read: {error}") from None

    def keep_around(self, name: str) -> FailedAround:
        """Something failed in the loop with that *name*: keep the items around it as long as the loop.

        Returns:
            These items, each with its loop, from the inside out.
        """
        self.small.end_streaks()
        found: list[tuple[str, ItemKey]] = []
        view = self.views.get(name)
        while view is not None and (within := view.within) is not None and within not in found:
            found.append(within)
            view = self.views.get(within[0])
            if view is not None:
                self._levels.keep(view, within[1])
        return tuple(found)

    def _put(self, view: LoopView) -> None:
        """Put the loop of an earlier run into its level."""
        within, key = view.identity.within, view.identity.place
        if within is not None:
            outer = self.views.get(within[0])
            if outer is None or view in outer.line():
                view.is_dropped = True  # of an item that is done
                return
            view.outer = outer
        if key is None and not view.is_numbered:
            key = f"={view.name}"
        if key is not None:
            level = self._levels.at(view.outer, within[1] if within else 0)
            level.can_serve = False
            level.site(key).add(view)

    # -- make a loop

    def begin(self, name: str | None, make: Make, *, may_be_small: bool = True) -> Loop[Any]:
        """Make a new loop with *make*. Without a *name* it is identified by its place in the program.

        Args:
            may_be_small: Whether :attr:`small` may make the next ones here.

        Raises:
            InputChangedError: After an edit the loop cannot be identified, or its input has changed.
            RuntimeError: A loop at this place runs in another thread or task.
        """
        self.small.end_streaks()
        frame, context = place.caller(), running_here()
        around = self.running.around(frame, context)
        with self._lock:  # of two threads that make one loop at the same moment, one must see the other
            level = self._levels.root if around is None else self._levels.at(around.view, around.item)
            site = self._site(level, name, frame, around)
            self._check_context(site, context)
            site.context = context
        if may_be_small and (around is None or not (around.frame is None or around.is_mapped)):
            self.small.note(frame, around, site)
        run = site.count + 1
        if run <= site.compacted and run not in site.left and run not in site.runs:
            loop = self._left_out(level, site, run, make)
            site.count = run
        else:
            turn = "" if around is not None else place.turn_of(frame, self._outside)
            loop = self._begin_run(level, site, run, make, context, turn)
            site.runs[run].made_at = frame.f_code.co_filename, frame.f_lineno
        level.made += name is None
        return loop

    def _begin_run(self, level: Level, site: Site, run: int, make: Make, context: object, turn: str) -> Loop[Any]:
        view = site.runs.get(run)
        saved = view.saved() if view is not None else site.saved(run)
        if view is not None and saved is not None and turn and view.identity.turn not in ("", turn):
            raise site.other_input(self._operation_id, run, "belongs to another turn of the plain loop around it")
        if level.outer is not None and level.outer.loop is not None:
            level.outer.has_inner = True
            if saved is not None and (view is None or self._left_something(view)):
                level.outer.loop.check_under_way()
        is_made_again = view is None and run <= site.compacted
        view = view or self._free_view(level, site)
        loop = self._make(make, view.name, saved)
        if is_made_again and site.is_other_input(run, loop):
            raise site.other_input(self._operation_id, run)
        if loop.limit is not None:
            level.check_may_halt(loop)
        done = view.done()
        if saved is None:
            self._levels.forget(view)
        self._past.made += 1
        site.count = run
        view.site, view.wrote_before_compacted = site, site.wrote
        view.begin(loop, saved, (level.within, run, turn), level.outer, context, self._past.made)
        self._past.done += done  # afterwards, so that a save in another thread counts nothing twice
        self.views[view.name] = site.runs[run] = view
        self._has_inner |= level.outer is not None
        self._levels.forget_done(view)
        return loop

    def _left_something(self, view: LoopView) -> bool:
        """Whether an earlier run has done or written something in that loop."""
        has_done = view.is_finished or view.progress()[0] > 0 or bool(view.wrote)
        return has_done or any(one.outer is view for one in self._of_earlier)

    def _make(self, make: Make, name: str, saved: dict[str, Any] | None) -> Loop[Any]:
        try:
            return make(name, saved)
        except ValuelessError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            if saved is None:
                raise
            make(name, None)  # raises again if the caller's arguments are wrong
            raise self._damaged(f"the place of its loop {name!r} cannot be read: {error}") from None

    def _free_view(self, level: Level, site: Site) -> LoopView:
        """A view for a new loop, under an unused name."""
        compacted = site.compact(self.small.is_kept)
        if compacted is not None:
            self._note_compacted(level, compacted)
            return compacted
        for name in level.names(site, self._taken):
            view = self.views.get(name)
            if view is None:
                return LoopView(name, holds=self._failed.holds)
            if view.is_gone and not self._failed.is_known(name):
                if not view.is_dropped:
                    self._levels.drop(view)
                return view
        raise AssertionError("there are more names")

    def _note_compacted(self, level: Level, compacted: LoopView) -> None:
        if level.outer is None:
            self._past.add(compacted.loop.total if compacted.loop is not None else None)

    def _left_out(self, level: Level, site: Site, run: int, make: Make) -> Loop[Any]:
        """A loop that hands out nothing: it ended in an earlier run, and was compacted."""
        loop = make(next(iter(site.runs.values())).name if site.runs else site.key, None)

        def check() -> None:
            if site.is_other_input(run, loop):
                raise site.other_input(self._operation_id, run)
            if level.outer is None:
                self._past.add(loop.position)

        loop.leave_out(check)
        return loop

    # -- identify a loop

    def _site(self, level: Level, name: str | None, frame: FrameType, around: Around | None) -> Site:
        if name is not None and (site := level.sites.get(f"={name}")) is not None:
            return site
        where = place.place_of(
            frame,
            self._outside,
            None if around is None else around.frame,
            is_called_by_others=around is not None and around.is_mapped,
        )
        key = where if name is None else f"={name}"
        if (site := level.sites.get(key)) is not None:
            if not (site.count or name is not None or place.is_only_one(where)):
                check_body(site, frame, self._outside, operation_id=self._operation_id)
            return site
        site = self._told_by_name(level, name) if name is not None else self._of_before(level)
        if site is None:
            is_only_saved = len(self.views) == 1 and not self._past.made
            site = moved_from(
                level,
                where,
                frame,
                self._outside,
                name=name,
                is_only_saved=is_only_saved,
                operation_id=self._operation_id,
            )
        if site is None and name is None:
            check_nesting(self._of_earlier, level, where, frame, self._outside, operation_id=self._operation_id)
        self._forget_unused(level)
        site = level.site(key) if site is None else level.take(site, key)
        if name is None and not place.is_only_one(where):
            site.body = place.body_at(where, frame, self._outside)
        return site

    def _forget_unused(self, level: Level) -> None:
        """Forget loops of done items whose names, such as ``f"rows {item}"``, may never come again."""
        for site in level.unused():
            if site.spare is None or not self._failed.is_known(site.spare.name):
                del level.sites[site.key]
        if len(self.views) >= self._forget_at:
            self._forget_views()
            self._forget_at = max(_MANY_VIEWS, 2 * len(self.views))

    def _forget_views(self) -> None:
        in_use = {view for site in self._levels.sites() for view in (site.spare, *site.runs.values())}
        for name, view in list(self.views.items()):
            if view.is_dropped and view not in in_use and not self._failed.is_known(name):
                del self.views[name]
                self._levels.forget(view)
                self._past.done += view.done()

    def _told_by_name(self, level: Level, name: str) -> Site | None:
        """The site saved under *name*, though the loop had no name when it was saved."""
        view = self.views.get(name)
        if view is None or view.was_met or view.is_gone or view.identity.within != level.within:
            return None
        return self._site_of(level, view)

    def _of_before(self, level: Level) -> Site | None:
        """The site that an older release saved for the next loop in order; each is used once."""
        outer = "loop-" if level.outer is None else f"{level.outer.name}/"
        view = self.views.get(f"{outer}{level.made + 1}")
        if view is None or view.was_met or view.identity.place is not None or view.identity.within != level.within:
            return None
        return self._site_of(level, view)

    def _site_of(self, level: Level, view: LoopView) -> Site:
        key = view.identity.place
        if key is None:
            site = Site("")
            site.add(view)
            return site
        return level.site(key)

    def _check_context(self, site: Site, context: object) -> None:
        other = site.context
        if other is None or other is context or not is_alive(other):
            return
        raise RuntimeError(
            f"several threads or tasks run the loop {place.shown(site.key)}, so it is not known which one is which; "
            "give each a name= of its own, or let one cp.map or cp.amap do the work"
        )

    def halt(self, loop: Loop[Any]) -> None:
        """*loop* has reached its limit: the loops around it stop at their present item."""
        view = self.shown().get(loop.name)
        for outer in view.line() if view is not None else ():
            if outer is not view and outer.loop is not None:
                outer.loop.hold()

    # -- progress

    def done(self) -> int:
        """Number of items that all loops of this run have done."""
        views = self.shown()
        done = self._past.done
        for view in list(views.values()):
            done += view.done()
        return done

    def total(self) -> int | None:
        """Number of items in this run's loops; None if a loop does not know, or runs many times inside another."""
        views = list(self.shown().values())
        total = None if self._has_inner else self._past.total
        for view in views:
            if view.loop is not None and total is not None:
                total = None if view.loop.total is None else total + view.loop.total
        return total

    def left(self) -> Iterator[Loop[Any]]:
        """The :meth:`unfinished` loops that may have items left."""
        return (loop for loop in self.unfinished() if loop)

    def unfinished(self) -> list[Loop[Any]]:
        """Loops that have begun, have not ended, and are not inside a done item."""
        begun = [(view, view.loop) for view in list(self.shown().values()) if view.has_begun]
        return [loop for view, loop in begun if loop is not None and not loop.is_finished and not view.is_gone]

    def has_compacted_left(self) -> bool:
        """Whether a run that was left before its end was compacted."""
        self.shown()
        return any(map(Site.has_left, self._levels.sites()))

    def never_met(self) -> list[str]:
        """Unfinished loops of an earlier run that this run has not made, each with its progress, for people."""
        unmet = [view for view in self.shown().values() if not view.is_dropped and view.is_unmet]
        compacted = [told for site in self._levels.root.sites.values() if (told := site.told_of_unmet())]
        lost = [view for view in unmet if view.outer is None or view.is_gone or is_lost_with_outer(view)]
        return [*self._levels.lost, *compacted, *(view.told() for view in lost)]

    # -- retries

    def continuing(self) -> Callable[[Any], None]:
        """A ``before`` hook for tenacity: an attempt's loops continue where those of the last attempt were left."""
        first_attempts: WeakKeyDictionary[Any, _FirstAttempt] = WeakKeyDictionary()

        def before(retry_state: Any) -> None:
            self.shown()
            first = first_attempts.get(retry_state)
            if first is None:
                context = running_here()
                counts = {one: one.count for one in self._levels.sites(of_done=False) if one.context is context}
                first_attempts[retry_state] = _FirstAttempt(context, self._past.made, counts)
            else:
                self._rewind(first)

        return before

    def _rewind(self, first: _FirstAttempt) -> None:
        """Let the loops that began since the *first* attempt continue from their positions."""
        self.small.end_streaks()
        left = [one for one in self.views.values() if one.context is first.context and one.number > first.number]
        for view in left:
            view.is_abandoned = True
        # What stands around the loops of an item that is done is not written again.
        again = [one for one in left if not one.is_gone]
        self.running.again.retry(again, [one for one in self.views.values() if not (one.was_met or one.is_dropped)])
        for site in self._levels.sites():
            if site.context is first.context:
                site.count = first.counts.get(site, 0)
