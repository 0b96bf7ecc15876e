"""How an operation stands, in one value: what ``list`` shows of each, and ``show`` of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from .._errors import CheckpointCorruptError, StoreError
from .._format.restore import instant
from .._models import CheckpointData, CheckpointMetadata
from ..stores import CheckpointStore, GenerationStore
from .scan import Place, holder_of, read_facts

State = Literal["running", "stopped", "failed", "killed", "incomplete", "finished", "saved", "damaged", "encrypted"]

_STOPS = ("KeyboardInterrupt", "SIGTERM", "SystemExit", "CancelledError", "GeneratorExit", "RateLimitExhausted")
"""Exceptions that end a run as somebody wanted it."""


class SealedError(StoreError):
    """A checkpoint is encrypted, and may well be good, but no key that opens it was given.

    Attributes:
        operation_id: Whose checkpoint it is.
        location: Where it lies.
        reason: What keeps it closed, for a person.
    """

    def __init__(self, operation_id: str, location: str, reason: str) -> None:
        super().__init__(operation_id, location, reason)
        self.operation_id = operation_id
        self.location = location
        self.reason = reason

    def __str__(self) -> str:
        return f"the checkpoint of {self.operation_id!r} at {self.location} cannot be read: {self.reason}"


class Run(msgspec.Struct, omit_defaults=True):
    """One run, as the history holds it.

    Attributes:
        began, ended: UTC, ISO 8601; the end is that of its last save.
        items: Items done over all runs when it was saved last.
        reason: Of its last save.
        command: What started it, if that is known.
    """

    run: int = 0
    began: str = ""
    ended: str = ""
    items: int | None = None
    reason: str | None = None
    host: str = ""
    pid: int = 0
    command: str | None = None


class _Internal(msgspec.Struct):
    history: list[Run] = []
    elapsed: float = 0.0
    failed: dict[str, list[Any]] = {}
    loops: dict[str, Place] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Where one operation stands. What is not known is None.

    Attributes:
        state: ``running`` now; ``stopped`` by Ctrl-C, SIGTERM or a used-up quota; ``failed`` by an exception;
            ``killed`` before it could say why; ``incomplete``, as it ended well, but items failed; ``finished``;
            ``saved`` by hand, without a run; ``damaged``; ``encrypted``, and no key was given that opens it.
        total_items: Of all loops, as *processed_items* is.
        failed_items: That ``map`` gave up, and has not done since.
        left_seconds: As of the last save, from the time that all runs took.
        last_updated: When it was saved last (UTC).
        problem: Why it is damaged, or cannot be opened.
        previous: Where the save before it lies, if it is damaged and that one is good.
        history: The last runs, oldest first; the one that works now is the last.
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
    runs: int | None = None
    location: str | None = None
    problem: str | None = None
    previous: str | None = None
    history: tuple[Run, ...] = ()

    @property
    def is_readable(self) -> bool:
        """Whether more is known of it than that it is there."""
        return self.state not in ("damaged", "encrypted")

    @property
    def has_ended(self) -> bool:
        """Whether it did all that it would do without being told to try again."""
        return self.state in ("finished", "incomplete")

    def to_dict(self) -> dict[str, Any]:
        """All but the history, as plain JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "history"}
        return {name: v.isoformat() if isinstance(v, datetime) else v for name, v in values.items()}


def summaries(store: CheckpointStore) -> list[Summary]:
    """All operations in *store*, the ones saved last first, damaged ones at the end."""
    found = (summary_of(store, operation_id) for operation_id in dict.fromkeys(store.keys()))
    return sorted((one for one in found if one is not None), key=_last_first)


def _last_first(summary: Summary) -> tuple[float, str]:
    return -summary.last_updated.timestamp() if summary.last_updated else 0.0, summary.operation_id


