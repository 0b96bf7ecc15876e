"""Ctrl-C and SIGTERM ask the program to stop after the current item.

An exception from a signal handler would interrupt the running code at any point. So the first signal only sets
:data:`wish`, which the next tick reads, and prints a line on a terminal. The second signal raises at once, as it would
without this library; so does one that comes while tenacity sleeps.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, Protocol

_log = logging.getLogger("resumable")

_STOPPING = b"resumable: stopping after this item; Ctrl-C again stops at once\n"
_DEFAULTS: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
if hasattr(signal, "SIGHUP"):  # ignored under nohup, and then left alone
    _DEFAULTS[signal.SIGHUP] = signal.SIG_DFL
_ONE_WISH_SECONDS = 1.0
"""Signals this soon after the first count as one: a terminal and a supervisor may both send one."""

tell_at_once: list[Callable[[bytes], bool]] = []
"""Each writes a text to the terminal, from inside a signal handler, if it is responsible; returns whether it did."""
_listeners: list[Callable[[], None]] = []
_replaced: dict[int, Any] = {}


class Wish:
    """The signal that came and was not handled yet, or None. Each tick that is due reads it, without a call."""

    number: int | None = None
    came_at = -math.inf
    """When the last signal came, in monotonic seconds; also if it was handled since."""
    raised: int | None = None
    """The signal that was raised at once, because it came again."""
    interrupts: int | None = None
    """The signal whose exception is raised now; while listeners are called."""
    stops = 0
    """How many signals have stopped a block; if one is still open, the program may have caught them."""
    ending = 0
    """How many blocks are ending because of a signal: another signal raises at once."""


wish = Wish()


def listen(wake: Callable[[], None], more: Iterable[int] = (), *, is_async: bool = False) -> bool:
    """Call *wake* from the handler at the first signal, including those in *more*. Returns whether it listens to any.

    Listening needs the main thread, and a signal without a handler of the program's own. With *is_async*, the handler
    of ``asyncio.run``, which would cancel the task inside an item, does not count as the program's own.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    for number in (*_DEFAULTS, *more) if not _listeners else more:
        handler = signal.getsignal(number)
        if handler == _DEFAULTS.get(number, signal.SIG_DFL) or (is_async and _is_of_asyncio(handler)):
            _replaced[number] = signal.signal(number, _on_signal)
    if _replaced:
        _listeners.append(wake)
    return bool(_replaced)


def check_numbers(numbers: Iterable[int]) -> None:
    """Refuse what no handler can be set for. Raises TypeError or ValueError."""
    for number in numbers:
        if not isinstance(number, int):
            raise TypeError(f"a signal is a number such as signal.SIGUSR1, not {number!r:.80}")
        if number not in signal.valid_signals():
            raise ValueError(f"this machine has no signal {number!r:.80}")
        if number in (getattr(signal, "SIGKILL", None), getattr(signal, "SIGSTOP", None)):
            raise ValueError(
                f"no program can hear {signal.Signals(number).name}; take signal.SIGTERM or signal.SIGUSR1"
            )


def _is_of_asyncio(handler: Any) -> bool:
    runner = getattr(sys.modules.get("asyncio"), "Runner", None)
    return isinstance(handler, functools.partial) and isinstance(getattr(handler.func, "__self__", None), runner or ())


def _is_of_past_asyncio(handler: Any) -> bool:
    """Whether *handler* belongs to an ``asyncio.run`` whose main task has ended, so that nobody would remove it."""
    return _is_of_asyncio(handler) and handler.keywords["main_task"].done()


def has_stopped_asyncio() -> bool:
    """Whether Ctrl-C has cancelled the main task of ``asyncio.run`` before anybody listened here."""
    handler = _replaced.get(signal.SIGINT) or signal.getsignal(signal.SIGINT)
    return _is_of_asyncio(handler) and bool(getattr(handler.func.__self__, "_interrupt_count", 0))  # type: ignore[union-attr]


def unlisten(wake: Callable[[], None]) -> None:
    """Stop calling *wake*. After the last one, the earlier handlers are restored."""
    if wake in _listeners:
        _listeners.remove(wake)
        if not _listeners:
            _restore()
            _clear()


def _clear() -> None:
    wish.number, wish.came_at, wish.raised, wish.stops = None, -math.inf, None, 0


def take() -> int | None:
    """The signal that came. The caller must handle it; nobody else sees it again."""
    number, wish.number = wish.number, None
    return number


@contextlib.contextmanager
def acted_upon(error: BaseException | None) -> Iterator[None]:
    """Inside the block, another signal raises at once if *error* stands for a signal, which is handled here."""
    is_signal = _number_of(error) is not None
    wish.ending += is_signal
    try:
        yield
    finally:
        wish.ending -= is_signal


def _number_of(error: BaseException | None) -> int | None:
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128:
        return error.code - 128
    return None


