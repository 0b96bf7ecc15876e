"""What a save took of a durable mapping."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import repeat
from operator import is_
from typing import Any, Final

from ._frozen import FrozenList, freeze_checked, hide_few
from ._plain import check

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
