"""Files whose acknowledged content survives a crash at any moment: replaced as a whole, or appended to.

A new file is written and synced beside the old one, then takes its name; the directory is synced before the write is
acknowledged. A failed fsync is never repeated on the same file, because the kernel may have dropped the pages
(fsyncgate, 2018): every attempt writes a new file.

A file for appending is preallocated: after growing, ``fdatasync`` must also write the new length, which takes longer
than the bytes of a small save. So saves overwrite space that was filled and synced before, as SQLite's write-ahead log
does (https://sqlite.org/wal.html). The filler byte occurs in no UTF-8 text, and differs from the zeros of lost blocks.
The space is cut off when the file is closed; a killed run leaves it there.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path

# Never follow a link planted under the name, and never block on a pipe.
_SAFELY = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
READ = os.O_RDONLY | _SAFELY
WRITE = os.O_WRONLY | _SAFELY
_TEMPORARY = r"(?s)(.+)\.[0-9a-f]{8}\.tmp"
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""System errors of file systems that cannot sync a directory."""
_IN_USE = frozenset({5, 32, 33})
"""Windows: access denied, sharing violation, lock violation."""
_PATIENCE_SECONDS = 2.0
_log = logging.getLogger("resumable")
_PIECE = 1 << 20
_SYNC_FILE_RANGE_WRITE = 2
_AT_CWD, _RENAME_EXCHANGE = -100, 2  # man 2 renameat2
LARGEST = 6 << 30
"""Larger files cannot be checkpoints (4 GiB, and that in base64); reading a sparse one would fill the memory."""
ROOM = b"\xff"
"""The byte that fills preallocated space."""
_LEAST_ROOM = 1 << 16
_MOST_ROOM = 1 << 20
_SAVES_AHEAD = 48

# -- replace


