"""How an operation's block ends: all is done, something is kept for the next run, or an error left the block."""

from __future__ import annotations

import logging
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import msgspec

from .._durable import Durable
from .._errors import (
    CheckpointBusyError,
    CheckpointCorruptError,
    InputChangedError,
    RateLimitExhausted,
    ResumableError,
    RunAgain,
    StaleCheckpointError,
    StateEncodeError,
    StoreError,
    UnknownOutcomeError,
)
from .._format.sections import Finished
from .._json import check
from .._loops.standing import where_it_is
from .._runtime import disk, signals
from .._runtime.clock import system_clock
from .._runtime.interpreter import end_traceback_at_user, show_users_frames_only
from .._runtime.steps import Steps
from .._text import command_for, shortened
from .._text.hints import note_on_misuse
from ..stores.defaults import place_to_name
from .owning import answers, is_away
from .unkept import say_what_is_lost
from .unsaved import leave, take_back

if TYPE_CHECKING:
    from .operation import Operation
    from .writer import Writer

_log = logging.getLogger("resumable")
_MANY_STOPS = 3
_WARN_EACH_SECONDS = 300.0
"""While the loop goes on without its store, warn at most this often."""
_SAY_HOW_TO_GO_ON = (InputChangedError, RateLimitExhausted, RunAgain, StateEncodeError, UnknownOutcomeError)
"""Running again at once would raise these again; their text says what to do first."""
_ENDED_WELL = ("Finished", "Kept", "Stopped: ", "Failed items: ")
"""How the reason of a run's last save begins if the run ended without an error."""
SAYS_HOW_IT_ENDED = ("Interrupted: ", *_ENDED_WELL)
"""How the reason of a run's last save begins, whatever ended the run; with any other reason, the run was killed."""
_AT_ITEM = "resumable: at item "
"""How the note begins by which a map names the item."""


def stop_at_end(operation: Operation) -> BaseException | None:
    """What stops the program at the end of a block without an error: a signal, or an error in another thread's loop."""
    if operation.stopped_by is None and operation.is_listening and (number := signals.take()) is not None:
        return signals.error_for(number)
    return operation.stopped_by


def end(operation: Operation, stop: BaseException | None = None) -> Steps[bool]:
    """End the block, which was left without an error. Returns whether nothing is left to do.

    Args:
        stop: From :func:`stop_at_end`. The program stops here and does not run what follows the block, so the
            checkpoint stays for the next run.

    Raises:
        KeyboardInterrupt, SystemExit: *stop*, or a signal that came meanwhile.
        StateEncodeError, StoreError: The checkpoint cannot be saved, or cannot be removed.
    """
    disk.spend_reserve()
    operation.sync()
    operation.session.count_work(now=operation.instant.monotonic)
    if stop is not None:
        yield from interrupt(operation, stop)
        raise stop.with_traceback(None)  # without the frames of a thread
    try:
        is_final = yield from _finish(operation)
    except StoreError as failure:
        if told := (yield from leave(operation, failure, "Stopped: its store is away")):
            failure.add_note(f"resumable: {told}")
        else:
            _note_unsaved(operation, failure, failure)
        raise
    if operation.is_listening:
        signals.act()
    return is_final


def _finish(operation: Operation) -> Steps[bool]:
    """Finalize, unless a loop has items left. Returns whether it did.

    Raises:
        StateEncodeError, StoreError: The checkpoint cannot be saved, or cannot be removed.
    """
    if _stays_done(operation):
        return True
    reason = _reason_to_keep(operation)
    operation.parts.cut.end(is_final=reason is None)
    if reason is not None:
        yield from _save_at_end(operation, reason)
        return False
    _say_nothing_was_left(operation)
    for each in operation.observers:
        each.finalizing(operation)
    if operation.options.when_done == "skip":
        yield from _leave_marker(operation)
    elif operation.options.auto_cleanup:
        yield from _sync_sinks(operation)
        if operation.stands is not None:
            operation.stands.deleted()
        yield from operation.writer.delete()
        operation.parts.sinks.have_ended = True
    else:
        yield from _save_at_end(operation, "Finished")
    return True


def _sync_sinks(operation: Operation) -> Steps[None]:
    """Bring all rows to the disk, unless another owner has taken the operation."""
    if operation.writer.ending is not None:
        yield from is_away(operation.writer.ending)
    yield from operation.parts.sinks.syncs()


