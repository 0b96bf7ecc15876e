"""The common part of dict and set: dirty keys, and their values at the beginning of the unfinished item."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from .._json import step
from .._runtime.boundary import HeldBack
from .collection import DURABLE_SLOTS, Durable

KEYED_SLOTS = ("_before", "_dirty", "_held", "_was_dirty", *DURABLE_SLOTS)
"""The attributes of :class:`Keyed`, for the classes that use it."""
_NONE: Any = object()
_NUMBERS = frozenset((int, float))
Write = tuple[int | HeldBack, Any]
"""Who wrote, and the new mark: a worker, or the item that began at this count."""


class Keyed(Durable):
    """Mixin for a collection that tracks dirty keys.

    For each key that the unfinished item changes, it keeps the value before, and whether the key was dirty. It keeps
    these beyond that item while a worker has written the key and the worker's item is not done. Reading always
    returns the value written last.
    """

    if not TYPE_CHECKING:
        __slots__ = ()

    _dirty: dict[Any, Any]
    _before: dict[Any, Any]
    _was_dirty: dict[Any, Any]
    _held: dict[Any, list[Write]]  # By key that a worker has written: the writes that do not count yet, in order.

    def _clean(self) -> None:
        """Mark nothing as dirty."""
        self._dirty, self._before, self._was_dirty, self._held = {}, {}, {}, {}

    def _touch(self, key: Any, old: Any) -> None:
        """Note that *key*, which holds *old*, is about to change. No call may come before the change."""
        if (now := self._ticks.__length_hint__()) != (seen := self._seen):
            # No call from here on. Inlined from _cross: a call would take half as long again.
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
        if self._boundary.look is not None:
            self._boundary.look()
        while True:
            now, seen = self._boundary.ticks.__length_hint__(), self._seen
            if seen is None:
                self._wait()
                continue
            if self._held and now < seen:
                self._go_on(now, is_other=True)
                self._seen = now
                return
            # No call from here on: a save in between would include too much.
            if now < seen:
                self._before, self._was_dirty, self._seen = {}, {}, now
            return

    def _note(self) -> None:
        if self._held:
            self._go_on(-1, is_other=True)
        else:
            self._before, self._was_dirty = {}, {}

    def has_written_since(self, now: int) -> bool:
        return self._last_seen == now and bool(self._before)

    def numbers_changed_since(self, now: int) -> list[str]:
        if self._last_seen != now:
            return []
        before = {key: old for key, old in list(self._before.items()) if type(old) in _NUMBERS}
        new = {key: self._value(key) for key in before}
        return [f"{self._path}{step(key)}" for key, one in new.items() if type(one) in _NUMBERS and one != before[key]]

    # -- writes of workers

    def _write_shared(self, key: Any, mark: Any) -> Any:
        """Write *key* for the loop body or a worker. *mark* is the dirty key's new mark. Returns the old value."""
        with self._lock:
            self._cross()
            held_back, writes, old = self._boundary.held_back(), self._held.get(key), self._value(key)
            if writes is None and self._changes_nothing(key, mark):
                return old
            assert self._seen is not None
            is_first = key not in self._before
            if is_first:
                self._before[key] = old
                if key in self._dirty:
                    self._was_dirty[key] = self._dirty[key]
            if held_back is not None:
                held_back.note(self)
                if writes is None:
                    writes = self._held[key] = [] if is_first else [(self._seen, self._dirty[key])]
            if writes is not None:
                who = self._seen if held_back is None else held_back
                if writes and _is_one(writes[-1][0], who):
                    writes.pop()
                writes.append((who, mark))
            self._dirty[key] = mark
            self._put(key, mark)
            return old

    def settle(self, now: int) -> None:
        seen = self._at if self._seen is None else self._seen
        if self._held:
            self._go_on(now, is_other=seen != now)
        elif seen != now:
            self._note()
        self._at = now

    def _go_on(self, now: int, *, is_other: bool) -> None:
        """Let finished writes count, at the count *now*. *is_other*: the item before has ended, so its writes count."""
        before, was_dirty = ({}, {}) if is_other else (self._before.copy(), self._was_dirty.copy())
        for key, writes in list(self._held.items()):
            held, mark = self._before[key], self._was_dirty.get(key, _NONE)
            counting = [index for index, (who, _) in enumerate(writes) if _counts(who, now)]
            if counting:
                mark = writes[counting[-1]][1]
                held = self._as_value(mark)
                del writes[: counting[-1] + 1]
            before.pop(key, None)
            was_dirty.pop(key, None)
            if not writes:
                del self._held[key]
                continue
            before[key] = held
            if mark is not _NONE:
                was_dirty[key] = mark
        self._before, self._was_dirty = before, was_dirty

    def take_back(self, held_back: HeldBack, /) -> None:
        """Undo the writes of a worker whose item has failed, unless they were overwritten since."""
        with self._lock:
            for key, writes in list(self._held.items()):
                left = [write for write in writes if write[0] is not held_back]
                if left:
                    if len(left) < len(writes):
                        writes[:] = left
                        self._dirty[key] = left[-1][1]
                        self._put(key, left[-1][1])
                elif writes:
                    del self._held[key]
                    self._undo(key)

    def _undo(self, key: Any) -> None:
        mark = self._was_dirty.pop(key, _NONE)
        self._put_back(key, self._before.pop(key), is_saved=mark is _NONE)
        if mark is _NONE:
            self._dirty.pop(key, None)
        else:
            self._dirty[key] = mark

    def end_sharing(self) -> None:
        if not self._held:
            return
        self._cross()
        for who in {id(who): who for writes in self._held.values() for who, _ in writes}.values():
            if isinstance(who, HeldBack) and who.at is None:
                self.take_back(who)
        self._held = {}  # the rest belongs to the loop's unfinished item

    @abstractmethod
    def _value(self, key: Any) -> Any:
        """The present value of *key*, in the form that is kept before a change."""

    @abstractmethod
    def _as_value(self, mark: Any) -> Any:
        """The value for a key with *mark*."""

    @abstractmethod
    def _changes_nothing(self, key: Any, mark: Any) -> bool:
        """Whether *key* already is as *mark* says, and need not be written."""

    @abstractmethod
    def _put(self, key: Any, mark: Any) -> None:
        """Set *key* to what *mark* says, without a note."""

    @abstractmethod
    def _put_back(self, key: Any, value: Any, *, is_saved: bool) -> None:
        """Set *key* to *value* again, which was kept before a change."""

    # -- saves

    def _taken(self) -> dict[Any, Any]:
        """The dirty keys that count; they are clean afterwards. What the unfinished item has changed stays dirty."""
        is_held = self._seen is None
        while True:
            dirty, before, was_dirty = self._dirty, self._before, self._was_dirty
            if not before:
                self._dirty = {}
                return dirty
            rest = {key: dirty[key] for key in list(before) if key in dirty}  # a signal handler may write meanwhile
            taken = dirty.copy()
            for key in rest:
                if key in was_dirty:
                    taken[key] = was_dirty[key]  # in its position, so that the order stays
                else:
                    del taken[key]
            # No call from here on, so that an interruption loses nothing.
            if self._seen is None:
                self._dirty, self._was_dirty = rest, {}
                break
            self._seen = None  # a signal handler has written meanwhile, or no save held the writers off
        if not is_held:
            self._seen = self._boundary.ticks.__length_hint__()
        return taken

    def _untake(self, taken: dict[Any, Any]) -> None:
        """Make what was *taken* dirty again; what has become dirty since is newer."""
        for key, value in taken.items():
            if key not in self._dirty:
                self._dirty[key] = value
            elif key in self._before:
                self._was_dirty.setdefault(key, value)


def _counts(who: int | HeldBack, now: int) -> bool:
    return who.is_done(now) if isinstance(who, HeldBack) else now < who


def _is_one(one: int | HeldBack, other: int | HeldBack) -> bool:
    return one is other or (isinstance(one, int) and isinstance(other, int) and one == other)
