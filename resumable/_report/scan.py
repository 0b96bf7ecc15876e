"""Reading checkpoints that others may be writing: the facts about one, without the state where that is large."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from .._format import document as _codec
from .._format import journal
from .._format.restore import Restored, instant, restore, undisturbed
from .._models import CheckpointData, CheckpointMetadata, check_metadata
from .._runtime.interpreter import collector_paused
from ..stores import CheckpointStore, FileStore, JournalingStore
from ..stores._lock import read_holder

_SCAN_FROM = 1 << 16
"""Smaller documents are simply read."""


class Place(msgspec.Struct):
    """All of a loop's place but which items are done."""

    total: int | None = None
    within: Any = None


class _Internal(msgspec.Struct):
    generation: int
    digest: str
    history: list[Any] = []
    elapsed: float = 0.0
    failed: dict[str, Any] = {}
    loops: dict[str, Place] = {}


class _Document(msgspec.Struct):
    """All of a document but its state, which the parser then only skips."""

    version: str
    operation_id: str
    metadata: dict[str, Any]
    created_at: str
    last_updated: str
    resumable: _Internal


def read_facts(store: CheckpointStore, operation_id: str) -> CheckpointData | None:
    """The checkpoint, its state left empty if it is large; None if there is none. Of its internal sections,
    these are there: history, elapsed time, failed items, and of each loop the total and what it runs within.

    Raises:
        CheckpointCorruptError: It cannot be used.
        StoreError: It cannot be read.
    """
    return undisturbed(store, operation_id, lambda: _read_facts(store, operation_id))


def read_all(store: CheckpointStore, operation_id: str) -> Restored | None:
    """The whole checkpoint, None if there is none. Raises as :func:`read_facts`."""
    return restore(store, operation_id, now=datetime.now(UTC))


def _read_facts(store: CheckpointStore, operation_id: str) -> CheckpointData | None:
    raw = store.get(operation_id)
    if raw is None:
        return None
    facts = _scan(store, operation_id, raw) if len(raw) >= _SCAN_FROM else None
    if facts is None:
        restored = restore(store, operation_id, now=datetime.now(UTC))
        facts = restored.data if restored is not None else None
    return facts


def _scan(store: CheckpointStore, operation_id: str, raw: bytes) -> CheckpointData | None:
    """The facts, if all is as this version writes it; None means: look closely."""
    try:
        if not _codec.is_as_written(raw):
            return None
        with collector_paused():
            document = msgspec.json.decode(raw, type=_Document)
            if document.version != _codec.VERSION or document.operation_id != operation_id:
                return None
            saves = _saves_since(document, store) if isinstance(store, JournalingStore) else []
        return None if saves is None else _facts(document, saves)
    except (ValueError, LookupError, TypeError, msgspec.MsgspecError):
        return None


def _saves_since(document: _Document, store: JournalingStore) -> list[dict[str, Any]] | None:
    """The saves that its journal adds to *document*; None if the two must be looked at closely."""
    raw = store.read_journal(document.operation_id)
    content = journal.read(raw) if raw else None
    if content is None:
        return []
    first = content.since(document.resumable.generation)
    if content.damage or content.header.get("operation_id") != document.operation_id:
        return None
    if content.header.get("journal") != journal.FORMAT:
        return None
    if first is None:
        return []
    if first == 0 and content.header.get("digest") != document.resumable.digest:
        return None
    return content.records[first:]


def _facts(document: _Document, saves: list[dict[str, Any]]) -> CheckpointData:
    own = document.resumable
    internal: dict[str, Any] = {"history": own.history, "elapsed": own.elapsed, "failed": own.failed}
    loops = dict(own.loops)
    for save in saves:
        internal |= save.get("resumable", {})
        loops |= msgspec.convert(save.get("loops", {}), dict[str, Place])
    internal["loops"] = msgspec.to_builtins(loops)
    metadata = saves[-1]["metadata"] if saves else document.metadata
    check_metadata(metadata)
    return CheckpointData(
        operation_id=document.operation_id,
        state={},
        metadata=CheckpointMetadata.from_dict(metadata),
        created_at=instant(document.created_at),
        last_updated=instant(saves[-1]["at"] if saves else document.last_updated),
        internal=internal,
    )


def holder_of(store: CheckpointStore, operation_id: str) -> dict[str, Any] | None:
    """Who works on the operation right now, as far as is known ({} if nothing is); None if nobody does."""
    if not isinstance(store, FileStore) or not store.is_owned(operation_id):
        return None
    return read_holder(store.locate(operation_id).with_suffix(".lock"))
