"""Done items as a set of keys: the order may change, items may come and go. Also packs numbers into ranges."""

from __future__ import annotations

import dis
import logging
import operator
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from ..._json import check_unicode
from ..._text import shortened
from ..inputs import fingerprint
from .by_position import ItemKey, Ledger, Saved, opened

T = TypeVar("T")
_log = logging.getLogger("resumable")


class KeyLedger(Ledger):
    """The keys of the done items. Only the first item with a key counts; later ones are skipped.

    A loop in order calls :meth:`offer` for each item; a map calls :meth:`hand_out`, and :meth:`add` at an item's end.

    Raises:
        InputChangedError: *saved* was made by position.
        ValueError: *saved* is malformed, or *key* is made by ``id``, or by ``hash``, which is another one in each run.
    """

    def __init__(self, operation_id: str, items: Any, saved: Saved | None, key: Callable[[Any], Any] | str) -> None:
        self._key_of = key_function(key)
        if (name := _differs_in_each_run(key)) is not None:
            raise ValueError(
                f"the keys are made by {name}(), which differs in each run: what is done would be done again. Give a "
                "key that is part of the item, as in key=str, or key=lambda item: item.id."
            )
        self._field = key if isinstance(key, str) else None
        self._items = items
        # Append-only, so that a save in another thread can copy it at any moment.
        self._order = [] if saved is None else keys_from(opened(operation_id, saved, "key"))
        self._known: set[ItemKey] = set()
        # The keys that this run has not met yet. A key that comes a second time belongs to two items.
        self._unmet: dict[ItemKey, None] = {}
        self._operation_id = operation_id
        self._has_told = False
        if self._order:
            self._known, self._unmet = set(self._order), dict.fromkeys(self._order)
            if len(self._known) < len(self._order):
                raise ValueError("a saved key stands twice")
        self._handed: set[ItemKey] = set()
        self.start = self._committed = len(self._order)

    @property
    def done(self) -> int:
        """How many keys are done over all runs, in a map."""
        return len(self._order)

    def offer(self, item: Any) -> bool:
        """Examine the next *item*; False if its key is done. Otherwise its key comes next in order, and counts
        later."""
        return any(True for _ in self.offered((item,)))

    def offered(self, items: Iterable[T]) -> Generator[T]:
        known, know, append = self._known, self._known.add, self._order.append
        unmet, meet = self._unmet, self._unmet.pop
        key_of, again = self._key_of, self._key_of
        of_other_kinds: tuple[type[Exception], ...] = ()
        field = self._field
        for item in items:
            if field is not None:
                key_of, of_other_kinds = getter(field, item), (TypeError, AttributeError)
                field = None
            try:
                key = key_of(item)
            except of_other_kinds:  # a mapping among objects, or the reverse
                key = again(item)
            kind = type(key)
            if kind is not int and kind is not str:
                key = _plain_key(key)
            if unmet and meet(key, self) is None:
                continue
            if kind is str and not key.isascii():  # pyright: ignore[reportAttributeAccessIssue]
                key = _plain_key(key)
            if key in known:
                self._tell_of_duplicate(key)
            else:
                know(key)
                append(key)
                yield item

    def has_met(self, at: int) -> bool:
        """Whether the item with this number, of the items in order, has come."""
        return at < len(self._order)

    def hand_out(self, item: Any) -> ItemKey | None:
        """The key of an *item* to work on; None if the item is done, or handed out already."""
        key = self._key(item)
        if self._unmet.pop(key, self) is None:
            return None
        if key in self._known or key in self._handed:
            self._tell_of_duplicate(key)
            return None
        self._handed.add(key)
        return key

    def hand_out_again(self, key: ItemKey) -> None:
        """Hand out an item that an earlier run gave up, even if the input has not come to it yet."""
        if key not in self._handed:
            self._handed.add(key)
            self._unmet[key] = None

    def _tell_of_duplicate(self, key: ItemKey) -> None:
        if not self._has_told:
            self._has_told = True
            _log.warning(
                "%s: several items have the key %s; only the first item of a key is done, the others are left out. If "
                "they are different work, give a unique key.",
                self._operation_id,
                shortened(key),
            )

    def add(self, key: ItemKey) -> None:
        """The item with *key*, which was handed out, is done."""
        if key not in self._known:
            self._known.add(key)
            self._order.append(key)

    def keys(self, position: int) -> list[ItemKey]:
        return self._order[:position]

    def item_at(self, position: int) -> ItemKey:
        order = self._order
        return order[min(position, len(order) - 1)] if order else 0

    def is_at(self, item: object, at: ItemKey) -> bool:
        try:
            return self._key(item) == at
        except Exception:  # an item of another loop, or none
            return False

    def identify(self, item: Any) -> ItemKey:
        """The key of *item*."""
        return self._key(item)

    def has_done(self, item: ItemKey, position: int) -> bool:
        return item in self._known and item not in self._order[position:]

    def count_left(self, position: int) -> int | None:
        if not isinstance(self._items, Collection):
            return None
        return len(set(map(self._key, self._items)).difference(self._order[:position]))

    def _key(self, item: Any) -> ItemKey:
        key = self._key_of(item)
        if type(key) is int or (type(key) is str and key.isascii()):
            return key
        return _plain_key(key)

    def as_now(self, position: int) -> Callable[[], dict[str, Any]]:
        order = self._order
        return lambda: {"by": "key", **packed(order[:position])}

    def changes(self, position: int) -> dict[str, Any]:
        return {"by": "key", "since": self._committed, "keys": self._order[self._committed : position]}

    def commit(self, changes: Saved) -> None:
        self._committed = max(self._committed, changes["since"] + len(changes["keys"]))


