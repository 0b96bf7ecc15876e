"""Which variables a loop's body carries on from one item to the next: they begin anew in a run that goes on."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from .flow import Flow, is_empty
from .harmless import caches, named_harmless, without_items
from .reach import Reach, read_in, reads_of, times_in, walk
from .written import Head, Written, assigned_in, called, name_of, prefixes

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


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
    body = Flow(loop)
    later, at_end = _read_later(written), body.at_end or set()
    if written.is_cell:  # another cell may read what this one only changes
        later |= (body.stored | body.changed) - _read_anywhere(scope)
    seen = later | _read_in_functions(written) | ((body.stored | body.changed) - assigned_in(scope))
    names = {
        name
        for name in body.stored | body.changed
        if body.own.isdisjoint(prefixes(name))
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
    whole = {name_of(one) for one in reads if id(one) not in parts} - {""}
    changed = {name_of(one) for one in ast.walk(loop) if isinstance(getattr(one, "ctx", None), ast.Store)}
    return {name_of(one) for one in reads} | {one for one in changed if not whole.isdisjoint(prefixes(one)[1:])}


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
    if isinstance(one, ast.Assign) and is_empty(one.value):
        return {name_of(target) for target in one.targets}
    call = one.value if isinstance(one, ast.Expr) else None
    is_clear = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "clear"
    return {name_of(call.func.value)} if is_clear else set()  # type: ignore[union-attr]


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
