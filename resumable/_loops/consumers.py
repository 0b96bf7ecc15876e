"""Who goes through a loop. Whoever takes items ahead of the work is refused, or told of: they would count as done."""

from __future__ import annotations

import functools
import logging
import re
import threading

from .._runtime.interpreter import package_of, running_text

_log = logging.getLogger("resumable")

_POOLS = frozenset(
    ("billiard", "concurrent", "dask", "distributed", "joblib", "loky", "multiprocess", "multiprocessing", "ray")
)
"""Packages whose functions hand all items out before the first result is there."""
_NUMBERING = frozenset(("enumerate", "zip"))
_AHEAD = frozenset(("batched", "chunked", "groupby", "pairwise", "peekable", "sliding_window", "tee", "windowed"))
_CALL = re.compile(r"(?:\w+\.)*(\w+)\(")


def refuse_pools() -> None:
    """Refuse a pool that asks what calls this: after a kill, what it had only queued would be left out.

    Raises:
        RuntimeError: It is one.
    """
    package = package_of(3)
    if package in _POOLS:
        raise RuntimeError(
            f"this loop is gone through by {package}, which takes all items ahead of the work, so they would count as "
            "done before they are: use cp.map(fn, items), with a pool of yours as executor="
        )


def look_at_call(operation_id: str, position: int) -> None:
    """A loop that stands at *position* is begun by whoever asks what calls this: warn of a function in between."""
    call = _CALL.match(running_text(3, _AHEAD | _NUMBERING if position else _AHEAD))
    name = call[1] if call is not None else ""
    if name in _AHEAD:
        _say_ahead(operation_id, name)
    elif position and name in _NUMBERING:
        _log.warning(
            "%s: the loop goes on at item %s, but %s() around it begins anew; put it inside: cp.remaining(%s(...))",
            operation_id,
            f"{position:,}",
            name,
            name,
        )


@functools.lru_cache(maxsize=256)
def _say_ahead(operation_id: str, name: str) -> None:
    _log.warning(
        "%s: %s() around the loop takes items ahead of the work, and they count as done; put it inside: "
        "cp.remaining(%s(...))",
        operation_id,
        name,
        name,
    )


def check_thread(made_in: int) -> None:
    """Refuse to go on in another thread than the one that the loop was *made_in*: that takes items ahead, too.

    Raises:
        RuntimeError: This is another one.
    """
    if threading.get_ident() != made_in:
        raise RuntimeError(
            "this loop is pulled by another thread than the one that made it, so items would count as done before "
            "they are: use cp.map(fn, items), with a pool of yours as executor="
        )


def cut_short() -> RuntimeError:
    """The error of a loop whose iteration cannot be taken up again."""
    return RuntimeError(
        "this loop was cut short by an error in its input or in a save, and an item may have been lost with it; "
        "call remaining() again with a fresh input"
    )
