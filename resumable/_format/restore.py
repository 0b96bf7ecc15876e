"""A checkpoint out of a store, while others may be writing it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired, TypedDict, TypeVar

import msgspec

from .._durable.changes import Replay
from .._errors import CheckpointCorruptError
from .._loops.by_key import merged
from .._models import CheckpointData, CheckpointMetadata, check_metadata
from .._runtime.interpreter import collector_paused
from ..stores import CheckpointStore, GenerationStore, JournalingStore
from . import journal as _journal
from .document import VERSION, UnknownFormatError, decode_document, digest_of, in_place, is_newer, newer, refuse_unknown
from .migrations import is_legacy, migrate

_SCALARS = frozenset({str, int, float, bool, type(None)})


_Run = TypedDict(
    "_Run",
    {
        "run": int,
        "began": str,
        "from": int,
        "host": str,
        "pid": int,
        "command": str | None,
        "ended": str,
        "items": int | None,
        "reason": str | None,
    },
    total=False,
)


class _Sink(TypedDict):
    offset: Annotated[int, msgspec.Meta(ge=0)]
    sample: str
    path: NotRequired[str]
    closed: NotRequired[bool]


class _Internal(TypedDict, total=False):
    """The shape of what the library keeps for itself, as far as others build upon it unseen."""

    history: list[_Run]
    loops: dict[str, dict[str, Any]]
    collections: dict[str, Literal["mapping", "set", "log"]]
    arguments: dict[str, Any]
    budget: dict[str, Any]
    sinks: dict[str, _Sink]
    failed: dict[str, list[tuple[str | int, str]]]


@dataclass(slots=True)
class Restored:
    """A checkpoint as found, and what the next save must know to build upon it.

    Attributes:
        generation: Of the snapshot; 0 if another tool wrote it.
        digest: Of the snapshot.
        size: Of the snapshot in bytes.
        newest: The highest generation that was ever begun, as far as the journal tells.
        journal: Its journal, None if there is none to go on with.
    """

    data: CheckpointData
    generation: int
    digest: str
    size: int
    newest: int = 0
    journal: _journal.JournalContent | None = None


def from_snapshot(
    raw: bytes,
    operation_id: str,
    now: datetime,
    beside: Callable[[Callable[[], bool]], Callable[[], bool]] = in_place,
) -> Restored:
    """A checkpoint out of a document of any version. See :func:`decode_document` for *beside*.

    Raises:
        UnknownFormatError: It may be good, but this program cannot tell.
        ValueError: With the reason, for a person.
    """
    refuse_unknown(raw)
    document = decode_document(raw, beside)
    if is_legacy(document):
        document = migrate(document, operation_id, modified_at=now)
    version = document.get("version")
    if version != VERSION:
        if is_newer(version):  # which does not stand first in it
            raise UnknownFormatError(newer("version", version, f"{VERSION} and 1.0"))
        raise ValueError(f"it has version {version!r}; this program reads {VERSION} and 1.0")
    found = document.get("operation_id")
    if found != operation_id:
        raise ValueError(f"it is the checkpoint of another operation, {found!r}")
    internal = document.get("resumable") or {}
    data = CheckpointData(
        operation_id=operation_id,
        state=_object(document, "state"),
        metadata=_metadata(_object(document, "metadata")),
        created_at=instant(document.get("created_at")),
        last_updated=instant(document.get("last_updated")),
        internal={name: value for name, value in internal.items() if name not in ("generation", "digest")},
    )
    generation = internal.get("generation", 0)
    if type(generation) is not int or generation < 0:
        raise ValueError(f"its generation is {generation!r}")
    return Restored(data, generation, digest_of(document), len(raw))


def _object(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise ValueError(f"its {name!r} is not a JSON object")
    return value


def check_internal(data: CheckpointData) -> None:
    """Make sure that what the library keeps for itself has its shape.

    Raises:
        ValueError: It has not.
    """
    try:
        msgspec.convert(data.internal, _Internal)
    except msgspec.ValidationError as error:
        raise ValueError(f"its 'resumable' section is malformed ({error})") from None
    for name, kind in data.internal.get("collections", {}).items():
        value = data.state.get(name)
        expected = dict if kind == "mapping" else list
        if value is not None and type(value) is not expected:
            raise ValueError(f"$.state.{name} is no {kind}, but a {type(value).__name__}")
        if kind == "set" and not set(map(type, value or ())) <= _SCALARS:
            raise ValueError(f"$.state.{name} is no set: a member is an array or an object")


def _metadata(values: dict[str, Any]) -> CheckpointMetadata:
    check_metadata(values)
    return CheckpointMetadata.from_dict(values)


def instant(text: Any) -> datetime:
    """A UTC instant out of an ISO 8601 stamp; one that names no zone is taken as UTC.

    Raises:
        ValueError: It is no such stamp.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"its time stamp {text!r} is not ISO 8601") from None


# -- the journal ------------------------------------------------------------------------------------------------------


def replay(restored: Restored, raw: bytes | None) -> None:
    """Put the saves that journal *raw* holds on top of the snapshot.

    Raises:
        UnknownFormatError: A newer release wrote the journal.
        ValueError: The journal is damaged, or a save in it does not fit.
    """
    content = _journal.read(raw) if raw else None
    if content is None:
        return
    if content.header:
        check_format(content)
    if content.damage:
        good = len(content.records)
        raise ValueError(f"its journal is damaged: {content.damage}; the {good} saves before that are good")
    if content.header.get("operation_id") != restored.data.operation_id:
        raise ValueError("its journal is of another operation")
    first = content.since(restored.generation)
    if first is None:
        return
    if first == 0 and content.header.get("digest") != restored.digest:
        raise ValueError("its journal builds upon another snapshot of the same generation")
    try:
        _apply_all(restored.data, content.records[first:])
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"a save in its journal is malformed ({error})") from error
    restored.journal = content
    restored.newest = content.newest_fold()


