"""Bringing a captured save to the store: a journal line, a snapshot, a fold. Told as steps (see ``_steps``)."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from . import _journal
from ._capture import Baseline, Changes, Content, durable_parts
from ._codec import encode
from ._errors import StoreError
from ._snapshot import Background, Part, SnapshotWriter
from ._steps import Steps
from .stores import CheckpointStore, JournalingStore

_BACKGROUND_FROM = 1 << 18
"""Larger documents are written by a thread, so that the loop goes on."""


@dataclass(slots=True)
class Tail:
    """Where the journal ends."""

    size: int
    crc: int


@dataclass(slots=True)
class Capture:
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


class Writing:
    """What is known of one operation's checkpoint, and how a save changes it.

    Args:
        uses_journal: False writes everything at each save.
    """

    def __init__(self, store: CheckpointStore, operation_id: str, *, uses_journal: bool) -> None:
        self.store = store
        self.operation_id = operation_id
        self._journaling = store if uses_journal and isinstance(store, JournalingStore) else None
        self._generation = self._newest = _first_generation()
        self._size = 0
        self._digest = ""
        self._journal: Tail | None = None
        self._baseline = Baseline()
        # After a failure nobody knows what the medium holds: the next save says everything anew.
        self._must_snapshot = True
        self._background: Background | None = None

    def location(self) -> Path | str:
        """Where the checkpoint lies."""
        locate = getattr(self.store, "locate", None)
        return locate(self.operation_id) if locate is not None else f"{self.store!r}:{self.operation_id}"

    def _store(self, capture: Capture, wait: bool) -> Steps[Path | str | None]:
        if capture.record is None:
            return (yield from self._write_everything(capture, wait))
        self._must_snapshot = True
        yield from self._append(capture.record)
        self._must_snapshot = False
        self._settle(capture)
        if capture.writer is not None:
            yield from self._begin_fold(capture.writer)
        return self.location()

    def _settle(self, capture: Capture) -> None:
        for collection in durable_parts(capture.parts).values():
            collection.settle()
        capture.content.settle_loops(capture.loops)
        self._baseline.remember(capture.parts, capture.sections)

    def _put_back(self, capture: Capture) -> None:
        for collection in durable_parts(capture.parts).values():
            collection.put_back()

    # -- the journal

    def _append(self, record: bytes) -> Steps[None]:
        store = self._journaling
        assert store is not None
        tail, lead = self._journal, b""
        if tail is None:
            lead, crc = _journal.frame(self._header(), 0)
            tail = Tail(0, crc)
        line, crc = _journal.frame(record, tail.crc)
        offset = tail.size
        yield lambda: store.append_journal(self.operation_id, offset, lead + line)
        self._journal = Tail(offset + len(lead) + len(line), crc)
        if self._background is not None:
            self._background.records.append(record)

    def _header(self) -> bytes:
        return _journal.header_for(self.operation_id, self._generation, self._digest)

    # -- the snapshot

    def _write_everything(self, capture: Capture, wait: bool) -> Steps[Path | str | None]:
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

    def _stands(self, capture: Capture) -> Steps[None]:
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
        self._journal = Tail(len(data), crc)
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
