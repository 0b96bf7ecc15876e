"""What does no harm if it begins anew in each run: clocks, messages, sleeps, caches, connections.

This is judged by the text, and so only roughly.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from .written import called, name_of

_CLOCKS = frozenset(
    ("monotonic", "monotonic_ns", "now", "perf_counter", "perf_counter_ns", "process_time", "time", "utcnow")
)
_LOGS = ("critical", "debug", "error", "exception", "info", "log", "warn", "warning")
_BARS = ("progress", "set_description", "set_postfix", "set_postfix_str")
_TELLS = frozenset(("echo", "pprint", "print", "secho", *_LOGS, *_BARS))
WAITS = frozenset(("sleep", "wait"))
_AGAIN = frozenset(("close", "collect", "connect", "flush", "makedirs", "mkdir", "quit", "sink"))
_MATHS = ("abs", "ceil", "divmod", "floor", "max", "mean", "median", "min", "percentile", "pow", "quantile", "round")
_STATISTICS = ("all", "any", "fmean", "fsum", "len", "pstdev", "sorted", "std", "stdev", "sum", "total_seconds")
_VALUES = ("bool", "bytes", "dict", "float", "frozenset", "get", "int", "isinstance", "list", "next", "set", "tuple")
_VIEWS = ("copy", "enumerate", "filter", "items", "keys", "map", "range", "reversed", "timedelta", "values", "zip")
_TEXTS = ("format", "isoformat", "join", "lower", "replace", "repr", "split", "str", "strftime", "strip", "upper")
COMPUTES = frozenset((*_CLOCKS, *_MATHS, *_STATISTICS, *_VALUES, *_VIEWS, *_TEXTS))
"""What gives a value, and does nothing else."""
_NAMES = re.compile(r"backoff|cache|cooldown|delay|jitter|memo|pause|prox(y|ies)|sleep|throttl|timeout", re.IGNORECASE)


def named_harmless(names: set[str]) -> set[str]:
    """Those whose names say that they are a cache, a delay or a proxy."""
    return {name for name in names if _NAMES.search(name)}


def tells(node: ast.AST) -> bool:
    """Whether it only tells a person something: a message, a log line, a bar."""
    if not isinstance(node, ast.Call):
        return False
    is_stream = isinstance(node.func, ast.Attribute) and name_of(node.func.value) in ("sys.stderr", "sys.stdout")
    files = [one.value for one in node.keywords if one.arg == "file"]
    is_shown = all(name_of(one) in ("sys.stderr", "sys.stdout") for one in files)
    return is_stream or (called(node) in _TELLS and is_shown)


def is_repeatable(node: ast.AST) -> bool:
    """Whether it tells something, waits, or does what may be done again."""
    return isinstance(node, ast.Call) and (tells(node) or called(node) in WAITS | _AGAIN)


def only_tells(statement: ast.stmt) -> bool:
    """Whether it prints, or sets variables, at most."""
    if isinstance(statement, ast.If):
        return all(map(only_tells, [*statement.body, *statement.orelse]))
    if isinstance(statement, ast.Expr):
        return tells(statement.value)
    return isinstance(statement, ast.Assign | ast.AugAssign | ast.Pass)


def is_time(value: ast.expr, times: set[str]) -> bool:
    """Whether *value* is a clock's time, or computed from one, or from variables with *times*."""
    if isinstance(value, ast.Call):
        parts = [*value.args, *([value.func.value] if isinstance(value.func, ast.Attribute) else [])]
        return called(value) in _CLOCKS or (called(value) in COMPUTES and any(is_time(one, times) for one in parts))
    if isinstance(value, ast.BinOp):
        return is_time(value.left, times) or is_time(value.right, times)
    return name_of(value.value if isinstance(value, ast.Subscript) else value) in times


# -- what comes from no item


def without_items(loop: ast.AST, own: set[str], names: set[str]) -> set[str]:
    """Those that the body sets to nothing of an item: a clock's time, a token, a connection.

    Args:
        own: The variables of the loop's item.
    """
    ours = of_items(loop, own)
    found = set()
    for name in names:
        values = [one.value for one in _assignments(loop) if name in set().union(*map(_variables, one.targets))]
        is_only_set = values and not any(_changes(one, name) for one in ast.walk(loop))
        if is_only_set and not any(holds_work(value, ours | {name}) for value in values):
            found.add(name)
    return found


def of_items(loop: ast.AST, own: set[str]) -> set[str]:
    """The variables that depend on the item, whose variables are *own*."""
    ours = set(own)
    size = -1
    while size != len(ours):
        size = len(ours)
        for targets, value in _flows(loop):
            if ours & _names_in(value):
                ours |= targets
    return ours


def holds_work(value: ast.expr, ours: set[str]) -> bool:
    """Whether it is a constant, or depends on one of *ours*: not a new connection, a token, a time."""
    is_constant = not any(isinstance(one, ast.Call | ast.Name | ast.Attribute) for one in ast.walk(value))
    return is_constant or bool(ours & _names_in(value))


