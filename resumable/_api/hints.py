"""What to write instead of an argument that is not there: people guess names from other libraries."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_STRATEGY = "strategy=every(minutes=5), or every(items=100)"
_STORE = 'store="a/directory"'
_RETRY = "retry=tenacity.Retrying(stop=tenacity.stop_after_attempt(5), reraise=True)"
_EXECUTOR = "executor=lambda: ThreadPoolExecutor(8), or ProcessPoolExecutor(8)"
_PROGRESS = "progress=True"
WRITE = {
    **dict.fromkeys(("every", "interval", "interval_seconds", "save_every", "save_strategy", "frequency"), _STRATEGY),
    **dict.fromkeys(("minutes", "seconds", "items_interval"), _STRATEGY),
    **dict.fromkeys(("checkpoint_dir", "dir", "directory", "folder", "path", "file", "filename", "url"), _STORE),
    **dict.fromkeys(("retries", "max_retries", "attempts", "max_attempts", "tries"), _RETRY),
    **dict.fromkeys(("bar", "tqdm", "show_progress", "verbose", "pbar"), _PROGRESS),
    **dict.fromkeys(("restart", "fresh", "reset", "overwrite", "start_over", "force"), "resume=False"),
    **dict.fromkeys(("id", "desc", "key_id", "job", "task"), "operation_id=..."),
    **dict.fromkeys(("length", "n", "size", "total_items"), "total=..."),
    **dict.fromkeys(("cleanup", "keep", "delete", "remove"), "auto_cleanup=..."),
    **dict.fromkeys(("workers", "max_workers", "n_jobs", "threads", "processes", "pool"), _EXECUTOR),
    **dict.fromkeys(("concurrency", "limit", "semaphore", "max_concurrency"), "max_in_flight=..."),
    **dict.fromkeys(("chunksize", "chunk_size", "batch_size"), "batch=..."),
    **dict.fromkeys(("errors", "skip_errors", "raise_errors", "return_exceptions"), 'on_error="skip"'),
    **dict.fromkeys(("id_of", "key_func", "by"), "key=..."),
    **dict.fromkeys(("cursor", "first", "page", "since"), "start=..."),
    **dict.fromkeys(
        ("callback", "callbacks", "on_save", "on_done", "on_error_event", "hooks", "notify"), "on_event=..."
    ),
    **dict.fromkeys(("timeout", "time_limit", "max_time"), "max_runtime=..."),
}
"""By the name that was given; of those that the called function does not have."""


def unknown_argument(function: str, given: Iterable[str], known: Mapping[str, object]) -> TypeError:
    """The error for the first of *given* that is not *known*: it names what the user means, as far as can be told."""
    name = next(one for one in given if one not in known)
    advice = WRITE.get(name, "")
    if advice.partition("=")[0] not in known:
        close = difflib.get_close_matches(name, known, 1)
        advice = f"{close[0]}=..." if close else ""
    names = ", ".join(one for one in known if one not in ("self", "cls"))
    return TypeError(
        f"{function}() has no argument {name!r}: " + (f"write {advice}" if advice else f"its arguments are {names}")
    )


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Have *function* name the right argument where it is called with one that it does not have."""
    code, name = inspect.unwrap(function).__code__, function.__name__
    known = dict.fromkeys(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if kwargs and not kwargs.keys() <= known.keys():
            raise unknown_argument(name, kwargs, known)
        return function(*args, **kwargs)

    return call
