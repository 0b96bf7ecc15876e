"""Marks of what changed: taken by a save, then settled, or put back when the save failed."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .changes import about_bytes

F = TypeVar("F", bound=Callable[..., Any])


class Marked:
    """What the durable dict and set share; see ``Collection`` for the contract of its methods.

    Writers take no lock. A mutator tests, marks in ``_changed``, and then makes the change by one call into C: on
    CPython no other thread and no signal handler runs in between, since it switches only after a call, at a jump
    back and at a function's start. The lock is among those that take.
    """

    if not TYPE_CHECKING:  # A mixin needs empty slots; the attributes below are slots of the classes that use it.
        __slots__ = ()

    _changed: dict[Any, Any]
    _taken: Any
    _lock: threading.RLock

    def changed_bytes(self) -> int:
        with self._lock:
            return about_bytes(len(self._changed), self._changed.items())

    def take_changes(self) -> dict[str, Any] | None:
        with self._lock:
            self._take()
            return self._told(self._taken) if self._taken else None

    def settle(self) -> None:
        self._taken = None

    def put_back(self) -> None:
        with self._lock:
            if self._taken:
                self._mark_again(self._marks_of(self._taken))
            self._taken = None

    def _take(self) -> None:
        if self._taken:
            raise RuntimeError("an earlier take is neither settled nor put back")
        self._taken = self._collect()

    def _mark_again(self, taken: dict[Any, Any]) -> None:
        for key, mark in taken.items():
            self._changed.setdefault(key, mark)  # A newer mark stands.

    def _drained(self) -> dict[Any, Any]:
        """Take all marks off. No thread is between reading ``_changed`` and marking in it."""
        marked, self._changed = self._changed, {}
        return marked

    def _collect(self) -> Any:
        """What is marked, the marks taken off; something false if nothing is."""
        raise NotImplementedError

    def _marks_of(self, taken: Any) -> dict[Any, Any]:
        """The marks to be set again for what was taken."""
        raise NotImplementedError

    def _told(self, taken: Any) -> dict[str, Any]:
        raise NotImplementedError


def run_alone(method: F) -> F:
    """*method* under its object's lock, for Pythons that may switch threads anywhere."""

    @functools.wraps(method)
    def alone(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            return method(self, *args, **kwargs)

    return alone  # type: ignore[return-value]
