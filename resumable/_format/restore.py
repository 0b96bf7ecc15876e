"""Reads a checkpoint from a store, while others may be writing it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import msgspec

from .._durable.changes import Replay
from .._errors import CheckpointCorruptError
from .._json import LEAVES, unspelled
from .._loops.ledgers.by_key import merged
from .._loops.view import FIELDS
from .._models import CheckpointData, CheckpointMetadata, check_metadata
from .._runtime.interpreter import collector_paused
from ..stores import CheckpointStore, Lease, Stored
from ..stores.defaults import place_to_name
from .document import (
    VERSION,
    Beside,
    UnknownFormatError,
    broken_off,
    decode_document,
    is_begun_copy,
    is_newer,
    newer,
    refuse_unknown,
)
from .journal import Position, SnapshotFacts, noted_crc, position_after, saves_astray, saves_for
from .journal import read as read_journal
from .migrations import is_legacy, migrate
from .sections import Sections

_COLLECT_LATER_FROM = 1 << 16
"""From this many bytes on, parse with the garbage collector off: it would find no garbage."""
_BESIDE_FROM = 1 << 22
"""From this many bytes on, a thread computes the digest."""
_KNOWN = frozenset(Sections.__struct_fields__) - {"others"}


class Restored(msgspec.Struct):
    """A checkpoint as read, and what the next save needs to continue from it.

    Attributes:
        size: Bytes of the snapshot.
        sections: The library's own part, checked.
        position: Where the next journal line continues; None if the next save must be a whole snapshot.
        newest: The highest number of a save or a snapshot.
        journal_bytes: Bytes of the journal that belong to this snapshot.
        astray: How many saves the journal holds that are newer than the snapshot, but do not continue from it.
        spells: Whether numbers that JSON lacks (NaN, infinities) are spelled out.
    """

    data: CheckpointData
    snapshot: SnapshotFacts
    size: int
    sections: Sections = msgspec.field(default_factory=Sections)
    position: Position | None = None
    newest: int = 0
    journal_bytes: int = 0
    location: Path | str = ""
    spells: bool = False
    astray: int = 0


def put_together(
    snapshot: bytes, journal: bytes, operation_id: str, now: datetime, beside: Beside | None = None
) -> Restored:
    """Make a checkpoint from a document of any version, and from the journal if it continues from it.

    Args:
        beside: See :func:`decode_document`.

    Raises:
        UnknownFormatError: It may be good, but this program cannot tell.
        ValueError: It is damaged. The text is for a person.
    """
    restored = _from_snapshot(snapshot, operation_id, now, beside)
    if journal and restored.snapshot.generation:
        _replay(restored, journal)
    _check_sections(restored)
    return restored


def _from_snapshot(raw: bytes, operation_id: str, now: datetime, beside: Beside | None) -> Restored:
    refuse_unknown(raw)
    document = decode_document(raw, beside)
    version = document.get("version")
    if version != VERSION:
        if is_legacy(document):
            document = migrate(document, operation_id, modified_at=now)
        elif is_begun_copy(raw):
            raise ValueError(broken_off(document.get("from")))
        elif is_newer(version):  # the version is not its first member
            raise UnknownFormatError(newer("version", version, f"{VERSION} and 1.0"))
        else:
            raise ValueError(f"it has version {version!r}; this program reads {VERSION} and 1.0")
    found = document.get("operation_id")
    if found != operation_id:
        raise ValueError(f"it is the checkpoint of another operation, {found!r}")
    state, metadata = document.get("state", {}), document.get("metadata", {})
    internal = document.get("resumable") or {}
    if not (type(state) is type(metadata) is type(internal) is dict):
        raise ValueError("its 'state', 'metadata' or 'resumable' is not a JSON object")
    check_metadata(metadata)
    spells = internal.pop("nonfinite", None) is not None
    if spells:
        state = _unspelled_state(state, internal.get("collections"))
    generation = internal.pop("generation", 0)
    if type(generation) is not int or generation < 0:
        raise ValueError(f"its generation is {generation!r}")
    crc = noted_crc(internal.pop("journal", None))
    snapshot = SnapshotFacts(operation_id, generation, internal.pop("digest", ""), crc)
    data = CheckpointData(
        operation_id=operation_id,
        state=state,
        metadata=CheckpointMetadata.from_dict(metadata),
        created_at=instant(document.get("created_at")),
        last_updated=instant(document.get("last_updated")),
        internal=internal,
    )
    position = position_after(None, snapshot, 0)
    return Restored(data, snapshot, len(raw), position=position, newest=generation, spells=spells)


def _unspelled_state(state: dict[str, Any], collections: Any) -> dict[str, Any]:
    """Spelled numbers become floats again: entry by entry in a collection, else in the whole value."""
    for name, value in state.items():
        if isinstance(collections, dict) and name in collections and isinstance(value, dict):
            state[name] = {key: unspelled(entry) for key, entry in value.items()}
        else:
            state[name] = unspelled(value)
    return state


def _check_sections(restored: Restored) -> None:
    """Read the library's own part, and check its types."""
    restored.sections = read_sections(restored.data.internal)
    for name, kind in restored.sections.collections.items():
        value = restored.data.state.get(name)
        expected = dict if kind == "mapping" else list
        if value is not None and type(value) is not expected:
            raise ValueError(f"$.state.{name} must be a {kind}, not a {type(value).__name__}")
        if kind == "set" and not set(map(type, value or ())) <= LEAVES:
            raise ValueError(f"$.state.{name} is not a set: a member is an array or an object")


