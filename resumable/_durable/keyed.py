"""What a dict and a set share: dirty keys, and how they stood when the unfinished item began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .collection import DURABLE_SLOTS, Durable

KEYED_SLOTS = ("_before", "_dirty", "_was_dirty", *DURABLE_SLOTS)
"""The attributes of :class:`Keyed`, for the classes that use it."""


class Keyed(Durable):
    """Mixin for a collection that knows by key what is dirty.

    Each key that the unfinished item changes is noted with what it held before, and how it was dirty before.
    """

    if not TYPE_CHECKING:
        __slots__ = ()

    _dirty: dict[Any, Any]
    _before: dict[Any, Any]
    _was_dirty: dict[Any, Any]

    def _clean(self) -> None:
        """Nothing is dirty."""
        self._dirty, self._before, self._was_dirty = {}, {}, {}

    def _touch(self, key: Any, old: Any) -> None:
        """Note that *key*, which holds *old*, is about to change. No call may come before the change."""
        if (now := self._ticks.__length_hint__()) != (seen := self._seen):
            # No call from here on, as in _cross, which takes half as long as all of this.
            if seen is not None and now < seen:
                self._before, self._was_dirty, self._seen = {}, {}, now
            else:
                self._cross()
        before, dirty = self._before, self._dirty
        if key not in before:
            before[key] = old
            if key in dirty:
                self._was_dirty[key] = dirty[key]

    def _cross(self) -> None:
        while True:
            now, seen = self._boundary.now(), self._seen
            if seen is None:
                self._wait()
                continue
            # No call from here on: a save that came in between would take what it must not.
            if now < seen:
                self._before, self._was_dirty, self._seen = {}, {}, now
            return

    def _note(self) -> None:
        self._before, self._was_dirty = {}, {}

    def _taken(self) -> dict[Any, Any]:
        """The dirty keys that count, which are clean then; what the unfinished item has changed stays dirty."""
        while True:
            dirty, before, was_dirty = self._dirty, self._before, self._was_dirty
            if not before:
                self._dirty = {}
                return dirty
            rest = {key: dirty[key] for key in before if key in dirty}
            taken = dirty.copy()
            for key in rest:
                if key in was_dirty:
                    taken[key] = was_dirty[key]  # in its place: the order stays
                else:
                    del taken[key]
            # No call from here on: an interruption loses nothing.
            if self._seen is None:
                self._dirty, self._was_dirty = rest, {}
                return taken
            self._seen = None  # a signal handler has written meanwhile

    def _untake(self, taken: dict[Any, Any]) -> None:
        """Make what was *taken* dirty again, below what has become dirty since."""
        for key, value in taken.items():
            if key not in self._dirty:
                self._dirty[key] = value
            elif key in self._before:
                self._was_dirty.setdefault(key, value)
