"""The summary of an operation, which ``list`` and ``show`` print."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ..._errors import CheckpointCorruptError, StoreError
from ..._format.restore import instant
from ..._format.sections import ListedSections, Run, read_summary
from ..._models import CheckpointMetadata
from ...stores import CheckpointStore, Entry, Holder
from ..places import add_unsaved, knows_more, tell_unsaved
from .contents import history_in
from .scan import Facts, entry_of, read_facts

State = Literal[
    "running", "stopped", "failed", "killed", "incomplete", "damaged", "encrypted", "saved", "kept", "finished"
]
"""The states, in the order of a sum."""

_ENDED = ("finished", "incomplete")
_STOPS = (
    *("KeyboardInterrupt", "SIG", "SystemExit", "stop()", "CancelledError", "GeneratorExit"),
    *("RateLimitExhausted", "RunAgain", "BudgetExhausted", "TakenOver"),
)
"""Exceptions by which somebody ends a run on purpose."""


class SealedError(StoreError):
    """A checkpoint is encrypted, and the right key was not given. The checkpoint may be good."""

    def __init__(self, operation_id: str, location: str, reason: str) -> None:
        super().__init__(operation_id, location, reason)
        self.operation_id = operation_id
        self.location = location
        self.reason = reason

    def __str__(self) -> str:
        return f"the checkpoint of {self.operation_id!r} at {self.location} cannot be read: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The progress and state of one operation. Unknown values are None.

    Attributes:
        state: ``running``; ``stopped`` by Ctrl-C, SIGTERM or a used-up quota; ``failed`` by an exception; ``killed``
            without a chance to save; ``incomplete``: ended, but items failed; ``kept``: ended, and its program keeps
            the checkpoint to go on; ``finished``; ``saved`` by hand, without a run; ``damaged``; ``encrypted``, and the
            right key was not given.
        total_items: The items of all loops, like *processed_items*.
        failed_items: Items that failed, and have not been done since.
        left_seconds: The time left at the last save, estimated from the time of all runs.
        last_updated: When it was last saved (UTC).
        problem: Why it is damaged, or cannot be opened.
        previous: Where the save before it lies, if this one is damaged and that one is good.
        artifact_count, artifact_bytes: The number and size of its artifacts; None if the store does not list them.
        waits_for: The store that did not answer, so that it was saved here; the next run here brings it there.
        history: The last runs, oldest first; a running one is the last.
    """

    operation_id: str
    state: State
    processed_items: int | None = None
    total_items: int | None = None
    percent: int | None = None
    left_seconds: float | None = None
    elapsed_time: float | None = None
    created_at: datetime | None = None
    last_updated: datetime | None = None
    save_count: int | None = None
    last_save_reason: str | None = None
    error_count: int | None = None
    failed_items: int | None = None
    artifact_count: int | None = None
    artifact_bytes: int | None = None
    runs: int | None = None
    location: str | None = None
    problem: str | None = None
    previous: str | None = None
    waits_for: str | None = None
    history: tuple[Run, ...] = ()

    @property
    def is_readable(self) -> bool:
        """Whether the checkpoint could be read."""
        return self.state not in ("damaged", "encrypted")

    @property
    def has_ended(self) -> bool:
        """Whether another run would do nothing, unless it is told to try failed items again."""
        return self.state in _ENDED


def summaries(store: CheckpointStore) -> list[Summary]:
    """All operations in *store*, the last saved first, damaged ones at the end."""
    entries = {entry.key: entry for entry in store.list()}
    found = filter(None, (_brief(store, entry) or _summary(store, entry) for entry in entries.values()))
    return sorted(found, key=lambda one: (-one.last_updated.timestamp() if one.last_updated else 0.0, one.operation_id))


def summary_of(store: CheckpointStore, operation_id: str) -> Summary | None:
    """The summary of *operation_id*, which may be ``damaged`` or ``encrypted``; None if it has no checkpoint."""
    entry = entry_of(store, operation_id)
    return _summary(store, entry or Entry(operation_id, store.describe(operation_id), b"", 0, 0, None, None))


def _brief(store: CheckpointStore, entry: Entry) -> Summary | None:
    """The facts that the store keeps beside the save; None if it keeps none."""
    saved = read_summary(entry.summary) if entry.summary else None
    if saved is None:
        return None
    ended = "saved" if saved.is_by_hand else ending_of(Run(reason=saved.reason))
    if entry.holder is None and knows_more(store, entry.key, is_cut_off=ended == "killed"):
        return None
    return Summary(
        operation_id=entry.key,
        state=ended if entry.holder is None else "running",
        processed_items=saved.items,
        total_items=saved.total,
        percent=percent_of(saved.items, saved.total),
        last_updated=saved.at,
        save_count=saved.saves,
        last_save_reason=saved.reason,
        error_count=saved.errors,
        location=str(entry.location),
    )


