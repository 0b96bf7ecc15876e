"""Durable collections of values of a class: dataclasses, structs, models, dates.

A mapping and a log hold plain JSON, as untyped ones do, and make a typed value when it is first read. Typed values are
mutable, so each save compares those that the program has read. A set holds the values themselves, which are immutable.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from functools import partial
from typing import Any, Generic, Protocol, SupportsIndex, TypeVar, overload

from .._errors import StateEncodeError
from .._json import LEAVES, encode_spelled, scalar, step, text_key
from .changes import ABSENT, Snapshot
from .collection import Durable, mutator
from .dict import DurableDict
from .log import DurableLog
from .set import DurableSet

K = TypeVar("K")
V = TypeVar("V")

_get, _set = dict.get, dict.__setitem__
_MOST = 4096
"""At most this many values are remembered, unless the program holds more."""


class Form(Protocol[V]):
    """The JSON form of typed values. Its methods raise what those of ``_format.values.Values`` raise."""

    kind: type[V]
    path: str

    def to_json(self, value: V) -> bytes: ...
    def encoded(self, value: V, where: Callable[[Any], str], key: Any) -> tuple[bytes, Any]: ...
    def is_one(self, raw: bytes, other: bytes) -> bool: ...
    def compare(self, values: list[V], raws: list[bytes], where: Callable[[int], str]) -> None: ...
    def value(self, plain: Any, where: str) -> V: ...
    def held(self, values: list[V]) -> list[bool]: ...


class Given(Generic[K, V]):
    """Typed values that the program has read or assigned, and may change.

    Attributes:
        values: By key, as long as the program may hold them.
        fresh: Keys assigned since the last save.
    """

    def __init__(self, form: Form[V], where: Callable[[K], str], plain: Callable[[K], Any]) -> None:
        self.form = form
        self.where = where
        self._plain = plain
        self.values: dict[K, V] = {}
        self.fresh: dict[K, None] = {}
        self._most = _MOST

    def read(self, key: K, plain: Any) -> V:
        """Make the value from *plain*, and remember it for *key*."""
        if len(self.values) >= self._most:
            self._drop_unheld(self._unchanged())
            self._most = max(_MOST, 2 * len(self.values))
        return self.values.setdefault(key, self.form.value(plain, self.where(key)))

    def put(self, key: K, value: V) -> None:
        """Remember *value* for *key*."""
        self.values[key] = value
        self.fresh[key] = None

    def drop(self, key: K) -> None:
        self.values.pop(key, None)

    def changed(self, newer: Mapping[K, Any]) -> dict[K, Any]:
        """The plain form of each value that has changed. Values that nobody holds are forgotten.

        Args:
            newer: The plain forms that the save writes; the other plain forms are in the collection.

        Raises:
            StateEncodeError: A value would change on loading, from the beginning or through a change.
        """
        changed: dict[K, Any] = {}
        fresh: list[tuple[K, V, bytes]] = []
        keys = list(self.values)
        for key in keys:
            value = self.values[key]
            raw = self._raw(value)
            if not self._is_as(raw, newer[key] if key in newer else self._plain(key)):
                raw, changed[key] = self.form.encoded(value, self.where, key)
                fresh.append((key, value, raw))
            elif key in self.fresh:
                fresh.append((key, value, raw))
        if fresh:
            ways = [self.where(key) for key, _, _ in fresh]
            self.form.compare([value for _, value, _ in fresh], [raw for _, _, raw in fresh], ways.__getitem__)
        self.fresh.clear()
        fresh.clear()
        self._drop_unheld(keys)
        return changed

    def _unchanged(self) -> list[K]:
        """Keys of values that no save needs to compare."""
        values = list(self.values.items())
        return [
            key for key, value in values if key not in self.fresh and self._is_as(self._raw(value), self._plain(key))
        ]

    def _raw(self, value: V) -> bytes:
        """*value* as JSON; b"" if a change made that impossible, which :meth:`changed` tells."""
        try:
            return self.form.to_json(value)
        except Exception:
            return b""

    def _is_as(self, raw: bytes, plain: Any) -> bool:
        return raw == (before := encode_spelled(plain)) or self.form.is_one(raw, before)

    def _drop_unheld(self, keys: list[K]) -> None:
        for key in keys:
            some = [self.values.pop(key)]  # pop it first, because another thread could read it after the count
            if self.form.held(some)[0]:
                self.values.setdefault(key, some[0])


class TypedDict(DurableDict[V]):
    """A durable dict of typed values. Memory and checkpoint hold plain JSON; reading makes the value."""

    __slots__ = ()

    _given: Given[str, V]

    def __getitem__(self, key: str) -> V:
        try:
            return self._given.values[key]
        except KeyError:
            return self._given.read(key, dict.__getitem__(self, key))

    @mutator
    def __setitem__(self, key: str, value: V) -> None:
        key, value = text_key(key, self._path), scalar(value)
        _, plain = self._given.form.encoded(value, self._given.where, key)
        self._given.drop(key)
        if self._boundary.shared:
            self._write_shared(key, plain)
        else:
            self._touch(key, _get(self, key, ABSENT))
            self._dirty[key] = plain
            _set(self, key, plain)
        self._given.put(key, value)

    def _put_back(self, key: str, value: Any, *, is_saved: bool) -> None:
        self._given.drop(key)
        super()._put_back(key, value, is_saved=is_saved)

    def get(self, key: str, default: Any = None) -> Any:  # pyright: ignore
        return self[key] if key in self else default  # noqa: SIM401  # it would call itself

    def setdefault(self, key: str, default: Any = None) -> V:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str, *default: Any) -> Any:
        if key not in self:
            return super().pop(key, *default)
        value = self[key]
        super().pop(key)
        self._given.drop(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return dict.__iter__(self)  # makes dict(self) read through __getitem__

    def values(self) -> Any:
        return ValuesView(self)

    def items(self) -> Any:
        return ItemsView(self)

    def copy(self) -> dict[str, V]:
        return {key: self[key] for key in self}

    def __or__(self, other: Any) -> Any:  # pyright: ignore
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:  # pyright: ignore
        return other | self.copy()

    def __eq__(self, other: object) -> bool:
        return self.copy() == other

    def __ne__(self, other: object) -> bool:
        return self.copy() != other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.copy())


class TypedLog(DurableLog[V]):
    """A durable log of typed values. If an entry is changed after it was appended, the next save raises."""

    __slots__ = ()

    _given: Given[int, V]

    def append(self, entry: V, /) -> None:
        self.extend((entry,))

    def extend(self, entries: Iterable[V], /) -> None:
        given, new = self._given, list(map(scalar, entries))
        plain = [given.form.encoded(entry, given.where, index)[1] for index, entry in enumerate(new, len(self))]
        self._extend_by(plain)
        for index, entry in enumerate(new, len(self) - len(new)):
            if 0 <= index < len(self) and list.__getitem__(self, index) is plain[index - len(self) + len(new)]:
                given.put(index, entry)

    @overload
    def __getitem__(self, index: SupportsIndex) -> V: ...
    @overload
    def __getitem__(self, index: slice) -> list[V]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        place = index.__index__()
        place += len(self) if place < 0 else 0
        try:
            return self._given.values[place]
        except KeyError:
            return self._given.read(place, list.__getitem__(self, place))

    def __iter__(self) -> Iterator[V]:
        place = 0
        while place < len(self):
            yield self[place]
            place += 1

    def __reversed__(self) -> Iterator[V]:
        return (self[place] for place in range(len(self) - 1, -1, -1))

    def __contains__(self, entry: object) -> bool:
        return any(one == entry for one in self)

    def copy(self) -> list[V]:
        return [*iter(self)]

    def index(self, entry: Any, *bounds: Any) -> int:
        return self.copy().index(entry, *bounds)

    def count(self, entry: Any) -> int:
        return self.copy().count(entry)

    def __add__(self, other: Any) -> Any:
        return self.copy() + other

    def __radd__(self, other: Any) -> Any:
        return other + self.copy()

    def __mul__(self, count: SupportsIndex) -> list[V]:
        return self.copy() * count

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return self.copy() == other

    def __ne__(self, other: object) -> bool:
        return self.copy() != other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.copy())


class TypedSet(DurableSet[V]):
    """A durable set of typed members, such as UUIDs, whose JSON form is a string or a number."""

    __slots__ = ()

    _given: Given[Any, V]

    @mutator
    def add(self, member: V, /) -> None:
        member = scalar(member)
        if self._boundary.shared:
            self._plain(member)
            self._write_shared(member, True)
        elif member not in self:
            self._plain(member)
            self._touch(member, False)
            self._dirty[member] = True
            set.add(self, member)

    def _plain(self, member: V) -> Any:
        where = self._given.where
        _, plain = self._given.form.encoded(member, where, member)
        if type(plain) not in LEAVES:
            kind = type(member).__name__
            raise StateEncodeError(where(member), f"a {kind} is neither a string nor a number in JSON; use a mapping")
        return plain

    def _change(self, pending: dict[Any, bool]) -> dict[str, Any]:
        change = super()._change(pending)
        return {name: part if name == "clear" else list(map(self._plain, part)) for name, part in change.items()}

    def _copied(self) -> Snapshot:
        members = set(self)
        for member, was_in in self._before.items():
            (members.add if was_in else members.discard)(member)
        return Snapshot(list(map(self._plain, members)), path=self._path)


# -- from untyped to typed --------------------------------------------------------------------------------------------

_LOOKED_AT = 64
"""Loaded values that are checked at once; the others when they are read."""


def make_typed(collection: Durable, form: Form[Any]) -> None:
    """Turn *collection* into one of typed values; its content must fit.

    Raises:
        InputChangedError: A loaded value does not fit. In a mapping or log, only the first ones are checked now.
        TypeError: It has values of another class, or a set was changed before.
    """
    if collection.given is not None:
        if collection.given.form.kind is not form.kind:
            old, new = collection.given.form.kind.__name__, form.kind.__name__
            raise TypeError(f"{form.path} has values of the class {old}, not {new}; give this one another name")
        return
    collection.allow_nan()
    if isinstance(collection, DurableSet):

        def where(member: Any) -> str:
            return f"{form.path}: the member {member!r:.80}"

        typed = {form.value(member, where(member)) for member in collection.loaded()}
        collection.become(TypedSet, Given(form, where, str))
        set.clear(collection)
        set.update(collection, typed)
    elif isinstance(collection, DurableDict):
        for key in list(dict.keys(collection))[:_LOOKED_AT]:
            form.value(_get(collection, key), f"{form.path}{step(key)}")
        collection.become(TypedDict, Given(form, lambda key: f"{form.path}{step(key)}", partial(_get, collection)))
    elif isinstance(collection, DurableLog):
        for index in range(min(_LOOKED_AT, len(collection))):
            form.value(list.__getitem__(collection, index), f"{form.path}[{index}]")
        collection.become(
            TypedLog, Given(form, lambda index: f"{form.path}[{index}]", partial(list.__getitem__, collection))
        )
