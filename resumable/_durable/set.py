"""A set whose saves cost only what changed in it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, SupportsIndex

from .._errors import StateEncodeError
from .._json import LEAVES, check_unicode, scalar
from .._text import shortened
from .changes import Snapshot
from .collection import V, mutator
from .keyed import KEYED_SLOTS, Keyed

_add = set.add


class DurableSet(Keyed, set[V], kind="set"):
    """A set whose saves cost what changed, not what it holds.

    It is a set: reading is a set's own, at its speed. Members are strings, finite numbers, booleans or None. In the
    checkpoint it is a JSON array. Any thread may change it while another saves. What a worker of ``cp.map`` adds is
    visible at once, saved once its item is done, and undone if the item fails.

    Example:
        >>> seen = cp.set("seen")  # a DurableSet
        >>> seen.add("https://example.org/")
        >>> "https://example.org/" in seen
        True

    Args:
        loaded: The plain list from a checkpoint.
        path: Its place in the checkpoint, for messages.

    Raises:
        StateEncodeError: At ``add``, if JSON cannot hold the member.
    """

    __slots__ = KEYED_SLOTS

    def __init__(self, loaded: list[Any] | None = None, *, path: str = "$.state") -> None:
        super().__init__(self._set_up(loaded, list, path))
        self._clean()  # a dirty member is True if it was added, False if it was removed

    # -- changes: only these two methods note dirty members; no call comes between the note and the change

    @mutator
    def add(self, member: V, /) -> None:
        if type(member) is not str or not member.isascii():  # type: ignore[attr-defined]
            member = _checked(member, self._path, nan=self._nan)
        if member in self and not self._boundary.shared:
            return
        if (now := self._ticks.__length_hint__()) != (seen := self._seen):
            # Inlined from _touch: a call would add a third.
            if seen is not None and now < seen:
                self._before, self._was_dirty, self._seen = {}, {}, now
            elif self._boundary.shared:
                self._write_shared(member, True)
                return
            else:
                self._cross()
        before, dirty = self._before, self._dirty
        if member not in before:
            before[member] = False
            if member in dirty:
                self._was_dirty[member] = dirty[member]
        dirty[member] = True
        _add(self, member)

    @mutator
    def discard(self, member: Any, /) -> None:
        if type(member) not in LEAVES:
            member = scalar(member)
        if self._boundary.shared:
            self._write_shared(member, False)
        elif member in self:
            self._touch(member, True)
            self._dirty[member] = False
            set.discard(self, member)

    def remove(self, member: Any, /) -> None:
        if member not in self:
            raise KeyError(member)
        self.discard(member)

    def pop(self) -> Any:
        for member in self.copy():
            self.discard(member)
            return member
        raise KeyError("pop from an empty set")

    def clear(self) -> None:
        self.difference_update(self.copy())

    def copy(self) -> set[V]:
        """A builtin set with its members."""
        return set(self)

    def update(self, *others: Iterable[Any]) -> None:
        for member in set().union(*others):
            self.add(member)

    def difference_update(self, *others: Iterable[Any]) -> None:
        for member in set().union(*others):
            self.discard(member)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        self.difference_update(self.copy().difference(self.copy().intersection(*others)))

    def symmetric_difference_update(self, other: Iterable[Any], /) -> None:
        theirs = set(other)
        both = self.copy() & theirs
        self.update(theirs)
        self.difference_update(both)

    def __ior__(self, other: Any, /) -> Any:  # type: ignore[misc]
        return self._changed_by(self.update, other)

    def __isub__(self, other: Any, /) -> Any:  # type: ignore[misc]
        return self._changed_by(self.difference_update, other)

    def __iand__(self, other: Any, /) -> Any:  # type: ignore[misc]
        return self._changed_by(self.intersection_update, other)

    def __ixor__(self, other: Any, /) -> Any:  # type: ignore[misc]
        return self._changed_by(self.symmetric_difference_update, other)

    def _changed_by(self, method: Any, other: Any) -> Any:
        if not isinstance(other, set | frozenset):
            return NotImplemented
        method(other)
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return set, (list(self),)

    # -- writes of workers, see Keyed

    def _value(self, key: Any) -> bool:
        return key in self

    def _as_value(self, mark: Any) -> Any:
        return mark

    def _changes_nothing(self, key: Any, mark: Any) -> bool:
        return (key in self) is mark

    def _put(self, key: Any, mark: Any) -> None:
        (set.add if mark else set.discard)(self, key)

    def _put_back(self, key: Any, value: Any, *, is_saved: bool) -> None:
        self._put(key, value)

    def loaded(self) -> list[Any]:
        """Its members, for a typed set that replaces this one.

        Raises:
            TypeError: It has been changed.
        """
        if self._dirty or self._pending:
            raise TypeError(f"{self._path} was changed before it was asked for with a class; ask with the class first")
        return list(self)

    # -- saves, see Durable

    def _collected(self, *, leaves: bool) -> dict[Any, bool]:
        return self._taken()

    def _take_back(self, pending: dict[Any, bool]) -> None:
        self._untake(pending)

    def _change(self, pending: dict[Any, bool]) -> dict[str, Any]:
        added = [member for member, is_in in pending.items() if is_in]
        if len(added) == len(pending):
            return {"add": added}
        # Not if the unfinished item may have removed members that count.
        if not self._before and len(added) >= len(self) and self.copy() <= set(added):
            return {"clear": True, "add": added}
        return {"add": added, "del": [member for member, is_in in pending.items() if not is_in]}

    def _copied(self) -> Snapshot:
        pending = self._pending
        if pending and len(pending) == len(self) and not self._dirty and not self._before and all(pending.values()):
            return Snapshot(pending, is_array=True, path=self._path)  # to copy a set takes long: it is in no order
        members = list(self)
        if self._before:
            kept = set(members)
            for member, was_in in self._before.items():
                (kept.add if was_in else kept.discard)(member)
            members = list(kept)
        return Snapshot(members, path=self._path)


def _checked(member: Any, path: str, *, nan: bool) -> Any:
    member = scalar(member)
    if type(member) is str:
        check_unicode(member, path)
    if type(member) not in LEAVES:
        kind = type(member).__name__
        raise StateEncodeError(
            path, f"the member {shortened(member)} is of type {kind}; use strings, numbers, booleans, None"
        )
    if type(member) is float and not math.isfinite(member):
        if nan:
            return math.nan if math.isnan(member) else member  # a single object, so that it is found again
        raise StateEncodeError(
            path, f"{member} is not a JSON number; use None instead, or checkpointed(..., nan='allow')"
        )
    return member
