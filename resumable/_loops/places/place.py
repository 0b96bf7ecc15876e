"""A loop's place in the program: the calls that lead to it, read from the bytecode.

A place is text, such as ``main:crawl cp#1/1 > crawl:cp remaining urls#1/1``: the calls from the code that opened the
checkpoint to the code that made the loop. A call is its function, the names and constants in its expression, and its
number among the calls with equal names. Lines, layout, comments and file names do not count, and no source is read:
code from ``exec`` works, and files that were edited while the program runs.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import sys
import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import CodeType, FrameType, FunctionType
from typing import Any, Concatenate, ParamSpec, TypeVar

LOOPS = frozenset({"remaining", "map", "amap", "pages"})
"""Names by which a loop is made."""
_TELL_NOTHING = LOOPS - {"pages"} | {"'changed'", "'again'"}
"""Words that do not count when two calls are compared: the names of loops, except a name that many calls contain,
and arguments that an error message told the user to add."""
_OF_OTHERS = frozenset(
    {"resumable", "tenacity", "wrapt", "asyncio", "threading", "concurrent", "contextlib", "functools"}
    | {"IPython", "ipykernel", "tornado", "code", "_pyrepl", "runpy"}
)
"""Packages that call functions of others. Another release of them must not change a place."""
_LIBRARY = f"{__name__.partition('.')[0]}."
DEEPEST = 32
"""In deeper recursion, loops are identified by the order of calls."""
_LONGEST_TEXT = 80
_NO_END = 1 << 20
BETWEEN = " > "
_SOMEWHERE = "~"
"""The beginning of a place whose calls do not start at the checkpoint: in another thread, or deep in a recursion."""
_ENTERS = ("CALL", "PRECALL", "BEFORE_", "LOAD_SPECIAL")
_INLINED = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>"})
"""Functions up to Python 3.11; from 3.12 on, part of the function around."""
_NO_FOR = ("STORE_", "POP_TOP", "RETURN_", "YIELD_")
_NAMING = frozenset([*dis.hasname, *dis.haslocal, *dis.hasfree])

Span = tuple[int, int, int, int]
"""Of an expression: first line and column, last line and the column after it."""
Point = tuple[int, int]
"""A line and a column."""
Frame = tuple[int, int]
"""The addresses of a frame and of its code: a frame cannot be referenced weakly."""
Stack = Mapping[Frame, int]
"""The frames that were active at some moment, each with its bytecode offset."""


class FunctionCalls:
    """All calls in one function, or in the block of one ``with`` in it.

    Args:
        opened: The bytecode offset of that ``with``; None for the whole function.

    Attributes:
        calls: The text of each call. A call in ``finally`` is compiled twice, but listed once.
        loops: The calls that make loops.
        bodies: Of those whose text is there several times, digests of what the body of the ``for`` around names.
        names: The variables, attributes and constants that are loaded.
    """

    def __init__(self, code: CodeType, opened: int | None = None) -> None:
        self._function = code.co_qualname
        instructions = list(dis.get_instructions(code))
        named = sorted({(at, name) for one in instructions if (at := _start(one)) for name in _names(one, code)})
        self._starts, self._named = [at for at, _ in named], [name for _, name in named]
        self._positions = list(code.co_positions())
        by_text: dict[str, list[Span]] = {}
        inside = _block(code, instructions, opened)
        calls = [one for one in instructions if one.opname.startswith("CALL") and inside(one.offset)]
        for span in sorted({span for one in calls if (span := _span(one))}):
            by_text.setdefault(" ".join(self._names_within(span)), []).append(span)
        self._of_span = {
            span: self._call(text, f"{number}/{len(spans)}")
            for text, spans in by_text.items()
            for number, span in enumerate(spans, 1)
        }
        self.calls = frozenset(self._of_span.values())
        self.names = frozenset(name for one in instructions if inside(one.offset) for name in _names(one, code))
        makers = [span for one in instructions if _makes_loop(one) and (span := _span(one))]
        self.loops = self._innermost(makers)
        several = {span for span, call in self._of_span.items() if call in self.loops and not is_only_one(call)}
        self.bodies = {self._of_span[span]: _body(code, instructions, span) for span in several}
        self._parts = [(name, span) for one in instructions if (span := _span(one)) for name in _names(one, code)]

    def _innermost(self, parts: Iterable[Span]) -> frozenset[str]:
        """The innermost call around each part of the text."""
        around = [[span for span in self._of_span if span[:2] <= at[:2] and at[2:] <= span[2:]] for at in parts]
        return frozenset(self._of_span[max(spans, key=_inwards)] for spans in around if spans)

    def leading_to(self, name: str) -> frozenset[str]:
        """The calls of the function *name*."""
        return self._innermost(span for one, span in self._parts if one == name)

    def at(self, offset: int) -> str:
        """The call at a bytecode *offset*. Properties and operators, which are not calls, have no number."""
        line, end_line, column, end = self._positions[offset // 2]
        span = (line or 0, column or 0, end_line or line or 0, _NO_END if end is None else end)
        return self._of_span.get(span) or self._call(" ".join(self._names_within(span)), "~")

    def _names_within(self, span: Span) -> list[str]:
        """Sorted, because the order of instructions differs between releases of Python."""
        first, last = bisect_left(self._starts, span[:2]), bisect_left(self._starts, span[2:])
        return sorted(set(self._named[first:last]))

    def _call(self, text: str, number: str) -> str:
        if len(text) > _LONGEST_TEXT:
            text = f"{text[:60]} {hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return f"{self._function}:{text}#{number}"


def _block(code: CodeType, instructions: list[dis.Instruction], opened: int | None) -> Callable[[int], bool]:
    """A test for offsets in the block of the ``with`` entered at *opened*; always true without one."""
    entries = sorted(getattr(dis.Bytecode(code), "exception_entries", ()), key=lambda entry: entry.start)
    ends = {one.offset for one in instructions if one.opname == "WITH_EXCEPT_START"}
    thrown = {one.offset for one in instructions if one.opname == "CLEANUP_THROW"}  # throws into an await; from 3.12 on
    entry = None
    if opened is not None:
        around = [one.target for one in entries if one.start <= opened < one.end]
        behind = [one for one in entries if one.start > opened and one.target not in {*thrown, *around}]
        entry = next(iter(behind), None)
    if opened is None or entry is None or ends.isdisjoint(range(entry.target, entry.target + 8)):
        return lambda offset: True
    between = [one.opname for one in instructions if opened < one.offset < entry.start]
    if any(name.startswith(_ENTERS) for name in between):
        return lambda offset: True  # the function enters something else later
    handler = entry.target

    def is_inside(offset: int) -> bool:
        # An inner handler's code reaches the outer handler through the inner one.
        for _ in entries:
            found = next((one for one in entries if one.start <= offset < one.end), None)
            if found is None or found.target == handler:
                return found is not None
            offset = found.target
        return False

    return is_inside


def _body(code: CodeType, instructions: Sequence[dis.Instruction], span: Span) -> str:
    """A digest of what the body of the ``for`` over the call at *span* names; "" if nothing iterates over it there."""
    last = max(at for at, one in enumerate(instructions) if one.opname.startswith("CALL") and _span(one) == span)
    begun = depth = 0
    end: int | None = None
    found: set[str] = set()
    for at, one in enumerate(instructions[last + 1 :], last + 1):
        if not begun and one.opname.startswith(("FOR_ITER", "GET_ANEXT")):
            begun, end = at, one.argval if one.opname.startswith("FOR_ITER") else None
        elif not begun and one.opname.startswith(_NO_FOR):
            return ""
        elif begun:
            depth += (one.opname == "GET_ANEXT") - (one.opname == "END_ASYNC_FOR")
            if depth < 0 if end is None else one.offset >= end:
                break
            found.update(_names(one, code))
    return hashlib.sha256(" ".join(sorted(found)).encode("utf-8", "surrogatepass")).hexdigest()[:12] if begun else ""


def _start(one: dis.Instruction) -> tuple[int, int] | None:
    where = one.positions
    return None if where is None or where.lineno is None else (where.lineno, where.col_offset or 0)


def _makes_loop(one: dis.Instruction) -> bool:
    return one.opname in ("LOAD_ATTR", "LOAD_METHOD") and one.argval in LOOPS


def _inwards(span: Span) -> tuple[int, int, int, int]:
    return span[0], span[1], -span[2], -span[3]


def _span(one: dis.Instruction) -> Span | None:
    where = one.positions
    if where is None or where.lineno is None:
        return None
    end = _NO_END if where.end_col_offset is None else where.end_col_offset
    return where.lineno, where.col_offset or 0, where.end_lineno or where.lineno, end


def _names(one: dis.Instruction, code: CodeType) -> Iterator[str]:
    """The variables, attributes and constants that an instruction loads. Operators change names between releases."""
    if one.opcode in dis.hasconst:
        # Read from the code object, because 3.11 does not resolve the names of keyword arguments.
        yield from _constants(code.co_consts[one.arg or 0])
    elif one.opname == "LOAD_SMALL_INT":  # from 3.14 on
        yield repr(one.argval)
    elif one.opcode in _NAMING:
        names = one.argval if isinstance(one.argval, tuple) else (one.argval,)  # two in one, from 3.13 on
        yield from (word(str(name)) for name in names if name != ".0")


def _constants(value: Any) -> Iterator[str]:
    if isinstance(value, CodeType):
        if value.co_name in _INLINED:
            yield from (name for one in dis.get_instructions(value) if _start(one) for name in _names(one, value))
        else:
            yield f"<{value.co_name.strip('<>')}>"
    elif isinstance(value, (tuple, frozenset)):  # the order of a frozenset differs between processes
        for one in value:
            yield from _constants(one)
    elif value is not None:
        yield word(repr(value))


def word(text: str) -> str:
    """*text* without the characters that separate words, calls and numbers in a place."""
    return text.translate(_APART)


_APART = str.maketrans({" ": "_", "#": "_", ">": "_"})


# -- caches: addresses are reused, so each entry knows its code object

P = ParamSpec("P")
T = TypeVar("T")
_calls: dict[tuple[int, int, int | None], tuple[Callable[[], CodeType | None], str]] = {}
_of_others: dict[int, CodeType] = {}


def by_code(read: Callable[Concatenate[CodeType, P], T]) -> Callable[Concatenate[CodeType, P], T]:
    """Keep what *read* returns for a code object, and for the other arguments, as long as that lives.

    ``functools.lru_cache`` takes equal functions of two modules for one, and keeps them alive.
    """
    results: dict[tuple[object, ...], tuple[Callable[[], CodeType | None], T]] = {}

    @functools.wraps(read)
    def kept(code: CodeType, /, *args: P.args, **kwargs: P.kwargs) -> T:
        where = (id(code), *args)
        known = results.get(where)
        if known is None or known[0]() is not code:
            gone = weakref.ref(code, lambda _: results.pop(where, None))
            known = results[where] = gone, read(code, *args, **kwargs)
        return known[1]

    return kept


@by_code
def calls_in(code: CodeType, opened: int | None = None) -> FunctionCalls:
    """The calls in one function, or in a block of it; cached."""
    return FunctionCalls(code, opened)


def calls_around(frame: FrameType, outside: Stack) -> FunctionCalls:
    """The calls in the function of *frame*; only those in the checkpoint's block, if *frame* opened it."""
    return calls_in(frame.f_code, outside.get(address(frame)))


