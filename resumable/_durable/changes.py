"""What changed in a durable collection, as JSON: how it is told, and how it is replayed.

A change is an object with the keys of one kind:

- dict: ``{"set": {key: value, …}, "del": [key, …]}``, or ``{"clear": true, "set": {…}}``
- set: ``{"add": [member, …], "del": [member, …]}``, or ``{"clear": true, "add": […]}``
- append-only list: ``{"append": [entry, …], "put": [[index, entry], …]}``

``set``, ``add`` or ``append`` is always there, the others only where they say something.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

from .._errors import StateEncodeError
from .._json import encode
from .._runtime.interpreter import untracker

CHUNK = 1000
"""Entries encoded at once in a snapshot."""
_SAMPLE = 8


class Collection(Protocol):
    """A durable collection, as the saver sees it.

    ``take_changes`` is called at *every* save, also when ``changed_bytes`` is 0: an in-place change of a value that
    the program holds is only found by looking. One save takes, hands what it took to the store, and calls ``settle``
    meanwhile, or ``put_back`` if that fails; what changes in between belongs to the next one.
    """

    def take_changes(self) -> dict[str, Any] | None:
        """What changed since the last take that was settled, to be encoded at once; None if nothing.

        Raises:
            StateEncodeError: If JSON cannot hold it. Nothing was taken.
            RuntimeError: If an earlier take is neither settled nor put back.
        """
        ...

    def take_snapshot(self) -> Snapshot:
        """The same as ``take_changes()`` and ``snapshot()``, without encoding the changes twice."""
        ...

    def settle(self) -> None:
        """What was taken is on its way to the disk. Does nothing if nothing was taken."""
        ...

    def put_back(self) -> None:
        """The save failed: what was taken counts as changed again. Does nothing if nothing was taken."""
        ...

    def changed_bytes(self) -> int:
        """About how long what was assigned, added or deleted since the last take is in JSON, judged by a few."""
        ...

    def snapshot(self) -> Snapshot:
        """All that was taken, to be encoded later, in any thread; maybe more, where telling that again does no harm.

        Raises:
            StateEncodeError: If JSON cannot hold it.
        """
        ...

    def plain(self) -> Any:
        """All of it as a builtin dict or list, nothing shared."""
        ...


class Snapshot:
    """The JSON text of a collection, encoded in pieces of :data:`CHUNK` entries while it is iterated.

    Holds a shallow copy; the values in it are frozen, so later changes of the collection do not tear it. The copy must
    be nobody else's: it is hidden from the garbage collector, which a long one would hold up.
    """

    def __init__(self, entries: dict[str, Any] | list[Any], *, path: str = "$") -> None:
        self._entries = entries
        self._path = path
        untracker()(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[bytes]:
        """Raises StateEncodeError where a string is not valid Unicode."""
        opening, closing = (b"[", b"]") if isinstance(self._entries, list) else (b"{", b"}")
        for piece in self._pieces():
            yield opening + encode(piece, self._path)[1:-1]
            opening = b","
        yield closing if opening == b"," else opening + closing

    def _pieces(self) -> Iterator[Any]:
        entries = self._entries
        if isinstance(entries, list):
            return (entries[start : start + CHUNK] for start in range(0, len(entries), CHUNK))
        pairs = iter(entries.items())
        return (dict(islice(pairs, CHUNK)) for _ in range(0, len(entries), CHUNK))

    def about_bytes(self) -> int:
        """About how long it is, judged by a few entries."""
        entries = self._entries
        return about_bytes(len(entries), entries if isinstance(entries, list) else entries.items())

    def let_go(self) -> Iterator[None]:
        """Let go of the values, piece by piece; it is empty afterwards.

        The last to hold many, which other threads have replaced, would stop the program while all of them are freed.
        """
        entries = self._entries
        while entries:
            if isinstance(entries, list):
                del entries[-CHUNK:]
            else:
                for _ in range(min(CHUNK, len(entries))):
                    entries.popitem()
            yield


def about_bytes(count: int, some: Iterable[Any]) -> int:
    """About how long *count* entries are in JSON, judged by *some* of them."""
    sample = list(islice(some, _SAMPLE))
    if not sample:
        return 0
    try:
        return count * len(encode(sample)) // len(sample)
    except StateEncodeError:
        return 0  # whoever takes them will tell


# -- replay -----------------------------------------------------------------------------------------------------------


class Replay:
    """Replays decoded changes onto a decoded dict or list; the cost follows the changes, not the size.

    Args:
        value: The plain value that a snapshot held, changed in place; None if there was none.
    """

    def __init__(self, value: dict[str, Any] | list[Any] | None = None) -> None:
        self._value: Any = value
        self._members: dict[Any, None] | None = None

    def apply(self, change: Any) -> None:
        """Replay one change.

        Raises:
            ValueError: If *change* is malformed or of another kind than the value. It may have been applied in part.
        """
        try:
            self._step(change)
        except (TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"malformed change of a collection: {error}") from error

    def result(self) -> dict[str, Any] | list[Any]:
        """The plain value: a dict, or a list for sets and logs."""
        if self._members is not None:
            return list(self._members)
        return {} if self._value is None else self._value

    def _step(self, change: dict[str, Any]) -> None:
        names = change.keys()
        if "set" in names and names <= {"set", "del", "clear"}:
            self._step_dict(change)
        elif "add" in names and names <= {"add", "del", "clear"}:
            self._step_set(change)
        elif "append" in names and names <= {"append", "put"}:
            self._step_log(change)
        else:
            raise ValueError(f"malformed change of a collection: it has the keys {sorted(names)}")

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


def apply_change(value: dict[str, Any] | list[Any] | None, change: Any) -> dict[str, Any] | list[Any]:
    """Replay one decoded *change* onto the plain *value*, in place where it can be; for many use :class:`Replay`.

    Raises:
        ValueError: If *change* is malformed or of another kind than *value*.
    """
    replay = Replay(value)
    replay.apply(change)
    return replay.result()


def _list(change: dict[str, Any], name: str) -> list[Any]:
    part = change.get(name, [])
    if not isinstance(part, list):
        raise TypeError(f"{name!r} is not an array")
    return part
