"""A loop as it is written in the program: its ``for``, or the ``while`` that asks for each item, as a syntax tree.

Only warnings depend on this, because the text of a program may be missing or changed.
"""

from __future__ import annotations

import ast
import contextlib
import linecache
import logging
import os
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FrameType
from typing import NamedTuple, cast

from ..._runtime.interpreter import caller_of, point_in
from ..places.place import by_code

_LIBRARY = os.path.join(os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")), "")
_log = logging.getLogger("resumable")
_STANDARD = os.path.dirname(os.__file__)
_GIVES_ON = 0x20 | 0x200
"""The flags of the code of a generator, and of an async one."""
_MOST_FRAMES = 12
MOST_LINES = 5000
"""Parsing a longer text takes a tenth of a second."""

Head = ast.For | ast.AsyncFor | ast.While


class Written(NamedTuple):
    """A loop in the text.

    Attributes:
        loop: The statement.
        scope: The function or module that it is in.
        is_cell: Whether that is a cell of a notebook: another one may use its variables.
    """

    loop: Head
    scope: ast.AST
    is_cell: bool = False

    def nodes(self) -> Iterator[ast.AST]:
        """All that is written in the scope."""
        return ast.walk(self.scope)


@contextlib.contextmanager
def only_advice() -> Iterator[None]:
    """What cannot be judged is not warned of: an error must not stop the program."""
    try:
        yield
    except Exception:
        _log.debug("a loop's text could not be judged", exc_info=True)


def frames_of_items(frame: FrameType) -> Iterator[FrameType]:
    """The user's functions that get the items of a loop that *frame* iterates over, from the inside out.

    Packages, such as a bar's, and the user's own generators give them on to their callers.
    """
    here: FrameType | None = frame
    for _ in range(_MOST_FRAMES):
        while here is not None and is_of_others(here.f_code.co_filename):
            here = caller_of(here)
        if here is None:
            return
        yield here
        if not here.f_code.co_flags & _GIVES_ON:
            return
        here = caller_of(here)


def is_of_others(file: str) -> bool:
    """Whether the file belongs to Python, to a package or to this library."""
    return "-packages" in file or file.startswith((_LIBRARY, _STANDARD, "<frozen"))


def loop_at(frame: FrameType) -> Written | None:
    """The loop whose items *frame* asks for now; None if that cannot be seen."""
    return _read(*point_in(frame))


def ticking_loops(frame: FrameType) -> list[Written]:
    """The loops in the function of *frame* that call ``tick``, without those inside of others."""
    scope = text_of(frame.f_code)
    if scope is None:
        return []
    loops = [one for one in ast.walk(scope) if isinstance(one, Head) and any(map(_is_tick, ast.walk(one)))]
    inner = {id(part) for one in loops for part in ast.walk(one) if part is not one}
    return [Written(one, scope) for one in loops if id(one) not in inner]


def _is_tick(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "tick"


@by_code
def _read(code: CodeType, at: int) -> Written | None:
    scope, here = _point(code, at)
    loop = _loop(scope, *here) if scope is not None else None
    if loop is None or scope is None:
        return None
    return Written(loop, scope, isinstance(scope, ast.Module) and not os.path.exists(code.co_filename))


def _point(code: CodeType, at: int) -> tuple[ast.AST | None, tuple[int, int]]:
    """The tree of the function, and the line and column in it of the expression that runs."""
    positions = list(code.co_positions())
    line, _, column, _ = positions[at // 2] if at // 2 < len(positions) else (None,) * 4
    if line is None or column is None:
        return None, (0, 0)
    scope, first = _tree(code, max(end for _, end, _, _ in positions if end is not None))
    return scope, (line - first, column)


@lru_cache(maxsize=256)
def calls_around(code: CodeType, at: int) -> tuple[tuple[str, bool], ...]:
    """The functions that get what the running call returns, and whether a ``for`` goes through what they return.

    Of ``for x in sorted(map(f, loop))``, while ``map`` runs, that is ``sorted``. A function whose result nobody uses is
    left out.
    """
    scope, here = _point(code, at)
    if scope is None:
        return ()
    heads = {id(one.iter) for one in ast.walk(scope) if isinstance(one, ast.For)}
    dropped = {id(one.value) for one in ast.walk(scope) if isinstance(one, ast.Expr)}
    return tuple(
        (str(getattr(one.func, "attr", getattr(one.func, "id", ""))), id(one) in heads)
        for one in ast.walk(scope)
        if isinstance(one, ast.Call)
        and id(one) not in dropped
        and any(_is_call_at(part, here) for each in one.args for part in _lazy(each))
    )


def _lazy(node: ast.AST) -> Iterator[ast.AST]:
    """*node*, and the calls that it is made of and that give their items on one by one."""
    yield node
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("enumerate", "filter", "map", "zip"):
        for one in node.args:
            yield from _lazy(one)


def _is_call_at(node: ast.AST, here: tuple[int, int]) -> bool:
    return isinstance(node, ast.Call) and _begins(node) == here


def name_of(node: ast.AST) -> str:
    """``x``, ``self.x`` or ``self.x.y``; "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    inner = name_of(node.value) if isinstance(node, ast.Attribute) else ""
    return inner and f"{inner}.{node.attr}"  # type: ignore[attr-defined]


def prefixes(name: str) -> list[str]:
    """``self.x.y``, ``self.x`` and ``self`` of ``self.x.y``."""
    return [name, *prefixes(name.rpartition(".")[0])] if name else []


def base_of(node: ast.AST) -> str:
    """The variable ``x`` of ``x[key][other]``, or of ``x`` alone."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return name_of(node)


CHANGES = frozenset(
    ("add", "append", "appendleft", "extend", "insert", "pop", "popleft", "remove", "setdefault", "update")
)
"""The methods that change a collection."""
PUSHES = frozenset(("heappop", "heappush", "heappushpop", "heapreplace", "insort", "insort_left", "insort_right"))
"""The functions that change the list that they get first."""


def called(call: ast.Call) -> str:
    """The name of the function or method that is called; "" if it has none."""
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def text_of(code: CodeType) -> ast.AST | None:
    """The function's definition; None if it cannot be read."""
    ends = [end for _, end, _, _ in code.co_positions() if end is not None]
    return _tree(code, max(ends, default=0))[0]


def _tree(code: CodeType, last: int) -> tuple[ast.AST | None, int]:
    """The tree of the function or module, and how many lines of the file stand before its text."""
    lines = linecache.getlines(code.co_filename)
    if last > MOST_LINES:
        return None, 0
    is_module = code.co_name == "<module>"
    first = 0 if is_module else code.co_firstlineno - 2
    text = "".join(lines[first + 1 : last] if not is_module else lines)
    if not is_module:
        text = ("if 1:\n" if text[:1] in " \t" else "\n") + text
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None, 0
    if is_module:
        return tree, 0
    defined = next((one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)), None)
    return defined, first


def _loop(scope: ast.AST, line: int, column: int) -> Head | None:
    at = line, column
    loops = [one for one in ast.walk(scope) if isinstance(one, ast.For | ast.AsyncFor)]
    for loop in loops:
        if _begins(loop) == at or _begins(loop.iter) <= at < _ends(loop.iter):
            return loop
    name = _assigned_at(scope, at)
    for loop in loops if name else ():
        if isinstance(loop.iter, ast.Name) and loop.iter.id == name:
            return loop
    for one in ast.walk(scope) if name else ():
        if isinstance(one, ast.While) and any(name == next_of(call) for call in ast.walk(one)):
            return one
    return None


def _assigned_at(scope: ast.AST, at: tuple[int, int]) -> str:
    """The variable that gets the value of the expression there."""
    for one in ast.walk(scope):
        if isinstance(one, ast.Assign) and _begins(one.value) <= at < _ends(one.value):
            return one.targets[0].id if isinstance(one.targets[0], ast.Name) else ""
    return ""


def assigned_in(scope: ast.AST) -> set[str]:
    """The variables of the scope itself, not those that it declares ``global`` or ``nonlocal``."""
    nodes = list(ast.walk(scope))
    names = {one.id for one in nodes if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    names |= {one.arg for one in nodes if isinstance(one, ast.arg)}
    return names - {name for one in nodes if isinstance(one, ast.Global | ast.Nonlocal) for name in one.names}


def gives_on(written: Written) -> bool:
    """Whether the body of the loop, in a generator, gives its items on."""
    return any(isinstance(one, ast.Yield | ast.YieldFrom) for one in ast.walk(written.loop))


_NUMBERING = frozenset(("accumulate", "enumerate", "zip", "zip_longest"))
_LOOPS = frozenset(("amap", "loop", "map", "pages", "remaining"))


def numbering_around(written: Written) -> str:
    """The function around the loop that counts from its own beginning, such as ``enumerate``; "" without one."""
    return "" if isinstance(written.loop, ast.While) else _numbering(written.loop.iter)


def _numbering(node: ast.expr) -> str:
    if not isinstance(node, ast.Call):
        return ""
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name in _NUMBERING:
        return str(name)
    if name in _LOOPS and isinstance(node.func, ast.Attribute):
        return ""
    return next((found for one in node.args if (found := _numbering(one))), "")


def next_of(call: ast.AST) -> str:
    """The variable ``it`` of a call ``next(it)``; "" of anything else."""
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "next" and call.args):
        return ""
    return call.args[0].id if isinstance(call.args[0], ast.Name) else ""


def _begins(node: ast.expr | ast.stmt) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _ends(node: ast.expr) -> tuple[int, int]:
    return cast("int", node.end_lineno), cast("int", node.end_col_offset)
