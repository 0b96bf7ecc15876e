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

    *left* entries are not copied, because nobody else holds them.
    """

    start: int
    end: int
    changed: set[int]
    left: int = 0

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
        "_looked",
        "_saved",
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
        self._dirty: set[int] = set()  # saved entries that changed outside
        self._kept = list(self)  # entries with which saves have begun, because C code may replace them in the list
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

    def _collected(self, *, leaves: bool) -> Pending:
        if self._given is not None:
            self._refuse_changed()
        start, (end, left) = self._saved, self._freeze_new(leaves=leaves)
        pending = Pending(start, end, {index for index in self._dirty if index < start}, left)
        self._dirty, self._saved = set(), end  # both at once: no call, and so no signal handler, comes between
        return pending

    def _refuse_changed(self) -> None:
        for index in self._given.changed({}):
            raise StateEncodeError(
                f"{self._path}[{index}]", "it was changed after it was appended; append an entry once it is complete"
            )

    def _take_back(self, pending: Pending) -> None:
        self._saved = pending.start
        self._dirty |= pending.changed

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

    def _freeze_new(self, *, leaves: bool) -> tuple[int, int]:
        """Freeze the new entries, and those that changed outside once more.

        Returns:
            The end of the frozen entries, and how many were left unfrozen until they are read.
        """
        saved = self._saved
        new = self._entries(saved, self._cut)
        end = saved + len(new)
        held = self._leave(new) if leaves and len(new) >= aliases.MANY else None
        entries = dict(enumerate(new, saved)) if held is None else {saved + index: new[index] for index in held}
        left = len(new) - len(entries)
        if not left:
            new.clear()
        replaced = self._look_below(end - saved)
        changed: dict[int, Any] = {}
        if self._aliases:
            self._aliases.move_changed(changed, self._kept.__getitem__, self._path)
        entries |= changed | replaced
        try:
            frozen, flat = freeze_checked(entries, lambda: _check_entries(entries, self._path, nan=self._nan))
        except BaseException:
            self._aliases.update(changed)
            raise
        again = [*changed, *replaced]
        self._dirty.update(again)
        changed.clear()
        replaced.clear()
        if flat:
            hide_few(frozen.values())
        elif not self._is_nested:
            self._is_nested = not LEAVES.issuperset(map(type, frozen.values()))
        for index, value in frozen.items():
            list.__setitem__(self, index, value)
            if left and index >= saved:
                new[index - saved] = value
        self._kept[saved:] = new if left else self._entries(saved, end)
        for index in again:
            self._kept[index] = frozen[index]
        self._aliases.add(entries, frozen, flat=flat)
        return end, left

    def _leave(self, new: list[Any]) -> list[int] | None:
        """Let the *new* entries that nobody else holds be frozen when they are read. Returns the others.

        None means that all must be frozen now.
        """
        before, unfrozen = type(self), self._unfrozen
        if before not in (DurableLog, _LoadedLog) or may_be_read_in_c(self, _LoadedLog, len(new)):
            return None
        if (unfrozen and unfrozen.stop < self._saved) or len(self._kept) > self._saved:
            return None
        start = unfrozen.start if unfrozen else self._saved
        self._unfrozen = range(start, self._saved + len(new))
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
        if len(self) < self._saved:
            raise refuse_removal(self._path)
        most = self._saved if self._is_last else _LOOK_AT_LEAST + 2 * changes
        start = 0 if self._saved <= most or self._looked >= self._saved else self._looked
        stop = min(self._saved, start + most)
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
            if index in self._unfrozen and index < self._saved and self._kept[index] is entry:
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
