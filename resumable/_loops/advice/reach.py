"""Where the values of a variable go: into something that lasts or decides, or only to the terminal, a sleep, a clock.

Of a variable that begins anew, only the first makes a result wrong. This is judged by the text, and so only roughly.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeGuard

from .harmless import COMPUTES, WAITS, holds_work, is_repeatable, is_time, of_items, pairs_of, tells
from .written import CHANGES, PUSHES, base_of, called, name_of

LASTS = ""
"""Stands beside the names of variables for all that lasts or decides."""
_WRITES = frozenset(
    (*CHANGES, "dump", "execute", "put", "save", "to_csv", "to_json", "write", "writelines", "writerow", "writerows")
)
_EXITS = frozenset(("_exit", "abort", "exit"))
_WAYS = frozenset(("auth", "cookies", "headers", "proxies", "proxy", "timeout", "verify"))
"""Arguments that say how something is done, not what."""
_TROUBLE = re.compile(
    r"error|errs|fail|retr(y|ies|ied)|attempt|(^|_)tries|empty|consecutive|in_a_row|streak|strike", re.I
)
_MADE = frozenset(("Counter", "OrderedDict", "defaultdict", "deque", "dict", "list", "set", "zeros"))
_LITERALS = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Loop = ast.For | ast.AsyncFor | ast.While


class Reach:
    """Where values go in one part of a program.

    Attributes:
        read: The variables that are read, and where.

    Args:
        nodes: What it is made of; the loop or the function first.
        scope: The function that it is in: which variables are lists and dicts of the program, is read there.
        own: The variables of the loop's item.
    """

    def __init__(self, nodes: list[ast.AST], scope: ast.AST, own: set[str]) -> None:
        part = nodes[0]
        self._above = {id(below): one for one in nodes for below in ast.iter_child_nodes(one)}
        self.read: dict[str, list[ast.expr]] = defaultdict(list)
        for one in read_in(nodes):
            self.read[name_of(one)].append(one)
        self._own_loop = part if isinstance(part, _Loop) else None
        self._items = of_items(part, own)
        self._plain = _collections_of(scope)
        self._times = times_in(part)
        self._handled = {id(one) for each in nodes if isinstance(each, ast.ExceptHandler) for one in ast.walk(each)}
        self._nodes = nodes
        self._changes = [one for one in nodes if isinstance(one, ast.AugAssign)]

    def lasts(self, name: str, later: set[str]) -> bool:
        """Whether what *name* holds reaches something that lasts, or a variable that is read *later*."""
        todo, known = [name], {name}
        while todo:
            one = todo.pop()
            if one in self._times:
                continue
            if one != name and one in later:
                return True
            into = set().union(*(self._into(read, one) for read in self.read[one]))
            if LASTS in into:
                return True
            todo += into - known
            known |= into
        return False

    def _into(self, node: ast.AST, name: str) -> set[str]:
        """The variables that get the value of the expression *node*, or what depends on it."""
        above = self._above.get(id(node))
        if above is None or (above is self._own_loop and not isinstance(above, ast.While)):
            return set()
        if isinstance(above, ast.keyword):
            return set() if above.arg in _WAYS else self._into_call(self._above[id(above)], above, name)
        if isinstance(above, ast.Call):
            return self._into_call(above, node, name)
        if isinstance(above, ast.NamedExpr):
            return {above.target.id} | self._into(above, name)
        if isinstance(above, ast.Yield | ast.YieldFrom):
            return {LASTS}
        if isinstance(above, ast.Subscript) and not isinstance(above.ctx, ast.Load):
            return set() if node is above.value else self._variable(above)
        if isinstance(above, ast.expr | ast.comprehension):
            return self._into(above, name)
        return self._into_statement(above, node, name)

    def _into_call(self, call: ast.AST, node: ast.AST, name: str) -> set[str]:
        assert isinstance(call, ast.Call)
        if node is call.func:
            if isinstance(self._above.get(id(call)), ast.Expr):
                return set() if isinstance(node, ast.Attribute) and base_of(node.value) == name else {LASTS}
            return {LASTS} if isinstance(node, ast.Name) else self._into(call, name)
        if tells(call) or called(call) in WAITS | _EXITS or isinstance(self._above.get(id(call)), ast.Raise):
            return set()
        if called(call) in PUSHES:
            return self._into(call, name) | (set() if node is call.args[0] else self._collection(call.args[0]))
        if called(call) in COMPUTES:
            return self._into(call, name)
        if isinstance(call.func, ast.Attribute) and call.func.attr in CHANGES:
            return self._collection(call.func.value)
        return {LASTS}

    def _into_statement(self, one: ast.AST, node: ast.AST, name: str) -> set[str]:
        if isinstance(one, ast.Assign):
            return set().union(*(self._variable(target) for target, value in pairs_of(one) if _reads(value, name)))
        if isinstance(one, ast.AugAssign | ast.AnnAssign):
            return self._variable(one.target)
        if isinstance(one, ast.If | ast.While):
            return self._decided([*one.body, *one.orelse], name, is_seldom=_is_seldom(one, name))
        if isinstance(one, ast.For | ast.AsyncFor):
            return self._variable(one.target) | self._decided(one.body, name)
        if isinstance(one, ast.withitem):
            return self._variable(one.optional_vars) if one.optional_vars is not None else set()
        if isinstance(one, ast.Match):
            return self._decided([each for case in one.cases for each in case.body], name)
        is_lasting = isinstance(one, ast.Return) or (isinstance(one, ast.Assert) and node is one.test)
        return {LASTS} if is_lasting else set()

    def _variable(self, target: ast.AST) -> set[str]:
        """The variables that an assignment to *target* changes."""
        if isinstance(target, ast.Tuple | ast.List):
            return set().union(*map(self._variable, target.elts))
        if isinstance(target, ast.Starred):
            return self._variable(target.value)
        return {name} if (name := name_of(target)) else self._collection(target)

    def _collection(self, node: ast.AST) -> set[str]:
        """The variable with the collection *node*, or a part of it; one of a checkpoint lasts."""
        name = base_of(node)
        return {name} if name in self._plain else {LASTS}

    # -- what a test decides

    def _decided(self, statements: list[ast.stmt], name: str, *, is_seldom: bool = False) -> set[str]:
        """The variables that get another value if these statements run, or do not."""
        inner = {id(part) for one in walk(statements) if isinstance(one, _Loop) for part in ast.walk(one)}
        into: set[str] = set()
        for one in walk(statements):
            if isinstance(one, ast.Break | ast.Continue) and id(one) in inner:
                continue
            if isinstance(one, ast.Raise | ast.Break | ast.Return):
                is_abort = isinstance(one, ast.Raise) and self._counts_in_a_row(name, statements)
                into |= set() if is_abort or self._counts_trouble(name) else {LASTS}
            elif isinstance(one, ast.Continue | ast.Assert | ast.Yield | ast.YieldFrom):
                into.add(LASTS)
            elif isinstance(one, ast.Assign):
                for target, value in pairs_of(one):
                    into |= self._variable(target) if holds_work(value, self._items) else set()
                    into |= {LASTS} if _empties_a_file(value) else set()
            elif isinstance(one, ast.AugAssign):
                into |= self._variable(one.target)
            elif isinstance(one, ast.Expr | ast.withitem):
                into |= self._done(one.value if isinstance(one, ast.Expr) else one.context_expr, name, is_seldom)
        return into - {name}

    def _done(self, node: ast.expr, name: str, is_seldom: bool) -> set[str]:
        """What the call *node* does, where a test decides whether it is made."""
        call = node.value if isinstance(node, ast.Await) else node
        if not isinstance(call, ast.Call) or is_repeatable(call):
            return set()
        if called(call) in _EXITS:
            return set() if self._counts_trouble(name) else {LASTS}
        if isinstance(call.func, ast.Attribute) and call.func.attr in (*CHANGES, "clear"):
            return self._collection(call.func.value)
        if called(call) in PUSHES:
            return self._collection(call.args[0])
        return set() if is_seldom and called(call) not in _WRITES else {LASTS}

    def _counts_trouble(self, name: str) -> bool:
        """Whether it counts what failed: a limit of that is one for each run."""
        changes = [one for one in self._changes if name_of(one.target) == name]
        return bool(_TROUBLE.search(name)) or (bool(changes) and all(id(one) in self._handled for one in changes))

    def _counts_in_a_row(self, name: str, statements: list[ast.stmt]) -> bool:
        """Whether the loop sets it to a constant again, elsewhere than in these statements."""
        here = {id(one) for one in walk(statements)}
        return any(id(one) not in here and _is_set_back(one, name) for one in self._nodes)


def read_in(nodes: Iterable[ast.AST]) -> Iterator[ast.Name | ast.Attribute]:
    """Where the values of variables are read: not where ``self.get(x)`` calls a method."""
    nodes = list(nodes)
    methods = {id(one.func) for one in nodes if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)}
    return (one for one in nodes if is_read(one) and id(one) not in methods)


def reads_of(part: Iterable[ast.AST]) -> Iterator[ast.Name | ast.Attribute]:
    """What is read in *part*, without what a method changes, ``x`` of ``x.append(1)``."""
    nodes = list(part)
    changed = {id(one.value) for one in nodes if isinstance(one, ast.Attribute) and one.attr in (*CHANGES, "clear")}
    return (one for one in read_in(nodes) if id(one) not in changed)


def is_read(node: ast.AST) -> TypeGuard[ast.Name | ast.Attribute]:
    """Whether the value of a variable is read there, ``x`` or ``self.x``."""
    return isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load) and bool(name_of(node))


def _reads(value: ast.AST, name: str) -> bool:
    return any(is_read(one) and name_of(one) == name for one in ast.walk(value))


def _is_seldom(one: ast.If | ast.While, name: str) -> bool:
    """Whether it is made for each so many items: ``if n % 100 == 0``, or ``if n >= 100: ...; n = 0``."""
    if any(isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mod) for part in ast.walk(one.test)):
        return True
    return any(_is_set_back(part, name) for part in walk(one.body))


def _is_set_back(node: ast.AST, name: str) -> bool:
    """Whether *node* sets the variable to a number."""
    return isinstance(node, ast.Assign) and any(
        name_of(target) == name and isinstance(value, ast.Constant) and type(value.value) is int
        for target, value in pairs_of(node)
    )


def _empties_a_file(value: ast.expr) -> bool:
    """Whether it is ``open(path, "w")``."""
    modes = value.args[1:2] if isinstance(value, ast.Call) and called(value) == "open" else []
    return any(isinstance(one, ast.Constant) and str(one.value)[:1] in ("w", "x") for one in modes)


def walk(statements: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes in them, without those of inner functions."""
    for one in statements:
        yield one
        if not isinstance(one, _Function):
            yield from walk(ast.iter_child_nodes(one))


