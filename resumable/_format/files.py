"""Finds the files of an operation, and reads them. Only reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from .._errors import StoreError
from .._runtime import disk
from .._runtime.disk import without_room
from ..stores import FileStore
from ..stores._names import PREFIX, SUFFIX, files_at, names_for, operation_id_in
from . import journal
from .document import UnknownFormatError

_FILE = re.compile(r"(\.checkpoint_.+)\.(json|journal)(\.prev|\.(?:corrupt|unsaved)-[\w-]+)?", re.DOTALL)
_ROLES = ("current", "previous", "kept")


@dataclass(slots=True)
class FileFound:
    """One file of an operation.

    Attributes:
        kind: ``checkpoint`` or ``journal``.
        role: ``current``, ``previous`` or ``kept`` (damaged, and renamed).
        raw: Its content; a journal's without the preallocated space that a killed run left at its end.
        room: Bytes of that space.
        content: The content, decrypted if it is encrypted.
        sealed: An encrypted journal as stored; *raw* is decrypted.
        problem: What is wrong with it; "" if nothing.
        is_unknown: Whether it may be good, but a newer release wrote it, or a key is needed.
        notes: What it holds, for people.
        saves: How many whole saves a journal holds.
        records: One line for each piece of a journal: what it is, and whether it is good.
        is_irregular: Whether it is a directory, a link, a pipe or the like.
    """

    path: Path
    kind: str
    role: str
    raw: bytes = b""
    room: int = 0
    content: bytes = b""
    sealed: bytes = b""
    problem: str = ""
    is_unknown: bool = False
    notes: str = ""
    saves: int = 0
    records: list[str] = field(default_factory=list)
    is_irregular: bool = False
    is_readable: bool = True

    @property
    def verdict(self) -> str:
        """``good``, ``damaged`` or ``unknown``."""
        return "unknown" if self.is_unknown else "damaged" if self.problem else "good"

    def fails(self, error: ValueError) -> None:
        """Note why it cannot be used."""
        self.problem, self.is_unknown = str(error), isinstance(error, UnknownFormatError)


def operations_at(target: str, store: FileStore) -> list[Path]:
    """The checkpoints that *target* names: a directory, any file of an operation, or an operation id in *store*.

    Raises:
        ValueError: It names none.
    """
    path = Path(target)
    base = base_of(path)
    if base is not None and files_of(base):
        return [base]
    if path.is_dir():
        return sorted({base for file in path.iterdir() if (base := base_of(file)) is not None})
    located = store.locate(target)
    if not files_of(located):
        raise ValueError(
            f"{target!r} is neither a checkpoint file, nor a directory, nor an operation in {store.directory}"
        )
    return [located]


def base_of(path: Path) -> Path | None:
    """The checkpoint that the file *path* belongs to, by its name; None if it belongs to none."""
    match = _FILE.fullmatch(path.name)
    return path.with_name(match.group(1) + SUFFIX) if match is not None else None


def files_of(base: Path) -> list[FileFound]:
    """An operation's files in order of preference: current, previous, kept; a checkpoint before its journal."""
    try:
        paths = sorted(base.parent.iterdir()) if base.parent.is_dir() else []
    except OSError as error:
        raise StoreError(f"cannot look into {base.parent}: {error.strerror or error}") from error
    found = []
    for path in paths:
        match = _FILE.fullmatch(path.name)
        if match is not None and base_of(path) == base:
            suffix = match.group(3)
            role = "current" if suffix is None else "previous" if suffix == ".prev" else "kept"
            found.append(FileFound(path, "journal" if match.group(2) == "journal" else "checkpoint", role))
    return sorted(found, key=lambda file: (_ROLES.index(file.role), file.kind))


def put_aside(snapshot: Path, mark: str) -> Path:
    """Rename the checkpoint *snapshot* and its companions to names that end in *mark*. Returns the new path."""
    return files_at(snapshot).put_aside(mark)


def read(file: FileFound) -> None:
    try:
        file.is_irregular = disk.is_irregular(file.path)
        if file.is_irregular:
            raise OSError("it is not a regular file")
        raw = disk.read(file.path) or b""
        file.raw = without_room(raw) if file.kind == "journal" else raw
        file.room = len(raw) - len(file.raw)
    except OSError as error:
        file.problem = f"{file.path.name} cannot be read: {error.strerror or error}"
        file.is_readable = False


def operation_id_of(base: Path, files: list[FileFound]) -> str:
    """The operation id in the files; one that fits their name comes first, since damage can make ``Job`` of ``job``."""
    told = [found for file in files if (found := _told_by(file)) is not None]
    fitting = (found for found in told if base.name in names_for(found))
    return next(fitting, told[0] if told else base.name[len(PREFIX) : -len(SUFFIX)])


def _told_by(file: FileFound) -> str | None:
    if file.kind == "checkpoint":
        return operation_id_in(file.path)
    content = journal.read(file.raw)
    found = content.header.get("operation_id") if content is not None else None
    return found if isinstance(found, str) else None
