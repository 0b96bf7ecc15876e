"""Reads the facts about a checkpoint, even while another process writes it, without parsing a large state."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ..._format import document as documents
from ..._format import journal
from ..._format.restore import Restored, instant, read_sections, restore, restored_from
from ..._format.sections import ListedSections
from ..._models import CheckpointMetadata, check_metadata
from ..._runtime.interpreter import collector_paused
from ..._text import printable
from ...stores import CheckpointStore, Entry, Stored

_SCAN_FROM = 1 << 16
"""Smaller documents are parsed whole."""


class _Internal(ListedSections, kw_only=True):
    generation: int
    digest: str
    journal: Any = None


class _Document(msgspec.Struct):
    """A document without its state; the parser only skips that."""

    version: str
    operation_id: str
    metadata: dict[str, Any]
    created_at: str
    last_updated: str
    resumable: _Internal


@dataclass(frozen=True, slots=True)
class Facts:
    metadata: CheckpointMetadata
    sections: ListedSections
    created_at: datetime
    last_updated: datetime


def read_facts(store: CheckpointStore, operation_id: str) -> Facts | None:
    """The facts about a checkpoint; None if there is none.

    Raises:
        CheckpointCorruptError: It cannot be used.
        StoreError: It cannot be read.
    """
    stored = store.read(operation_id)
    if stored is None:
        return None
    facts = _scan(stored, operation_id) if len(stored.snapshot) >= _SCAN_FROM else None
    if facts is None:
        restored = restored_from(stored, store, operation_id, now=datetime.now(UTC))
        data = restored.data
        facts = Facts(data.metadata, restored.sections, data.created_at, data.last_updated)
    return facts


def read_all(store: CheckpointStore, operation_id: str) -> Restored | None:
    """The whole checkpoint, None if there is none. Raises what :func:`read_facts` raises."""
    return restore(store, operation_id, now=datetime.now(UTC))


def entry_of(store: CheckpointStore, operation_id: str) -> Entry | None:
    """The entry of one operation in the store's list, None if it has none."""
    return next((one for one in store.list(glob.escape(operation_id)) if one.key == operation_id), None)


def name_of(store: CheckpointStore) -> str:
    """The address of *store*, for people."""
    place = store.describe()
    return str(place.absolute()) if isinstance(place, Path) else place


def is_missing(store: CheckpointStore) -> bool:
    """Whether *store* is a directory that is not there."""
    place = store.describe()
    return isinstance(place, Path) and not place.is_dir()


def not_there(store: CheckpointStore) -> str:
    """The message about a directory that does not exist."""
    return f"there is no directory {printable(name_of(store))}"


def nothing_in(store: CheckpointStore) -> str:
    """The message about a *store* without checkpoints."""
    place = printable(name_of(store))
    return f"no checkpoints in {place}{', which is not there' if is_missing(store) else ''}"


def ids_in(store: CheckpointStore) -> list[str]:
    """The ids of all operations that have a checkpoint."""
    return list(dict.fromkeys(entry.key for entry in store.list()))


def _scan(stored: Stored, operation_id: str) -> Facts | None:
    """The facts, if this version wrote the document; None means: parse it whole."""
    try:
        if not documents.is_as_written(stored.snapshot):
            return None
        with collector_paused():
            document = msgspec.json.decode(stored.snapshot, type=_Document)
            if document.version != documents.VERSION or document.operation_id != operation_id:
                return None
            return _facts(document, _saves_since(document, stored.journal))
    except (ValueError, LookupError, TypeError, msgspec.MsgspecError):
        return None


def _saves_since(document: _Document, raw: bytes) -> list[dict[str, Any]]:
    own, content = document.resumable, journal.read(raw)
    if content is None:
        return []
    crc = journal.noted_crc(own.journal)
    return journal.saves_for(content, journal.SnapshotFacts(document.operation_id, own.generation, own.digest, crc))


def _facts(document: _Document, saves: list[dict[str, Any]]) -> Facts:
    sections: ListedSections = document.resumable
    changed: dict[str, Any] = {}
    for save in saves:
        changed |= save.get("resumable", {})
    read = read_sections(changed)
    for name in changed.keys() & set(ListedSections.__struct_fields__):
        setattr(sections, name, getattr(read, name))
    metadata = saves[-1]["metadata"] if saves else document.metadata
    check_metadata(metadata)
    return Facts(
        CheckpointMetadata.from_dict(metadata),
        sections,
        instant(document.created_at),
        instant(saves[-1]["at"] if saves else document.last_updated),
    )
