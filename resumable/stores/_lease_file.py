"""One owner at a time in a directory that cannot lock files: lease files, which their owners change now and then.

The owner of an operation has made the file ``….lock.N``, with the next number that was free: of several who try, one
can. It writes to it each third of its lease. Who finds it unchanged for a whole lease, by a clock of its own, makes the
file of the next number, and removes the one before: no two clocks are compared. An owner whose file is gone is shut
out: it looks before and after each write. What it may have on its way then comes to nothing: the journal that it has
open is no longer the one in the directory, and what it is about to rename was removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
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
    """What a lease file says: who has it, for how many seconds it lasts, and how often it was renewed."""

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
    """The file of an owner. See :func:`claimed`.

    Attributes:
        ttl: Seconds that the lease lasts.
        renewed_at: When it was renewed last, see :func:`passed_seconds`.
        on_lost: Called, from any thread, when it was found to be lost.
    """

    def __init__(self, lock: Path, number: int, told: _Told, operation_id: str) -> None:
        self.ttl = told.ttl
        self.renewed_at = passed_seconds()
        self.on_lost: Callable[[], None] = lambda: None
        self._lock, self._path = lock, _path(lock, number)
        self._told = told
        self._operation_id = operation_id
        self._file = os.open(self._path, disk.WRITE)
        RENEWALS.add(self)

    def check(self) -> None:
        """Make sure that it is still the owner's.

        Raises:
            StaleCheckpointError: Another one has taken the operation.
            StoreError: The directory cannot be looked at.
        """
        found = _read(self._path)
        if found is None or found.nonce != self._told.nonce:
            self.renewed_at = float("-inf")
            self.on_lost()
            other = holder_by(self._lock) or Holder("", 0, "")
            raise StaleCheckpointError(self._operation_id, other.host, other.pid, other.since)

    def renew(self) -> None:
        """Change the file, so that others see that its owner lives."""
        self.check()
        self._told.renewals += 1
        try:
            os.pwrite(self._file, _bytes(self._told), 0)
            os.fsync(self._file)
        except OSError as error:
            raise StoreError(f"cannot renew {self._path}: {error.strerror or error}", is_transient=True) from error
        self.renewed_at = passed_seconds()

    @property
    def is_overdue(self) -> bool:
        """Whether it may have ended by now."""
        return passed_seconds() - self.renewed_at > self.ttl

    def release(self) -> None:
        """Let others have the operation. Never raises."""
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
        CheckpointBusyError: Another owner has it, whose lease has not been unchanged for long enough.
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
            continue  # another one was first
        if set(_numbers(lock)) - {*before, number}:  # one that nobody has judged: who is unsure lets go
            disk.unlink(_path(lock, number))
            continue
        for older in before:
            disk.unlink(_path(lock, older))
        return LeaseFile(lock, number, told, operation_id)
    raise StoreError(f"{operation_id!r} changes hands all the time", is_transient=True)


def holder_by(lock: Path) -> Holder | None:
    """Who owns the operation whose lock file would be *lock*; None if nobody does."""
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
    """Whether the file of that number was made just now, whole; not if there is one."""
    temporary, path = disk.temporary_for(lock), _path(lock, number)
    try:
        disk.write_new(temporary, [_bytes(told)])
        try:
            os.link(temporary, path, follow_symlinks=False)
        except FileNotFoundError:
            return False  # an owner has removed what others had begun
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
    """What a lease file says; None if it is not there. One that cannot be read has an owner that nobody knows."""
    try:
        raw = disk.read(path, 4096)
        return msgspec.json.decode(raw, type=_Told) if raw is not None else None
    except (ValueError, RecursionError):
        return _Told()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}", is_transient=True) from error