def read_sections(internal: dict[str, Any]) -> Sections:
    """The sections in a decoded ``resumable``, without the document's own facts.

    Raises:
        ValueError: A section is malformed. The text is for a person.
    """
    try:
        sections = msgspec.convert(internal, Sections)
    except msgspec.ValidationError as error:
        raise ValueError(f"its 'resumable' section is malformed ({error})") from None
    if not internal.keys() <= _KNOWN:
        sections.others = {name: section for name, section in internal.items() if name not in _KNOWN}
    return sections


def instant(text: Any) -> datetime:
    """A UTC instant from an ISO 8601 stamp; UTC if it has no zone.

    Raises:
        ValueError: It is not such a stamp.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"its time stamp {text!r} is not ISO 8601") from None


# -- the journal ------------------------------------------------------------------------------------------------------


class _Save(msgspec.Struct):
    """One save of a journal: what changed since the save before, and the metadata."""

    at: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\d")]
    metadata: dict[str, Any] = {}
    deleted: list[str] = msgspec.field(default_factory=list, name="del")
    set: dict[str, Any] = {}
    collections: dict[str, Any] = {}
    resumable: dict[str, Any] = {}
    loops: dict[str, dict[str, Any]] = {}
    once: dict[str, dict[str, Any] | None] = {}
    nonfinite: str = ""


def _replay(restored: Restored, raw: bytes) -> None:
    content = read_journal(raw)
    saves = saves_for(content, restored.snapshot) if content is not None else []
    if saves:
        try:
            records = msgspec.convert(saves, list[_Save])
            _apply_all(restored.data, records)
            restored.spells |= any(map(attrgetter("nonfinite"), records))
        except (msgspec.ValidationError, TypeError, AttributeError, LookupError) as error:
            raise ValueError(f"a save in its journal is malformed ({error})") from error
    restored.position = position_after(content, restored.snapshot, len(raw))
    if content is not None:
        restored.newest = max(restored.newest, content.newest)
        restored.astray = 0 if saves else saves_astray(content, restored.snapshot)
        restored.journal_bytes = content.good_bytes if saves or restored.position is not None else 0


def _apply_all(data: CheckpointData, saves: list[_Save]) -> None:
    check_metadata(*map(attrgetter("metadata"), saves))
    replays: dict[str, Replay] = {}
    loops: dict[str, list[dict[str, Any]]] = {}
    for save in saves:
        _apply(data, save, replays)
        for name, changes in save.loops.items():
            loops.setdefault(name, []).append(changes)
    for name, replay in replays.items():
        data.state[name] = replay.result()
    if loops:
        saved = msgspec.convert(data.internal.get("loops", {}), dict[str, dict[str, Any]])
        for name, news in loops.items():
            if news[-1].get("gone"):
                saved.pop(name, None)
            else:
                saved[name] = _merged_loop(saved.get(name), news)
        data.internal["loops"] = saved
    last = saves[-1]
    data.metadata, data.last_updated = CheckpointMetadata.from_dict(last.metadata), instant(last.at)


def _apply(data: CheckpointData, save: _Save, replays: dict[str, Replay]) -> None:
    state = data.state
    if save.nonfinite:
        save.set = {name: unspelled(value) for name, value in save.set.items()}
        save.collections = {name: unspelled(change) for name, change in save.collections.items()}
    for name in save.deleted:
        state.pop(name, None)
        replays.pop(name, None)
    for name, value in save.set.items():
        state[name] = value
        replays.pop(name, None)
    for name, change in save.collections.items():
        if name not in replays:
            replays[name] = Replay(state.get(name))
            state.setdefault(name, None)  # keeps its position among the others
        replays[name].apply(change)
    data.internal.update(save.resumable)
    if save.once:
        effects = {**data.internal.get("once", {}), **save.once}
        data.internal["once"] = {name: effect for name, effect in effects.items() if effect is not None}


def _merged_loop(saved: dict[str, Any] | None, changes: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge *changes* into a saved loop. A loop that began anew replaces the one saved under its name."""
    begins = [index for index, change in enumerate(changes) if change.get("new")]
    base, rest = (changes[begins[-1]], changes[begins[-1] + 1 :]) if begins else (saved, changes)
    result = merged(base, rest)
    result.pop("new", None)
    return result | {name: changes[-1][name] for name in FIELDS & changes[-1].keys()}


