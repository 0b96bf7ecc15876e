"""Writing a file so that it is old or new, whatever dies when.

A new file is written beside the old one, wholly and through to the disk, and only then takes the old one's name; the
directory is synced before the write is acknowledged. A failed fsync is never tried again on the same file: the
kernel may have dropped the pages (fsyncgate, 2018), so every attempt writes a new file.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NEW |= getattr(os, "O_BINARY", 0)
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# A pipe planted under the name must not block the reader for ever.
_READ |= getattr(os, "O_NONBLOCK", 0)
_PIECE = 1 << 20


def replace(path: Path, chunks: Iterable[bytes], keep: Path | None = None) -> None:
    """Replace *path* by *chunks*, or leave it as it was. What it held before is kept as *keep*, if given.

    Raises:
        OSError: The medium failed; *path* is as it was.
    """
    temporary = temporary_for(path)
    try:
        write_new(temporary, chunks)
        if keep is not None:
            _keep(path, keep)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(path.parent)


def temporary_for(path: Path) -> Path:
    """A name beside *path* that nobody else has: a rename is atomic only within one file system."""
    return path.with_name(f"{path.name[:200]}.{secrets.token_hex(4)}.tmp")


def write_new(path: Path, chunks: Iterable[bytes]) -> None:
    """Make *path*, which must not exist, with mode 0600, and bring it through to the disk."""
    descriptor = os.open(path, _NEW, 0o600)
    try:
        for piece in _gather(chunks):
            write_all(descriptor, piece)
        sync(descriptor)
    finally:
        os.close(descriptor)


def _gather(chunks: Iterable[bytes]) -> Iterable[bytes]:
    """The same bytes in pieces worth a system call each."""
    waiting, size = [], 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= _PIECE:
            yield b"".join(waiting) if len(waiting) > 1 else chunk
            waiting, size = [], 0
    yield b"".join(waiting)


def write_all(descriptor: int, data: bytes) -> None:
    """Write *data* to the end of it; the system may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _keep(path: Path, keep: Path) -> None:
    """Give what *path* holds the name *keep* as well, replacing what that held."""
    spare = temporary_for(keep)
    try:
        os.link(path, spare, follow_symlinks=False)
    except FileNotFoundError:
        return
    except (OSError, NotImplementedError):
        _copy(path, spare)  # a file system without hard links
    try:
        os.replace(spare, keep)
    finally:
        # A rename between two names of one file does nothing and leaves both.
        with contextlib.suppress(OSError):
            os.unlink(spare)


def _copy(path: Path, spare: Path) -> None:
    data = read(path)
    if data is not None:
        write_new(spare, [data])


def sync(descriptor: int) -> None:
    """Bring a file through to the disk."""
    if sys.platform == "darwin":
        import fcntl

        # fsync there stops at the drive's cache (man 2 fsync).
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_data(descriptor: int) -> None:
    """The same for contents and length only, where the system tells them apart."""
    if sys.platform == "linux":
        os.fdatasync(descriptor)
    else:
        sync(descriptor)


def sync_directory(directory: Path) -> None:
    """Bring names that were made or changed in *directory* through to the disk."""
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path, limit: int = -1) -> bytes | None:
    """What a regular file holds (its first *limit* bytes); None if there is no file.

    Raises:
        OSError: It cannot be read, or is no regular file (a link is not followed).
    """
    try:
        descriptor = os.open(path, _READ)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(f"{path} is not a regular file")
        return file.read(limit)


def unlink(path: Path) -> bool:
    """Remove a file; whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True
