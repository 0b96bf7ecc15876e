"""Whose rows lie behind the saved end of an output file, also when the process that wrote them is dead.

A killed run leaves rows that no save counts; its resume cuts them off. Whoever writes behind them until then would lose
rows. So a record lies beside the file from before the first row until a save holds the file's final end. The checkpoint
knows the record by a token: both may be moved together.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from .._runtime import disk

_log = logging.getLogger("resumable")

_LONGEST_NAME = 255
_LARGEST = 1 << 16
_LOST_KEPT = 100
_CANNOT_NOTE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What the system answers where a file may be written, but none made beside it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The operation that a sink belongs to.

    Attributes:
        location: Where its checkpoint lies; "" if the checkpoint does not outlive this process.
        file: The path of the checkpoint, if it is a file.
        directory: What a command must be told to find the checkpoint; "" for nothing.
    """

    operation_id: str
    location: str = ""
    file: bytes = b""
    directory: str = ""


class Record(msgspec.Struct, omit_defaults=True):
    """What lies beside an output file. An empty token stands for no owner.

    Attributes:
        lost: Tokens of owners whose checkpoint was gone when another operation wrote behind their rows.
    """

    token: str = ""
    operation_id: str = ""
    location: str = ""
    file: bytes = b""
    directory: str = ""
    lost: list[str] = []

    @property
    def is_void(self) -> bool:
        """Whether nobody will cut the file: there is no owner, or its checkpoint was removed."""
        return not self.token or (bool(self.file) and not os.path.lexists(self.file))


class Claim:
    """One operation's claim on an output file. Only the process that owns the open file may make one.

    Args:
        path: The output file.
        saved: What the checkpoint holds of the file; None for nothing.

    Attributes:
        path: Where the record lies.
        token: What the checkpoint must hold of it; "" until :meth:`take`, and where none can be made.
    """

    def __init__(self, path: Path, owner: Owner, saved: Mapping[str, Any] | None) -> None:
        self.path = record_path(path)
        self.token = ""
        self._owner = owner
        self._saved_token: str = (saved or {}).get("claim", "")
        self._record = _read(self.path)

    @property
    def rival(self) -> Record | None:
        """Another operation whose resume will cut the file; None if there is none."""
        record = self._record
        return None if record.is_void or self._is_ours else record

    @property
    def _is_ours(self) -> bool:
        record, owner = self._record, self._owner
        if record.token == self._saved_token:
            return True
        return (record.operation_id, record.location) == (owner.operation_id, owner.location)

    @property
    def is_lost(self) -> bool:
        """Whether another operation may have written behind the end that the checkpoint holds."""
        return bool(self._saved_token) and self._saved_token in self._record.lost

    def take(self) -> None:
        """Make the record, unless it is there already.

        Raises:
            OSError: The medium fails.
        """
        record, owner = self._record, self._owner
        if record.token and record.token == self._saved_token:
            self.token = record.token
            return
        lost = [token for token in record.lost if token != self._saved_token]
        if record.token and not self._is_ours:
            lost.append(record.token)
        if not owner.location and not lost:
            return
        token = os.urandom(8).hex() if owner.location else ""
        new = Record(token, owner.operation_id, owner.location, owner.file, owner.directory, lost[-_LOST_KEPT:])
        try:
            self._write(new)
        except OSError as error:
            if error.errno not in _CANNOT_NOTE:
                raise
            _log.warning(
                "cannot note beside an output file who writes to it (%s): %s. If this run is killed, let no other "
                "operation write to that file before this one has come to its end",
                error.strerror,
                self.path,
            )
            return
        self._record, self.token = new, token

    def _write(self, record: Record) -> None:
        text = msgspec.json.encode(record)
        if record.lost:
            disk.replace(self.path, [text])
            return
        # No file beside it that a kill could leave: a torn record is none, and no row is written before a whole one.
        disk.unlink(self.path)
        with disk.removed_on_error(self.path):
            disk.write_new(self.path, [text])

    def give_up(self) -> None:
        """Remove the record: a save holds the final end of the file, or the checkpoint is removed."""
        token, self.token = self.token, ""
        with contextlib.suppress(OSError):  # a record of an operation that has ended does little harm
            record = _read(self.path)
            if token and record.token == token:
                if record.lost:
                    disk.replace(self.path, [msgspec.json.encode(Record(lost=record.lost))])
                else:
                    disk.unlink(self.path)


def record_path(path: Path) -> Path:
    """Where the record of the output file *path* lies."""
    name = f".{path.name}.claim"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}.claim"
    return path.with_name(name)


def _read(path: Path) -> Record:
    try:
        return msgspec.json.decode(disk.read(path, _LARGEST) or b"{}", type=Record)
    except (OSError, ValueError, RecursionError):  # not ours
        return Record()
