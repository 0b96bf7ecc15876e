"""A set that tells what changed since the last save."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from typing import Any, SupportsIndex

from .._errors import StateEncodeError
from .._runtime.interpreter import has_gil
from .changes import Snapshot
from .dirty import Marked, run_alone
from .frozen import LEAVES


class DurableSet(Marked, set[Any]):
    """A set whose saves cost what changed, not what it holds.

    It is a set: reading is a set's own, at its speed. Members are strings, finite numbers, booleans or None. In the
    checkpoint it is a JSON array. Any thread may change it while another saves.

    Args:
        loaded: The plain list that a checkpoint held.
        path: Where it stands in the checkpoint, for messages.

    Raises:
        StateEncodeError: At ``add``, if JSON cannot hold the member.
    """

    __slots__ = ("_changed", "_lock", "_path", "_taken")

    is_json_native = True

    def __init__(self, loaded: list[Any] | None = None, *, path: str = "$.state") -> None:
        if loaded is not None and type(loaded) is not list:
            raise TypeError(f"{path} holds a {type(loaded).__name__}, not a list; give the set another name")
        super().__init__(loaded or ())
        self._path = path
        self._lock = threading.RLock()
        # True where added since the last take, False where removed: the marks.
        self._changed: dict[Any, bool] = {}
        self._taken: dict[Any, bool] | None = None

    # -- changes: tested, marked and made without a call between them, as in DurableDict

    def add(self, member: Any, /) -> None:
        if type(member) is not str:
            _check_member(member, self._path)
        if member not in self:
            self._changed[member] = True
            set.add(self, member)

    def discard(self, member: Any, /) -> None:
        if member in self:
            self._changed[member] = False
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

    def copy(self) -> set[Any]:
        """A builtin set."""
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

    # -- saves, see Collection

    def take_snapshot(self) -> Snapshot:
        with self._lock:
            self._take()
            return self.snapshot()

    def snapshot(self) -> Snapshot:
        return Snapshot(list(self), path=self._path)

    def plain(self) -> list[Any]:
        return list(self)

    def _collect(self) -> dict[Any, bool]:
        return self._drained()

    def _marks_of(self, taken: dict[Any, bool]) -> dict[Any, bool]:
        return taken

    def _told(self, taken: dict[Any, bool]) -> dict[str, Any]:
        added = [member for member, is_in in taken.items() if is_in]
        if len(added) == len(taken):
            return {"add": added}
        if len(added) >= len(self) and self.copy() <= set(added):
            return {"clear": True, "add": added}
        return {"add": added, "del": [member for member, is_in in taken.items() if not is_in]}


def _check_member(member: Any, path: str) -> None:
    if type(member) not in LEAVES:
        kind = type(member).__name__
        raise StateEncodeError(path, f"the member {member!r} is a {kind}; use strings, numbers, booleans, None")
    if type(member) is float and not math.isfinite(member):
        raise StateEncodeError(path, f"{member} is not a JSON number")


if not has_gil():
    for _name in ("add", "discard"):
        setattr(DurableSet, _name, run_alone(getattr(DurableSet, _name)))
