"""Executors: anything with ``submit`` as in ``concurrent.futures``, or a factory of it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from itertools import repeat
from multiprocessing.reduction import ForkingPickler
from typing import Any

from tenacity import RetryCallState

from ..._runtime import signals
from ..._runtime.processes import die_with_parent
from ..._runtime.terminal import write_above_lines
from ..ledgers.by_position import ItemKey
from .calls import Call, MappedFunction, call_batch_remotely, call_remotely
from .clusters import as_executor, is_ray

Submit = Callable[..., Future[Any]]


class ExecutorHandle:
    """One executor; if a factory made it, a broken one is replaced.

    Args:
        executor: An executor, a ``distributed.Client``, the module ``ray``, or a factory of one of these.
        before_sleep: Called by workers in this interpreter before they sleep between two attempts.
        call: Calls a function for the item with a key; used by workers in this interpreter.

    Attributes:
        is_local: Whether its workers are threads of this interpreter, which use the checkpoint itself.
        launch: Submits a call. Raises ``BrokenExecutor`` if workers died.
    """

    def __init__(
        self,
        executor: Any,
        fn: MappedFunction,
        before_sleep: Callable[[RetryCallState], None],
        call: Callable[[Callable[[Any], Any], ItemKey, Any], Any],
    ) -> None:
        self._fn = fn
        self._call = call
        self._local_fn = fn.with_hook(before_sleep)
        self._make: Callable[[], Any] | None = None if _is_instance(executor) else executor
        self._take(adapted(executor) if self._make is None else bound_to_this_process(adapted(self._make())))
        self._may_kill = self._make is not None or take_interrupts_from(executor)

    def _take(self, executor: Any) -> None:
        self._executor = executor
        self.launch: Callable[[Call], Future[Any]]
        self.is_local = isinstance(executor, ThreadPoolExecutor) and "Interpreter" not in type(executor).__name__
        self._tells_begun = isinstance(executor, ThreadPoolExecutor) or _is_pool(executor)
        if self.is_local:
            # Threads of this interpreter use the checkpoint itself.
            self.launch = _local_launcher(executor.submit, self._local_fn, self._call)
        else:
            self.launch = _remote_launcher(executor.submit, self._fn, _pickler(executor))

    def replace(self, error: BaseException) -> None:
        """Workers died: make a new executor, unless this one still works. Raises *error* without a factory."""
        if not isinstance(error, BrokenExecutor):
            time.sleep(getattr(self._executor, "notice_seconds", 0.0))
            return
        if self._make is None:
            error.add_note("resumable: to go on by itself, give a factory: executor=lambda: ProcessPoolExecutor(8)")
            raise error
        self.close(wait=False)
        self._take(bound_to_this_process(adapted(self._make())))

    def take_back(self, future: Future[Any]) -> bool:
        """Cancel a call that has not begun. False if it has, or if the executor cannot tell."""
        return self._tells_begun and future.cancel()

    def close(self, *, wait: bool, kill: bool = False) -> None:
        """Shut down an executor that a factory made, and drop calls that have not begun. A given executor goes on.

        Args:
            kill: Kill worker processes inside a call; otherwise the program would wait for them at its end. They must
                have begun with this map.
        """
        processes = getattr(self._executor, "_processes", None) if kill and self._may_kill else None
        processes = list((processes or {}).values())
        if self._make is not None:
            with contextlib.suppress(Exception):  # shutting down a broken pool may fail
                try:
                    self._executor.shutdown(wait=wait, cancel_futures=True)
                except TypeError:  # loky and some others lack the second parameter
                    self._executor.shutdown(wait=wait)
        for process in processes:
            process.terminate()


def _local_launcher(
    submit: Submit, fn: MappedFunction, for_item: Callable[[Callable[[Any], Any], ItemKey, Any], Any]
) -> Callable[[Call], Future[Any]]:
    one, each, copied = fn.for_one(), fn.result_or_failure, copy_context().copy

    def run(call: Call) -> None:
        if type(call) is Call:
            call.result = copied().run(for_item, one, call.key, call.item)
        else:
            call.result = copied().run(lambda: list(map(for_item, repeat(each), call.key, call.item)))

    return partial(submit, run)


def _remote_launcher(
    submit: Submit, fn: MappedFunction, dumps: Callable[[Any], Any] | None
) -> Callable[[Call], Future[Any]]:
    one: Submit
    many: Submit
    if dumps is not None:  # else the pool would pickle the function for each call
        packed = bytes(dumps(fn))
        one, many = partial(submit, call_remotely, packed), partial(submit, call_batch_remotely, packed)
    else:  # one object for all calls, so that the executor can send it once
        one, many = partial(submit, partial(call_remotely, fn)), partial(submit, partial(call_batch_remotely, fn))
    return lambda call: one(call.item) if type(call) is Call else many(call.item)


def _pickler(executor: Any) -> Callable[[Any], Any] | None:
    """The function with which a process pool pickles; None for other executors."""
    if isinstance(executor, ProcessPoolExecutor):
        return ForkingPickler.dumps
    if not _is_pool(executor):
        return None
    import cloudpickle  # type: ignore[import-untyped]  # as loky does

    return cloudpickle.dumps  # type: ignore[no-any-return]


def check_executor(executor: Any) -> None:
    """Raise TypeError for what is neither an executor nor a factory."""
    if not _is_instance(executor) and not callable(executor):
        workers = executor if type(executor) is int and executor > 0 else 8
        raise TypeError(
            f"executor must have submit(), or return an object that has it, not {executor!r:.80}; "
            f"write executor=lambda: ThreadPoolExecutor({workers}), or ProcessPoolExecutor({workers})"
        )


def _is_instance(executor: Any) -> bool:
    return not isinstance(executor, type) and (hasattr(executor, "submit") or is_ray(executor))


def adapted(executor: Any) -> Any:
    """*executor* with the ``submit`` of ``concurrent.futures``; TypeError if that is not possible."""
    adapted = as_executor(executor)
    if not hasattr(adapted, "submit"):
        raise TypeError(f"an executor must have submit(), which {executor!r:.80} lacks")
    return adapted


def bound_to_this_process(executor: Any) -> Any:
    """Make the workers of a process pool die with this process; on Linux only.

    Use it only for a pool that nobody else uses: the workers die with the thread that starts them.
    """
    if sys.platform == "linux":
        _begin_workers_with(executor, partial(die_with, os.getpid()))
    return executor


def take_interrupts_from(executor: Any) -> bool:
    """Make the workers of a process pool leave Ctrl-C and the bar to the parent, if none has started.

    Returns whether that was possible.
    """
    return _begin_workers_with(executor, begin_worker)


def _begin_workers_with(executor: Any, first: Callable[[Callable[[], None] | None], None]) -> bool:
    is_new = _is_pool(executor) and not getattr(executor, "_processes", None)
    if not is_new or not hasattr(executor, "_initializer"):
        return False
    initializer, arguments = executor._initializer, executor._initargs
    then = partial(initializer, *arguments) if initializer is not None else None
    executor._initializer, executor._initargs = first, (then,)
    with contextlib.suppress(AttributeError):  # loky starts its workers in another way
        executor._spawn_process = partial(_started_without_interrupts, executor._spawn_process)
    return True


def _started_without_interrupts(start: Callable[[], object]) -> None:
    """Start a worker with Ctrl-C blocked: before :func:`begin_worker`, it would print a traceback of its imports."""
    with signals.held_back(signal.SIGINT):
        start()


def _is_pool(executor: Any) -> bool:
    """Whether its workers are processes on this machine."""
    return isinstance(executor, ProcessPoolExecutor) or type(executor).__module__.startswith("loky")


def begin_worker(then: Callable[[], None] | None = None) -> None:
    """Runs in a worker that starts: ignore Ctrl-C, and write above the parent's bar; then call *then*.

    A terminal sends Ctrl-C to every process, but the coordinator alone decides: calls in flight may finish.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals.let_pass(signal.SIGINT)
    write_above_lines()
    if then is not None:
        then()


def die_with(coordinator: int, then: Callable[[], None] | None = None) -> None:
    """Runs in a worker that starts: arrange to be killed when the process *coordinator* ends; then call *then*."""
    begin_worker()
    die_with_parent()
    if os.getppid() == 1 != coordinator:
        os._exit(1)  # the coordinator died before the line above
    if then is not None:
        then()
