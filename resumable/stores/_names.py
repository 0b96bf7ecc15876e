"""The file names of an operation id, and the operation of a file."""

from __future__ import annotations

import contextlib
import re
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from .._runtime import disk
from .._runtime.paths import in_utf8

PREFIX, SUFFIX = ".checkpoint_", ".json"
_MAX_BYTES = 180
_UNSAFE = frozenset('<>:"\\|?*')
_ID_IN_HEAD = rb'\A\s*\{\s*"version"\s*:\s*"[^"]*"\s*,\s*"operation_id"\s*:\s*("(?:[^"\\]|\\.)*")'
_HEAD = 8192
_ARTIFACT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def check_operation_id(operation_id: object) -> None:
    """Refuse an operation id that no store can hold.

    Raises:
        TypeError: It is not a str.
        ValueError: It contains a lone surrogate, which no file and no database can hold.
    """
    if not isinstance(operation_id, str):
        raise TypeError(f"operation_id must be a str, not {type(operation_id).__name__}; write str(...)")
    try:
        operation_id.encode()
    except UnicodeEncodeError:
        raise ValueError(f"operation_id {operation_id!r} is not valid Unicode (a lone surrogate)") from None


def check_given_id(operation_id: object) -> None:
    """Refuse an operation id that names nothing. Stores still read and remove an empty id, which version 0.1 accepted.

    Raises:
        TypeError: It is not a str.
        ValueError: It is empty, or contains a lone surrogate.
    """
    check_operation_id(operation_id)
    if not operation_id:
        raise ValueError("operation_id is empty: give the operation a name that is the same in every run")


def check_artifact_name(name: str) -> None:
    """Refuse an artifact name that some medium cannot hold.

    Raises:
        ValueError: It is not 1 to 80 ASCII letters, digits, ``-``, ``_`` and ``.``, beginning with a letter or digit.
    """
    if _ARTIFACT_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r:.90} is not a valid name for a version of an artifact")


# -- from an id to names ----------------------------------------------------------------------------------------------


def file_name(operation_id: str) -> str:
    """The name of the checkpoint of *operation_id*: ``.checkpoint_{id}.json``.

    If the id is too long, or contains a character that a file name cannot, a short hash is appended. On a file system
    that ignores case, ``Job`` and ``job`` share a name; the id inside the document tells them apart, with an error.
    """
    return names_for(operation_id)[0]


@lru_cache(64)
def names_for(operation_id: str) -> tuple[str, ...]:
    """All possible names of the checkpoint, its own first; an older release or another tool may use the other one."""
    plain, hashed = plain_name(operation_id), hashed_name(operation_id)
    if plain is None:
        return (hashed,)
    return (hashed, plain) if "/" in operation_id or " " in operation_id else (plain, hashed)


def plain_name(operation_id: str) -> str | None:
    """``.checkpoint_{id with / and space as _}.json``; None if that is not a safe file name everywhere."""
    stem = operation_id.replace("/", "_").replace(" ", "_")
    if not stem or len(stem.encode()) > _MAX_BYTES or not stem.isprintable() or _UNSAFE.intersection(stem):
        return None
    return in_utf8(f"{PREFIX}{stem}{SUFFIX}")


def hashed_name(operation_id: str) -> str:
    """A safe name that no other id has: as much of the plain name as fits, then a short hash of the id."""
    import hashlib  # not worth loading without a name to make

    safe = "".join(["_" if c in "/ " or c in _UNSAFE or not c.isprintable() else c for c in operation_id])
    stem = safe.encode()[: _MAX_BYTES - 20].decode(errors="ignore")
    return in_utf8(f"{PREFIX}{stem}-{hashlib.sha256(operation_id.encode()).hexdigest()[:12]}{SUFFIX}")


