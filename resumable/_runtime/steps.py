"""One text for both worlds: code that yields its blocking calls, run in place or on a thread.

What must happen between two calls is written once, as a generator. ``run`` makes the calls as they come,
``run_async`` makes them in a thread while the event loop goes on; a :class:`Pause` is slept in both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol, TypeVar

R = TypeVar("R")


class Sleeper(Protocol):
    """A clock that can let time pass."""

    def sleep(self, seconds: float) -> None: ...
    async def sleep_async(self, seconds: float) -> None: ...


class Pause:
    """Sleep for some seconds; in async code, this may be cancelled."""

    def __init__(self, seconds: float, clock: Sleeper) -> None:
        self.seconds = seconds
        self.clock = clock

    def __call__(self) -> None:
        self.clock.sleep(self.seconds)


Steps = Generator[Callable[[], Any], Any, R]


def run(steps: Steps[R]) -> R:
    """Make each call here and now; returns what *steps* returns."""
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
        value: R = stop.value
        return value


async def run_async(steps: Steps[R]) -> R:
    """Make each call in a thread. A cancellation waits for the calls that write, and is raised after the last."""
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
        value: R = stop.value
        return value
    except Exception as error:
        if cancellations:
            raise cancellations[0] from error
        raise


async def _call(call: Callable[[], Any], cancellations: list[asyncio.CancelledError]) -> Any:
    if isinstance(call, Pause):
        if cancellations:
            raise cancellations[0]
        return await call.clock.sleep_async(call.seconds)
    # The thread goes on whatever we do.
    return await to_its_end(asyncio.to_thread(call), cancellations)


async def to_its_end(work: Coroutine[Any, Any, R], cancellations: list[asyncio.CancelledError]) -> R:
    """Await *work* whatever comes; cancellations meanwhile, and there may be several, are noted."""
    future = asyncio.ensure_future(work)
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancellations.append(error)
    return future.result()
