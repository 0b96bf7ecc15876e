"""Tasks that are out: which items each one is about, and what came of it."""

from __future__ import annotations

from typing import Any

PENDING = object()


class Flight:
    """One task that is out, for one item.

    Attributes:
        result: What came of it, put here by a worker of this interpreter; as long as it is PENDING, the future knows.
    """

    __slots__ = ("item", "key", "result")

    def __init__(self, key: Any, item: Any) -> None:
        self.key, self.item, self.result = key, item, PENDING

    def singly(self) -> list[Flight]:
        """The same work, each item by itself, not begun."""
        return [Flight(self.key, self.item)]


class Batch(Flight):
    """One task that is out, for several items: it has their keys, the items, and their results."""

    __slots__ = ()

    def singly(self) -> list[Flight]:
        return list(map(Flight, self.key, self.item))
