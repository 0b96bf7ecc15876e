"""The loops of one checkpoint: which they are, where each stands, and which one runs inside which."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from .._errors import InputChangedError
from .._text import command_for
from . import place
from .by_position import ItemKey, Saved
from .edited import moved_from
from .loop import Loop, mapped_item
from .sites import Level, Site
from .values import ValuelessError
from .view import LoopView

Make = Callable[[str, dict[str, Any] | None], Loop[Any]]
"""Makes a loop from its name and its saved form."""
Opening = tuple[object, place.Stack]
"""The thread or task that opens a checkpoint, and the frames that are under way then."""
_SUSPENDS = 0x20 | 0x80 | 0x200
"""Flags of the code of generators, coroutines and async generators."""
_MANY_LEVELS = 64


@dataclass(frozen=True, slots=True)
class _Running:
    """A loop that was begun.

    Attributes:
        frame: What goes through it.
        is_suspended: Whether that frame may be alive without being on the stack.
    """

    loop: Loop[Any]
    view: LoopView
    frame: place.Frame
    is_suspended: bool


@dataclass(frozen=True, slots=True)
class _Around:
    """The item that something is inside.

    Attributes:
        frame: What goes through its loop; None if that cannot be on the stack.
        is_mapped: Whether a map has called its function for it.
    """

    view: LoopView
    item: ItemKey
    frame: place.Frame | None = None
    is_mapped: bool = False


@dataclass(frozen=True, slots=True)
class _FirstAttempt:
    """Where a thread or task stood when a retry's first attempt began."""

    context: object
    number: int
    counts: Mapping[Site, int]


