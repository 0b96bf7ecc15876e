"""Which variables of a loop's body may begin anew in each run: the time of the last message, a delay, a cache.

This is judged by the text, and so only roughly.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from .written import Head, called, name_of

_CLOCKS = frozenset(("monotonic", "monotonic_ns", "now", "perf_counter", "perf_counter_ns", "time", "utcnow"))
_SCALES = ast.Mult | ast.Div | ast.Pow
_LOGS = ("critical", "debug", "error", "exception", "info", "log", "warn", "warning")
_BARS = ("progress", "set_description", "set_postfix", "set_postfix_str")
_TELLS = frozenset(("echo", "print", "secho", *_LOGS, *_BARS))
_COMPUTES = frozenset(
    ("abs", "float", "format", "int", "len", "max", "min", "monotonic", "now", "perf_counter", "round", "str", "time")
)
_CACHE = re.compile("cache|memo", re.IGNORECASE)


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


# -- what is only told, and what comes from no item


def only_told(loop: ast.AST, names: set[str]) -> set[str]:
    """Those numbers that the body only prints, or tests to print or now and then, as to see how far the loop is."""
    told = {id(part) for one in ast.walk(loop) if _tells(one) for part in _told_by(one)}
    tests = [one for one in ast.walk(loop) if isinstance(one, ast.If) and _decides_nothing(one)]
    told |= {id(part) for one in tests for part in ast.walk(one.test)}
    return {name for name in names if _is_told(loop, name, told, frozenset())}


def _is_told(loop: ast.AST, name: str, told: set[int], through: frozenset[str]) -> bool:
    """Whether nothing but a test, a print, or a number that is only told itself reads *name*."""
    loads = [one for one in ast.walk(loop) if isinstance(one, ast.Name | ast.Attribute) and name_of(one) == name]
    reads = [one for one in loads if isinstance(one.ctx, ast.Load) and id(one) not in told]
    computed: dict[int, set[str]] = {}
    for one in _assignments(loop):
        if all(called(call) in _COMPUTES for call in ast.walk(one.value) if isinstance(call, ast.Call)):
            computed |= {id(part): set(map(name_of, one.targets)) for part in ast.walk(one.value)}
    into = set().union(*(computed.get(id(one), {""}) for one in reads)) - {name} - through
    return "" not in into and all(_is_told(loop, one, told, through | {name}) for one in into)


def _decides_nothing(test: ast.If) -> bool:
    """Whether it is made for each so many items, or prints at most: ``if n % 100 == 0``."""
    is_periodic = any(isinstance(one, ast.BinOp) and isinstance(one.op, ast.Mod) for one in ast.walk(test.test))
    return is_periodic or all(map(only_tells, [*test.body, *test.orelse]))


def only_tells(statement: ast.stmt) -> bool:
    """Whether it prints, or sets variables, at most."""
    if isinstance(statement, ast.If):
        return all(map(only_tells, [*statement.body, *statement.orelse]))
    if isinstance(statement, ast.Expr):
        return _tells(statement.value)
    return isinstance(statement, ast.Assign | ast.AugAssign | ast.Pass)


def _tells(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    is_stream = isinstance(node.func, ast.Attribute) and name_of(node.func.value) in ("sys.stderr", "sys.stdout")
    is_file = any(one.arg == "file" for one in node.keywords)
    return is_stream or (called(node) in _TELLS and not is_file)


def _told_by(call: ast.AST) -> Iterator[ast.AST]:
    assert isinstance(call, ast.Call)
    for one in (*call.args, *call.keywords):
        yield from ast.walk(one)


def without_items(loop: ast.AST, own: set[str], names: set[str]) -> set[str]:
    """Those that the body sets to nothing of an item: a clock's time, a token, a connection.

    Args:
        own: The variables of the loop's item.
    """
    assignments = list(_assignments(loop))
    ours = set(own)
    size = -1
    while size != len(ours):
        size = len(ours)
        for targets, value in _flows(loop):
            if ours & _names_in(value):
                ours |= targets
    found = set()
    for name in names:
        values = [one.value for one in assignments if name in set().union(*map(_variables, one.targets))]
        is_only_set = values and not any(_changes(one, name) for one in ast.walk(loop))
        if is_only_set and not any(_holds_work(value, ours | {name}) for value in values):
            found.add(name)
    return found


def _holds_work(value: ast.expr, ours: set[str]) -> bool:
    is_constant = not any(isinstance(one, ast.Call | ast.Name | ast.Attribute) for one in ast.walk(value))
    return is_constant or bool(ours & _names_in(value))


def _flows(loop: ast.AST) -> Iterator[tuple[set[str], ast.AST]]:
    """What is put into which variables."""
    for one in ast.walk(loop):
        if isinstance(one, ast.Assign):
            yield set().union(*map(_variables, one.targets)), one.value
        elif isinstance(one, ast.AugAssign | ast.AnnAssign | ast.NamedExpr) and one.value is not None:
            yield _variables(one.target), one.value
        elif isinstance(one, ast.For | ast.AsyncFor | ast.comprehension):
            yield _variables(one.target), one.iter
        elif isinstance(one, ast.withitem) and one.optional_vars is not None:
            yield _variables(one.optional_vars), one.context_expr


def named_cache(names: set[str]) -> set[str]:
    """Those that the program calls a cache."""
    return {name for name in names if _CACHE.search(name)}


def _changes(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.AugAssign):
        return name_of(node.target) == name
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return name_of(node.func.value) == name and node.func.attr not in ("get", "items", "keys", "values")
    return isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and name_of(node.value) == name


def _assignments(loop: ast.AST) -> Iterator[ast.Assign]:
    return (one for one in ast.walk(loop) if isinstance(one, ast.Assign))


def _variables(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Tuple | ast.List | ast.Starred):
        return set().union(*map(_variables, ast.iter_child_nodes(node)))
    return {name_of(node)} - {""}


def _names_in(node: ast.AST) -> set[str]:
    return {name for one in ast.walk(node) if (name := name_of(one))}
