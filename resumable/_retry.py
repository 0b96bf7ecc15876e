"""tenacity, with a save before each sleep, and attempts that begin anew where the loop has moved on."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import tenacity

_log = logging.getLogger("resumable.retry")

MOST_FAILURES = 1000
"""After so many in one call, progress no longer makes attempts begin anew."""

_SETTINGS = (
    "sleep",
    "stop",
    "wait",
    "retry",
    "before",
    "after",
    "before_sleep",
    "reraise",
    "retry_error_cls",
    "retry_error_callback",
)
R = TypeVar("R", bound=tenacity.BaseRetrying)


class Saver(Protocol):
    """What a retry needs of a checkpoint."""

    @property
    def operation_id(self) -> str: ...
    @property
    def processed_items(self) -> int: ...
    def save(self, reason: str) -> Any: ...


def retrying(
    cp: Saver,
    policy: tenacity.BaseRetrying,
    *,
    reset_on_progress: bool = True,
    on_give_up: Callable[[], None] | None = None,
    is_async: bool = False,
) -> Any:
    """A copy of *policy* that saves *cp* before each sleep; its own hooks still run, after ours.

    Args:
        reset_on_progress: Attempts, waits and the time since the first attempt begin anew when the loop has ticked
            since the failure before: five attempts then mean five failures at one place, not five in a week.
            At most :data:`MOST_FAILURES` failures are forgiven.
        on_give_up: Called before the policy's ``retry_error_callback``, whose answer looks like a success.
        is_async: Whether the copy is to retry coroutines.
    """
    settings: dict[str, Any] = {name: getattr(policy, name) for name in _SETTINGS}
    save = _async_save_first(cp, policy.before_sleep) if is_async else _save_first(cp, policy.before_sleep)
    settings["before_sleep"] = save
    if reset_on_progress:
        settings["after"] = _Progress(cp, policy.after)
    if on_give_up is not None and policy.retry_error_callback is not None:
        settings["retry_error_callback"] = _tell(on_give_up, policy.retry_error_callback)
    if is_async and not isinstance(policy, tenacity.AsyncRetrying):
        if settings["sleep"] in (tenacity.nap.sleep, time.sleep):
            del settings["sleep"]
        return tenacity.AsyncRetrying(**settings)
    return policy.copy(**settings)


def save_before_sleep(cp: Saver) -> Callable[[tenacity.RetryCallState], None]:
    """A ``before_sleep`` hook that saves *cp*. It never raises: that would hide the error that is retried."""

    def before_sleep(retry_state: tenacity.RetryCallState) -> None:
        try:
            cp.save(_reason(retry_state))
        except Exception as failure:
            _note_failure(cp, retry_state, failure)

    return before_sleep


def async_save_before_sleep(cp: Saver) -> Callable[[tenacity.RetryCallState], Awaitable[None]]:
    """The same for ``AsyncRetrying``."""

    async def before_sleep(retry_state: tenacity.RetryCallState) -> None:
        try:
            await cp.save(_reason(retry_state))
        except Exception as failure:
            _note_failure(cp, retry_state, failure)

    return before_sleep


def _reason(retry_state: tenacity.RetryCallState) -> str:
    outcome = retry_state.outcome
    if outcome is not None and outcome.failed:
        what = type(outcome.exception()).__name__
    else:
        text = repr(outcome.result()) if outcome is not None else "nothing"
        what = f"result {text if len(text) <= 40 else text[:37] + '...'}"
    return f"Retry: {what} (attempt {retry_state.attempt_number + 1})"


def _note_failure(cp: Saver, retry_state: tenacity.RetryCallState, failure: Exception) -> None:
    text = f"{cp.operation_id!r} could not be saved before the retry: {failure}"
    _log.error("%s", text)
    error = retry_state.outcome.exception() if retry_state.outcome is not None else None
    if error is not None:
        error.add_note(f"resumable: {text}")


def _save_first(cp: Saver, then: Callable[[Any], Any] | None) -> Callable[[Any], None]:
    save = save_before_sleep(cp)

    def before_sleep(retry_state: tenacity.RetryCallState) -> None:
        save(retry_state)
        if then is not None:
            then(retry_state)

    return before_sleep


def _async_save_first(cp: Saver, then: Callable[[Any], Any] | None) -> Callable[[Any], Awaitable[None]]:
    save = async_save_before_sleep(cp)

    async def before_sleep(retry_state: tenacity.RetryCallState) -> None:
        await save(retry_state)
        if then is not None:
            result = then(retry_state)
            if inspect.isawaitable(result):
                await result

    return before_sleep


class _Progress:
    """An ``after`` hook: tenacity calls it after a failure, before it asks how long to wait and whether to stop."""

    def __init__(self, cp: Saver, then: Callable[[Any], Any] | None) -> None:
        self._cp = cp
        self._then = then
        self._items = cp.processed_items
        self._failures = 0

    def __call__(self, retry_state: tenacity.RetryCallState) -> Any:
        self._failures += 1
        items = self._cp.processed_items
        if items > self._items and self._failures < MOST_FAILURES:
            retry_state.attempt_number = 1
            retry_state.start_time = time.monotonic()
            retry_state.idle_for = 0.0
        self._items = items
        return self._then(retry_state) if self._then is not None else None


def _tell(on_give_up: Callable[[], None], callback: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def retry_error_callback(retry_state: tenacity.RetryCallState) -> Any:
        on_give_up()
        return callback(retry_state)

    return retry_error_callback
