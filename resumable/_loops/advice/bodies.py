"""Warns of variables in a loop's body that the checkpoint does not save: they lack the results of earlier runs.

The bytecode shows this only roughly, so there are only warnings. See ``consumers`` for what iterates over a loop.
"""

from __future__ import annotations

import dis
import functools
import logging
import weakref
from collections.abc import Callable
from itertools import pairwise
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from ..._runtime.interpreter import frame_at, point_in, variable_in
from ..consumers import say_numbering
from .begun_anew import PLAIN, is_kept, is_saved_by_hand, look_at_carried, say_begun_anew
from .gathering import look_at_gathered, look_at_gathering
from .handed_on import look_at_handed_on
from .written import frames_of_items, gives_on, loop_at, numbering_around, only_advice

if TYPE_CHECKING:
    from ..loop import LoopOwner

_log = logging.getLogger("resumable")
_SUMS = frozenset((int, float, str, *PLAIN))
_PUTS = frozenset(("add", "append", "appendleft", "extend", "insert", "setdefault", "update"))
_TAKES = frozenset(("add", "append", "appendleft"))
_HARMLESS = frozenset(("isinstance", "len"))
_DOES_MORE = frozenset(("STORE_SUBSCR", "STORE_ATTR", "GET_AWAITABLE", "RAISE_VARARGS"))
_WAITS = frozenset(("GET_ANEXT", "SEND", "YIELD_VALUE"))
"""The instructions at which the frame of an ``async for`` waits for an item."""
_CACHE = 2
"""From 3.12 on, a frame that asks a generator for an item is this far behind the asking instruction."""
_NOTHING = frozenset(("CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL", "RESUME"))


class Body(msgspec.Struct, frozen=True):
    """The body of one loop.

    Attributes:
        grows: Variables that the body adds to, and that are read after the loop.
        sums: Those of them that it adds to with an operator, so that they may be numbers.
        ahead: The variable in which the body only collects the items; "" if it does more.
    """

    grows: frozenset[str] = frozenset()
    sums: frozenset[str] = frozenset()
    ahead: str = ""


_EMPTY = Body()
_bodies: dict[tuple[int, int], tuple[Callable[[], CodeType | None], Body]] = {}
_quiet: dict[tuple[int, int], Callable[[], CodeType | None]] = {}
"""Loops that cause no warning where they begin: inner ones begin often."""


def look_at_body(owner: LoopOwner[Any], position: int, *, is_numbered: bool = False) -> None:
    """Warn of lost results. A loop of *owner* begins at *position*; the function two calls up iterates over it.

    Args:
        is_numbered: Whether an ``enumerate`` around the loop was warned of already.
    """
    asking = frame_at(3)
    code, at = point_in(asking)
    if position or (quiet := _quiet.get((id(code), at))) is None or quiet() is not code:
        with only_advice():
            _look_at_body(owner, position, asking, is_numbered=is_numbered)


def _look_at_body(owner: LoopOwner[Any], position: int, asking: FrameType, *, is_numbered: bool) -> None:
    code, at = point_in(asking)
    for frame in frames_of_items(asking):
        body = _body_of(*point_in(frame))
        if body.ahead and type(gathered := variable_in(frame, body.ahead)) in PLAIN and not is_kept(owner, gathered):
            _say_ahead(owner.operation_id, body.ahead)
        may_tell = look_at_handed_on(owner, frame) or bool(body.ahead)
        if position:
            if frame is not asking:
                look_at_gathered(owner.operation_id, position, frame)
            is_numbered = _look_at_going_on(owner, position, frame, body, is_numbered=is_numbered)
        if (written := loop_at(frame)) is not None and not gives_on(written):
            if frame is asking and not may_tell:
                _quiet[id(code), at] = weakref.ref(code, functools.partial(_forget, (id(code), at)))
            return


def _forget(where: tuple[int, int], _: object) -> None:
    _quiet.pop(where, None)


def look_at_results(owner: LoopOwner[Any], position: int, frame: FrameType) -> None:
    """Warn of lost results. A map of *owner* gives *frame* its first result of this run, at *position*."""
    look_at_gathering(owner.operation_id, position, frame, gives_results=True)
    is_numbered = False
    with only_advice():
        for here in frames_of_items(frame) if position else ():
            is_numbered = _look_at_going_on(owner, position, here, _body_of(*point_in(here)), is_numbered=is_numbered)


def _look_at_going_on(owner: LoopOwner[Any], position: int, frame: FrameType, body: Body, *, is_numbered: bool) -> bool:
    """Returns whether an ``enumerate`` around the loop was warned of, now or before."""
    written = loop_at(frame)
    if written is None or not is_saved_by_hand(written):
        look_at_carried(owner, position, frame, told=_look_at_grown(owner, position, frame, body))
    if not is_numbered and written is not None and (name := numbering_around(written)):
        say_numbering(owner.operation_id, position, name)
        return True
    return is_numbered


