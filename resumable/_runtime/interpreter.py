"""What keeps the garbage collector from walking, again and again, a million objects that cannot be garbage."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable
from typing import Any


def has_gil() -> bool:
    """Whether this is CPython with its global lock: reference counts are true, switches come between calls only."""
    return sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


class collector_paused:
    """No collection while many objects are made that all stay."""

    __slots__ = ("_was_enabled",)

    def __enter__(self) -> None:
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *error: object) -> None:
        if self._was_enabled:
            gc.enable()


@functools.cache
def untracker() -> Callable[[Any], None]:
    """What takes an object out of the garbage collector's sight.

    The collector does not look at a plain dict of numbers and strings, but at each instance of a subclass: with
    100,000 frozen records a full collection stops the program five times as long. They can be no part of a cycle.
    """
    if not has_gil():
        return lambda _: None
    try:
        import ctypes  # not worth loading before there is a collection

        untrack = ctypes.pythonapi.PyObject_GC_UnTrack
    except (ImportError, AttributeError):
        return lambda _: None
    untrack.argtypes = [ctypes.py_object]
    untrack.restype = None
    return untrack
