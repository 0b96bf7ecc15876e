"""A dict that tells what changed since the last save."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from operator import is_
from typing import Any, Final, SupportsIndex

from .._json import check, text_key
from .._runtime.interpreter import has_gil
from .aliases import Watch
from .changes import Collection, Replay, Snapshot, apply_change
from .dirty import Marked, run_alone
from .frozen import IMMUTABLE, FrozenList, freeze, freeze_all, freeze_checked, hide_few, thaw_all

GONE: Final[Any] = FrozenList()
"""What stands among the marks for a deleted key; told by its identity."""


@dataclass(slots=True)
class Taken:
    """What changed since the last save, by key.

    Attributes:
        originals: What was assigned, until the frozen copies stand for it. Nobody else refers to what only this and
            the mapping hold.
        frozen: Copies of it, which are saved.
        is_flat: Whether there are surely no containers in any of them.
        gone: What was deleted.
    """

    originals: dict[str, Any] = field(default_factory=dict)
    frozen: dict[str, Any] = field(default_factory=dict)
    is_flat: bool = False
    gone: dict[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.frozen or self.gone)

    def part_gone(self) -> None:
        """Tell what was deleted from what was assigned."""
        if any(map(is_, self.originals.values(), repeat(GONE))):
            self.gone = {key: mark for key, mark in self.originals.items() if mark is GONE}
            for key in self.gone:
                del self.originals[key]

    def freeze(self, path: str) -> None:
        """Copy what was assigned, as it is now.

        Raises:
            StateEncodeError: JSON cannot hold it.
        """
        self.frozen, self.is_flat = freeze_checked(self.originals, lambda: check(self.originals, path))

    def hidden(self) -> dict[str, Any]:
        """The frozen copies, hidden from the garbage collector: not as they are made, for then the disk waits."""
        if self.is_flat:
            hide_few(self.frozen.values())
        return self.frozen


__all__ = ["Collection", "DurableDict", "Replay", "Snapshot", "apply_change"]

KEEP_FREEZING: Final = 1000
"""Loaded values frozen at each save, at least."""

_set, _get, _setdefault = dict.__setitem__, dict.get, dict.setdefault


class DurableDict(Marked, dict[str, Any]):
    """A dict whose saves cost what changed, not what it holds.

    It is a dict: reading, ``len``, ``in``, ``json.dumps``, ``dict(files)`` are a dict's own, at its speed. Keys are
    strings, values plain JSON: dicts with string keys, lists, strings, finite numbers, booleans, None. A tuple
    becomes a list.

    What becomes of a change *inside* a value, such as ``files[key]["size"] = 1``:

    - Before the next save the value is the object that was assigned; the save writes it as it is then.
    - With the save, the mapping replaces it by a frozen copy. Changing that raises ``TypeError``; assign a changed
      copy instead: ``files[key] = {**files[key], "size": 1}``. Values that were loaded are frozen too.
    - If the program still holds the object that it assigned, in a variable or another container, that one stays an
      ordinary dict or list. Each save compares it with what was saved; if it differs, the change is saved and shows
      in the mapping. Before that save, the mapping shows the old value.
      That costs about half a microsecond for each such object; one that was let go costs nothing.
    - Where reference counts do not tell who holds an object (other Pythons, free threading), each is taken as held.

    Any thread may change it while another saves. The order of keys is kept, except that a key that was deleted and
    assigned again between two saves may come back at its old place.

    Args:
        loaded: The plain dict that a checkpoint held. Its values now belong to the mapping.
        path: Where it stands in the checkpoint, for messages.

    Raises:
        StateEncodeError: At an assignment, if the key is not a string; at the save, if JSON cannot hold a value.
    """

    __slots__ = ("_changed", "_lock", "_path", "_taken", "_to_freeze", "_watch")

    is_json_native = True

    def __init__(self, loaded: dict[str, Any] | None = None, *, path: str = "$.state") -> None:
        if loaded is not None and type(loaded) is not dict:
            raise TypeError(f"{path} holds a {type(loaded).__name__}, not a dict; give the mapping another name")
        super().__init__(loaded or {})
        self._path = path
        self._lock = threading.RLock()
        # What was assigned since the last take, GONE where deleted: the marks.
        self._changed: dict[str, Any] = {}
        self._taken: Taken | None = None
        self._watch: Watch[str] = Watch()
        self._to_freeze = list(self)
        if self:
            self.__class__ = _LoadedDict  # pyright: ignore

    # -- changes: tested, marked and made without a call in between, see Marked

    def __setitem__(self, key: str, value: Any) -> None:
        if type(key) is not str:
            key = text_key(key, self._path)
        self._changed[key] = value
        # For a new key, which is the usual one, this call is cheaper than dict.__setitem__.
        if _setdefault(self, key, value) is not value:
            self._changed[key] = value  # Once more: a save may have taken the mark off.
            _set(self, key, value)
            if type(self) is DurableDict:
                self.__class__ = _ReassignedDict  # pyright: ignore

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        exact = key if type(key) is str else str.__str__(key)
        self._changed[exact] = GONE
        dict.__delitem__(self, key)

    def setdefault(self, key: str, default: Any = None) -> Any:
        if type(key) is not str:
            key = text_key(key, self._path)
        if key not in self:
            self._changed[key] = default
        return dict.setdefault(self, key, default)

    def pop(self, key: str, *default: Any) -> Any:
        if key in self:
            exact = key if type(key) is str else str.__str__(key)
            self._changed[exact] = GONE
        return dict.pop(self, key, *default)

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the last item."""
        while True:
            key = next(reversed(self), GONE)
            if key is GONE:
                raise KeyError("popitem(): dictionary is empty")
            value = self.pop(key, GONE)
            if value is not GONE:
                return key, value

    def clear(self) -> None:
        """Remove what is in it now; what other threads add meanwhile may stay."""
        for key in list(dict.keys(self)):
            self.pop(key, None)

    def update(self, *others: Any, **entries: Any) -> None:
        for key, value in dict(*others, **entries).items():
            self[key] = value

    def __ior__(self, other: Any) -> DurableDict:  # type: ignore[override,misc]
        self.update(other)
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return dict, (dict(self),)

    # -- saves, see Collection

    def take_snapshot(self) -> Snapshot:
        with self._lock:
            self._take()
            self._put_in_place(self._taken)
            return self._copied()

    def settle(self) -> None:
        with self._lock:
            self._put_in_place(self._taken)
            self._taken = None

    def snapshot(self) -> Snapshot:
        with self._lock:
            self._put_in_place(self._taken)
            taken = self._collect()
            try:
                self._put_in_place(taken)
            finally:
                self._mark_again(self._marks_of(taken))
            return self._copied()

    def plain(self) -> dict[str, Any]:
        entries = dict.copy(self)
        return dict(zip(entries, thaw_all(entries.values()), strict=True))

    def _collect(self) -> Taken:
        taken = Taken()
        try:
            taken.originals, self._changed = self._changed, {}
            self._watch.drop(taken.originals)
            taken.part_gone()
            self._watch.take_changed(taken.originals, self._saved_values, self._path)
            taken.freeze(self._path)
        except BaseException:
            self._mark_again(self._marks_of(taken))
            raise
        return taken

    def _marks_of(self, taken: Taken) -> dict[str, Any]:
        # By the original where one is held, so that it goes on being watched.
        held = {key: self._watch.get(key, value) for key, value in taken.frozen.items()}
        return {**taken.gone, **held, **taken.originals}

    def _put_in_place(self, taken: Taken | None) -> None:
        """Let the frozen copies stand for what they were copied from."""
        if taken is not None and taken.originals:
            self._install(taken.hidden())
            self._watch.add(taken.originals, taken.frozen, flat=taken.is_flat)

    def _saved_values(self, keys: list[str]) -> list[Any]:
        return list(map(_get, repeat(self), keys))

    def _install(self, frozen: dict[str, Any]) -> None:
        """Let frozen values stand for those that they were copied from, unless others were assigned meanwhile."""
        changed = self._changed
        if not changed:
            dict.update(self, frozen)  # One call, in which no other thread runs.
            return
        for key, value in frozen.items():
            if key not in changed:
                _set(self, key, value)

    def _told(self, taken: Taken) -> dict[str, Any]:
        if not taken.gone:
            return {"set": taken.frozen}
        if len(taken.frozen) >= len(self) and taken.frozen.keys() >= frozenset(dict.keys(self)):
            return {"clear": True, "set": taken.frozen}
        return {"set": taken.frozen, "del": list(taken.gone)}

    def _copied(self) -> Snapshot:
        return Snapshot(dict.copy(self), path=self._path)  # One call, in which no other thread runs.


