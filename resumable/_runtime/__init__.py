"""The machine below: clock, signals, disk, terminal. The only room that knows tricks of the interpreter.

Read ``steps`` first: code for sync and async callers, written once. ``clock`` tells the time and sets alarms,
``signals`` asks a loop to stop, ``disk`` replaces files or appends to them, ``owned`` keeps others from a file,
``trees`` handles whole directories, ``paths`` makes a path absolute. ``current`` is the checkpoint of this thread or
task, ``observer`` the interface to watch all operations, ``boundary`` separates done items from the unfinished one,
``interpreter`` holds what is true of CPython only, ``dicts`` what a dict tells of its keys, ``jobs`` asks when the
batch system ends this job, ``processes`` whether another process has ended, ``groups`` ends commands when this process
is killed, ``terminal`` tells what a terminal supports.
"""

__all__ = [
    "boundary",
    "clock",
    "current",
    "dicts",
    "disk",
    "groups",
    "interpreter",
    "jobs",
    "observer",
    "owned",
    "paths",
    "processes",
    "signals",
    "steps",
    "terminal",
    "trees",
]
