"""The machine below, and the only room that knows tricks of the interpreter.

Read ``steps`` first: code for sync and async callers alike, written once. ``clock`` tells the time and wakes,
``signals`` asks a loop to stop, ``disk`` replaces files whole or not at all. ``current`` is the checkpoint of this
thread or task, ``observer`` is how others watch all operations, ``interpreter`` what is true of CPython only.
"""

__all__ = ["clock", "current", "disk", "interpreter", "observer", "signals", "steps"]
