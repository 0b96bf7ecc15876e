"""Warns of loops whose results would be wrong after a kill, as far as their text shows.

See ``consumers`` for what iterates over a loop.
"""

from __future__ import annotations

import ast
import functools
import logging
import weakref
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from ..._runtime.interpreter import frame_at, point_in, variable_in
from ..consumers import say_numbering
from .begun_anew import PLAIN, is_kept, is_saved_by_hand, look_at_carried
from .gathering import gatherer_in, look_at_gathered, look_at_gathering
from .handed_on import look_at_handed_on
from .written import Written, called, frames_of_items, gives_on, loop_at, numbering_around, only_advice

if TYPE_CHECKING:
    from ..loop import LoopOwner

_log = logging.getLogger("resumable")
_TAKES = frozenset(("add", "append", "appendleft"))
_HARMLESS = frozenset(("isinstance", "len"))
_quiet: dict[tuple[int, int], Callable[[], CodeType | None]] = {}
"""Loops that cause no warning where they begin: inner ones begin often."""


def look_at_body(owner: LoopOwner[Any], position: int, *, is_numbered: bool = False) -> bool:
    """Warn of lost results. A loop of *owner* begins at *position*; the function two calls up iterates over it.

    Args:
        is_numbered: Whether an ``enumerate`` around the loop was warned of already.

    Returns:
        Whether a ``for`` does the work on each item in its body, as far as its text shows.
    """
    is_worked_on = True
    asking = frame_at(3)
    code, at = point_in(asking)
    if position or (quiet := _quiet.get((id(code), at))) is None or quiet() is not code:
        with only_advice():
            is_worked_on = _look_at_body(owner, position, asking, is_numbered=is_numbered)
    return is_worked_on


def _look_at_body(owner: LoopOwner[Any], position: int, asking: FrameType, *, is_numbered: bool) -> bool:
    code, at = point_in(asking)
    for frame in frames_of_items(asking):
        written = loop_at(frame)
        ahead = gathered_by(written) if written is not None else ""
        gathered = variable_in(frame, ahead)
        is_ahead = type(gathered) in PLAIN and not is_kept(owner, gathered)
        if is_ahead:
            _say_ahead(owner.operation_id, ahead)
        is_handed_on = look_at_handed_on(owner, frame)
        if position:
            if frame is not asking:
                look_at_gathered(owner.operation_id, position, frame)
            is_numbered = _look_at_going_on(owner, position, frame, is_numbered=is_numbered)
        if written is not None and not gives_on(written):
            if frame is asking and not (is_handed_on or ahead):
                _quiet[id(code), at] = weakref.ref(code, functools.partial(_forget, (id(code), at)))
            return not (is_handed_on or is_ahead or gatherer_in(frame))
    return False


def _forget(where: tuple[int, int], _: object) -> None:
    _quiet.pop(where, None)


def look_at_results(owner: LoopOwner[Any], position: int, frame: FrameType) -> bool:
    """Warn of lost results. A map of *owner* gives *frame* its first result of this run, at *position*.

    Returns:
        Whether a ``for`` goes through the results, and nothing gathers them.
    """
    look_at_gathering(owner.operation_id, position, frame, gives_results=True)
    is_numbered = False
    with only_advice():
        for here in frames_of_items(frame) if position else ():
            is_numbered = _look_at_going_on(owner, position, here, is_numbered=is_numbered)
        return not gatherer_in(frame) and loop_at(frame) is not None
    return False


def _look_at_going_on(owner: LoopOwner[Any], position: int, frame: FrameType, *, is_numbered: bool) -> bool:
    """Returns whether an ``enumerate`` around the loop was warned of, now or before."""
    written = loop_at(frame)
    if written is None:
        return is_numbered
    if not is_saved_by_hand(written):
        look_at_carried(owner, position, frame, written)
    if not is_numbered and (name := numbering_around(written)):
        say_numbering(owner.operation_id, position, name)
        return True
    return is_numbered


@functools.lru_cache(maxsize=256)
def _say_ahead(operation_id: str, name: str) -> None:
    _log.warning(
        "%s: the loop only collects its items in %r, so they count as done before the work on them.\n"
        "  Do the work in its body, or make batches first: cp.remaining(list(batched(items, 3)))",
        operation_id,
        name,
    )


@functools.lru_cache(maxsize=256)
def gathered_by(written: Written) -> str:
    """The variable in which the body collects the items, if it does nothing else; "" otherwise."""
    loop = written.loop
    if isinstance(loop, ast.While) or not isinstance(loop.target, ast.Name):
        return ""
    nodes = [part for one in loop.body for part in ast.walk(one)]
    calls = [one for one in nodes if isinstance(one, ast.Call)]
    takes = [one.func.value for one in calls if isinstance(one.func, ast.Attribute) and one.func.attr in _TAKES]
    known = len(takes) + sum(called(one) in _HARMLESS for one in calls)
    uses = sum(isinstance(one, ast.Name) and one.id == loop.target.id for one in nodes)
    into = takes[-1] if takes else None
    is_all = len(calls) == known and uses == 1 and not any(map(_does_more, nodes))
    return into.id if is_all and isinstance(into, ast.Name) else ""


def _does_more(node: ast.AST) -> bool:
    is_part = isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store)
    return is_part or isinstance(node, ast.Await | ast.Raise)
