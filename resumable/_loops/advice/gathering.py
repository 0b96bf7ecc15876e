"""Functions that gather all items of a loop before the work on any of them: ``list()``, ``sorted()`` and others.

All of these items count as done then. In the head of a ``for`` that is always a mistake, and it is refused. Elsewhere
nothing is wrong before a run goes on: what it gathers then is only the rest.
"""

from __future__ import annotations

import dis
import logging
import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from ..._runtime.interpreter import caller_of, point_in
from ..places.place import by_code
from .pairs import look_at_iterator
from .written import calls_around

_log = logging.getLogger("resumable")

_LISTS = frozenset(("deque", "frozenset", "list", "set", "sorted", "tuple"))
_NUMBERS = ("fmean", "fsum", "max", "mean", "median", "min", "nlargest", "nsmallest", "prod", "stdev", "sum")
_TABLES = ("Counter", "DataFrame", "Series", "array", "dict", "fromiter")
_SUMS = frozenset(("all", "any", "join", "reduce", *_NUMBERS, *_TABLES))
_ALL = _LISTS | _SUMS
_LAZY = frozenset(("enumerate", "filter", "map", "zip"))
_COMPREHENSIONS: dict[str, str] = dict.fromkeys(("<dictcomp>", "<listcomp>", "<setcomp>"), "a comprehension")
_BUILDS = {"BUILD_LIST": "<listcomp>", "BUILD_MAP": "<dictcomp>", "BUILD_SET": "<setcomp>"}
_UNPACKS = frozenset(("LIST_EXTEND", "SET_UPDATE", "UNPACK_EX", "UNPACK_SEQUENCE"))
_CALLS = frozenset(("CALL", "CALL_FUNCTION_EX", "CALL_KW"))
_OF_A_CALL = _CALLS | {"CACHE", "KW_NAMES", "PRECALL", "PUSH_NULL"}

_CURE_OF_MAP = (
    "loop over the map itself, collect into results = cp.mapping(...), and loop over sorted(results) after it"
)

Asking = tuple[str, bool, bool]
"""What a function is called there, whether a ``for`` goes through what it returns, and whether nobody uses that."""
_NOTHING: Asking = "", False, False


def look_at_gathering(operation_id: str, position: int, frame: FrameType, *, gives_results: bool = False) -> None:
    """*frame* begins to go through a loop that stands at *position*: refuse or warn if a function gathers its items.

    Args:
        gives_results: Whether it is a map, which gives out items with their results.

    Raises:
        RuntimeError: In the head of a ``for``.
    """
    name, is_headed, _ = _taking(frame)
    if name in _LISTS and is_headed:
        raise RuntimeError(
            f"{name}() around the loop takes all items before the work on the first one, so they would count as done "
            f"before they are: {_CURE_OF_MAP if gives_results else f'put it inside, cp.remaining({name}(...))'}"
        )
    if name == "iter":
        look_at_iterator(operation_id, frame)
    if position:
        look_at_gathered(operation_id, position, frame)


def look_at_gathered(operation_id: str, position: int, frame: FrameType) -> None:
    """Warn if *frame* gathers the items or results of a loop that goes on at *position*."""
    if gatherer := gatherer_in(frame):
        _log.warning(
            "%s: the loop goes on at item %s, so %s collects only what is left, without what earlier runs "
            "collected.\n  Work on each item in the body of a for loop, and keep results in cp.mapping or cp.log",
            operation_id,
            f"{position:,}",
            gatherer,
        )


def gatherer_in(frame: FrameType) -> str:
    """What gathers the items that *frame* asks for; "" if nothing does, or nobody uses the result."""
    name, _, is_dropped = _taking(frame)
    return _gatherer(frame) or (f"{name}()" if name in _ALL and not is_dropped else "")


def _taking(frame: FrameType) -> Asking:
    """Which function takes the items, perhaps around one such as ``map``."""
    name, is_headed, is_dropped = _asking(frame)
    if name in _LAZY and not _ALL.isdisjoint(frame.f_code.co_names):
        name, is_headed = next((one for one in calls_around(*point_in(frame)) if one[0] in _ALL), (name, False))
    return name, is_headed, is_dropped


