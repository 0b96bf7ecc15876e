"""Facts about the interpreter: its lock, frames, tasks, reference counts and streams."""

from __future__ import annotations

import contextlib
import gc
import linecache
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import cache, lru_cache, partial
from itertools import islice
from types import BuiltinMethodType, CodeType, FrameType, MethodType, MethodWrapperType, TracebackType
from typing import Any

from .._errors import ResumableError

_HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


HOST = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
"""This machine's name."""


def is_terminal(stream: Any) -> bool:
    """Whether a person sees immediately what is written to *stream*."""
    try:
        return bool(stream.isatty())
    except Exception:  # closed, or None
        return False


def has_gil() -> bool:
    """Whether this is CPython with its GIL: reference counts are exact, and threads switch only between calls."""
    return sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


def is_held_here(lock: threading.RLock) -> bool:
    """Whether the current thread holds *lock*. A signal handler asks this about the code that it interrupted."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]


_exit_codes: dict[type[BaseException], int] = {}


def end_with(code: int, kind: type[BaseException]) -> None:
    """If an error of *kind* ends the program, use the exit code *code*, not 1. The traceback is shown as usual."""
    _hook_end()
    _exit_codes[kind] = code


@cache
def _hook_end() -> None:
    sys.excepthook = partial(_show_and_exit, sys.excepthook)


def show_users_frames_only() -> None:
    """If a Ctrl-C or an error of this library ends the program, show only the user's frames in its traceback."""
    _hook_end()


