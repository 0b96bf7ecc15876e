"""Tasks that are out: which items each one is about, and what came of it."""

from __future__ import annotations

from typing import Any

PENDING = object()


class Task:
    """What is out for one item.

    Attributes:
        result: What came of it, put here by a worker of this interpreter; as long as it is PENDING, the future knows.
    """

    __slots__ = ("item", "key", "result")

    def __init__(self, key: Any, item: Any) -> None:
        self.key, self.item, self.result = key, item, PENDING

    def __len__(self) -> int:
        """How many items it is about."""
        return 1

    def singly(self) -> list[Task]:
        """The same work, each item by itself, not begun."""
        return [Task(self.key, self.item)]


class Batch(Task):
    """What is out for several items: ``key``, ``item`` and ``result`` are theirs, in order."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.key)

    def singly(self) -> list[Task]:
        return list(map(Task, self.key, self.item))
