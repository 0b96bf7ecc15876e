"""What of a loop's input is done, by key: order may change, items may come and go."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from . import fingerprint
from .by_position import Saved, opened
from .ranges import Ranges


class KeyLedger:
    """Done is a set of keys. The first item of a key counts; later ones are left out.

    Args:
        key: Gives an item's str or int, or names the item's field or attribute that holds it.

    Raises:
        InputChangedError: If *saved* was made by position.
        ValueError: If *saved* cannot have come from a ledger.
    """

    def __init__(self, operation_id: str, saved: Saved | None, key: Callable[[Any], Any] | str) -> None:
        self._key_of = key_function(key)
        # Append-only, so that a save in another thread can copy it at any moment.
        self._order = keys_from(opened(operation_id, saved, "key"))
        self._done = set(self._order)
        if len(self._done) < len(self._order):
            raise ValueError("a saved key stands twice")
        self.start = self._settled = len(self._order)
        self._offered: str | int = 0
        self.total: int | None = None

    def __contains__(self, key: object) -> bool:
        return key in self._done

    def offer(self, item: Any) -> bool:
        self._offered = self._checked_key(item)
        return self._offered not in self._done

    def finish(self) -> None:
        self.add(self._offered)

    @property
    def done(self) -> int:
        """How many keys are done over all runs."""
        return len(self._order)

    def add(self, key: str | int) -> None:
        """*key* is done."""
        if key not in self._done:
            self._done.add(key)
            self._order.append(key)

    def pass_by(self, item: Any) -> None:
        """By key nothing is left out unseen."""

    def count_left(self, items: Collection[Any]) -> int:
        """How many of *items* are to do; goes through them all."""
        return len({self._checked_key(item) for item in items} - self._done)

    def _checked_key(self, item: Any) -> str | int:
        key = self._key_of(item)
        return key if type(key) is str or type(key) is int else _plain_key(key)

    def to_dict(self, position: int) -> dict[str, Any]:
        return {"by": "key", **packed(self._order[:])}

    def as_now(self, position: int) -> Callable[[], dict[str, Any]]:
        count = len(self._order)
        return lambda: {"by": "key", **packed(self._order[:count])}

    def changes(self, position: int) -> dict[str, Any]:
        return {"by": "key", "since": self._settled, "keys": self._order[self._settled :]}

    def settle(self, changes: Saved) -> None:
        self._settled = max(self._settled, changes["since"] + len(changes["keys"]))


def merged(saved: Saved | None, changes: Iterable[Saved]) -> dict[str, Any]:
    """The saved form after all *changes*, in their order; giving one twice does no harm.

    Raises:
        ValueError: If they do not fit together.
    """
    every = [*([] if saved is None else [saved]), *changes]
    if not every or any(one.get("by") != every[0].get("by") for one in every):
        raise ValueError("saved loop positions do not fit together")
    if every[0]["by"] == "key":
        keys = dict.fromkeys(key for one in every for key in keys_from(one))
        return {"by": "key", **packed(list(keys))}
    samples = {one.position: one for form in every for one in fingerprint.samples_from(form["samples"])}
    kept = fingerprint.thinned(samples.values())
    return {**every[-1], "samples": [list(one) for one in kept]}


def key_function(key: Callable[[Any], Any] | str) -> Callable[[Any], Any]:
    """*key* itself, or what looks up the field or attribute that it names."""
    if callable(key):
        return key
    if isinstance(key, str):
        return lambda item: item[key] if isinstance(item, Mapping) else getattr(item, key)
    raise TypeError(f"key must be a function or the name of a field or attribute, not {key!r}")


def _plain_key(key: Any) -> str | int:
    if isinstance(key, str):
        return str.__str__(key)
    if not isinstance(key, bool) and hasattr(type(key), "__index__"):
        return operator.index(key)
    raise TypeError(
        f"a key must be a str or an int, not {key!r} of type {type(key).__name__}; "
        "make it one, as in key=lambda item: str(item.id)"
    )


def packed(keys: list[str | int]) -> dict[str, Any]:
    """Numbers as ranges, where that is shorter; all else as it is."""
    ranges = Ranges(key for key in keys if type(key) is int and key >= 0)
    pairs = ranges.to_list()
    if 2 * len(pairs) >= len(ranges):
        return {"keys": keys}
    return {"keys": [key for key in keys if type(key) is str or key < 0], "ranges": pairs}  # type: ignore[operator]


def keys_from(saved: Saved) -> list[str | int]:
    keys = saved.get("keys", [])
    if not isinstance(keys, list) or not all(type(key) is str or type(key) is int for key in keys):
        raise ValueError("saved keys must be a list of str and int")
    return [*keys, *Ranges.from_list(saved.get("ranges", []))]
