"""Warns of a program that ticks, if a run that goes on begins something anew: its variables, or the loop itself."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from operator import itemgetter
from types import FrameType

from .begun_anew import is_saved_by_hand, names_of_state, say_begun_anew
from .carried import carried_by
from .harmless import only_tells
from .written import Written, name_of, only_advice, ticking_loops

_log = logging.getLogger("resumable")
_KEEPS = frozenset(
    ("artifact", "before_save", "log", "mapping", "metadata", "once", "processed_items", "resumed", "set", "track")
)
"""What a program may know its done items by, beside the state."""
_PUTS = frozenset(("setdefault", "update"))


def look_at_ticking(operation_id: str, done: int, frame: FrameType) -> bool:
    """A run that goes on after *done* items ticks by hand, and *frame* ticked, or ends the block.

    Its variables have changed already, so only those count that begin with a constant in the text.

    Returns:
        Whether it warned.
    """
    lost: dict[str, object] = {}
    begins_again = False
    with only_advice():
        for written in ticking_loops(frame):
            carried = carried_by(written)
            if not is_saved_by_hand(written):
                names = carried.names - carried.shared - names_of_state(written) - carried.made_where_missing
                lost |= {name: value for name, value in carried.begins.items() if name in names}
            begins_again = begins_again or _begins_again(written)
    for name, value in sorted(lost.items(), key=itemgetter(0)):
        say_begun_anew(operation_id, name, done, value)
    if begins_again and not lost:
        _log.warning(
            "%s: %s items were done before, but the loop that ticks begins with the first one again: nothing in it "
            'depends on cp.state.\n  Begin where that says, range(cp.state.get("page", 0), n), or leave out what it '
            "holds, if item in done: continue, or loop over cp.remaining(items)",
            operation_id,
            f"{done:,}",
        )
    return bool(lost) or begins_again


def _begins_again(written: Written) -> bool:
    """Whether the loop is a ``for`` in a function that only puts something into the state, and takes nothing."""
    if not isinstance(written.loop, ast.For):
        return False
    ticks = [one.func for one in ast.walk(written.loop) if isinstance(one, ast.Call)]
    own = {name_of(one.value) for one in ticks if isinstance(one, ast.Attribute) and one.attr == "tick"} - {""}
    used = [part for statement in _that_may_decide(written) for part in ast.walk(statement)]
    is_given = any(
        name_of(given) in own
        for one in written.nodes()
        if isinstance(one, ast.Call)
        for given in (*one.args, *(each.value for each in one.keywords))
    )
    takes = any(isinstance(one, ast.Attribute) and one.attr in ("state", *_KEEPS) for one in used)
    return bool(own) and not is_given and not takes


def _that_may_decide(written: Written) -> Iterator[ast.AST]:
    """The parts of the text in which the state may decide what is done: not where something is put into it, or told."""
    ours = {id(part) for one in written.nodes() if _only_puts(one) for part in ast.walk(one)}
    return (one for one in written.nodes() if isinstance(one, ast.Attribute) and id(one) not in ours)


def _only_puts(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        return all(map(_is_in_state, node.targets))
    if isinstance(node, ast.AugAssign):
        return _is_in_state(node.target)
    if not isinstance(node, ast.Expr):
        return False
    call = node.value
    is_put = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _PUTS
    return only_tells(node) or (is_put and _is_state(call.func.value))  # type: ignore[attr-defined]


def _is_in_state(target: ast.expr) -> bool:
    return isinstance(target, ast.Subscript) and _is_state(target.value)


def _is_state(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "state"
