"""Which loops run, and which item something is inside: judged by the stack's frames, task and thread, and map."""

from __future__ import annotations

import copy
import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FrameType
from typing import Any, Protocol

import msgspec

from .._runtime.boundary import Boundary
from .._runtime.interpreter import is_alive, running_here
from .again import LevelKey, WrittenAgain
from .apart import Apart, of_here
from .ledgers.by_position import ItemKey
from .loop import Loop, mapped_item
from .places import place
from .view import LoopView

_log = logging.getLogger("resumable")
Opening = tuple[object, place.Stack]
"""The thread or task that opens a checkpoint, and the frames on its stack then."""
_modules = sys.modules
_SUSPENDS = 0x20 | 0x80 | 0x200
"""Code flags of generators, coroutines and async generators."""


def is_suspended(code: CodeType) -> bool:
    """Whether a frame of *code* may be alive without being on the stack."""
    return code.co_flags & _SUSPENDS > 0


class Running(msgspec.Struct):
    """A loop that has begun.

    Attributes:
        loop: The loop; of small loops that follow one another, the newest.
        frame: The frame that iterates over it.
        is_suspended: Whether that frame may be alive without being on the stack.
    """

    loop: Loop[Any]
    view: LoopView
    frame: place.Frame
    is_suspended: bool


class Around(msgspec.Struct, frozen=True):
    """The item that something is inside.

    Attributes:
        frame: The frame that iterates over its loop; None if that cannot be on the stack.
        is_mapped: Whether a map has called its function for it.
        is_suspended: Whether that frame may be alive without being on the stack.
    """

    view: LoopView
    item: ItemKey
    frame: place.Frame | None = None
    is_mapped: bool = False
    is_suspended: bool = False


class Cut(msgspec.Struct, frozen=True):
    """The loops around one that was stopped by an error, which the program may have caught.

    Attributes:
        place: The place of that loop, or of the innermost one around if no loop was stopped; or a block.
    """

    error: BaseException
    around: list[Loop[Any]]
    place: str | None


class Behind(Protocol):
    """What makes loops, and shows them only when somebody looks."""

    def catch_up(self) -> None:
        """Show the newest loop."""
        ...

    def stop(self) -> None:
        """Show the newest loop, and tell of the next one when it begins."""
        ...


