"""tenacity's retries: save before each sleep, end sleeps on a signal, count attempts anew after progress."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import tenacity
from tenacity import AsyncRetrying, BaseRetrying, RetryCallState, nap

from ._errors import InputChangedError, RateLimitExhausted, RunAgain, StaleCheckpointError, StateEncodeError
from ._runtime import signals
from ._runtime.current import current_checkpoint_or_none
from ._text import shortened

_FINAL = (RateLimitExhausted, RunAgain, StaleCheckpointError, StateEncodeError, InputChangedError)
"""The next attempt would raise these again."""
_POLL_SECONDS = 0.1
_log = logging.getLogger("resumable.retry")

Hook = Callable[[RetryCallState], Any]


class Saver(Protocol):
    """The part of a checkpoint that a retry uses."""

    @property
    def operation_id(self) -> str: ...
    @property
    def processed_items(self) -> int: ...
    def save(self, reason: str = ...) -> Any: ...
    def continuing(self) -> Callable[[Any], Any]: ...


def check_policy(policy: object) -> None:
    """Refuse anything but a retry policy or None.

    Raises:
        TypeError: *policy* is neither a ``tenacity.Retrying`` nor an ``AsyncRetrying``.
    """
    if policy is not None and not isinstance(policy, BaseRetrying):
        raise TypeError(
            f"retry must be a policy such as tenacity.Retrying(...), not {policy!r:.80}: {_policy_for(policy)}"
        )


def _policy_for(meant: object) -> str:
    """What to write instead of *meant*."""
    if callable(meant):  # the result of tenacity.retry(...)
        return "write tenacity.Retrying(...) with the same arguments"
    attempts = meant if type(meant) is int and meant > 0 else 5
    return f"write tenacity.Retrying(stop=tenacity.stop_after_attempt({attempts}), reraise=True)"


def retrying(
    cp: Saver,
    policy: BaseRetrying,
    *,
    reset_on_progress: bool = True,
    max_attempts_total: int = 1000,
    on_give_up: Callable[[], None] | None = None,
    is_async: bool = False,
) -> Any:
    """A copy of *policy* that saves *cp* before it sleeps. The policy's own hooks run after ours.

    A save that fails is logged and noted on the exception, and the retry goes on. An error that another attempt
    cannot mend, such as :class:`~resumable.RateLimitExhausted`, is not retried.

    Args:
        reset_on_progress: Attempts, waits and the time for ``stop_after_delay`` begin anew when items were ticked
            since the last failure. Not when an attempt is repeated for its *result*: it may tick each time for ever.
        max_attempts_total: After this many attempts of one call, the true totals count again. At least 1.
        on_give_up: Called when a ``retry_error_callback`` is about to turn the last failure into a result.
        is_async: Retry coroutines. The copy is then an ``AsyncRetrying``, whatever *policy* is.

    Raises:
        TypeError: An ``AsyncRetrying``, or an ``async def`` hook, is given for plain code.
    """
    base = _fitting(policy, is_async)
    attempts = _Attempts(cp, max_attempts_total if reset_on_progress else 0)
    chained = chain_async if is_async else chain
    give_up = None if on_give_up is None else lambda state: on_give_up()
    return base.copy(
        sleep=ended_by_a_stop(base.sleep),
        retry=_unless_final(base.retry, is_async),
        before=chained(cp.continuing(), attempts.before, base.before),
        after=chained(attempts.after, base.after),
        before_sleep=chained(save_before_sleep(cp, is_async=is_async), base.before_sleep),
        retry_error_callback=base.retry_error_callback and chained(give_up, base.retry_error_callback),
    )


# -- the save


def save_before_sleep(cp: Saver, *, is_async: bool = False) -> Hook:
    """A ``before_sleep`` hook that saves *cp*. It never raises: that would hide the error that is retried."""

    def before_sleep(retry_state: RetryCallState) -> None:
        _let_stop_end_sleep(retry_state)
        with _failure_noted(cp, retry_state):
            cp.save(reason(retry_state))

    async def before_sleep_async(retry_state: RetryCallState) -> None:
        _let_stop_end_sleep(retry_state)
        await save_async(cp, retry_state, reason(retry_state))

    return before_sleep_async if is_async else before_sleep


async def save_async(cp: Saver, retry_state: RetryCallState, why: str) -> None:
    """Save *cp* for the reason *why*. It never raises."""
    with _failure_noted(cp, retry_state):
        await cp.save(why)


def prepare_sleep(retry_state: RetryCallState) -> None:
    """Prepare for a long sleep of a foreign policy: save the current checkpoint, if there is one.

    It replaces tenacity's own sleep in this call by one that ends on a signal and follows the wall clock. It never
    raises.
    """
    checkpoint = current_checkpoint_or_none()
    policy: Any = retry_state.retry_object
    if checkpoint is None or policy.sleep in (_sleep, _sleep_async):
        return
    if hasattr(checkpoint, "save_before_sleep"):
        checkpoint.save_before_sleep(retry_state)
    _let_stop_end_sleep(retry_state)


def _let_stop_end_sleep(retry_state: RetryCallState) -> None:
    policy: Any = retry_state.retry_object
    if policy.sleep is nap.sleep:
        policy.sleep = _sleep
    elif policy.sleep is AsyncRetrying().sleep:
        policy.sleep = _nap_async  # a stop cancels the task that sleeps


def reason(retry_state: RetryCallState) -> str:
    """The reason of a save before a sleep: ``Retry: ConnectError (attempt 2)``."""
    return f"Retry: {_cause(retry_state)} (attempt {retry_state.attempt_number + 1})"


def _cause(retry_state: RetryCallState) -> str:
    error = _error(retry_state)
    if isinstance(error, tenacity.TryAgain):
        error = error.__cause__ or error.__context__ or error
    if error is not None:
        return type(error).__name__
    return f"result {shortened(retry_state.outcome.result(), 40)}" if retry_state.outcome is not None else "nothing"


def _error(retry_state: RetryCallState) -> BaseException | None:
    return retry_state.outcome.exception() if retry_state.outcome is not None else None


@contextlib.contextmanager
def _failure_noted(cp: Saver, retry_state: RetryCallState) -> Iterator[None]:
    """Instead of raising an exception of the block, log it, and note it on the error that is retried."""
    try:
        yield
    except Exception as failure:
        text = f"{cp.operation_id!r} could not be saved before the retry: {failure}"
        _log.error("%s", text)
        error, note = _error(retry_state), f"resumable: {text}"
        if error is not None and note not in getattr(error, "__notes__", ()):
            error.add_note(note)


# -- attempts that begin anew with progress


@dataclass(slots=True)
class _Call:
    start_time: float
    items: int = 0
    failures: int = 0
    idle_for: float = 0.0


class _Attempts:
    """Counts the failures since the last progress, by changing the state before ``wait`` and ``stop`` see it."""

    def __init__(self, cp: Saver, max_total: int) -> None:
        self._cp = cp
        self._max_total = max_total
        self._calls: WeakKeyDictionary[RetryCallState, _Call] = WeakKeyDictionary()

    def before(self, retry_state: RetryCallState) -> None:
        self._calls.setdefault(retry_state, _Call(retry_state.start_time)).items = self._cp.processed_items

    def after(self, retry_state: RetryCallState) -> None:
        call = self._calls[retry_state]
        call.failures += 1
        has_advanced = _error(retry_state) is not None and self._cp.processed_items > call.items
        if call.failures == self._max_total:
            retry_state.attempt_number = call.failures
            retry_state.idle_for += call.idle_for
            retry_state.start_time = call.start_time
        elif call.failures < self._max_total and has_advanced:
            call.idle_for += retry_state.idle_for
            retry_state.attempt_number, retry_state.idle_for = 1, 0.0
            retry_state.start_time = retry_state.outcome_timestamp or retry_state.start_time


# -- functions that are decorated with @tenacity.retry


def is_retried(function: Any) -> bool:
    """Whether ``@tenacity.retry`` made *function* itself, and did not only lend it its attributes."""
    module = str(getattr(function, "__globals__", {}).get("__name__", ""))
    return module.partition(".")[0] == "tenacity" and isinstance(getattr(function, "retry", None), BaseRetrying)


def carries_retry(function: Any) -> bool:
    """Whether there is a ``@tenacity.retry`` below other decorators."""
    return isinstance(getattr(function, "retry", None), BaseRetrying) and not is_retried(function)


def saving_retries(function: Any, cp: Saver, *, on_give_up: Callable[[], None], is_async: bool) -> Callable[..., Any]:
    """*function*, for one call, with a copy of its policy that saves, and with its own statistics."""
    policy = retrying(cp, function.retry, reset_on_progress=False, on_give_up=on_give_up, is_async=is_async)
    again: Any = policy.wraps(awaited(function.__wrapped__) if is_async else function.__wrapped__)
    again.statistics = function.statistics

    def call(*args: Any, **kwargs: Any) -> Any:
        with _statistics_copied(again, function.retry):
            return again(*args, **kwargs)

    async def call_async(*args: Any, **kwargs: Any) -> Any:
        with _statistics_copied(again, function.retry):
            return await again(*args, **kwargs)

    return call_async if is_async else call


@contextlib.contextmanager
def _statistics_copied(source: Any, target: Any) -> Iterator[None]:
    try:
        yield
    finally:
        copied = dict(source.statistics)
        target.statistics.clear()
        target.statistics.update(copied)


def ended_by_a_stop(sleep: Callable[[float], Any]) -> Callable[[float], Any]:
    """A sleep that ends when the program must stop, instead of tenacity's own; a sleep of the user stays."""
    if sleep is nap.sleep:
        return _sleep
    return _sleep_async if sleep is AsyncRetrying().sleep else sleep


