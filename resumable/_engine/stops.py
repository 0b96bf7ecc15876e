"""Which operations are open in this process: to be woken in a forked child, and to be asked to stop from any thread."""

from __future__ import annotations

import functools
import logging
import os
import weakref
from collections.abc import Callable
from typing import Protocol

_log = logging.getLogger("resumable")


class Stoppable(Protocol):
    """What is needed of an open operation."""

    is_asked_to_stop: bool
    wake: Callable[[], None]


open_here: weakref.WeakSet[Stoppable] = weakref.WeakSet()


def stop_all() -> None:
    """Have every open operation save and stop at its next tick, in its own thread."""
    for operation in list(open_here):
        operation.is_asked_to_stop = True
        operation.wake()


@functools.cache
def say_unheard() -> None:
    """Warn, once, that signals do not reach the thread of a block."""
    _log.warning(
        "a checkpoint is open in a thread that is not the main one: Ctrl-C and SIGTERM are not seen there; "
        "call resumable.stop() or cp.stop() to have it save and stop"
    )


def _wake_all() -> None:
    # A forked child owns nothing: it is told so before its next item.
    for operation in list(open_here):
        operation.wake()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_wake_all)
