"""Files that hold what was acknowledged, whatever dies when: replaced whole, or added to.

A new file is written through to the disk beside the old one, and then takes its name; the directory is synced before
the write is acknowledged. A failed fsync is never tried again on the same file, because the kernel may have dropped the
pages (fsyncgate, 2018): every attempt writes a new file.

A file that is added to has room made ahead: ``fdatasync`` of a file that has grown brings its new length through as
well, which takes longer than the bytes of a small save do. So the saves overwrite room that was filled and synced
before, as they do in SQLite's write-ahead log (https://sqlite.org/wal.html). What fills it is in no UTF-8 text, and is
not what lost blocks read as. It is cut off when the file is closed; a run that is killed leaves it there.
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

# A link planted under the name is not followed, and a pipe must not block us for ever.
_SAFELY = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
READ = os.O_RDONLY | _SAFELY
WRITE = os.O_WRONLY | _SAFELY
_TEMPORARY = r"(?s)(.+)\.[0-9a-f]{8}\.tmp"
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems answer that cannot sync a directory."""
_IN_USE = frozenset({5, 32, 33})
"""Windows: access denied, sharing violation, lock violation."""
_PATIENCE_SECONDS = 2.0
_log = logging.getLogger("resumable")
_PIECE = 1 << 20
_SYNC_FILE_RANGE_WRITE = 2
_AT_CWD, _RENAME_EXCHANGE = -100, 2  # man 2 renameat2
LARGEST = 6 << 30
"""More is no file of ours (4 GiB, and that in base64); a sparse one of terabytes would take all memory."""
ROOM = b"\xff"
"""What fills a file that is added to."""
_LEAST_ROOM = 1 << 16
_MOST_ROOM = 1 << 20
_SAVES_AHEAD = 48

# -- replaced whole ---------------------------------------------------------------------------------------------------