def _look_at_grown(owner: LoopOwner[Any], position: int, frame: FrameType, body: Body) -> set[str]:
    """Returns the variables that it warned of."""
    told = set()
    for name in sorted(body.grows):
        value = variable_in(frame, name)
        if type(value) in (_SUMS if name in body.sums else PLAIN) and not value and not is_kept(owner, value):
            say_begun_anew(owner.operation_id, name, position)
            told.add(name)
    return told


@functools.lru_cache(maxsize=256)
def _say_ahead(operation_id: str, name: str) -> None:
    _log.warning(
        "%s: the loop only collects its items in %r, so they count as done before the work on them. Do the work in its "
        "body, or make batches first: cp.remaining(list(batched(items, 3))).",
        operation_id,
        name,
    )


# -- bytecode


def _body_of(code: CodeType, at: int) -> Body:
    where = id(code), at
    known = _bodies.get(where)
    if known is None or known[0]() is not code:
        gone = weakref.ref(code, lambda _: _bodies.pop(where, None))
        known = _bodies[where] = gone, _read(code, at)
    return known[1]


def _read(code: CodeType, at: int) -> Body:
    steps = [one for one in dis.get_instructions(code) if one.opname not in _NOTHING]
    first, end = _extent(steps, at)
    body = [one for one in steps if first < one.offset < end]
    if not body or any(one.argval == "state" for one in body):
        return _EMPTY
    pairs = [*pairwise(body)]
    stored, loaded = _names_of(body, "STORE_"), _names_of(body, "LOAD_")
    later = _names_of([one for one in steps if one.offset >= end], "LOAD_")
    added = {name for one, after in pairs if after.argval in _PUTS for name in _names(one)[-1:]}
    if any(one.opname == "STORE_SUBSCR" for one in body):
        added |= loaded
    sums = [(one, after) for one, after in pairs if one.opname == "BINARY_OP" and one.argrepr.endswith("=")]
    summed = {name for _, after in sums if after.opname.startswith("STORE_") for name in _names(after)[:1]}
    return Body(frozenset(((added - stored) | summed) & later), frozenset(summed & later), _gathered(body))


def _extent(steps: list[dis.Instruction], at: int) -> tuple[int, int]:
    """Beginning and end of the body of the loop whose iterator is made at offset *at*."""
    here = [one for one in steps if one.offset >= at]
    is_asked = bool(here) and here[0].opname in _WAITS
    if is_asked or (here and here[0].opname == "GET_AITER"):
        depth = int(is_asked)
        for one in here:
            depth += (one.opname == "GET_AITER") - (one.opname == "END_ASYNC_FOR")
            if not depth:
                return at, one.offset
    asked = [one for one in steps if at - _CACHE <= one.offset < at and one.opname.startswith("FOR_ITER")]
    for one in [*asked, *here[:3]]:
        if one.opname.startswith("FOR_ITER"):
            return one.offset, one.argval
        if one.offset != at and one.opname != "GET_ITER":  # of an enumerate() or zip() around it
            break
    return 0, 0


def _gathered(body: list[dis.Instruction]) -> str:
    """The variable in which the items are collected, if the body does nothing else; otherwise ""."""
    if not body or not body[0].opname.startswith("STORE_"):
        return ""
    item = _names(body[0])[:1]
    loads = [one for one in body if one.opname.startswith("LOAD_")]
    takes = [before for before, one in pairwise(body) if one.argval in _TAKES and one.opname.startswith("LOAD_")]
    gathers = (_names(takes[-1]) or [""])[-1] if takes else ""
    calls = sum(one.opname.startswith("CALL") and one.opname != "CALL_INTRINSIC_1" for one in body)
    known = len(takes) + sum(bool(_HARMLESS.intersection(_names(one))) for one in loads)
    uses = sum(name in item for one in loads for name in _names(one))
    does_more = any(one.opname in _DOES_MORE for one in body)
    return gathers if gathers and calls == known and uses == 1 and not does_more else ""


def _names_of(steps: list[dis.Instruction], kind: str) -> set[str]:
    return {name for one in steps if one.opname.startswith(kind) for name in _names(one)}


def _names(one: dis.Instruction) -> list[str]:
    if one.opname.endswith("_CONST") or one.opname.startswith(("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR")):
        return []
    return [one.argval] if isinstance(one.argval, str) else list(one.argval) if isinstance(one.argval, tuple) else []
