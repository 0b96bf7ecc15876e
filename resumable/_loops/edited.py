"""After an edit of the program: which saved loop is the one that is made now?"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType, FrameType
from typing import Any

from .._errors import InputChangedError
from .._text import command_for
from . import place
from .sites import Level, Site

_log = logging.getLogger("resumable")
_ALIKE = 0.5


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
    """The site where the loop that is made at *where* was left, if its line was edited; None if the loop is new.

    Only loops count that are no longer in the program. One in another function that still exists is none of them.

    Args:
        frame: Makes the loop.
        outside: The stack when the checkpoint was opened.
        name: What the user gave it; a line that was only given a name goes on.
        is_only_saved: Whether one place is all that the checkpoint has.

    Raises:
        InputChangedError: Several could be meant, or one that is not much like it.
    """
    new = frozenset() if name is None else frozenset({"'name'", repr(name)})
    unmet = list(level.not_made())
    gone = [site for site in unmet if not site.is_named and _is_gone(site.key, where, frame, outside)]
    other_loops = place.calls_around(frame, outside).loops - {place.last_call(where)}
    is_only_one = is_only_saved and name is None and not other_loops
    if is_only_one and len(unmet) == 1 and (gone or unmet[0].is_named):
        return _told(unmet[0], where)
    if not gone:
        return None
    alike = [site for site in gone if place.likeness(site.key, where, without=new) >= _ALIKE]
    same = [site for site in gone if place.likeness(site.key, where, without=new) == 1]
    if not alike:
        if name is not None or not any(_is_in_one_function(site.key, where) for site in gone):
            return None  # a loop was taken out elsewhere: it is told of at the end
    else:
        (found, *others) = same if len(same) == 1 else gone
        if not others and _may_have_moved(found.key, where, frame) and _are_unique(found.key, where):
            return _told(found, where)
    raise _doubt(operation_id, where, gone)


def _is_gone(saved: str, where: str, frame: FrameType, outside: place.Stack) -> bool:
    """Whether it is no longer in the program, or stands in another block than *where*."""
    return not place.may_be_of_one_block(saved, where) or not is_in_program(saved, frame, outside)


def _may_have_moved(saved: str, where: str, frame: FrameType) -> bool:
    """Whether it was in the function of *where*, in one that is no longer there, or in another block."""
    is_near = _is_in_one_function(saved, where) or not place.may_be_of_one_block(saved, where)
    return is_near or not any(codes_of(place.function_of(saved), frame))


def _is_in_one_function(saved: str, where: str) -> bool:
    return place.function_of(saved) == place.function_of(where)


def _are_unique(*places: str) -> bool:
    return all(map(place.is_only_one, places))


def _told(site: Site, where: str) -> Site:
    was = site.key if site.is_named else place.shown(site.key)
    _log.warning("the loop %s goes on where %s was left, whose line is no longer there", place.shown(where), was)
    return site


def _doubt(operation_id: str, where: str, gone: Sequence[Site]) -> InputChangedError:
    names = [view.name for site in gone for view in site.unmet()]
    return InputChangedError(
        operation_id,
        [
            f"the loop {place.shown(where)} is new",
            *(f"the loop {place.shown(site.key)} has a place and is no longer in the program" for site in gone),
        ],
        [
            *(f"it is the loop {name!r} of before, go on there:  name={name!r}" for name in names),
            "it is another one, begin it anew:  name= with a name of your own",
            "put the lines back as they were",
            f"start over:  {command_for('rm', operation_id)}",
        ],
        f"the program of {operation_id!r} was edited, and it cannot be said which loop is which; nothing was done.",
    )


# -- what is still in the program ------------------------------------------------------------------------------------


def is_in_program(where: str, frame: FrameType, outside: place.Stack) -> bool:
    """Whether each call of *where* still stands in its function, as far as that is found from *frame*."""
    return all(call.endswith("~") or _stands(call, frame, outside) for call in where.split(place.BETWEEN))


def _stands(call: str, frame: FrameType, outside: place.Stack) -> bool:
    function = place.function_of(call)
    for here in place.frames(frame):
        if here.f_code.co_qualname == function:
            return call in place.calls_around(here, outside).calls
    return any(call in place.calls_in(code).calls for code in codes_of(function, frame))


def codes_of(function: str, frame: FrameType) -> Iterator[CodeType]:
    """The code of each function with that qualified name: on the stack, in the module of *frame*, in other modules."""
    yield from (here.f_code for here in place.frames(frame) if here.f_code.co_qualname == function)
    modules = [vars(module) for module in list(sys.modules.values()) if hasattr(module, "__dict__")]
    for scope in (place.scope_of(frame), *modules):
        if (code := _code_in(scope, function.split("."))) is not None:
            yield code


def _code_in(scope: Mapping[str, Any], steps: list[str]) -> CodeType | None:
    found: Any = scope.get(steps[0])
    for step in (None, *steps[1:]):
        if step == "<locals>":
            continue
        if isinstance(found, CodeType):
            inner = [one for one in found.co_consts if isinstance(one, CodeType) and one.co_name == step]
            found = inner[0] if len(inner) == 1 else None
        elif step is not None:
            found = inspect.getattr_static(found, step, None)
        if found is None:
            return None
        if not isinstance(found, CodeType):
            found = getattr(found, "__func__", found)  # of a class or static method
            found = getattr(found, "__wrapped__", found)
            found = getattr(found, "__code__", found)
    return found if isinstance(found, CodeType) else None
