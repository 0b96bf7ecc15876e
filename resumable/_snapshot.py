"""Writing a whole checkpoint, in the loop's thread or beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._changes import Snapshot
from ._codec import INDENT_UP_TO, VERSION, encode, indented, object_chunks, sign
from ._collections import Durable, kind_of
from .stores import CheckpointStore, StreamingStore

Part = bytes | Durable


@dataclass(slots=True)
class SnapshotWriter:
    """A document that is ready to be written: what may still change was copied.

    Attributes:
        estimate: About how many bytes it will have.
        digest, size: Of the document, once written.
    """

    store: CheckpointStore
    operation_id: str
    state: Sequence[tuple[str, bytes | Snapshot]]
    tail: dict[str, Any]
    generation: int
    collections: list[Durable]
    estimate: int
    digest: str = ""
    size: int = 0

    def write(self, pause: float | None = None) -> Path | str:
        """Write it; returns where it lies. *pause* seconds are slept between pieces, for other threads to run."""
        if self.estimate <= INDENT_UP_TO:
            document = b"".join(self._chunks(None))
            return self.store.put(self.operation_id, indented(document) if len(document) <= INDENT_UP_TO else document)
        if isinstance(self.store, StreamingStore):
            return self.store.put_chunks(self.operation_id, self._chunks(pause))
        return self.store.put(self.operation_id, b"".join(self._chunks(pause)))

    def _chunks(self, pause: float | None) -> Iterator[bytes]:
        head = {"version": VERSION, "operation_id": self.operation_id}
        chunk = b""
        for chunk in sign(head, object_chunks(self.state), self.tail):
            self.size += len(chunk)
            yield chunk
            if pause is not None:
                time.sleep(pause)
        self.digest = chunk[-67:-3].decode()

    def write_beside(self) -> Path | str:
        """Write it while other threads run; what was copied is freed bit by bit."""
        try:
            return self.write(pause=0)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for _, part in self.state:
            if not isinstance(part, bytes):
                for _ in part.let_go():
                    time.sleep(0)
        self.state = ()


def writer_for(
    store: CheckpointStore, operation_id: str, parts: dict[str, Part], tail: dict[str, Any], *, takes: bool
) -> SnapshotWriter:
    """A writer for the state made of *parts*.

    Args:
        tail: What follows the state, its last section ``resumable``.
        takes: Whether what changed in the collections counts as taken with it.
    """
    collections = {name: part for name, part in parts.items() if isinstance(part, Durable)}
    internal = tail["resumable"]
    if collections:
        internal["collections"] = {name: kind_of(collection) for name, collection in collections.items()}
    encode(tail, "$")
    copies = _copies(collections, takes)
    state = [(name, part if isinstance(part, bytes) else copies[name]) for name, part in parts.items()]
    estimate = sum(len(part) if isinstance(part, bytes) else part.about_bytes() for _, part in state)
    return SnapshotWriter(
        store, operation_id, state, tail, internal["generation"], list(collections.values()), estimate
    )


def _copies(collections: dict[str, Durable], takes: bool) -> dict[str, Snapshot]:
    copies: dict[str, Snapshot] = {}
    try:
        for name, collection in collections.items():
            copies[name] = collection.take_snapshot() if takes else collection.snapshot()
    except BaseException:
        for collection in collections.values():
            collection.put_back()
        raise
    return copies
