"""An operation that is owned in a directory: its files, and the order in which they are written."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from .._errors import StaleCheckpointError, StoreError
from .._runtime import disk
from ._base import Stored, refuse_fork
from ._journal_file import JournalFile, without_room
from ._names import beside

_BESIDE = (".journal", ".journal.prev", ".json.prev")
_REMEMBERED = 4096
"""Of so many segments the end in the journal is known; a snapshot that is staged for longer keeps them all."""
_PIECE = 1 << 20


class FileLease:
    """See :class:`~resumable.stores.Lease`. Made by :meth:`FileStore.claim`.

    Args:
        home: Where snapshots are written.
        at: Where the last snapshot lies: at *home*, or under an older name.
        older: Checkpoints of the operation under older names, removed once a snapshot was written at *home*.
        locks: What is held until the release.
    """

    def __init__(self, key: str, home: Path, at: Path, older: Sequence[Path], term: int, locks: ExitStack) -> None:
        self.term = term
        # Numbers rise over a delete, of which nothing is left that could be asked.
        self.next = time.time_ns() // 1_000_000
        self._key = key
        self._home = home
        self._older = [*older]
        self._places = (home, *older)
        self._at = at
        self._locks = locks
        self._owner_pid = os.getpid()
        self._is_released = False
        self._journal: JournalFile | None = None
        self._end: int | None = None
        self._ends: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._snapshot = -1
        self._last: tuple[int, bytes] | None = None
        self._staged: set[Path] = set()

    def read(self) -> Stored | None:
        """What is stored, None if nothing is. The next append goes behind the journal that this gives."""
        with reading(self._at):
            snapshot = disk.read(self._at)
            journal = self._read_journal()
        return None if snapshot is None else Stored(snapshot, journal, self._at)

    def where(self) -> int:
        """One more than any number that was tried."""
        return self.next

    def renew(self) -> None:
        """Make sure that the lease is held. A lock of the operating system is not lost."""
        self._check()

    def delete(self) -> bool:
        """Remove the checkpoint with all that lies beside it; returns whether there was one."""
        self._check()
        self._close_journal()
        self._drop_staged()
        with as_store_error(f"cannot delete {self._at}"):
            found = [_remove(path) for path in (*self._older, self._home)]
        self._at, self._older, self._last = self._home, [], None
        self._begin_journal()
        return any(found)

    def release(self) -> None:
        """Let go of the operation. Never raises; does nothing in a forked child, whose parent goes on."""
        if self._is_released or os.getpid() != self._owner_pid:
            return
        self._is_released = True
        self._close_journal()
        self._drop_staged()
        for path in self._places:
            with contextlib.suppress(OSError):
                if disk.stamp(path) is None:
                    os.unlink(beside(path, ".lock"))
        with contextlib.suppress(Exception):
            self._locks.close()

    def _check(self) -> None:
        refuse_fork(self._key, self._owner_pid)
        if self._is_released:
            raise StaleCheckpointError(self._key)

    # -- the journal

    def append(
        self, sequence: int, data: bytes, summary: bytes = b"", meanwhile: Callable[[], None] | None = None
    ) -> None:
        """Add *data* to the journal as save *sequence*. See :meth:`Lease.append`."""
        self._check()
        if sequence < self.next:
            if self._last == (sequence, data):
                return
            raise StaleCheckpointError(self._key)
        self.next = sequence + 1
        journal = self._journal
        try:
            if journal is None:
                journal = self._journal = self._open_journal()
            journal.append(data, meanwhile)
        except BaseException as error:
            self._journal = self._last = None
            if isinstance(error, OSError):
                raise _store_error(f"cannot append to {beside(self._at, '.journal')}", error) from error
            raise
        self._end = journal.end
        self._ends.append((sequence, journal.end))
        self._last = (sequence, data)

    def _open_journal(self) -> JournalFile:
        if self._end is None:
            self._read_journal()
        return JournalFile(beside(self._at, ".journal"), self._end or 0)

    def _read_journal(self) -> bytes:
        journal = without_room(disk.read(beside(self._at, ".journal")) or b"")
        if self._journal is None:
            self._end = len(journal)
        return journal

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _begin_journal(self) -> None:
        self._end = 0
        self._ends.clear()

    # -- snapshots

    def stage(self, sequence: int, pieces: Iterable[bytes]) -> Callable[[bytes], None]:
        """Write *pieces* as a new snapshot beside the old one. See :meth:`Lease.stage`."""
        self._check()
        with as_store_error(f"cannot write {self._home}"):
            disk.make_directory(self._home.parent)
            new = self._write_beside(self._home, pieces)
        return partial(self._commit, new, sequence)

    def _write_beside(self, path: Path, pieces: Iterable[bytes]) -> Path:
        new = disk.temporary_for(path)
        with disk.removed_on_error(new):
            disk.write_new(new, pieces)
        self._staged.add(new)
        return new

    def _commit(self, new: Path, sequence: int, summary: bytes) -> None:
        self._check()
        if new not in self._staged:
            return
        if sequence < self._snapshot:
            raise StaleCheckpointError(self._key)
        if sequence < self.next:
            self._fold(new, sequence)
        else:
            self._replace(new, sequence)
        self._at = self._home
        with contextlib.suppress(OSError):
            while self._older:
                self._remove_older(self._older[-1])
                self._older.pop()

    def _remove_older(self, path: Path) -> None:
        for suffix in _BESIDE:
            disk.unlink(beside(path, suffix))
        disk.sync_directory(path.parent)  # without the checkpoint, the next run would not look for them
        disk.unlink(path)

    def _replace(self, new: Path, sequence: int) -> None:
        self.next, self._last = sequence + 1, None
        self._put_in_place(new, sequence)
        self._close_journal()
        journal, kept = beside(self._at, ".journal"), beside(self._home, ".journal.prev")
        with as_store_error(f"cannot rename {journal}"):
            try:
                os.replace(journal, kept)
            except FileNotFoundError:
                disk.unlink(kept)
        self._begin_journal()

    def _fold(self, new: Path, sequence: int) -> None:
        cut = next((end for number, end in reversed(self._ends) if number <= sequence), 0)
        if self._at != self._home:
            self._move_journal(cut)
            self._put_in_place(new, sequence)
            self._close_journal()
            self._begin_journal_at(cut)
            return
        journal = None
        # The journal may keep segments that the snapshot holds: what fails here costs nothing.
        with contextlib.suppress(OSError):
            journal = self._write_beside(beside(self._home, ".journal"), self._journal_from(cut))
        self._put_in_place(new, sequence)
        if journal is not None:
            with contextlib.suppress(OSError):
                self._close_journal()
                self._exchange_journal(journal)
                self._begin_journal_at(cut)

    def _move_journal(self, cut: int) -> None:
        """Bring home what stands from *cut* on, before the snapshot, without which it counts for nothing."""
        with as_store_error(f"cannot move the journal of {self._at}"):
            self._exchange_journal(self._write_beside(beside(self._home, ".journal"), self._journal_from(cut)))
            disk.sync_directory(self._home.parent)

    def _put_in_place(self, new: Path, sequence: int) -> None:
        with as_store_error(f"cannot write {self._home}"), disk.removed_on_error(new):
            disk.put_in_place(new, self._home, beside(self._home, ".json.prev"), self._at)
        self._staged.discard(new)
        self._snapshot = sequence

    def _journal_from(self, offset: int) -> Iterator[bytes]:
        """The segments from *offset* on, in pieces."""
        if self._end is None:
            self._read_journal()
        end = self._end or 0
        if offset < end:
            with open(os.open(beside(self._at, ".journal"), disk.READ), "rb", buffering=0) as file:
                file.seek(offset)
                while offset < end and (piece := file.read(min(_PIECE, end - offset))):
                    yield piece
                    offset += len(piece)
            if offset < end:
                raise OSError("it is shorter than it was; somebody else wrote to it or removed it")

    def _exchange_journal(self, new: Path) -> None:
        """Put *new* in the journal's place, and keep that.

        The next append syncs the directory before it adds to the new one. Until then the old one would do as well.
        """
        disk.keep(beside(self._at, ".journal"), beside(self._home, ".journal.prev"))
        os.replace(new, beside(self._home, ".journal"))
        self._staged.discard(new)

    def _begin_journal_at(self, cut: int) -> None:
        self._end = (self._end or 0) - cut
        ends = [(number, end - cut) for number, end in self._ends if end > cut]
        self._ends = deque(ends, _REMEMBERED)

    def _drop_staged(self) -> None:
        for path in self._staged:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _remove(path: Path) -> bool:
    """Remove a checkpoint, and what lies beside it but its lock; whether it was there.

    The checkpoint goes first, for good: what is left without it counts for nothing, but it without its journal, as a
    power cut might leave it, would be taken for an older save.
    """
    found = disk.unlink(path)
    if found:
        disk.sync_directory(path.parent)
    for suffix in _BESIDE:
        disk.unlink(beside(path, suffix))
    return found


@contextlib.contextmanager
def as_store_error(what: str) -> Iterator[None]:
    """Turn an OSError of the block into a StoreError that begins with *what*."""
    try:
        yield
    except OSError as error:
        raise _store_error(what, error) from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StoreError that names the file it is about, else *path*."""
    try:
        yield
    except OSError as error:
        raise _store_error(f"cannot read {error.filename or path}", error) from error


def _store_error(what: str, error: OSError) -> StoreError:
    return StoreError(f"{what}: {error.strerror or error}. What was saved before still stands.")
