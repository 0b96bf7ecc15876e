"""One operation's checkpoint in its store: loaded, deleted, and saved as cheaply as the changes allow.

A save is a journal record, or a whole document where that is cheaper. When the journal has outgrown the last
document, a compaction writes a new one in the background. Written as steps (see ``_runtime.steps``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .._durable import Durable
from .._errors import StateEncodeError, StoreError
from .._format import journal
from .._format.journal import Position
from .._format.restore import Restored, restore
from .._format.sections import summary_of
from .._json import encode
from .._models import CheckpointMetadata
from .._runtime.steps import Steps
from ..stores import CheckpointStore, EndingLease, Holder, Lease
from .background import Compaction, InFlight, Job, Threads
from .capture import NO_LOOPS, Baseline, Save
from .document import Document
from .owning import Behind, is_away

if TYPE_CHECKING:
    from concurrent.futures import Future

_log = logging.getLogger("resumable")
_JOURNAL_FROM = 8192
"""Smaller documents, in bytes, are simply written again."""
_SHARE = 4
"""A save goes to the journal if its record has at most this part (a quarter) of the document's bytes."""
_WRITE_BESIDE_FROM = 1 << 18
"""Documents from this size on are written in the background."""
_APPEND_BESIDE_FROM = 1 << 13
"""Journal records from this size on are written in the background; shorter ones only if others are in flight."""
_FRAME = 64
"""Bytes that a journal line adds to a record, about."""

R = TypeVar("R")
Meanwhile = Callable[[], None] | None