def replace(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace *path* by *chunks*. If the disk fails, raises OSError, and *path* is unchanged."""
    temporary = temporary_for(path)
    with removed_on_error(temporary):
        write_new(temporary, chunks)
        os.replace(temporary, path)
    sync_directory(path.parent)


def put_in_place(new: Path, path: Path, kept: Path, old: Path) -> None:
    """Rename *new*, which was synced, to *path*; the content of *old* is kept as *kept*.

    If it raises OSError, *path* is either unchanged or *new*.
    """
    if os.path.isdir(kept):
        raise IsADirectoryError(errno.EISDIR, "there is a directory in its place", str(kept))
    spare = temporary_for(kept)
    try:
        with contextlib.suppress(FileNotFoundError):
            _link_or_copy(old, spare)
        rename(new, path)
        # Not earlier: a kill before this leaves an older file as *kept*, never the current one under two names.
        with contextlib.suppress(FileNotFoundError):
            rename(spare, kept)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(spare)
    sync_directory(path.parent)


def rename(path: Path, to: Path) -> None:
    """Rename *path* to *to*, replacing what was there."""
    patiently(lambda: os.replace(path, to))


def patiently(work: Callable[[], object]) -> None:
    """Call *work*, with retries on Windows: a scanner, an indexer or a reader may have the file open for a moment."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            work()
            return
        except OSError as error:
            if getattr(error, "winerror", None) not in _IN_USE or time.monotonic() > until:
                raise
        time.sleep(0.02)


@contextlib.contextmanager
def removed_on_error(path: Path) -> Iterator[None]:
    """Remove *path*, if it exists, when the block raises."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def temporary_for(path: Path) -> Path:
    """A unique name beside *path*, because a rename is atomic only within one file system."""
    return path.with_name(f"{path.name}.{os.urandom(4).hex()}.tmp")


def remove_leftovers(directory: Path, names: Container[str]) -> list[str]:
    """Remove what killed writers of these files have left. Nobody may be writing them now.

    Returns the names that were in *directory*; none if it cannot be read.
    """
    found: list[str] = []
    with contextlib.suppress(OSError):
        found = os.listdir(directory)
        for name in found:
            match = re.fullmatch(_TEMPORARY, name)
            if match is not None and match.group(1) in names:
                unlink(directory / name)
    return found


def make_directory(directory: Path) -> None:
    """Create *directory* and its missing parents, synced. Does nothing if something is there."""
    if os.path.lexists(directory):
        return
    make_directory(directory.parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory)
        sync_directory(directory.parent)


def write_new(path: Path, chunks: Iterable[bytes]) -> None:
    """Create *path*, which must not exist, with mode 0600, and sync it."""
    descriptor = os.open(path, WRITE | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        written = 0
        for piece in _gather(chunks):
            write_all(descriptor, piece)
            if len(piece) >= _PIECE:
                begin_sync(descriptor, written, len(piece))
            written += len(piece)
        sync(descriptor)
    finally:
        os.close(descriptor)


def _gather(chunks: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """The bytes of *chunks* in pieces worth a system call each; large ones are not copied."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        is_large = len(chunk) >= _PIECE
        size += len(chunk)
        waiting += [] if is_large else [chunk]
        if size >= _PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
        if is_large:
            yield from (memoryview(chunk)[start : start + _PIECE] for start in range(0, len(chunk), _PIECE))
    yield b"".join(waiting)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of *data*; the system may accept less at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def keep(path: Path, kept: Path) -> None:
    """Give the file *path* the second name *kept*, replacing what was there. Does nothing without *path*."""
    spare = temporary_for(kept)
    try:
        with contextlib.suppress(FileNotFoundError):
            _link_or_copy(path, spare)
            rename(spare, kept)
    finally:
        # A rename between two names of one file does nothing, and leaves both.
        with contextlib.suppress(OSError):
            os.unlink(spare)


def _link_or_copy(path: Path, spare: Path) -> None:
    try:
        os.link(path, spare, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except (OSError, NotImplementedError):  # a file system without hard links
        if (data := read(path)) is not None:
            write_new(spare, [data])


# -- sync


_replaced: list[Callable[[int], object]] = []  # the values of `sync_data` before each block without syncs


@contextlib.contextmanager
def without_syncs() -> Iterator[None]:
    """Inside the block, nothing waits for the disk: for checkpoints that need not survive a crash of the machine."""
    global sync_data
    _replaced.append(sync_data)
    sync_data = sync
    try:
        yield
    finally:
        sync_data = _replaced.pop()


def sync(descriptor: int) -> None:
    """Sync a file to the disk."""
    if _replaced:
        return
    if sys.platform == "darwin":
        import fcntl

        # On macOS, fsync stops at the drive's cache (man 2 fsync).
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


sync_data: Callable[[int], object] = os.fdatasync if sys.platform == "linux" else sync
"""Syncs a file's content and length; nothing else, if the system can separate these."""


def begin_sync(descriptor: int, offset: int, length: int) -> None:
    """Make the system start to write these bytes, if it can, so that the next sync is shorter."""
    begin = _of_system("sync_file_range", "int", "int64", "int64", "uint")
    if begin is not None and not _replaced:
        begin(descriptor, offset, length, _SYNC_FILE_RANGE_WRITE)


def exchange(path: Path, other: Path) -> bool:
    """Exchange two names atomically, whatever they name. False if the system cannot; then nothing was done."""
    call = _of_system("renameat2", "int", "char_p", "int", "char_p", "uint")
    return call is not None and call(_AT_CWD, os.fsencode(path), _AT_CWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


@functools.cache
def _of_system(name: str, *kinds: str) -> Callable[..., int] | None:
    """A function of Linux that Python does not have (man 2), with arguments of these *kinds*; None elsewhere."""
    try:
        import ctypes

        function: Callable[..., int] = getattr(ctypes.CDLL(None, use_errno=True), name)
        function.argtypes = [getattr(ctypes, f"c_{kind}") for kind in kinds]  # type: ignore[attr-defined]
    except (ImportError, OSError, AttributeError, TypeError):
        return None
    return function


def sync_directory(directory: Path) -> None:
    """Sync the names that were created or changed in *directory*."""
    if sys.platform == "win32" or _replaced:
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
        _say_unsynced(str(directory))
    finally:
        os.close(descriptor)


@functools.cache
def _say_unsynced(directory: str) -> None:
    _log.warning("the file system of %s cannot sync directories; a power cut may lose the newest save", directory)


# -- reserve

_LAST_STANDARD = 2
_reserved: int | None = None


def reserve() -> None:
    """Prepare this process for files that stay open.

    Standard streams that were closed are opened to nowhere: otherwise a file would get their number, and the next
    ``print`` would go into it. One more descriptor is kept until :func:`spend_reserve`.
    """
    global _reserved
    if _reserved is None:
        with contextlib.suppress(OSError):  # all descriptors are in use, or there is no such device
            while (descriptor := os.open(os.devnull, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))) <= _LAST_STANDARD:
                os.set_inheritable(descriptor, True)  # a new file gets the lowest free number
            _reserved = descriptor


def spend_reserve() -> None:
    """Let the last save of an operation open its files, even if the program has used up all descriptors."""
    global _reserved
    descriptor, _reserved = _reserved, None
    if descriptor is not None:
        with contextlib.suppress(OSError):  # the program has closed all that it did not know
            os.close(descriptor)


# -- read and examine


def read(path: Path, limit: int = -1) -> bytes | None:
    """The content of a regular file (its first *limit* bytes); None if there is no file.

    Raises OSError if it cannot be read, is not a regular file (links are not followed), or is too large for a
    checkpoint.
    """
    descriptor = _opened(path)
    if descriptor is None:
        return None
    with open(descriptor, "rb", buffering=0) as file:
        return file.read(limit)


def read_together(path: Path, other: Path) -> tuple[bytes | None, bytes | None]:
    """The contents of both while *path* is not replaced; None for a missing file. Raises what :func:`read` raises."""
    while (descriptor := _opened(path)) is not None:
        with open(descriptor, "rb", buffering=0) as file:
            found = file.read(), read(other)
            while b"\0" in without_room(found[1] or b"") and found[1] != (again := read(other)):
                found = found[0], again  # a save was being written, or space preallocated
            # While it is open, no other file gets its inode.
            status = _status(path)
            if status is not None and os.path.samestat(status, os.fstat(descriptor)):
                return found
    return None, None


def _opened(path: Path) -> int | None:
    """A descriptor of the regular file *path*; None if there is no file."""
    try:
        descriptor = os.open(path, READ)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, and links are not followed", str(path)) from None
        raise
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST:
        return descriptor
    os.close(descriptor)
    if stat.S_ISREG(status.st_mode):
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST >> 30} GiB", str(path))
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def _status(path: Path) -> os.stat_result | None:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path, follow_symlinks=False)
    return None


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file *path*; None if there is none."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def is_irregular(path: Path) -> bool:
    """Whether *path* is a directory, a link, a pipe or the like, which is never read as a checkpoint."""
    status = _status(path)
    return status is not None and not stat.S_ISREG(status.st_mode)