def _say_nothing_was_left(operation: Operation) -> None:
    """Warn when this run found all items done though the run before failed: perhaps they were only handed out."""
    parts, reason = operation.parts, operation.metadata.last_save_reason or ""
    if not operation.resumed or operation.session.saves or parts.has_done or operation.is_finalized:
        return
    if reason.startswith(_ENDED_WELL) or parts.saved.failed or _was_through(operation):
        return
    if not _may_have_handed_out(operation):
        return
    _log.warning(
        "%s: all items have counted as done since the last run, so this run did none. If that run only handed them out "
        "(list(), pool.submit), the work on them is missing: use cp.map.",
        operation.operation_id,
    )


def _may_have_handed_out(operation: Operation) -> bool:
    """Whether a loop of this run may have handed out its items without the work on them."""
    return any(view.loop is not None and not view.loop.is_worked_on for view in operation.parts.loops.views.values())


def _was_through(operation: Operation) -> bool:
    """Whether a signal stopped the run before outside of all loops: it had reached the end of its block."""
    last = operation.parts.last_run
    return last is not None and (last.reason or "").startswith("Interrupted: ") and last.place is None


def _stays_done(operation: Operation) -> bool:
    """Whether an earlier run finished the operation, and this run did nothing."""
    return operation.is_done and not operation.is_reopened and not operation.parts.has_done


def keep_result(operation: Operation, result: object) -> None:
    """Keep *result*, which the decorated function returned, for later calls if the operation stays done."""
    if operation.options.when_done != "skip":
        return
    try:
        check(result, "$.result", _log.warning)
        operation.result = Finished(result=result)
    except StateEncodeError as error:
        operation.result = Finished(type=type(result).__name__)
        _log.warning(
            "%s: its result cannot be kept, so calling it again fails until its checkpoint is removed: %s",
            operation.operation_id,
            error.reason,
        )


def kept_result(operation: Operation) -> Any:
    """What the decorated function returned when it finished the operation.

    Raises:
        ResumableError: It was not kept.
    """
    finished = operation.parts.finished
    assert finished is not None
    if finished.result is not msgspec.UNSET:
        return finished.result
    what = f"JSON cannot hold a {finished.type}" if finished.type else "it did not end in a call"
    raise ResumableError(
        f"{operation.operation_id!r} has finished already, but its result was not kept: {what}. Nothing was done.\n"
        f"  do it again:  {command_for('rm', operation.operation_id, operation.directory)}, or resume=False\n"
        "  for the future:  return what JSON can hold, or None"
    )


def _leave_marker(operation: Operation) -> Steps[None]:
    """Save that the operation is finished: for a function only its result, for a block also what its code reads."""
    finished, is_call = operation.result or Finished(), operation.result is not None
    finished.at = operation.instant.utc.isoformat(timespec="seconds")
    is_marker = is_call and operation.options.auto_cleanup
    if is_marker:
        yield from _sync_sinks(operation)
    operation.parts.mark_finished(finished, is_marker=is_marker)
    if is_marker:  # two saves, so that the copy of the save before is small, too
        operation.writer.write_all_next()
        yield from operation.save("Finished")
        operation.writer.write_all_next()
    yield from operation.save("Finished", is_last=True)


def _save_at_end(operation: Operation, reason: str) -> Steps[None]:
    """Save at the end of a block without an error; if that fails, save the last good state and raise the error."""
    try:
        yield from operation.save(reason, is_last=True)
    except StateEncodeError as error:
        yield from interrupt(operation, error)
        raise


def _reason_to_keep(operation: Operation) -> str | None:
    """Why the checkpoint is kept though the block ended without an error; None if nothing is left to do."""
    if operation.keep_reason is not None or operation.is_finalized:
        return operation.keep_reason
    parts = operation.parts
    left = list(parts.loops.left())
    if limited := next((loop for loop in left if loop.is_halted and not loop.is_held), None):
        return f"Stopped: limit of {limited.limit:,} items reached; run it again to go on"
    if left or parts.loops.has_compacted_left():
        return "Stopped: a loop was left with items to go"
    if unmet := parts.loops.never_met():
        _log.error("%s: this run did not reach %s", operation.operation_id, "; ".join(unmet))
        return f"Stopped: this run did not reach {unmet[0]}"
    if parts.failed:
        return f"Failed items: {len(parts.failed):,}; retry_failed=True tries again"
    if parts.known_effects is not None and (unknown := parts.known_effects.unknown()):
        _log.error("%s: it is not known whether these effects happened: %s", operation.operation_id, ", ".join(unknown))
        return f"Stopped: it is not known whether {unknown[0]} happened"
    total, done = operation.options.total, operation.processed_items
    if total is not None and done < total:
        return f"Stopped: {done:,} of {total:,} items are done"
    return None


