"""What the library knows about the interpreter it runs on: its lock, frames, tasks, reference counts and streams."""

from __future__ import annotations

import contextlib
import gc
import linecache
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import islice
from types import BuiltinMethodType, CodeType, FrameType, MethodType, MethodWrapperType, TracebackType
from typing import Any

from .._errors import ResumableError

_PR_SET_PDEATHSIG = 1
_HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


HOST = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
"""This machine's name."""


def is_terminal(stream: Any) -> bool:
    """Whether a person sees at once what is written to *stream*."""
    try:
        return bool(stream.isatty())
    except Exception:  # it is closed, or None
        return False


def standard_streams() -> tuple[Any, ...]:
    """What a program writes to if it opens nothing itself, now and as it was at its start."""
    return sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__


def has_gil() -> bool:
    """Whether this is CPython with its global lock: reference counts are true, threads switch between calls only."""
    return sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


def is_held_here(lock: threading.RLock) -> bool:
    """Whether the current thread holds *lock*. A signal handler asks what it has interrupted."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]


def die_with_parent() -> None:
    """Have this process be killed when the one that started it ends; nothing happens where that is impossible."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_exit_codes: dict[type[BaseException], int] = {}


def end_with(code: int, kind: type[BaseException]) -> None:
    """Have the program end with exit code *code*, not 1, if an error of *kind* ends it. It is shown as ever."""
    _hook_end()
    _exit_codes[kind] = code


@cache
def _hook_end() -> None:
    sys.excepthook = partial(_show_and_exit, sys.excepthook)


def show_users_frames_only() -> None:
    """A Ctrl-C or an error of ours is on its way: if it ends the program, its traceback shows the user's frames."""
    _hook_end()


