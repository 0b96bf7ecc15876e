"""The loops of one checkpoint: which they are, where each stands, and which one runs inside which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ._items import Loop

Within = list[Any] | None
"""The loop that another one runs inside, and at which of its items: ``[name, position]``."""


class LoopView:
    """One loop as the saver sees it, whether it has begun in this run or not.

    A loop inside another starts afresh with each of the outer one's items; its saved place belongs to one of them.
    """

    def __init__(self, saved: Mapping[str, Any]) -> None:
        self._saved = dict(saved)
        self._loop: Loop[Any] | None = None
        self._within: Within = None
        self._is_new = False
        self._settled: dict[str, Any] | None = None

    def place_within(self, within: Within) -> dict[str, Any] | None:
        """The saved place, if it was saved at this item of the outer loop."""
        if not self._saved or self._saved.get("within") != within:
            return None
        return {name: value for name, value in self._saved.items() if name != "within"}

    def begin(self, loop: Loop[Any], within: Within, *, is_new: bool) -> None:
        """From now on *loop* tells."""
        self._loop, self._within, self._is_new, self._settled = loop, within, is_new, None

    def to_dict(self) -> dict[str, Any]:
        """All that is to be saved of it."""
        return self._saved if self._loop is None else {**self._loop.to_dict(), "within": self._within}

    def changes(self) -> dict[str, Any] | None:
        """What changed since the last ``settle``; None if nothing."""
        if self._loop is None:
            return None
        if self._is_new:
            return {**self._loop.to_dict(), "within": self._within, "new": True}
        changes = {**self._loop.changes(), "within": self._within}
        return None if changes == self._settled else changes

    def settle(self, changes: Mapping[str, Any]) -> None:
        """*changes* are safely stored."""
        assert self._loop is not None
        if changes.get("new"):
            changes = {**self._loop.changes(), **changes}
        self._is_new, self._settled = False, dict(changes)
        self._loop.settle(changes)


class Loops:
    """All loops of one checkpoint.

    Args:
        saved: Their saved places, by name.
    """

    def __init__(self, saved: Mapping[str, Mapping[str, Any]]) -> None:
        self.views = {name: LoopView(place) for name, place in saved.items()}
        self._made: list[Loop[Any]] = []
        self._running: list[Loop[Any]] = []
        self._counts: dict[tuple[Any, ...], int] = {}

    def begin(self, name: str | None, make: Callable[[str, dict[str, Any] | None], Loop[Any]]) -> Loop[Any]:
        """A new loop, made by *make* from its name and its saved place."""
        within = self._within()
        name = name if name is not None else self._default_name(within)
        view = self.views.setdefault(name, LoopView({}))
        place = view.place_within(within)
        loop = make(name, place)
        # A place that was saved in an earlier run is continued by the first loop of that name only.
        view.begin(loop, within, is_new=place is None)
        self._made.append(loop)
        return loop

    def begun(self, loop: Loop[Any]) -> None:
        """*loop* gives out its first item."""
        self._running.append(loop)

    def ended(self, loop: Loop[Any]) -> None:
        """*loop* came to its end."""
        if loop in self._running:
            self._running.remove(loop)

    def _within(self) -> Within:
        running = self._running
        return [running[-1].name, running[-1].position] if running else None

    def _default_name(self, within: Within) -> str:
        key = tuple(within or ())
        number = self._counts[key] = self._counts.get(key, 0) + 1
        return f"{within[0]}/{number}" if within else f"loop-{number}"

    def done(self) -> int:
        """How many items all loops of this run have finished."""
        return sum(loop.done() for loop in self._made)

    def wake(self) -> None:
        """Have each running loop ask before its next item."""
        for loop in self._running[:]:
            loop.wake()

    def left(self) -> Iterator[Loop[Any]]:
        """Loops that have begun and did not come to their end."""
        return (loop for loop in self._running if loop)
