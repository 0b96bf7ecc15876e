"""An append-only list whose saves cost only what was appended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from operator import is_
from typing import TYPE_CHECKING, Any, NoReturn, Self, SupportsIndex

import msgspec

from .._errors import StateEncodeError
from .._json import LEAVES, check, encode, is_good, is_plain, look_closely, to_json
from .._runtime.boundary import Where, give_up_long, remove_found
from .._runtime.interpreter import MANY, collect_young, is_tracked, may_be_read_in_c
from . import aliases
from .aliases import Aliases
from .below import accept, changed_below, refuse_both, refuse_removal
from .changes import Snapshot, about_bytes
from .collection import DURABLE_SLOTS, FREEZE_AT_READING, Durable, Loaded, V, mutator
from .frozen import IMMUTABLE, freeze, freeze_all, freeze_checked, hide_few

_append, _extend = list.append, list.extend
_LOOK_AT_LEAST = 256
"""Saved entries that each save compares with what was saved."""


class Pending(msgspec.Struct, frozen=True):
    """What a save writes of a list: the entries from *start* to *end*, and earlier ones that *changed* outside.

    Attributes:
        left: How many entries are not copied, because nobody else holds them.
        taken: The number of entries that were taken before the save began, and ``left_before`` how many of the new ones
            among them are not copied.
    """

    start: int
    end: int
    changed: set[int]
    left: int
    taken: int
    left_before: int

    def __len__(self) -> int:
        return self.end - self.start + len(self.changed)


def _only_append(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError("a durable log only grows, by append and extend; for entries that change, use cp.mapping(name)")


class DurableLog(Durable, list[V], kind="log"):
    """A list that only grows, and whose saves cost what was appended.

    It is a list: ``append``, ``extend``, ``+=``; reading is a list's own, at its speed. Other changes raise
    ``TypeError``. Entries are plain JSON; a bad entry is refused, and nothing is added. The next save writes an entry
    with its content at that moment, and replaces it by a frozen copy; changing the copy raises ``TypeError``. The
    program may still hold the object that it appended: each save compares it with the copy, and writes the entry again
    if they differ.

    Example:
        >>> rows = cp.log("rows")  # a DurableLog
        >>> rows.append({"size": 1})
        >>> rows[-1]
        {'size': 1}

    Args:
        loaded: The plain list from a checkpoint. The log takes over its entries.
        path: Its place in the checkpoint, for messages.

    Raises:
        StateEncodeError: JSON cannot hold an entry; at ``append``, or at a save if it was changed since.
    """

    __slots__ = (
        "_aliases",
        "_cut",
        "_dirty",
        "_is_last",
        "_is_nested",
        "_kept",
        "_left",
        "_looked",
        "_saved",
        "_taken",
        "_unfrozen",
        *DURABLE_SLOTS,
    )

    if not TYPE_CHECKING:  # type checkers see a list
        __setitem__ = __delitem__ = __imul__ = _only_append
        insert = pop = remove = clear = sort = reverse = _only_append

    def __init__(self, loaded: list[Any] | None = None, *, path: str = "$.state") -> None:
        super().__init__(self._set_up(loaded, list, path))
        self._cut = len(self)  # number of entries when the unfinished item began
        self._saved = len(self)  # number of entries with which saves have begun; the others are new
        self._taken = len(self)  # number of entries that were frozen or left, perhaps ahead of a save
        self._left = 0  # number of them that were left, and with which no save has begun
        self._dirty: set[int] = set()  # saved entries that changed outside
        self._kept = list(self)  # the entries that were taken, because C code may replace them in the list
        self._looked = 0  # number of them checked in this round
        self._is_last, self._is_nested = False, bool(self)
        self._aliases: Aliases[int] = Aliases()
        self._unfrozen = range(len(self))  # indexes of unfrozen entries
        if len(self) >= MANY:
            collect_young()
        if self:
            self.__class__ = _LoadedLog  # pyright: ignore

    @mutator
    def append(self, entry: V, /) -> None:
        kind = type(entry)
        if kind is not int and (kind is not str or not entry.isascii()) and not is_good(entry):  # type: ignore[attr-defined]
            look_closely(entry, f"{self._path}[{len(self)}]", nan=self._nan)
        cut = len(self)
        if (now := self._ticks.__length_hint__()) != (seen := self._seen):
            # No call from here on. Inlined from _cross: a call would double the time.
            if seen is not None and now < seen:
                self._cut, self._seen = cut, now
            elif (held_back := self._boundary.held_back()) is not None:
                held_back.append((self._extend_by, [entry]))
                return
            elif self._boundary.has(self, entry):
                return
            else:
                self._cross()
        _append(self, entry)

    def extend(self, entries: Iterable[V], /) -> None:
        new = list(entries)
        if not is_good(new):
            for index, entry in enumerate(new, len(self)):
                look_closely(entry, f"{self._path}[{index}]", nan=self._nan)
        self._extend_by(new)

    @mutator
    def _extend_by(self, entries: list[Any]) -> None:
        if self._ticks.__length_hint__() != self._seen:
            if (held_back := self._boundary.held_back()) is not None:
                held_back.append((self._extend_by, entries))
                return
            if self._boundary.is_asked:
                entries = [entry for entry in entries if not self._boundary.has(self, entry)]
            self._cross()
        _extend(self, entries)
        if len(entries) >= aliases.MANY:
            self._boundary.note_many()

    def __iadd__(self, entries: Iterable[V], /) -> Self:  # type: ignore[misc,override]
        self.extend(entries)
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return list, (list(self),)

    def _cross(self) -> None:
        while True:
            now, cut, seen = self._boundary.ticks.__length_hint__(), len(self), self._seen
            if seen is None:
                self._wait()
                continue
            # No call from here on.
            if now < seen:
                self._cut, self._seen = cut, now
            return

    def _note(self) -> None:
        self._cut = len(self)

    # -- rows written again

    @property
    def known_as(self) -> str:
        return self._path

    def written_since(self, now: int) -> tuple[int, int] | None:
        return (self._cut, len(self)) if self._last_seen == now and len(self) > self._cut else None

    def is_there(self, row: Any, where: Where, /, *, in_order: bool = True) -> bool:
        for number, (start, stop) in enumerate(where):
            with suppress(ValueError):
                found = list.index(self, row, start, stop)
                remove_found(where, number, found, 1, in_order=in_order)
                return True
        give_up_long(where)
        return False

    # -- saves, see Durable

    def changed_bytes(self) -> int:
        return about_bytes(len(self) - self._saved, self._entries(self._saved, self._saved + 8))

    @property
    def waiting(self) -> int:
        return len(self) - self._taken

    def take_ahead(self) -> bool:
        with self._lock:
            many = self._cut - self._taken
            if self._pending is not None or type(self) not in (DurableLog, _LoadedLog) or many < aliases.MANY:
                return False
            self._freeze_new(self._taken + aliases.MANY, many=many)
            return many >= 2 * aliases.MANY

    def _collected(self, *, leaves: bool) -> Pending:
        if self._given is not None:
            self._refuse_changed()
        start, taken, left = self._saved, self._taken, self._left
        self._freeze_new(self._cut, many=self._cut - taken if leaves else 0)
        self._freeze_changed(self._taken - taken)
        changed = {index for index in self._dirty if index < start}
        pending = Pending(start, self._taken, changed, self._left, taken, left)
        # All at once: no call, and so no signal handler, comes between.
        self._dirty, self._saved, self._left = set(), pending.end, 0
        return pending

    def _refuse_changed(self) -> None:
        for index in self._given.changed({}):
            raise StateEncodeError(
                f"{self._path}[{index}]", "it was changed after it was appended; append an entry once it is complete"
            )

    def _take_back(self, pending: Pending) -> None:
        self._saved, self._left = pending.start, pending.left_before
        self._dirty |= pending.changed
        if pending.left > pending.left_before:
            self._taken = pending.taken
            del self._kept[self._taken :]
            self._unfrozen = range(min(self._unfrozen.start, self._taken), min(self._unfrozen.stop, self._taken))

    def look_at_all(self) -> None:
        self._is_last = True

    def _change(self, pending: Pending) -> dict[str, Any]:
        new = self._entries(pending.start, pending.end)
        if pending.left:
            entries = dict(enumerate(new, pending.start))
            self._check_left(lambda: _check_entries(entries, self._path, nan=self._nan))
        put = [[index, list.__getitem__(self, index)] for index in sorted(pending.changed)]
        return {"append": new, "put": put} if put else {"append": new}

    def look_closely(self, change: dict[str, Any]) -> None:
        try:
            to_json(change)
        except Exception:
            for index, entry in [*enumerate(change.get("append", ()), self._pending.start), *change.get("put", ())]:
                encode(entry, f"{self._path}[{index}]")

    def _copied(self) -> Snapshot:
        # The next save writes the entries that came after this one began: they must not be there twice.
        snapshot = Snapshot(self._entries(0, self._saved), path=self._path)
        return snapshot.check(nan=self._nan) if self._pending is not None and self._pending.left else snapshot

    def _freeze_new(self, stop: int, *, many: int) -> None:
        """Take the new entries up to *stop*: freeze them, or leave them until they are read.

        Args:
            many: How many new entries there are, if some may be left; else 0.
        """
        start = self._taken
        new = self._entries(start, stop)
        count = len(new)  # less than expected if C code has removed some
        held = self._leave(new, many) if many >= aliases.MANY else None
        entries = dict(enumerate(new, start)) if held is None else {start + index: new[index] for index in held}
        left = count - len(entries)
        if not left:
            new.clear()
        frozen, flat = self._frozen_copies(entries)
        for index, value in frozen.items():
            list.__setitem__(self, index, value)
            if left:
                new[index - start] = value
        self._kept[start:] = new if left else self._entries(start, start + count)
        self._aliases.add(entries, frozen, flat=flat)
        self._taken, self._left = start + count, self._left + left

    def _freeze_changed(self, changes: int) -> None:
        """Freeze once more the entries that changed outside, or that C code has replaced."""
        replaced = self._look_below(changes)
        changed: dict[int, Any] = {}
        if self._aliases:
            self._aliases.move_changed(changed, self._kept.__getitem__, self._path)
        if not changed and not replaced:
            return
        entries = changed | replaced
        try:
            frozen, flat = self._frozen_copies(entries)
        except BaseException:
            self._aliases.update(changed)
            raise
        self._dirty.update(frozen)
        changed.clear()
        replaced.clear()
        for index, value in frozen.items():
            list.__setitem__(self, index, value)
            self._kept[index] = value
        self._aliases.add(entries, frozen, flat=flat)

    def _frozen_copies(self, entries: dict[int, Any]) -> tuple[dict[int, Any], bool]:
        frozen, flat = freeze_checked(entries, lambda: _check_entries(entries, self._path, nan=self._nan))
        if flat:
            hide_few(frozen.values())
        elif not self._is_nested:
            self._is_nested = not LEAVES.issuperset(map(type, frozen.values()))
        return frozen, flat

    def _leave(self, new: list[Any], many: int) -> list[int] | None:
        """Let the *new* entries that nobody else holds be frozen when they are read. Returns the others.

        None means that all must be frozen now.
        """
        before, unfrozen, taken = type(self), self._unfrozen, self._taken
        if before not in (DurableLog, _LoadedLog) or (unfrozen and unfrozen.stop < taken):
            return None
        if before is DurableLog and may_be_read_in_c(self, _LoadedLog, many):
            return None
        self._unfrozen = range(unfrozen.start if unfrozen else taken, taken + len(new))
        self.__class__ = _LoadedLog  # pyright: ignore  # from now on each reading freezes
        are_tracked = any(map(is_tracked, new))
        held = aliases.held(new, beside=1, are_tracked=are_tracked)  # the references from this function
        if held is None or len(held) > len(new) // 2:
            self._unfrozen = unfrozen
            self.__class__ = before  # pyright: ignore
            return None
        self._is_nested |= are_tracked
        return held

    def _look_below(self, changes: int) -> dict[int, Any]:
        """Search for entries that C code has changed, some at each save, all at the last one.

        Returns the entries that replaced others. Entries that contain a changed list become dirty.

        Raises:
            StateEncodeError: C code has removed entries, or inserted what JSON cannot hold.
        """
        taken = self._taken
        if len(self) < taken:
            raise refuse_removal(self._path)
        most = taken if self._is_last else _LOOK_AT_LEAST + 2 * changes
        start = 0 if taken <= most or self._looked >= taken else self._looked
        stop = min(taken, start + most)
        now, kept = self._entries(start, stop), self._kept[start:stop]
        replaced: dict[int, Any] = {}
        if not all(map(is_, now, kept)):
            replaced = {index: entry for index, entry in enumerate(now, start) if entry is not kept[index - start]}
        if self._is_nested:
            for index in changed_below(dict(enumerate(kept, start)), is_last=self._is_last):
                self._check_alone(index)
                accept(kept[index - start], f"{self._path}[{index}]", nan=self._nan)
                self._dirty.add(index)
        for index in replaced:
            self._check_alone(index)
        self._looked, self._is_last = stop, False
        return replaced

    def _check_alone(self, index: int) -> None:
        if index in self._aliases:
            raise refuse_both(f"{self._path}[{index}]")

    def _entries(self, start: int, end: int | None) -> list[Any]:
        return list.__getitem__(self, slice(start, end))


class _LoadedLog(Loaded, DurableLog[Any]):
    """A durable log with unfrozen entries: reading more than one freezes all."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._wholly_frozen()[index]
        entry = list.__getitem__(self, index)
        return entry if type(entry) in IMMUTABLE else self._frozen(entry, range(len(self))[index])

    def _frozen(self, entry: Any, index: int) -> Any:
        with self._lock:
            if index in self._unfrozen and index < self._taken and self._kept[index] is entry:
                frozen = freeze(entry)
                if list.__getitem__(self, index) is entry:  # not if C code has replaced it
                    list.__setitem__(self, index, frozen)
                    self._kept[index] = frozen
                if isinstance(self, Loaded):
                    self._freeze_some(FREEZE_AT_READING)
            return list.__getitem__(self, index)

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
        first, stop = self._unfrozen.start, min(self._unfrozen.stop, len(self._kept))
        start = max(first, stop - count)
        loaded = self._kept[start:stop]
        frozen = freeze_all(loaded)
        for index, entry in enumerate(self._entries(start, stop), start):
            if entry is loaded[index - start]:  # not if C code has replaced it
                list.__setitem__(self, index, frozen[index - start])
        self._kept[start:stop] = frozen
        self._unfrozen = range(first, start)
        if start == first:
            self.__class__ = DurableLog  # type: ignore[assignment]


def _check_entries(entries: dict[int, Any], path: str, *, nan: bool) -> None:
    if not is_plain(list(entries.values())):
        for index, entry in entries.items():
            check(entry, f"{path}[{index}]", nan=nan)