class Writer:
    """Loads and saves one operation. Not thread-safe: its owner takes turns.

    Args:
        is_by_hand: Whether a manager saves, without a run: each save is a whole document then.
        works_beside: Whether threads may write while the loop goes on.
        wake: Called from a thread when :meth:`poll` has something to do.

    Attributes:
        kept: The last good sample after the last save, ready to be written.
        lease, ending: The lease, once the operation is claimed; ``ending`` only if that can expire.
        on_stored: Called in the loop's thread for each save in flight that is stored, oldest first.
        on_failed: Called in the loop's thread with a save that failed, or with all in flight if one of them did.
    """

    def __init__(
        self,
        store: CheckpointStore,
        operation_id: str,
        *,
        is_by_hand: bool = False,
        works_beside: bool = True,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self.operation_id = operation_id
        self._traits = store.traits
        self._is_by_hand = is_by_hand
        self._uses_journal = store.traits.takes_journal and not is_by_hand
        self._works_beside = works_beside
        self._wake = wake
        self._threads: Threads | None = None
        self._held: AbstractContextManager[None] = nullcontext()
        self.on_stored: Callable[[Save], None] = lambda save: None
        self.on_failed: Callable[[Sequence[Save]], None] = lambda saves: None
        self.lease: Lease | None = None
        self.ending: EndingLease | None = None
        self.behind = Behind()
        self._position = Position(0, 0)
        self._next = self._size = self._journal_size = 0
        self._compact_from = store.traits.fold_after
        self._baseline = Baseline()
        # After a failure nobody knows what the store holds: the next save writes everything.
        self._must_write_all = True
        self.in_flight = InFlight()
        self.kept: Save | None = None
        self.job: Job[Any] | None = None
        self.compaction: Compaction | None = None

    @property
    def location(self) -> Path | str:
        """Where the checkpoint lies."""
        return self.store.describe(self.operation_id)

    # -- own, load, delete

    def claim(self, *, patience: float = 60.0, take_over: bool = False) -> None:
        """Own the operation until :meth:`release`; never waits. See :meth:`CheckpointStore.claim`."""
        self.lease = self.store.claim(self.operation_id, Holder.me(), take_over=take_over)
        self._next = self.lease.next
        if (self._traits.leases_end or hasattr(self.lease, "ttl")) and isinstance(self.lease, EndingLease):
            self.ending = self.lease
            self.ending.keep(self._wake, patience)

    @property
    def _owned(self) -> Lease:
        assert self.lease is not None, "the operation is not claimed"
        return self.lease

    def load(self, *, now: datetime) -> Restored | None:
        """The stored checkpoint, None if there is none; later saves continue it. See :func:`restore`."""
        restored = restore(self.store, self.operation_id, now=now, lease=self.lease)
        if restored is not None:
            self._size, self._journal_size = restored.size, restored.journal_bytes
            self._next = max(self.lease.next if self.lease is not None else 0, restored.newest + 1)
            self._position = restored.position or self._position
            self._must_write_all = restored.position is None
            self._baseline.names = set(restored.data.state)
        return restored

    def adopt(self, collections: dict[str, Durable], held: AbstractContextManager[None]) -> None:
        """Take over *collections*, made from the values just loaded; saves record their changes, each begun *held*."""
        self._held = held
        self._baseline.collections.update(collections)

    def write_all_next(self) -> None:
        """Make the next save a whole document."""
        self._must_write_all = True

    def delete(self) -> Steps[bool]:
        """Remove the checkpoint. Returns whether there was one."""
        for job in (self.job, self.compaction):  # their results no longer matter
            if job is not None:
                yield job.future.exception
        self.job = self.compaction = None
        self._drop_in_flight()
        self._must_write_all = True
        return bool((yield self._owned.delete))

    def release(self) -> None:
        """Release the operation and the threads. Writes under way are not retried."""
        if self.ending is not None:
            self.ending.give_up()
        if self._threads is not None:
            self._threads.close()
        if self.lease is not None:
            self.lease.release()

    # -- save

    def save(self, take: Callable[[], Save], *, wait: bool = True, is_patient: bool = False) -> Steps[Save | None]:
        """Store what *take* returns; the last checkpoint stands until the new one does.

        Args:
            take: Makes the save of this instant. Whatever may change is encoded or copied before the next step.
            wait: False lets a thread write what is large, or what goes to a remote store; ``on_stored`` or
                ``on_failed`` follows. If the write cannot begin before a thread has finished, the save is put off, for
                half a second at most; after that it waits for the thread.
            is_patient: Without *wait*: put the save off for as long as needed; the loop never waits for a slow store.

        Returns:
            The save, stored or sent; None if it was put off until a thread wakes the loop.

        Raises:
            StateEncodeError: JSON cannot hold the state; nothing was written.
            StoreError: The store failed; nothing counts as saved.
        """
        wait |= not self._works_beside
        if self.ending is not None:
            is_patient |= yield from is_away(self.ending)  # before sinks are synced
        if self.job is not None:
            if is_patient and not wait and self.in_flight.is_behind:
                return None
            yield from self.wait(for_compaction=False) if wait else self._wait_for_room()
        save, is_ready = self._begin(take)
        if not is_ready:
            if not wait and (is_patient or self.in_flight.seconds_left > 0):
                self.in_flight.put_off()
                return None
            yield from self.wait()  # everything is written anew, and there is one writer at a time
            save, _ = self._begin(take)
        self.in_flight.put_off_at, must_write_all = None, self._must_write_all
        try:
            yield from save.first
            yield from self._write(save, wait=wait)
        except BaseException as error:
            # An interruption here leaves it unknown which saves stand.
            self._must_write_all = must_write_all if isinstance(error, StateEncodeError) else True
            save.status = "failed"
            save.rollback()
            self.on_failed([save])
            if self.behind.is_told_by(error):
                return (yield from self.save(take, wait=wait, is_patient=is_patient))
            raise
        if save.is_last:
            yield from self.wait()  # no write may follow the release
        elif wait and self.compaction is not None:
            self.poll()
        return save

    def prepare(self, take: Callable[[], Save], *, wholly: bool, most: int) -> Save | None:
        """Encode or copy what *take* returns. None during a write, or if that is more than *most* new bytes.

        Raises StateEncodeError if JSON cannot hold it; *wholly*: even during a write.
        """
        is_free = not self.is_saving and self.compaction is None
        with self._held:
            save = take()
            try:
                is_few = sum(one.changed_bytes() for one in save.collections.values()) <= most
                save.record, is_free = self._record(save) if is_free and is_few else None, is_free and is_few
                if save.record is None and (is_free or wholly):
                    for collection in save.collections.values():
                        collection.look_closely(collection.begin() or {})
                    encode(save.values, "$.metadata")
                    save.rollback()
                    save.document = Document(self.operation_id, save, is_trial=True) if is_free else None
            finally:
                save.rollback()
        return save if is_free else None

    @property
    def stored_values(self) -> dict[str, Any] | None:
        """The metadata of the stored checkpoint, {} for the one just loaded; None if no record may follow it."""
        return self._baseline.values if self._uses_journal and not self._must_write_all else None

    def write_last(self, what: bytes | Document, values: dict[str, Any], at: datetime) -> Steps[None]:
        """Write a whole document, or append a record, with *values* as metadata; no save may follow."""
        lease, summary = self._owned, self._summary(values, at)
        if isinstance(what, Document):
            yield lambda: self._put(what, summary)
        else:
            line, position = journal.line(what, max(self._next, self._position.sequence + 1), self._position.crc)
            yield lambda: lease.append(position.sequence, line, summary)

    def _begin(self, take: Callable[[], Save]) -> tuple[Save, bool]:
        """The save of this instant, and whether it is ready to be written."""
        with self._held:
            save = take()
            return save, self._prepare(save)

    def _prepare(self, save: Save) -> bool:
        """Encode or copy everything as it is now; False if the save must wait for a write under way."""
        save.rollback()  # what an interrupted save had begun
        try:
            save.record = self._record(save)
            if save.record is None:
                if self.compaction is not None or self.job is not None:
                    save.rollback()
                    return False
                save.document = Document(self.operation_id, save)
            elif self._compaction_is_due(len(save.record)):
                save.document = Document(self.operation_id, save, begins=False)
        except BaseException:
            save.rollback()
            raise
        return True

    def _record(self, save: Save) -> bytes | None:
        """The save as one journal record; None if a whole document is needed or cheaper."""
        if self._must_write_all or self._size < _JOURNAL_FROM or not self._uses_journal:
            return None
        changed = self._baseline.changed(save)
        if changed is None:
            return None
        # Estimate first: collecting the changes twice would double the cost.
        expected = sum(map(len, changed.values()))
        for collection in save.collections.values():
            expected += collection.changed_bytes()
        if expected > self._size // _SHARE:
            return None
        record = self._baseline.record(save, changed)
        if len(record) > self._size // _SHARE:
            save.rollback()
            return None
        return record

    def _write(self, save: Save, *, wait: bool) -> Steps[None]:
        if self._must_write_all:
            self._drop_in_flight()  # an interruption may have left older ones
        self._must_write_all, record, document = True, save.record, save.document
        if record is None:
            assert document is not None
            yield from self._write_document(save, document, not wait)
        elif not wait and (self.job is not None or len(record) >= _APPEND_BESIDE_FROM or self._traits.is_remote):
            self._send(save)
            if self.job is None:
                self._start_batch()
        else:
            meanwhile = partial(save.commit_collections, has_time=self.ending is None) if save.collections else None
            end = yield partial(self._append, [save], self._position, meanwhile)
            self._commit(save)
            self._appended([save], end)
        self._must_write_all, self.kept = False, None

    def _commit(self, save: Save) -> None:
        """Later saves continue from *save*. If it fails after all, the next one writes everything."""
        if save.collections or save.loops is not NO_LOOPS or save.effects is not None:
            save.commit()
        self._baseline.remember(save)
        save.status = "stored"

    def _send(self, save: Save) -> None:
        self._commit(save)
        self.in_flight.add(save)

    def _summary(self, values: dict[str, Any], at: datetime) -> bytes:
        if not self._traits.keeps_summary:
            return b""
        return summary_of(CheckpointMetadata.from_dict(values), at=at, is_by_hand=self._is_by_hand)

    # -- journal records

    def _append(self, saves: Sequence[Save], position: Position, meanwhile: Meanwhile = None) -> Position:
        lease, traits, waiting = self.lease, self._traits, b""
        assert lease is not None, "the operation is not claimed"
        for save in saves:
            line, position = journal.line(save.record or b"", max(self._next, position.sequence + 1), position.crc)
            save.position, waiting = position, waiting + line
            # A server stores several as one. On a disk, a batch half written could not be told from damage.
            if not traits.is_remote or save is saves[-1]:
                told = self._summary(save.values, save.at) if traits.keeps_summary else b""
                lease.append(position.sequence, waiting, told, meanwhile)
                waiting = b""
        return position

    def _appended(self, saves: Sequence[Save], end: Position) -> None:
        self._position, self._next = end, end.sequence + 1
        for save in saves:
            self._journal_size += len(save.record or b"") + _FRAME
            if save.document is not None:
                self._compact(save)

    def _start_batch(self) -> None:
        saves = self.in_flight.batch(is_one=self._traits.is_remote)
        self._start(partial(self._append, saves, self._position), partial(self._appended, saves), saves)

    # -- documents

    def _write_document(self, save: Save, document: Document, is_beside: bool) -> Steps[None]:
        summary = self._summary(save.values, save.at)
        if is_beside and (document.estimate >= _WRITE_BESIDE_FROM or self._traits.is_remote):
            self._send(save)
            self._size, self._journal_size = document.estimate, 0
            put, stands = partial(self._put_beside, document, summary), partial(self._stands, document)
            self._start(put, stands, [save], is_short=False)
        else:
            at = yield lambda: self._put(document, summary)
            self._commit(save)
            self._stands(document, at)

    def _put(self, document: Document, summary: bytes, pause: float | None = None) -> Position:
        if self.behind.is_so:
            self.behind.mend()
        # The chain begins with a random number, so that a journal left over never fits by chance.
        at = Position(max(self._next, self._owned.where()), int.from_bytes(os.urandom(4)))
        self._owned.stage(at.sequence, document.pieces(at, pause))(summary)
        return at

    def _put_beside(self, document: Document, summary: bytes) -> Position:
        try:
            return self._put(document, summary, pause=0)
        finally:
            document.let_go()

    def _stands(self, document: Document, at: Position) -> None:
        self._position, self._next = at, at.sequence + 1
        self._size, self._journal_size = document.size, 0
        self._compact_from = self._traits.fold_after

    # -- compaction: a new document that replaces the journal
    #
    # It contains the saves up to the one that began it. Later saves are appended meanwhile, and come after it.

    def _compaction_is_due(self, more: int) -> bool:
        """Whether the journal, with *more* bytes, has outgrown the document."""
        if self.compaction is not None or (self.job is not None and not self.job.is_short):
            return False
        if self._journal_size + self.in_flight.bytes + more < max(self._size, self._compact_from):
            return False
        return all(save.document is None for save in self.in_flight.saves)

    def _compact(self, save: Save) -> None:
        # Other saves of its batch may come after it.
        document, at = save.document, save.position
        assert document is not None and at is not None  # noqa: PT018
        future = self._beside(lambda: self._stage(document, at))
        self.compaction = Compaction(document, self._journal_size, future)

    def _stage(self, document: Document, at: Position) -> Callable[[bytes], None]:
        try:
            return self._owned.stage(at.sequence, document.pieces(at, pause=0))
        finally:
            document.let_go()

    def _end_compaction(self, compaction: Compaction) -> bool:
        """Whether saves continue in the journal; if not, the next one writes a document."""
        error = compaction.future.exception()
        if error is not None:
            # The journal still holds everything. A full disk may have room for a second copy later.
            _log.warning("%s: %s Saves go on in its journal.", self.operation_id, error)
            self._compact_from = 2 * self._journal_size
            return isinstance(error, StoreError)
        commit, _ = compaction.future.result()

        def compacted(_: None) -> None:
            self._size, self._compact_from = compaction.document.size, self._traits.fold_after
            self._journal_size -= compaction.journal_size

        # Until it stands, the sizes are those from before: another one would be due at once.
        self._start(lambda: commit(b""), compacted, [], is_short=False)
        return True

    # -- in the background

    @property
    def is_saving(self) -> bool:
        """Whether a save is in flight."""
        return self.job is not None or bool(self.in_flight.saves)

    def _start(
        self, work: Callable[[], R], then: Callable[[R], None], saves: list[Save], *, is_short: bool = True
    ) -> None:
        self.job = Job(self._beside(work), then, saves, is_short)

    def _beside(self, work: Callable[[], R]) -> Future[tuple[R, float]]:
        self._threads = self._threads or Threads(self._wake)
        return self._threads.start(work)

    def poll(self, *, for_compaction: bool = True) -> None:
        """Handle what the threads have finished.

        Args:
            for_compaction: Whether to put a finished compaction in place now, which is a write of its own.

        Raises:
            StoreError: A save failed, and with it all in flight.
        """
        job, compaction = self.job, self.compaction
        if job is None and compaction is None:
            return
        # An interruption here leaves it unknown which saves stand.
        must_write_all, self._must_write_all = self._must_write_all, True
        if job is not None and job.future.done():
            self.job = None
            must_write_all |= not self._land(job)
        if for_compaction and compaction is not None and compaction.future.done() and self.job is None:
            self.compaction = None
            must_write_all |= not self._end_compaction(compaction)
        if self.in_flight.saves and self.job is None:
            self._start_batch()
        self._must_write_all = must_write_all

    def _land(self, job: Job[Any]) -> bool:
        """Whether the write stands. A failure that loses nothing is not raised."""
        error = job.future.exception()
        if error is None:
            result, seconds = job.future.result()
            job.then(result)
            for save in job.saves:
                save.seconds += seconds / len(job.saves) if job.is_short else 0.0
                self.in_flight.stored(save)
                self.on_stored(save)
            return True
        is_compaction = not self.in_flight.saves and isinstance(error, StoreError)
        self._drop_in_flight()
        if not self.behind.is_told_by(error) and not is_compaction:
            raise error
        return False  # of a compaction: the old journal still holds everything

    def _drop_in_flight(self) -> None:
        if self.in_flight.saves:
            self.on_failed(self.in_flight.drop())

    def wait(self, *, for_compaction: bool = True) -> Steps[None]:
        """Wait until all writes are finished; *for_compaction* False leaves a compaction running.

        Raises:
            StoreError: A save failed, and with it all in flight.
        """
        while (job := self.job or (self.compaction if for_compaction else None)) is not None:
            yield job.future.exception  # waits
            self.poll(for_compaction=for_compaction)

    def _wait_for_room(self) -> Steps[None]:
        """Wait until little enough is in flight to a slow store."""
        while self.job is not None and self.in_flight.is_behind:
            yield self.job.future.exception  # waits
            self.poll()
