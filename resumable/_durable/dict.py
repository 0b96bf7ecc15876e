"""A dict whose saves cost only what changed in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain, repeat
from operator import is_
from typing import Any, SupportsIndex

from .._json import LEAVES, accepted, check, is_good, step, text_key
from .._runtime.interpreter import MANY, collect_young, collector_paused, is_tracked, may_be_read_in_c
from . import aliases
from .ahead import AHEAD_SLOTS, TakenAhead
from .aliases import Aliases
from .below import Turns, accept, changed_below, refuse_both
from .changes import ABSENT, TOMBSTONE, Pending, Snapshot, about_bytes, as_before
from .collection import FREEZE_AT_READING, Loaded, V, mutator
from .frozen import IMMUTABLE, freeze, freeze_checked, freeze_flat, hide_few
from .keyed import KEYED_SLOTS
from .order import UNORDERED, Removal, added_last, index_of, only_of, removals, with_removed

_set, _add, _get = dict.__setitem__, dict.setdefault, dict.get  # setdefault takes half the time, for a new key
_as_list: Callable[[Any], list[Any]] = list


class DurableDict(TakenAhead, dict[str, V], kind="mapping"):
    """A dict whose saves cost what changed, not what it holds.

    It is a dict: reading, ``len``, ``in``, ``json.dumps``, ``dict(files)`` are a dict's own, at its speed. Keys are
    strings, values plain JSON: dicts with string keys, lists, strings, finite numbers, booleans, None. A tuple
    becomes a list, a scalar of numpy the equal plain number or text.

    When a change happens *inside* a value, such as ``files[key]["size"] = 1``:

    - Before the next save, the value is the object that was assigned. The save writes its content at that moment.
      If thousands of new values wait for a save, it takes some of them early, at the ends of items.
    - The save replaces it by a frozen copy. Changing the copy raises ``TypeError``; assign a changed one instead:
      ``files[key] = {**files[key], "size": 1}``. Loaded values are frozen too.
    - The program may still hold the object that it assigned, in a variable or another container. That object stays an
      ordinary dict or list. Each save compares it with the saved copy. If they differ, the save writes the change, and
      the mapping shows it from then on. A comparison takes about half a microsecond. An object that only the mapping
      holds is not compared.
    - Without CPython's reference counts (PyPy, free threading), every object counts as held.

    Example:
        >>> files = cp.mapping("files")  # a DurableDict
        >>> files["a.py"] = {"size": 1}
        >>> files.get("a.py")
        {'size': 1}

    Any thread may change it while another saves. What a worker of ``cp.map`` writes is visible at once, saved once its
    item is done, and undone if the item fails. The order of keys is kept, but for those that workers write.

    Args:
        loaded: The plain dict from a checkpoint. The mapping takes over its values.
        path: Its place in the checkpoint, for messages.

    Raises:
        StateEncodeError: At an assignment, if the key is not a string or JSON cannot hold the value; nothing is
            assigned then. At a save, if a value was changed to such a one.
    """

    __slots__ = ("_turns", "_unfrozen", *AHEAD_SLOTS, *KEYED_SLOTS)

    def __init__(self, loaded: dict[str, Any] | None = None, *, path: str = "$.state") -> None:
        super().__init__(self._set_up(loaded, dict, path))
        self._clean()
        self._aliases: Aliases[str] = Aliases()
        self._turns: Turns[str] | None = None  # None without any frozen list.
        self._removals: Removal | None = None  # The newest.
        self._ahead, self._moved = None, set()
        self._unfrozen = list(self)
        if len(self) >= MANY:
            collect_young()
        if self:
            self.__class__ = _LoadedDict  # pyright: ignore

    # -- changes: only these three methods note dirty keys; no call comes between the note and the change

    @mutator
    def __setitem__(self, key: str, value: V) -> None:
        if type(key) is not str or not key.isascii():
            key = text_key(key, self._path)
        if (kind := type(value)) is not int and (kind is not str or not value.isascii()) and not is_good(value):  # type: ignore[attr-defined]
            value = accepted(value, f"{self._path}{step(key)}", frozenset({id(self)}), nan=self._nan)
        if (now := self._ticks.__length_hint__()) != (seen := self._seen):
            # Inlined from _touch: a call would add a third.
            if seen is not None and now < seen:
                self._before, self._seen = {}, now
                if self._was_dirty:
                    self._was_dirty = {}
            elif self._boundary.shared:
                self._write_shared(key, value)
                return
            else:
                self._cross()
        before, dirty = self._before, self._dirty
        if key not in before:
            if key in self:
                before[key] = self[key]
            else:
                before[key] = ABSENT
                if key not in dirty:
                    dirty[key] = value
                    _add(self, key, value)
                    return
            if key in dirty:
                self._was_dirty[key] = dirty[key]
        self._dirty[key] = value  # reading the old value may have been a call
        _set(self, key, value)

    @mutator
    def setdefault(self, key: str, default: Any = None) -> Any:
        if type(key) is not str or not key.isascii():
            key = text_key(key, self._path)
        if key not in self:
            if not is_good(default):
                default = accepted(default, f"{self._path}{step(key)}", frozenset({id(self)}), nan=self._nan)
            if self._boundary.shared:
                self._write_shared(key, default)
            else:
                self._touch(key, ABSENT)
                self._dirty[key] = default
        return dict.setdefault(self, key, default)

    @mutator
    def pop(self, key: str, *default: Any) -> Any:
        if key in self or key in self._held:
            exact = key if type(key) is str else str.__str__(key)
            if self._boundary.shared:
                held = self._write_shared(exact, TOMBSTONE)
                return dict.pop(self, key, *default) if held is ABSENT else held
            index = index_of(exact, self)
            self._touch(exact, _get(self, exact, ABSENT))
            self._removals = (exact, index, self._seen, self._removals)
            self._dirty[exact] = TOMBSTONE
        return dict.pop(self, key, *default)

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def popitem(self) -> tuple[str, V]:
        """Remove and return the last item."""
        while (key := next(reversed(self), TOMBSTONE)) is not TOMBSTONE:
            if (value := self.pop(key, TOMBSTONE)) is not TOMBSTONE:
                return key, value
        raise KeyError("popitem(): dictionary is empty")

    def clear(self) -> None:
        """Remove the present items; items that other threads add meanwhile may stay."""
        for key in list(dict.keys(self)):
            self.pop(key, None)

    def update(self, *others: Any, **entries: Any) -> None:
        new = dict(*others, **entries)
        for key, value in new.items():
            self[key] = value
        if len(new) >= aliases.MANY:
            self._boundary.note_many()

    def __ior__(self, other: Any) -> DurableDict:  # type: ignore[override,misc]
        self.update(other)
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return dict, (dict(self),)

    # -- writes of workers, see Keyed

    def _value(self, key: str) -> Any:
        return _get(self, key, ABSENT)

    def _as_value(self, mark: Any) -> Any:
        return ABSENT if mark is TOMBSTONE else mark

    def _changes_nothing(self, key: str, mark: Any) -> bool:
        return mark is TOMBSTONE and key not in self

    def _put(self, key: str, mark: Any) -> None:
        if mark is TOMBSTONE:
            dict.pop(self, key, None)
        else:
            _set(self, key, mark)

    def _put_back(self, key: str, value: Any, *, is_saved: bool) -> None:
        self._moved.add(key)
        if value is ABSENT:
            dict.pop(self, key, None)
        else:
            _set(self, key, freeze(value) if is_saved else value)

    # -- saves, see Durable

    def snapshot(self) -> Snapshot:
        with self._lock:
            self._settle_unless_held()
            if self._pending is not None:
                self._replace_originals(self._pending)
            newer = self._collected(leaves=False)
            try:
                self._replace_originals(newer)
            finally:
                self._take_back(newer)
            return self._copied().check(nan=self._nan) if newer.left else self._copied()

    def changed_bytes(self) -> int:
        with self._lock:
            ahead = self._ahead.frozen if self._ahead is not None else {}
            some = self._dirty or ahead
            return about_bytes(len(self._dirty) + len(ahead), some.items()) if some else 0

    def _collected(self, *, leaves: bool) -> Pending:
        if (ahead := self._ahead) is not None:
            if self._keeps_order:
                return self._collected_after(ahead, leaves=leaves)
            self._take_back(Pending(frozen={**ahead.frozen, **ahead.raw}, deleted=ahead.deleted))
            self._ahead = None
        pending = Pending()
        try:
            pending.originals = self._taken()
            are_tracked = any(map(is_tracked, pending.originals.values()))  # a tombstone is tracked
            if are_tracked and any(map(is_, pending.originals.values(), repeat(TOMBSTONE))):
                pending.separate()
            if self._removals is not None:
                self._sort_out(pending)
            if leaves and len(pending.originals) >= aliases.MANY:
                self._leave(pending, are_tracked=are_tracked)
            if self._turns is not None:
                self._look_below(pending, self._turns)
            if self._given is not None:
                self._take_changed(pending)
            if self._aliases:
                self._aliases.drop(chain(pending.frozen, pending.originals, pending.deleted))
                self._aliases.move_changed(pending.originals, self._at_rest, self._path)
            originals = pending.originals
            copies, pending.is_flat = freeze_checked(originals, lambda: check(originals, self._path, nan=self._nan))
            if pending.left:
                pending.frozen.update(copies)
            else:
                pending.frozen = copies
        except BaseException:
            self._take_back(pending)
            raise
        return pending

    def _sort_out(self, pending: Pending) -> None:
        """Bring added keys into their order, and note those that were deleted before."""
        newest, kept = self._removals, self._removed_by_item()
        if self._removals is newest:  # else a signal handler has deleted one meanwhile
            self._removals = kept
        theirs = {key for key, _, item, _ in removals(newest) if kept is None or item != kept[2]}
        pending.moved = [key for key in pending.originals if key in theirs]
        order = with_removed(self, kept, self._before, ABSENT) if kept else dict.keys(self)
        pending.originals = added_last(pending.originals, lambda: reversed(order), self._dirty)

    def _removed_by_item(self) -> Removal | None:
        """The removals of the unfinished item."""
        return only_of(self._at if self._seen is None else self._seen, self._removals) if self._before else None

    def _collected_after(self, ahead: Pending, *, leaves: bool) -> Pending:
        """What was taken ahead, and what has come or changed since."""
        self._take_all(ahead)
        changed = Pending()
        try:
            if self._turns is not None:
                self._look_below(changed, self._turns)
            if self._given is not None:
                self._take_changed(changed)
            if self._aliases:
                self._aliases.move_changed(changed.originals, self._at_rest, self._path)
            self._copy_into(ahead, changed.originals)
        except BaseException:
            self._untake(changed.originals)
            raise
        self._ahead, ahead.is_shared = None, leaves
        return ahead

    def _leave(self, pending: Pending, *, are_tracked: bool) -> None:
        """Keep as frozen, without a copy, the values that nobody else holds; the others stay in the originals."""
        keys = list(pending.originals)
        values = pending.originals.values()
        others = aliases.elsewhere(self, keys, values)
        to_copy = self._not_left(keys, values, others, beside=1, many=len(keys), are_tracked=are_tracked)
        if len(to_copy) < len(keys):
            pending.frozen = pending.originals
            pending.originals = {keys[index]: pending.frozen[keys[index]] for index in to_copy}
            pending.left, pending.is_shared = len(keys) - len(to_copy), True

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
        before: type[Any] = type(self)
        if before is DurableDict and many >= aliases.MANY and not may_be_read_in_c(self, _LoadedDict, many):
            self.__class__ = _LoadedDict  # pyright: ignore  # from now on each reading freezes
        if type(self) is not _LoadedDict:
            return range(len(keys))
        held = aliases.held(values, beside=beside, are_tracked=are_tracked)
        if held is None or len(held := sorted({*held, *others})) > len(keys) // 2:
            self.__class__ = before  # pyright: ignore
            return range(len(keys))
        self._unfrozen += keys
        if len(self._unfrozen) > 2 * len(self):
            self._unfrozen = list(self)  # many keys were there twice; to find out which would take longer
        return held

    def look_at_all(self) -> None:
        if self._turns is not None:
            self._turns.is_last = True

    def _look_below(self, pending: Pending, turns: Turns[str]) -> None:
        """Add values that C code has changed to the save."""
        keys = turns.take(lambda: dict.keys(self), len(pending.originals))
        values = {key: _get(self, key) for key in keys}
        for key in chain(pending.frozen, pending.originals, pending.deleted, list(self._dirty)):
            values.pop(key, None)
        for key in changed_below(values, is_last=turns.is_last):
            where = f"{self._path}{step(key)}"
            if key in self._aliases:
                raise refuse_both(where)
            accept(values[key], where, nan=self._nan)
            pending.originals[key] = values[key]
        turns.is_last = False

    def _take_changed(self, pending: Pending) -> None:
        """Add typed values that the program has changed to the save."""
        for key, value in self._given.changed(pending.originals).items():
            if key not in self._dirty:
                pending.originals[key] = value

    def _take_back(self, pending: Pending) -> None:
        if pending.is_ahead:
            self._ahead = pending
            return
        # The alias replaces its copy, so that later saves go on comparing it.
        held = {key: self._aliases[key] for key in pending.frozen.keys() & self._aliases.keys()}
        self._moved.update(held)
        self._removals = (*UNORDERED[:3], self._removals)
        for key in (*pending.moved, *pending.deleted):
            self._removals = (key, 0, None, self._removals)
        self._untake({**pending.deleted, **pending.frozen, **held, **pending.originals})

    def _replace_originals(self, pending: Pending) -> None:
        """Replace the original values in the dict by their frozen copies, if any of them can change."""
        if self._ahead is None and self._moved:
            self._moved.clear()
        if not LEAVES.issuperset(map(type, pending.originals.values())):
            frozen = pending.frozen
            if pending.left:
                frozen = {key: frozen[key] for key in pending.originals}
            if pending.is_flat:
                hide_few(frozen.values())  # not while the save begins, when the disk waits for it
            self._install(frozen, pending.originals)
            if not pending.is_flat and not LEAVES.issuperset(map(type, frozen.values())):
                self._turns = self._turns or Turns()
            self._aliases.add(pending.originals, frozen, flat=pending.is_flat)

    _committed = _replace_originals

    def _at_rest(self, key: str) -> Any:
        """The value of *key* when the unfinished item began."""
        return self._before[key] if key in self._before else _get(self, key)

    def _install(self, frozen: dict[str, Any], originals: dict[str, Any]) -> None:
        """Replace values by their frozen copies, except keys that were assigned or deleted meanwhile."""
        if self._ahead is not None and self._ahead.raw:
            self._moved.update(frozen)
        if not self._dirty:
            dict.update(self, frozen)  # one call, during which no other thread runs
            return
        before = self._before
        for key, value in frozen.items():
            if key not in self._dirty:
                _set(self, key, value)
            elif key in before and before[key] is originals[key]:
                before[key] = value

    def _freeze(self, keys: list[str]) -> None:
        """Freeze the saved values of *keys*."""
        kept = {key: _get(self, key) for key in keys if key not in self._dirty}
        loaded = {key: value for key, value in kept.items() if type(value) not in IMMUTABLE}
        values = list(loaded.values())
        frozen = freeze_flat(values)
        if frozen is not None:
            hide_few(frozen)
        elif values:
            frozen = list(map(freeze, values))
            self._turns = self._turns or Turns()
        self._install(dict(zip(loaded, frozen or (), strict=True)), loaded)

    def _change(self, pending: Pending) -> dict[str, Any]:
        if pending.left:
            self._check_left(lambda: check(pending.frozen, self._path, nan=self._nan))
        if not pending.deleted and not pending.moved:
            return {"set": pending.frozen}
        # Not if the unfinished item may have deleted values that count.
        is_all = not self._before and len(pending.frozen) >= len(self)
        if is_all and pending.frozen.keys() >= frozenset(dict.keys(self)):
            return {"clear": True, "set": pending.frozen}
        return {"set": pending.frozen, "del": [*pending.deleted, *pending.moved]}

    def _copied(self) -> Snapshot:
        pending = self._pending
        if pending is not None:
            self._replace_originals(pending)
        is_all = pending is not None and pending.is_shared and len(pending.frozen) == len(self)
        if pending is not None and is_all and not self._dirty and not self._before:
            snapshot = Snapshot(pending.frozen, path=self._path)  # immutable from now on
        elif self._before:
            entries = dict(zip(dict.keys(self), dict.values(self), strict=True))
            entries = as_before(entries, self._before)
            if newest := self._removed_by_item():
                entries = {key: entries[key] for key in with_removed(entries, newest, self._before, ABSENT)}
            snapshot = Snapshot(entries, path=self._path)
        else:
            snapshot = self._whole()
        return snapshot.check(nan=self._nan) if pending is not None and pending.left else snapshot

    def _whole(self) -> Snapshot:
        # dict.copy would read through __getitem__ in some subclasses; to make a dict takes five times as long.
        with collector_paused():  # so that no other thread runs between the two
            keys, values = map(_as_list, (dict.keys(self), dict.values(self)))
        return Snapshot(values, keys=keys, path=self._path)


class _LoadedDict(Loaded, DurableDict[Any]):
    """A durable dict with unfrozen values."""

    __slots__ = ()

    @mutator
    def __setitem__(self, key: str, value: Any) -> None:
        if type(key) is not str or not key.isascii():
            key = text_key(key, self._path)
        if not is_good(value):
            value = accepted(value, f"{self._path}{step(key)}", frozenset({id(self)}), nan=self._nan)
        if self._boundary.shared:
            self._write_shared(key, value)
            return
        self._touch(key, _get(self, key, ABSENT))
        self._dirty[key] = value
        _set(self, key, value)

    def __getitem__(self, key: str) -> Any:
        value = dict.__getitem__(self, key)
        return value if type(value) in IMMUTABLE else self._frozen(key, value)

    def get(self, key: str, default: Any = None) -> Any:  # pyright: ignore
        value = _get(self, key, default)
        return value if type(value) in IMMUTABLE or value is default else self._frozen(key, value)

    def setdefault(self, key: str, default: Any = None) -> Any:
        value = super().setdefault(key, default)
        return value if type(value) in IMMUTABLE or value is default else self._frozen(key, value)

    def __iter__(self) -> Iterator[str]:
        return dict.__iter__(self)  # makes dict(self) read through __getitem__

    def values(self) -> Any:
        return self._wholly_frozen().values()

    def items(self) -> Any:
        return self._wholly_frozen().items()

    def copy(self) -> dict[str, Any]:
        return self._wholly_frozen().copy()

    def __or__(self, other: Any) -> Any:  # pyright: ignore
        return self._wholly_frozen() | other

    def __ror__(self, other: Any) -> Any:  # pyright: ignore
        return other | self._wholly_frozen()

    def pop(self, key: str, *default: Any) -> Any:
        if key in self:
            self.get(key)  # a snapshot being encoded may contain it: freeze it before the program gets it
        return DurableDict.pop(self, key, *default)  # reading it may have changed the class

    def _frozen(self, key: str, value: Any) -> Any:
        if key in self._dirty:
            return value  # no save contains it yet
        with self._lock:
            if isinstance(self, Loaded):
                self._freeze_some(FREEZE_AT_READING)
            if _get(self, key) is value and key not in self._dirty:
                self._freeze([key])
            return _get(self, key, value)

    def _freeze_some(self, count: int) -> None:
        keys = self._unfrozen[-count:]
        del self._unfrozen[-count:]
        self._freeze(keys)
        if not self._unfrozen:
            self.__class__ = DurableDict  # type: ignore[assignment]