def interrupt(operation: Operation, error: BaseException) -> Steps[bool]:
    """Save what was ticked; *error* left the block. Returns whether that worked; if not, *error* gets a note."""
    disk.spend_reserve()
    name_directory(error, operation.writer)
    if isinstance(error, RunAgain):  # SystemExit prints no traceback
        total = operation.metadata.total_items
        of = f" of {total:,}" if total else ""
        _log.warning("%s %s%s items are done", error, f"{operation.processed_items:,}", of)
    if _stays_done(operation) or _is_damaged(operation, error):
        return True
    if isinstance(error, KeyboardInterrupt):
        end_traceback_at_user(error)
    if isinstance(error, KeyboardInterrupt | ResumableError):
        show_users_frames_only()
    if isinstance(error, StaleCheckpointError) and error.operation_id == operation.operation_id:
        return False  # nothing may be written any more
    return (yield from _save_after(operation, error))


def _save_after(operation: Operation, error: BaseException) -> Steps[bool]:
    told, may_lose_writes = "", _may_lose_writes(operation)
    try:
        if not (yield from answers(operation.writer.ending)):
            # Whoever stops this process will not wait until an unreachable store comes back.
            away = StoreError(f"{operation.location} does not answer.")
            told = yield from leave(operation, away, f"Interrupted: {signals.name_of(error)}")
        items = yield from _save_what_can_be(operation, error)
        if told:
            yield from take_back(operation)
    except Exception as failure:  # the user must see the program's own error
        if told := told or (yield from leave(operation, failure, f"Interrupted: {signals.name_of(error)}")):
            error.add_note(f"resumable: {told}, with {operation.processed_items:,} items done")
            return True
        _say_failure(operation, error, failure)
        return False
    if not operation.reporter.says_stop(error):
        _say_saved(operation, error, items)
    if may_lose_writes:
        _say_left_out(operation.operation_id, error)
    return True


def _say_left_out(operation_id: str, error: BaseException) -> None:
    text = (
        "what was written since the last cp.tick() is left out, because its item is done again. If cp.state counts "
        "that item as done already, it is lost: change cp.state as the last step before cp.tick()."
    )
    if isinstance(error, SystemExit):  # it prints no notes
        _log.warning("%s: %s", operation_id, text)
    else:
        error.add_note(f"resumable: {text}")


def _may_lose_writes(operation: Operation) -> bool:
    """Whether writes are left out of the save between two ticks, while the state is saved as it is now."""
    parts, boundary = operation.parts, operation.parts.cut.boundary
    has_state = parts.typed is not None or any(not isinstance(one, Durable) for one in parts.state.values())
    has_begun = operation.ticker.ticked or parts.cut.is_within_first
    if not has_state or not has_begun or any(view.has_begun for view in parts.loops.views.values()):
        return False
    return any(writer.has_written_since(boundary.now()) for writer in list(boundary.writers))


def _say_failure(operation: Operation, error: BaseException, failure: Exception) -> None:
    """*error* left the block, and the save after it failed with *failure*."""
    is_told = str(failure) == str(error) or _is_the_same_trouble(failure, error)
    why = "" if is_told else f": {failure}"
    error.add_note(f"resumable: {operation.operation_id!r} could not be saved as it stopped{why}")
    if not is_told:
        _log.error("%s: could not be saved as it stopped: %s", operation.operation_id, failure)
    _note_unsaved(operation, error, failure)
    if isinstance(error, RunAgain):
        error.code = 1


def _say_saved(operation: Operation, error: BaseException, items: int) -> None:
    """*error* left the block, and what was ticked is saved: add notes on where it stopped and how to go on."""
    note_on_misuse(error)
    is_told = any(str(note).startswith(_AT_ITEM) for note in getattr(error, "__notes__", ()))
    if not is_told and (where := where_it_is(operation.parts.loops.shown().values())):
        error.add_note(f"resumable: at {where}")
    how = "" if isinstance(error, _SAY_HOW_TO_GO_ON) else _how_to_go_on(operation)
    error.add_note(f"resumable: {operation.operation_id!r} is saved at item {items:,}{how}")


def _is_the_same_trouble(failure: Exception, error: BaseException) -> bool:
    """Whether *failure*, of the last save, says no more than *error*: a disk is still full."""
    is_ours = isinstance(error, StoreError) and error.__cause__ is not None
    return is_ours and str(failure.__cause__) == str(error.__cause__)


def _note_unsaved(operation: Operation, error: BaseException, failure: Exception) -> None:
    """Note beside the store that *error* ended the run, and that its last save failed with *failure*."""
    if operation.clock is not system_clock:
        return
    from .._report.places import note_unsaved

    run = operation.parts.history.cut_short(error, failure, at=operation.instant.utc)
    note_unsaved(operation.options.store, operation.operation_id, run)


