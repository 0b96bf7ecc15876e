"""Threads and signal handlers that come in between any two steps of a test."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

needs_signals = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="this system sends no signals to a thread"
)


@contextmanager
def busy_switching(seconds: float = 1e-5) -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def signals(handler: Callable[..., Any], seconds: float, stop: threading.Event | None = None) -> Iterator[None]:
    """Calls `handler` in this thread about each so many seconds, until the block or the event ends it.

    No interval timer: any thread may take its SIGALRM. A late one would meet the handler of pytest-timeout, which the
    test has put back by then.
    """
    thread, over = threading.get_ident(), stop or threading.Event()

    def send() -> None:
        while not over.wait(seconds):
            signal.pthread_kill(thread, signal.SIGUSR1)

    before, sender = signal.signal(signal.SIGUSR1, handler), threading.Thread(target=send)
    try:
        with busy_switching(seconds / 4):
            sender.start()
            yield
    finally:
        over.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)
