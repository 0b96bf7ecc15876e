"""One owner at a time on one machine: a lock on a file beside the checkpoint, which says who holds it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .._errors import CheckpointBusyError, StoreError
from .._runtime import disk
from ._base import Holder

_PATIENCE_SECONDS = 0.2
"""So long is a lock waited for: who only looks whether it is held, holds it for a moment."""


class Told(msgspec.Struct):
    """What a lock file says of who holds it, or held it last."""

    host: str = ""
    pid: int = 0
    since: str = ""
    term: int = 0
    operation_id: str = ""


@contextlib.contextmanager
def holding(path: Path, operation_id: str, me: Holder) -> Iterator[int]:
    """Hold the lock file *path* for *operation_id*; gives the term, which is higher than that of any earlier holder.

    The lock lies on a file of its own: one on the data file would be void after the file is replaced.

    Raises:
        CheckpointBusyError: Somebody else holds it, in this process or another.
        StoreError: The file cannot be made or locked.
    """
    import filelock  # heavy, and not needed before the first operation opens

    lock = filelock.FileLock(path, timeout=_PATIENCE_SECONDS, mode=0o600, thread_local=False)
    try:
        lock.acquire(poll_interval=_PATIENCE_SECONDS / 10)
    except filelock.Timeout:
        told = told_by(path)
        raise CheckpointBusyError(operation_id, told.host, told.pid, told.since) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"cannot lock {path}: {reason}. Nothing was read or written.") from error
    try:
        # The lock file goes with the checkpoint; the clock knows of the terms before.
        term = max(told_by(path).term + 1, time.time_ns())
        _tell(path, Told(me.host, me.pid, me.since, term, operation_id[:200]))
        yield term
    finally:
        # The user's error must not be replaced; what is still held is let go of with the object.
        with contextlib.suppress(OSError):
            lock.release()


def _tell(path: Path, told: Told) -> None:
    # Who holds it is for people; a full disk must not keep them from working.
    with contextlib.suppress(OSError), open(os.open(path, disk.WRITE), "wb", buffering=0) as file:
        text = msgspec.json.encode(told).ljust(240)
        disk.write_all(file.fileno(), text)
        file.truncate(len(text))


def told_by(path: Path) -> Told:
    """What the lock file says, as far as it can be read."""
    try:
        return msgspec.json.decode(disk.read(path, 4096) or b"{}", type=Told)
    except (OSError, ValueError, RecursionError):
        return Told()


def holder_of(path: Path) -> Holder | None:
    """Who holds the lock right now; None if nobody does, or nobody can tell."""
    if not path.exists():
        return None
    import filelock

    lock = filelock.FileLock(path, timeout=0, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        told = told_by(path)
        return Holder(told.host, told.pid, told.since)
    except (OSError, NotImplementedError):  # somebody else's file, or no locks here
        return None
    lock.release()
    return None
