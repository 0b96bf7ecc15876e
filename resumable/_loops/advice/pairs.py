"""Code that takes several items off ``it = iter(cp.remaining(...))`` before the work on the first: that counts as done.

The bytecode shows this only roughly, and only in the function that makes the iterator: ``zip(it, it)``, ``[it] * 3``,
and a variable with an item that is read after ``next(it)`` has taken another one.
"""

from __future__ import annotations

import dis
import re
from functools import lru_cache
from itertools import pairwise
from types import CodeType, FrameType

import msgspec

from ..._runtime.interpreter import point_in
from .. import consumers

_NOTHING = frozenset(("CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL", "RESUME"))
_OF_VARIABLES = re.compile(r"(LOAD|STORE)_(?:FAST|NAME|GLOBAL|DEREF|CLASSDEREF)")
_FOR = ("GET_ITER", "FOR_ITER")


class Step(msgspec.Struct):
    """An instruction.

    Attributes:
        uses: For each variable that it reads or writes, in order: whether it writes, and the name.
        end: Of ``FOR_ITER``, the offset behind its loop.
    """

    offset: int
    line: int | None
    name: str
    uses: list[tuple[bool, str]]
    end: int = 0


class Take(msgspec.Struct):
    """An instruction that takes an item off the iterator.

    Attributes:
        number: Its number among the steps; the item's variables are written after it.
        into: The variables that the item is put into; none if an expression goes on with it.
        is_next: Whether it is ``next(it)``, not a ``for``.
    """

    number: int
    into: list[str]
    is_next: bool


def look_at_iterator(operation_id: str, frame: FrameType) -> None:
    """*frame* calls ``iter()`` on a loop: warn if it takes items ahead of the work."""
    if told := _told_of(*point_in(frame)):
        consumers.say_takes_ahead(operation_id, told)


@lru_cache(maxsize=64)
def _told_of(code: CodeType, at: int) -> str:
    """What takes items ahead; "" if nothing does."""
    steps = [_step(one) for one in dis.get_instructions(code) if one.opname not in _NOTHING]
    number = next((number for number, one in enumerate(steps) if one.offset == at), len(steps))
    if _is_multiplied(steps, number + 1):
        return "[iter(...)] * n"
    made = steps[number + 1 : number + 3]
    made = made[made[:1] != [] and made[0].name == "COPY" :]  # an assignment in an expression
    if not made or not made[0].uses or not made[0].uses[0][0]:
        return ""
    return _told_of_variable(steps, made[0].uses[0][1])


def _told_of_variable(steps: list[Step], it: str) -> str:
    uses = [(number, name) for number, one in enumerate(steps) for writes, name in one.uses if not writes]
    for (number, name), (after, other) in pairwise(uses):
        if name == other == it and after - number <= 1:
            return f"zip({it}, {it})"
    if any(name == it and _is_multiplied(steps, number + 1) for number, name in uses):
        return f"[{it}] * n"
    takes = [take for number, _ in uses if (take := _take(steps, number, it)) is not None]
    items = _with_copies(steps, {name for take in takes for name in take.into})
    if any(take.is_next and _is_ahead(steps, take, takes, items) for take in takes):
        return f"next({it})"
    return ""


def _step(one: dis.Instruction) -> Step:
    kinds = _OF_VARIABLES.findall(one.opname)
    names = [one.argval] if isinstance(one.argval, str) else list(one.argval) if isinstance(one.argval, tuple) else []
    line = one.positions.lineno if one.positions is not None else None
    uses = [(kind == "STORE", name) for kind, name in zip(kinds, names, strict=False)]
    end = one.argval if one.opname == "FOR_ITER" else 0
    return Step(one.offset, line, one.opname, uses, end if isinstance(end, int) else 0)


def _is_multiplied(steps: list[Step], number: int) -> bool:
    """Whether the value before this step is put into a list that is multiplied."""
    names = [one.name for one in steps[number : number + 3]]
    return names[:1] == ["BUILD_LIST"] and names[2:] == ["BINARY_OP"]


def _take(steps: list[Step], number: int, it: str) -> Take | None:
    """How an item is taken by the instructions around the step of that *number*; None if it reads no iterator."""
    one, after = steps[number], steps[number + 1 : number + 3]
    if (False, it) not in one.uses:
        return None
    if tuple(step.name for step in after) == _FOR:
        return Take(number + 2, _into(steps, number + 3), is_next=False)
    if not number or steps[number - 1].uses[-1:] != [(False, "next")]:
        return None
    call = next((n for n, step in enumerate(after, number + 1) if step.name == "CALL"), None)
    return None if call is None else Take(call, _into(steps, call + 1), is_next=True)


def _into(steps: list[Step], number: int) -> list[str]:
    """The variables into which the steps from this *number* on put a value."""
    into: list[str] = []
    for one in steps[number:]:
        if one.name == "COPY" or one.name.startswith("UNPACK"):
            continue
        if not one.uses or not one.uses[0][0]:
            break
        into += [name for writes, name in one.uses if writes]
        if not all(writes for writes, _ in one.uses):
            break
    return into


def _with_copies(steps: list[Step], items: set[str]) -> set[str]:
    """*items*, and the variables that are made from them by a plain assignment."""
    uses = [use for one in steps for use in one.uses]
    while more := {
        to
        for (writes, name), (is_write, to) in pairwise(uses)
        if not writes and name in items and is_write and to not in items
    }:
        items = items | more
    return items


def _is_ahead(steps: list[Step], take: Take, takes: list[Take], items: set[str]) -> bool:
    """Whether an item that was taken before *take* is used after it."""
    here = steps[take.number]
    before = [one for one in steps[: take.number] if one.line == here.line]
    is_inside = not take.into and steps[take.number + 1].name != "POP_TOP"
    if is_inside and any(name in items for one in before for writes, name in one.uses if not writes):
        return True
    is_of_many = is_inside or len(take.into) > 1  # a, b = next(it), next(it)
    if is_of_many and any(steps[other.number] in before and not other.into for other in takes):
        return True
    bodies = [steps[one.number] for one in takes if not one.is_next]
    ends = [body.end for body in bodies if body.offset < here.offset < body.end]
    rest = [one for one in steps[take.number + 1 :] if not ends or one.offset < min(ends)]
    first: dict[str, bool] = {}
    for one in rest:
        for writes, name in one.uses:
            first.setdefault(name, writes)
    return any(first.get(name) is False for name in items if name not in take.into)