def error_for(number: int) -> KeyboardInterrupt | SystemExit:
    """The exception for signal *number*: KeyboardInterrupt for Ctrl-C, SystemExit(128 + number) for others."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


class _Requested(int):
    """The exit code after a request to stop. A subclass of SystemExit would print a traceback in threads."""


def requested_stop() -> SystemExit:
    """The exception for a stop that the program or another process asked for: as after SIGTERM, but told as it was."""
    return SystemExit(_Requested(128 + signal.SIGTERM))


def name_of(error: BaseException) -> str:
    """What stopped a run: the signal's name if *error* stands for one (except Ctrl-C), else the error's type."""
    if isinstance(getattr(error, "code", None), _Requested):
        return "stop()"
    number = _number_of(error)
    if number is not None and number != signal.SIGINT:
        with contextlib.suppress(ValueError):
            return signal.Signals(number).name
    return type(error).__name__


def interrupting(number: int) -> KeyboardInterrupt | SystemExit:
    """The exception for signal *number*, to be raised inside an item. If it is caught there, the item is not done."""
    wish.raised, was_stopped = number, wish.stops > 0
    error = stopping(number)
    if was_stopped:  # the program has caught one before, and may catch this one: the next tick hears of it, too
        wish.number = number
    return error


def stopping(number: int, but: Callable[[], None] | None = None) -> KeyboardInterrupt | SystemExit:
    """The exception by which all open blocks stop, once one of them (who listens with *but*) has noticed *number*."""
    wish.number, wish.interrupts, wish.stops = None, number, wish.stops + 1
    for wake in list(_listeners):
        if wake != but:
            wake()
    wish.interrupts = None
    return error_for(number)


def may_end_process() -> bool:
    """Whether nobody works in this process by hand, as in a notebook, and would lose all variables."""
    return not (hasattr(sys, "ps1") or sys.flags.interactive or "ipykernel" in sys.modules)


def end_process(number: int) -> None:
    """End this process at once, as signal *number* does to a program without a handler."""
    for stream in sys.stdout, sys.stderr:
        with contextlib.suppress(Exception):  # there may be none, or it may be closed
            stream.flush()
    signal.signal(number, signal.SIG_DFL)
    let_pass(number)
    signal.raise_signal(number)
    os._exit(128 + number)  # the system ignores it by default


def act() -> None:
    """Raise KeyboardInterrupt or SystemExit if a signal came."""
    if (number := take()) is not None:
        raise error_for(number)


def _restore() -> None:
    for number, before in list(_replaced.items()):
        # Leave a handler alone that the program has set meanwhile.
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, _DEFAULTS[number] if _is_of_past_asyncio(before) else before)
        del _replaced[number]


def _forget() -> None:
    # In a forked child: signals stop it as usual, because it has nothing to save.
    _listeners.clear()
    _restore()
    _clear()
    _unblock()


@contextlib.contextmanager
def held_back(number: int) -> Iterator[None]:
    """Inside the block, signal *number* is blocked; processes started meanwhile inherit that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_pass(number: int) -> None:
    """Unblock signal *number*, in a process that was started while it was blocked."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])


_masks = threading.local()


def _block() -> None:
    # Block signals across a fork. One that reached the child before _forget() would be lost, because Python drops
    # signals that come before its own work after the fork. A breaking pool terminates workers that have hardly begun.
    if _replaced:
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, list(_replaced))


def _unblock() -> None:
    before = _masks.__dict__.pop("before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_forget)


def _is_between_attempts(frame: FrameType) -> bool:
    """Whether *frame* is tenacity's sleep, which may be interrupted at any point."""
    sleep = getattr(sys.modules.get("tenacity.nap"), "sleep", None)
    return frame.f_code is getattr(sleep, "__code__", None)


def _on_signal(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if now - wish.came_at < _ONE_WISH_SECONDS:
        return
    wish.came_at = now
    if wish.ending:
        wish.number, wish.raised = None, number
        raise error_for(number)
    if wish.number is not None or (frame is not None and _is_between_attempts(frame)):
        raise interrupting(number)
    wish.number = number
    for wake in list(_listeners):
        wake()
    if number == signal.SIGINT:
        with contextlib.suppress(Exception):  # there may be no stderr
            if sys.stderr.isatty() and not any(tell(_STOPPING) for tell in tell_at_once):
                # Bypass the stream, because the signal may have interrupted a write to it. The terminal shows ^C.
                os.write(sys.stderr.fileno(), b"\n" + _STOPPING)


class Stoppable(Protocol):
    """The part of an open operation that is needed here."""

    is_asked_to_stop: bool
    wake: Callable[[], None]


open_here: weakref.WeakSet[Stoppable] = weakref.WeakSet()


def stop_all() -> None:
    """Make every open operation save and stop at its next tick, in its own thread."""
    for operation in list(open_here):
        operation.is_asked_to_stop = True
        operation.wake()


@functools.cache
def say_unheard() -> None:
    """Warn, once, that signals do not reach a block's thread."""
    _log.warning(
        "a checkpoint is open in a thread other than the main one, which Ctrl-C and SIGTERM do not reach; "
        "call resumable.stop() or cp.stop() to make it save and stop"
    )


def _wake_all() -> None:
    # A forked child owns nothing, and hears so before its next item.
    for operation in list(open_here):
        operation.wake()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_wake_all)
