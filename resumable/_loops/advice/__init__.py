"""Warnings of programs whose results would be wrong after a kill, read from their text and bytecode.

What cannot be read is not warned of; only ``gathering`` refuses what it sees. Read ``bodies`` first, which looks at the
body of a loop that begins, and detects what would be lost. ``gathering`` detects who takes all items before the work on
any, ``pairs`` who takes several off one iterator, ``handed_on`` who puts them into a pool, a queue or a transaction.
``begun_anew`` warns of what a run that goes on begins anew: ``flow`` reads a body in its order, ``carried`` which
variables it carries on, ``reach`` whether that gets into a result, ``harmless`` what never does, ``helpers`` what its
functions add to, and ``shared`` whether other functions use it. A warning that is wrong once is not read again: what is
only printed, timed or slept is left alone. ``ticking`` does so for programs that tick. ``written`` finds a loop in the
program's text.
"""

__all__ = [
    "begun_anew",
    "bodies",
    "carried",
    "flow",
    "gathering",
    "handed_on",
    "harmless",
    "helpers",
    "pairs",
    "reach",
    "shared",
    "ticking",
    "written",
]
