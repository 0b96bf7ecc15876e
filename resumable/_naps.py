"""Sleeps between attempts that a signal ends.

The first Ctrl-C or SIGTERM only sets a flag (see ``_signals``), which nobody would read before the next attempt.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tenacity import AsyncRetrying, nap

from . import _signals

_POLL_SECONDS = 0.1


def is_default(sleep: Callable[[float], Any]) -> bool:
    """Whether it is tenacity's own sleep for plain code."""
    return sleep is nap.sleep


def waking_for_signals(sleep: Callable[[float], Any]) -> Callable[[float], Any]:
    """The same sleep, ended by signals if it is tenacity's own; any other one is the user's affair."""
    if is_default(sleep):
        return _sleep
    return _sleep_async if sleep is AsyncRetrying().sleep else sleep


def awaitable(sleep: Callable[[float], Any]) -> Callable[[float], Awaitable[None]]:
    """A plain sleep for async code: it blocks a thread instead of the loop."""

    async def wait(seconds: float) -> None:
        await asyncio.to_thread(sleep, seconds)

    return sleep if inspect.iscoroutinefunction(sleep) else wait


def _sleep(seconds: float) -> None:
    _stop_if_asked()
    while seconds > 0:
        began, part = time.monotonic(), min(seconds, _POLL_SECONDS)
        time.sleep(part)
        # A sleep that a test has replaced takes no time, but counts.
        seconds -= max(part, time.monotonic() - began)
        _stop_if_asked()


async def _sleep_async(seconds: float) -> None:
    _stop_if_asked()
    while seconds > 0:
        began, part = time.monotonic(), min(seconds, _POLL_SECONDS)
        await asyncio.sleep(part)
        seconds -= max(part, time.monotonic() - began)
        _stop_if_asked()


def _stop_if_asked() -> None:
    if threading.current_thread() is threading.main_thread() and (number := _signals.take()) is not None:
        raise _signals.error_for(number)
