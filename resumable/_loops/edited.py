"""After an edit of the program: finds the saved loop that a new line of code continues."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence, Set
from itertools import pairwise
from types import FrameType
from typing import NamedTuple

from .._errors import InputChangedError
from .._text import command_for
from .places import place, program
from .sites import Level, Site
from .view import LoopView

_log = logging.getLogger("resumable")
_ALIKE = 0.5
_NAMES = "'name'"
_TRIES_AGAIN = "'retry_failed'"
"""A call with this argument means a saved loop."""


class _Others(NamedTuple):
    """Other code in the program that could be a saved loop.

    Attributes:
        functions: The functions that the block may call.
        known: Calls that lead to loops whose place is saved.
        loops: All other calls that make loops.
    """

    functions: Sequence[place.FunctionCalls]
    known: frozenset[str]
    loops: frozenset[str]

    def routes(self, saved: str, where: str) -> frozenset[str]:
        """Other calls that may lead to the loop at *where*, instead of those that led to *saved*."""
        before, found = place.calls_of(saved), set[str]()
        for outer, inner in pairwise(place.calls_of(where)):
            if outer not in before:
                called = place.function_of(inner).rpartition(".")[2]
                leading = {call for one in self.functions for call in one.leading_to(called)} - self.known
                # In a generator, the place also contains the for around the call, which is found once, too.
                is_itself = outer.endswith("~") and len(leading) == 1
                found |= set() if is_itself else leading
        return frozenset(found)

    def has_another(self, saved: str, where: str) -> bool:
        """Whether *saved* had equal lines beside it, or its line is in this block and is not the one at *where*."""
        if saved.startswith("="):
            return any(_may_be_named(loop, saved[1:]) for one in self.functions for loop in one.loops)
        if not place.may_be_of_one_block(saved, where):
            return False
        before = place.last_call(saved)
        is_there = before != place.last_call(where) and any(before in one.loops for one in self.functions)
        return is_there or not place.is_only_one(saved)

    def like(self, saved: str, where: str, new: Set[str], least: float) -> list[str]:
        """The loops that resemble *saved* as much as the one at *where* does."""
        before = place.last_call(saved)
        loops = [loop for loop in self.loops if place.likeness(before, loop, without=frozenset(new)) >= least]
        return sorted([*loops, *self.routes(saved, where)])


def moved_from(
    level: Level,
    where: str,
    frame: FrameType,
    outside: place.Stack,
    *,
    name: str | None,
    is_only_saved: bool,
    operation_id: str,
) -> Site | None:
    """The site where the loop made at *where* was left, if its line was edited; None if the loop is new.

    Only saved loops that are no longer in the program are considered, and none of another function that still exists.

    Args:
        frame: The frame that makes the loop.
        outside: The stack when the checkpoint was opened.
        name: The user's name for it; a loop that only received a name continues.
        is_only_saved: Whether the checkpoint has just one place.

    Raises:
        InputChangedError: Several loops are possible, or one that is not similar enough.
    """
    new = frozenset() if name is None else frozenset({_NAMES, place.word(repr(name))})
    unmet = list(level.not_made())
    gone = [site for site in unmet if not site.is_named and _is_gone(site.key, where, frame, outside)]
    may_be_only_one = is_only_saved and name is None and len(unmet) == 1 and (gone or unmet[0].is_named)
    if not gone and not may_be_only_one:
        return None
    others = _others(level, where, frame, outside)
    may_be_only_one = may_be_only_one and not others.has_another(unmet[0].key, where)
    if may_be_only_one and not (others.loops or others.routes(unmet[0].key, where)):
        is_unlike = place.likeness(unmet[0].key, where) < _ALIKE and _TRIES_AGAIN not in place.names_of(where)
        if is_unlike and _is_over(unmet[0]):
            raise _doubt(operation_id, where, unmet)  # taking its place would skip all items
        return _adopted(unmet[0], where)
    if not gone:
        return None
    alike = [site for site in gone if place.likeness(site.key, where, without=new) >= _ALIKE]
    same = [site for site in gone if place.likeness(site.key, where, without=new) == 1]
    rivals: list[str] = []
    if not alike:
        if name is not None or not any(_is_in_one_function(site.key, where) for site in gone):
            return None  # a loop was removed elsewhere: the end of the run reports it
    else:
        (found, *more) = same if len(same) == 1 else gone
        rivals = others.like(found.key, where, new, 1 if found in same else _ALIKE)
        is_clear = not more and not rivals and _are_unique(found.key, where)
        if is_clear and _may_have_moved(found.key, where, frame):
            return _adopted(found, where)
    raise _doubt(operation_id, where, gone, rivals)


def check_body(site: Site, frame: FrameType, outside: place.Stack, *, operation_id: str) -> None:
    """Check that a loop at the first of several equal lines is not that of another one now, by the bodies.

    Raises:
        InputChangedError: Another line has the body that this one had.
    """
    bodies = place.calls_around(frame, outside).bodies
    body = place.body_at(site.key, frame, outside)
    if site.body not in ("", body) and site.body in [bodies[one] for one in _equal_lines(site.key, bodies)]:
        where = f"the loop {_shown(site)}{_among(site.key)} has done items, and another such line stands there now"
        raise _which(operation_id, [where], [site])
    site.body = body


def _equal_lines(where: str, lines: Iterable[str]) -> list[str]:
    text = place.last_call(where).rpartition("#")[0]
    return [one for one in lines if one.rpartition("#")[0] == text]


def check_nesting(
    views: Sequence[LoopView], level: Level, where: str, frame: FrameType, outside: place.Stack, *, operation_id: str
) -> None:
    """Check that the new loop at *where* is none that was left at another depth: now a loop is around it, or none.

    Args:
        views: The loops of earlier runs.
        level: Where the new loop is.
        frame: The frame that makes it.
        outside: The stack when the checkpoint was opened.

    Raises:
        InputChangedError: It may be one.
    """
    whole = ""
    for view in views:
        saved = view.identity.place
        if saved is None or view.identity.within == level.within or not is_lost_with_outer(view):
            continue
        is_like = place.likeness(saved, where) >= _ALIKE and not program.is_in_program(saved, frame, outside)
        whole = whole or _from_block(where, level.outer)
        if is_like or _from_block(saved, view.outer) == whole:
            raise _doubt_depth(operation_id, where, view)


def _from_block(where: str, outer: LoopView | None) -> str:
    """The calls to the loop at *where* from the checkpoint's block on, through those to the loops around it."""
    while outer is not None:
        around = outer.identity.place or ""
        if where.partition(":")[0] == place.function_of(around) and place.BETWEEN in around:
            where = f"{around.rpartition(place.BETWEEN)[0]}{place.BETWEEN}{where}"
        outer = outer.outer
    return where


