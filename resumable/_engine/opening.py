"""How an operation is opened: claimed, read, restored."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial

from .._errors import CheckpointBusyError
from .._format.restore import Restored, good_previous
from .._format.sections import Finished, Run
from .._runtime import disk, observer
from .._runtime.clock import Instant
from .._runtime.interpreter import show_users_frames_only
from .._runtime.observer import Observer
from .._runtime.steps import Steps
from .._text import command_for
from .ending import SAYS_HOW_IT_ENDED, name_directory, say_what_stops
from .operation import Operation
from .options import Options, Ticker
from .owning import claim
from .presence import asks_to_retry
from .unsaved import bring
from .writer import Writer

_log = logging.getLogger("resumable")
_events = logging.getLogger("resumable.events")


def open_operation(options: Options, *, wake: Callable[[], None], ticker: Ticker) -> Steps[Operation]:
    """Claim the operation that *options* name, and restore it.

    Args:
        wake: Called when something may be due earlier than planned; from any thread, and from signal handlers.

    Raises:
        ResumableError: The operation cannot be opened. It is not owned, and nothing was written.
    """
    disk.reserve()
    observers = tuple(observer.INSTALLED)
    if options.on_event or "RESUMABLE_RUN_EVENTS" in os.environ or _events.isEnabledFor(logging.DEBUG):
        observers += tuple(_listeners(options, is_async=ticker.is_async))
    for each in observers:
        options = each.configure(options)
    writer = Writer(
        options.store,
        options.operation_id,
        works_beside=options.works_beside,
        wake=wake,
    )
    has_taken_over = False
    try:
        if options.store.traits.leases_end:
            waits = options.patience if options.on_store_error == "continue" else 0.0
            has_taken_over = yield from claim(
                writer, patience=options.patience, waits=waits, take_over=options.take_over
            )
        else:
            try:
                yield partial(writer.claim, take_over=options.take_over)
            except CheckpointBusyError as error:
                if error.lease_left is None:
                    raise
                # The directory cannot lock files: perhaps its owner is silent.
                has_taken_over = yield from claim(
                    writer, patience=options.patience, waits=0.0, take_over=options.take_over
                )
        at, restored = Instant(options.clock.now(), options.clock.utc()), None
        if options.resume and options.local is not None:
            yield partial(bring, writer, options, now=at.utc)
        if options.resume:
            restored = yield partial(writer.load, now=at.utc)
            if restored is None:
                yield partial(_say_what_remains, writer, at)
            else:
                restored = _to_go_on_from(restored, options, writer)
        runs = restored.sections.history if restored is not None else []
        if runs and has_taken_over:
            runs[-1].reason = "Interrupted: TakenOver"
        elif runs and not (runs[-1].reason or "").rpartition(" | ")[2].startswith(SAYS_HOW_IT_ENDED):
            yield partial(_ask_how_it_ended, options, runs)
        if runs and not _was_owned_by(runs[-1], writer):
            yield partial(_ask_for_runs_without_a_save, options, runs)
        operation = Operation(options, writer, restored, observers, wake, ticker, at)
        if restored is not None and restored.sections.failed:
            operation.parts.retries_failed = yield lambda: asks_to_retry(options.store, options.operation_id)
        if getattr(writer.lease, "has_artifacts", False):
            from .artifacts import sweep

            sections = operation.parts.saved
            sections.artifacts_before = yield partial(sweep, writer, sections if restored is not None else None)
        if restored is not None and (runs := restored.sections.history) and runs[-1].stopped_at is not None:
            say_what_stops(operation)
        return operation
    except BaseException as error:
        show_users_frames_only()
        name_directory(error, writer)
        writer.release()
        disk.spend_reserve()
        raise


def _listeners(options: Options, *, is_async: bool) -> Iterator[Observer]:
    """The observers that the user, the log or ``resumable run`` asks for; few operations have any."""
    if options.on_event or _events.isEnabledFor(logging.DEBUG):
        from .._report.events import Events

        yield Events(options.on_event or (), is_async=is_async)
    if "RESUMABLE_RUN_EVENTS" in os.environ:
        from .._report.supervised import Supervised

        yield Supervised()


def _to_go_on_from(restored: Restored, options: Options, writer: Writer) -> Restored | None:
    """The checkpoint to go on from; None if its operation has finished, and starts over."""
    sections = restored.sections
    if options.local is not None:
        sections.unsaved = None  # the store has it now
    if restored.astray:
        _say_what_is_lost(options.operation_id, restored.astray)
    if sections.finished is not None and options.when_done == "restart":
        _log.info("%s: finished at %s; starts over", options.operation_id, sections.finished.at)
        writer.write_all_next()
        return None
    if options.when_done == "skip" and restored.data.metadata.last_save_reason == "Finished":
        sections.finished = sections.finished or Finished(restored.data.last_updated.isoformat())
    return restored


def _was_owned_by(run: Run, writer: Writer) -> bool:
    """Whether nobody but *run* was the owner before this run, as far as the store tells: so no run is missing."""
    owner = getattr(writer.lease, "owner_before", None)
    return owner is not None and owner.pid == run.pid and owner.since <= run.began


def _ask_how_it_ended(options: Options, runs: list[Run]) -> None:
    """Find out how the last of *runs* ended: it was killed, or its last save failed."""
    from .._report.places import tell_unsaved

    tell_unsaved(options.store, options.operation_id, runs)


def _ask_for_runs_without_a_save(options: Options, runs: list[Run]) -> None:
    from .._report.places import add_unsaved

    add_unsaved(options.store, options.operation_id, runs)


def _say_what_is_lost(operation_id: str, saves: int) -> None:
    _log.error(
        "%s: its journal holds %s saves that cannot be used, because a save before them is missing and each holds only "
        "what changed. It goes on from the last complete save before them. A backup may have them all.",
        operation_id,
        f"{saves:,}",
    )


def _say_what_remains(writer: Writer, at: Instant) -> None:
    """Say that the run begins anew beside an older copy: the checkpoint was removed, or a run was killed at its end."""
    remains = good_previous(writer.store, writer.operation_id, at.utc)
    if remains is not None:
        _log.warning(
            "%s: begins anew, because it was finished or its checkpoint was removed. An older checkpoint is still "
            "there, %s, and will be replaced. To go on from it instead, stop this run and run:  %s",
            writer.operation_id,
            remains,
            command_for("repair", remains),
        )
