"""Observers hear what happens to every open operation of the process. They decide nothing and save nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .._api.manager import CheckpointManager
    from .._engine.options import Options
    from .._format.sections import Run
    from .._loops.standing import LoopStanding
    from .._models import CheckpointMetadata, SaveCosts
    from .._report.terminal.forecast import QuotaLook
    from .clock import Instant


class ThisRun(Protocol):
    """A run in the history: *notes* that observers may add to, and its entry, None before its first save."""

    @property
    def notes(self) -> dict[str, str]: ...
    @property
    def run(self) -> Run | None: ...


class Observed(Protocol):
    """An open operation, as observers see it. All values are read-only.

    Attributes:
        instant: When the operation last read its clock.
        resumed: Whether an earlier run's checkpoint was restored.
        done_at: When an earlier run finished the operation, if it stays done (UTC, ISO 8601); else None.
        items_before: Items that earlier runs did.
        processed_items: Items over all runs.
        metadata: Facts about the operation besides its state: total, rate limit, saves.
        costs: The cost of saving, over all runs.
        at_risk_seconds: Seconds of work that a kill would lose, at most; None if unknown.
        run_number: Number of this run, from 1.
        last_run: The run before, from the history; None without one.
        pace_before: The pace that the reporter measured in the last run; None without a reporter.
        margin_seconds: How long a wait for a quota lasts beyond the reset.
        location: Where the checkpoint lies, or will lie.
        elapsed_before: Seconds that earlier runs took.
        directory: The directory or URL that a command needs to find the checkpoint; "" if it needs none.
        history: This run's entry, and its notes: texts that are saved with it, by name.
    """

    @property
    def operation_id(self) -> str: ...
    @property
    def instant(self) -> Instant: ...
    @property
    def resumed(self) -> bool: ...
    @property
    def done_at(self) -> str | None: ...
    @property
    def items_before(self) -> int: ...
    @property
    def processed_items(self) -> int: ...
    @property
    def metadata(self) -> CheckpointMetadata: ...
    @property
    def costs(self) -> SaveCosts: ...
    @property
    def at_risk_seconds(self) -> float | None: ...
    @property
    def run_number(self) -> int: ...
    @property
    def last_run(self) -> Run | None: ...
    @property
    def pace_before(self) -> Mapping[str, Any] | None: ...
    @property
    def margin_seconds(self) -> float: ...
    @property
    def location(self) -> Path | str: ...
    @property
    def elapsed_before(self) -> float: ...
    @property
    def directory(self) -> str: ...
    @property
    def history(self) -> ThisRun: ...

    def seconds_since_save(self) -> float | None:
        """Seconds since the last save of this run; None if there was none."""
        ...

    def failed_items(self) -> int:
        """Items that ``map`` gave up, over all runs."""
        ...

    def standings(self) -> Sequence[LoopStanding]:
        """The progress of the loops that are shown to people."""
        ...

    def quota_looks(self, now: float) -> Iterable[QuotaLook]:
        """The quotas that a forecast needs; *now* is epoch seconds."""
        ...


class Observer:
    """Base class of observers: override the methods for what you want to hear; each does nothing by default.

    The engine calls all observers in the order of installation, and waits for each. An exception reaches the program
    as if the operation had raised it. Async checkpoints call from the event loop's thread.
    """

    is_quiet = False
    """True: it hears of no check-ins, and of saves only if ``hears_saves`` is True."""
    hears_saves = False
    """True: it hears of saves, although it is quiet."""

    def configure(self, options: Options) -> Options:
        """Return the options to open an operation with: *options*, or a changed copy.

        Called before the operation touches its store, in the thread that opens it.
        """
        return options

    def opened(self, operation: Observed) -> None:
        """The operation is owned and restored, and its block is about to begin. Called in the opening thread."""

    def checking_in(self, operation: Observed) -> None:
        """A check-in begins. Called in the thread that ticks or loops, before signals, saves and waits are handled."""

    def checked_in(self, operation: Observed) -> None:
        """A check-in ended without an error. Called in the thread that called :meth:`checking_in`."""

    def saving(self, operation: Observed | None, reason: str) -> None:
        """A save is due, and nothing is captured yet. Called in the thread that saves."""

    def saved(self, operation: Observed | None, reason: str, seconds: float) -> None:
        """The store has the save. Called in a thread of the operation, at its next check-in or save.

        Args:
            seconds: How long the save took, writing included.
        """

    def failed(self, operation: Observed, error: BaseException) -> None:
        """A save failed; the earlier checkpoint stands. Called in the thread where *error* is raised."""

    def failed_item(self, operation: Observed, loop: str, key: str | int, error: str) -> None:
        """An item was given up, or noted as failed. Called in the thread that noted it; *error* has no secrets."""

    def waiting(self, operation: Observed, seconds: float, whom: str) -> None:
        """Everything is saved, and the operation waits for a quota. Called by the waiting thread before each sleep.

        Args:
            seconds: The remaining time of the wait.
            whom: The host or resource whose quota is used up; "" if unknown.
        """

    def resumed(self, operation: Observed) -> None:
        """The wait has ended or was broken off. Called in the thread that waited."""

    def paused(self, operation: Observed) -> None:
        """A person asked it to pause, and everything is saved. :meth:`resumed` follows. Called in the loop's thread."""

    def closing(self, operation: Observed, error: BaseException | None) -> None:
        """The block ended, well or by *error*; the last save or the removal follows. Called in the closing thread."""

    def finalizing(self, operation: Observed | None) -> None:
        """The operation has finished, and its checkpoint is about to be removed. Called in the closing thread."""

    def closed(self, operation: Observed) -> None:
        """The operation is released and can be opened again. Called in the closing thread, also after an error."""

    # -- a CheckpointManager; for its saves and removals, the operation is None

    def managed(self, manager: CheckpointManager) -> None:
        """A CheckpointManager was made. Called in the thread that made it."""

    def finalized(self, manager: CheckpointManager) -> None:
        """A CheckpointManager has finalized an operation. Called in the thread that asked for it."""


INSTALLED: list[Observer] = []
"""The observers of this process, oldest first. An operation reads the list when it is opened."""
_installing = threading.Lock()


@contextlib.contextmanager
def installed(observer: Observer) -> Iterator[None]:
    """Inside the block, *observer* hears of every operation of the process, in any thread."""
    with _installing:
        INSTALLED.append(observer)
    try:
        yield
    finally:
        with _installing:
            INSTALLED[:] = [other for other in INSTALLED if other is not observer]