def is_lost_with_outer(view: LoopView) -> bool:
    """Whether *view* is a loop of an earlier run with done items, and this run has made none of the loops around it.

    If one of those has done items, it stands for *view*.
    """
    if view.is_dropped or view.is_gone or not view.is_unmet:
        return False
    around = view.outer.line() if view.outer is not None else ()
    return not any(one.was_met or one.is_unmet for one in around)


def _others(level: Level, where: str, frame: FrameType, outside: place.Stack) -> _Others:
    keys = [site.key for site in level.sites.values()]
    known = frozenset(call for key in (where, *keys) for call in place.calls_of(key))
    names = {place.word(repr(key[1:])) for key in keys if key.startswith("=")}
    near = [site.key for site in level.not_made() if place.may_be_of_one_block(site.key, where)]
    saved = {place.function_of(call) for key in near for call in place.calls_of(key)}
    functions = program.functions_of_block(frame, outside, saved)
    loops = {loop for one in functions for loop in one.loops if names.isdisjoint(place.names_of(loop))}
    return _Others(functions, known, frozenset(loops - known))


def _may_be_named(loop: str, name: str) -> bool:
    """Whether the call *loop* gives that name: a text, or an f-string with a part of it."""
    words = place.names_of(loop)
    return _NAMES in words and any(word[1:-1] in place.word(name) for word in words - {_NAMES} if word[0] in "'\"")


def _is_over(site: Site) -> bool:
    return all(view.is_finished for view in site.unmet())


def _is_gone(saved: str, where: str, frame: FrameType, outside: place.Stack) -> bool:
    """Whether *saved* is no longer in the program, or is in another block than *where*."""
    return not place.may_be_of_one_block(saved, where) or not program.is_in_program(saved, frame, outside)


def _may_have_moved(saved: str, where: str, frame: FrameType) -> bool:
    """Whether *saved* was in the function of *where*, in a function that no longer exists, or in another block."""
    is_near = _is_in_one_function(saved, where) or not place.may_be_of_one_block(saved, where)
    return is_near or not any(program.codes_of(place.function_of(saved), frame))


def _is_in_one_function(saved: str, where: str) -> bool:
    return place.function_of(saved) == place.function_of(where)


def _are_unique(*places: str) -> bool:
    return all(map(place.is_only_one, places))


def _adopted(site: Site, where: str) -> Site:
    _log.warning(
        "the loop %s goes on where the loop %s was left, because that line is no longer there",
        place.shown(where),
        _shown(site),
    )
    return site


def _shown(site: Site) -> str:
    return site.key if site.is_named else place.shown(site.key)


def _among(saved: str) -> str:
    """Which of several equal lines *saved* was."""
    number, _, of = saved.rpartition("#")[2].partition("/")
    return "" if saved.startswith("=") or not of.isdecimal() or of == "1" else f", number {number} of {of} such lines,"


def _doubt_depth(operation_id: str, where: str, view: LoopView) -> InputChangedError:
    depth = "was inside of another loop" if view.outer is not None else "had no loop around it"
    return InputChangedError(
        operation_id,
        [f"the loop {place.shown(where)} is new", f"{view.told()}, {depth}"],
        [
            "put the lines back as they were",
            "if it is another loop, begin it anew:  name= with a name of your own",
            f"start over:  {command_for('rm', operation_id)}",
        ],
        f"the program of {operation_id!r} was edited, so it is not known which loop is which.",
    )


def _doubt(operation_id: str, where: str, gone: Sequence[Site], rivals: Sequence[str] = ()) -> InputChangedError:
    differences = [
        f"the loop {place.shown(where)} is new",
        *(f"the loop {_shown(site)}{_among(site.key)} has done items, and is no longer there" for site in gone),
        *(f"{place.shown(rival)} is new, too" for rival in rivals),
    ]
    return _which(operation_id, differences, gone)


def _which(operation_id: str, differences: list[str], gone: Sequence[Site]) -> InputChangedError:
    names = [view.name for site in gone for view in site.unmet()]
    return InputChangedError(
        operation_id,
        differences,
        [
            *(f"if it is the loop {name!r} of before, go on there:  name={name!r}" for name in names),
            "if it is another loop, begin it anew:  name= with a name of your own",
            "put the lines back as they were",
            f"start over:  {command_for('rm', operation_id)}",
        ],
        f"the program of {operation_id!r} was edited, so it is not known which loop is which; nothing was done.",
    )
