"""Steps run the same in place and on a thread."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from resumable._runtime.clock import SystemClock
from resumable._runtime.steps import Pause, Steps, run, run_async

threads: list[threading.Thread] = []


def call() -> int:
    threads.append(threading.current_thread())
    return 20


def fail() -> int:
    raise OSError("no disk")


def steps() -> Steps[int]:
    first = yield call
    yield Pause(0.001, SystemClock())
    try:
        yield fail
    except OSError:
        return first + 1
    return 0


async def test_a_result_an_error_and_a_pause_come_back_either_way() -> None:
    threads.clear()

    assert run(steps()) == await run_async(steps()) == 21
    assert threads[0] is threading.current_thread() is not threads[1]


async def test_a_cancellation_waits_for_the_call_and_comes_after_the_last() -> None:
    done: list[str] = []
    started = threading.Event()

    def write(name: str) -> None:
        started.set()
        time.sleep(0.05)
        done.append(name)

    def both() -> Steps[None]:
        yield lambda: write("first")
        yield lambda: write("second")

    task = asyncio.create_task(run_async(both()))
    while not started.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert done == ["first", "second"]


async def test_a_cancellation_ends_a_pause() -> None:
    def pause() -> Steps[None]:
        yield Pause(3600, SystemClock())

    task = asyncio.create_task(run_async(pause()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
