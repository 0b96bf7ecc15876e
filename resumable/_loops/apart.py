"""Loops that run at the same time, each in its own thread or task: the writes of unfinished items are held back.

The boundary counts the items of all loops. Without holding back, the end of an item in one loop would make the
unfinished item of another loop count.
"""

from __future__ import annotations

from collections.abc import Callable

from .._runtime.boundary import Boundary, HeldBack, holding_back
from .._runtime.interpreter import running_here


class Apart:
    """The writes of such a loop's unfinished item to sinks, logs, sets and mappings.

    Args:
        is_left: Returns whether the loop was left at an item.
    """

    def __init__(self, boundary: Boundary, is_left: Callable[[], bool]) -> None:
        self.boundary: Boundary = boundary
        self._is_left = is_left
        self._held = HeldBack()
        self._outer = of_here(boundary)
        self._is_over = False
        boundary.share(1)
        boundary.apart.append(self)

    def begin(self) -> None:
        """The loop hands out an item: the writes of the one before count."""
        self.write()
        holding_back.set(self)

    def write(self, *, is_inner: bool = False) -> None:
        """Let the held-back writes count.

        Args:
            is_inner: Whether this is for a loop that begins inside the item, and moves the boundary itself.
        """
        with self.boundary.lock:
            held, self._held = self._held, HeldBack()
            if held.is_empty:
                return
            token = holding_back.set(None)
            try:
                if self.boundary.note_outside is not None:
                    self.boundary.note_outside()
                self.boundary.move()
                held.write(self.boundary.now())
                if not is_inner:
                    self.boundary.move()
            finally:
                holding_back.reset(token)

    def leave(self) -> None:
        """A loop that cannot run apart begins inside the item: later writes count at once."""
        holding_back.set(None)

    def end(self) -> None:
        """The loop has ended."""
        self.write()
        if not self._is_over:
            self._is_over = True
            self.boundary.apart.remove(self)
            self.boundary.share(-1)
        if holding_back.get() is self:
            holding_back.set(self._outer)

    def held_back(self) -> HeldBack | None:
        """Where to put what is written now; None outside of its items."""
        if not self._is_left():
            return self._held
        around = self.still_here()
        return None if around is None else around.held_back()

    def still_here(self) -> Apart | None:
        """Itself; or, if its loop was left, the one around it."""
        if not self._is_left():
            return self
        if holding_back.get() is self:
            holding_back.set(self._outer)
        return None if self._outer is None else self._outer.still_here()


def of_here(boundary: Boundary) -> Apart | None:
    """The one whose item the calling thread or task is inside."""
    apart = holding_back.get()
    return apart.still_here() if isinstance(apart, Apart) and apart.boundary is boundary else None


def is_apart(boundary: Boundary) -> bool:
    """Whether this is another thread or task than the one that opened the checkpoint."""
    return boundary.context is not None and boundary.worker() is None and running_here() is not boundary.context
