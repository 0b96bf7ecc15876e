"""Which variables of a loop's body may begin anew in each run: the time of the last message, a delay, a cache."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator

from .written import Head, name_of

_CLOCKS = frozenset(("monotonic", "monotonic_ns", "now", "perf_counter", "perf_counter_ns", "time", "utcnow"))
_SCALES = ast.Mult | ast.Div | ast.Pow


def may_begin_anew(loop: Head) -> set[str]:
    """The variables for which it makes no difference to later items whether earlier runs set them."""
    values: dict[str, list[ast.expr]] = defaultdict(list)
    for one in ast.walk(loop):
        if isinstance(one, ast.Assign):
            for target in one.targets:
                values[name_of(target)].append(one.value)
    times = {name for name, all_of in values.items() if all(map(_is_time, all_of))}
    delays = {name for name, all_of in values.items() if any(_is_scaled(value, name) for value in all_of)}
    return (times | delays | set(_caches(loop))) - {""}


def _is_time(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and getattr(value.func, "attr", getattr(value.func, "id", "")) in _CLOCKS


def _is_scaled(value: ast.expr, name: str) -> bool:
    """Whether *value* is a multiple of the variable itself, with a limit or without: ``min(delay * 2, 60)``."""
    is_limited = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in ("min", "max")
    return any(
        isinstance(one, ast.BinOp) and isinstance(one.op, _SCALES) and name_of(one.left) == name
        for one in (value.args if is_limited else [value])  # type: ignore[attr-defined]
    )


def _caches(loop: Head) -> Iterator[str]:
    """Dicts that the body reads, and sets only where a key is missing, to what depends on nothing else in them."""
    guarded: set[int] = set()
    set_here: set[str] = set()
    others: set[str] = set()
    read: set[str] = set()
    for node in ast.walk(loop):
        if isinstance(node, ast.If):
            for name in _missing_in(node.test):
                if all(isinstance(one, ast.Assign) and not _mentions(one.value, name) for one in node.body):
                    guarded |= {id(target) for target in _targets(node.body) if name_of(target.value) == name}
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            read.add(name_of(node.value))
    for node in ast.walk(loop):
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            (set_here if id(node) in guarded else others).add(name_of(node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr != "get":
            others.add(name_of(node.func.value))
    yield from (set_here & read) - others


def _missing_in(test: ast.expr) -> Iterable[str]:
    """The variables in which *test* looks for a key in vain."""
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.NotIn):
        return [name_of(test.comparators[0])]
    return []


def _targets(statements: Iterable[ast.stmt]) -> Iterator[ast.Subscript]:
    for one in statements:
        if isinstance(one, ast.Assign):
            yield from (target for target in one.targets if isinstance(target, ast.Subscript))


def _mentions(value: ast.expr, name: str) -> bool:
    return any(name_of(one) == name for one in ast.walk(value))
