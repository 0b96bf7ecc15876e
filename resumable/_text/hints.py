"""What to write instead of an argument that is not there: people guess names from other libraries."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

_STRATEGY = "strategy=every(minutes=5), or every(items=100)"
_MANAGERS = "save_strategy=every(minutes=5)"
_STORE = 'store="a/directory"'
_KEY = 'store=EncryptedStore(FileStore("a/directory"), key)'
_RETRY = "retry=tenacity.Retrying(stop=tenacity.stop_after_attempt(5), reraise=True)"
_EXECUTOR = "executor=lambda: ThreadPoolExecutor(8), or ProcessPoolExecutor(8)"
WRITE = {
    **dict.fromkeys(("every", "interval", "interval_seconds", "save_every", "frequency"), (_STRATEGY, _MANAGERS)),
    "save_strategy": _STRATEGY,
    "strategy": _MANAGERS,
    **dict.fromkeys(("minutes", "seconds", "items_interval", "every_items", "every_seconds"), _STRATEGY),
    **dict.fromkeys(("checkpoint_dir", "dir", "directory", "folder", "path", "file", "filename", "url"), _STORE),
    **dict.fromkeys(("storage", "backend", "db", "database", "where", "location"), _STORE),
    **dict.fromkeys(("compress", "compression"), 'store="sqlite:///file.db?compress=zstd"'),
    **dict.fromkeys(("encrypt", "encryption", "password", "key_file", "secret"), _KEY),
    **dict.fromkeys(("retries", "max_retries", "attempts", "max_attempts", "tries"), _RETRY),
    **dict.fromkeys(("bar", "tqdm", "show_progress", "verbose", "pbar"), "progress=True"),
    **dict.fromkeys(("restart", "fresh", "reset", "overwrite", "start_over", "force"), "resume=False"),
    **dict.fromkeys(("id", "op_id", "key_id", "job", "job_id", "task"), "operation_id=..."),
    **dict.fromkeys(("name", "desc", "label", "title"), ("name=...", "operation_id=...")),
    **dict.fromkeys(("length", "n", "size", "total_items"), "total=..."),
    **dict.fromkeys(("cleanup", "keep", "delete", "remove"), "auto_cleanup=..."),
    **dict.fromkeys(("schema", "type", "model", "state_type"), "state=MyState"),
    **dict.fromkeys(("workers", "max_workers", "n_jobs", "threads", "processes", "pool"), _EXECUTOR),
    **dict.fromkeys(("concurrency", "semaphore", "max_concurrency"), "max_in_flight=..."),
    **dict.fromkeys(("max_items", "count", "first_n"), "limit=..."),
    "limit": ("limit=...", "max_in_flight=..."),
    **dict.fromkeys(("chunksize", "chunk_size", "batch_size"), "batch=..."),
    **dict.fromkeys(("errors", "skip_errors", "raise_errors", "return_exceptions"), 'on_error="skip"'),
    **dict.fromkeys(("id_of", "key_func", "by"), "key=..."),
    **dict.fromkeys(("cursor", "first", "page", "since"), "start=..."),
    **dict.fromkeys(("iterable", "data", "values", "sequence"), "items"),
    **dict.fromkeys(
        ("callback", "callbacks", "on_save", "on_done", "on_error_event", "hooks", "notify", "logger"), "on_event=..."
    ),
    **dict.fromkeys(("timeout", "time_limit", "max_time", "deadline"), "max_runtime=..."),
    **dict.fromkeys(("max_cost", "cost", "max_spend"), 'budget={"usd": 5}'),
    **dict.fromkeys(("rate_limit", "rate_limits", "quota", "rps"), "cp.observe(response)"),
    **dict.fromkeys(("when_finished", "if_done", "on_done_again"), 'when_done="skip"'),
}
"""By the name that was given; of those that the called function does not have."""

_BELONGS = {
    "cp.remaining(items, {})": ("items", "key", "limit", "fingerprint", "retry_failed", "name"),
    "cp.map(fn, items, {})": (
        *("executor", "on_error", "max_failed", "batch", "max_in_flight", "grace", "max_crashes"),
    ),
    "cp.pages(fetch, {})": ("start", "changed"),
    'checkpointed("my job", {})': (
        *("strategy", "store", "resume", "total", "state", "auto_cleanup", "progress", "retry", "max_runtime"),
        *("budget", "on_save_error", "when_done", "nan", "on_event", "stop_signals", "on_exhausted"),
    ),
}
"""Where an argument belongs that the called function does not have."""


def unknown_argument(function: str, given: Iterable[str], known: Mapping[str, object]) -> TypeError:
    """The error for the first of *given* that is not *known*: it names what the user means, as far as can be told."""
    name = next(one for one in given if one not in known)
    names = ", ".join(one for one in known if one not in ("self", "cls"))
    advice = _advice(name, known)
    return TypeError(
        f"{function}() has no argument {name!r}: " + (f"write {advice}" if advice else f"its arguments are {names}")
    )


def _advice(name: str, known: Mapping[str, object]) -> str:
    guesses = WRITE.get(name, f"{name}=...")
    guesses = (guesses,) if isinstance(guesses, str) else guesses
    for guess in guesses:
        if guess.partition("=")[0] in known:
            return guess
    if close := difflib.get_close_matches(name, known, 1, 0.8):
        return f"{close[0]}=..."
    for guess in guesses:
        if guess.startswith("cp."):
            return guess
        for call, its in _BELONGS.items():
            if guess.partition("=")[0] in its:
                return call.format(guess).replace("items, items=...", "items").replace("items, items", "items")
    close = difflib.get_close_matches(name, known, 1)
    return f"{close[0]}=..." if close else ""


def _arguments(function: Callable[..., Any]) -> tuple[dict[str, None], int | None]:
    """The names of its arguments, and how many of them may be given by position."""
    code = inspect.unwrap(function).__code__
    known = dict.fromkeys(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    return known, None if code.co_flags & inspect.CO_VARARGS else code.co_argcount


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Have *function* name the right argument where it is called with one that it does not have, or with too many."""
    called, (known, takes) = function.__name__, _arguments(function)
    takes_two = takes is None or takes > 1
    untyped: Callable[..., Any] = function

    @functools.wraps(function)
    def call(first: Any = _MISSING, second: Any = _MISSING, /, *args: Any, **kwargs: Any) -> Any:
        has_two = takes_two and second is not _MISSING
        if has_two and not kwargs and not args:
            return untyped(first, second)  # as most often; packed into args, it would take twice as long
        for given in kwargs:
            if given not in known:
                raise unknown_argument(called, kwargs, known)
        if has_two and (takes is None or len(args) <= takes - 2):
            return untyped(first, second, *args, **kwargs)
        args = tuple(one for one in (first, second) if one is not _MISSING) + args
        if takes is not None and len(args) > takes:
            raise TypeError(_by_name_only(called, known, takes))
        return untyped(*args, **kwargs)

    return cast("Callable[P, R]", call)