def _is_damaged(operation: Operation, error: BaseException) -> bool:
    """Whether *error* reports a damaged checkpoint before this run has done anything.

    If so, nothing is saved: a save would replace the earlier generation, from which the user can recover.
    """
    is_ours = isinstance(error, CheckpointCorruptError) and error.operation_id == operation.operation_id
    return is_ours and not operation.parts.has_done


def _item_of(operation: Operation, error: BaseException) -> tuple[str, str | int] | None:
    """The innermost loop's name and its item that raised *error*; None if no item did."""
    if not isinstance(error, Exception) or isinstance(error, (*_SAY_HOW_TO_GO_ON, StoreError)):
        return None
    at_item = [loop for loop in operation.parts.loops.unfinished() if loop.is_at_item()]
    return (at_item[-1].name, at_item[-1].current_item()) if at_item else None


def say_what_stops(operation: Operation) -> None:
    """Warn of an item that ended several runs in a row."""
    history = operation.parts.saved.history
    at = history[-1].stopped_at if history else None
    count = len([*takewhile(lambda run: run.stopped_at == at, reversed(history))])
    if at is not None and count >= _MANY_STOPS:
        _log.warning(
            "%s: item %s has stopped %s runs; to leave it out and go on, catch its error and call cp.fail(item, error)",
            operation.operation_id,
            shortened(at[1]),
            count,
        )


def _how_to_go_on(operation: Operation) -> str:
    """Tell the person how to go on after an error left the block."""
    loops = operation.parts.loops
    is_to_begin = any(view.loop is not None and not view.has_begun for view in loops.shown().values())
    if not loops.views or is_to_begin or next(loops.left(), None) is not None or loops.never_met():
        return "; run again to go on"
    if not _may_have_handed_out(operation):
        return "; run again to go on"
    return (
        "; run again to go on. Its loops had reached their end, so all items count as done: "
        "if they were only handed out (list(), pool.submit), use cp.map."
    )


def note_early_save(operation: Operation) -> None:
    """Called after each of the first two saves of this run: from then on, other processes can watch the run."""
    if operation.session.saves == 2:
        say_what_is_lost(operation)
    else:
        from .presence import appear

        appear(operation)


def tell_failure(operation: Operation, loop: str, key: str | int, text: str) -> None:
    """Report that an item has failed."""
    for each in operation.observers:
        each.failed_item(operation, loop, key, text)


def outlives(operation: Operation, error: StoreError) -> bool:
    """Whether the loop goes on though a save failed. Warns once, until a save succeeds again."""
    is_final = isinstance(error, CheckpointBusyError | CheckpointCorruptError | StaleCheckpointError)
    options, now = operation.options, operation.instant.monotonic
    if is_final or (options.on_save_error == "raise" and options.on_store_error == "raise"):
        return False
    is_long_ago = options.on_store_error == "continue" and now - operation.warned_at >= _WARN_EACH_SECONDS
    if not operation.has_warned or is_long_ago:
        operation.has_warned, operation.warned_at = True, now
        _log.warning(
            "%s: cannot be saved: %s. The loop goes on, and tries again at each save that is due. A kill now loses "
            "what was done since the last save that succeeded.",
            operation.operation_id,
            str(error).rstrip("."),
        )
    return True


def _save_what_can_be(operation: Operation, error: BaseException) -> Steps[int]:
    """Save everything, or the last good state if a value cannot be saved. Returns how many items are saved."""
    reason = f"Interrupted: {signals.name_of(error)}"
    operation.parts.history.left_by(error, _item_of(operation, error))
    try:
        yield from operation.save(reason, is_last=True)
        return operation.processed_items
    except StateEncodeError as failure:
        items: int | None = yield from operation.guard.save_last_good(reason, at=operation.instant.utc)
        if items is None:
            raise
        if str(failure) != str(error):
            error.add_note(f"resumable: the last changes are not saved: {failure}")
        if lost := operation.processed_items - items:
            again = "1 item is" if lost == 1 else f"{lost:,} items are"
            error.add_note(f"resumable: {again} done again, from the last state that could be saved")
        return items


def directory_of(writer: Writer) -> str:
    """The directory or URL that a command needs to find the checkpoint; "" if it needs none."""
    try:
        return place_to_name(writer.store, writer.operation_id)
    except StoreError:
        return ""


def name_directory(error: BaseException, writer: Writer) -> None:
    """Put the checkpoint's directory into the commands that an InputChangedError suggests."""
    if isinstance(error, InputChangedError) and error.operation_id == writer.operation_id:
        bare, whole = (command_for("rm", error.operation_id, where) for where in ("", directory_of(writer)))
        # In place: pickle rebuilds the error from its arguments, and this list is one of them.
        error.ways_out[:] = [way.replace(bare, whole) for way in error.ways_out]