def body_at(where: str, frame: FrameType, outside: Stack) -> str:
    """The digest of the body of the loop that *frame* makes at the place *where*; "" if its line is there once."""
    return calls_around(frame, outside).bodies.get(last_call(where), "")


def call_at(frame: FrameType, opened: int | None = None) -> str:
    """The present call of *frame*; "" in a package that calls functions of others."""
    code, where = frame.f_code, (id(frame.f_code), frame.f_lasti, opened)
    known = _calls.get(where)
    if known is not None and known[0]() is code:
        return known[1]
    gone = weakref.ref(code, lambda _: _calls.pop(where, None))
    if _is_of_others(frame):
        _of_others[id(code)] = code
        call = ""
    else:
        call = calls_in(code, opened).at(frame.f_lasti)
    _calls[where] = (gone, call)
    return call


def scope_of(frame: FrameType) -> Mapping[str, Any]:
    """The globals of the module of *frame*."""
    return frame.f_globals


def _is_of_others(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in _OF_OTHERS


# -- plain loops around

_TOLD = frozenset((bool, bytes, float, int, str))


def turn_of(frame: FrameType, outside: Stack) -> str:
    """The turn of the plain ``for`` loops around *frame* in the checkpoint's block, as a digest of their variables.

    "" without such a loop, or if no variable is a simple value, a function or a class.
    """
    found: list[Any] = []
    for here in frames(frame):
        opened = outside.get(address(here))
        for start, end, names in _loops_of(here.f_code):
            if start < here.f_lasti < end and (opened is None or start > opened):
                found += [here.f_locals.get(name, here.f_globals.get(name)) for name in names]
        if opened is not None:
            break
    told = [value for one in found if (value := _told(one)) is not None]
    if not told:
        return ""
    return hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def items_of_innermost(frame: FrameType) -> list[Any]:
    """What the variables of the innermost ``for`` around *frame* hold; nothing for an ``async for``."""
    for here in frames(frame):
        inside = [(start, names) for start, end, names in _loops_of(here.f_code) if start < here.f_lasti < end]
        if inside:
            return [here.f_locals.get(name, here.f_globals.get(name)) for name in max(inside)[1]]
    return []


def _told(value: object) -> object:
    """What tells *value* from others in every process; None if that is unknown."""
    if type(value) in _TOLD:
        return value
    if isinstance(value, tuple):
        parts = [_told(one) for one in value]
        return None if None in parts else parts
    return f"{value.__qualname__}()" if isinstance(value, (FunctionType, type)) else None


@by_code
def _loops_of(code: CodeType) -> list[tuple[int, int, tuple[str, ...]]]:
    """Where the body of each ``for`` begins and ends, and its variables."""
    return [*_read_loops(code)]


def _read_loops(code: CodeType) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    steps = [*dis.get_instructions(code)]
    for number, one in enumerate(steps):
        if not one.opname.startswith("FOR_ITER"):
            continue
        names: list[str] = []
        for after in steps[number + 1 :]:
            if after.opname.startswith("STORE_"):
                names += after.argval if isinstance(after.argval, tuple) else [str(after.argval)]
            elif after.opname not in ("CACHE", "EXTENDED_ARG", "UNPACK_SEQUENCE"):
                break
        yield one.offset, one.argval, tuple(names)


# -- places


def frames(frame: FrameType) -> Iterator[FrameType]:
    """*frame* and its callers, from the inside out."""
    here: FrameType | None = frame
    while here is not None:
        yield here
        here = here.f_back


def users_frame() -> FrameType:
    """The innermost frame outside of this library; :func:`caller` also skips other packages."""
    frame: FrameType = sys._getframe(2)
    while frame.f_globals.get("__name__", "").startswith(_LIBRARY) and frame.f_back is not None:
        frame = frame.f_back
    return frame


frame_at: Callable[[int], FrameType] = sys._getframe
"""Returns the frame that many calls further out than the function that asks."""


def address(frame: FrameType) -> Frame:
    """The identity of a frame."""
    return id(frame), id(frame.f_code)


def caller() -> FrameType:
    """The innermost frame of the user's code; without one, the innermost frame outside of this library."""
    innermost = here = sys._getframe(1)
    while _of_others.get(id(here.f_code)) is here.f_code or not call_at(here):
        if here.f_back is None:
            return innermost
        here = here.f_back
    return here


def place_of(
    frame: FrameType, outside: Stack, around: Frame | None = None, *, is_called_by_others: bool = False
) -> str:
    """The calls that lead to *frame*.

    Args:
        outside: The stack when the checkpoint was opened. It is common to all loops, and so left out.
        around: The frame of the loop around, at which the calls begin.
        is_called_by_others: Whether the calls begin where a package called the user's code, as a map does.
    """
    calls: list[str] = []
    here: FrameType | None = frame
    while here is not None and len(calls) < DEEPEST:
        where = address(here)
        if call := call_at(here, outside.get(where)):
            calls.append(call)
        elif is_called_by_others:
            return _joined(tuple(calls))
        if where == around or where in outside:
            return _joined(tuple(calls))
        here = here.f_back
    return _joined((*calls, _SOMEWHERE))


@lru_cache(4096)
def _joined(calls: tuple[str, ...]) -> str:
    return BETWEEN.join(reversed(calls))


def is_under_way(frame: FrameType, where: Frame) -> bool:
    """Whether the frame with the identity *where* is *frame*, or one of its callers."""
    return any(address(one) == where for one in frames(frame))


# -- read a place


def may_be_of_one_block(place: str, other: str) -> bool:
    """Whether both places may be in one block, or in one item of a loop: their calls begin in one function."""
    some, others = (one.partition(":")[0] for one in (place, other))
    return some == others or some.startswith(_SOMEWHERE) or others.startswith(_SOMEWHERE)


def calls_of(place: str) -> list[str]:
    """The calls that lead to the loop, from the outside in."""
    return place.split(BETWEEN)


def last_call(place: str) -> str:
    """The call that made the loop."""
    return place.rpartition(BETWEEN)[2]


def function_of(place: str) -> str:
    """The qualified name of the function that made the loop."""
    return last_call(place).partition(":")[0]


def names_of(place: str) -> frozenset[str]:
    """The names and constants in the call that made the loop."""
    return frozenset(last_call(place).partition(":")[2].rpartition("#")[0].split())


def is_only_one(place: str) -> bool:
    """Whether no other call in its function has equal names."""
    return place.endswith("#1/1")


def likeness(place: str, other: str, *, without: frozenset[str] = frozenset()) -> float:
    """The similarity of two places, from 0 to 1. If other calls lead there, only equal names count.

    Args:
        without: Names to ignore, besides those that make loops.
    """
    some, others = (names_of(one) - _TELL_NOTHING - without for one in (place, other))
    if some == others:
        return 1.0
    if place.rpartition(BETWEEN)[0] != other.rpartition(BETWEEN)[0]:
        return 0.0
    return len(some & others) / len(some | others)


def shown(place: str) -> str:
    """A place for people: the names in the call, and its function; or the user's name for the loop."""
    if place.startswith("="):
        return repr(place[1:])
    function, _, text = last_call(place).partition(":")
    return f"`{text.rpartition('#')[0]}` in {function}"
