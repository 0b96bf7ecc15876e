"""What runs where the work is done, maybe in another process: one call or one batch, its retries, and what it saw.

Kept apart from the coordinator, since workers import it.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import tenacity

from ..._retry import chain
from ..._runtime.current import reset_current, set_current

if TYPE_CHECKING:
    from ...ratelimit._headers import RateLimit

PENDING = object()


class Task:
    """What is out for one item.

    Attributes:
        result: What came of it, put here by a worker of this interpreter; as long as it is PENDING, the future knows.
    """

    __slots__ = ("item", "key", "result")

    def __init__(self, key: Any, item: Any) -> None:
        self.key, self.item, self.result = key, item, PENDING

    def __len__(self) -> int:
        """How many items it is about."""
        return 1

    def singly(self) -> list[Task]:
        """The same work, each item by itself, not begun."""
        return [Task(self.key, self.item)]


class Batch(Task):
    """What is out for several items: ``key``, ``item`` and ``result`` are theirs, in order."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.key)

    def singly(self) -> list[Task]:
        return list(map(Task, self.key, self.item))


_SETTINGS = (
    "sleep",
    "stop",
    "wait",
    "retry",
    "before",
    "after",
    "before_sleep",
    "retry_error_cls",
    "retry_error_callback",
)
SEEN = "_resumable_limits"
"""The attribute of an error that carries what its worker saw of quotas."""


def settings_of(policy: tenacity.BaseRetrying | None) -> dict[str, Any] | None:
    """What makes a policy anew elsewhere; the object itself does not pickle. The last error itself is raised."""
    if policy is None:
        return None
    return {name: getattr(policy, name) for name in _SETTINGS} | {"reraise": True}


@dataclass(frozen=True, slots=True)
class Work:
    """*fn*, tried again as *settings* say."""

    fn: Callable[[Any], Any]
    settings: dict[str, Any] | None = None

    def __call__(self, item: Any) -> Any:
        return self.fn(item) if self.settings is None else tenacity.Retrying(**self.settings)(self.fn, item)

    def telling(self, hook: Callable[[tenacity.RetryCallState], None]) -> Work:
        """The same, with a *hook* that is called before each sleep, and then the policy's own."""
        if self.settings is None:
            return self
        return Work(self.fn, {**self.settings, "before_sleep": chain(hook, self.settings["before_sleep"])})

    def simplest(self) -> Callable[[Any], Any]:
        """What does the same for one item, with no more between than is needed."""
        return self if self.settings is not None else self.fn

    def many(self, items: Sequence[Any]) -> list[Any]:
        """A result for each item, or what went wrong with it."""
        return [self._one(item) for item in items]

    def _one(self, item: Any) -> Any:
        try:
            return self(item)
        except Exception as error:
            return Failure(error)


@dataclass(slots=True)
class Failure:
    """In a batch, in place of a result."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Told:
    """A result, and the quotas that its worker saw."""

    result: Any
    limits: list[RateLimit]


def one_packed(packed: bytes, item: Any) -> Any:
    """The same as :func:`one_remotely`, of pickled work: each worker unpickles it once."""
    return one_remotely(_unpacked(packed), item)


def many_packed(packed: bytes, items: Sequence[Any]) -> Any:
    """The same for a batch."""
    return many_remotely(_unpacked(packed), items)


@lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> Work:
    work: Work = pickle.loads(packed)
    return work


def one_remotely(work: Work, item: Any) -> Any:
    """*work* for one item, in another process: what its clients' hooks observe comes back with the result."""
    relay = Relay()
    token = set_current(relay)
    try:
        result = work(item)
    except Exception as error:
        failure = _portable(error)
        setattr(failure, SEEN, relay.limits)
    else:
        return Told(result, relay.limits) if relay.limits else result
    finally:
        reset_current(token)
    raise failure  # here, or it had the other one as its context, which some picklers take along


def many_remotely(work: Work, items: Sequence[Any]) -> Any:
    """The same for a batch."""
    relay = Relay()
    token = set_current(relay)
    try:
        results = work.many(items)
        for failure in results:
            if type(failure) is Failure:
                failure.error = _portable(failure.error)
    finally:
        reset_current(token)
    return Told(results, relay.limits) if relay.limits else results


@dataclass(slots=True)
class Relay:
    """Stands for the checkpoint where it cannot be: hooks show it the responses."""

    limits: list[RateLimit] = field(default_factory=list)

    def observe(self, response: object) -> None:
        from ...ratelimit._response import read_response

        self.limits += read_response(response).limits(time.time())


def _portable(error: Exception) -> Exception:
    """*error*, or one that says the same: one that does not pickle takes its batch, or a worker of loky's, with it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