class _ReassignedDict(DurableDict):
    """The same from the first known key that is assigned to the next save: more are likely to follow it."""

    __slots__ = ()

    def __setitem__(self, key: str, value: Any) -> None:
        if type(key) is not str:
            key = text_key(key, self._path)
        self._changed[key] = value
        _set(self, key, value)

    def settle(self) -> None:
        super().settle()
        self.__class__ = DurableDict  # type: ignore[assignment]


class _LoadedDict(DurableDict):
    """The same while values that were loaded are not frozen yet.

    Freezing a million of them would cost half as much as decoding them. So each is frozen when it is first handed
    out, and the rest bit by bit with each save; with the last one the mapping becomes a plain DurableDict.
    """

    __slots__ = ()

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
        return dict.__iter__(self)  # Being there, it makes dict(self) read through __getitem__.

    def values(self) -> Any:
        return self._frozen_all().values()

    def items(self) -> Any:
        return self._frozen_all().items()

    def copy(self) -> dict[str, Any]:
        return self._frozen_all().copy()

    def __or__(self, other: Any) -> Any:  # pyright: ignore
        return self._frozen_all() | other

    def __ror__(self, other: Any) -> Any:  # pyright: ignore
        return other | self._frozen_all()

    def pop(self, key: str, *default: Any) -> Any:
        if key in self:
            self.get(key)  # A snapshot that is being encoded may have it: freeze it before it leaves.
        return super().pop(key, *default)

    def _frozen(self, key: str, value: Any) -> Any:
        with self._lock:
            frozen = freeze(value)
            if _get(self, key) is value and key not in self._changed:
                _set(self, key, frozen)
            return _get(self, key, value)

    def _frozen_all(self) -> DurableDict:
        with self._lock:
            while self.__class__ is _LoadedDict:
                self._freeze_some(KEEP_FREEZING)
        return self

    def _freeze_some(self, count: int) -> None:
        keys = self._to_freeze[-count:]
        del self._to_freeze[-count:]
        loaded = {key: _get(self, key) for key in keys if key not in self._changed}
        frozen = zip(loaded, freeze_all(list(loaded.values())), strict=True)
        self._install({key: value for key, value in frozen if value is not loaded[key]})
        if not self._to_freeze:
            self.__class__ = DurableDict  # type: ignore[assignment]

    def settle(self) -> None:
        with self._lock:
            if self._taken is not None:
                count = len(self._taken.frozen)
                super().settle()
                self._freeze_some(max(KEEP_FREEZING, 4 * count))


if not has_gil():
    for _name in ("__setitem__", "__delitem__", "setdefault", "pop"):
        setattr(DurableDict, _name, run_alone(getattr(DurableDict, _name)))
    _ReassignedDict.__setitem__ = run_alone(_ReassignedDict.__setitem__)  # type: ignore[method-assign]
