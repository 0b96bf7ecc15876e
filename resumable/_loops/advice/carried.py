"""Which variables a loop's body carries on from one item to the next: they begin anew in a run that goes on."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from .harmless import caches, named_harmless, without_items
from .reach import Reach, read_in, reads_of, times_in, walk
from .written import CHANGES, PUSHES, Head, Written, assigned_in, called, name_of, next_of

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_PLACES = ("at", "iat", "iloc", "loc")
_LEAVES = ast.Continue | ast.Break | ast.Return | ast.Raise


class Carried(NamedTuple):
    """What a body carries on.

    Attributes:
        names: Variables, also of objects: ``self.count``.
        begins: The constant that each of them is set to before the loop, as far as that can be seen.
        nexts: Variables with other iterators, of which each item takes the next.
        reads: Variables that it only reads.
        made_where_missing: Variables that it only sets where they are None, as a connection that is kept.
        collects: Those that it adds to, and empties again, as a batch.
        shared: Those that count only if another function uses them for a result.
    """

    names: frozenset[str]
    begins: dict[str, object]
    nexts: frozenset[str]
    reads: frozenset[str]
    made_where_missing: frozenset[str]
    collects: frozenset[str]
    shared: frozenset[str]


@lru_cache(maxsize=256)
def carried_by(written: Written) -> Carried:
    """What the body of the loop carries on."""
    loop, scope, _ = written
    body = _Walk()
    body.body(loop)
    later, at_end = _read_later(written), body.at_end or set()
    if written.is_cell:  # another cell may read what this one only changes
        later |= (body.stored | body.changed) - _read_anywhere(scope)
    seen = later | _read_in_functions(written) | ((body.stored | body.changed) - assigned_in(scope))
    names = {
        name
        for name in body.stored | body.changed
        if name.partition(".")[0] not in body.own
        and (
            (name in body.stored and (name in body.exposed or (name not in at_end and name in seen)))
            or (name in body.changed and name in body.exposed and (name in body.read or name in seen))
        )
    }
    reach = Reach(list(ast.walk(loop)), scope, body.own)
    local = {name for name in names - later if not reach.lasts(name, later)}
    names -= (local - seen) | times_in(loop)
    names -= (named_harmless(names) | caches(loop, body.own)) - seen
    names -= _emptied_by_each_item(loop)
    names -= without_items(loop, body.own, names & body.stored)
    begins = {name: value for name in names for value in _constants(scope, loop, name)}
    own = {loop.iter.id} if isinstance(loop, ast.For | ast.AsyncFor) and isinstance(loop.iter, ast.Name) else set()
    nexts = {name for name in body.nexts if name in body.exposed and reach.lasts(name, later)} - own
    nexts -= named_harmless(nexts)
    reads = frozenset(body.exposed - names)
    collects = frozenset(names & body.added & body.emptied)
    made = frozenset(body.made_where_missing)
    return Carried(frozenset(names), begins, frozenset(nexts), reads, made, collects, frozenset(names & local))


@lru_cache(maxsize=256)
def is_for_results_here(written: Written, name: str) -> bool:
    """Whether the function of the loop uses *name* for a result."""
    later = _read_later(written)
    return name in later or Reach(list(ast.walk(written.loop)), written.scope, set()).lasts(name, later)


def _read_later(written: Written) -> set[str]:
    """The variables that are read after the loop, or in a loop around it; of an object as a whole, all attributes."""
    loop, scope, _ = written
    loops = [one for one in ast.walk(scope) if isinstance(one, Head) and any(part is loop for part in ast.walk(one))]
    around = {id(part) for one in loops if one is not loop for part in ast.walk(one)}
    inside = {id(part) for one in loop.body for part in ast.walk(one)} | set(map(id, _only_closed(scope)))
    end, set_anew = loop.body[-1].end_lineno or 0, _set_anew(scope, loop)
    reads = [
        one
        for one in read_in(walk([scope, *ast.iter_child_nodes(scope)]))
        if id(one) not in inside and (end < one.lineno <= set_anew.get(name_of(one), one.lineno) or id(one) in around)
    ]
    parts = {id(one.value) for one in ast.walk(scope) if isinstance(one, ast.Attribute)}
    whole = {one.id for one in reads if isinstance(one, ast.Name) and id(one) not in parts}
    changed = {name_of(one) for one in ast.walk(loop) if isinstance(getattr(one, "ctx", None), ast.Store)}
    return {name_of(one) for one in reads} | {one for one in changed if "." in one and one.partition(".")[0] in whole}


def _read_anywhere(scope: ast.AST) -> set[str]:
    """The variables that are read, and not only changed."""
    nodes = list(ast.walk(scope))
    filled = [one for one in nodes if isinstance(one, ast.Subscript) and isinstance(one.ctx, ast.Store)]
    only_changed = {id(part) for one in filled for part in (one.value, getattr(one.value, "value", None))}
    return {name_of(one) for one in reads_of(nodes) if id(one) not in only_changed}


def _only_closed(scope: ast.AST) -> Iterator[ast.AST]:
    """What is gone through only to close it: ``for one in connections.values(): one.close()``."""
    for one in ast.walk(scope):
        calls = [part.value for part in one.body if isinstance(part, ast.Expr)] if isinstance(one, ast.For) else []
        if isinstance(one, ast.For) and len(calls) == len(one.body) and all(map(_closes, calls)):
            yield from ast.walk(one.iter)


def _closes(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and called(node) in ("close", "quit")


def _emptied_by_each_item(loop: Head) -> set[str]:
    """The lists that are empty again at the end of each item."""
    found: set[str] = set()
    for one in loop.body:
        found -= {name_of(part) for part in ast.walk(one)}
        if any(isinstance(part, ast.Continue) for part in ast.walk(one)):
            return found
        found |= _emptied(one)
    return found


def _emptied(one: ast.stmt) -> set[str]:
    if isinstance(one, ast.Assign) and _is_empty(one.value):
        return {name_of(target) for target in one.targets}
    call = one.value if isinstance(one, ast.Expr) else None
    is_clear = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "clear"
    return {name_of(call.func.value)} if is_clear else set()  # type: ignore[union-attr]


def _is_empty(value: ast.expr) -> bool:
    return isinstance(value, ast.List | ast.Dict) and not list(ast.iter_child_nodes(value))[:-1]


def _read_in_functions(written: Written) -> set[str]:
    """The variables that functions beside the loop read, not those of their own."""
    loop, scope, _ = written
    inside = {id(part) for part in ast.walk(loop)}
    inner = [
        one for one in ast.walk(scope) if isinstance(one, _Function) and one is not scope and id(one) not in inside
    ]
    return {name for one in inner for name in {name_of(part) for part in read_in(ast.walk(one))} - assigned_in(one)}


def _set_anew(scope: ast.AST, loop: Head) -> dict[str, int]:
    """The lines after the loop at which its variables get other values, whatever happens."""
    blocks = [
        block
        for one in ast.walk(scope)
        for block in (getattr(one, "body", None), getattr(one, "orelse", None))
        if isinstance(block, list) and any(loop is part for part in block)
    ]
    found: dict[str, int] = {}
    for one in blocks[0] if blocks else ():
        if isinstance(one, ast.Assign) and one.lineno > loop.lineno:
            for target in one.targets:
                found.setdefault(name_of(target), one.end_lineno or one.lineno)
    return found


def _constants(scope: ast.AST, loop: Head, name: str) -> Iterable[object]:
    """The constant that *name* is set to by the last assignment before the loop; nothing if it is no constant."""
    found = [
        one.value
        for one in ast.walk(scope)
        if isinstance(one, ast.Assign | ast.AnnAssign) and one.value is not None and one.lineno < loop.lineno
        for target in (one.targets if isinstance(one, ast.Assign) else [one.target])
        if name_of(target) == name
    ]
    try:
        return [ast.literal_eval(max(found, key=lambda one: one.lineno))] if found else []
    except (ValueError, TypeError, SyntaxError):
        return []


class _Walk:
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

    def __init__(self) -> None:
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

    def body(self, loop: Head) -> None:
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
                if _is_empty(one.value):
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
        if name not in known and name.partition(".")[0] not in known:
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
            self._load(name, known)
            if "." in name:
                self._load(name.partition(".")[0], known)
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
