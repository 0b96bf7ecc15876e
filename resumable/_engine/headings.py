"""Headings of a program that ticks by hand: rows that each run writes before its loop, as the program begins anew.

A run that goes on has them already. They are told from rows of items by the bytecode: no loop and no ``if`` is around
the call that writes one, and the ticks come after it.
"""

from __future__ import annotations

import dis
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from .._loops import place, program
from .._runtime.boundary import Noting, Where
from .._runtime.interpreter import point_in

if TYPE_CHECKING:
    from .parts import Parts

_WITHIN = 10_000
"""A heading is looked for in so many bytes of a file, or entries of a log."""

_HANDLES = frozenset(("CLEANUP_THROW", "POP_EXCEPT"))
_HANDLERS_END = 5
"""So many instructions, at most, lie between these and the jump out of a handler."""

_branches: dict[int, tuple[Callable[[], CodeType | None], list[tuple[int, int]]]] = {}


class Headings:
    """Leaves out headings that an earlier run has written, until the first tick or loop of this run.

    Args:
        parts: Of an operation that goes on, and whose earlier runs have made no loop.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._boundary = parts.cut.boundary
        self._expected: dict[str, Where] = {}

    def attend(self) -> None:
        """Look at each row from now on."""
        _ = self._parts.loops  # they would take this place
        self._set(self)

    def has(self, writer: Noting, row: Any, /) -> bool:
        """Whether *row* is a heading that *writer* has."""
        parts = self._parts
        if parts.cut.ticker.ticked or any(view.has_begun for view in parts.loops.views.values()):
            if self._boundary.again is self:
                self._set(None)
            return False
        if not _is_before_ticks(place.caller(), parts.opening[1]):
            return False
        where = self._expected.setdefault(writer.known_as, [(0, _WITHIN)])
        return len(where) > 0 and writer.is_there(row, where)

    def _set(self, again: Headings | None) -> None:
        with self._boundary.lock:
            self._boundary.again = again
            for writer in self._boundary.writers:
                writer.attend()


def _is_before_ticks(frame: FrameType, outside: place.Stack) -> bool:
    """Whether *frame* is at a call that each run makes once, and the checkpoint's block ticks behind it."""
    for here in place.frames(frame):
        opened = outside.get(place.address(here))
        code, at = point_in(here)
        if any(start < at < stop and (opened is None or start > opened) for start, stop in _branches_of(code)):
            return False
        if opened is not None:
            others = program.functions_of_block(frame, outside, ())
            inner = any("tick" in one.names for one in others if one is not place.calls_in(code, opened))
            return inner or any(one.argval == "tick" for one in dis.get_instructions(code) if one.offset > at)
    return False


def _branches_of(code: CodeType) -> list[tuple[int, int]]:
    """From where to where code may be passed by, or run again."""
    number = id(code)
    known = _branches.get(number)
    if known is None or known[0]() is not code:
        gone = weakref.ref(code, lambda _: _branches.pop(number, None))
        known = _branches[number] = gone, [*_read(code)]
    return known[1]


def _read(code: CodeType) -> Iterator[tuple[int, int]]:
    steps = [one for one in dis.get_instructions(code) if one.opname != "CACHE"]
    for number, one in enumerate(steps):
        if one.opcode not in dis.hasjrel or one.opname.startswith(("SEND", "JUMP_FORWARD")):
            continue
        # What handles an error stands at the end, from 3.12 on, and jumps back into the middle.
        if _HANDLES.isdisjoint(before.opname for before in steps[max(0, number - _HANDLERS_END) : number]):
            yield min(one.offset, one.argval), max(one.offset, one.argval)
