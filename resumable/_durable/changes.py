"""Changes of durable collections as JSON: the text of a whole collection, and the replay of changes onto it.

A change is an object with the keys of one kind:

- dict: ``{"set": {key: value, …}, "del": [key, …]}``, or ``{"clear": true, "set": {…}}``
- set: ``{"add": [member, …], "del": [member, …]}``, or ``{"clear": true, "add": […]}``
- append-only list: ``{"append": [entry, …], "put": [[index, entry], …]}``

``set``, ``add`` or ``append`` is always there; the others only if not empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec import Raw

from .._json import check, encode, encode_spelled, is_exact, is_plain, step, to_json
from .._runtime.interpreter import untracker
from .frozen import FrozenList

CHUNK = 1000
"""Entries encoded at once in a snapshot."""
_SAMPLE = 8  # entries that a size estimate samples


class Snapshot:
    """The JSON text of a collection. Iterating encodes it, :data:`CHUNK` entries at a time.

    Args:
        entries: A shallow copy of the collection, with frozen values; nobody else holds it. It is hidden from the
            garbage collector, which would scan all of it.
        keys: The keys of *entries* if those are the values of a mapping, in a list. Nobody else holds them.
        is_array: Whether a dict stands for the array of its keys.
        path: The collection's place in the checkpoint, for messages.
    """

    def __init__(
        self,
        entries: dict[Any, Any] | list[Any],
        *,
        keys: list[str] | None = None,
        is_array: bool = False,
        path: str = "$",
    ) -> None:
        self._entries = entries
        self._keys = keys
        self._is_array = is_array or (isinstance(entries, list) and keys is None)
        self._path = path
        self._spells = self._checks = self._nan = False
        untracker()(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[bytes]:
        """Encode. Raises StateEncodeError if a string is not valid Unicode."""
        kind: type[Any]
        kind, opening, closing = (list, b"[", b"]") if self._is_array else (dict, b"{", b"}")
        entries, at = iter(self._members()), 0
        while piece := kind(islice(entries, CHUNK)):
            if self._checks:
                self._check(piece, at)
            yield opening + self._encoded(piece)[1:-1]
            opening, at = b",", at + CHUNK
        yield closing if opening == b"," else opening + closing

    def check(self, *, nan: bool) -> Snapshot:
        """Check each entry before it is encoded: iterating then raises StateEncodeError for a bad one."""
        self._checks, self._nan = True, nan
        return self

    def _check(self, piece: Any, at: int) -> None:
        if not is_plain(piece):
            steps = (
                map(step, piece) if isinstance(piece, dict) else (f"[{at + number}]" for number in range(len(piece)))
            )
            for where, entry in zip(steps, piece.values() if isinstance(piece, dict) else piece, strict=True):
                check(entry, f"{self._path}{where}", nan=self._nan)

    def spell(self) -> Snapshot:
        """Spell out numbers that JSON lacks (NaN, infinities) in each entry."""
        self._spells = True
        return self

    def _encoded(self, piece: Any) -> bytes:
        raw = encode(piece, self._path)
        if not self._spells or is_exact(raw):
            return raw
        # One by one: the only entry of a piece is not the only one of the collection.
        if isinstance(piece, dict):
            return to_json({key: Raw(encode_spelled(entry, self._path)) for key, entry in piece.items()})
        return to_json([Raw(encode_spelled(entry, self._path)) for entry in piece])

    def _members(self) -> Iterable[Any]:
        if self._keys is not None:
            return zip(self._keys, self._entries, strict=True)
        return self._entries if self._is_array or isinstance(self._entries, list) else self._entries.items()

    def about_bytes(self) -> int:
        """Its approximate length in bytes, estimated from a few entries."""
        return about_bytes(len(self), self._members())

    def let_go(self) -> Iterator[None]:
        """Free the values, :data:`CHUNK` at each step; the snapshot is empty afterwards.

        If other threads replaced many of them meanwhile, freeing all at once would stop the program for a while.
        """
        self._keys = None if self._keys is None else []
        remove: Callable[[], Any] = self._entries.pop if isinstance(self._entries, list) else self._entries.popitem
        while self._entries:
            for _ in range(min(CHUNK, len(self))):
                remove()
            yield


def about_bytes(count: int, some: Iterable[Any]) -> int:
    """The approximate size of *count* entries as JSON, estimated from the first of *some*."""
    sample = list(islice(some, _SAMPLE))
    if not sample:
        return 0
    try:
        return count * len(to_json(sample)) // len(sample)
    except Exception:
        return 0  # the save itself raises the error


# -- the change of a dict ----------------------------------------------------------------------------------------------

TOMBSTONE: Final[Any] = FrozenList()
"""The value of a dirty key that was deleted; compared with ``is``."""
ABSENT: Final[Any] = FrozenList()
"""Stands for the value of a missing key; compared with ``is``."""


class Pending(msgspec.Struct):
    """What a save writes of a dict, by key.

    Attributes:
        originals: Assigned values, until frozen copies replace them. Aliases are found by their reference counts, so
            nothing else may refer to them meanwhile.
        frozen: Copies of the assigned values, for the save to write.
        is_flat: Whether surely none of the values contains a dict or list.
        deleted: Deleted keys, each with a tombstone.
        moved: Keys that were deleted and assigned again. They stand behind those that were there before.
        left: How many of the frozen values are not copies, because nobody else holds them.
        is_shared: Whether a snapshot may use *frozen* itself: it does not change any more.
        is_ahead: Whether it was taken ahead of the save. If that save fails, the next one writes it as it is.
        raw: Assigned values that were taken ahead. They are the frozen ones, if those are the first.
        done: How many of the raw values are in *frozen*, in the form that the save writes.
        keys, values: Iterators over the rest.
    """

    originals: dict[str, Any] = {}
    frozen: dict[str, Any] = {}
    is_flat: bool = False
    deleted: dict[str, Any] = {}
    moved: list[str] = []
    left: int = 0
    is_shared: bool = False
    is_ahead: bool = False
    raw: dict[str, Any] = {}
    done: int = 0
    keys: Iterator[str] = iter(())
    values: Iterator[Any] | None = None

    def __len__(self) -> int:
        return len(self.frozen) + len(self.deleted)

    def separate(self) -> None:
        """Move the tombstones from the originals to the deleted keys."""
        self.deleted = {key: value for key, value in self.originals.items() if value is TOMBSTONE}
        for key in self.deleted:
            del self.originals[key]

    # -- ahead of the save

    @property
    def waiting(self) -> int:
        """How many raw values are left."""
        return len(self.raw) - self.done

    def next_raw(self, most: int) -> tuple[list[str], list[Any]]:
        """The next raw values, at most this many, with their keys. Memory is read in order, which takes half the time.

        Nothing may be added to *frozen* or *raw*, or removed, between the calls.
        """
        if self.values is None:
            self.keys, self.values = iter(self.raw), iter(self.raw.values())
        return list(islice(self.keys, most)), list(islice(self.values, most))

    def restart(self) -> None:
        """Begin with the raw values once more."""
        self.keys, self.values, self.done = iter(()), None, 0

    def note(self, keys: list[str], *, has_deleted: bool) -> None:
        """The values of *keys* are in the form that the save writes; *has_deleted*: some are tombstones."""
        self.done += len(keys)
        raw, deleted = self.raw, self.deleted
        if deleted:
            for key in deleted.keys() & set(keys):
                del deleted[key]
        if has_deleted:
            deleted.update((key, TOMBSTONE) for key in keys if raw[key] is TOMBSTONE)
        if raw is not self.frozen:
            self.frozen.update(zip(keys, map(raw.__getitem__, keys), strict=True))
        if self.done == len(raw):
            for key in deleted:
                self.frozen.pop(key, None)
            self.raw = {}
            self.restart()


def as_before(entries: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """*entries* without what the unfinished item changed; *before* holds the values that those keys had."""
    for key, value in before.items():
        if value is ABSENT:
            entries.pop(key, None)
        else:
            entries[key] = value
    return entries


# -- replay -----------------------------------------------------------------------------------------------------------


class Replay:
    """Replays decoded changes onto a decoded dict or list. Its cost depends on the changes, not on the value's size.

    Args:
        value: The plain value from a snapshot, changed in place; None if there was none.
    """

    def __init__(self, value: dict[str, Any] | list[Any] | None = None) -> None:
        self._value: Any = value
        self._members: dict[Any, None] | None = None

    def apply(self, change: Any) -> None:
        """Replay one change.

        Raises:
            ValueError: *change* is malformed or of another kind than the value. A part of it may have been replayed.
        """
        try:
            names = change.keys()
            if "set" in names and names <= {"set", "del", "clear"}:
                self._step_dict(change)
            elif "add" in names and names <= {"add", "del", "clear"}:
                self._step_set(change)
            elif "append" in names and names <= {"append", "put"}:
                self._step_log(change)
            else:
                raise TypeError(f"it has the keys {sorted(names)}")
        except (TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"malformed change of a collection: {error}") from error

    def result(self) -> dict[str, Any] | list[Any]:
        """The plain value after all changes: a dict, or a list for sets and logs."""
        if self._members is not None:
            return list(self._members)
        return {} if self._value is None else self._value

    def _step_dict(self, change: dict[str, Any]) -> None:
        entries = self._of_kind(dict)
        if change.get("clear") is True:
            entries.clear()
        for key in _list(change, "del"):
            entries.pop(key, None)
        if not isinstance(change["set"], dict):
            raise TypeError("'set' is not an object")
        entries.update(change["set"])

    def _step_set(self, change: dict[str, Any]) -> None:
        if self._members is None:
            self._members = dict.fromkeys(self._of_kind(list))
        if change.get("clear") is True:
            self._members.clear()
        for member in _list(change, "del"):
            self._members.pop(member, None)
        self._members.update(dict.fromkeys(_list(change, "add")))

    def _step_log(self, change: dict[str, Any]) -> None:
        if self._members is not None:
            raise TypeError("a change of a log, but this is a set")
        entries = self._of_kind(list)
        for index, entry in _list(change, "put"):
            if index < 0:
                raise IndexError(f"'put' at {index}")
            entries[index] = entry
        entries.extend(_list(change, "append"))

    def _of_kind(self, kind: type[Any]) -> Any:
        if self._value is None:
            self._value = kind()
        if type(self._value) is not kind:
            raise TypeError(f"it does not fit a {type(self._value).__name__}")
        return self._value


def _list(change: dict[str, Any], name: str) -> list[Any]:
    part = change.get(name, [])
    if not isinstance(part, list):
        raise TypeError(f"{name!r} is not an array")
    return part