def _sleep(seconds: float) -> None:
    for part in _parts_of(seconds):
        time.sleep(part)


async def _sleep_async(seconds: float) -> None:
    for part in _parts_of(seconds):
        await asyncio.sleep(part)


async def _nap_async(seconds: float) -> None:
    for part in _short_parts_of(seconds):
        await asyncio.sleep(part)


def _parts_of(seconds: float) -> Iterator[float]:
    """Short sleeps of *seconds* in all. Before and after each, a requested stop is raised."""
    ends_at = time.monotonic() + seconds
    _stop_if_asked(seconds)
    for part in _short_parts_of(seconds):
        yield part
        _stop_if_asked(ends_at - time.monotonic())


def _short_parts_of(seconds: float) -> Iterator[float]:
    while seconds > 0:
        began, at, part = time.monotonic(), time.time(), min(seconds, _POLL_SECONDS)
        yield part
        # A sleep that a test replaced takes no time, but counts. The time in which the machine was suspended counts,
        # too; only the wall clock shows it.
        seconds -= max(part, time.monotonic() - began, time.time() - at)


def _stop_if_asked(seconds_left: float) -> None:
    if threading.current_thread() is not threading.main_thread():
        checkpoint = current_checkpoint_or_none()
        if hasattr(checkpoint, "end_sleep_if_asked"):
            checkpoint.end_sleep_if_asked(seconds_left)
    elif (number := signals.take()) is not None:
        raise signals.interrupting(number)


