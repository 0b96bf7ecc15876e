"""Ctrl-C and SIGTERM ask the program to stop after the current item.

An exception from a signal handler tears in two whatever runs at that moment. So the first signal only sets
:data:`wish`, which the next tick reads, and says so on a terminal. The second one raises at once, as without this.
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

_STOPPING = b"\nresumable: stopping after this item; Ctrl-C again stops at once\n"  # the terminal has just shown ^C
_DEFAULTS: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

_listeners: list[Callable[[], None]] = []
_replaced: dict[int, Any] = {}


class Wish:
    """The signal that came and that nobody has acted upon, or None. Each tick that is due reads it, without a call."""

    number: int | None = None


wish = Wish()


def listen(wake: Callable[[], None]) -> bool:
    """Call *wake* from the handler at the first signal. Returns whether any signal is listened to.

    That needs the main thread, and a signal that the program has set no handler of its own for.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    if not _listeners:
        for number, default in _DEFAULTS.items():
            if signal.getsignal(number) == default:
                _replaced[number] = signal.signal(number, _on_signal)
    if _replaced:
        _listeners.append(wake)
    return bool(_replaced)


def unlisten(wake: Callable[[], None]) -> None:
    """Stop calling *wake*. After the last one, the earlier handlers are back in place."""
    if wake in _listeners:
        _listeners.remove(wake)
        if not _listeners:
            _restore()
            wish.number = None


def take() -> int | None:
    """The signal that came. The caller acts upon it; nobody else sees it again."""
    number, wish.number = wish.number, None
    return number


def error_for(number: int) -> KeyboardInterrupt | SystemExit:
    """The exception for signal *number*: KeyboardInterrupt for Ctrl-C, SystemExit(143) for SIGTERM."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


def act() -> None:
    """Raise KeyboardInterrupt or SystemExit if a signal came."""
    if (number := take()) is not None:
        raise error_for(number)


def _restore() -> None:
    for number, before in list(_replaced.items()):
        # Leave a handler alone that the program has set meanwhile.
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, before)
        del _replaced[number]


def _forget() -> None:
    # In a forked child: signals stop it as usual, because it has nothing to save.
    _listeners.clear()
    _restore()
    wish.number = None
    _unblock()


_masks = threading.local()


def _block() -> None:
    # Block signals across a fork: one that reached the child before _forget() would be lost, because Python drops what
    # comes before its own work after the fork. A breaking pool terminates workers that have hardly begun.
    if _replaced:
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULTS)


def _unblock() -> None:
    before = _masks.__dict__.pop("before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_forget)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if take() is not None:
        raise error_for(number)
    wish.number = number
    for wake in list(_listeners):
        wake()
    if number == signal.SIGINT:
        with contextlib.suppress(Exception):  # there may be no stderr
            if sys.stderr.isatty():
                # Bypass the stream: the signal may have come in the middle of a write to it.
                os.write(sys.stderr.fileno(), _STOPPING)