def _show_and_exit(show: Callable[..., object], kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if isinstance(error, KeyboardInterrupt | ResumableError):
        _show_users_frames(error)
        trace = error.__traceback__
    show(kind, error, trace)
    for known, code in _exit_codes.items():
        if issubclass(kind, known):
            raise SystemExit(code)  # which Python heeds in this hook


def _show_users_frames(error: BaseException) -> None:
    """Cut the traceback of *error* down to the user's frames, and take those off that its causes have in libraries."""
    end_traceback_at_user(error)
    error.__traceback__ = _of_user(error.__traceback__)
    cause, known = error.__cause__, {id(error)}
    while cause is not None and id(cause) not in known:
        if _is_all_in_library(cause.__traceback__):
            cause.__traceback__ = None  # its text is shown
        known.add(id(cause))
        cause = cause.__cause__


def _is_all_in_library(trace: TracebackType | None) -> bool:
    while trace is not None and _is_in_library(trace.tb_frame):
        trace = trace.tb_next
    return trace is None


# -- frames, threads and tasks ----------------------------------------------------------------------------------------


def frames() -> Iterator[FrameType]:
    """The frames of the current thread, those of what was called last first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def stack() -> dict[tuple[int, int], int]:
    """The frames that are under way now: the bytecode offset of each, by its address and that of its code."""
    found, here = {}, sys._getframe(1)
    while here is not None:
        found[id(here), id(here.f_code)] = here.f_lasti
        here = here.f_back  # type: ignore[assignment]
    return found


def running_here() -> object:
    """The asyncio task that runs, or else the thread. Their numbers are used again."""
    asyncio = sys.modules.get("asyncio")  # where nobody has loaded it, no task runs
    if asyncio and asyncio._get_running_loop() is not None and (task := asyncio.current_task()) is not None:
        return task
    return threading.current_thread()


def is_alive(context: object) -> bool:
    """Whether that thread or task has not ended."""
    return context.is_alive() if isinstance(context, threading.Thread) else not context.done()  # type: ignore[attr-defined]


def references_to(thing: object) -> int:
    """How many references to *thing* there are, with those of the caller; very many if that is not known."""
    count = getattr(sys, "getrefcount", None)
    return sys.maxsize if count is None or not has_gil() else count(thing) - 1  # that of the argument here


def warn_user(text: str) -> None:
    """Warn at the line of the user's code that has led here; at the one that called this in a thread without such."""
    frame = next((frame for frame in frames() if not _is_in_library(frame)), None) or sys._getframe(1)
    known = frame.f_globals.setdefault("__warningregistry__", {})
    name = frame.f_globals.get("__name__")
    warnings.warn_explicit(text, UserWarning, frame.f_code.co_filename, frame.f_lineno, module=name, registry=known)


def raised_at(error: BaseException) -> str:
    """File and line where *error* was raised; "" if it was not."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"


def code_of(depth: int) -> CodeType:
    """The code that runs *depth* calls further out."""
    return sys._getframe(depth).f_code


def package_of(depth: int) -> str:
    """The top package of the code that runs *depth* calls further out."""
    return str(sys._getframe(depth).f_globals.get("__name__", "")).partition(".")[0]


def frame_at(depth: int) -> FrameType:
    """The frame that runs *depth* calls further out."""
    return sys._getframe(depth)


def point_in(frame: FrameType) -> tuple[CodeType, int]:
    """The code of *frame*, and the offset that it stands at."""
    return frame.f_code, frame.f_lasti


def variable_in(frame: FrameType, name: str) -> Any:
    """The variable of that *name* as *frame* sees it; None if there is none."""
    return frame.f_locals.get(name, frame.f_globals.get(name))


def running_text(depth: int, names: frozenset[str]) -> str:
    """The source line from where the expression begins that runs *depth* calls further out; "" if not known.

    Args:
        names: What the code there must mention: reading the source takes longer.
    """
    frame = sys._getframe(depth)
    if names.isdisjoint(frame.f_code.co_names):
        return ""
    line, _, column, _ = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), (None,) * 4)
    if line is None or column is None:
        return ""
    return linecache.getline(frame.f_code.co_filename, line).encode()[column:].decode(errors="replace")


def kept_in_variables_only(attribute: str, method: str) -> set[str]:
    """The keys of calls such as ``x = y.attribute.method("key", [])`` in the functions that are under way.

    What a new list or dict is put into there is in the variable only, unless the key is assigned as well.
    """
    import dis  # it is slow to import

    found: set[str] = set()
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        is_users = not code.co_filename.startswith(_HERE) and "-packages" not in code.co_filename
        if is_users and attribute in code.co_names and method in code.co_names:
            steps = [one for one in dis.get_instructions(code) if one.opname not in ("CACHE", "PRECALL", "PUSH_NULL")]
            for one in zip(*(steps[number:] for number in range(6)), strict=False):
                is_got = one[0].argval == attribute and one[1].argval == method and isinstance(one[2].argval, str)
                is_new = one[3].opname in ("BUILD_LIST", "BUILD_MAP") and one[3].arg == 0
                if is_got and is_new and one[4].opname == "CALL" and one[5].opname.startswith("STORE_"):
                    found.add(one[2].argval)
        frame = frame.f_back
    return found


def end_traceback_at_user(error: BaseException) -> None:
    """Cut off the end of the traceback of *error* that is in this library, below the last frame of the user's code."""
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
    """A copy of *trace* without the frames that are in libraries, but for those at its end."""
    if trace is None or _is_in_library(trace.tb_frame):
        own = trace
        while own is not None and _is_in_library(own.tb_frame):
            own = own.tb_next
        return trace if own is None else _of_user(own)
    return TracebackType(_of_user(trace.tb_next), trace.tb_frame, trace.tb_lasti, trace.tb_lineno)


def _is_in_library(frame: FrameType) -> bool:
    return _is_of(frame.f_code.co_filename, (_HERE, *_library_folders()))


@cache
def hush_stopped_threads() -> None:
    """A thread that this library ends by a Ctrl-C shows no traceback: the main thread does."""
    threading.excepthook = partial(_show_in_thread, threading.excepthook)


def _show_in_thread(show: Callable[..., object], args: threading.ExceptHookArgs) -> None:
    trace = args.exc_traceback
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    is_ours = trace is not None and _is_of(trace.tb_frame.f_code.co_filename, (_HERE,))
    if not (is_ours and issubclass(args.exc_type, KeyboardInterrupt)):
        show(args)


@cache
def _library_folders() -> list[str]:
    import sysconfig  # needed at a Ctrl-C only

    return [os.path.join(path, "") for name, path in sysconfig.get_paths().items() if "lib" in name]


def _is_of(file: str, folders: Iterable[str]) -> bool:
    return file.startswith(("<frozen ", *folders))


@contextlib.contextmanager
def traced(trace: Callable[[FrameType, str, Any], Any]) -> Iterator[None]:
    """While in the block, *trace* is told of the lines that this thread runs, as by ``sys.settrace``."""
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


# -- reference counts -------------------------------------------------------------------------------------------------


reference_counts: Callable[[Iterable[object]], Iterator[int]] = partial(map, getattr(sys, "getrefcount", id))
"""Gives the reference count of each of the values: :data:`ALONE` if only the iterated container refers to it."""
COUNTS_ARE_TRUE = has_gil()
"""Whether :func:`reference_counts` tells who holds an object."""
ALONE = max(reference_counts({"": []}.values())) if COUNTS_ARE_TRUE else 0


is_tracked: Callable[[object], bool] = getattr(gc, "is_tracked", lambda _: True)
"""Whether the garbage collector looks at an object. A plain dict that it does not look at holds no dict and no list."""


COPY_SECONDS = 4e-7
"""About what it takes to copy a small record."""
_took = [0.0]  # Seconds, the last time: it goes through all that the program has.


def may_be_read_in_c(collection: Any, later: type, count: int) -> bool:
    """Whether somebody may have a view, an iterator or a method that reads a dict or list past its methods of *later*.

    Args:
        later: The class that it is to have, a subclass of dict or list. Methods that this does not replace do no harm.
        count: Where it takes longer to find out than to copy so many records, the answer is yes.
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


def parts_of(value: object) -> list[Any]:
    """The objects that *value* refers to."""
    return gc.get_referents(value)


parts_of_all: Callable[..., list[Any]] = gc.get_referents
"""Gives the objects that any of its arguments refers to."""


class _Text(str):
    __slots__ = ()


PARTS_TELL_KEYS: bool = (
    has_gil()
    and gc.get_referents({"a": 1, "b": None}) == [1, None]
    and all(len(gc.get_referents({key: 1})) == 2 for key in (1, None, 1.0, True, (), _Text("a")))
)
"""Whether a dict refers to its keys only if one is, or was, no exact string, as far as the garbage collector can tell:
those cannot be in a cycle. It goes through many small dicts faster than anything else."""


class collector_paused:
    """Context manager: no garbage collection while the block makes many objects that all stay."""

    def __enter__(self) -> None:
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *error: object) -> None:
        if self._was_enabled:
            gc.enable()


MANY = 10_000
"""From this many new entries on, :func:`collect_young` pays."""


def collect_young() -> None:
    """Have the garbage collector look at what is new, and take it for old.

    That takes some 3 ms for 100,000 entries. Else the next objects that the program makes set it off, within its loop.
    """
    if gc.isenabled():
        gc.collect(1)


@cache
def untracker() -> Callable[[Any], None]:
    """A function that hides an object from the garbage collector; it does nothing where that is impossible.

    The object must be no part of a cycle. The collector skips a plain dict of numbers and strings, but walks through
    each instance of a subclass: with 100,000 frozen records, a full collection takes five times as long.
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


# -- who leaves a loop ------------------------------------------------------------------------------------------------


def error_passing() -> BaseException | None:
    """For a generator that is dropped: the error that leaves the frame which went through it; None if it is none.

    Where the interpreter does not show it, a RuntimeError stands for it.
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
"""What lets go of the iterator of a ``for`` that no error leaves."""


def interrupt_soon(stop: KeyboardInterrupt | SystemExit) -> None:
    """Have the main thread stop as *stop* says, once it runs the program's own code again."""
    import _thread

    number = signal.SIGINT if isinstance(stop, KeyboardInterrupt) else int(stop.code or 0) - 128
    threading.Timer(0.01, _thread.interrupt_main, (number,)).start()