def _summary(store: CheckpointStore, entry: Entry) -> Summary | None:
    try:
        facts = read_facts(store, entry.key)
        if facts is not None and (runs := facts.sections.history) and entry.holder is None:
            if ending_of(runs[-1]) == "killed":
                tell_unsaved(store, entry.key, runs)
            add_unsaved(store, entry.key, runs)
        return _missing(store, entry) if facts is None else summary_from(facts, entry)
    except SealedError as error:
        return Summary(operation_id=entry.key, state="encrypted", location=error.location, problem=error.reason)
    except CheckpointCorruptError as error:
        where, problem, previous = error.location, error.reason, error.previous
        return Summary(operation_id=entry.key, state="damaged", location=where, problem=problem, previous=previous)
    except (StoreError, ValueError) as error:
        return Summary(operation_id=entry.key, state="damaged", problem=str(error))


def _missing(store: CheckpointStore, entry: Entry) -> Summary | None:
    """The summary of a file with this id under the name of another operation; None if there is no file."""
    place = store.describe(entry.key)
    if not isinstance(place, Path) or entry.location == place:
        return None
    problem = f"its file has another name than the one that belongs to it, {place.name}"
    return Summary(operation_id=entry.key, state="damaged", problem=problem)


def summary_from(facts: Facts, entry: Entry) -> Summary:
    """The summary of the operation of *entry*, by its checkpoint."""
    sections, metadata = facts.sections, facts.metadata
    history = _with_current_run(history_in(sections), entry.holder)
    processed, total = metadata.processed_items, _total(metadata)
    failed = sum(map(len, (sections.failed or {}).values()))
    state: State = _state_of(history, failed) if entry.holder is None else "running"
    return Summary(
        operation_id=entry.key,
        state=state,
        processed_items=processed,
        total_items=total,
        percent=percent_of(processed, total),
        left_seconds=None if state in _ENDED else _left(processed, total, sections.elapsed or 0.0),
        elapsed_time=sections.elapsed,
        created_at=facts.created_at,
        last_updated=facts.last_updated,
        save_count=metadata.save_count,
        last_save_reason=metadata.last_save_reason,
        error_count=metadata.error_count,
        failed_items=failed,
        artifact_count=len(sections.artifacts),
        artifact_bytes=sum(one.size for one in sections.artifacts.values()),
        runs=history[-1].run or len(history) if history else None,
        location=str(entry.location),
        waits_for=_waits_for(sections, str(entry.location)),
        history=tuple(history),
    )


def _waits_for(sections: ListedSections, location: str) -> str | None:
    unsaved = sections.unsaved
    return unsaved.store if unsaved is not None and unsaved.store != location else None


def percent_of(processed: int | None, total: int | None) -> int | None:
    """The percentage that is done, rounded down; None if it is unknown."""
    return processed * 100 // total if processed is not None and total and processed <= total else None


def _total(metadata: CheckpointMetadata) -> int | None:
    """The total for ``processed_items``; None if more items are done, as with ticks beside a loop."""
    total = metadata.total_items
    return total if total is None or metadata.processed_items <= total else None


def _left(processed: int, total: int | None, elapsed: float) -> float | None:
    if total is None or processed > total:
        return None
    if processed == total:
        return 0.0
    return round(elapsed / processed * (total - processed), 1) if processed and elapsed > 0 else None


def _with_current_run(history: list[Run], holder: Holder | None) -> list[Run]:
    """The history, and the present run, even if it has not saved yet."""
    if holder is None or not holder.since:
        return history
    last = history[-1] if history else Run()
    if last.pid == holder.pid and last.began and instant(last.began) >= instant(holder.since):
        return history
    return [*history, Run(run=last.run + 1, began=holder.since, host=holder.host, pid=holder.pid)]


def _state_of(history: list[Run], failed: int) -> State:
    state = ending_of(history[-1]) if history else "saved"
    return "incomplete" if state == "finished" and failed else state


def ending_of(run: Run) -> State:
    """How a run ended, by the reason of its last save."""
    reason = (run.reason or "").rpartition(" | ")[2]
    if reason.startswith("Interrupted: "):
        return "stopped" if reason.removeprefix("Interrupted: ").startswith(_STOPS) else "failed"
    if reason == "Kept: retries exhausted":
        return "failed"
    if reason == "Finished":
        return "finished"
    if reason.startswith("Kept"):
        return "kept"
    if reason.startswith("Failed items: "):
        return "incomplete"
    return "stopped" if reason.startswith("Stopped") else "killed"


def age_of(moment: datetime) -> float:
    """Seconds since *moment*; below zero if a clock was set back."""
    return (datetime.now(UTC) - moment).total_seconds()