def _gatherer(frame: FrameType) -> str:
    """Of a comprehension, or of a function that goes through a generator expression."""
    inner = frame.f_code.co_name
    if (inner == "<genexpr>" or inner in _COMPREHENSIONS) and (outer := caller_of(frame)) is not None:
        frame = outer
    name, _, is_dropped = _asking(frame)
    if is_dropped:
        return ""
    if inner in _COMPREHENSIONS:
        return _COMPREHENSIONS[inner]
    return f"{name}()" if name in _LISTS | _SUMS else "[*…]" if name in _UNPACKS else _COMPREHENSIONS.get(name, "")


def _asking(frame: FrameType) -> Asking:
    return _read(*point_in(frame))


@by_code
def _read(code: CodeType, at: int) -> Asking:
    steps = [one for one in dis.get_instructions(code) if one.opname not in ("CACHE", "EXTENDED_ARG")]
    before = [one for one in steps if one.offset <= at]  # a frame that waits may be behind the instruction
    one, after = before[-1], steps[len(before) :]
    if one.opname == "FOR_ITER":  # of a loop that runs already; from 3.12 on, that may be a comprehension
        made = [number for number, each in enumerate(before) if each.opname == "GET_ITER"]
        return _comprehension(steps, made[-1]) if made else _NOTHING
    if one.opname in _UNPACKS:
        return one.opname, False, False
    if one.opname in ("GET_ITER", "GET_AITER"):
        return _comprehension(steps, len(before) - 1)
    if one.opname not in _CALLS:
        return _NOTHING
    return _called(before[:-1], one), _is_in_head(after), _is_dropped(after)


def _comprehension(steps: list[dis.Instruction], number: int) -> Asking:
    """Of what goes through the items in a comprehension, or in a generator expression that a function gathers."""
    after = [one for one in steps[number + 1 :] if one.opname not in ("PRECALL", "PUSH_NULL", "KW_NAMES")]
    if after and after[0].opname in _CALLS:
        where = after[0].positions
        made = [one.argval.co_name for one in steps[:number] if type(one.argval) is CodeType and one.positions == where]
        if made[-1:] == ["<genexpr>"] and len(after) > 1 and after[1].opname in _CALLS:
            return _called(steps[:number], after[1]), False, _is_dropped(after[2:])
        return made[-1] if made else "", False, _is_dropped(after[1:])
    # From 3.12 on, a comprehension is a part of the function.
    head = [one.opname for one in after[:8]]
    built = next(
        (_BUILDS[name] for name in head[: head.index("FOR_ITER") if "FOR_ITER" in head else 0] if name in _BUILDS), ""
    )
    ends = [at for at, one in enumerate(after) if one.opname == "END_FOR"]
    behind = after[ends[0] + 1 :] if built and ends else []
    is_dropped = [one.opname for one in behind if not one.opname.startswith(("SWAP", "STORE_FAST"))][:2]
    return built, False, is_dropped[:1] == ["POP_TOP"] and (sys.version_info < (3, 13) or is_dropped[1:] == ["POP_TOP"])


def _is_dropped(after: list[dis.Instruction]) -> bool:
    return bool(after) and after[0].opname == "POP_TOP"


def _called(before: list[dis.Instruction], call: dis.Instruction) -> str:
    """The last part of the name of what *call* calls: its expression begins where that of the call does."""
    at = call.positions
    if at is None or at.lineno is None or at.col_offset is None:
        return ""
    names = [
        one.argval
        for one in before
        if (where := one.positions) is not None
        and (where.lineno, where.col_offset) == (at.lineno, at.col_offset)
        and one.opname.startswith(("LOAD_ATTR", "LOAD_FAST", "LOAD_GLOBAL", "LOAD_METHOD", "LOAD_NAME", "LOAD_DEREF"))
    ]
    return names[-1] if names and isinstance(names[-1], str) else ""


def _is_in_head(after: list[dis.Instruction]) -> bool:
    """Whether a ``for`` goes through what stands on the stack, perhaps through what is called with that."""
    steps = _calls_on(after)
    return next(steps, "") == "GET_ITER" and next(steps, "") == "FOR_ITER"


def _calls_on(after: list[dis.Instruction]) -> Iterator[Any]:
    for one in after:
        if not (one.opname in _OF_A_CALL or one.opname.startswith("LOAD_")):
            yield one.opname
