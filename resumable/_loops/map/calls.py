"""What runs in a worker, perhaps in another process: a call, its retries, and the quotas that it observes.

Workers import this module, so it imports little.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import tenacity

from ..._retry import chain, ended_by_a_stop
from ..._runtime.current import CHECKPOINT, reset_current

if TYPE_CHECKING:
    from ...ratelimit._limits import RateLimit

PENDING = object()
LIMITS = "_resumable_limits"
"""The attribute of an error that carries the quotas that its worker observed."""


class Call:
    """One call in flight, for one item.

    Attributes:
        result: Set by a worker of this interpreter; while PENDING, only the future may know the result.
    """

    __slots__ = ("item", "key", "result")

    def __init__(self, key: Any, item: Any) -> None:
        self.key, self.item, self.result = key, item, PENDING

    def __len__(self) -> int:
        """Number of its items."""
        return 1

    def keys(self) -> Sequence[Any]:
        """The keys of its items."""
        return (self.key,)

    def singly(self) -> list[Call]:
        """New calls for its items, one each."""
        return [Call(self.key, self.item)]


class BatchCall(Call):
    """One call in flight for several items: ``key``, ``item`` and ``result`` hold one value for each, in order."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.key)

    def keys(self) -> Sequence[Any]:
        keys: Sequence[Any] = self.key
        return keys

    def singly(self) -> list[Call]:
        return list(map(Call, self.key, self.item))


_HOOKS = ("before", "after", "before_sleep")
_SETTINGS = ("sleep", "stop", "wait", "retry", *_HOOKS, "retry_error_cls", "retry_error_callback")


def settings_of(policy: tenacity.BaseRetrying | None) -> dict[str, Any] | None:
    """The arguments of *policy*, which does not pickle itself. A policy made of them raises the last error."""
    if policy is None:
        return None
    return {name: getattr(policy, name) for name in _SETTINGS} | {"reraise": True}


@dataclass(frozen=True, slots=True)
class MappedFunction:
    """The function of a map, retried as the *settings* of a tenacity policy say."""

    fn: Callable[[Any], Any]
    settings: dict[str, Any] | None = None

    def __call__(self, item: Any) -> Any:
        return self.fn(item) if self.settings is None else tenacity.Retrying(**self.settings)(self.fn, item)

    def with_hook(self, hook: Callable[[tenacity.RetryCallState], None]) -> MappedFunction:
        """A copy that calls *hook* before each sleep, then the policy's own hook; a stop ends the sleep."""
        if self.settings is None:
            return self
        before_sleep, sleep = chain(hook, self.settings["before_sleep"]), ended_by_a_stop(self.settings["sleep"])
        return MappedFunction(self.fn, {**self.settings, "before_sleep": before_sleep, "sleep": sleep})

    def for_one(self) -> Callable[[Any], Any]:
        """The fastest function for one item."""
        return self if self.settings is not None else self.fn

    def for_many(self, items: Sequence[Any]) -> list[Any]:
        """For each item its result, or a :class:`Failure`."""
        return [self.result_or_failure(item) for item in items]

    def result_or_failure(self, item: Any) -> Any:
        """The result for *item*, or a :class:`Failure`."""
        try:
            return self(item)
        except Exception as error:
            return Failure(error)


@dataclass(slots=True)
class Failure:
    """Takes the place of a result."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """A result from another process, with the quotas that its worker observed."""

    result: Any
    limits: list[RateLimit]


@lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> MappedFunction:
    fn: MappedFunction = pickle.loads(packed)
    return fn


def call_remotely(fn: MappedFunction | bytes, item: Any) -> Any:
    """Call *fn* in another process; the quotas that its clients' hooks observe come back with the result.

    Args:
        fn: May be pickled; each worker unpickles it once.
    """
    recorder = LimitRecorder()
    token = CHECKPOINT.set(recorder)
    try:
        result = (_unpacked(fn) if isinstance(fn, bytes) else fn)(item)
    except Exception as error:
        failure = _portable(error)
        setattr(failure, LIMITS, recorder.limits)
    else:
        return WorkerResult(result, recorder.limits) if recorder.limits else result
    finally:
        reset_current(token)
    raise failure  # outside of the except block: some pickles include the context


def call_batch_remotely(fn: MappedFunction | bytes, items: Sequence[Any]) -> Any:
    """Call *fn* for each of *items*, see :func:`call_remotely`."""
    recorder = LimitRecorder()
    token = CHECKPOINT.set(recorder)
    try:
        results = (_unpacked(fn) if isinstance(fn, bytes) else fn).for_many(items)
        for failure in results:
            if type(failure) is Failure:
                failure.error = _portable(failure.error)
    finally:
        reset_current(token)
    return WorkerResult(results, recorder.limits) if recorder.limits else results


@dataclass(slots=True)
class LimitRecorder:
    """Takes the place of the checkpoint in a worker: records the quotas of the responses that hooks pass to it."""

    limits: list[RateLimit] = field(default_factory=list)

    def observe(self, response: object, *, account: str = "") -> None:
        """Record the quotas in *response*, for *account*."""
        from ...ratelimit._response import read_response

        tells = read_response(response).tells(time.time())
        self.limits += [replace(limit, account=account) for limit in tells] if account else tells


def _portable(error: BaseException) -> BaseException:
    """*error*, or a copy of its text: an error that does not pickle would fail its batch, or kill a loky worker."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
