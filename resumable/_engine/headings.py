"""Headings of a program that ticks by hand: rows that each run writes before its loop, as the program begins anew.

A run that goes on has them already. They are told from rows of items by the bytecode: no loop and no ``if`` is around
the call that writes one, and a loop that ticks comes after it. Without such a loop, each run may add a row of its own.
Rows between a loop of the checkpoint and one that ticks may stand anywhere in a file, so the run that writes them notes
where.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator, Mapping
from itertools import takewhile
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from .._loops.places import place, program
from .._runtime.boundary import Noting
from .._runtime.interpreter import point_in, running_here

if TYPE_CHECKING:
    from .first_item import FirstItem
    from .parts import Parts

_WITHIN = 10_000
"""Bytes of a file, or entries of a log, that are searched for a heading."""

_MOST_KINDS = 16
"""So much is kept for one function of the program, which may be reached in many ways."""
_HANDLES = frozenset(("CLEANUP_THROW", "POP_EXCEPT"))
_HANDLERS_END = 5
"""Most instructions between these and the jump out of a handler."""

Branch = tuple[int, int, frozenset[str]]
"""From where to where code may be passed by, or run again; the names in it if that is a loop."""

Ticking = dict[tuple[object, ...], set[str]]
"""The names of the functions that tick, by the functions that are active."""


class Headings:
    """Leaves out headings that an earlier run has written, until the first tick or loop of this run.

    Args:
        parts: Of an operation that goes on.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._boundary = parts.cut.boundary
        self._expected = {name: [(0, min(end, _WITHIN))] for name, end in parts.ends().items()}

    def attend(self) -> None:
        """Look at each row from now on."""
        _ = self._parts.loops  # they would take this place
        self._set(self)

    def has(self, writer: Noting, row: Any, /) -> bool:
        """Whether *row* is a heading that *writer* has."""
        parts = self._parts
        again = parts.loops.running.again  # knows what is written around loops
        if parts.cut.ticker.ticked or any(view.has_begun for view in parts.loops.views.values()):
            if self._boundary.again is self:
                self._set(None)
                again.attend()
        elif _is_before_ticks(place.caller(), parts.opening[1]) and self._has(writer, row):
            return True
        return again.has_expected and again.has(writer, row)

    def _has(self, writer: Noting, row: Any) -> bool:
        where = self._expected.get(writer.known_as, [])
        return bool(where) and writer.is_there(row, where)

    def _set(self, again: Headings | None) -> None:
        with self._boundary.lock:
            self._boundary.again = again
            for writer in self._boundary.writers:
                writer.attend()


class BetweenLoops:
    """Notes rows that stand between a loop and one that ticks: a run that goes on writes them again.

    A loop that ticks tells where its items end, not where the first one begins. So look at each write.

    Args:
        parts: Of an operation with something to write to.
        first_item: Looks at each write until the first item has begun.

    Attributes:
        since: The count at the last of these rows that is not noted yet; None if there is none.
    """

    def __init__(self, parts: Parts, first_item: FirstItem | None) -> None:
        self._parts, self._first_item = parts, first_item
        self._boundary = parts.cut.boundary
        self._ticking: Ticking = {}
        self._has_both: bool | None = None
        self.since: int | None = None
        self._behind: object = None  # the loop before these rows
        self._ticked = 0

    def attend(self) -> None:
        """Look at each write from now on, if the program has both kinds of loops."""
        self._boundary.look_by(self.look)

    def look(self) -> None:
        """The program is about to write."""
        first, parts, boundary = self._first_item, self._parts, self._boundary
        if first is not None and not first.has_ended:
            first.look()
        if self._has_both is None:
            self._has_both = all(loop_kinds(place.caller(), parts.opening[1]))
            if not self._has_both:
                boundary.look_by(None if first is None or first.has_ended else first.look)
                return
        running = parts.loops.running
        if running.again.last is None or running_here() is not boundary.context or running.here()[0] is not None:
            self.since = None
        elif not is_in_ticks(place.caller(), parts.opening[1], self._ticking):
            self.since, self._behind, self._ticked = boundary.now(), running.again.last, parts.cut.ticker.ticked
            if boundary.wake is not None:
                boundary.wake()
        elif self.since is not None:
            self.note()
            boundary.move()
            parts.cut.has_ticked = True

    def note(self) -> None:
        """What was written before counts as these rows."""
        since, self.since = self.since, None
        again = self._parts.loops.running.again
        if since is not None and again.last is self._behind:
            again.outside(since)

    def note_tick(self) -> None:
        """The operation checks in. If a loop has ticked, its first item wrote nothing: these rows came before it."""
        if self.since is not None and self._parts.cut.ticker.ticked != self._ticked:
            self.note()