def merged(saved: Saved | None, changes: Iterable[Saved]) -> dict[str, Any]:
    """Merge *changes* into *saved*, in order; a repeated change does no harm. ValueError if they do not fit."""
    every = [*changes] if saved is None else [saved, *changes]
    if not every or any(one.get("by") != every[0].get("by") for one in every):
        raise ValueError("saved loop positions do not fit together")
    if every[0]["by"] == "key":
        keys = dict.fromkeys(key for one in every for key in keys_from(one))
        return {"by": "key", **packed(list(keys))}
    if "keys" in every[0]:  # the pages of a server
        keys = dict.fromkeys(key for one in every for key in keys_from(one))
        rest = {name: value for name, value in every[-1].items() if name not in ("keys", "ranges", "since")}
        return {**rest, "keys": [], **packed(list(keys))}
    samples = {one.position: one for form in every for one in fingerprint.samples_from(form["samples"])}
    kept = fingerprint.thinned(samples.values())
    return {**every[-1], "samples": [list(one) for one in kept]}


def key_function(key: Callable[[Any], Any] | str) -> Callable[[Any], Any]:
    """*key* itself, or a function that reads the field or attribute that it names; TypeError if it is neither."""
    if callable(key):
        return key
    if isinstance(key, str):
        return lambda item: item[key] if isinstance(item, Mapping) else _attribute(item, key)
    raise TypeError(f"key must be a function or the name of a field or attribute, not {key!r}")


def _differs_in_each_run(key: object) -> str | None:
    """The function whose result *key* is, if it is another one in each run: ``id``, or ``hash`` of text."""
    names = {"id": id, "hash": hash} if sys.flags.hash_randomization else {"id": id}
    code = getattr(key, "__code__", None)
    if code is None:
        return next((name for name, function in names.items() if key is function), None)
    used = [name for name in names if name in code.co_names and name not in key.__globals__]  # type: ignore[attr-defined]
    if not used:
        return None
    loads = {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}  # no attribute .id
    return next((name for name in used if name in loads), None)


def _attribute(item: Any, name: str) -> Any:
    try:
        return getattr(item, name)
    except AttributeError as error:
        error.add_note(f"resumable: key={name!r} names a field of the items; to name the loop, write name={name!r}")
        raise


def getter(field: str, item: Any) -> Callable[[Any], Any]:
    """A C function that reads *field* of objects such as *item*."""
    if isinstance(item, Mapping):
        return operator.itemgetter(field)
    return operator.attrgetter(field) if "." not in field else key_function(field)


def _plain_key(key: Any) -> ItemKey:
    if isinstance(key, str):
        check_unicode(key, f"the key {shortened(key)}", "give one that is, as key=ascii does")
        return str.__str__(key)
    if not isinstance(key, bool) and hasattr(type(key), "__index__"):
        return operator.index(key)
    raise TypeError(
        f"a key must be a str or an int, not {key!r} of type {type(key).__name__}; "
        "convert it, as in key=lambda item: str(item.id)"
    )


def packed(keys: Sequence[ItemKey]) -> dict[str, Any]:
    """The saved form of *keys*: numbers as ranges if that is shorter; everything else unchanged."""
    numbers = sorted(key for key in keys if type(key) is int and key >= 0)
    ranges = to_ranges(numbers)
    if 2 * len(ranges) >= len(numbers):
        return {"keys": keys}
    return {"keys": [key for key in keys if type(key) is str or key < 0], "ranges": ranges}  # type: ignore[operator]


def keys_from(saved: Saved) -> list[ItemKey]:
    """Read the keys of a saved form. Raises ValueError if it is malformed."""
    keys = saved.get("keys", [])
    if not isinstance(keys, list) or not all(type(key) is str or type(key) is int for key in keys):
        raise ValueError("saved keys must be a list of str and int")
    return [*keys, *from_ranges(saved.get("ranges", []))]


def to_ranges(numbers: Iterable[int]) -> list[list[int]]:
    """*numbers*, ascending, as ``[[first, last], ...]``, both ends included."""
    ranges: list[list[int]] = []
    last = None
    for number in numbers:
        if last is not None and number == last + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
        last = number
    return ranges


def from_ranges(ranges: Any) -> Iterator[int]:
    """The numbers that :func:`to_ranges` packed. Raises what :func:`count_in_ranges` raises."""
    count_in_ranges(ranges)  # wrong ranges would skip items silently
    return (number for first, last in ranges for number in range(first, last + 1))


def count_in_ranges(ranges: Any) -> int:
    """How many numbers *ranges* contain, without expanding them.

    Raises:
        ValueError: *ranges* cannot come from :func:`to_ranges`, or contain a number below 0.
    """
    if not isinstance(ranges, list) or not all(map(_is_range, ranges)):
        raise ValueError(f"done ranges must be pairs [first, last] with 0 <= first <= last, not {ranges!r:.80}")
    for (_, last), (first, _) in pairwise(ranges):
        if first <= last + 1:
            raise ValueError(f"done ranges must be sorted with gaps between: {first} follows {last}")
    return sum(last - first + 1 for first, last in ranges)


def _is_range(pair: object) -> bool:
    # Not isinstance, because True is an int, too.
    is_pair = isinstance(pair, list) and [*map(type, pair)] == [int, int]
    return is_pair and 0 <= pair[0] <= pair[1]  # type: ignore[index]
