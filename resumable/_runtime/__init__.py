"""The machine below, and the only room that knows tricks of the interpreter.

Read ``steps`` first: code for sync and async callers alike, written once. ``clock`` tells the time and wakes,
``signals`` asks a loop to stop, ``disk`` replaces files whole or adds to them, ``trees`` is for whole directories.
``current`` is the checkpoint of this thread or task, ``observer`` is how others watch all operations, ``boundary``
tells done items from the unfinished one, ``interpreter`` is what is true of CPython only, ``jobs`` asks when the batch
system ends this job, ``processes`` whether another process has ended, ``terminal`` what a terminal understands.
"""

__all__ = [
    "boundary",
    "clock",
    "current",
    "disk",
    "interpreter",
    "jobs",
    "observer",
    "processes",
    "signals",
    "steps",
    "terminal",
    "trees",
]
