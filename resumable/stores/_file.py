"""Checkpoints as JSON files in a directory, and the order in which an operation's files are written."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import NoReturn, cast

from .._errors import CheckpointBusyError, StaleCheckpointError, StoreError
from .._runtime import disk, paths
from .._runtime.disk import JournalFile, without_room
from . import _lock
from ._artifact_files import ArtifactFiles
from ._base import Entry, Holder, Meanwhile, OwnedLease, Stored, Traits
from ._names import Files, files_at, files_of, is_of, listed
from ._wish_files import WishFiles

_REMEMBERED = 4096
"""Remember the ends of this many segments of the journal. A snapshot staged for longer keeps all segments."""
_PIECE = 1 << 20
_Hold = Callable[[Path, str, Holder], AbstractContextManager[int]]


class FileStore:
    """One file for each checkpoint, ``.checkpoint_{id}.json``, replaced whole or not at all.

    Beside it, as needed: ``.json.prev`` (the previous checkpoint), ``.journal`` (saves since the snapshot),
    ``.journal.prev`` (those of the previous checkpoint), ``.files/`` (artifacts), ``.ask`` (a wish), ``.lock``. If an
    id is too long for a file name, or a character had to be replaced, a short hash is appended. A checkpoint that an
    older release or another tool left under another name is found there; the first save moves it.

    Example:
        >>> with checkpointed("job", store=FileStore("checkpoints")) as cp:
        ...     cp.tick()

    Args:
        directory: Where they lie; made at the first claim. A leading ``~`` is the home folder. The path is made
            absolute: it does not follow ``os.chdir``.
        lease: Seconds that a silent owner keeps its operation, where files cannot be locked.
    """

    traits: Traits = Traits(keeps_artifacts=True, looks_every=1.0)

    def __init__(self, directory: str | os.PathLike[str], *, lease: float = 30.0, _hold: _Hold = _lock.holding) -> None:
        self.directory: Path = paths.absolute(directory)
        self._lease, self._hold = lease, _hold

    def __repr__(self) -> str:
        return f"FileStore({str(self.directory)!r})"

    def locate(self, key: str) -> Path:
        """Where the checkpoint of *key* lies, or would lie."""
        return self._found(key).snapshot

    def _found(self, key: str) -> Files:
        home, *others = files_of(self.directory, key)
        with _failing(f"cannot look into {self.directory}"):
            return home if disk.stamp(home.snapshot) is not None else next(_under_older_names(others, key), home)

    def claim(self, key: str, me: Holder, *, ttl: float | None = None, take_over: bool = False) -> FileLease:
        """Own *key* until the release, or the end of this process: the operating system holds the lock.

        Where files cannot be locked, *ttl* and *take_over* apply to a lease file; otherwise they are not used.

        Raises:
            CheckpointBusyError: Another owner has it. Names the owner.
            StoreError: The directory cannot be used.
        """
        home, *others = files_of(self.directory, key)
        with contextlib.ExitStack() as locks:
            try:
                disk.make_directory(self.directory)
                term = locks.enter_context(self._hold(home.lock, key, me))
                older = [*_under_older_names(others, key)]
                at = older[0] if older and disk.stamp(home.snapshot) is None else home
                for files in older:  # a process of an older release may be working there
                    locks.enter_context(self._hold(files.lock, key, me))
                lying = disk.remove_leftovers(self.directory, {*map(os.path.basename, chain(home, *older))})
            except _lock.NoLocksError:
                from ._unlocked import WithoutLocks

                without = WithoutLocks(ttl or self._lease, take_over=take_over)
                return cast("FileLease", without.lease(FileStore(self.directory, _hold=without.holding).claim(key, me)))
            except OSError as error:
                raise _store_error(f"cannot use {self.directory}", error) from error
            has_artifacts = any(one.artifacts.name in lying for one in (home, *older))
            return FileLease(key, home, older, at, term, locks.pop_all(), has_artifacts=has_artifacts)

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """One consistent state of *key*, None if there is none, even while others write it.

        *previous* returns the previous snapshot with its segments instead.
        """
        while True:
            files = self._found(key)
            path = files.previous if previous else files.snapshot
            try:
                snapshot, journal = disk.read_together(path, files.previous_journal if previous else files.journal)
            except OSError as error:
                raise _cannot_read(path, error) from error
            if self._found(key) == files:  # else its first save here has just moved it
                return None if snapshot is None else Stored(snapshot, without_room(journal or b""), path)

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern* (see :mod:`fnmatch`), sorted by file name."""
        for key, path in listed(self.directory, pattern).items():
            with contextlib.suppress(OSError):
                lock, size = files_at(path).lock, os.stat(path, follow_symlinks=False).st_size
                yield Entry(key, path, b"", size, _lock.told_by(lock).term, _lock.holder_of(lock), None)

    def read_artifact(self, key: str, name: str) -> Iterator[bytes]:
        """The bytes of an artifact, in pieces. See :meth:`ArtifactStore.read_artifact`."""
        with _failing(f"cannot read the artifact {name} of {key!r}"):
            yield from self._artifacts(key).read(name)

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and size of each artifact of *key*, in any order."""
        with _failing(f"cannot list the artifacts of {key!r}"):
            yield from self._artifacts(key).list()

    def _artifacts(self, key: str) -> ArtifactFiles:
        return ArtifactFiles([files.artifacts for files in files_of(self.directory, key)])

    @cached_property
    def _wishes(self) -> WishFiles:
        return WishFiles(self.directory)

    def wish(self, key: str) -> bytes | None:
        """The wish for *key*; None if there is none."""
        return self._wishes.get(key)

    def put_wish(self, key: str, wish: bytes) -> None:
        """Replace the wish for *key*. See :meth:`WishStore.put_wish`."""
        self._wishes.put(key, wish)

    def clear_wish(self, key: str, wish: bytes) -> None:
        """Remove *wish*, unless another has replaced it."""
        self._wishes.clear(key, wish)

    def describe(self, key: str | None = None) -> Path:
        """Where the checkpoint of *key* lies, or would lie; the directory without a *key*."""
        return self.directory if key is None else self.locate(key)

    def close(self) -> None:
        """Do nothing: no file is open outside of a lease."""


class FileLease(OwnedLease):
    """See :class:`~resumable.stores.Lease`. Made by :meth:`FileStore.claim`.

    Args:
        home: Where to write snapshots.
        older: Checkpoints of the operation under older names; removed after a snapshot is written at *home*.
        at: Where the last snapshot lies: at *home* or one of the older places.
        locks: Held until the release.
        has_artifacts: Whether the operation has a directory of artifacts.

    Attributes:
        owner_before: The owner before this one, as far as its lock tells.
    """

    next: int

    def __init__(
        self,
        key: str,
        home: Files,
        older: Sequence[Files],
        at: Files,
        term: int,
        locks: contextlib.ExitStack,
        *,
        has_artifacts: bool = False,
    ) -> None:
        # Numbers rise even over a delete, after which no file knows the last one.
        super().__init__(key, term, first=time.time_ns() // 1_000_000)
        self._home = home
        self._older, self._places = [*older], (home, *older)
        self._at = at
        self._locks = locks
        self._journal: JournalFile | None = None
        self._end: int | None = None
        self._ends: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._snapshot = -1
        self._staged: set[Path] = set()
        self.has_artifacts: bool = has_artifacts
        self.owner_before: Holder | None = _lock.owner_before(home.lock)
        try:
            self._seen = {path: disk.identity(path) for path in (home.lock, at.snapshot)}
        except OSError as error:
            raise _store_error(f"cannot look at {home.lock}", error) from error

    def read(self) -> Stored | None:
        """What is stored; None if nothing is. The next append continues the journal that this returns."""
        path = self._at.snapshot
        try:
            snapshot, journal = disk.read(path), self._read_journal()
        except OSError as error:
            raise _cannot_read(path, error) from error
        return None if snapshot is None else Stored(snapshot, journal, path)

    def delete(self) -> bool:
        """Remove the checkpoint and all files beside it. Returns whether there was one."""
        self._check()
        self._look_again(self._home.lock)
        self._close_journal()
        self._drop_staged()
        with _failing(f"cannot delete {self._at.snapshot}"):
            try:
                found = [files.remove() for files in (*self._older, self._home)]
                if self.has_artifacts:
                    self._artifacts.keep(())
                    self.has_artifacts = False
            finally:
                for files in (self._at, self._home):
                    self._seen[files.snapshot] = disk.identity(files.snapshot)
        self._at, self._older, self._last = self._home, [], None
        self._begin_journal()
        return any(found)

    def release(self) -> None:
        """Release the operation. Never raises."""
        if not self._lets_go():
            return
        self._close_journal()
        self._drop_staged()
        for files in self._places:
            with contextlib.suppress(OSError):
                if disk.stamp(files.snapshot) is None:
                    os.unlink(files.lock)
        with contextlib.suppress(Exception):
            self._locks.close()

    # -- artifacts

    @cached_property
    def _artifacts(self) -> ArtifactFiles:
        return ArtifactFiles([files.artifacts for files in self._places])

    def put_artifact(self, name: str, pieces: Iterable[bytes]) -> None:
        """Store *pieces* as the artifact *name*. See :meth:`ArtifactLease.put_artifact`."""
        with self._writing_artifact(name):
            self._artifacts.put(name, pieces)

    def artifact_place(self, name: str) -> Path | None:
        """The directory for the artifact *name*; None if it was put as bytes."""
        with self._writing_artifact(name):
            return self._artifacts.place(name)

    def seal_artifact(self, name: str) -> None:
        """Sync to the disk what was written at :meth:`artifact_place`."""
        with self._writing_artifact(name):
            self._artifacts.seal(name)

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts except those with these *names*."""
        self._check()
        with _failing(f"cannot remove artifacts of {self._key!r}"):
            self._artifacts.keep(names)

    @contextlib.contextmanager
    def _writing_artifact(self, name: str) -> Iterator[None]:
        self._check()
        self.has_artifacts = True
        with _failing(f"cannot write the artifact {name} of {self._key!r}"):
            yield

    # -- the journal

    def append(self, sequence: int, data: bytes, summary: bytes = b"", meanwhile: Meanwhile = None) -> None:
        """Add *data* to the journal as save *sequence*. See :meth:`Lease.append`."""
        # Check further only if something is wrong: most appends have the next number, in the process that owns the
        # lease.
        if (sequence < self.next or os.getpid() != self._owner_pid) and self._stands(sequence, data):
            return
        self._look_again(self._home.lock, self._at.snapshot)
        self.next = sequence + 1
        journal = self._journal
        try:
            if journal is not None and not journal.is_in_place:
                self._is_gone(journal.path)
            if journal is None:
                journal = self._journal = JournalFile(self._at.journal, self._known_end())
            if not self._ends:  # all existing segments have lower numbers
                self._ends.append((sequence - 1, self._known_end()))
            journal.append(data, meanwhile)
        except BaseException as error:
            self._journal = self._last = None
            if isinstance(error, OSError):
                raise _store_error(f"cannot append to {self._at.journal}", error) from error
            raise
        self._end = journal.end
        self._ends.append((sequence, journal.end))
        self._last = (sequence, data)

    def _look_again(self, *paths: Path) -> None:
        """Check that these are still the files that this run has written or locked.

        Raises:
            StaleCheckpointError: The lock file was removed, and another process holds the new one.
            StoreError: A file was removed or replaced.
        """
        try:
            for path in paths:
                if disk.identity(path) != self._seen[path]:
                    self._is_another(path)
        except OSError as error:
            raise _store_error(f"cannot look at {self._at.snapshot} and its lock", error) from error

    def _is_another(self, path: Path) -> None:
        if path != self._home.lock:
            self._is_gone(path)
        if _lock.told_by(path).term > self.term:
            raise StaleCheckpointError(self._key)
        try:
            self._locks.enter_context(_lock.holding(path, self._key, Holder.me()))
        except CheckpointBusyError:
            raise StaleCheckpointError(self._key) from None
        except _lock.NoLocksError:
            pass  # a lease file knows the owner
        self._seen[path] = disk.identity(path)
        if disk.identity(self._at.snapshot) not in (None, self._seen[self._at.snapshot]):
            self._is_gone(self._at.snapshot)  # another process may have worked here meanwhile

    def _is_gone(self, path: Path) -> NoReturn:
        """Raise: the file is no longer where this run saved it. The next save writes everything."""
        self._close_journal()
        self._seen[self._at.snapshot] = disk.identity(self._at.snapshot)
        raise StoreError(
            f"another program removed or replaced {path} while this run wrote to it. The next save writes everything "
            "anew; what is in memory is not lost."
        )

    def _known_end(self) -> int:
        if self._end is None:
            self._read_journal()
        return self._end or 0

    def _read_journal(self) -> bytes:
        journal = disk.read(self._at.journal) or b""
        if disk.ROOM in journal:
            journal = without_room(journal)
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
        path = self._home.snapshot
        with _failing(f"cannot write {path}"):
            disk.make_directory(path.parent)
            return partial(self._commit, self._write_beside(path, pieces), sequence)

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
        self._look_again(self._home.lock)
        if self._at != self._home and self.has_artifacts:
            with _failing(f"cannot move the artifacts of {self._key!r}"):
                self._artifacts.bring_home()
        if sequence < self.next:
            self._compact(new, sequence)
        else:
            self._replace(new, sequence)
        self._at = self._home
        with contextlib.suppress(OSError):
            while self._older:
                self._older[-1].remove_what_was_moved()
                self._older.pop()

    def _replace(self, new: Path, sequence: int) -> None:
        self.next, self._last = sequence + 1, None
        self._put_in_place(new, sequence)
        self._close_journal()
        with _failing(f"cannot rename {self._at.journal}"):
            try:
                os.replace(self._at.journal, self._home.previous_journal)
            except FileNotFoundError:
                disk.unlink(self._home.previous_journal)
        self._begin_journal()

    def _compact(self, new: Path, sequence: int) -> None:
        cut = next((end for number, end in reversed(self._ends) if number <= sequence), 0)
        if self._at != self._home:
            self._move_journal(cut)
            self._put_in_place(new, sequence)
            self._close_journal()
            self._begin_journal_at(cut)
            return
        journal = None
        # A failure here costs nothing: the journal may keep segments that the snapshot contains.
        with contextlib.suppress(OSError):
            journal = self._write_beside(self._home.journal, self._journal_from(cut))
        self._put_in_place(new, sequence)
        if journal is not None:
            with contextlib.suppress(OSError):
                self._close_journal()
                self._exchange_journal(journal)
                self._begin_journal_at(cut)

    def _move_journal(self, cut: int) -> None:
        """Move the journal from *cut* on to *home*, before the snapshot, without which it counts for nothing."""
        with _failing(f"cannot move the journal of {self._at.snapshot}"):
            self._exchange_journal(self._write_beside(self._home.journal, self._journal_from(cut)))
            disk.sync_directory(self._home.journal.parent)

    def _put_in_place(self, new: Path, sequence: int) -> None:
        with _failing(f"cannot write {self._home.snapshot}"), disk.removed_on_error(new):
            disk.put_in_place(new, self._home.snapshot, self._home.previous, self._at.snapshot)
            self._seen[self._home.snapshot] = disk.identity(self._home.snapshot)
        self._staged.discard(new)
        self._snapshot = sequence

    def _journal_from(self, offset: int) -> Iterator[bytes]:
        """The segments from *offset* on, in pieces."""
        end = self._known_end()
        if offset < end:
            with open(os.open(self._at.journal, disk.READ), "rb", buffering=0) as file:
                file.seek(offset)
                while offset < end and (piece := file.read(min(_PIECE, end - offset))):
                    yield piece
                    offset += len(piece)
            if offset < end:
                raise OSError("it is shorter than it was; another program wrote to it or removed it")

    def _exchange_journal(self, new: Path) -> None:
        """Replace the journal by *new*, and keep that open.

        The next append syncs the directory before it adds to the new journal. Until then, the old one would suffice.
        """
        disk.keep(self._at.journal, self._home.previous_journal)
        os.replace(new, self._home.journal)
        self._staged.discard(new)

    def _begin_journal_at(self, cut: int) -> None:
        self._end = (self._end or 0) - cut
        self._ends = deque(((number, end - cut) for number, end in self._ends if end > cut), _REMEMBERED)

    def _drop_staged(self) -> None:
        for path in self._staged:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _under_older_names(places: Iterable[Files], key: str) -> Iterator[Files]:
    """Those of *places* where there is a checkpoint of *key*.

    Raises:
        OSError: They cannot be checked. They must not count as missing, or the operation would begin anew.
    """
    for files in places:
        path = files.snapshot
        if disk.stamp(path) is not None and not disk.is_irregular(path) and is_of(path, key):
            yield files


@contextlib.contextmanager
def _failing(what: str) -> Iterator[None]:
    """Turn an OSError of the block into a StoreError that begins with *what*."""
    try:
        yield
    except OSError as error:
        raise _store_error(what, error) from error


def _cannot_read(path: Path, error: OSError) -> StoreError:
    return _store_error(f"cannot read {error.filename or path}", error)


def _store_error(what: str, error: OSError) -> StoreError:
    return StoreError(f"{what}: {error.strerror or error}. What was saved before still stands.")
