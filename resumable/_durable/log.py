"""An append-only list that tells what changed since the last save."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NoReturn, SupportsIndex

from .._json import check, is_plain
from .aliases import Watch
from .changes import Snapshot, about_bytes
from .dict import KEEP_FREEZING
from .frozen import freeze_all, freeze_checked, hide_few, thaw_all


def _only_append(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError("a durable log only grows: append and extend; for entries that change use cp.mapping(name)")


class DurableLog(list[Any]):
    """A list that only grows, and whose saves cost what was appended.

    It is a list: ``append``, ``extend``, ``+=`` and reading are a list's own, at its speed; all else raises
    ``TypeError``. Entries are plain JSON. What becomes of a change *inside* an entry is as in :class:`DurableDict`:
    before its save it is saved with it; afterwards the log's own entry is frozen and raises ``TypeError``, and an
    object that the program still holds is compared at the saves, and saved again if it differs.

    Args:
        loaded: The plain list that a checkpoint held. Its entries now belong to the log.
        path: Where it stands in the checkpoint, for messages.

    Raises:
        StateEncodeError: At the save, if JSON cannot hold an entry.
    """

    __slots__ = ("_changed_at", "_first_new", "_frozen_from", "_lock", "_path", "_taken", "_watch")

    is_json_native = True
    __setitem__ = __delitem__ = __imul__ = _only_append  # pyright: ignore
    insert = pop = remove = clear = sort = reverse = _only_append  # pyright: ignore

    def __init__(self, loaded: list[Any] | None = None, *, path: str = "$.state") -> None:
        if loaded is not None and type(loaded) is not list:
            raise TypeError(f"{path} holds a {type(loaded).__name__}, not a list; give the log another name")
        super().__init__(loaded or ())
        self._path = path
        self._lock = threading.RLock()
        self._first_new = len(self)
        self._changed_at: set[int] = set()
        self._taken: tuple[int, set[int]] | None = None
        self._watch: Watch[int] = Watch()
        # Loaded entries before this one are not frozen yet.
        self._frozen_from = len(self)
        if self._frozen_from:
            self.__class__ = _LoadedLog  # pyright: ignore

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return list, (list(self),)

    # -- saves, see Collection

    def changed_bytes(self) -> int:
        count = len(self) - self._first_new
        return about_bytes(count, list.__getitem__(self, slice(self._first_new, self._first_new + 8)))

    def take_changes(self) -> dict[str, Any] | None:
        with self._lock:
            self._take()
            return None if self._taken is None else self._told(*self._taken)

    def take_snapshot(self) -> Snapshot:
        with self._lock:
            self._take()
            return self.snapshot()

    def settle(self) -> None:
        self._taken = None

    def put_back(self) -> None:
        with self._lock:
            if self._taken is not None:
                self._first_new, again = self._taken
                self._changed_at |= again
                self._taken = None

    def snapshot(self) -> Snapshot:
        # What another thread has appended since the last take is told by the next one, and must not be there twice.
        with self._lock:
            return Snapshot(list.__getitem__(self, slice(self._first_new)), path=self._path)

    def plain(self) -> list[Any]:
        return thaw_all(self._entries(0))

    def _take(self) -> None:
        if self._taken is not None:
            raise RuntimeError("an earlier take is neither settled nor put back")
        start, end = self._first_new, self._freeze_new()
        changed_at = {index for index in self._changed_at if index < start}
        self._changed_at.clear()
        self._first_new = end
        if end > start or changed_at:
            self._taken = (start, changed_at)

    def _freeze_new(self) -> int:
        """Freeze what was appended, and again what was changed outside. Returns where the frozen entries end."""
        entries = dict(enumerate(self._entries(self._first_new), self._first_new))
        end = self._first_new + len(entries)
        changed: dict[int, Any] = {}
        self._watch.take_changed(changed, self._saved_entries, self._path)
        entries |= changed
        try:
            frozen, flat = freeze_checked(entries, lambda: _check_entries(entries, self._path))
        except BaseException:
            self._watch.update(changed)
            raise
        self._changed_at.update(changed)
        changed.clear()
        if flat:
            hide_few(frozen.values())
        for index, value in frozen.items():
            list.__setitem__(self, index, value)
        self._watch.add(entries, frozen, flat=flat)
        return end

    def _entries(self, start: int) -> list[Any]:
        return list.__getitem__(self, slice(start, None))

    def _saved_entries(self, indexes: list[int]) -> list[Any]:
        return [list.__getitem__(self, index) for index in indexes]

    def _told(self, start: int, changed_at: set[int]) -> dict[str, Any]:
        new = list.__getitem__(self, slice(start, self._first_new))
        put = [[index, list.__getitem__(self, index)] for index in sorted(changed_at)]
        return {"append": new, "put": put} if put else {"append": new}


class _LoadedLog(DurableLog):
    """The same while entries that were loaded are not frozen yet: the first reading freezes all, each save some."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        return self._frozen()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._frozen())

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._frozen())

    def copy(self) -> list[Any]:
        return self._frozen().copy()

    def __add__(self, other: Any) -> Any:
        return self._frozen() + other

    def __radd__(self, other: Any) -> Any:
        return other + self._frozen()

    def __mul__(self, count: SupportsIndex) -> list[Any]:
        return self._frozen() * count

    __rmul__ = __mul__

    def _frozen(self) -> DurableLog:
        with self._lock:
            while self.__class__ is _LoadedLog:
                self._freeze_some(KEEP_FREEZING)
        return self

    def _freeze_some(self, count: int) -> None:
        start = max(0, self._frozen_from - count)
        loaded = list.__getitem__(self, slice(start, self._frozen_from))
        for index, value in enumerate(freeze_all(loaded), start):
            list.__setitem__(self, index, value)
        self._frozen_from = start
        if start == 0:
            self.__class__ = DurableLog  # type: ignore[assignment]

    def _take(self) -> None:
        start = self._first_new
        super()._take()
        self._freeze_some(max(KEEP_FREEZING, 4 * (self._first_new - start)))


def _check_entries(entries: dict[int, Any], path: str) -> None:
    if not is_plain(list(entries.values())):
        for index in entries:
            check(entries[index], f"{path}[{index}]")
