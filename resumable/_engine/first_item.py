"""Where the first item of a program that ticks begins: at the first write in a loop that ticks.

What a run writes before that is the program's set-up. A changed state may tell the next run to leave the set-up out, so
it must count then, even if the first item is never done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._loops.places import place
from .._runtime.interpreter import point_in
from .headings import Ticking, is_in_ticks, loop_kinds

if TYPE_CHECKING:
    from .parts import Parts

_MOST_LOOKS = 1000
"""Where no loop is known to tick, look at this many writes: it may be in a function that is not found by its name."""

_MOST_ASKED = 2
"""A line that saves more often before the first tick (``once`` saves twice) is in a loop that ticks something else."""


class FirstItem:
    """Looks at each write before the first tick, until one lies in a loop that ticks.

    Args:
        parts: Of an operation without done items.
        has_changed: Returns whether the plain state differs from the one at the run's beginning.

    Attributes:
        is_ahead: Whether a loop that ticks follows, and nothing was written in it yet.
        has_ended: Whether the first item has begun.
    """

    def __init__(self, parts: Parts, has_changed: Callable[[], bool]) -> None:
        self._parts = parts
        self._boundary = parts.cut.boundary
        self._has_changed = has_changed
        self._last: tuple[place.Frame, int] | None = None
        self._looks, self.has_ended = 0, False
        self._ticking: Ticking = {}
        self._asked: dict[tuple[place.Frame, int], int] = {}
        self.is_ahead = False

    def attend(self) -> None:
        """Look at each write from now on, unless the first item has begun."""
        boundary = self._boundary
        if boundary.look is None and not self.has_ended:
            boundary.look_by(self.look)

    def is_here(self) -> bool:
        """Whether a save that the program asks for now, before its first tick, is in a loop that ticks.

        Not if the line has asked so often that the loop seems to tick something else.
        """
        frame = place.caller()
        if not is_in_ticks(frame, self._parts.opening[1], self._ticking):
            return False
        here = place.address(frame), point_in(frame)[1]
        self._asked[here] = self._asked.get(here, 0) + 1
        return self._asked[here] <= _MOST_ASKED

    def look(self) -> None:
        """The program is about to write."""
        parts = self._parts
        views = parts.loops.views.values() if "loops" in vars(parts) else ()
        if parts.cut.ticker.ticked or any(view.has_begun for view in views):
            self._end()
            return
        frame, outside = place.caller(), parts.opening[1]
        here = place.address(frame), point_in(frame)[1]
        if here == self._last:
            return
        if not self._looks:
            self.is_ahead = loop_kinds(frame, outside).ticks
        self._looks += 1
        if is_in_ticks(frame, outside, self._ticking):
            self._end()
            if self._has_changed():
                self._boundary.move()
                self._parts.cut.is_within_first = True
        elif self._looks == _MOST_LOOKS and not self.is_ahead:
            self._end()
        elif self.is_ahead and place.address(frame) in outside:
            self._last = here

    def _end(self) -> None:
        self.is_ahead, self.has_ended = False, True
        if self._boundary.look == self.look:
            self._boundary.look_by(None)
