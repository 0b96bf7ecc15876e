"""One operation's checkpoint in a store: what a save writes, and when the journal is folded into a new snapshot."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from . import _journal
from ._codec import check, encode, object_chunks, step
from ._errors import StoreError
from ._collections import Durable
from ._models import CheckpointMetadata
from ._restore import Restored, restore
from ._snapshot import Background, Part, SnapshotWriter, writer_for
from ._steps import Steps
from .stores import CheckpointStore, JournalingStore

_JOURNAL_FROM = 8192
"""A snapshot smaller than this many bytes is simply written again."""
_SHARE = 4
"""A save goes to the journal if it is at most this part (a quarter) of the snapshot."""
_REMEMBER_UP_TO = 65536
"""Encoded values up to this many bytes are kept, to see whether they changed."""
_BACKGROUND_FROM = 1 << 18
"""Larger documents are written by a thread, so that the loop goes on."""


class SavedLoop(Protocol):
    """A loop, as the saver sees it."""

    def to_dict(self) -> dict[str, Any]:
        """All that is to be saved of it."""

    def changes(self) -> dict[str, Any] | None:
        """What changed since the last ``settle``; None if nothing."""

    def settle(self, changes: Mapping[str, Any]) -> None:
        """*changes* are safely stored."""


@dataclass(slots=True)
class Content:
    """What one save holds.

    Attributes:
        internal: The library's own sections.
        is_last: Nothing will be saved after this in this run.
        loops: What is done, by loop.
    """

    state: dict[str, Any]
    metadata: CheckpointMetadata
    created_at: datetime
    last_updated: datetime
    internal: dict[str, Any] = field(default_factory=dict)
    is_last: bool = False
    loops: Mapping[str, SavedLoop] = field(default_factory=dict)


@dataclass(slots=True)
class _Tail:
    """Where the journal ends."""

    size: int
    crc: int


class StoredOperation:
    """Loads and saves one operation. Not thread-safe: its owner takes turns.

    Args:
        warn: Called with a text for each value that will come back as another kind.
    """

    def __init__(
        self,
        store: CheckpointStore,
        operation_id: str,
        warn: Callable[[str], None] | None = None,
        *,
        uses_journal: bool = True,
    ) -> None:
        self.store = store
        self.operation_id = operation_id
        self._warn = warn
        self._uses_journal = uses_journal and isinstance(store, JournalingStore)
        self._generation = _first_generation()
        self._size = 0
        self._digest = ""
        self._journal: _Tail | None = None
        self._names: set[str] = set()
        self._known: dict[str, bytes] = {}
        self._sections: dict[str, bytes] = {}
        self._collections: dict[str, Durable] = {}
        # After a failure nobody knows what the medium holds: the next save says everything anew.
        self._must_snapshot = True
        self._background: Background | None = None

    # -- load, delete

    def load(self, *, now: datetime) -> Restored | None:
        """What is stored, None if nothing; saves from now on build upon it. See :func:`restore`."""
        restored = restore(self.store, self.operation_id, now=now)
        if restored is not None:
            self._digest, self._size = restored.digest, restored.size
            self._generation = restored.generation or self._generation
            self._names = set(restored.data.state)
            self._must_snapshot = restored.generation == 0
            if restored.journal is not None:
                self._journal = _Tail(restored.journal.good_bytes, restored.journal.crc)
        return restored

    def adopt(self, collections: dict[str, Durable]) -> None:
        """These were made from the values just loaded: their changes build upon what is stored."""
        self._collections.update(collections)

    def delete(self) -> Steps[bool]:
        """Remove the checkpoint; whether there was one."""
        if self._background is not None:
            yield self._background.thread.join
            self._background = None
        self._must_snapshot, self._journal = True, None
        found: bool = yield lambda: self.store.delete(self.operation_id)
        return found

    # -- save

    def save(self, content: Content, *, wait: bool = True) -> Steps[Path | str | None]:
        """Store *content*; the last checkpoint stands until the new one does.

        What may change while it is stored is encoded or copied before the first step.

        Args:
            wait: False lets a large document be written in the background: None comes back, and :meth:`poll` tells
                when it is stored.

        Raises:
            StateEncodeError: JSON cannot hold the state; nothing was written.
            StoreError: The store failed; nothing counts as saved.
        """
        parts = self._encode(content)
        if not (self._is_folding() and wait is False):
            yield from self.wait()
        if (yield from self._try_journal(content, parts)):
            yield from self._fold_if_due(content, parts)
            if wait:
                yield from self.wait()
            return self.location()
        yield from self.wait()
        return (yield from self._snapshot(content, parts, wait))

    def _encode(self, content: Content) -> dict[str, Part]:
        plain = {n: value for n, value in content.state.items() if not isinstance(value, Durable)}
        check(plain, "$.state", self._warn)
        return {
            name: value if isinstance(value, Durable) else encode(value, f"$.state{step(name)}")
            for name, value in content.state.items()
        }

    def probe(self, content: Content) -> None:
        """Encode *content* and throw it away: what cannot be saved is known at the first item.

        Raises:
            StateEncodeError: It cannot.
        """
        for part in self._encode(content).values():
            if not isinstance(part, bytes):
                deque(part.snapshot(), maxlen=0)
        encode(content.metadata.to_dict(), "$.metadata")

    def location(self) -> Path | str:
        """Where the checkpoint lies."""
        locate = getattr(self.store, "locate", None)
        return locate(self.operation_id) if locate is not None else f"{self.store!r}:{self.operation_id}"

    def _remember(self, parts: dict[str, Part]) -> None:
        self._names = set(parts)
        self._known = {n: p for n, p in parts.items() if isinstance(p, bytes) and len(p) <= _REMEMBER_UP_TO}
        self._collections = {n: p for n, p in parts.items() if isinstance(p, Durable)}

    # -- the journal

    def _try_journal(self, content: Content, parts: dict[str, Part]) -> Steps[bool]:
        """Store the save as one journal line; False if it is better, or necessary, to write everything."""
        if not self._may_journal(parts):
            return False
        changed = {n: p for n, p in parts.items() if isinstance(p, bytes) and self._known.get(n) != p}
        if sum(map(len, changed.values())) > self._size // _SHARE:
            return False
        collections = list(self._collections.values())
        loops = _changes_of(content)
        try:
            record = self._record(content, changed, loops)
            if len(record) > self._size // _SHARE:
                _put_back(collections)
                return False
            yield from self._append(record)
        except BaseException:
            _put_back(collections)
            self._must_snapshot = True
            raise
        _settle(collections)
        _settle_loops(content, loops)
        self._remember(parts)
        return True

    def _may_journal(self, parts: dict[str, Part]) -> bool:
        if self._must_snapshot or self._size < _JOURNAL_FROM or not self._uses_journal:
            return False
        collections = {n: p for n, p in parts.items() if isinstance(p, Durable)}
        # Changes of a collection build upon what is stored of that very one.
        return collections.keys() == self._collections.keys() and all(
            self._collections[name] is collection for name, collection in collections.items()
        )

    def _record(self, content: Content, changed: dict[str, bytes], loops: dict[str, dict[str, Any]]) -> bytes:
        members: list[tuple[str, bytes]] = [
            ("at", encode(content.last_updated.isoformat())),
            ("metadata", encode(content.metadata.to_dict(), "$.metadata")),
        ]
        if changed:
            members.append(("set", b"".join(object_chunks(changed.items()))))
        deleted = self._names.difference(content.state)
        if deleted:
            members.append(("del", encode(sorted(deleted))))
        taken = ((name, c.take_changes(everything=content.is_last)) for name, c in self._collections.items())
        changes = [(name, change) for name, change in taken if change is not None]
        if changes:
            members.append(("collections", b"".join(object_chunks(changes))))
        if loops:
            members.append(("loops", encode(loops, "$.resumable.loops")))
        sections = self._encode_sections(content)
        news = {name: section for name, section in sections.items() if self._sections.get(name) != section}
        if news:
            members.append(("resumable", b"".join(object_chunks(news.items()))))
            self._sections = sections
        return b"".join(object_chunks(members))

    @staticmethod
    def _encode_sections(content: Content) -> dict[str, bytes]:
        return {name: encode(section, f"$.resumable.{name}") for name, section in content.internal.items()}

    def _append(self, record: bytes) -> Steps[None]:
        store = self.store
        assert isinstance(store, JournalingStore)
        tail, lead = self._journal, b""
        if tail is None:
            lead, crc = _journal.frame(self._header(), 0)
            tail = _Tail(0, crc)
        line, crc = _journal.frame(record, tail.crc)
        offset = tail.size
        yield lambda: store.append_journal(self.operation_id, offset, lead + line)
        self._journal = _Tail(tail.size + len(lead) + len(line), crc)
        if self._background is not None:
            self._background.records.append(record)

    def _header(self) -> bytes:
        return _journal.header_for(self.operation_id, self._generation, self._digest)

    # -- the snapshot

    def _snapshot(self, content: Content, parts: dict[str, Part], wait: bool) -> Steps[Path | str | None]:
        self._must_snapshot = True
        loops = _changes_of(content)
        writer = self._writer(content, parts, takes=True)
        if not wait and writer.estimate >= _BACKGROUND_FROM:
            self._background = Background(writer, lambda: self._snapshot_stands(writer, parts, content, loops))
            return None
        try:
            location: Path | str = yield writer.write
        except BaseException:
            _put_back(writer.collections)
            raise
        yield from self._snapshot_stands(writer, parts, content, loops)
        return location

    def _writer(self, content: Content, parts: dict[str, Part], *, takes: bool) -> SnapshotWriter:
        tail = {
            "metadata": content.metadata.to_dict(),
            "created_at": content.created_at.isoformat(),
            "last_updated": content.last_updated.isoformat(),
            "resumable": {"generation": self._generation + 1, **content.internal, **_loops_section(content)},
        }
        return writer_for(self.store, self.operation_id, parts, tail, takes=takes)

    def _snapshot_stands(
        self, writer: SnapshotWriter, parts: dict[str, Part], content: Content, loops: dict[str, dict[str, Any]]
    ) -> Steps[None]:
        _settle(writer.collections)
        _settle_loops(content, loops)
        self._switch_to(writer)
        self._journal, self._sections = None, {}
        self._remember(parts)
        store = self.store
        if isinstance(store, JournalingStore):
            with contextlib.suppress(StoreError):  # a journal of another generation is ignored wherever it lies
                yield lambda: store.retire_journal(self.operation_id)

    def _switch_to(self, writer: SnapshotWriter) -> None:
        self._generation, self._digest, self._size = writer.generation, writer.digest, writer.size
        self._must_snapshot = False

    # -- folding the journal into a new snapshot

    def _fold_if_due(self, content: Content, parts: dict[str, Part]) -> Steps[None]:
        """Start a new snapshot once the journal has outgrown the old one. The save itself stands already.

        A marker in the journal names the new generation: what follows it builds upon the new snapshot as well as upon
        the old one, so that the one rename which puts the snapshot in place is the whole switch.
        """
        if self._journal is None or self._journal.size < self._size or self._background is not None:
            return
        writer = self._writer(content, parts, takes=False)
        try:
            yield from self._append(encode({"fold": writer.generation}))
        except StoreError:
            self._must_snapshot = True  # the save stands; the next one writes everything, in sight
            return
        self._background = Background(writer)

    def _is_folding(self) -> bool:
        return self._background is not None and self._background.is_fold and self._background.running

    def _end_fold(self, background: Background) -> Steps[None]:
        self._must_snapshot = True
        if background.error is not None:
            return  # the saves are safe in the journal; the next save writes a whole snapshot, in sight
        self._switch_to(background.writer)
        self._must_snapshot = True
        data, crc = _journal.frame(self._header(), 0)
        for record in background.records:
            line, crc = _journal.frame(record, crc)
            data += line
        store = self.store
        assert isinstance(store, JournalingStore)
        yield lambda: store.replace_journal(self.operation_id, data)
        self._journal = _Tail(len(data), crc)
        self._must_snapshot = False

    # -- the background

    @property
    def is_pending(self) -> bool:
        """Whether a save that does not count yet is being written."""
        return self._background is not None and not self._background.is_fold

    def poll(self) -> Steps[bool]:
        """Take note of what the background has finished; whether a pending save now stands.

        Raises:
            StoreError: The pending save failed.
        """
        if self._background is None or self._background.running:
            return False
        return (yield from self.wait())

    def wait(self) -> Steps[bool]:
        """As :meth:`poll`, once the background has finished."""
        background, self._background = self._background, None
        if background is None:
            return False
        yield background.thread.join
        if background.is_fold:
            with contextlib.suppress(StoreError):  # the old journal still tells everything
                yield from self._end_fold(background)
            return False
        if background.error is not None:
            _put_back(background.writer.collections)
            raise background.error
        assert background.stands is not None
        yield from background.stands()
        return True


def _first_generation() -> int:
    """A number that no earlier checkpoint of this name had, so that no journal left over fits by chance."""
    return time.time_ns() // 1_000_000


def _settle(collections: Iterable[Durable]) -> None:
    for collection in collections:
        collection.settle()


def _put_back(collections: Iterable[Durable]) -> None:
    for collection in collections:
        collection.put_back()


def _changes_of(content: Content) -> dict[str, dict[str, Any]]:
    changes = ((name, loop.changes()) for name, loop in content.loops.items())
    return {name: change for name, change in changes if change is not None}


def _settle_loops(content: Content, loops: dict[str, dict[str, Any]]) -> None:
    for name, changes in loops.items():
        content.loops[name].settle(changes)


def _loops_section(content: Content) -> dict[str, Any]:
    loops = {name: loop.to_dict() for name, loop in content.loops.items()}
    return {"loops": loops} if loops else {}
