"""How an operation is owned: claimed, perhaps after a silent owner's lease has ended, and checked later."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from .._errors import CheckpointBusyError, StoreBehindError, StoreError
from .._runtime.clock import system_clock
from .._runtime.steps import Pause, Steps
from .._text import duration
from ..stores import EndingLease

if TYPE_CHECKING:
    from .writer import Writer

_log = logging.getLogger("resumable")
_LEAST_SECONDS, _LOOK_SECONDS = 0.05, 2.0
"""Seconds between two checks of a silent owner, or of a store that is away: at least, and at most."""


def claim(writer: Writer, *, patience: float, waits: float, take_over: bool) -> Steps[bool]:
    """Claim the operation; if the owner is silent, wait for its lease to end. Returns whether a silent owner had it.

    Args:
        patience: Seconds for which the lease, once held, retries while the store is away.
        waits: Seconds to wait for a store that is away; a wrong address looks like one.

    Raises:
        CheckpointBusyError: The owner is alive.
        StoreError: The store cannot be used.
    """
    seen, began, is_told, takes_it = "", system_clock.now(), False, False
    while True:
        try:
            yield partial(writer.claim, patience=patience, take_over=takes_it)
            return takes_it
        except CheckpointBusyError as error:
            if take_over and not takes_it:
                takes_it = True
                continue
            # If the lease is this process's own, or was renewed meanwhile, its owner is alive.
            if error.lease_left is None or error.opened_at or seen not in ("", error.lease):
                raise
            if not seen:
                _say_who_has_it(error)
            seen = error.lease
            seconds = min(error.lease_left + _LEAST_SECONDS, _LOOK_SECONDS)
        except StoreError as error:
            if not error.is_transient or system_clock.now() - began >= waits:
                raise
            seconds = _LOOK_SECONDS
            if not is_told:
                _log.warning("%s: %s Tries again for %s.", writer.operation_id, error, duration(waits))
            is_told = True
        yield Pause(seconds, system_clock)


def _say_who_has_it(error: CheckpointBusyError) -> None:
    _log.warning(
        "%s: process %s on %s works on it, silent for %s. Takes over in %s unless it answers; take_over=True does so "
        "now.",
        error.operation_id,
        error.pid,
        error.host,
        duration(error.silent_for or 0.0),
        duration(error.lease_left or 0.0),
    )


def is_away(lease: EndingLease) -> Steps[bool]:
    """Whether the store does not answer, so that the loop goes on without it. Checks first that the lease is held.

    Raises:
        StaleCheckpointError: The lease is lost: nothing may be written any more, sinks included.
    """
    if lease.is_overdue:
        yield lease.make_sure
    return lease.is_away


def answers(lease: EndingLease | None) -> Steps[bool]:
    """Whether the store answers. Asks once: a run that must stop may have only a few seconds left."""
    if lease is None:
        return True
    with contextlib.suppress(StoreError):  # the next save reports a lost lease
        yield lease.renew
    return not lease.is_away


class Behind:
    """Whether the store has lost what it had acknowledged, so that everything is to be written anew.

    Attributes:
        is_so: Whether it has, and nothing has been mended yet.
        artifacts_anew: Puts the artifacts anew that are lost, before a save names them again; None if there are none.
    """

    artifacts_anew: Callable[[], None] | None = None
    is_so = False

    def is_told_by(self, error: BaseException) -> bool:
        """Whether *error* says so: nobody need be stopped by it."""
        if not isinstance(error, StoreBehindError):
            return False
        _log.error("%s The next save writes everything anew.", error)
        self.is_so = True
        return True

    def mend(self) -> None:
        """Everything is about to be written. Raises StoreError if an artifact cannot be."""
        if self.artifacts_anew is not None:
            self.artifacts_anew()
        self.is_so = False


def forked(operation_id: str, owner_pid: int) -> StoreError:
    """The error for a child that was forked from the owner, process *owner_pid*."""
    return StoreError(
        f"the checkpoint of {operation_id!r} belongs to process {owner_pid}, from which this one was forked; only that "
        "one may tick and save. Open the checkpoint after the fork, or return results to that process; a daemon must "
        "fork before the block."
    )