def replace(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace *path* by *chunks*. Raises OSError if the medium fails; *path* is as it was then."""
    temporary = temporary_for(path)
    with removed_on_error(temporary):
        write_new(temporary, chunks)
        os.replace(temporary, path)
    sync_directory(path.parent)


def put_in_place(new: Path, path: Path, kept: Path, old: Path) -> None:
    """Have *new*, which was written through to the disk, take the name *path*; what *old* holds is kept as *kept*.

    If it raises OSError, *path* is what it was or *new*.
    """
    if os.path.isdir(kept):
        raise IsADirectoryError(errno.EISDIR, "there is a directory in its place", str(kept))
    spare = temporary_for(kept)
    try:
        with contextlib.suppress(FileNotFoundError):
            _link_or_copy(old, spare)
        rename(new, path)
        # Only now: a kill before this leaves an older file as *kept*, and never the current one under two names.
        with contextlib.suppress(FileNotFoundError):
            rename(spare, kept)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(spare)
    sync_directory(path.parent)


def rename(path: Path, to: Path) -> None:
    """Give *path* the name *to*, in place of what had it."""
    patiently(lambda: os.replace(path, to))


def patiently(work: Callable[[], object]) -> None:
    """Do *work*. Windows refuses it for a moment while a scanner, an indexer or a reader has the file open."""
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
    """Remove *path*, if it is there, should the block fail."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def temporary_for(path: Path) -> Path:
    """A name beside *path* that nobody else has: a rename is atomic only within one file system."""
    return path.with_name(f"{path.name}.{os.urandom(4).hex()}.tmp")


def remove_leftovers(directory: Path, names: Container[str]) -> list[str]:
    """Remove what writers of these files left behind when they were killed. Nobody may be writing them now.

    Returns what was in *directory*; nothing if it cannot be looked into.
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
    """Make *directory* and what is missing above it, through to the disk. Does nothing if something is there."""
    if os.path.lexists(directory):
        return
    make_directory(directory.parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory)
        sync_directory(directory.parent)


def write_new(path: Path, chunks: Iterable[bytes]) -> None:
    """Make *path*, which must not exist, with mode 0600, and bring it through to the disk."""
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
    """Write *data* to the end of it; the system may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def keep(path: Path, kept: Path) -> None:
    """Give what *path* holds the name *kept* as well, replacing what that held. Does nothing if there is no *path*."""
    spare = temporary_for(kept)
    try:
        with contextlib.suppress(FileNotFoundError):
            _link_or_copy(path, spare)
            rename(spare, kept)
    finally:
        # A rename between two names of one file does nothing and leaves both.
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


# -- through to the disk ----------------------------------------------------------------------------------------------


_replaced: list[Callable[[int], object]] = []  # what `sync_data` was before each block without syncs


@contextlib.contextmanager
def without_syncs() -> Iterator[None]:
    """While in the block, nothing waits for the disk: for checkpoints that need not outlive the machine."""
    global sync_data
    _replaced.append(sync_data)
    sync_data = sync
    try:
        yield
    finally:
        sync_data = _replaced.pop()


def sync(descriptor: int) -> None:
    """Bring a file through to the disk."""
    if _replaced:
        return
    if sys.platform == "darwin":
        import fcntl

        # fsync there stops at the drive's cache (man 2 fsync).
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


sync_data: Callable[[int], object] = os.fdatasync if sys.platform == "linux" else sync
"""Brings a file's contents and length through to the disk, and no more, where the system tells them apart."""


def begin_sync(descriptor: int, offset: int, length: int) -> None:
    """Have the system begin to write these bytes, where it can: the sync that follows has less to wait for."""
    begin = _of_system("sync_file_range", "int", "int64", "int64", "uint")
    if begin is not None and not _replaced:
        begin(descriptor, offset, length, _SYNC_FILE_RANGE_WRITE)


def exchange(path: Path, other: Path) -> bool:
    """Exchange two names at once, whatever they name; False if the system cannot, and nothing was done."""
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
    """Bring names that were made or changed in *directory* through to the disk."""
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
    _log.warning("the file system of %s cannot sync a directory: a power cut may lose the newest save", directory)


# -- owned ------------------------------------------------------------------------------------------------------------


_owned: dict[int, tuple[int, int]] = {}
"""Device and inode of each file that this process owns, by descriptor."""


def own(descriptor: int) -> None:
    """Own an open file against other writers that ask, of this process and of others, until :func:`disown`.

    Raises:
        BlockingIOError: Somebody else does.
    """
    status = os.fstat(descriptor)
    identity = (status.st_dev, status.st_ino)
    if identity in _owned.values():
        raise BlockingIOError(errno.EAGAIN, "this process writes it already")
    with contextlib.suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:  # no locks there: then only this process is looked at
            _log.debug("cannot lock an output file: %s", error)
    _owned[descriptor] = identity


def disown(descriptor: int) -> None:
    """Let go of an open file, and close it."""
    if _owned.pop(descriptor, None) is not None:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may have it open as well
    os.close(descriptor)


# -- read, and looked at ----------------------------------------------------------------------------------------------


def read(path: Path, limit: int = -1) -> bytes | None:
    """What a regular file holds (its first *limit* bytes); None if there is no file.

    Raises OSError if it cannot be read, is no regular file (a link is not followed), or is larger than any of ours.
    """
    descriptor = _opened(path)
    if descriptor is None:
        return None
    with open(descriptor, "rb", buffering=0) as file:
        return file.read(limit)


def read_together(path: Path, other: Path) -> tuple[bytes | None, bytes | None]:
    """What both hold while *path* is not replaced; None for a file that is missing. Raises what :func:`read` raises."""
    while (descriptor := _opened(path)) is not None:
        with open(descriptor, "rb", buffering=0) as file:
            found = file.read(), read(other)
            while b"\0" in without_room(found[1] or b"") and found[1] != (again := read(other)):
                found = found[0], again  # a save was just being written, or its room made
            # As long as it is open, no other file gets its inode.
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
    """Which file has the name *path* (device and inode); None if none has."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def check_end(descriptor: int, path: Path, end: int) -> None:
    """Make sure that *path* is still the open file, and that nobody else has added to it or cut it.

    Raises:
        OSError: It is not, and why.
    """
    status = os.fstat(descriptor)
    if (status.st_dev, status.st_ino) != identity(path):
        raise OSError("it was removed or replaced by somebody else while this run wrote to it")
    if status.st_size != end:
        more = status.st_size - end
        what = f"{more:,} bytes were added to it" if more > 0 else f"{-more:,} bytes were cut off it"
        raise OSError(f"{what} by somebody else while this run wrote to it")


def is_irregular(path: Path) -> bool:
    """Whether a directory, a link, a pipe or the like has the name: nothing that is read as a file of ours."""
    status = _status(path)
    return status is not None and not stat.S_ISREG(status.st_mode)


def unlink(path: Path) -> bool:
    """Remove a file; whether it was there."""
    with contextlib.suppress(FileNotFoundError):
        patiently(lambda: os.unlink(path))
        return True
    return False


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Differs whenever *path* was written; None if there is no file."""
    status = _status(path)
    return None if status is None else (status.st_ino, status.st_mtime_ns, status.st_size)


# -- added to ---------------------------------------------------------------------------------------------------------


class JournalFile:
    """A journal that is open at *end*; what stood behind that is cut off.

    Raises:
        OSError: It cannot be opened, or is shorter than that.
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
                raise OSError("it is shorter than it was; somebody else wrote to it or removed it")
            if size > end:
                # Else a power cut might leave what is written next mixed with what was cut off.
                os.ftruncate(self._descriptor, end)
                sync_data(self._descriptor)
            os.lseek(self._descriptor, end, os.SEEK_SET)
            sync_directory(path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def is_in_place(self) -> bool:
        """Whether this is still the file that has its name, and nobody else has written to it."""
        status = os.fstat(self._descriptor)
        size = self._room_ends if self._room_ends < sys.maxsize else self.end
        return (status.st_dev, status.st_ino) == identity(self.path) and status.st_size == size

    def append(self, data: bytes, meanwhile: Callable[[], None] | None = None) -> None:
        """Add *data*; it is safe on the disk when this returns.

        Args:
            meanwhile: Called while the disk writes.

        Raises:
            OSError: That failed; nothing was added, and the journal is closed. As when *meanwhile* raises.
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
            # What failed may be read back though it never got to the disk: the next run must not build upon it.
            self._room_ends = end
            self.close()
            raise
        self.end = end

    def close(self) -> None:
        """Cut off the room. A forked child lets it be: the parent goes on."""
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
        except OSError:  # a full disk: what is left of it is for others, and for the saves themselves
            os.ftruncate(self._descriptor, end)
            self._room_ends = sys.maxsize
        os.lseek(self._descriptor, end, os.SEEK_SET)


def without_room(raw: bytes) -> bytes:
    """A journal as read, without the room; within a save that was cut off, it reads as the zeros of lost blocks."""
    return raw.rstrip(ROOM).replace(ROOM, b"\0")
