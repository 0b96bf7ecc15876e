"""One owner at a time in a directory that cannot lock files, by lease files that their owners keep changing.

The owner of an operation has created the file ``….lock.N``, where N was the next free number; of several who try, one
succeeds. It rewrites the file each third of its lease. A process that sees the file unchanged for a whole lease, by
its own clock, creates the file with the next number and removes the earlier one. So no two clocks are compared. An
owner whose file is gone has lost the lease; it checks before and after each write. A write under way then has no
effect: the journal that it has open is no longer the one in the directory, and the file that it would rename was
removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from .._errors import CheckpointBusyError, StaleCheckpointError, StoreError
from .._runtime import disk
from .._runtime.processes import has_ended, identity_of, passed_seconds
from ._base import Holder
from ._medium import Unchanged
from ._renewal import RENEWALS

_TRIES = 20
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK})
_unchanged = Unchanged()


class _Told(msgspec.Struct):
    """The content of a lease file: the owner, the lease's seconds, and how often it was renewed."""

    host: str = ""
    pid: int = 0
    since: str = ""
    process: str = ""
    nonce: str = ""
    ttl: float = 30.0
    renewals: int = 0

    def holder(self) -> Holder:
        return Holder(self.host, self.pid, self.since, self.process, self.nonce)


class LeaseFile:
    """An owner's lease file. See :func:`claimed`.

    Attributes:
        ttl: Seconds that the lease lasts.
        renewed_at: The last renewal, see :func:`passed_seconds`.
        on_lost: Called, from any thread, when the lease is found to be lost.
    """

    def __init__(self, lock: Path, number: int, told: _Told, operation_id: str) -> None:
        self.ttl = told.ttl
        self.renewed_at = passed_seconds()
        self.on_lost: Callable[[], None] = lambda: None
        self._lock, self._path = lock, _path(lock, number)
        self._told = told
        self._operation_id = operation_id
        self._file = os.open(self._path, disk.WRITE)
        self._renewing = threading.Lock()
        RENEWALS.add(self)

    def check(self) -> None:
        """Check that the file is still this owner's.

        Raises:
            StaleCheckpointError: Another owner has taken the operation.
            StoreError: The directory cannot be read.
        """
        found = _read(self._path)
        if found is None or found.nonce != self._told.nonce:
            self.renewed_at = float("-inf")
            self.on_lost()
            other = holder_by(self._lock) or Holder("", 0, "")
            raise StaleCheckpointError(self._operation_id, other.host, other.pid, other.since)

    def renew(self) -> None:
        """Change the file, so that others see that its owner is alive."""
        self.check()
        began = passed_seconds()
        try:
            with self._renewing:  # by two threads, after the machine slept
                self._told.renewals += 1
                os.lseek(self._file, 0, os.SEEK_SET)  # Windows has no os.pwrite
                os.write(self._file, _bytes(self._told))
            os.fsync(self._file)
        except OSError as error:
            raise StoreError(f"cannot renew {self._path}: {error.strerror or error}", is_transient=True) from error
        self.renewed_at = began

    @property
    def is_overdue(self) -> bool:
        """Whether the lease may have expired."""
        return passed_seconds() - self.renewed_at > self.ttl

    def release(self) -> None:
        """Release the operation. Never raises."""
        RENEWALS.remove(self)
        with contextlib.suppress(Exception):
            self.on_lost = lambda: None
            self.check()
            os.unlink(self._path)
        with contextlib.suppress(OSError):
            os.close(self._file)


def claimed(lock: Path, operation_id: str, me: Holder, ttl: float, *, take_over: bool) -> LeaseFile:
    """Own the operation whose lock file would be *lock*.

    Raises:
        CheckpointBusyError: Another owner has it, whose file has not been unchanged for a whole lease.
        StoreError: The directory cannot be used.
        OSError: The directory cannot be used.
    """
    told = _Told(me.host, me.pid, me.since, identity_of(os.getpid()), os.urandom(12).hex(), ttl)
    for _ in range(_TRIES):
        before = _numbers(lock)
        if before and not take_over:
            _refuse_if_held(lock, before[-1], operation_id)
        number = before[-1] + 1 if before else 1
        if not _made(lock, number, told):
            continue  # another process was first
        if set(_numbers(lock)) - {*before, number}:  # a file that appeared meanwhile: if unsure, give way
            disk.unlink(_path(lock, number))
            continue
        for older in before:
            disk.unlink(_path(lock, older))
        return LeaseFile(lock, number, told, operation_id)
    raise StoreError(f"too many processes try to take over {operation_id!r} at once", is_transient=True)


def holder_by(lock: Path) -> Holder | None:
    """The owner of the operation whose lock file would be *lock*; None without one."""
    try:
        numbers = _numbers(lock)
        told = _read(_path(lock, numbers[-1])) if numbers else None
    except (OSError, StoreError):
        return None
    return None if told is None or has_ended(told.pid, told.process) else told.holder()


def _refuse_if_held(lock: Path, number: int, operation_id: str) -> None:
    told = _read(_path(lock, number))
    if told is None or has_ended(told.pid, told.process):
        return
    lease = f"{number} {told.nonce} {told.renewals}"
    silent_for = _unchanged.seconds(str(lock), lease)
    if silent_for < told.ttl:
        left = told.ttl - silent_for
        facts = (told.host, told.pid, told.since)
        raise CheckpointBusyError(operation_id, *facts, lease_left=left, silent_for=silent_for, lease=lease)


def _made(lock: Path, number: int, told: _Told) -> bool:
    """Create the file with that number. Returns False if it exists."""
    temporary, path = disk.temporary_for(lock), _path(lock, number)
    try:
        disk.write_new(temporary, [_bytes(told)])
        try:
            os.link(temporary, path, follow_symlinks=False)
        except FileNotFoundError:
            return False  # an owner has removed the files that others had begun
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            disk.write_new(path, [_bytes(told)])
        return True
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _numbers(lock: Path) -> list[int]:
    pattern = re.compile(re.escape(lock.name) + r"\.(\d{1,15})")
    return sorted(int(match[1]) for name in os.listdir(lock.parent) if (match := pattern.fullmatch(name)))


def _path(lock: Path, number: int) -> Path:
    return lock.with_name(f"{lock.name}.{number}")


def _bytes(told: _Told) -> bytes:
    return msgspec.json.encode(told).ljust(400) + b"\n"


def _read(path: Path) -> _Told | None:
    """Read a lease file; None if it does not exist. An unreadable file has an unknown owner."""
    try:
        raw = disk.read(path, 4096)
        return msgspec.json.decode(raw, type=_Told) if raw is not None else None
    except (ValueError, RecursionError):
        return _Told()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}", is_transient=True) from error
