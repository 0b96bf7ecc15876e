"""Engines: anything with ``submit`` like ``concurrent.futures``, or a factory of it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any

from tenacity import RetryCallState

from .calls import Task, Work, many_packed, many_remotely, one_packed, one_remotely
from .clusters import as_executor, is_ray

Submit = Callable[..., Future[Any]]
_PR_SET_PDEATHSIG = 1


class Engine:
    """One executor, replaced when it breaks if a factory made it.

    Args:
        executor: An executor, a ``distributed.Client``, the module ``ray``, or what makes one of these when called.
        work: What it is to do.
        before_sleep: Called by workers of this interpreter before they sleep between two attempts.

    Attributes:
        launch: Has *work* done for a task. Raises ``BrokenExecutor`` if the workers died.
    """

    def __init__(self, executor: Any, work: Work, before_sleep: Callable[[RetryCallState], None]) -> None:
        self._work = work
        self._work_here = work.telling(before_sleep)
        is_ready = _is_instance(executor)
        self._make: Callable[[], Any] | None = None if is_ready else executor
        self.executor: Any = adapted(executor) if is_ready else self._made()
        self._bind()

    def _bind(self) -> None:
        self.launch: Callable[[Task], Future[Any]]
        submit = self.executor.submit
        if self.is_local:
            self.launch = _here(submit, self._work_here)
        else:
            self.launch = _away(submit, self._work, _pickler(self.executor))

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
            time.sleep(getattr(self.executor, "notice_seconds", 0.0))
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


def _here(submit: Submit, work: Work) -> Callable[[Task], Future[Any]]:
    one, many, copied = work.simplest(), work.many, copy_context().copy

    def run(task: Task) -> None:
        task.result = copied().run(one if type(task) is Task else many, task.item)

    return partial(submit, run)


def _away(submit: Submit, work: Work, dumps: Callable[[Any], Any] | None) -> Callable[[Task], Future[Any]]:
    one: Callable[[Any], Future[Any]]
    many: Callable[[Any], Future[Any]]
    if dumps is not None:  # it would pickle the function each time
        packed = bytes(dumps(work))
        one, many = partial(submit, one_packed, packed), partial(submit, many_packed, packed)
    else:  # the same object in each call, so that the engine can know it again
        one, many = partial(submit, partial(one_remotely, work)), partial(submit, partial(many_remotely, work))
    return lambda task: one(task.item) if type(task) is Task else many(task.item)


def _pickler(executor: Any) -> Callable[[Any], Any] | None:
    """What a pool of processes pickles functions with; None for other executors."""
    if isinstance(executor, ProcessPoolExecutor):
        return ForkingPickler.dumps
    if _is_pool(executor):
        import cloudpickle  # type: ignore[import-untyped]  # as loky does

        dumps: Callable[[Any], bytes] = cloudpickle.dumps
        return dumps
    return None


def check_executor(executor: Any) -> None:
    """Refuse what is neither an executor nor a factory.

    Raises:
        TypeError: It is neither.
    """
    if not _is_instance(executor) and not callable(executor):
        raise TypeError(f"executor must have submit(), or be a factory of what has it, not {executor!r:.80}")


def _is_instance(executor: Any) -> bool:
    return not isinstance(executor, type) and (hasattr(executor, "submit") or is_ray(executor))


def _shut_down(executor: Any, *, wait: bool) -> None:
    try:
        executor.shutdown(wait=wait, cancel_futures=True)
    except TypeError:  # loky and some others do not know the second one
        executor.shutdown(wait=wait)


def adapted(executor: Any) -> Any:
    """*executor* with ``submit`` of ``concurrent.futures``.

    Raises:
        TypeError: It has nothing like that.
    """
    adapted = as_executor(executor)
    if not hasattr(adapted, "submit"):
        raise TypeError(f"an executor must have submit(), {executor!r:.80} has not")
    return adapted


def bound_to_this_process(executor: Any) -> Any:
    """Have the workers of a process pool die with this process, where the system can see to it (Linux).

    Only for a pool that nobody else uses: what is watched is the thread that starts the workers.
    """
    is_ours = _is_pool(executor) and hasattr(executor, "_initializer")
    if sys.platform == "linux" and is_ours and not _has_workers(executor):
        initializer, arguments = executor._initializer, executor._initargs
        then = partial(initializer, *arguments) if initializer is not None else None
        executor._initializer, executor._initargs = die_with, (os.getpid(), then)
    return executor


def _is_pool(executor: Any) -> bool:
    """Whether its workers are processes of this machine."""
    return isinstance(executor, ProcessPoolExecutor) or type(executor).__module__.startswith("loky")


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