def _is_before_ticks(frame: FrameType, outside: place.Stack) -> bool:
    """Whether *frame* is at a call that each run makes once, and a loop behind it in the checkpoint's block ticks."""
    for here in place.frames(frame):
        opened = outside.get(place.address(here))
        code, at = point_in(here)
        branches = _branches_of(code) if place.call_at(here) else ()  # a decorator's loops are not the program's
        if any(start < at < stop and (opened is None or start > opened) for start, stop, _ in branches):
            return False
        if opened is not None:
            functions = program.codes_of_block(frame, outside)
            ticking = _ticking(functions)
            return any(
                not ticking.isdisjoint(names) and (one is not code or start > at)
                for one in functions
                for start, _, names in _branches_of(one)
            )
    return False


class LoopKinds(NamedTuple):
    """Which loops the checkpoint's block has, those in functions that it may call included.

    Attributes:
        has_own: Whether it has loops of a checkpoint, as over ``cp.remaining``.
        ticks: Whether it has loops that tick.
    """

    has_own: bool
    ticks: bool


def loop_kinds(frame: FrameType, outside: place.Stack) -> LoopKinds:
    """The kinds of loops in the block around *frame*."""
    active = ((id(code), opened) for code, opened in program.active_codes(frame, outside))
    functions_here = (id(one) for one in list(place.scope_of(frame).values()) if callable(one))
    known, key = _kinds_from(frame.f_code), (*active, *functions_here)  # one may be defined anew, or imported
    if key not in known:
        if len(known) >= _MOST_KINDS:
            known.clear()
        functions = program.codes_of_block(frame, outside)
        ticking = _ticking(functions)
        ticks = any(not ticking.isdisjoint(names) for one in functions for _, _, names in _branches_of(one))
        known[key] = LoopKinds(any(one.loops for one in functions.values()), ticks)
    return known[key]


@place.by_code
def _kinds_from(code: CodeType) -> dict[tuple[object, ...], LoopKinds]:
    """What :func:`loop_kinds` knows of a frame of *code*: a program may open thousands of checkpoints there."""
    return {}


def is_in_ticks(frame: FrameType, outside: place.Stack, known: Ticking) -> bool:
    """Whether a loop around *frame*, in the checkpoint's block, ticks. *known* is filled."""
    ticking: set[str] | None = None
    for here in place.frames(frame):
        opened = outside.get(place.address(here))
        code, at = point_in(here)
        for start, stop, names in _branches_of(code) if place.call_at(here) else ():
            if names and start <= at < stop and (opened is None or start > opened):
                ticking = ticking or _ticking_around(frame, outside, known)
                if not ticking.isdisjoint(names):
                    return True
        if opened is not None:
            break
    return False


def _ticking_around(frame: FrameType, outside: place.Stack, known: Ticking) -> set[str]:
    # The search takes half a millisecond, and a program may write a million records before its first tick.
    active = dict.fromkeys(program.active_codes(frame, outside))
    key = (len(place.scope_of(frame)), *active)  # an import may bring a function that ticks
    if key not in known:
        known[key] = _ticking(program.codes_of_block(frame, outside))
    return known[key]


def _ticking(functions: Mapping[CodeType, place.FunctionCalls]) -> set[str]:
    """The names of those of *functions* that tick, also by a call of another one; and that of the tick."""
    names = {"tick"}
    while more := {code.co_name for code, calls in functions.items() if names & calls.names} - names:
        names |= more
    return names


@place.by_code
def _branches_of(code: CodeType) -> list[Branch]:
    return [*_read(code)]


def _read(code: CodeType) -> Iterator[Branch]:
    steps = [one for one in dis.get_instructions(code) if one.opname not in ("CACHE", "EXTENDED_ARG")]
    for number, one in enumerate(steps):
        if one.opcode not in dis.hasjrel or one.opname.startswith(("SEND", "JUMP_FORWARD")):
            continue
        # What handles an error stands at the end, from 3.12 on, and jumps back into the middle.
        before = (each.opname for each in steps[max(0, number - _HANDLERS_END) : number][::-1])
        if _HANDLES.isdisjoint(takewhile(lambda name: name != "END_SEND", before)):
            start, stop = sorted((one.offset, one.argval))
            inside = (step.argval for step in steps if start <= step.offset < stop) if start < one.offset else ()
            yield start, stop, frozenset(name for name in inside if isinstance(name, str))
