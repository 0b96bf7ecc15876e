"""Adapts Dask and Ray to the interface of ``concurrent.futures``; imports neither."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, InvalidStateError
from typing import Any

_CRASHES = {"distributed": ("KilledWorker",), "ray": ("WorkerCrashedError", "NodeDiedError", "OwnerDiedError")}


def is_crash(error: BaseException | None) -> bool:
    """Whether *error* says that a worker died, rather than that the call failed."""
    if isinstance(error, BrokenExecutor):
        return True
    names = _CRASHES.get(type(error).__module__.split(".")[0], ())
    return any(kind.__name__ in names for kind in type(error).__mro__)


def of_the_call(error: BaseException) -> BaseException:
    """The call's own error: Ray wraps it, and the wrapper's text is a traceback."""
    cause = getattr(error, "cause", None)
    is_wrapped = any(kind.__name__ == "RayTaskError" for kind in type(error).__mro__)
    if not is_wrapped or not isinstance(cause, BaseException):
        return error
    cause.__cause__ = error
    return cause


def as_executor(executor: Any) -> Any:
    """*executor*, adapted if it is Dask's or Ray's."""
    if is_ray(executor):
        return RayExecutor(executor)
    if _is_dask(executor, "Client"):
        return DaskExecutor(executor)
    if _is_dask(executor, "ClientExecutor"):
        return DaskExecutor(executor._client, **executor._kwargs)
    return executor


def _is_dask(executor: Any, name: str) -> bool:
    return any(kind.__name__ == name and kind.__module__.startswith("distributed") for kind in type(executor).__mro__)


def is_ray(executor: Any) -> bool:
    """Whether *executor* is the module ``ray``."""
    return executor is not None and executor is sys.modules.get("ray")


class DaskExecutor:
    """``submit`` through a Dask client's own futures, with *options* for ``Client.submit``.

    With Dask's own ``get_executor()``, a call never ends if its result is lost with the worker and the call then fails.
    """

    def __init__(self, client: Any, **options: Any) -> None:
        self._client = client
        # With pure=True, Dask's default, a second call with an equal argument would return the first call's result.
        self._options = {**options, "pure": False}

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        ended: Future[Any] = Future()
        theirs = self._client.submit(fn, *args, **self._options)
        ended.add_done_callback(lambda ended: theirs.cancel() if ended.cancelled() else None)
        self._client.loop.add_callback(_pass_on, theirs, ended)
        return ended

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        self._client.close()


async def _pass_on(theirs: Any, ended: Future[Any]) -> None:
    """Await *theirs*, a future of Dask, and set *ended* accordingly."""
    with contextlib.suppress(InvalidStateError):  # nobody waits for it any more
        try:
            result = await theirs
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(result)


class RayExecutor:
    """``submit`` through Ray's own tasks. Ray must be initialized, or able to do so itself.

    Attributes:
        notice_seconds: For this long after a crash, Ray may send tasks to the dead worker; they would look guilty.
    """

    notice_seconds = 0.5

    def __init__(self, ray: Any) -> None:
        # Ray would silently repeat a call whose worker died, but the coordinator must count the crashes.
        self._remote = ray.remote(max_retries=0)(_call)
        self._put, self._cancel = ray.put, ray.cancel
        self._known: dict[int, tuple[Any, Any]] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        reference = self._remote.remote(self._shared(fn), *args)
        future: Future[Any] = reference.future()
        future.add_done_callback(lambda ended: self._cancel(reference) if ended.cancelled() else None)
        return future

    def _shared(self, fn: Any) -> Any:
        """Store *fn* once instead of sending it with each task."""
        if id(fn) not in self._known:
            self._known[id(fn)] = (fn, self._put(fn))  # kept, so that nothing else gets its id
        return self._known[id(fn)][1]


def _call(fn: Callable[..., Any], *args: Any) -> Any:
    return fn(*args)