_MISSING: Any = object()
_EXPLAINED_LATER: dict[str, Callable[..., Any]] = {}


def explained_later(function: Callable[P, R]) -> Callable[P, R]:
    """Have a note name the right argument, once the error of a wrong call leaves the block: no call takes longer."""
    _EXPLAINED_LATER[function.__qualname__] = function
    return function


def _by_name_only(called: str, known: Mapping[str, object], takes: int) -> str:
    return f"{called}() takes these by name only: " + ", ".join(f"{one}=..." for one in list(known)[takes:])


def _wrong_argument(message: str) -> str | None:
    """What to write, if *message* is Python's for a call of what is explained later."""
    call = re.match(r"([\w.]+)\(\) (got an unexpected keyword argument '(\w+)'|takes .* positional argument)", message)
    if call is None or (function := _EXPLAINED_LATER.get(call[1])) is None:
        return None
    known, takes = _arguments(function)
    if call[3]:
        return str(unknown_argument(function.__name__, [call[3]], known))
    return None if takes is None else _by_name_only(function.__name__, known, takes)


_MISUSES = {
    "'async for' requires an object with __aiter__ method, got (Passing|Stepping|Small|Map)": (
        "write `for`; or, in async code, `async with checkpointed(...)` around `async for`"
    ),
    "'Async\\w+' object is not iterable": "write `async for`",
    "object NoneType can't be used in 'await' expression": "in async code write `async with checkpointed(...)`",
    "'Checkpoint' object has no attribute 'amap'": "write `async with checkpointed(...)`, or cp.map(fn, items)",
    "'(Async)?Checkpoint' object is not (callable|iterable)": "write cp.remaining(items)",
    "'(Async)?Checkpoint' object (is not subscriptable|does not support item)": 'write cp.state["name"]',
}
"""What to write, by how Python's message begins."""


def note_on_misuse(error: BaseException) -> None:
    """Tell in a note of *error* what to write instead, where a checkpoint was used as something that it is not."""
    if isinstance(error, TypeError | AttributeError):
        for message, advice in _MISUSES.items():
            if re.match(message, str(error)):
                error.add_note(f"resumable: {advice}")
        if wrong := _wrong_argument(str(error)):
            error.add_note(f"resumable: {wrong}")