class Files(NamedTuple):
    """The files of one checkpoint."""

    snapshot: Path
    previous: Path
    journal: Path
    previous_journal: Path
    lock: Path
    artifacts: Path

    @property
    def but_the_lock(self) -> tuple[Path, ...]:
        """All files except the lock, the snapshot last: without it, the others count for nothing."""
        return self[3::-1]

    def remove(self) -> bool:
        """Remove the checkpoint and the files beside it, except its lock and artifacts. Returns whether it was there.

        The checkpoint is removed first, and synced. Without it the other files count for nothing; but a checkpoint
        without its journal, which a power cut might leave, would be mistaken for an older save.
        """
        found = disk.unlink(self.snapshot)
        if found:
            disk.sync_directory(self.snapshot.parent)
        for path in self.but_the_lock:
            disk.unlink(path)
        return found

    def put_aside(self, mark: str) -> Path:
        """Rename the checkpoint, its journal and its artifacts to end in *mark*. Returns the snapshot's new path."""
        kept, journal, artifacts = (
            path.with_name(path.name + mark) for path in (self.snapshot, self.journal, self.artifacts)
        )
        # The journal has both names until the snapshot is renamed; without that, it counts for nothing.
        disk.keep(self.journal, journal)
        disk.rename(self.snapshot, kept)
        disk.sync_directory(kept.parent)
        for path in (self.journal, self.previous, self.previous_journal):
            disk.unlink(path)
        with contextlib.suppress(FileNotFoundError):
            disk.rename(self.artifacts, artifacts)
        return kept

    def remove_what_was_moved(self) -> None:
        """Remove a checkpoint that was moved elsewhere; the snapshot goes last, because the next run looks for that."""
        *beside, snapshot = self.but_the_lock
        for path in beside:
            disk.unlink(path)
        disk.sync_directory(snapshot.parent)
        disk.unlink(snapshot)


@lru_cache(64)
def files_of(directory: Path, operation_id: str) -> tuple[Files, ...]:
    """The possible files of a checkpoint in *directory*, its own name first. Checks the id."""
    check_operation_id(operation_id)
    return tuple([files_at(directory / name) for name in names_for(operation_id)])


def files_at(snapshot: Path) -> Files:
    """The files of the checkpoint with that snapshot."""
    stem = snapshot.name.removesuffix(SUFFIX)
    suffixes = (f"{SUFFIX}.prev", ".journal", ".journal.prev", ".lock", ".files")
    return Files(snapshot, *[snapshot.with_name(stem + suffix) for suffix in suffixes])


# -- from a file to an id


def listed(directory: Path, pattern: str) -> dict[str, Path]:
    """The operations in *directory* whose id matches *pattern*, with their snapshots, sorted by file name."""
    found: dict[str, Path] = {}
    for path in sorted(directory.glob(f"{PREFIX}*{SUFFIX}")):
        told = operation_id_in(path)
        key = told if told is not None else path.name[len(PREFIX) : -len(SUFFIX)]
        # An interrupted move also leaves a file under an older name.
        if fnmatchcase(key, pattern) and (key not in found or path.name == file_name(key)):
            found[key] = path
    return found


def is_of(path: Path, operation_id: str) -> bool:
    """Whether *path*, which has a name of *operation_id*, belongs to that operation.

    Only an id that may have this name counts: damage can make ``Job`` of ``job``, and a v1.0 document has no id.

    Raises:
        OSError: It cannot be read.
    """
    found = _read_operation_id(path)
    return found is None or found == operation_id or path.name not in names_for(found)


def operation_id_in(path: Path) -> str | None:
    """The operation id in the checkpoint file *path*; None if there is no file, or no id in it."""
    try:
        return _read_operation_id(path)
    except OSError:
        return None


def _read_operation_id(path: Path) -> str | None:
    head = disk.read(path, _HEAD)
    if head is None:
        return None
    match = re.match(_ID_IN_HEAD, head)
    try:
        if match is not None:
            return msgspec.json.decode(match.group(1), type=str)
        # A parser that reads only one member uses no memory for the others.
        return msgspec.json.decode(disk.read(path) or b"", type=_Named).operation_id
    except (ValueError, RecursionError):
        return None


class _Named(msgspec.Struct):
    operation_id: str