def pairs_of(one: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What is put where: of ``a, b = 1, 2``, two pairs."""
    for target in one.targets:
        if isinstance(target, ast.Tuple) and isinstance(one.value, ast.Tuple) and _fit(target, one.value):
            yield from zip(target.elts, one.value.elts, strict=True)
        else:
            yield target, one.value


def _fit(target: ast.Tuple, value: ast.Tuple) -> bool:
    is_starred = any(isinstance(one, ast.Starred) for one in (*target.elts, *value.elts))
    return len(target.elts) == len(value.elts) and not is_starred


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


# -- caches


def caches(loop: ast.AST, own: set[str]) -> set[str]:
    """Variables that the body sets only where they lack something, to what it would set them to in each run.

    That are dicts that are filled where a key is missing, and the last key with what belongs to it.

    Args:
        own: The variables of the loop's item.
    """
    return _dicts_filled(loop, own) | _last_key(loop)


def _dicts_filled(loop: ast.AST, own: set[str]) -> set[str]:
    guarded = {id(part) for one in ast.walk(loop) for part in _filled_where_missing(one, loop, own)}
    used: dict[str, bool] = {}
    for node in ast.walk(loop):
        name, is_harmless = _use_of_dict(node, guarded)
        used[name] = used.get(name, True) and is_harmless
    filled = {name_of(one.value) for one in ast.walk(loop) if isinstance(one, ast.Subscript) and id(one) in guarded}
    return {name for name in filled if used.get(name)} - {""}


def _last_key(loop: ast.AST) -> set[str]:
    """``last`` and ``found`` of ``if key != last: found = look(key); last = key``."""
    names: set[str] = set()
    for one in ast.walk(loop):
        is_test = isinstance(one, ast.If) and isinstance(one.test, ast.Compare) and not one.orelse
        if is_test and isinstance(one.test.ops[0], ast.NotEq) and all(map(_only_fills, one.body)):  # type: ignore
            names |= _remembered(one)  # type: ignore[arg-type]
    stores = Counter(_stored(loop))
    return {name for name in names if stores[name] == 1}


def _remembered(one: ast.If) -> set[str]:
    """The variables that are set anew there, if one of them is set to what it was compared with."""
    assert isinstance(one.test, ast.Compare)
    sides = {ast.unparse(one.test.left), ast.unparse(one.test.comparators[0])}
    pairs = [pair for part in one.body if isinstance(part, ast.Assign) for pair in pairs_of(part)]
    into = set().union(*(_variables(target) for target, _ in pairs))
    is_key = any({ast.unparse(target), ast.unparse(value)} == sides for target, value in pairs)
    return into if is_key and not any(into & _names_in(value) for _, value in pairs) else set()


def _stored(loop: ast.AST) -> Iterator[str]:
    return (name_of(one) for one in ast.walk(loop) if isinstance(getattr(one, "ctx", None), ast.Store))


def _use_of_dict(node: ast.AST, guarded: set[int]) -> tuple[str, bool]:
    """The dict that is used there, and whether only as a cache is."""
    if isinstance(node, ast.Subscript):
        return name_of(node.value), isinstance(node.ctx, ast.Load) or id(node) in guarded
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return name_of(node.func.value), node.func.attr == "get"
    return "", True


def _filled_where_missing(one: ast.AST, loop: ast.AST, own: set[str]) -> Iterator[ast.Subscript]:
    """The places in dicts that are filled if a test, or a KeyError, tells that they are missing."""
    if isinstance(one, ast.If):
        tested = _names_in(one.test)
        got = {name for found in _assignments(loop) if tested & _variables(found.targets[0]) for name in _got(found)}
        names = _missing_in(one.test) | got
    elif isinstance(one, ast.ExceptHandler):
        names = _names_in(one) if one.type is not None and name_of(one.type) == "KeyError" else set()
    else:
        return
    if all(_only_fills(each) for each in one.body):
        for part in _assignments(one):
            for target in part.targets:
                is_place = isinstance(target, ast.Subscript) and name_of(target.value) in names
                is_found = not _is_of_item_only(part.value, own)
                if is_place and is_found and name_of(target.value) not in _names_in(part.value):  # type: ignore
                    yield target  # type: ignore[misc]


def _only_fills(statement: ast.stmt) -> bool:
    is_filling = isinstance(statement, ast.Assign) and not isinstance(statement.value, ast.Constant)
    is_opening = any(isinstance(one, ast.Call) and called(one) == "open" for one in ast.walk(statement))
    return (is_filling and not is_opening) or (isinstance(statement, ast.Expr) and tells(statement.value))


def _is_of_item_only(value: ast.expr, own: set[str]) -> bool:
    """Whether it is the item itself, or a part of it: the first of its kind, not what was looked up."""
    parts = list(ast.walk(value))
    return not any(isinstance(one, ast.Call) for one in parts) and bool(own & _names_in(value))


def _missing_in(test: ast.expr) -> set[str]:
    """The variables in which *test* looks for a key in vain."""
    is_missing = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.NotIn)
    return {name_of(test.comparators[0])} if is_missing else set()  # type: ignore[attr-defined]


def _got(one: ast.Assign) -> Iterable[str]:
    """The dict of ``value = d.get(key)``."""
    value = one.value
    is_get = isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "get"
    return [name_of(value.func.value)] if is_get else []  # type: ignore[attr-defined]
