"""The durable collections, by kind."""

from __future__ import annotations

from typing import Any

from .dict import DurableDict
from .log import DurableLog
from .set import DurableSet

Durable = DurableDict | DurableSet | DurableLog

_KINDS: dict[str, type[DurableDict] | type[DurableSet] | type[DurableLog]] = {
    "mapping": DurableDict,
    "set": DurableSet,
    "log": DurableLog,
}


def kind_of(collection: Durable) -> str:
    """By which name a collection's kind is saved."""
    return next(kind for kind, cls in _KINDS.items() if isinstance(collection, cls))


def make(kind: str, loaded: Any, path: str) -> Durable:
    """The collection of that *kind* that holds what was *loaded*, None for an empty one.

    Raises:
        ValueError: There is no such kind.
        TypeError: What was loaded does not fit it.
    """
    cls = _KINDS.get(kind)
    if cls is None:
        raise ValueError(f"{path} is a collection of unknown kind {kind!r}")
    return cls(loaded, path=path)
