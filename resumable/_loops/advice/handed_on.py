"""Warns of a body that hands its items on, to a pool, a queue, a list or a transaction: they count as done at once."""

from __future__ import annotations

import ast
import functools
import logging
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..._runtime.interpreter import variable_in
from .begun_anew import PLAIN, names_of_state
from .carried import carried_by
from .helpers import value_in
from .written import Written, called, loop_at, name_of

if TYPE_CHECKING:
    from ..loop import LoopOwner

_log = logging.getLogger("resumable")

_POOLS = ("submit", "apply_async", "map_async", "imap", "imap_unordered", "starmap_async", "run_in_executor")
_QUEUES = ("put", "put_nowait")
_TASKS = ("create_task", "ensure_future", "start_soon", "run_coroutine_threadsafe")
_STARTED = ("Thread", "Process", "Popen")
_ADDS = frozenset(("add", "append", "extend"))
_EXECUTES = frozenset(("execute", "executemany"))
_CHANGES = ("delete", "insert", "replace", "update")
_DATABASES = ("MySQLdb", "mysql", "psycopg", "psycopg2", "pymysql", "sqlite3")
_NAMES = frozenset((*_POOLS, *_QUEUES, *_TASKS, *_STARTED))
_WAITS = frozenset(
    ("as_completed", "communicate", "gather", "get", "join", "result", "results", "wait", "wait_for", "poll")
)
_QUEUE_MODULES = ("queue", "_queue", "asyncio.queues", "multiprocessing.queues", "janus", "culsans")


def look_at_handed_on(owner: LoopOwner[Any], frame: FrameType) -> bool:
    """*frame* gets the items of a loop of *owner*: warn if its body only hands them on.

    Returns:
        Whether it may, as far as its text shows.
    """
    names = frame.f_code.co_names
    if _NAMES.isdisjoint(names) and _ADDS.isdisjoint(names) and _EXECUTES.isdisjoint(names):
        return False
    written = loop_at(frame)
    if written is None:
        return False
    for name, receiver in _handed_on(written):
        if name not in _QUEUES or _is_queue(frame, receiver):
            _say_handed_on(owner.operation_id, name)
    collects = carried_by(written).collects - names_of_state(written)
    for name in sorted(collects):
        value = value_in(frame, name)
        if type(value) in PLAIN and not value:
            _say_collects(owner.operation_id, name)
    databases = _uncommitted(written)
    if any(_is_in_transactions(value_in(frame, name)) for name in databases):
        _say_uncommitted(owner.operation_id)
    return bool(collects or databases or _handed_on(written))


@functools.lru_cache(maxsize=256)
def _handed_on(written: Written) -> tuple[tuple[str, str], ...]:
    """The calls that hand an item on: the function, and the variable that it belongs to."""
    calls = [one for statement in written.loop.body for one in _calls(statement)]
    names = {called(one) for one in calls}
    awaited = {id(one.value) for one in ast.walk(written.loop) if isinstance(one, ast.Await)}
    if not names.isdisjoint(_WAITS) or _awaits_a_variable(written):
        return ()
    own = _set_in(written.loop)
    return tuple(
        (name, receiver)
        for one in calls
        if (name := called(one)) in _NAMES and (id(one) not in awaited or name in _QUEUES)
        for receiver in [getattr(getattr(one.func, "value", None), "id", "")]
        if receiver not in own and not own.isdisjoint(_given_to(one))
    )


@functools.lru_cache(maxsize=256)
def _uncommitted(written: Written) -> frozenset[str]:
    """The connections or cursors by which the body writes to a database, if it commits nothing."""
    nodes = [node for one in written.loop.body for node in ast.walk(one)]
    calls = [one for one in nodes if isinstance(one, ast.Call)]
    if any(called(one) in ("commit", "begin", "transaction") for one in calls):
        return frozenset()
    names = {name_of(one.func.value) for one in calls if isinstance(one.func, ast.Attribute) and _is_change(one)}
    blocks = {name_of(item.context_expr) for one in nodes if isinstance(one, ast.With) for item in one.items}
    return frozenset() if blocks - {""} else frozenset(names - {""})  # with db: commits at its end


def _is_change(call: ast.Call) -> bool:
    text = call.args[0] if called(call) in _EXECUTES and call.args else None
    is_text = isinstance(text, ast.Constant) and isinstance(text.value, str)
    return is_text and text.value.lstrip().lower().startswith(_CHANGES)  # type: ignore[union-attr]


def _is_in_transactions(value: Any) -> bool:
    """Whether it is a connection, or a cursor of one, whose changes count only after ``commit``."""
    connection = getattr(value, "connection", value)
    if type(connection).__module__.partition(".")[0] not in _DATABASES:
        return False
    is_automatic = (
        getattr(connection, "autocommit", False) is True or getattr(connection, "isolation_level", "") is None
    )
    return not is_automatic


def _calls(statement: ast.stmt) -> Iterator[ast.Call]:
    return (one for one in ast.walk(statement) if isinstance(one, ast.Call))


def _awaits_a_variable(written: Written) -> bool:
    """Whether the body waits for a task that it has made."""
    return any(isinstance(one, ast.Await) and isinstance(one.value, ast.Name) for one in ast.walk(written.loop))


def _given_to(call: ast.Call) -> Iterator[str]:
    """The variables in its arguments."""
    given = (*call.args, *(one.value for one in call.keywords))
    return (part.id for one in given for part in ast.walk(one) if isinstance(part, ast.Name))


def _set_in(loop: ast.AST) -> set[str]:
    """The variables that the loop itself sets: a pool that is opened in its body ends there, too."""
    return {one.id for one in ast.walk(loop) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}


def _is_queue(frame: FrameType, receiver: str) -> bool:
    return bool(receiver) and type(variable_in(frame, receiver)).__module__ in _QUEUE_MODULES


@functools.lru_cache(maxsize=256)
def _say_handed_on(operation_id: str, name: str) -> None:
    _log.warning(
        "%s: the loop hands its items on by %s(), so they count as done before the work on them, which is lost at a "
        "kill.\n  Use cp.map(fn, items, executor=pool), in async code cp.amap(fn, items), or wait for the result "
        "in the body",
        operation_id,
        name,
    )


@functools.lru_cache(maxsize=256)
def _say_collects(operation_id: str, name: str) -> None:
    _log.warning(
        "%s: the loop collects items in %r, and works on several at once. What it holds at a kill counts as done, and "
        "is lost.\n  Make batches first: cp.remaining(list(batched(items, 3)))",
        operation_id,
        name,
    )


@functools.lru_cache(maxsize=256)
def _say_uncommitted(operation_id: str) -> None:
    _log.warning(
        "%s: the loop writes to a database, and its body commits nothing: its items count as done, but a kill loses "
        "their rows.\n  Commit in the body: with db: db.execute(...)",
        operation_id,
    )
