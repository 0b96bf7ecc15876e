"""Whether only one thread runs Python code at a time."""

from __future__ import annotations

import sys


def has_gil() -> bool:
    """Whether this is CPython with its global lock: reference counts are true, switches come between calls only."""
    return sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
