"""One operation's checkpoint in a store: loaded, deleted, and saved as cheaply as what changed allows."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from .._durable.collection import Durable
from .._errors import StoreError
from .._format import journal
from .._format.journal import Tail
from .._format.restore import Restored, good_previous, restore
from .._json import Checker, encode
from .._runtime.steps import Steps
from ..stores import CheckpointStore, JournalingStore
from .background import Flight, Fold, NewJournal, Threads
from .capture import (
    Baseline,
    Capture,
    Content,
    SnapshotWriter,
    beginning_fold,
    encode_sections,
    encode_state,
    writer_for,
)

_log = logging.getLogger("resumable")
_WRITE_BESIDE_FROM = 1 << 18
"""Documents of so many bytes are written by a thread, so that the loop goes on,"""
_MOST_AHEAD = 32 << 20
"""When more bytes wait for a slow disk, the loop does, too."""
_FOLD_FROM = 1 << 19
"""A shorter journal is not folded: that takes several syncs, and reading so much takes some 10 ms."""
_TOGETHER = 8
"""So many saves at the most are written before the loop takes note of them."""
_APPEND_BESIDE_FROM = 1 << 13
"""and so are journal lines of so many; while anything is on its way, shorter ones follow it."""

R = TypeVar("R")


class Writing:
    """What is known of one operation's checkpoint, and how a save changes it.

    Args:
        uses_journal: False writes everything at each save.
        wake: Called, from a thread, when :meth:`poll` has something to find.
    """

    def __init__(
        self, store: CheckpointStore, operation_id: str, *, uses_journal: bool, wake: Callable[[], None]
    ) -> None:
        self.store = store
        self.operation_id = operation_id
        self._journaling = store if uses_journal and isinstance(store, JournalingStore) else None
        # No earlier checkpoint of this name had this number, so that no journal left over fits by chance.
        self._generation = self._newest = time.time_ns() // 1_000_000
        self._size = 0
        self._fold_from = _FOLD_FROM
        self._digest = ""
        self._journal: Tail | None = None
        self._baseline = Baseline()
        # After a failure nobody knows what the medium holds: the next save says everything anew.
        self._must_snapshot = True
        self._threads = Threads(wake)
        self._flight: Flight[Any] | None = None
        self._fold: Fold | None = None
        self._sent: list[Capture] = []
        self._landed: list[float] = []

    def location(self) -> Path | str:
        """Where the checkpoint lies."""
        locate = getattr(self.store, "locate", None)
        return locate(self.operation_id) if locate is not None else f"{self.store!r}:{self.operation_id}"

    def _store(self, capture: Capture, wait: bool) -> Steps[Path | str | None]:
        if capture.record is None:
            return (yield from self._write_everything(capture, wait))
        if not wait and (self._flight is not None or len(capture.record) >= _APPEND_BESIDE_FROM):
            self._send(capture)
            return None
        self._must_snapshot = True
        meanwhile = capture.settle if capture.collections else None
        end: Tail = yield lambda: self._append(self._journal, [capture], meanwhile)
        self._settle(capture)
        self._appended([capture], end)
        self._must_snapshot = False
        return self.location()

    def _settle(self, capture: Capture) -> None:
        capture.settle()
        capture.content.loops.settle()
        self._baseline.remember(capture)

    def _put_back(self, capture: Capture) -> None:
        for collection in capture.collections.values():
            collection.rollback()

    # -- the journal

    def _append(self, tail: Tail | None, captures: list[Capture], meanwhile: Callable[[], None] | None = None) -> Tail:
        assert self._journaling is not None
        lead, end = ([self._header()], Tail()) if tail is None else ([], tail)
        for capture in captures:
            assert capture.record is not None
            # One save at a time: what a crash leaves of several could not be told from damage.
            lines = journal.Lines([*lead, capture.record], end)
            self._journaling.append_journal(self.operation_id, end.size, b"".join(lines), meanwhile)
            lead, end = [], lines.tail
        return end

    def _appended(self, captures: list[Capture], end: Tail) -> None:
        self._journal = end
        for capture in captures:
            if self._fold is not None and capture.record is not None:
                self._fold.records.append(capture.record)
            if capture.writer is not None:
                self._begin_fold(capture.writer)

    def _header(self) -> bytes:
        return journal.header_for(self.operation_id, self._generation, self._digest)

    # -- saves sent to the journal, one after the other, while the loop goes on

    def _send(self, capture: Capture) -> None:
        self._must_snapshot = True
        # What comes next builds upon it. If it fails, everything is written anew.
        self._settle(capture)
        self._sent.append(capture)
        if self._flight is None:
            self._fly_sent()
        self._must_snapshot = False

    def _ahead(self) -> int:
        """How many bytes were sent and are not known to be there."""
        return sum(len(capture.record or b"") for capture in self._sent)

    def _fly_sent(self) -> None:
        captures, tail = self._sent[:_TOGETHER], self._journal

        def stands(end: Tail) -> Steps[None]:
            del self._sent[: len(captures)]
            self._appended(captures, end)
            yield from ()

        self._fly(lambda: self._append(tail, captures), stands, self._sent.clear, saves=len(captures))

    # -- the snapshot

    def _write_everything(self, capture: Capture, wait: bool) -> Steps[Path | str | None]:
        writer = capture.writer
        assert writer is not None
        self._must_snapshot = True
        self._sent.clear()  # an interruption may have left some, which are older
        if not wait and writer.estimate >= _WRITE_BESIDE_FROM:
            # What comes next builds upon it. If it fails, everything is written anew.
            self._settle(capture)
            self._journal, self._size = None, writer.estimate
            self._fly(writer.write_beside, lambda _: self._stands(writer), self._sent.clear, is_short=False)
            self._must_snapshot = False
            return None
        location: Path | str = yield writer.write
        self._settle(capture)
        yield from self._stands(writer)
        return location

    def _stands(self, writer: SnapshotWriter) -> Steps[None]:
        self._switch_to(writer)
        self._journal = None
        store = self.store
        if isinstance(store, JournalingStore):
            with contextlib.suppress(StoreError):  # a journal of another generation is ignored wherever it lies
                yield lambda: store.retire_journal(self.operation_id)
        self._must_snapshot = False

    def _switch_to(self, writer: SnapshotWriter) -> None:
        self._generation, self._digest, self._size = writer.generation, writer.digest, writer.size
        self._fold_from = _FOLD_FROM

    # -- folding the journal into a new snapshot
    #
    # A save names the new snapshot that is begun with it: what follows in the journal builds upon that one as well as
    # upon the old one, so that the one rename which puts the snapshot in place is the whole switch.

    def _fold_is_due(self, more: int) -> bool:
        """Whether the journal, with *more* bytes, has outgrown the snapshot."""
        size = (self._journal.size if self._journal is not None else 0) + self._ahead() + more
        if self._fold is not None or (self._flight is not None and not self._flight.is_short):
            return False
        return size >= max(self._size, self._fold_from) and all(capture.writer is None for capture in self._sent)

    def _begin_fold(self, writer: SnapshotWriter) -> None:
        fold = Fold(writer)
        fold.future = self._threads.start(lambda: self._fold_beside(fold))
        self._fold = fold

    def _fold_beside(self, fold: Fold) -> NewJournal:
        fold.writer.write_beside()
        records = fold.records[:]
        header = journal.header_for(self.operation_id, fold.writer.generation, fold.writer.digest)
        lines = journal.Lines([header, *records], Tail())
        assert self._journaling is not None
        put_in_place = self._journaling.write_journal(self.operation_id, lines)
        return NewJournal(put_in_place, lines.tail, len(records))

    def _end_fold(self, fold: Fold) -> bool:
        """Whether saves go on in the journal; if not, the next one writes a whole snapshot."""
        error = fold.future.exception()
        if error is not None:
            # The old journal still tells everything. What a full disk has no room for twice, it may have once.
            _log.warning("%s: %s Saves go on in its journal.", self.operation_id, error)
            self._fold_from = 2 * (self._journal.size if self._journal is not None else 0)
            return isinstance(error, StoreError)
        self._switch_to(fold.writer)
        new, _ = fold.future.result()
        lines = journal.Lines(fold.records[new.records :], new.tail)
        data = b"".join(lines)

        def stands(_: None) -> Steps[None]:
            self._journal = lines.tail
            yield from ()

        self._fly(lambda: new.put_in_place(data), stands, self._sent.clear, saves=0)
        return True

    # -- beside the loop

    @property
    def is_saving(self) -> bool:
        """Whether a save is on its way."""
        return self._flight is not None or bool(self._sent)

    def _fly(
        self,
        work: Callable[[], R],
        stands: Callable[[R], Steps[None]],
        fails: Callable[[], None],
        *,
        saves: int = 1,
        is_short: bool = True,
    ) -> None:
        self._flight = Flight(self._threads.start(work), stands, fails, saves, is_short)

    def poll(self, *, for_fold: bool = True) -> Steps[None]:
        """Take note of what the threads have finished; see :meth:`take_landed`.

        Args:
            for_fold: Whether a fold that has ended takes the journal's place now, which is a write of its own.

        Raises:
            StoreError: A save failed, and with it all that are on their way.
        """
        # Whoever is interrupted here does not know what stands.
        must_snapshot, self._must_snapshot = self._must_snapshot, True
        flight, fold = self._flight, self._fold
        if flight is not None and flight.future.done():
            self._flight = None
            must_snapshot |= not (yield from self._land(flight))
        if for_fold and fold is not None and fold.future.done() and self._flight is None:
            self._fold = None
            must_snapshot |= not self._end_fold(fold)
        if self._sent and self._flight is None:
            self._fly_sent()
        self._must_snapshot = must_snapshot

    def take_landed(self) -> list[float]:
        """For each save that did not count yet and now stands, oldest first: the seconds to charge for it.

        What the threads did counts as far as the disk took it.
        """
        landed, self._landed = self._landed, []
        return landed

    def _land(self, flight: Flight[Any]) -> Steps[bool]:
        """Whether it stands; a failure that loses nothing is not raised."""
        is_harmless = not flight.saves and not self._sent
        try:
            self._landed += yield from flight.land()
        except StoreError:
            if not is_harmless:  # else the old journal still tells everything
                raise
            return False
        return True

    def wait(self, *, for_fold: bool = True) -> Steps[None]:
        """As :meth:`poll`, once all is finished; a fold may be left to itself."""
        while (job := self._flight or (self._fold if for_fold else None)) is not None:
            yield job.future.exception  # waits
            yield from self.poll(for_fold=for_fold)

    def wait_for_room(self) -> Steps[None]:
        """As :meth:`poll`, once not too much is on its way to a slow disk."""
        while self._flight is not None and self._ahead() > _MOST_AHEAD:
            yield self._flight.future.exception  # waits
            yield from self.poll()

    def _forget_threads(self) -> Steps[None]:
        """Wait for all that is under way, however it ends: it no longer matters."""
        for job in (self._flight, self._fold):
            if job is not None:
                yield job.future.exception  # waits
        self._flight = self._fold = None
        self._sent.clear()


_JOURNAL_FROM = 8192
"""A snapshot smaller than this many bytes is simply written again."""
_SHARE = 4
"""A save goes to the journal if it is at most this part (a quarter) of the snapshot."""


class Unfinished(Enum):
    """What became of a save that the loop does not wait for."""

    SENT = "sent"
    POSTPONED = "postponed"


SENT, POSTPONED = Unfinished.SENT, Unfinished.POSTPONED


class StoredOperation(Writing):
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
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(store, operation_id, uses_journal=uses_journal, wake=wake)
        self._checker = Checker(warn)

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
                self._journal = Tail(restored.journal.good_bytes, restored.journal.crc)
        return restored

    def remains(self, *, now: datetime) -> str | None:
        """Where a good older checkpoint lies; the next save that writes a snapshot replaces it."""
        return good_previous(self.store, self.operation_id, now)

    def adopt(self, collections: dict[str, Durable]) -> None:
        """These were made from the values just loaded: their changes build upon what is stored."""
        self._baseline.collections.update(collections)

    def delete(self) -> Steps[bool]:
        """Remove the checkpoint; whether there was one."""
        yield from self._forget_threads()
        self._must_snapshot, self._journal = True, None
        found: bool = yield lambda: self.store.delete(self.operation_id)
        return found

    # -- save

    def save(self, take: Callable[[], Content], *, wait: bool = True) -> Steps[Path | str | Unfinished]:
        """Store what *take* gives; the last checkpoint stands until the new one does.

        Args:
            take: Gives the content of this instant. All that may change is encoded or copied before the next step.
            wait: False lets what is large be written by a thread: ``SENT`` comes back, and :meth:`take_landed` tells
                when it is stored. If that cannot be before the thread has ended what it does, ``POSTPONED`` comes
                back, and nothing was done.

        Raises:
            StateEncodeError: JSON cannot hold the state; nothing was written.
            StoreError: The store failed; nothing counts as saved.
        """
        yield from self.wait(for_fold=False) if wait else self.wait_for_room()
        capture = self._capture(take())
        if capture is None:
            if not wait:
                return POSTPONED
            yield from self.wait()  # everything is to be written, and one writer at a time
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
        elif wait:
            yield from self.poll()
        return SENT if location is None else location

    def close(self) -> None:
        """Let go of the threads. Nothing may be under way."""
        self._threads.close()

    def _capture(self, content: Content) -> Capture | None:
        """All of it as it is now; None if that must wait for what is under way."""
        parts = encode_state(content.state, self._checker, wholly=content.is_last)
        capture = Capture(content, parts, encode_sections(content.internal))
        self._put_back(capture)  # what a save that was torn off had taken
        try:
            capture.record = self._record(capture)
            if capture.record is None:
                if self._fold is not None or self._flight is not None:
                    self._put_back(capture)
                    return None
                capture.writer = self._writer(capture, takes=True)
            elif self._fold_is_due(len(capture.record)):
                capture.writer = self._writer(capture, takes=False)
                capture.record = beginning_fold(capture.record, capture.writer.generation)
        except BaseException:
            self._put_back(capture)
            raise
        return capture

    def probe(self, content: Content) -> None:
        """Encode *content* and throw it away: what cannot be saved is known at the first item.

        Raises:
            StateEncodeError: It cannot.
        """
        for part in encode_state(content.state, self._checker, wholly=True).values():
            if not isinstance(part, bytes):
                try:
                    deque(part.begin_snapshot(), maxlen=0)
                finally:
                    part.rollback()
        encode(content.checked_metadata(), "$.metadata")

    # -- the journal

    def _record(self, capture: Capture) -> bytes | None:
        """The save as one journal record; None if it is better, or necessary, to write everything."""
        if self._must_snapshot or self._size < _JOURNAL_FROM or self._journaling is None:
            return None
        collections = capture.collections
        if not self._baseline.knows(collections):
            return None
        changed = self._baseline.changed(capture.parts)
        # Judged before it is taken: to take it twice would cost twice.
        expected = sum(collection.changed_bytes() for collection in collections.values())
        if sum(map(len, changed.values())) + expected > self._size // _SHARE:
            return None
        record = self._baseline.record(capture, changed)
        if len(record) > self._size // _SHARE:
            self._put_back(capture)
            return None
        return record

    # -- the snapshot

    def _writer(self, capture: Capture, *, takes: bool) -> SnapshotWriter:
        # No number is given twice, also not after a failure: a marker of the failed fold may stand in the journal.
        self._newest += 1
        tail = capture.content.tail(self._newest)
        return writer_for(self.store, self.operation_id, capture.parts, tail, takes=takes)