def unlink(path: Path) -> bool:
    """Remove a file. Returns whether it was there."""
    with contextlib.suppress(FileNotFoundError):
        patiently(lambda: os.unlink(path))
        return True
    return False


def stamp(path: Path) -> tuple[int, int, int] | None:
    """A value that changes with every write to *path*; None if there is no file."""
    status = _status(path)
    return None if status is None else (status.st_ino, status.st_mtime_ns, status.st_size)


# -- append


class JournalFile:
    """A journal that is open at *end*; anything after that is cut off.

    Raises:
        OSError: It cannot be opened, or is shorter than *end*.
    """

    def __init__(self, path: Path, end: int) -> None:
        self.path = path
        self.end = end
        self._room_ends = end
        self._owner_pid = os.getpid()
        self._descriptor = os.open(path, WRITE | os.O_CREAT, 0o600)
        try:
            size = os.fstat(self._descriptor).st_size
            if size < end:
                raise OSError("it is shorter than it was; another program wrote to it or removed it")
            if size > end:
                # otherwise a power cut might mix the next writes with what was cut off
                os.ftruncate(self._descriptor, end)
                sync_data(self._descriptor)
            os.lseek(self._descriptor, end, os.SEEK_SET)
            sync_directory(path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def is_in_place(self) -> bool:
        """Whether the file still has its name, and nobody else has written to it."""
        status = os.fstat(self._descriptor)
        size = self._room_ends if self._room_ends < sys.maxsize else self.end
        return (status.st_dev, status.st_ino) == identity(self.path) and status.st_size == size

    def append(self, data: bytes, meanwhile: Callable[[], None] | None = None) -> None:
        """Add *data*; it is safe on the disk when this returns.

        Args:
            meanwhile: Called while the disk writes.

        Raises:
            OSError: That failed; nothing was added, and the journal is closed. So it is if *meanwhile* raises.
        """
        end = self.end + len(data)
        try:
            write_all(self._descriptor, data)
            if end >= self._room_ends:
                self._make_room(end, len(data))
            if meanwhile is not None:
                begin_sync(self._descriptor, self.end, len(data))
                meanwhile()
            sync_data(self._descriptor)
        except BaseException:
            # A failed write may be readable although it never reached the disk: the next run must not continue from it.
            self._room_ends = end
            self.close()
            raise
        self.end = end

    def close(self) -> None:
        """Cut off the preallocated space and close. Does nothing in a forked child, because the parent goes on."""
        with contextlib.suppress(OSError):
            if self._room_ends > self.end and os.getpid() == self._owner_pid:
                os.ftruncate(self._descriptor, self.end)
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _make_room(self, end: int, length: int) -> None:
        room = min(max(_SAVES_AHEAD * length, _LEAST_ROOM), _MOST_ROOM)
        self._room_ends = end + room
        try:
            write_all(self._descriptor, ROOM * room)
        except OSError:  # a full disk: leave the rest to others, and to the saves themselves
            os.ftruncate(self._descriptor, end)
            self._room_ends = sys.maxsize
        os.lseek(self._descriptor, end, os.SEEK_SET)


def without_room(raw: bytes) -> bytes:
    """A journal as read, without preallocated space; space inside a save that was cut off becomes zeros."""
    return raw.rstrip(ROOM).replace(ROOM, b"\0")
