"""Takes many new values of a mapping ahead of the save that will write them, so that the save begins quickly."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from itertools import repeat
from operator import is_
from typing import TYPE_CHECKING, Any

from .._json import check
from .._runtime.interpreter import is_tracked
from . import aliases
from .aliases import Aliases
from .changes import TOMBSTONE, Pending
from .frozen import freeze_checked
from .keyed import Keyed
from .order import Removal, removals

AHEAD_SLOTS = ("_ahead", "_aliases", "_moved", "_removals")
"""The attributes of :class:`TakenAhead`, for the class that uses it."""
_SORTED = 1 << 16
"""At most this many keys that were not noted in their order are sorted at an item's end."""


class TakenAhead(Keyed):
    """Mixin for a mapping: at an item's end, some of its dirty keys are brought into the form that a save writes.

    They are not dirty any more, and the next save adds what has come since. For the program, it is as after a save.
    """

    if not TYPE_CHECKING:
        __slots__ = ()

    _ahead: Pending | None  # What was taken ahead of the next save.
    _aliases: Aliases[str]
    _removals: Removal | None  # What was deleted since the last save, the newest first.
    _moved: set[str]  # Keys at which another object may stand than the one that waits to be saved.

    @property
    def waiting(self) -> int:
        return len(self._dirty) + (self._ahead.waiting if self._ahead is not None else 0)

    def take_ahead(self) -> bool:
        with self._lock:
            if self._pending is not None or self._given is not None or not self._keeps_order:
                return False
            ahead = self._ahead
            if ahead is None or not ahead.raw:
                many = len(self._dirty) - len(self._before)
                if many < aliases.MANY or (self._removals is not None and many > _SORTED):
                    return False
                ahead = self._ahead = ahead if ahead is not None else Pending(is_ahead=True)
                self._take_dirty(ahead)
            return self._take_some(ahead)

    @property
    def _keeps_order(self) -> bool:
        """Whether no key was deleted since the last save, so that new keys are noted in their order, or nearly so."""
        return all(key is None for key, *_ in removals(self._removals))

    def _take_dirty(self, ahead: Pending) -> None:
        ahead.raw = self._taken()
        if self._removals is not None:
            pending = Pending(originals=ahead.raw)
            self._sort_out(pending)
            ahead.raw = pending.originals
        ahead.frozen = ahead.frozen or ahead.raw

    def _take_all(self, ahead: Pending) -> None:
        """Take everything that is dirty."""
        while ahead.raw:
            self._take_some(ahead)
        self._take_dirty(ahead)
        while ahead.raw:
            self._take_some(ahead)

    def _take_some(self, ahead: Pending) -> bool:
        """Bring some raw values into the form that the save writes. Returns whether there are more."""
        try:
            many = ahead.waiting
            keys, values = ahead.next_raw(aliases.MANY)
            are_tracked = any(map(is_tracked, values))  # a tombstone is tracked
            deleted = are_tracked and any(map(is_, values, repeat(TOMBSTONE)))
            if self._aliases:
                self._aliases.drop(keys)
            others = self._not_here(keys)
            to_copy = self._not_left(keys, values, others, beside=2, many=many, are_tracked=are_tracked)
            originals = {keys[index]: values[index] for index in to_copy if values[index] is not TOMBSTONE}
            del values  # or each value would seem to be held
            self._copy_into(ahead, originals)
            ahead.left += len(keys) - len(to_copy)
            ahead.note(keys, has_deleted=deleted)
        except BaseException:
            ahead.restart()
            raise
        return bool(ahead.raw)

    def _not_here(self, keys: list[str]) -> list[int]:
        """The indexes of *keys* at which another object may stand than the one that was taken."""
        newer, moved = self._dirty, self._moved
        if newer.keys().isdisjoint(keys) and moved.isdisjoint(keys):
            return []
        return [index for index, key in enumerate(keys) if key in newer or key in moved]

    def _copy_into(self, ahead: Pending, originals: dict[str, Any]) -> None:
        """Replace the *originals* by frozen copies, in the mapping and in what was taken."""
        if originals:
            part = Pending(originals=originals)
            part.frozen, part.is_flat = freeze_checked(originals, lambda: check(originals, self._path, nan=self._nan))
            (ahead.raw or ahead.frozen).update(part.frozen)
            self._replace_originals(part)

    @abstractmethod
    def _not_left(
        self,
        keys: list[str],
        values: Collection[Any],
        others: list[int],
        *,
        beside: int,
        many: int,
        are_tracked: bool,
    ) -> Sequence[int]:
        """The indexes of those *values* that a save must copy.

        Args:
            others: The indexes of those that the mapping does not hold.
            beside, are_tracked: See :func:`held`.
            many: How many values will be asked about.
        """

    @abstractmethod
    def _sort_out(self, pending: Pending) -> None:
        """Bring new keys into the order in which they stand in the mapping."""

    @abstractmethod
    def _replace_originals(self, pending: Pending) -> None:
        """Replace the original values in the mapping by their frozen copies."""