# -- out of a store ---------------------------------------------------------------------------------------------------


def restore(store: CheckpointStore, operation_id: str, *, now: datetime, lease: Lease | None = None) -> Restored | None:
    """The checkpoint of *operation_id*, None if there is none. Changes nothing, executes nothing.

    Args:
        now: The time stamp of a version 1.0 document without one.
        lease: Reads the checkpoint, if the caller owns the operation.

    Raises:
        CheckpointCorruptError: What is there is not a checkpoint of this operation.
        StoreError: The store cannot be read.
    """
    stored = store.read(operation_id) if lease is None else lease.read()
    return None if stored is None else restored_from(stored, store, operation_id, now=now)


def restored_from(stored: Stored, store: CheckpointStore, operation_id: str, *, now: datetime) -> Restored:
    """The checkpoint in *stored*, which was read from *store*.

    Raises:
        CheckpointCorruptError: It is not a checkpoint of this operation.
    """
    snapshot, journal = stored.snapshot, stored.journal
    is_large = len(snapshot) + len(journal) >= _COLLECT_LATER_FROM
    try:
        with collector_paused() if is_large else contextlib.nullcontext():
            beside = _beside if len(snapshot) >= _BESIDE_FROM else None
            restored = put_together(snapshot, journal, operation_id, now, beside)
    except ValueError as error:
        # It may be good: do not offer to replace it with an older one.
        is_unknown = isinstance(error, UnknownFormatError)
        previous = None if is_unknown else _way_back(stored, store, operation_id, now)
        place = "" if isinstance(stored.location, Path) else place_to_name(store, operation_id)
        raise CheckpointCorruptError(operation_id, str(stored.location), str(error), previous, place) from None
    restored.location = stored.location
    return restored


def _beside(work: Callable[[], bool]) -> Callable[[], bool]:
    """Do *work* in a thread. Hashing releases the GIL for the parser."""
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(work()), name="resumable-digest")
    thread.start()

    def result() -> bool:
        thread.join()
        return results[0] if results else work()

    return result


def _way_back(stored: Stored, store: CheckpointStore, operation_id: str, now: datetime) -> str | None:
    """Path of the snapshot if it is good without its journal; else of the one before, if that is good."""
    try:
        put_together(stored.snapshot, b"", operation_id, now)
    except ValueError:
        return good_previous(store, operation_id, now)
    return str(stored.location) if isinstance(stored.location, Path) else None


def good_previous(store: CheckpointStore, operation_id: str, now: datetime) -> str | None:
    """Path of the checkpoint before the last, if it is good; None outside of files, where nobody can go back."""
    try:
        previous = store.read(operation_id, previous=True)
        if previous is not None and isinstance(previous.location, Path):
            put_together(previous.snapshot, b"", operation_id, now)
            return str(previous.location)
    except Exception:  # whatever is wrong with it, do not offer it
        return None
    return None
