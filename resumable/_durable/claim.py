"""Records which operation owns the rows behind the saved end of an output file, even after its process has died.

A killed run leaves rows that no save counts, and its resume cuts them off. Rows that another operation writes behind
them would be lost. So a record lies beside the file, from before the first row until a save holds the file's final
end. The checkpoint identifies the record by a token, so both may be moved together.
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
"""System errors where a file may be written, but no other file may be created beside it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The operation that a sink belongs to.

    Attributes:
        location: Where its checkpoint lies; "" if the checkpoint ends with this process.
        file: The path of the checkpoint, if it is a file.
        directory: The directory or URL that a command needs to find the checkpoint; "" if it needs none.
    """

    operation_id: str
    location: str = ""
    file: bytes = b""
    directory: str = ""


class Record(msgspec.Struct, omit_defaults=True):
    """The record beside an output file. An empty token means no owner.

    Attributes:
        lost: Tokens of owners whose checkpoint was missing when another operation wrote behind their rows.
    """

    token: str = ""
    operation_id: str = ""
    location: str = ""
    file: bytes = b""
    directory: str = ""
    lost: list[str] = []

    @property
    def is_void(self) -> bool:
        """Whether nobody will cut the file: it has no owner, or the owner's checkpoint was removed."""
        return not self.token or (bool(self.file) and not os.path.lexists(self.file))


class Claim:
    """One operation's claim on an output file. Only the process that holds the file open may make one.

    Args:
        path: The output file.
        saved: The checkpoint's entry for the file; None without one.

    Attributes:
        path: The path of the record.
        token: The token to save; "" before :meth:`take`, and if no record can be written.
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
        """Whether another operation may have written behind the saved end."""
        return bool(self._saved_token) and self._saved_token in self._record.lost

    def take(self) -> None:
        """Write the record, unless it is there already.

        Raises:
            OSError: The disk fails.
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
                "cannot write %s, which says who writes to the output file: %s. If this run is killed, let no other "
                "operation write to the output file until this one is done.",
                self.path,
                error.strerror,
            )
            return
        self._record, self.token = new, token

    def _write(self, record: Record) -> None:
        text = msgspec.json.encode(record)
        if record.lost:
            disk.replace(self.path, [text])
            return
        # No temporary file, which a kill would leave: a torn record counts as none, and rows follow only a whole one.
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
    """The path of the record for the output file *path*."""
    name = f".{path.name}.claim"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}.claim"
    return path.with_name(name)


def _read(path: Path) -> Record:
    try:
        return msgspec.json.decode(disk.read(path, _LARGEST) or b"{}", type=Record)
    except (OSError, ValueError, RecursionError):  # not a record
        return Record()