class LoopRegistry:
    """All loops of one checkpoint.

    A loop is known by the item of the loop around it, by its name or its place in the program, and by how often it
    was run there.

    Args:
        saved: Their saved forms, by name.
        damaged: Makes the error for a saved form that this library cannot have written; it gets what is wrong.
        opened: Who has opened the checkpoint, and where; by default, who makes this.
        has_failures: Whether items of the loop with that name were given up; its name is not given to another loop.

    Attributes:
        views: What a save sees of them, by name.

    Raises:
        Exception: What *damaged* makes.
    """

    def __init__(
        self,
        saved: Mapping[str, Mapping[str, Any]],
        damaged: Callable[[str], Exception] = ValueError,
        *,
        opened: Opening | None = None,
        operation_id: str = "",
        has_failures: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self._damaged = damaged
        self._operation_id = operation_id
        self._has_failures = has_failures
        self.views: dict[str, LoopView] = {}
        self._root = Level()
        self._levels: dict[LoopView, dict[ItemKey, Level]] = {}
        self._purge_at = _MANY_LEVELS
        self._main_context, self._outside = opened or opening()
        self._running: dict[object, list[_Running]] = {}
        self._made = 0
        self._done_before = 0
        self._total_before: int | None = 0
        self._has_inner = False
        self._lost: list[str] = []
        for name, form in saved.items():
            self.views[name] = self._read(name, form)
        for view in self.views.values():
            self._put(view)

    def _read(self, name: str, form: Mapping[str, Any]) -> LoopView:
        try:
            return LoopView(name, form)
        except (ValueError, TypeError, AttributeError) as error:
            raise self._damaged(f"the place of its loop {name!r} cannot be read: {error}") from None

    def _put(self, view: LoopView) -> None:
        """Put a loop of an earlier run where it belongs."""
        within, key = view.identity.within, view.identity.place
        if within is not None:
            outer = self.views.get(within[0])
            if outer is None or view in outer.line():
                view.is_dropped = True  # of an item that was done long ago
                return
            view.outer = outer
        if key is None and not _is_numbered(view.name, within):
            key = f"={view.name}"
        if key is not None:
            self._level(view.outer, within[1] if within else 0).site(key).add(view)

    def _level(self, outer: LoopView | None, item: ItemKey) -> Level:
        if outer is None:
            return self._root
        levels = self._levels.setdefault(outer, {})
        level = levels.get(item)
        if level is None:
            if len(levels) >= self._purge_at:
                self._purge(levels)
            level = levels[item] = Level(outer, item)
        return level

    def _purge(self, levels: dict[ItemKey, Level]) -> None:
        """Forget the items that are done."""
        for item in [item for item, level in levels.items() if level.is_gone]:
            self._lose(levels.pop(item))
        self._purge_at = max(_MANY_LEVELS, 2 * len(levels))

    def _lose(self, level: Level) -> None:
        """Nothing in *level* is kept. Note unfinished loops that this run has not met."""
        for site in level.sites.values():
            for view in site.runs.values():
                if not view.is_dropped and view.identity.within == level.within:
                    self._drop(view)

    def _drop(self, view: LoopView) -> None:
        if _is_unfinished(view):
            self._lost.append(_told(view))
        view.is_dropped = True
        for level in self._levels.pop(view, {}).values():
            self._lose(level)

    # -- a loop is made

    def begin(self, name: str | None, make: Make) -> Loop[Any]:
        """Have *make* make a new loop. Without a *name* it is known by its place in the program.

        Raises:
            InputChangedError: After an edit it cannot be said which loop it is, or it goes through other items.
            RuntimeError: A loop at the same place runs in another thread or task.
        """
        frame, context = place.caller(), running_here()
        around = self._around(frame, context)
        level = self._root if around is None else self._level(around.view, around.item)
        site = self._site(level, name, frame, around)
        if site.is_named:
            site.count = 0  # a second loop of one name begins anew
        else:
            self._check_context(site, context)
        run = site.count + 1
        if run <= site.folded:
            loop = self._left_out(level, site, run, make)
        else:
            loop = self._begin_run(level, site, run, make, context)
            site.runs[run].made_at = frame.f_code.co_filename, frame.f_lineno
        site.count, site.context = run, context
        level.made += name is None
        return loop

    def _begin_run(self, level: Level, site: Site, run: int, make: Make, context: object) -> Loop[Any]:
        view = site.runs.get(run)
        saved = view.saved() if view is not None else None
        view = view or self._free_view(level, site)
        loop = self._make(make, view.name, saved)
        done = view.done()
        if saved is None:
            self._forget_inner(view)
        self._made += 1
        view.begin(loop, saved, site.identity(level.within), level.outer, context, self._made)
        self._done_before += done  # after that: a save of another thread's in between must count nothing twice
        self.views[view.name] = site.runs[run] = view
        self._has_inner |= level.outer is not None
        for item, inner in list(self._levels.get(view, {}).items()):
            if loop.has_done(item):  # what a save in another thread has left of an item that was done meanwhile
                inner.sites.clear()
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

    def _forget_inner(self, view: LoopView) -> None:
        for level in self._levels.pop(view, {}).values():
            self._lose(level)

    def _free_view(self, level: Level, site: Site) -> LoopView:
        """A view for a new loop, under a name that is free."""
        folded = site.fold(self._has_failures)
        if folded is not None:
            if level.outer is None and self._total_before is not None:
                total = folded.loop.total if folded.loop is not None else None
                self._total_before = None if total is None else self._total_before + total
            return folded
        for name in _names(level, site):
            view = self.views.get(name)
            if view is None:
                return LoopView(name)
            if view.is_gone and not self._has_failures(name):
                if not view.is_dropped:
                    self._drop(view)
                return view
        raise AssertionError("there are more names")

    def _left_out(self, level: Level, site: Site, run: int, make: Make) -> Loop[Any]:
        """A loop that gives out nothing: it came to its end in an earlier run, and was folded."""
        loop = make(next(iter(site.runs.values())).name if site.runs else site.key, None)

        def check(saved: Saved) -> None:
            if site.is_other_input(run, saved):
                raise _other_input(self._operation_id, site, run)
            if level.outer is None and self._total_before is not None:
                self._total_before += loop.position

        loop.leave_out(check)
        return loop

    # -- which one it is

    def _site(self, level: Level, name: str | None, frame: FrameType, around: _Around | None) -> Site:
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
            return site
        site = self._told_by_name(level, name) if name is not None else self._of_before(level)
        if site is None:
            is_only_saved = len(self.views) == 1 and not self._made
            site = moved_from(
                level,
                where,
                frame,
                self._outside,
                name=name,
                is_only_saved=is_only_saved,
                operation_id=self._operation_id,
            )
        return level.site(key) if site is None else level.take(site, key)

    def _told_by_name(self, level: Level, name: str) -> Site | None:
        """The site that is saved under *name*, though its loop had none when it was saved."""
        view = self.views.get(name)
        if view is None or view.was_met or view.is_gone or view.identity.within != level.within:
            return None
        return self._site_of(level, view)

    def _of_before(self, level: Level) -> Site | None:
        """What an older release has saved of the loop that comes next in order: each is taken once."""
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
        if other is None or other is context or not _is_alive(other):
            return
        raise RuntimeError(
            f"several threads or tasks run the loop {place.shown(site.key)}; which one is which cannot be told from "
            "their place in the program: give each a name=, or let one cp.map or cp.amap do the work"
        )

    # -- which one is inside which

    def _around(self, frame: FrameType, context: object) -> _Around | None:
        mapped = mapped_item.get()
        for one in reversed(self._running.get(context, ())):
            if mapped is not None and one.loop is mapped[0]:
                break
            if self._is_at_item(one) and (one.is_suspended or place.is_under_way(frame, one.frame)):
                return _Around(one.view, one.loop.current_item(), one.frame)
        if mapped is not None:
            view = self.views.get(mapped[0].name)
            if view is not None and view.loop is mapped[0] and not view.is_gone:
                return _Around(view, mapped[1], is_mapped=True)
        if context is not self._main_context:
            # A thread without a loop of its own was perhaps started for an item of the main one's loop.
            for one in reversed(self._running.get(self._main_context, ())):
                if self._is_at_item(one):
                    return _Around(one.view, one.loop.current_item())
        return None

    def _is_at_item(self, one: _Running) -> bool:
        """Whether what happens now may be inside an item of it. In doubt it is: that repeats items at worst."""
        view = one.view
        is_current = view.loop is one.loop and not view.is_abandoned and not view.is_gone
        return is_current and not one.loop.is_finished and not one.loop.is_left

    def begun(self, loop: Loop[Any]) -> None:
        """*loop* gives out its first item, or goes on after it was left."""
        view = self.views.get(loop.name)
        if view is None or view.loop is not loop:
            return
        view.has_begun = True
        frame, context = place.caller(), running_here()
        running = [one for one in self._running.get(context, ()) if one.loop is not loop and self._is_at_item(one)]
        is_suspended = bool(frame.f_code.co_flags & _SUSPENDS)
        self._running[context] = [*running, _Running(loop, view, place.address(frame), is_suspended)]
        for other in [other for other in list(self._running) if not _is_alive(other)]:
            del self._running[other]

    def ended(self, loop: Loop[Any]) -> None:
        """*loop* came to its end."""
        for context, running in list(self._running.items()):
            if any(one.loop is loop for one in running):
                running[:] = [one for one in running if one.loop is not loop]
            if not running:
                self._running.pop(context, None)

    def wake(self) -> None:
        """Have each running loop check in before its next item."""
        for running in list(self._running.values()):
            for one in running[:]:
                one.loop.wake()

    # -- how far they are

    def done(self) -> int:
        """How many items all loops of this run have done."""
        done = self._done_before
        for view in list(self.views.values()):
            done += view.done()
        return done

    def total(self) -> int | None:
        """How many items the loops of this run have in all.

        None if one of them does not know, or runs inside another, where it begins again and again.
        """
        total = None if self._has_inner else self._total_before
        for view in list(self.views.values()):
            if view.loop is not None and total is not None:
                total = None if view.loop.total is None else total + view.loop.total
        return total

    def left(self) -> Iterator[Loop[Any]]:
        """The :meth:`unfinished` loops that may have items to go."""
        return (loop for loop in self.unfinished() if loop)

    def unfinished(self) -> list[Loop[Any]]:
        """Loops that have begun, did not come to their end, and are not inside an item that is done."""
        begun = [(view, view.loop) for view in list(self.views.values()) if view.has_begun]
        return [loop for view, loop in begun if loop is not None and not loop.is_finished and not view.is_gone]

    def never_met(self) -> list[str]:
        """Unfinished loops of an earlier run that this one has not made, each with where it stood, for people."""
        unmet = [view for view in self.views.values() if not view.is_dropped and _is_unfinished(view)]
        return [*self._lost, *(_told(view) for view in unmet if view.outer is None or view.is_gone)]

    # -- retries

    def continuing(self) -> Callable[[Any], None]:
        """A ``before`` hook for tenacity: loops of an attempt go on where the attempt before left them."""
        first_attempts: WeakKeyDictionary[Any, _FirstAttempt] = WeakKeyDictionary()

        def before(retry_state: Any) -> None:
            first = first_attempts.get(retry_state)
            if first is None:
                context = running_here()
                counts = {site: site.count for site in self._sites() if site.context is context}
                first_attempts[retry_state] = _FirstAttempt(context, self._made, counts)
            else:
                self._rewind(first)

        return before

    def _rewind(self, first: _FirstAttempt) -> None:
        """What was begun since the *first* attempt began begins again, each loop where it stands."""
        for view in self.views.values():
            if view.context is first.context and view.number > first.number:
                view.is_abandoned = True
        for site in self._sites():
            if site.context is first.context:
                site.count = first.counts.get(site, 0)

    def _sites(self) -> Iterator[Site]:
        yield from self._root.sites.values()
        for levels in self._levels.values():
            for level in levels.values():
                yield from level.sites.values()


def opening() -> Opening:
    """Note who opens a checkpoint, and where; it is called as it is opened."""
    return running_here(), place.stack()


def running_here() -> object:
    """The asyncio task that runs, or else the thread. Their numbers are used again."""
    asyncio = sys.modules.get("asyncio")  # where nobody has loaded it, no task runs
    if asyncio and asyncio._get_running_loop() is not None and (task := asyncio.current_task()) is not None:
        return task
    return threading.current_thread()


def _is_alive(context: object) -> bool:
    return context.is_alive() if isinstance(context, threading.Thread) else not context.done()  # type: ignore[attr-defined]


def _is_numbered(name: str, within: tuple[str, ItemKey] | None) -> bool:
    """Whether an older release has given that name, to a loop that had none."""
    outer = "loop-" if within is None else f"{within[0]}/"
    return name.startswith(outer) and name[len(outer) :].isdecimal()


def _names(level: Level, site: Site) -> Iterator[str]:
    """Names for a loop; they are shown to people, and tell nothing."""
    outer = "loop-" if level.outer is None else f"{level.outer.name}/"
    if site.is_named:
        yield site.key[1:]
        outer = f"{site.key[1:]}/"
    yield from map(f"{outer}{{}}".format, count(1))


def _is_unfinished(view: LoopView) -> bool:
    """Whether an earlier run has left it, and this one has not made it."""
    done, total = view.progress()
    if view.was_met or view.identity.over or not done:
        return False
    if view.identity.place is not None:
        return True
    return not view.is_by_key and (total is None or done < total)  # older releases did not say what was over


def _told(view: LoopView) -> str:
    where, (done, total) = view.identity.place, view.progress()
    name = repr(view.name) if where is None or where.startswith("=") else f"{view.name!r}, {place.shown(where)},"
    return f"the loop {name} left after {done:,} items" + ("" if total is None else f" of {total:,}")


def _other_input(operation_id: str, site: Site, run: int) -> InputChangedError:
    return InputChangedError(
        operation_id,
        [f"run {run:,} of the loop {place.shown(site.key)} goes through other items than it did"],
        [
            "put the loop around it into cp.remaining, too, so that each run belongs to an item of that",
            f"start over:  {command_for('rm', operation_id)}",
        ],
    )
