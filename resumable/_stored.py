"""One operation's checkpoint in a store: what a save writes, and when the journal is folded into a new snapshot."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from . import _journal
from ._capture import Baseline, Changes, Content, durable_parts, encode_sections, encode_state
from ._codec import encode
from ._collections import Durable
from ._errors import StoreError
from ._restore import Restored, restore
from ._snapshot import Background, Part, SnapshotWriter, writer_for
from ._steps import Steps
from .stores import CheckpointStore, JournalingStore

_JOURNAL_FROM = 8192
"""A snapshot smaller than this many bytes is simply written again."""
_SHARE = 4
"""A save goes to the journal if it is at most this part (a quarter) of the snapshot."""
_BACKGROUND_FROM = 1 << 18
"""Larger documents are written by a thread, so that the loop goes on."""


@dataclass(slots=True)
class _Tail:
    """Where the journal ends."""

    size: int
    crc: int


@dataclass(slots=True)
class _Capture:
    """A save, taken at one instant.

    Attributes:
        record: Its journal line; None if everything is to be written.
        writer: Of everything: instead of the record, or as a fold after it.
    """

    content: Content
    parts: dict[str, Part]
    loops: Changes
    sections: dict[str, bytes]
    record: bytes | None = None
    writer: SnapshotWriter | None = None


class StoredOperation:
    """Loads and saves one operation. Not thread-safe: its owner takes turns.

    Args:
        warn: Called with a text for each value that will come back as another kind.
        uses_journal: False writes everything at each save.
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
        self._journaling = store if uses_journal and isinstance(store, JournalingStore) else None
        self._generation = self._newest = _first_generation()
        self._size = 0
        self._digest = ""
        self._journal: _Tail | None = None
        self._baseline = Baseline()
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
            self._newest = max(self._generation, restored.newest)
            self._baseline.names = set(restored.data.state)
            self._must_snapshot = restored.generation == 0
            if restored.journal is not None:
                self._journal = _Tail(restored.journal.good_bytes, restored.journal.crc)
        return restored

    def adopt(self, collections: dict[str, Durable]) -> None:
        """These were made from the values just loaded: their changes build upon what is stored."""
        self._baseline.collections.update(collections)

    def delete(self) -> Steps[bool]:
        """Remove the checkpoint; whether there was one."""
        if self._background is not None:
            yield self._background.thread.join
            self._background = None
        self._must_snapshot, self._journal = True, None
        found: bool = yield lambda: self.store.delete(self.operation_id)
        return found

    # -- save

    def save(self, take: Callable[[], Content], *, wait: bool = True) -> Steps[Path | str | None]:
        """Store what *take* gives; the last checkpoint stands until the new one does.

        Args:
            take: Gives the content of this instant. All that may change is encoded or copied before the next step.
            wait: False lets a large document be written in the background: None comes back, and :meth:`poll` tells
                when it is stored.

        Raises:
            StateEncodeError: JSON cannot hold the state; nothing was written.
            StoreError: The store failed; nothing counts as saved.
        """
        if not self._is_folding():
            yield from self.wait()
        capture = self._capture(take())
        if capture is None:
            yield from self.wait()  # a fold: everything is to be written, and one writer at a time
            capture = self._capture(take())
        assert capture is not None
        try:
            yield from capture.content.first
            location = yield from self._store(capture, wait)
        except BaseException:
            self._put_back(capture)
            raise
        if capture.content.is_last:
            yield from self.wait()  # nothing may be written once the operation is let go
        return location

    def _capture(self, content: Content) -> _Capture | None:
        """All of it as it is now; None if that must wait for the fold that is under way."""
        parts = encode_state(content.state, self._warn)
        capture = _Capture(content, parts, content.changed_loops(), encode_sections(content.internal))
        try:
            capture.record = self._record(capture)
            if capture.record is None:
                if self._background is not None:
                    self._put_back(capture)
                    return None
                capture.writer = self._writer(capture, takes=True)
            elif self._fold_is_due(len(capture.record)):
                capture.writer = self._writer(capture, takes=False)
        except BaseException:
            self._put_back(capture)
            raise
        return capture

    def _store(self, capture: _Capture, wait: bool) -> Steps[Path | str | None]:
        if capture.record is None:
            return (yield from self._write_everything(capture, wait))
        self._must_snapshot = True
        yield from self._append(capture.record)
        self._must_snapshot = False
        self._settle(capture)
        if capture.writer is not None:
            yield from self._begin_fold(capture.writer)
        return self.location()

    def _settle(self, capture: _Capture) -> None:
        for collection in durable_parts(capture.parts).values():
            collection.settle()
        capture.content.settle_loops(capture.loops)
        self._baseline.remember(capture.parts, capture.sections)

    def _put_back(self, capture: _Capture) -> None:
        for collection in durable_parts(capture.parts).values():
            collection.put_back()

    def probe(self, content: Content) -> None:
        """Encode *content* and throw it away: what cannot be saved is known at the first item.

        Raises:
            StateEncodeError: It cannot.
        """
        for part in encode_state(content.state, self._warn).values():
            if not isinstance(part, bytes):
                deque(part.snapshot(), maxlen=0)
        encode(content.metadata.to_dict(), "$.metadata")

    def location(self) -> Path | str:
        """Where the checkpoint lies."""
        locate = getattr(self.store, "locate", None)
        return locate(self.operation_id) if locate is not None else f"{self.store!r}:{self.operation_id}"

    # -- the journal

    def _record(self, capture: _Capture) -> bytes | None:
        """The save as one journal record; None if it is better, or necessary, to write everything."""
        if self._must_snapshot or self._size < _JOURNAL_FROM or self._journaling is None:
            return None
        collections = durable_parts(capture.parts)
        if not self._baseline.knows(collections):
            return None
        changed = self._baseline.changed(capture.parts)
        if sum(map(len, changed.values())) > self._size // _SHARE:
            return None
        record = self._baseline.record(capture.content, changed, capture.loops, capture.sections)
        if len(record) > self._size // _SHARE:
            self._put_back(capture)
            return None
        return record

    def _append(self, record: bytes) -> Steps[None]:
        store = self._journaling
        assert store is not None
        tail, lead = self._journal, b""
        if tail is None:
            lead, crc = _journal.frame(self._header(), 0)
            tail = _Tail(0, crc)
        line, crc = _journal.frame(record, tail.crc)
        offset = tail.size
        yield lambda: store.append_journal(self.operation_id, offset, lead + line)
        self._journal = _Tail(offset + len(lead) + len(line), crc)
        if self._background is not None:
            self._background.records.append(record)

    def _header(self) -> bytes:
        return _journal.header_for(self.operation_id, self._generation, self._digest)

    # -- the snapshot

    def _writer(self, capture: _Capture, *, takes: bool) -> SnapshotWriter:
        # No number is given twice, also not after a failure: a marker of the failed fold may stand in the journal.
        self._newest += 1
        tail = capture.content.tail(self._newest)
        return writer_for(self.store, self.operation_id, capture.parts, tail, takes=takes)

    def _write_everything(self, capture: _Capture, wait: bool) -> Steps[Path | str | None]:
        writer = capture.writer
        assert writer is not None
        self._must_snapshot = True
        if not wait and writer.estimate >= _BACKGROUND_FROM:
            self._background = Background(
                writer, stands=lambda: self._stands(capture), fails=lambda: self._put_back(capture)
            )
            return None
        location: Path | str = yield writer.write
        yield from self._stands(capture)
        return location

    def _stands(self, capture: _Capture) -> Steps[None]:
        assert capture.writer is not None
        self._settle(capture)
        self._switch_to(capture.writer)
        self._journal = None
        store = self.store
        if isinstance(store, JournalingStore):
            with contextlib.suppress(StoreError):  # a journal of another generation is ignored wherever it lies
                yield lambda: store.retire_journal(self.operation_id)

    def _switch_to(self, writer: SnapshotWriter) -> None:
        self._generation, self._digest, self._size = writer.generation, writer.digest, writer.size
        self._must_snapshot = False

    # -- folding the journal into a new snapshot

    def _fold_is_due(self, more: int) -> bool:
        """Whether the journal, with *more* bytes, has outgrown the snapshot."""
        size = (self._journal.size if self._journal is not None else 0) + more
        return size >= self._size and self._background is None

    def _begin_fold(self, writer: SnapshotWriter) -> Steps[None]:
        """Start a new snapshot. The save that it holds stands already.

        A marker in the journal names the new generation: what follows it builds upon the new snapshot as well as upon
        the old one, so that the one rename which puts the snapshot in place is the whole switch.
        """
        try:
            yield from self._append(encode({"fold": writer.generation}))
        except StoreError:
            self._must_snapshot = True  # the next save writes everything, in sight
        else:
            self._background = Background(writer)

    def _is_folding(self) -> bool:
        return self._background is not None and self._background.is_fold and self._background.running

    def _end_fold(self, background: Background) -> Steps[None]:
        self._must_snapshot = True
        if background.error is not None:
            return  # the saves are safe in the journal; the next save writes a whole snapshot, in sight
        self._switch_to(background.writer)
        self._must_snapshot = True
        line, crc = _journal.frame(self._header(), 0)
        lines = [line]
        for record in background.records:
            line, crc = _journal.frame(record, crc)
            lines.append(line)
        data = b"".join(lines)
        store = self._journaling
        assert store is not None
        yield lambda: store.replace_journal(self.operation_id, data)
        self._journal = _Tail(len(data), crc)
        self._must_snapshot = False

    # -- the background

    def poll(self) -> Steps[bool]:
        """Take note of what the background has finished; whether a save that did not count yet now stands.

        Raises:
            StoreError: It failed.
        """
        if self._background is None or self._background.running:
            return False
        return (yield from self.wait())

    def wait(self) -> Steps[bool]:
        """As :meth:`poll`, once the background has finished."""
        background = self._background
        if background is None:
            return False
        yield background.thread.join
        self._background = None
        if background.stands is None:
            with contextlib.suppress(StoreError):  # the old journal still tells everything
                yield from self._end_fold(background)
            return False
        if background.error is not None:
            background.fails()
            raise background.error
        yield from background.stands()
        return True


def _first_generation() -> int:
    """A number that no earlier checkpoint of this name had, so that no journal left over fits by chance."""
    return time.time_ns() // 1_000_000