def awaited(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """*function* as an ``async def``, even if a plain decorator hides that it is one."""

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await _settled(function(*args, **kwargs))

    return call


async def _settled(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _fitting(policy: BaseRetrying, is_async: bool) -> BaseRetrying:
    """*policy*, or an ``AsyncRetrying`` made of it, whose plain sleep runs in a thread and not in the event loop."""
    if isinstance(policy, AsyncRetrying) == is_async:
        return policy
    if not is_async:
        raise TypeError("an AsyncRetrying cannot retry plain code; give tenacity.Retrying(...)")
    names = inspect.signature(AsyncRetrying).parameters.keys() - {"sleep", "name"}
    settings = {name: getattr(policy, name) for name in names}
    if policy.sleep is not nap.sleep:
        is_async_sleep = inspect.iscoroutinefunction(policy.sleep)
        settings["sleep"] = policy.sleep if is_async_sleep else lambda seconds: asyncio.to_thread(policy.sleep, seconds)
    return AsyncRetrying(**settings, name=str(policy))


def chain(*hooks: Hook | None) -> Hook:
    """One hook that runs those of *hooks* that are not None, and returns what the last one returns.

    Raises:
        TypeError: One of them is an ``async def``.
    """
    given = [hook for hook in hooks if hook is not None]
    is_async = inspect.iscoroutinefunction
    if any(is_async(hook) or is_async(getattr(hook, "__call__", None)) for hook in given):  # noqa: B004
        raise TypeError("an async def hook is never awaited in plain code; give a plain function")

    def run(retry_state: RetryCallState) -> Any:
        return [hook(retry_state) for hook in given][-1]

    return run


def chain_async(*hooks: Hook | None) -> Hook:
    """An ``async def`` that runs the hooks, which may be plain or ``async def``. See :func:`chain`."""
    given = [hook for hook in hooks if hook is not None]

    async def run(retry_state: RetryCallState) -> Any:
        return [await _settled(hook(retry_state)) for hook in given][-1]

    return run


def _unless_final(wanted: Hook, is_async: bool) -> Hook:
    """*wanted*, except for errors that the next attempt would raise again."""

    def should_retry(retry_state: RetryCallState) -> Any:
        return not isinstance(_error(retry_state), _FINAL) and wanted(retry_state)

    return awaited(should_retry) if is_async else should_retry
