"""Variables that several functions share, ``self.rows`` or a global: whether one of them uses it for a result.

A count of calls that is only told, or that nobody reads, may begin anew.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType

from .reach import Reach, reads_of, walk
from .written import MOST_LINES, assigned_in, name_of

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_FOR_MESSAGES = ("__str__", "__repr__", "__format__")


@lru_cache(maxsize=256)
def is_for_results(file: str, name: str, code: CodeType, *, is_number: bool) -> bool:
    """Whether *name* is used for a result, as far as the *file* shows.

    Args:
        code: Of the function with the loop, which was looked at already.
        is_number: Whether its value is a number now.
    """
    tree = _file(file)
    if tree is None or _is_used(tree, code if code.co_filename == file else None, name):
        return True
    if any(_is_of(one, name) for one in reads_of(ast.walk(tree))):
        return False
    return not (is_number and _only_counts(tree, name))


@lru_cache(maxsize=16)
def _file(name: str) -> ast.Module | None:
    lines = linecache.getlines(name)
    try:
        return ast.parse("".join(lines)) if 0 < len(lines) <= MOST_LINES else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_used(tree: ast.Module, code: CodeType | None, name: str) -> bool:
    is_module = code is not None and code.co_name == "<module>"
    if not is_module and any(_is_of(one, name) for one in reads_of(walk(tree.body))):
        return True
    return any(_lasts_in(one, tree, name) for one in ast.walk(tree) if _is_other(one, code, name))


def _is_other(one: ast.AST, code: CodeType | None, name: str) -> bool:
    """Whether it is another function, which sees the variable, and does not only make a text."""
    if not isinstance(one, _Function) or one.name in _FOR_MESSAGES:
        return False
    first = min(each.lineno for each in (one, *one.decorator_list))
    is_own = code is not None and one.name == code.co_name and first <= code.co_firstlineno <= one.lineno
    return not is_own and ("." in name or name not in assigned_in(one))


def _lasts_in(function: ast.AST, tree: ast.AST, name: str) -> bool:
    assert isinstance(function, _Function)
    reach = Reach([function, *_without_texts(function)], tree, set())
    return any(reach.lasts(read, set()) for read in reach.read if _is_same(read, name))


def _without_texts(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """The nodes of the function, without texts that it returns."""
    nodes = list(walk(function.body))
    returned = [one.value for one in nodes if isinstance(one, ast.Return) and isinstance(one.value, ast.JoinedStr)]
    texts = {id(part) for one in returned for part in ast.walk(one)}
    return (one for one in nodes if id(one) not in texts)


def _is_same(one: str, other: str) -> bool:
    return one.rpartition(".")[2] == other.rpartition(".")[2] and ("." in one) == ("." in other)


def _is_of(node: ast.AST, name: str) -> bool:
    if "." in name:
        return isinstance(node, ast.Attribute) and node.attr == name.rpartition(".")[2]
    return isinstance(node, ast.Name) and node.id == name


def _only_counts(tree: ast.AST, name: str) -> bool:
    """Whether only constants are added to it."""
    return all(
        isinstance(one.value, ast.Constant)
        for one in ast.walk(tree)
        if isinstance(one, ast.AugAssign) and _is_same(name_of(one.target), name)
    )
