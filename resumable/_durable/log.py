"""An append-only list whose saves cost what was appended to it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NoReturn, SupportsIndex

import msgspec

from .._json import check, is_plain
from .aliases import Aliases
from .changes import Snapshot, about_bytes
from .collection import Durable, Loaded
from .frozen import freeze_all, freeze_checked, hide_few


class Pending(msgspec.Struct, frozen=True):
    """What a save writes of a list: the entries from *start* to *end*, and earlier ones that *changed* outside."""

    start: int
    end: int
    changed: set[int]

    def __len__(self) -> int:
        return self.end - self.start + len(self.changed)


def _only_append(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError("a durable log only grows: append and extend; for entries that change use cp.mapping(name)")


class DurableLog(Durable, list[Any], kind="log"):
    """A list that only grows, and whose saves cost what was appended.

    It is a list: ``append``, ``extend``, ``+=`` and reading are a list's own, at its speed; all else raises
    ``TypeError``. Entries are plain JSON. The next save writes an entry as it is then, and replaces it by a frozen
    copy; changing the copy raises ``TypeError``. The program may still hold the object that it appended: each save
    compares it with the copy, and writes the entry again if they differ.

    Args:
        loaded: The plain list that a checkpoint held. Its entries now belong to the log.
        path: Where it stands in the checkpoint, for messages.

    Raises:
        StateEncodeError: At the save, if JSON cannot hold an entry.
    """

    __slots__ = ("_aliases", "_dirty", "_lock", "_path", "_pending", "_saved", "_unfrozen")

    __setitem__ = __delitem__ = __imul__ = _only_append  # pyright: ignore
    insert = pop = remove = clear = sort = reverse = _only_append  # pyright: ignore

    def __init__(self, loaded: list[Any] | None = None, *, path: str = "$.state") -> None:
        super().__init__(self._set_up(loaded, list, path))
        self._saved = len(self)  # Saves have begun with so many entries; the others are new.
        self._dirty: set[int] = set()  # Saved entries that changed outside.
        self._aliases: Aliases[int] = Aliases()
        self._unfrozen = len(self)  # So many loaded entries, the first ones, are not frozen.
        if self:
            self.__class__ = _LoadedLog  # pyright: ignore

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return list, (list(self),)

    # -- saves, see Durable

    def changed_bytes(self) -> int:
        return about_bytes(len(self) - self._saved, self._entries(self._saved, self._saved + 8))

    def _collected(self) -> Pending:
        start, end = self._saved, self._freeze_new()
        pending = Pending(start, end, {index for index in self._dirty if index < start})
        self._dirty, self._saved = set(), end  # Both at once: no call, and so no signal handler, is in between.
        return pending

    def _take_back(self, pending: Pending) -> None:
        self._saved = pending.start
        self._dirty |= pending.changed

    def _change(self, pending: Pending) -> dict[str, Any]:
        new = self._entries(pending.start, pending.end)
        put = [[index, list.__getitem__(self, index)] for index in sorted(pending.changed)]
        return {"append": new, "put": put} if put else {"append": new}

    def _copied(self) -> Snapshot:
        # Entries that came after the save began are written by the next one, and must not be there twice.
        return Snapshot(self._entries(0, self._saved), path=self._path)

    def _freeze_new(self) -> int:
        """Freeze the new entries, and again those that changed outside. Returns where the frozen ones end."""
        entries = dict(enumerate(self._entries(self._saved, None), self._saved))
        end = self._saved + len(entries)
        changed: dict[int, Any] = {}
        if self._aliases:
            self._aliases.move_changed(changed, partial(list.__getitem__, self), self._path)
            entries |= changed
        try:
            frozen, flat = freeze_checked(entries, lambda: _check_entries(entries, self._path))
        except BaseException:
            self._aliases.update(changed)
            raise
        self._dirty.update(changed)
        changed.clear()
        if flat:
            hide_few(frozen.values())
        for index, value in frozen.items():
            list.__setitem__(self, index, value)
        self._aliases.add(entries, frozen, flat=flat)
        return end

    def _entries(self, start: int, end: int | None) -> list[Any]:
        return list.__getitem__(self, slice(start, end))


class _LoadedLog(Loaded, DurableLog):
    """A durable log with loaded entries that are not frozen yet: the first reading freezes all."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        return self._wholly_frozen()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._wholly_frozen())

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._wholly_frozen())

    def copy(self) -> list[Any]:
        return self._wholly_frozen().copy()

    def __add__(self, other: Any) -> Any:
        return self._wholly_frozen() + other

    def __radd__(self, other: Any) -> Any:
        return other + self._wholly_frozen()

    def __mul__(self, count: SupportsIndex) -> list[Any]:
        return self._wholly_frozen() * count

    __rmul__ = __mul__

    def _freeze_some(self, count: int) -> None:
        start = max(0, self._unfrozen - count)
        for index, value in enumerate(freeze_all(self._entries(start, self._unfrozen)), start):
            list.__setitem__(self, index, value)
        self._unfrozen = start
        if start == 0:
            self.__class__ = DurableLog  # type: ignore[assignment]


def _check_entries(entries: dict[int, Any], path: str) -> None:
    if not is_plain(list(entries.values())):
        for index, entry in entries.items():
            check(entry, f"{path}[{index}]")
