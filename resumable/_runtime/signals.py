"""Ctrl-C and SIGTERM, taken as a wish to stop after the current item.

An exception raised from a signal handler tears whatever runs at that moment in two; a flag that is read at the next
tick does not. So the first signal only sets a flag, and a terminal is told that; the second one raises at once, as
without us.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_STOPPING = b"\nresumable: stopping after this item; Ctrl-C again stops at once\n"
"""Begins on a line of its own: the terminal has just shown ``^C``."""

_DEFAULTS: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

_listeners: list[Callable[[], None]] = []
_replaced: dict[int, Any] = {}
_received: int | None = None


def listen(wake: Callable[[], None]) -> bool:
    """Call *wake* at the first signal, from the handler; whether that could be arranged.

    Only in the main thread, and only for signals for which the program has set no handler of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    if not _listeners:
        _install()
    if _replaced:
        _listeners.append(wake)
    return bool(_replaced)


def unlisten(wake: Callable[[], None]) -> None:
    """Stop calling *wake*; after the last one, the handlers from before are put back."""
    global _received
    if wake in _listeners:
        _listeners.remove(wake)
        if not _listeners:
            _restore()
            _received = None


def received() -> int | None:
    """The signal that came and was not yet acted upon."""
    return _received


def take() -> int | None:
    """The signal that came; with this it is acted upon."""
    global _received
    number, _received = _received, None
    return number


def error_for(number: int) -> KeyboardInterrupt | SystemExit:
    """What stands for signal *number*: KeyboardInterrupt for Ctrl-C, else SystemExit(143)."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


def act() -> None:
    """Raise what the signal that came stands for, if one came; with this it is acted upon.

    Raises:
        KeyboardInterrupt, SystemExit: One came.
    """
    number = take()
    if number is not None:
        raise error_for(number)


def _install() -> None:
    for number, default in _DEFAULTS.items():
        if signal.getsignal(number) == default:
            _replaced[number] = signal.signal(number, _note)


def _restore() -> None:
    for number, before in list(_replaced.items()):
        # A handler that the program set meanwhile is its own.
        if signal.getsignal(number) is _note:
            signal.signal(number, before)
        del _replaced[number]


def _forget() -> None:
    """A forked child has nothing to save; what stops a process must stop it."""
    global _received
    _listeners.clear()
    _restore()
    _received = None
    _unblock()


_masks = threading.local()


def _block() -> None:
    # A signal that reaches the child before it has forgotten our handler would be lost: Python drops what came before
    # its own work after the fork is done. A pool that breaks terminates workers which have hardly begun.
    if _replaced:
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULTS)


def _unblock() -> None:
    before = _masks.__dict__.pop("before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_forget)


def _note(number: int, frame: FrameType | None) -> None:
    global _received
    if _received is not None:
        _received = None
        raise error_for(number)
    _received = number
    for wake in list(_listeners):
        wake()
    if number == signal.SIGINT:
        _tell()


def _tell() -> None:
    """Say to the person at the terminal, if there is one, that Ctrl-C was heard: the item may take long."""
    with contextlib.suppress(Exception):  # also where there is no stderr
        if sys.stderr.isatty():
            # Not through the stream: the signal may have come in the middle of a write to it.
            os.write(sys.stderr.fileno(), _STOPPING)
