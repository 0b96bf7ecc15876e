"""Steps: code for sync and async callers, written once as a generator that yields its blocking calls.

:func:`run` makes each call directly, :func:`run_async` in a thread, while the event loop goes on. Code that calls the
user's functions is written as an :data:`Exchange`: it makes each call itself, and yields results that may be awaitable.
"""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from .clock import Clock

if TYPE_CHECKING:
    import asyncio

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Pause:
    """A step that sleeps for some seconds. In async code, a cancellation ends the sleep."""

    seconds: float
    clock: Clock

    def __call__(self) -> None:
        self.clock.sleep(self.seconds)


Steps = Generator[Callable[[], Any], Any, R]


def run(steps: Steps[R]) -> R:
    """Make each call of *steps* in this thread. Returns the result of *steps*."""
    try:
        call = next(steps)
        while True:
            try:
                result = call()
            except BaseException as error:
                call = steps.throw(error)
            else:
                call = steps.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def run_async(steps: Steps[R]) -> R:
    """Make each call of *steps* in another thread. A cancellation is raised after the last call, or at a pause."""
    cancellations: list[asyncio.CancelledError] = []
    try:
        call = next(steps)
        while True:
            try:
                result = await _call(call, cancellations)
            except BaseException as error:
                call = steps.throw(error)
            else:
                call = steps.send(result)
    except StopIteration as stop:
        if cancellations:
            raise cancellations[0] from None
        return stop.value  # type: ignore[no-any-return]
    except Exception as error:
        if cancellations:
            raise cancellations[0] from error
        raise


async def _call(call: Callable[[], Any], cancellations: list[asyncio.CancelledError]) -> Any:
    if isinstance(call, Pause):
        if cancellations:
            raise cancellations[0]
        return await call.clock.sleep_async(call.seconds)
    import asyncio  # an async caller has loaded it already; `import resumable` stays light

    # A cancellation does not stop the thread. No task may await it: asyncio.run() cancels all tasks at its end.
    future = asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, call)
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancellations.append(error)
    return future.result()


async def acquire(lock: asyncio.Lock, cancellations: list[asyncio.CancelledError]) -> None:
    """Acquire *lock*. Cancellations that come meanwhile are appended to *cancellations*."""
    import asyncio

    while True:
        try:
            await lock.acquire()
            return
        except asyncio.CancelledError as error:
            cancellations.append(error)


# -- calls of the user's functions ------------------------------------------------------------------------------------

Exchange = Generator[Any, Any, R]
"""Yields what a call returned; receives that, or its result after awaiting it."""


def exchange(steps: Exchange[R]) -> R:
    """Run *steps* in plain code. Returns the result of *steps*.

    Raises:
        TypeError: A result is awaitable.
    """
    try:
        given = next(steps)
        while True:
            if inspect.isawaitable(given):
                if inspect.iscoroutine(given):
                    given.close()
                given = steps.throw(TypeError("an async function needs an async checkpoint: async with checkpointed"))
            else:
                given = steps.send(given)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def exchange_async(steps: Exchange[R]) -> R:
    """Run *steps* in async code, awaiting what is awaitable. Returns the result of *steps*."""
    try:
        given = next(steps)
        while True:
            try:
                result = await given if inspect.isawaitable(given) else given
            except BaseException as error:
                given = steps.throw(error)
            else:
                given = steps.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
