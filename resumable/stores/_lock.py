"""One owner at a time on one machine: a lock on a file beside the checkpoint, which says who holds it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .._errors import CheckpointBusyError, StoreError
from .._runtime import disk

_PATIENCE_SECONDS = 0.2
"""So long is a lock waited for: who only looks whether it is held, holds it for a moment."""


@contextlib.contextmanager
def holding(path: Path, operation_id: str) -> Iterator[None]:
    """Hold the lock file *path* for *operation_id*.

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
        holder = read_holder(path)
        raise CheckpointBusyError(
            operation_id, str(holder.get("host", "")), int(holder.get("pid", 0)), str(holder.get("since", ""))
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"cannot lock {path}: {reason}. Nothing was read or written.") from error
    try:
        _write_holder(path, operation_id)
        yield
    finally:
        # The user's error must not be replaced; what is still held is let go of with the object.
        with contextlib.suppress(OSError):
            lock.release()


def _write_holder(path: Path, operation_id: str) -> None:
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        # Only ids that are short enough for a plain file name are ever compared.
        "operation_id": operation_id[:200],
    }
    from .._json import encode

    # Who holds it is for people; a full disk must not keep them from working.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, disk.WRITE)
        try:
            text = encode(holder).ljust(240)
            disk.write_all(descriptor, text)
            os.ftruncate(descriptor, len(text))
        finally:
            os.close(descriptor)


def read_holder(path: Path) -> dict[str, Any]:
    """Who wrote itself into the lock file last; {} if that cannot be told."""
    from .._json import decode

    try:
        holder = decode(disk.read(path, 4096) or b"{}")
        holder["pid"] = int(holder.get("pid", 0))
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}
    return dict(holder)


def is_held(path: Path) -> bool:
    """Whether some process holds the lock right now."""
    if not path.exists():
        return False
    import filelock

    lock = filelock.FileLock(path, timeout=0, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):
        return False  # somebody else's file, or no locks here: nobody can tell
    lock.release()
    return False
