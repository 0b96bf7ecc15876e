"""Executors: anything with ``submit`` like ``concurrent.futures``, or a factory of it."""

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
from itertools import repeat
from multiprocessing.reduction import ForkingPickler
from typing import Any

from tenacity import RetryCallState

from ..by_position import ItemKey
from .calls import Call, MappedFunction, call_batch_remotely, call_packed, call_packed_batch, call_remotely
from .clusters import as_executor, is_ray

Submit = Callable[..., Future[Any]]
_PR_SET_PDEATHSIG = 1


class ExecutorHandle:
    """One executor, replaced when it breaks if a factory made it.

    Args:
        executor: An executor, a ``distributed.Client``, the module ``ray``, or a factory of one of these.
        fn: The function that its workers call.
        before_sleep: Called by workers of this interpreter before they sleep between two attempts.
        call: Calls a function for the item with a key; workers of this interpreter use it.

    Attributes:
        launch: Submits a call. Raises ``BrokenExecutor`` if the workers died.
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
        is_ready = _is_instance(executor)
        self._make: Callable[[], Any] | None = None if is_ready else executor
        self.executor: Any = adapted(executor) if is_ready else self._made()
        self._bind()

    def _bind(self) -> None:
        self.launch: Callable[[Call], Future[Any]]
        submit = self.executor.submit
        if self.is_local:
            self.launch = _local_launcher(submit, self._local_fn, self._call)
        else:
            self.launch = _remote_launcher(submit, self._fn, _pickler(self.executor))

    @property
    def is_local(self) -> bool:
        """Whether its workers are threads of this interpreter, which see the checkpoint itself."""
        kind = type(self.executor)
        return isinstance(self.executor, ThreadPoolExecutor) and "Interpreter" not in kind.__name__

    def replace(self, error: BaseException) -> None:
        """Workers died: take a new executor, unless this one goes on by itself.

        Raises:
            BrokenExecutor: *error* itself, if no factory was given.
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
        """Shut down what the factory made, and drop calls that have not begun; an executor that was given goes on."""
        if self._make is None:
            return
        with contextlib.suppress(Exception):  # a broken pool may not even end well
            _shut_down(self.executor, wait=wait)

    def _made(self) -> Any:
        assert self._make is not None
        return bound_to_this_process(adapted(self._make()))


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
    one: Callable[[Any], Future[Any]]
    many: Callable[[Any], Future[Any]]
    if dumps is not None:  # else the pool would pickle the function for each call
        packed = bytes(dumps(fn))
        one, many = partial(submit, call_packed, packed), partial(submit, call_packed_batch, packed)
    else:  # one object for all calls, so that the executor can send it once
        one, many = partial(submit, partial(call_remotely, fn)), partial(submit, partial(call_batch_remotely, fn))
    return lambda call: one(call.item) if type(call) is Call else many(call.item)


def _pickler(executor: Any) -> Callable[[Any], Any] | None:
    """The function that a pool of processes pickles with; None for other executors."""
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
        TypeError: If it is neither.
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
    """Give *executor* the ``submit`` of ``concurrent.futures``, if it has none.

    Raises:
        TypeError: If that is not possible.
    """
    adapted = as_executor(executor)
    if not hasattr(adapted, "submit"):
        raise TypeError(f"an executor must have submit(), {executor!r:.80} has not")
    return adapted


def bound_to_this_process(executor: Any) -> Any:
    """Have the workers of a process pool die with this process; on Linux only.

    Only for a pool that nobody else uses: the workers die with the thread that starts them.
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
    """Have this worker, which starts, be killed when the process *coordinator* ends.

    Args:
        coordinator: A process id.
        then: Called afterwards.
    """
    # Ctrl-C reaches every process of a terminal; the coordinator alone decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1 != coordinator:
        os._exit(1)  # it died before the line above
    if then is not None:
        then()
