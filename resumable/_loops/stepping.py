"""Iteration in Python steps, plain or async: what each step does besides getting the item."""

from __future__ import annotations

from typing import Any, TypeVar

from . import sources
from .by_position import Ledger
from .loop import Loop

T = TypeVar("T")


class Stepping(Loop[T]):
    """One step in Python an item; whoever steps asks the owner when :meth:`_ask` says so.

    Before that, the item to come is taken off the input: nothing is saved or waited for after the last one.
    """

    def __init__(self, items: Any, owner: Any, ledger: Ledger, name: str) -> None:
        self._done = 0
        self._is_out = False
        self._left = 0
        self._has_begun = False
        self._ahead: list[T] = []
        super().__init__(items, owner, ledger, name)

    def done(self) -> int:
        return self._done

    def _ask(self) -> bool:
        """The loop asks for an item, so the one before is done. Whether the owner wants to be asked first."""
        if self._is_out:
            self._is_out = False
            self._ledger.finish()
            self._done += 1
            self._left -= 1
        if not self._has_begun:
            self._has_begun = True
            self._owner.register(self)
        if self._left > 0 and self._flags:
            return False
        self._flags = [True]
        return not self.is_finished

    def _offer(self, item: T) -> bool:
        self._is_out = self._ledger.offer(item)
        return self._is_out

    def _check_alive(self, source: object) -> None:
        if self._has_begun and not self.is_finished and sources.is_dead(source):
            raise cut_short()


def cut_short() -> RuntimeError:
    """What is raised when iteration is taken up again over an input that died."""
    return RuntimeError(
        "this loop was cut short by an error in its input or in a save, and an item may have been lost with it; "
        "call remaining() again with a fresh input"
    )
