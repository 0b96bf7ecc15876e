"""Detects what iterates over a loop. Taking items ahead of the work makes them count as done: refuse it, or warn."""

from __future__ import annotations

import functools
import logging
import re
import threading
from types import CodeType

from .._runtime.interpreter import code_of, is_alive, package_of, running_here, running_text

_log = logging.getLogger("resumable")

_POOLS = frozenset(
    ("billiard", "concurrent", "dask", "distributed", "joblib", "loky", "multiprocess", "multiprocessing", "ray")
)
"""Packages with functions that take all items before they give the first result."""
_NUMBERING = frozenset(("accumulate", "enumerate", "zip", "zip_longest"))
_AHEAD = frozenset(("batched", "chunked", "groupby", "pairwise", "peekable", "sliding_window", "tee", "windowed"))
_CALL = re.compile(r"(?:\w+\.)*(\w+)\(")
_CHUNK = re.compile(r"(?:\w+\.)*(?:deque|frozenset|list|set|sorted|tuple)\((?:\w+\.)*islice\(")
_AHEAD_OR_ISLICE = _AHEAD | {"islice"}


def refuse_pools() -> None:
    """Refuse a pool that iterates two calls up: after a kill, its queued items would be skipped.

    Raises:
        RuntimeError: It is a pool.
    """
    package = package_of(3)
    if package in _POOLS:
        raise RuntimeError(
            f"{package} takes all items of this loop ahead of the work, so they would count as done before they are; "
            "use cp.map(fn, items), with your pool as executor="
        )


def look_at_call(operation_id: str, position: int) -> bool:
    """Warn if a function such as ``enumerate`` stands between ``for`` and a loop that resumes at *position*.

    Returns:
        Whether it warned of one that counts from its beginning.
    """
    call = _CALL.match(running_text(3, _AHEAD | _NUMBERING if position else _AHEAD))
    name = call[1] if call is not None else ""
    if name in _AHEAD:
        _say_ahead(operation_id, name)
    elif position and name in _NUMBERING:
        say_numbering(operation_id, position, name)
        return True
    return False


def say_numbering(operation_id: str, position: int, name: str) -> None:
    """Warn that the function *name*, around a loop that goes on, counts from its own beginning."""
    _log.warning(
        "%s: the loop goes on at item %s, but %s() around it starts from its beginning.\n"
        "  Put it inside: cp.remaining(%s(...))",
        operation_id,
        f"{position:,}",
        name,
        name,
    )


def look_at_pull(operation_id: str) -> CodeType | None:
    """Warn if the code that asks for the first item, two calls up, takes chunks ahead of the work.

    Returns:
        The asking code if it takes no items ahead and is not a pool's; otherwise None.
    """
    code = code_of(3)
    if _AHEAD_OR_ISLICE.isdisjoint(code.co_names):
        return None if package_of(3) in _POOLS else code
    text = running_text(3, _AHEAD_OR_ISLICE)
    call = _CALL.match(text)
    if call is not None and call[1] in _AHEAD:
        _say_ahead(operation_id, call[1])
    elif _CHUNK.match(text):
        say_takes_ahead(operation_id, "list(islice(...))")
    return None


@functools.lru_cache(maxsize=256)
def say_takes_ahead(operation_id: str, what: str) -> None:
    """Warn once that *what*, in the program's text, takes several items before the work on the first."""
    _log.warning(
        "%s: %s takes items from the loop ahead of the work, and all but the last count as done.\n"
        "  Make the batches first: cp.remaining(list(batched(items, 3)))",
        operation_id,
        what,
    )


@functools.lru_cache(maxsize=256)
def say_grown(operation_id: str, name: str) -> None:
    """Warn once that the list which a loop iterates over has grown meanwhile."""
    _log.warning(
        "%s: the list of the loop %r grew while the loop ran: the new items are not saved, and are lost when the "
        'program starts again.\n  Keep the list: todo = cp.log("todo"), filled once, and cp.remaining(todo)',
        operation_id,
        name,
    )


@functools.lru_cache(maxsize=256)
def _say_ahead(operation_id: str, name: str) -> None:
    _log.warning(
        "%s: %s() around the loop takes items ahead of the work, so they count as done.\n"
        "  Put it inside: cp.remaining(%s(...))",
        operation_id,
        name,
        name,
    )


@functools.lru_cache(maxsize=256)
def say_next(operation_id: str) -> None:
    """Say once that a loop's body takes more items off it."""
    _log.warning(
        "%s: next() in the body of the loop takes another item, so the present one counts as done before its work.\n"
        "  Make pairs or batches first: cp.remaining(list(batched(items, 2)))",
        operation_id,
    )


def check_thread(made_in: int) -> None:
    """Refuse to continue in another thread than the one that the loop was *made_in*: that, too, takes items ahead.

    Raises:
        RuntimeError: It is another thread.
    """
    if threading.get_ident() != made_in:
        raise RuntimeError(
            "another thread than the one that made this loop takes its items, so they would count as done before they "
            "are; use cp.map(fn, items), with your pool as executor="
        )


def refuse_task(taker: object) -> None:
    """Refuse to continue in another task than *taker*, which is still at work on an item.

    Raises:
        RuntimeError: It is another task.
    """
    if taker is not None and taker is not running_here() and is_alive(taker):
        raise RuntimeError(
            "another task takes items of this loop while one is at work on its item, which would count as done before "
            "it is; use cp.amap(fn, items)"
        )


def cut_short() -> RuntimeError:
    """The error of a loop that cannot be iterated again."""
    return RuntimeError(
        "this loop was cut short by an error in its input or in a save, and an item may have been lost with it; "
        "call remaining() again with a fresh input"
    )
