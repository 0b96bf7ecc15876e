"""One text for both worlds: code that yields its blocking calls, run in place or on a thread.

What must happen between two calls is written once, as a generator; ``run`` makes the calls as they come, ``run_async``
makes them in a thread while the event loop goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, TypeVar

R = TypeVar("R")
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
    """Make each call in a thread. A cancellation waits until *steps* are through, and is raised then."""
    cancelled: asyncio.CancelledError | None = None
    try:
        call = next(steps)
        while True:
            future = asyncio.ensure_future(asyncio.to_thread(call))
            while not future.done():
                try:
                    await asyncio.shield(future)
                except asyncio.CancelledError as error:
                    cancelled = error
                except BaseException:
                    break
            try:
                result = future.result()
            except BaseException as error:
                call = steps.throw(error)
            else:
                call = steps.send(result)
    except StopIteration as stop:
        if cancelled is not None:
            raise cancelled from None
        value: R = stop.value
        return value
