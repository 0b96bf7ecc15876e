"""One operation's checkpoint in a store: loaded, deleted, and saved as cheaply as what changed allows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from pathlib import Path

from ._capture import Capture, Content, beginning_fold, encode_sections, encode_state
from ._codec import encode
from ._collections import Durable
from ._journal import Tail
from ._plain import Checker
from ._reading import Restored
from ._restore import good_previous, restore
from ._snapshot import SnapshotWriter, writer_for
from ._steps import Steps
from ._writing import Writing
from .stores import CheckpointStore

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
                    deque(part.take_snapshot(), maxlen=0)
                finally:
                    part.put_back()
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
