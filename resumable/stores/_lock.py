"""One owner at a time on one machine: a lock on a file beside the checkpoint, which also names the owner."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from .._errors import CheckpointBusyError, StoreError
from .._runtime import disk
from .._runtime.interpreter import user_line
from ._base import Holder

_log = logging.getLogger("resumable")
_CANNOT_LOCK = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})
"""System errors of file systems without locks."""
_PATIENCE_SECONDS = 0.2
"""How long to wait for a lock: a process that only checks whether it is held, holds it for a moment."""


_opened_at: dict[str, str] = {}
"""By path: the line of code that took each lock of this process."""
_before: dict[str, Told] = {}
"""By path: the last owner of each lock of this process before it took it."""


class Told(msgspec.Struct):
    """The content of a lock file: its present or last owner."""

    host: str = ""
    pid: int = 0
    since: str = ""
    term: int = 0
    operation_id: str = ""


@contextlib.contextmanager
def holding(path: Path, operation_id: str, me: Holder) -> Iterator[int]:
    """Hold the lock file *path* for *operation_id*. Yields the term, which is higher than that of any earlier holder.

    The lock is on a separate file, because a lock on a data file would be lost when the file is replaced.

    Raises:
        CheckpointBusyError: Another owner holds it, in this process or another.
        NoLocksError: The file system has no locks.
        StoreError: The file cannot be created or locked.
    """
    import filelock  # loads slowly, and is not needed before the first operation opens

    try:
        lock = _acquired(path, _PATIENCE_SECONDS)
    except filelock.Timeout:
        told = told_by(path)
        opened_at = _opened_at.get(os.path.abspath(path), "") if told.pid == os.getpid() else ""
        raise CheckpointBusyError(operation_id, told.host, told.pid, told.since, opened_at) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        if path.parent.exists() and not path.parent.is_dir():
            reason = f"{path.parent} is a file, but a store is a directory, or a URL such as sqlite:///file.db"
        raise StoreError(f"cannot lock {path}: {reason}. Nothing was read or written.") from error
    try:
        # The lock file is removed with the checkpoint; the clock makes the term exceed earlier ones.
        before, name = told_by(path), os.path.abspath(path)
        term = max(before.term + 1, time.time_ns())
        tell(path, Told(me.host, me.pid, me.since, term, operation_id[:200]))
        _opened_at[name], _before[name] = user_line(), before
        yield term
    finally:
        _opened_at.pop(os.path.abspath(path), None)
        _before.pop(os.path.abspath(path), None)
        # Never replace the user's error; a lock still held is released with the object.
        with contextlib.suppress(OSError):
            lock.release()


class NoLocksError(Exception):
    """The file system cannot lock files."""


def _acquired(path: Path, timeout: float) -> Any:
    """The lock on *path*, taken within *timeout* seconds. Raises filelock.Timeout, NoLocksError or OSError."""
    import filelock

    lock = filelock.FileLock(path, timeout, 0o600, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(poll_interval=max(timeout / 10, 0.01))
        return lock
    except OSError as error:
        if isinstance(error, filelock.Timeout) or error.errno not in _CANNOT_LOCK:
            raise
    _say_unlocked(str(path.parent))
    raise NoLocksError(path)


@functools.cache
def _say_unlocked(directory: str) -> None:
    _log.warning(
        "the file system of %s cannot lock files; a file there names the process that works on an operation, which "
        "renews it now and then",
        directory,
    )


def tell(path: Path, told: Told) -> None:
    """Write the owner into the lock file *path*."""
    # The owner's name is for people: continue even if the disk is full.
    with contextlib.suppress(OSError), open(os.open(path, disk.WRITE), "wb", buffering=0) as file:
        text = msgspec.json.encode(told).ljust(240)
        disk.write_all(file.fileno(), text)
        file.truncate(len(text))


def told_by(path: Path) -> Told:
    """Read a lock file, as far as possible."""
    try:
        return msgspec.json.decode(disk.read(path, 4096) or b"{}", type=Told)
    except (OSError, ValueError, RecursionError):
        return Told()


def owner_before(path: Path) -> Holder | None:
    """The owner before this process, which holds the lock; None if there was none, or it is unknown."""
    told = _before.get(os.path.abspath(path))
    return Holder(told.host, told.pid, told.since) if told is not None and told.pid else None


def holder_of(path: Path) -> Holder | None:
    """The present holder of the lock; None if there is none, or it is unknown."""
    if not path.exists():
        return None
    import filelock

    try:
        lock = _acquired(path, 0)
    except filelock.Timeout:
        told = told_by(path)
        return Holder(told.host, told.pid, told.since)
    except NoLocksError:
        from ._lease_file import holder_by  # only if there is a lease file

        return holder_by(path)
    except (OSError, NotImplementedError):  # another user's file, or no locks here
        return None
    lock.release()
    return None
