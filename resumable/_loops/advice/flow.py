"""What the body of a loop reads, sets and changes, and in which order."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from .written import CHANGES, PUSHES, Head, called, name_of, next_of, prefixes

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_PLACES = ("at", "iat", "iloc", "loc")
_LEAVES = ast.Continue | ast.Break | ast.Return | ast.Raise


class Flow:
    """Goes through a body in the order in which it runs.

    Attributes:
        exposed: Variables that may be read before the body has set them.
        stored: Variables that it sets. ``own``: those of them without a dot.
        changed: Variables whose value it changes in place.
        read: Variables that it reads otherwise than to change them.
        nexts: Arguments of ``next()``.
        at_end: Variables that are set on each way to the end of the body; None if no way leads there.
        made_where_missing: Variables that it only sets where they are None.
        added, emptied: Variables that it puts something into, or makes empty.
    """

    def __init__(self, loop: Head) -> None:
        self.exposed: set[str] = set()
        self.stored: set[str] = set()
        self.own: set[str] = set()
        self.changed: set[str] = set()
        self.read: set[str] = set()
        self.nexts: set[str] = set()
        self.at_end: set[str] | None = None
        self.made_where_missing: set[str] = set()
        self.added: set[str] = set()
        self.emptied: set[str] = set()
        self._stores: dict[str, int] = {}
        self._inner = 0
        self._pass(loop)

    def _pass(self, loop: Head) -> None:
        known: set[str] = set()
        if isinstance(loop, ast.While):
            self._expression(loop.test, known)
        else:
            self._store(loop.target, known)
            self.own = set(known)
        self._ends(self._statements(loop.body, known))

    def _ends(self, known: set[str] | None) -> None:
        if known is not None and not self._inner:
            self.at_end = set(known) if self.at_end is None else self.at_end & known

    def _statements(self, statements: list[ast.stmt], known: set[str]) -> set[str] | None:
        """Returns what is set after them; None if nothing runs after them."""
        here: set[str] | None = known
        for one in statements:
            if here is None:
                return None
            here = self._statement(one, here)
        return here

    def _statement(self, one: ast.stmt, known: set[str]) -> set[str] | None:
        if isinstance(one, ast.If):
            return self._if(one, known)
        if isinstance(one, ast.For | ast.AsyncFor | ast.While):
            self._loop(one, known)
        elif isinstance(one, ast.Try | ast.TryStar):
            return self._try(one, known)
        elif isinstance(one, ast.With | ast.AsyncWith):
            for item in one.items:
                self._expression(item.context_expr, known)
                if item.optional_vars is not None:
                    self._store(item.optional_vars, known)
            return self._statements(one.body, known)
        elif isinstance(one, ast.Match):
            self._expression(one.subject, known)
            return _both([*(self._statements(case.body, set(known)) for case in one.cases), set(known)])
        elif isinstance(one, _Function | ast.ClassDef):
            known.add(one.name)
        elif isinstance(one, _LEAVES):
            self._parts(one, known)
            if isinstance(one, ast.Continue):
                self._ends(known)
            return None
        else:
            self._simple(one, known)
        return known

    def _if(self, one: ast.If, known: set[str]) -> set[str] | None:
        self._expression(one.test, known)
        before = dict(self._stores)
        then = self._statements(one.body, set(known))
        missing = _tested_for_none(one.test)
        if missing and missing not in before and missing in self._stores:
            self.made_where_missing.add(missing)
        return _both([then, self._statements(one.orelse, set(known))])

    def _loop(self, one: ast.For | ast.AsyncFor | ast.While, known: set[str]) -> None:
        within = set(known)
        if isinstance(one, ast.While):
            self._expression(one.test, known)
        else:
            self._expression(one.iter, known)
            self._store(one.target, within)
        self._inner += 1
        self._statements(one.body, within)
        self._inner -= 1
        self._statements(one.orelse, set(known))

    def _try(self, one: ast.Try | ast.TryStar, known: set[str]) -> set[str] | None:
        ways = [self._statements(one.body + one.orelse, set(known))]
        for handler in one.handlers:
            ways.append(self._statements(handler.body, known | ({handler.name} if handler.name else set())))
        after = _both(ways)
        last = self._statements(one.finalbody, set(known))
        return None if after is None or last is None else after | last

    def _simple(self, one: ast.stmt, known: set[str]) -> None:
        if isinstance(one, ast.Assign):
            self._expression(one.value, known)
            for target in one.targets:
                self._store(target, known)
                if is_empty(one.value):
                    self.emptied.add(name_of(target))
        elif isinstance(one, ast.AugAssign):
            self._expression(one.value, known)
            if name := name_of(one.target):
                self._load(name, known)
                self._put(name, known)
            else:
                self._store(one.target, known)
        elif isinstance(one, ast.AnnAssign):
            if one.value is not None:
                self._expression(one.value, known)
                self._store(one.target, known)
        else:
            self._parts(one, known)

    def _parts(self, one: ast.AST, known: set[str]) -> None:
        for part in ast.iter_child_nodes(one):
            if isinstance(part, ast.expr):
                self._expression(part, known)

    def _store(self, target: ast.expr, known: set[str]) -> None:
        if name := name_of(target):
            self._put(name, known)
        elif isinstance(target, ast.Subscript):
            self._change(target.value, known)
            self._expression(target.slice, known)
        elif isinstance(target, ast.Tuple | ast.List | ast.Starred):
            for part in ast.iter_child_nodes(target):
                if isinstance(part, ast.expr):
                    self._store(part, known)

    def _put(self, name: str, known: set[str]) -> None:
        self.stored.add(name)
        self._stores[name] = self._stores.get(name, 0) + 1
        known.add(name)
        if name in self.made_where_missing:
            self.made_where_missing.discard(name)

    def _change(self, node: ast.expr, known: set[str]) -> None:
        while isinstance(node, ast.Subscript):
            self._expression(node.slice, known)
            node = node.value
        if isinstance(node, ast.Attribute) and node.attr in _PLACES:
            node = node.value
        if name := name_of(node):
            self.changed.add(name)
            self._load(name, known, is_read=False)
        else:
            self._expression(node, known)

    def _load(self, name: str, known: set[str], *, is_read: bool = True) -> None:
        if is_read:
            self.read.add(name)
        if known.isdisjoint(prefixes(name)):
            self.exposed.add(name)

    def _expression(self, one: ast.expr, known: set[str]) -> None:
        if isinstance(one, ast.NamedExpr):
            self._expression(one.value, known)
            self._store(one.target, known)
        elif isinstance(one, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            self._comprehension(one, known)
        elif isinstance(one, ast.Lambda):
            self._expression(one.body, known | {each.arg for each in ast.walk(one.args) if isinstance(each, ast.arg)})
        elif isinstance(one, ast.Call):
            self._call(one, known)
        elif name := name_of(one):
            for each in prefixes(name):
                self._load(each, known)
        else:
            self._within(one, known)

    def _call(self, one: ast.Call, known: set[str]) -> None:
        if name := next_of(one):
            self.nexts.add(name)
        if called(one) in PUSHES and one.args:
            self._change(one.args[0], known)
            self._within(ast.Tuple(one.args[1:], ast.Load()), known)
        elif isinstance(one.func, ast.Attribute):
            if one.func.attr in CHANGES or one.func.attr == "clear":
                self._change(one.func.value, known)
                (self.emptied if one.func.attr == "clear" else self.added).add(name_of(one.func.value))
            else:
                self._expression(one.func.value, known)
            for part in (*one.args, *(each.value for each in one.keywords)):
                self._expression(part, known)
        else:
            self._within(one, known)

    def _within(self, one: ast.AST, known: set[str]) -> None:
        for part in ast.iter_child_nodes(one):
            if isinstance(part, ast.expr):
                self._expression(part, known)
            elif isinstance(part, ast.keyword):
                self._expression(part.value, known)

    def _comprehension(
        self, one: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, known: set[str]
    ) -> None:
        within = set(known)
        for part in one.generators:
            self._expression(part.iter, within)
            within |= {each.id for each in ast.walk(part.target) if isinstance(each, ast.Name)}
            for test in part.ifs:
                self._expression(test, within)
        for value in (one.key, one.value) if isinstance(one, ast.DictComp) else (one.elt,):
            self._expression(value, within)


def _both(ways: Iterable[set[str] | None]) -> set[str] | None:
    """What is set whichever way is taken. A way that leads nowhere does not count."""
    taken = [way for way in ways if way is not None]
    return set.intersection(*taken) if taken else None


def _tested_for_none(test: ast.expr) -> str:
    """``x`` of ``x is None``, ``not x`` and ``x is None or y``; "" of another test, as ``x is None or item > x``."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return name_of(test.operand)
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        name = _tested_for_none(test.values[0])
        return "" if any(_is_used(one, name) for one in test.values[1:]) else name
    return name_of(test.left) if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is) else ""


def _is_used(value: ast.expr, name: str) -> bool:
    """Whether the variable itself stands in *value*, not only an attribute of it."""
    bases = {id(one.value) for one in ast.walk(value) if isinstance(one, ast.Attribute)}
    return any(name_of(one) == name and id(one) not in bases for one in ast.walk(value))


def is_empty(value: ast.expr) -> bool:
    return isinstance(value, ast.List | ast.Dict) and not list(ast.iter_child_nodes(value))[:-1]