def check_format(content: _journal.JournalContent) -> None:
    """Make sure that a journal is one of this release.

    Raises:
        UnknownFormatError: A newer one wrote it.
        ValueError: Its format is none at all.
    """
    found = content.header.get("journal")
    if is_newer(found, str(_journal.FORMAT)):
        raise UnknownFormatError(f"its journal: {newer('format', found, str(_journal.FORMAT))}")
    if found != _journal.FORMAT:
        raise ValueError(f"its journal has format {found!r}, which is none")


def _apply_all(data: CheckpointData, records: list[dict[str, Any]]) -> None:
    replays: dict[str, Replay] = {}
    loops: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        _apply(data, record, replays, loops)
    _finish(data, replays, loops)


def _apply(
    data: CheckpointData,
    record: dict[str, Any],
    replays: dict[str, Replay],
    loops: dict[str, list[dict[str, Any]]],
) -> None:
    state = data.state
    for name in record.get("del", ()):
        state.pop(name, None)
        replays.pop(name, None)
    for name, value in _object(record, "set").items():
        state[name] = value
        replays.pop(name, None)
    for name, change in _object(record, "collections").items():
        if name not in replays:
            replays[name] = Replay(state.get(name))
            state.setdefault(name, None)  # it keeps its place among the others
        replays[name].apply(change)
    for name, section in _object(record, "resumable").items():
        data.internal[name] = section
    for name, changes in _object(record, "loops").items():
        loops.setdefault(name, []).append(changes)
    data.metadata = _metadata(_object(record, "metadata"))
    data.last_updated = instant(record.get("at"))


def _finish(data: CheckpointData, replays: dict[str, Replay], loops: dict[str, list[dict[str, Any]]]) -> None:
    for name, replay in replays.items():
        data.state[name] = replay.result()
    saved = _object(data.internal, "loops")
    for name, changes in loops.items():
        saved[name] = _merged_loop(saved.get(name), changes)
    if saved:
        data.internal["loops"] = saved


def _merged_loop(saved: dict[str, Any] | None, changes: list[dict[str, Any]]) -> dict[str, Any]:
    """A loop that began anew replaces what was known under its name."""
    begins = [index for index, change in enumerate(changes) if change.get("new")]
    base, rest = (changes[begins[-1]], changes[begins[-1] + 1 :]) if begins else (saved, changes)
    result = merged(base, rest)
    result.pop("new", None)
    return result | {"within": changes[-1].get("within")}


R = TypeVar("R")

_BESIDE_FROM = 1 << 22
"""The digest of so many bytes is worth a thread."""


def restore(store: CheckpointStore, operation_id: str, *, now: datetime) -> Restored | None:
    """The checkpoint of *operation_id*, None if there is none. Nothing is changed or executed.

    Args:
        now: Stands in for the time stamp that a document of version 1.0 may lack.

    Raises:
        CheckpointCorruptError: There is something, but it is no checkpoint of this operation.
        StoreError: It cannot be read.
    """
    return undisturbed(store, operation_id, lambda: _restore(store, operation_id, now))


def _restore(store: CheckpointStore, operation_id: str, now: datetime) -> Restored | None:
    raw = store.get(operation_id)
    if raw is None:
        return None
    is_good_alone = False  # without its journal
    try:
        with collector_paused():
            restored = from_snapshot(raw, operation_id, now, _beside if len(raw) >= _BESIDE_FROM else in_place)
            if restored.generation and isinstance(store, JournalingStore):
                check_internal(restored.data)
                is_good_alone = True
                replay(restored, store.read_journal(operation_id))
            check_internal(restored.data)
    except ValueError as error:
        where = str(store.locate(operation_id)) if isinstance(store, GenerationStore) else repr(store)
        # What may be good is not to be replaced by an older one.
        if isinstance(error, UnknownFormatError):
            previous = None
        elif is_good_alone and isinstance(store, GenerationStore):
            previous = where
        else:
            previous = good_previous(store, operation_id, now)
        raise CheckpointCorruptError(operation_id, where, str(error), previous) from None
    return restored


def _beside(work: Callable[[], R]) -> Callable[[], R]:
    """Do *work* in a thread. Hashing, it leaves the interpreter to the parser."""
    results: list[R] = []
    thread = threading.Thread(target=lambda: results.append(work()), name="resumable-digest")
    thread.start()

    def result() -> R:
        thread.join()
        return results[0] if results else work()

    return result


def undisturbed(store: CheckpointStore, operation_id: str, read: Callable[[], R]) -> R:
    """What *read* gives or raises while no new snapshot is put in place: it would not fit the journal read after."""
    if not isinstance(store, GenerationStore):
        return read()
    while True:
        before = store.stamp(operation_id)
        try:
            result = read()
        except Exception:
            if store.stamp(operation_id) == before:
                raise
        else:
            if store.stamp(operation_id) == before:
                return result


def good_previous(store: CheckpointStore, operation_id: str, now: datetime) -> str | None:
    """Where the checkpoint before the last lies, if it is good."""
    if not isinstance(store, GenerationStore):
        return None
    try:
        previous = store.get_previous(operation_id)
        if previous is not None:
            from_snapshot(previous[1], operation_id, now)
            return previous[0]
    except Exception:  # whatever is wrong with it, it cannot be offered
        return None
    return None