def _show_and_exit(show: Callable[..., object], kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if isinstance(error, KeyboardInterrupt | ResumableError):
        _show_users_frames(error)
        trace = error.__traceback__
    show(kind, error, trace)
    for known, code in _exit_codes.items():
        if issubclass(kind, known):
            raise SystemExit(code)  # Python obeys it in this hook


def _show_users_frames(error: BaseException) -> None:
    """Reduce the traceback of *error* to the user's frames, and drop the library frames of its causes."""
    end_traceback_at_user(error)
    error.__traceback__ = _of_user(error.__traceback__)
    cause, known = error.__cause__, {id(error)}
    while cause is not None and id(cause) not in known:
        if _is_all_in_library(cause.__traceback__):
            cause.__traceback__ = None  # only its text is shown
        known.add(id(cause))
        cause = cause.__cause__


def _is_all_in_library(trace: TracebackType | None) -> bool:
    while trace is not None and _is_in_library(trace.tb_frame):
        trace = trace.tb_next
    return trace is None


# -- frames, threads and tasks


def frames() -> list[FrameType]:
    """The frames of the current thread, innermost first."""
    found: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def stack() -> dict[tuple[int, int], int]:
    """The active frames: the bytecode offset of each, by its address and the address of its code."""
    found, here = {}, sys._getframe(1)
    while here is not None:
        found[id(here), id(here.f_code)] = here.f_lasti
        here = here.f_back  # type: ignore[assignment]
    return found


def running_here() -> object:
    """The running asyncio task, or else the thread: the objects, because their numbers are reused."""
    asyncio = sys.modules.get("asyncio")  # if nobody has loaded it, no task runs
    if asyncio and asyncio._get_running_loop() is not None and (task := asyncio.current_task()) is not None:
        return task
    return threading.current_thread()


def is_alive(context: object) -> bool:
    """Whether that thread or task has not ended."""
    return context.is_alive() if isinstance(context, threading.Thread) else not context.done()  # type: ignore[attr-defined]


def references_to(thing: object) -> int:
    """The number of references to *thing*, with those of the caller; a huge number if unknown."""
    count = getattr(sys, "getrefcount", None)
    return sys.maxsize if count is None or not has_gil() else count(thing) - 1  # without the argument of this function


references: Callable[[object], int] = getattr(sys, "getrefcount", lambda _thing: sys.maxsize)
"""A faster :func:`references_to`, for interpreters with a GIL only: with its argument."""


def warn_user(text: str) -> None:
    """Warn at the line of the user's code that led here; without one, at the caller's line."""
    frame = next((frame for frame in frames() if not _is_in_library(frame)), None) or sys._getframe(1)
    known = frame.f_globals.setdefault("__warningregistry__", {})
    name = frame.f_globals.get("__name__")
    warnings.warn_explicit(text, UserWarning, frame.f_code.co_filename, frame.f_lineno, module=name, registry=known)


def is_named_by_user(names: frozenset[str]) -> bool:
    """Whether an active function of the user's mentions one of these names."""
    here = (frame for frame in frames() if not names.isdisjoint(frame.f_code.co_names))
    return any(not _is_in_library(frame) for frame in here)


def raised_at(error: BaseException) -> str:
    """File and line where *error* was raised; "" if it was not."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"


def code_of(depth: int) -> CodeType:
    """The code of the frame *depth* calls further out."""
    return sys._getframe(depth).f_code


def package_of(depth: int) -> str:
    """The top-level package of the frame *depth* calls further out."""
    return str(sys._getframe(depth).f_globals.get("__name__", "")).partition(".")[0]


def frame_at(depth: int) -> FrameType:
    """The frame *depth* calls further out."""
    return sys._getframe(depth)


def point_in(frame: FrameType) -> tuple[CodeType, int]:
    """The code of *frame*, and its present offset."""
    return frame.f_code, frame.f_lasti


def variable_in(frame: FrameType, name: str, default: Any = None) -> Any:
    """The variable *name* in *frame*; *default* if there is none."""
    return frame.f_locals.get(name, frame.f_globals.get(name, default))


def is_at_async_for(frame: FrameType) -> bool:
    """Whether *frame* begins an ``async for`` or an async comprehension now, and does not call ``aiter()``."""
    from opcode import opname  # seldom needed

    return opname[frame.f_code.co_code[frame.f_lasti]] == "GET_AITER"


def caller_of(frame: FrameType) -> FrameType | None:
    """The frame that called *frame*."""
    return frame.f_back


def is_standard_stream(file: object) -> bool:
    """Whether it is one of the streams that a process begins with."""
    return any(file is one for one in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__))


def running_text(depth: int, names: frozenset[str]) -> str:
    """The source from the beginning of the running expression *depth* calls further out; "" if unknown.

    Args:
        names: Return "" unless the code mentions one of these, because reading the source takes longer.
    """
    frame = sys._getframe(depth)
    if names.isdisjoint(frame.f_code.co_names):
        return ""
    line, _, column, _ = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), (None,) * 4)
    if line is None or column is None:
        return ""
    return linecache.getline(frame.f_code.co_filename, line).encode()[column:].decode(errors="replace")


_SKIPPED = frozenset(("CACHE", "EXTENDED_ARG", "PRECALL", "PUSH_NULL"))


def kept_in_variables_only(attribute: str, method: str) -> set[str]:
    """The keys of calls such as ``x = y.attribute.method("key", [])`` in the active functions.

    What is put into such a new list or dict is only in the variable, unless the key is assigned as well.
    """
    found: set[str] = set()
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        is_users = not code.co_filename.startswith(_HERE) and "-packages" not in code.co_filename
        if is_users and attribute in code.co_names and method in code.co_names:
            found |= _kept_in_variables(code, attribute, method)
        frame = frame.f_back
    return found


@lru_cache(maxsize=64)
def _kept_in_variables(code: CodeType, attribute: str, method: str) -> frozenset[str]:
    """Cached, because a program of many lines takes milliseconds, and may open thousands of blocks."""
    import dis  # imports slowly

    found: set[str] = set()
    steps = [one for one in dis.get_instructions(code) if one.opname not in _SKIPPED]
    for one in zip(*(steps[number:] for number in range(6)), strict=False):
        is_got = one[0].argval == attribute and one[1].argval == method and isinstance(one[2].argval, str)
        is_new = one[3].opname in ("BUILD_LIST", "BUILD_MAP") and one[3].arg == 0
        if is_got and is_new and one[4].opname == "CALL" and one[5].opname.startswith("STORE_"):
            found.add(one[2].argval)
    return frozenset(found)


def end_traceback_at_user(error: BaseException) -> None:
    """Remove this library's frames from the end of the traceback of *error*, after the user's last frame."""
    traces = []
    trace = error.__traceback__
    while trace is not None:
        traces.append(trace)
        trace = trace.tb_next
    files = [one.tb_frame.f_code.co_filename for one in traces]
    users = [number for number, file in enumerate(files) if not _is_of(file, (_HERE, *_library_folders()))]
    for number in range(users[-1] + 1 if users else len(files), len(files)):
        if _is_of(files[number], (_HERE,)):
            traces[number - 1].tb_next = None
            return


def _of_user(trace: TracebackType | None) -> TracebackType | None:
    """A copy of *trace* without the frames of libraries, except those at its end."""
    if trace is None or _is_in_library(trace.tb_frame):
        own = trace
        while own is not None and _is_in_library(own.tb_frame):
            own = own.tb_next
        return trace if own is None else _of_user(own)
    return TracebackType(_of_user(trace.tb_next), trace.tb_frame, trace.tb_lasti, trace.tb_lineno)


def _is_in_library(frame: FrameType) -> bool:
    return _is_of(frame.f_code.co_filename, (_HERE, *_library_folders()))


_line: ContextVar[str] = ContextVar("_line", default="")
"""The line of the running code, in a thread that works for it."""


@contextlib.contextmanager
def opening_from_here() -> Iterator[None]:
    """Inside the block, threads that claim an operation do so for the running code."""
    token = _line.set(user_line())
    try:
        yield
    finally:
        _line.reset(token)


def user_line() -> str:
    """File and line of the running code outside of this library."""
    if line := _line.get():
        return line
    for frame in frames():
        file = frame.f_code.co_filename
        if not file.startswith((_HERE, "<")) and "contextlib" not in file:
            return f"{file}:{frame.f_lineno}"
    return "an unknown line"


@cache
def hush_stopped_threads() -> None:
    """Suppress the traceback of a thread that this library ends by a Ctrl-C: the main thread shows one."""
    threading.excepthook = partial(_show_in_thread, threading.excepthook)


def _show_in_thread(show: Callable[..., object], args: threading.ExceptHookArgs) -> None:
    if not (_ends_here(args.exc_traceback) and issubclass(args.exc_type, KeyboardInterrupt)):
        show(args)


@cache
def hush_stopped_tasks() -> None:
    """Suppress asyncio's tracebacks of tasks that this library ends by a signal, and of those that wait for them."""
    logging.getLogger("asyncio").addFilter(_is_no_stop)


def _is_no_stop(record: logging.LogRecord) -> bool:
    kind, _, trace = record.exc_info or (None, None, None)
    return kind is None or not (issubclass(kind, KeyboardInterrupt | SystemExit) and _ends_here(trace))


def _ends_here(trace: TracebackType | None) -> bool:
    """Whether the innermost frame is one of this library."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and _is_of(trace.tb_frame.f_code.co_filename, (_HERE,))


@cache
def _library_folders() -> list[str]:
    import sysconfig  # only needed at a Ctrl-C

    return [os.path.join(path, "") for name, path in sysconfig.get_paths().items() if "lib" in name]


def _is_of(file: str, folders: Iterable[str]) -> bool:
    return file.startswith(("<frozen ", *folders))


@contextlib.contextmanager
def traced(trace: Callable[[FrameType, str, Any], Any]) -> Iterator[None]:
    """Inside the block, call *trace* for each line that this thread runs, as ``sys.settrace`` does."""
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


# -- reference counts -------------------------------------------------------------------------------------------------


reference_counts: Callable[[Iterable[object]], Iterator[int]] = partial(map, getattr(sys, "getrefcount", id))
"""The reference count of each of the values; it is :data:`ALONE` if only the iterated container refers to it."""
COUNTS_ARE_TRUE = has_gil()
"""Whether :func:`reference_counts` shows who holds an object."""
ALONE = max(reference_counts({"": []}.values())) if COUNTS_ARE_TRUE else 0


is_tracked: Callable[[object], bool] = getattr(gc, "is_tracked", lambda _: True)
"""Whether the garbage collector tracks an object. An untracked plain dict contains no dict and no list."""


COPY_SECONDS = 4e-7
"""The time to copy a small record, about."""
_took = [0.0]  # seconds of the last search, which goes through all objects of the program


def may_be_read_in_c(collection: Any, later: type, count: int) -> bool:
    """Whether a view, an iterator or a method may read a dict or list in C, past the methods of its class *later*.

    Args:
        later: The class that it will have, a subclass of dict or list. Methods that this class does not override are
            harmless.
        count: If the search takes longer than copying this many records, the answer is yes.
    """
    if _took[0] > count * COPY_SECONDS:
        return True
    began = time.thread_time()
    referrers = gc.get_referrers(collection)
    _took[0] = time.thread_time() - began
    for one in referrers:
        if isinstance(one, _VIEWS):
            return True
        if isinstance(one, _METHODS) and one.__self__ is collection:
            known = getattr(one, "__func__", None) or getattr(later.__mro__[-2], one.__name__, None)
            if getattr(later, one.__name__, None) is not known:
                return True
    return False


_DICT: dict[Any, Any] = {}
_VIEWS: tuple[type, ...] = (
    type(_DICT.values()),
    type(_DICT.items()),
    type(iter(_DICT.values())),
    type(iter(_DICT.items())),
    type(reversed(_DICT.values())),
    type(reversed(_DICT.items())),
    type(iter([])),
    type(reversed([])),
)
_METHODS = (BuiltinMethodType, MethodType, MethodWrapperType)


parts_of_all: Callable[..., list[Any]] = gc.get_referents
"""The objects that any of its arguments refers to."""


class collector_paused:
    """Context manager: no garbage collection while the block creates many objects that all stay."""

    def __enter__(self) -> None:
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *error: object) -> None:
        if self._was_enabled:
            gc.enable()


MANY = 10_000
"""From this many new entries on, :func:`collect_young` is worthwhile."""


def collect_young() -> None:
    """Collect the young generation now, so that its objects count as old.

    It takes some 3 ms for 100,000 entries. Otherwise the program's next objects would cause it, inside the loop.
    """
    if gc.isenabled():
        gc.collect(1)


@cache
def untracker() -> Callable[[Any], None]:
    """A function that hides an object from the garbage collector; does nothing if that is impossible.

    The object must not be part of a cycle. The collector skips a plain dict of numbers and strings, but scans each
    instance of a subclass: with 100,000 frozen records, a full collection takes five times as long.
    """
    if not has_gil():
        return lambda _: None
    try:
        import ctypes  # not worth loading before there is a collection

        untrack = ctypes.pythonapi.PyObject_GC_UnTrack
    except (ImportError, AttributeError):
        return lambda _: None
    untrack.argtypes = [ctypes.py_object]
    untrack.restype = None
    return untrack


# -- the end of a loop


def error_passing() -> BaseException | None:
    """For a generator that is freed: the error that leaves the frame that iterated over it; None without one.

    If the interpreter does not show the error, a RuntimeError stands for it.
    """
    from opcode import opname  # seldom needed

    frame = sys._getframe(1).f_back
    if frame is None or opname[frame.f_code.co_code[frame.f_lasti]] in _DROPS:
        return None
    for trace in gc.get_referrers(frame):
        if isinstance(trace, TracebackType) and trace.tb_lasti == frame.f_lasti:
            errors = (one for one in gc.get_referrers(trace) if isinstance(one, BaseException))
            return next(errors, RuntimeError("the body of the loop raised an error").with_traceback(trace))
    return None


_DROPS = frozenset({"POP_TOP", "END_FOR", "POP_ITER", "DELETE_FAST", "DELETE_NAME", "STORE_FAST", "STORE_NAME"})
"""The instructions that free the iterator of a ``for`` that is left without an error."""


def interrupt_soon(stop: KeyboardInterrupt | SystemExit) -> None:
    """Make the main thread raise *stop* when it next runs the program's own code."""
    import _thread

    number = signal.SIGINT if isinstance(stop, KeyboardInterrupt) else int(stop.code or 0) - 128
    threading.Timer(0.01, _thread.interrupt_main, (number,)).start()