def _collections_of(scope: ast.AST) -> set[str]:
    """The variables that hold lists, dicts and the like of the program, not collections of a checkpoint."""
    values: dict[str, list[ast.expr]] = defaultdict(list)
    for target, value in _assigned(scope):
        values[name_of(target)].append(value)
    return {name for name, all_of in values.items() if all(map(_is_collection, all_of))}


def _assigned(part: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What *part* assigns to, and the values."""
    for one in ast.walk(part):
        if isinstance(one, ast.Assign):
            yield from pairs_of(one)
        elif isinstance(one, ast.AnnAssign) and one.value is not None:
            yield one.target, one.value


def _is_collection(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return called(value) in _MADE
    is_part = isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Slice)
    return is_part or isinstance(value, _LITERALS) or (isinstance(value, ast.BinOp) and _is_collection(value.left))


def times_in(part: ast.AST) -> set[str]:
    """The variables that only times are put into: of the last request, of all items, items for each second."""
    values: dict[str, list[ast.expr]] = defaultdict(list)
    for target, value in _assigned(part):
        values[base_of(target)].append(value)
    for one in ast.walk(part):
        if isinstance(one, ast.AugAssign):
            values[base_of(one.target)].append(one.value)
        elif isinstance(one, ast.For | ast.AsyncFor | ast.comprehension):
            for name in ast.walk(one.target):
                values[name_of(name)].append(one.iter)
        elif isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in CHANGES:
            values[base_of(one.func.value)] += one.args
    times: set[str] = set()
    for _ in values:
        more = {
            name
            for name, all_of in values.items()
            if any(is_time(one, times) for one in all_of)
            and all(is_time(one, times) or _is_blank(one) for one in all_of)
        }
        if more == times:
            break
        times = more
    return times - {""}


def _is_blank(value: ast.expr) -> bool:
    is_literal = isinstance(value, ast.Constant | _LITERALS)
    return is_literal and not any(isinstance(one, ast.expr) for one in ast.iter_child_nodes(value))