def summary_of(store: CheckpointStore, operation_id: str) -> Summary | None:
    """Where *operation_id* stands, None if it has no checkpoint. One that cannot be read is ``damaged``, or
    ``encrypted``."""
    try:
        data = read_facts(store, operation_id)
        return _missing(store, operation_id) if data is None else summary_from(data, store)
    except SealedError as error:
        return Summary(operation_id=operation_id, state="encrypted", location=error.location, problem=error.reason)
    except CheckpointCorruptError as error:
        return Summary(
            operation_id=operation_id,
            state="damaged",
            location=error.location,
            problem=error.reason,
            previous=error.previous,
        )
    except (StoreError, ValueError, msgspec.MsgspecError) as error:
        return Summary(operation_id=operation_id, state="damaged", problem=str(error))


def _missing(store: CheckpointStore, operation_id: str) -> Summary | None:
    """None, unless a file that holds this id lies under a name that belongs to another."""
    if not isinstance(store, GenerationStore) or operation_id not in set(store.keys()):
        return None
    problem = f"its file has another name than the one that belongs to it, {store.locate(operation_id).name}"
    return Summary(operation_id=operation_id, state="damaged", problem=problem)


def summary_from(data: CheckpointData, store: CheckpointStore) -> Summary:
    """The same for a checkpoint that was read.

    Raises:
        ValueError, msgspec.ValidationError: Its history is not what this version writes.
    """
    internal = msgspec.convert(data.internal, _Internal)
    holder = holder_of(store, data.operation_id)
    history = _with_current_run(internal.history, holder)
    metadata = data.metadata
    processed, total = metadata.processed_items, _total(metadata)
    failed = sum(map(len, internal.failed.values()))
    state: State = _state_of(history, failed) if holder is None else "running"
    return Summary(
        operation_id=data.operation_id,
        state=state,
        processed_items=processed,
        total_items=total,
        percent=processed * 100 // total if total and processed <= total else None,
        left_seconds=None if state in ("finished", "incomplete") else _left(processed, total, internal.elapsed),
        elapsed_time=internal.elapsed if "elapsed" in data.internal else None,
        created_at=data.created_at,
        last_updated=data.last_updated,
        save_count=metadata.save_count,
        last_save_reason=metadata.last_save_reason,
        error_count=metadata.error_count,
        failed_items=failed,
        runs=history[-1].run or len(history) if history else None,
        location=str(store.locate(data.operation_id)) if isinstance(store, GenerationStore) else None,
        history=tuple(history),
    )


def _total(metadata: CheckpointMetadata) -> int | None:
    """Of all that ``processed_items`` counts; None if more than that was done, as with ticks beside a loop."""
    total = metadata.total_items
    return total if total is None or metadata.processed_items <= total else None


def _left(processed: int, total: int | None, elapsed: float) -> float | None:
    if total is None or processed > total:
        return None
    if processed == total:
        return 0.0
    return round(elapsed / processed * (total - processed), 1) if processed and elapsed > 0 else None


def _with_current_run(history: list[Run], holder: Mapping[str, Any] | None) -> list[Run]:
    """The history, and the run that works now if it has saved nothing yet."""
    since = holder.get("since") if holder else None
    if holder is None or not since:
        return history
    last = history[-1] if history else Run()
    if last.pid == holder.get("pid") and last.began and instant(last.began) >= instant(since):
        return history
    return [*history, Run(run=last.run + 1, began=since, host=str(holder.get("host", "")), pid=holder["pid"])]


def _state_of(history: list[Run], failed: int) -> State:
    state = ending_of(history[-1]) if history else "saved"
    return "incomplete" if state == "finished" and failed else state


def ending_of(run: Run) -> State:
    """How a run that is over ended, as the reason of its last save tells."""
    reason = (run.reason or "").rpartition(" | ")[2]
    if reason == "Kept: retries exhausted":
        return "failed"
    if reason == "Finished" or reason.startswith("Kept"):
        return "finished"
    if reason.startswith("Failed items: "):
        return "incomplete"
    if reason.startswith("Stopped"):
        return "stopped"
    if not reason.startswith("Interrupted: "):
        return "killed"
    cause = reason.removeprefix("Interrupted: ")
    return "stopped" if cause.startswith(_STOPS) else "failed"


def age_of(moment: datetime) -> float:
    """Seconds since *moment*; below zero if a clock was set."""
    return (datetime.now(UTC) - moment).total_seconds()