class RunningLoops:
    """The loops that have begun and not ended.

    Args:
        views: All loops of the checkpoint, by name.
        main_context: The thread or task that opened the checkpoint.

    Attributes:
        main_context: The thread or task that opened the checkpoint.
        again: Detects rows that are written again.
        mine: What runs in that thread or task, from the outside in; some of them may have been left.
        on_end: Called with each loop that has ended; None if nobody is to be told.
        behind: What may have made loops that the views do not show yet; None if nothing has.
    """

    def __init__(self, views: Mapping[str, LoopView], main_context: object, operation_id: str = "") -> None:
        self._views = views
        self.main_context = main_context
        self._main_thread = main_context.ident if isinstance(main_context, threading.Thread) else None
        self.mine: list[Running] = []
        self._by_context: dict[object, list[Running]] = {main_context: self.mine}
        self._just_left: list[Running] = []
        self._cuts: dict[object, Cut] = {}
        self._operation_id = operation_id
        self.again = WrittenAgain(self.here, self._has_done)
        self.on_end: Callable[[Loop[Any]], None] | None = None
        self.behind: Behind | None = None

    def tell_ends(self, told: Callable[[Loop[Any]], None]) -> None:
        """Call *told* with each loop that ends from now on."""
        self.on_end = told
        self._stop_behind()

    def _stop_behind(self) -> None:
        if self.behind is not None:
            self.behind.stop()

    def watch(self, boundary: Boundary) -> None:
        """Hear of what the loops of other threads and tasks hold back, before it counts."""
        boundary.note_outside, boundary.on_writer = self._apart_counts, self._stop_behind

    def _apart_counts(self) -> None:
        """Note what was written outside of items; warn if it is part of an item of the main thread's loop."""
        if self.behind is not None:
            self.behind.catch_up()
        main = [one for one in self._by_context.get(self.main_context, ()) if self._is_at_item(one)]
        if not (main and main[-1].loop.is_at_item() and not main[-1].loop.is_beside):
            self.again.outside()
        elif self.again.has_found() and any(
            view.outer is None and view.loop is not None and view.loop.apart is not None
            for view in self._views.values()
        ):
            _say_beside(self._operation_id)

    def here(self) -> LevelKey:
        """The item that the calling thread or task is inside."""
        if self.behind is not None:
            self.behind.catch_up()
        mapped = mapped_item()
        for one in reversed(self._by_context.get(running_here(), ())):
            if mapped is not None and one.loop is mapped[0]:
                break
            if self._is_at_item(one):
                return one.view.name, one.loop.current_item()
        return (None, 0) if mapped is None else (mapped[0].name, mapped[1])

    def _has_done(self, level: LevelKey) -> bool:
        view = None if level[0] is None else self._views.get(level[0])
        return view is not None and view.has_done(level[1])

    def _left(self, running: Iterable[Running]) -> list[LoopView]:
        """Those of *running* that were left at an item."""
        running = [*running, *self._just_left]
        here = [(one.view, one.loop) for one in running if one.view.loop is one.loop and not one.view.is_gone]
        return [view for view, loop in here if loop.is_left and not loop.is_finished and loop.is_at_item()]

    def around(self, frame: FrameType, context: object) -> Around | None:
        """The innermost item around a loop that *frame* makes in the thread or task *context*."""
        if self.behind is not None:
            self.behind.catch_up()
        mapped = mapped_item()
        for one in reversed(self._by_context.get(context, ())):
            if mapped is not None and one.loop is mapped[0]:
                break
            if self._is_at_item(one) and (one.is_suspended or place.is_under_way(frame, one.frame)):
                return Around(one.view, one.loop.current_item(), one.frame, is_suspended=one.is_suspended)
        if mapped is not None:
            view = self._views.get(mapped[0].name)
            if view is not None and view.loop is mapped[0] and not view.is_gone:
                return Around(view, mapped[1], is_mapped=True)
        if context is not self.main_context:
            # A thread without a loop of its own was perhaps started for an item of the main thread's loop.
            for one in reversed(self._by_context.get(self.main_context, ())):
                if self._is_at_item(one):
                    return Around(one.view, one.loop.current_item())
        return None

    def _is_at_item(self, one: Running) -> bool:
        """Whether the present code may be inside an item of that loop. If unsure, yes: at worst, items are repeated."""
        view, loop = one.view, one.loop
        if view.loop is not loop or loop.is_finished or view.is_abandoned or loop.is_halted or loop.is_left:
            return False
        return not view.is_gone

    def at_item(self) -> list[Loop[Any]]:
        """The loops that are at an item here, the innermost first."""
        if self.behind is not None:
            self.behind.catch_up()
        return [one.loop for one in reversed(self._by_context.get(running_here(), ())) if self._is_at_item(one)]

    def is_main(self, thread: int) -> bool:
        """Whether the running thread (with this number) or task has opened the checkpoint."""
        if thread != self._main_thread:
            return self._main_thread is None and running_here() is self.main_context
        asyncio = _modules.get("asyncio")
        return asyncio is None or asyncio._get_running_loop() is None

    def innermost(self, frame: FrameType) -> Around | None:
        """A faster :meth:`around` for the main thread, outside of a map's function."""
        if self.behind is not None:
            self.behind.catch_up()
        one = self.top()
        if one is None:
            return None
        if not one.is_suspended and one.frame[0] != id(frame) and not place.is_under_way(frame, one.frame):
            return self.around(frame, self.main_context)
        return Around(one.view, one.loop.current_item(), one.frame, False, one.is_suspended)

    def top(self) -> Running | None:
        """The innermost loop that is at an item in the main thread.

        Those that were left are removed; if one goes on, it is added again.
        """
        running = self.mine
        while running:
            one = running[-1]
            view, loop = one.view, one.loop
            if (
                view.loop is loop
                and not (loop.is_finished or view.is_abandoned or loop.is_halted or loop.is_left)
                and not (view.is_dropped if view.outer is None else view.is_gone)
            ):  # inlined from _is_at_item
                return one
            if self.behind is not None:
                self.behind.stop()
            self._just_left.append(running.pop())
        return None

    def begun_in(self, loop: Loop[Any], view: LoopView, frame: FrameType) -> Running | None:
        """*loop*, which *view* shows, hands out its first item to *frame*, in the main thread.

        Returns:
            Its entry; None if another loop has taken the view.
        """
        if self.behind is not None:
            self.behind.stop()
        if view.loop is not loop:
            return None
        if self._cuts:
            self._mend(view)
        again, code = self.again, frame.f_code
        if again.writers or again.has_expected or again.open or (view.within is None and again.last is not view):
            again.begins(view, self._left, self.mine)
        if self._just_left:
            self._just_left = []
        view.has_begun = True
        one = Running(loop, view, (id(frame), id(code)), is_suspended(code))
        self.mine.append(one)
        if again.has_expected:
            again.attend()
        return one

    def begun(self, loop: Loop[Any]) -> None:
        """*loop* hands out its first item, or continues after it was left.

        Raises:
            RuntimeError: It was left, later loops were made at its place, and its position is no longer kept.
        """
        if self.behind is not None:
            self.behind.stop()
        if loop.is_compacted:
            raise RuntimeError(
                "this loop was left, and others have begun in its place since; call remaining() again, and go on with "
                "that"
            )
        view = self._views.get(loop.name)
        if view is None or view.loop is not loop:
            return
        if self._cuts:
            self._mend(view)
        frame, context = place.caller(), running_here()
        boundary, running = self.again.boundary, self._by_context.get(context, ())
        outer = None if boundary is None else of_here(boundary)
        if outer is None:
            self.again.begins(view, self._left, running)
        else:
            with outer.boundary.lock:  # items of other threads must not come in between
                outer.write(is_inner=True)
                self.again.begins(view, self._left, running)
        self._just_left = []
        if outer is not None or context is not self.main_context:
            self._set_apart(loop, outer, is_main=context is self.main_context)
        view.has_begun = True
        running = self._by_context.setdefault(context, [])
        here = [one for one in running if one.loop is not loop and self._is_at_item(one)]
        running[:] = [*here, Running(loop, view, place.address(frame), is_suspended(frame.f_code))]
        self.again.attend()
        if len(self._by_context) > 1:
            for other in [other for other in list(self._by_context) if not is_alive(other)]:
                self._forget(other)

    def _set_apart(self, loop: Loop[Any], outer: Apart | None, *, is_main: bool) -> None:
        """*loop* begins beside others, or inside the item of a loop that does."""
        boundary = self.again.boundary
        if outer is not None and boundary is not None:
            boundary.move()
        if loop.can_be_apart and boundary is not None and not (is_main or loop.is_in_worker):
            loop.run_apart(boundary)
        elif outer is not None:
            outer.leave()

    def ended(self, loop: Loop[Any]) -> None:
        """*loop* has ended."""
        mine = self.mine
        if mine and mine[-1].loop is loop:
            mine.pop()
            if self.again.has_expected:
                self.again.attend()
        else:
            for context, running in list(self._by_context.items()):
                if any(one.loop is loop for one in running):
                    running[:] = [one for one in running if one.loop is not loop]
                if not running:
                    self._forget(context)
            self.again.attend()
        if self.on_end is not None:
            self.on_end(loop)

    # -- loops that were stopped: a caught error must not make the items around count as done

    def cut_off(self, error: BaseException, *, by_loop: bool = False, place: str | None = None) -> None:
        """*error* stops what runs here. The items around it are not done, also if the program catches *error*.

        Args:
            by_loop: Only if a loop is stopped. A tick that raises has counted: nothing is lost if that is caught.
            place: What is stopped, if it is none of these loops.
        """
        here = running_here()
        around = [loop for loop in self.at_item() if loop.is_at_item() and not loop.is_held]
        views = [one.view for one in reversed(self._by_context.get(here, ())) if not one.loop.is_finished]
        inner = next((view for view in views if view.loop not in around), None)
        if not around or (by_loop and inner is None):
            return
        again = copy.copy(error)  # without its traceback, which would keep left loops alive
        again.__dict__.pop("__notes__", None)
        for loop in around:
            loop.cut_off(again)
        if self.behind is not None:
            self.behind.stop()
        self._cuts[here] = Cut(again, around, place or (inner or views[0]).identity.place)

    def _mend(self, view: LoopView) -> None:
        """A loop begins: perhaps the one that was stopped, tried again. Another one does not begin after a signal."""
        cut = self._cuts.get(running_here())
        if cut is None:
            return
        if cut.place != view.identity.place and not isinstance(cut.error, Exception):
            raise cut.error.with_traceback(None)
        self._mend_here()

    def mend_at(self, place: str) -> None:
        """What was stopped at *place* is tried again, unless a signal has stopped it."""
        cut = self._cuts.get(running_here())
        if cut is not None and cut.place == place and isinstance(cut.error, Exception):
            self._mend_here()

    def _mend_here(self) -> None:
        for loop in self._cuts.pop(running_here()).around:
            loop.mend()

    def _forget(self, context: object) -> None:
        self._cuts.pop(context, None)
        if context is not self.main_context:
            self._by_context.pop(context, None)

    def wake(self) -> None:
        """Make each running loop check in before its next item."""
        for running in list(self._by_context.values()):
            for one in running[:]:
                one.loop.wake()


@functools.lru_cache(maxsize=256)
def _say_beside(operation_id: str) -> None:
    _log.warning(
        "%s: a loop runs in the thread or task that opened the checkpoint, beside loops of other threads or tasks. If "
        "an item of it is interrupted, the rows that it wrote may be there twice. Run that loop in a thread or task, "
        "too.",
        operation_id,
    )
