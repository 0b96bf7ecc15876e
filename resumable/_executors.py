"""Engines: anything with ``submit`` like ``concurrent.futures``, or a factory of it; Dask and Ray are made so."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

from ._work import Work, many_remotely, one_remotely

_PR_SET_PDEATHSIG = 1
_CRASHES = {"distributed": ("KilledWorker",), "ray": ("WorkerCrashedError", "NodeDiedError", "OwnerDiedError")}


class Engine:
    """One executor, replaced when it breaks if a factory made it.

    Args:
        executor: An executor, a ``distributed.Client``, the module ``ray``, or what makes one of these when called.
    """

    def __init__(self, executor: Any) -> None:
        is_ready = _is_instance(executor)
        self._make: Callable[[], Any] | None = None if is_ready else executor
        self.executor: Any = adapted(executor) if is_ready else self._made()
        self._bind()

    def _bind(self) -> None:
        self._submit: Callable[..., Future[Any]] = self.executor.submit
        self._is_local = self.is_local
        self._one: Callable[[Any], Any] | None = None
        self._many: Callable[[Any], Any] | None = None

    def call(self, work: Work, entries: Sequence[tuple[Any, Any]]) -> Future[Any]:
        """Have *work* done for one entry ``(key, item)``, or for several in one task.

        Raises:
            BrokenExecutor: Its workers died.
        """
        if self._one is None:
            # The same objects in each call, so that an engine can know them again.
            self._one = work.simplest() if self._is_local else partial(one_remotely, work.simplest())
            self._many = work.many if self._is_local else partial(many_remotely, work)
        fn: Any = self._one
        argument: Any = entries[0][1]
        if len(entries) > 1:
            fn, argument = self._many, [item for _, item in entries]
        if self._is_local:
            return self._submit(copy_context().run, fn, argument)
        return self._submit(fn, argument)

    @property
    def is_local(self) -> bool:
        """Whether its workers are threads of this interpreter, which see the checkpoint itself."""
        kind = type(self.executor)
        return isinstance(self.executor, ThreadPoolExecutor) and "Interpreter" not in kind.__name__

    def replace(self, error: BaseException) -> None:
        """Workers died, as *error* says: take a new executor, unless this one goes on by itself.

        Raises:
            BrokenExecutor: *error*, if no factory was given.
        """
        if not isinstance(error, BrokenExecutor):
            return
        if self._make is None:
            error.add_note("resumable: to go on by itself, give a factory: executor=lambda: ProcessPoolExecutor(8)")
            raise error
        self.close(wait=False)
        self.executor = self._made()
        self._bind()

    def close(self, *, wait: bool) -> None:
        """End what the factory made; an executor that was given goes on. Calls that have not begun are dropped."""
        if self._make is None:
            return
        with contextlib.suppress(Exception):  # a broken pool may not even end well
            _shut_down(self.executor, wait=wait)

    def _made(self) -> Any:
        assert self._make is not None
        return bound_to_this_process(adapted(self._make()))


def check_executor(executor: Any) -> None:
    """Refuse what is neither an executor nor a factory.

    Raises:
        TypeError: It is neither.
    """
    if not _is_instance(executor) and not callable(executor):
        raise TypeError(f"executor must have submit(), or be a factory of what has it, not {executor!r:.80}")


def _is_instance(executor: Any) -> bool:
    return not isinstance(executor, type) and (hasattr(executor, "submit") or _is_ray(executor))


def _shut_down(executor: Any, *, wait: bool) -> None:
    try:
        executor.shutdown(wait=wait, cancel_futures=True)
    except TypeError:  # loky and some others do not know the second one
        executor.shutdown(wait=wait)


def is_crash(error: BaseException | None) -> bool:
    """Whether *error* says that a worker died, and not that the call failed."""
    if isinstance(error, BrokenExecutor):
        return True
    names = _CRASHES.get(type(error).__module__.split(".")[0], ())
    return any(kind.__name__ in names for kind in type(error).__mro__)


def adapted(executor: Any) -> Any:
    """*executor* with ``submit`` of ``concurrent.futures``.

    Raises:
        TypeError: It has nothing like that.
    """
    if _is_ray(executor):
        return RayExecutor(executor)
    if _is_dask(executor, "Client"):
        # pure=True, Dask's default, takes a second call with the same argument for the first one.
        return executor.get_executor(pure=False)
    if _is_dask(executor, "ClientExecutor"):
        return executor._client.get_executor(**{**executor._kwargs, "pure": False})
    if not hasattr(executor, "submit"):
        raise TypeError(f"an executor must have submit(), {executor!r:.80} has not")
    return executor


def _is_dask(executor: Any, name: str) -> bool:
    return any(kind.__name__ == name and kind.__module__.startswith("distributed") for kind in type(executor).__mro__)


def _is_ray(executor: Any) -> bool:
    return executor is sys.modules.get("ray") and executor is not None


class RayExecutor:
    """``submit`` over Ray's own tasks. Ray must be initialized, or be able to do it by itself."""

    def __init__(self, ray: Any) -> None:
        # Ray would run a task whose worker died again, unseen: the coordinator counts those.
        self._remote = ray.remote(max_retries=0)(_call)
        self._put = ray.put
        self._known: dict[int, tuple[Any, Any]] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future: Future[Any] = self._remote.remote(self._shared(fn), *args).future()
        return future

    def _shared(self, fn: Any) -> Any:
        """*fn* is stored once, not sent with each task."""
        if id(fn) not in self._known:
            self._known[id(fn)] = (fn, self._put(fn))  # it is kept, so that its id stays its own
        return self._known[id(fn)][1]


def _call(fn: Callable[..., Any], *args: Any) -> Any:
    return fn(*args)


def bound_to_this_process(executor: Any) -> Any:
    """Have the workers of a process pool die with this process, where the system can see to it (Linux).

    Only for a pool that nobody else uses: what is watched is the thread that starts the workers.
    """
    is_pool = isinstance(executor, ProcessPoolExecutor) or type(executor).__module__.startswith("loky")
    if sys.platform == "linux" and is_pool and hasattr(executor, "_initializer") and not _has_workers(executor):
        initializer, arguments = executor._initializer, executor._initargs
        then = partial(initializer, *arguments) if initializer is not None else None
        executor._initializer, executor._initargs = die_with, (os.getpid(), then)
    return executor


def _has_workers(executor: Any) -> bool:
    return bool(getattr(executor, "_processes", None))


def die_with(coordinator: int, then: Callable[[], None] | None = None) -> None:
    """For a worker at its start: be killed when *coordinator*, a process id, is."""
    # Ctrl-C reaches every process of a terminal; what follows is the coordinator's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1 != coordinator:
        os._exit(1)  # it died before the line above
    if then is not None:
        then()
