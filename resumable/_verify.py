"""What the files of an operation still hold: each generation and each save in a journal, good or not. Only reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from . import _journal
from ._errors import StoreError
from ._reading import Restored, check_internal, from_snapshot, replay
from .stores import FileStore, _disk
from .stores._file import operation_id_in
from .stores._names import PREFIX, SUFFIX

_FILE = re.compile(r"(\.checkpoint_.+)\.(json|journal|lock)(\.prev|\.corrupt-[\w-]+)?", re.DOTALL)
_KINDS = {"json": "checkpoint", "journal": "journal"}


@dataclass(slots=True)
class FileFound:
    """One file of an operation.

    Attributes:
        kind: ``checkpoint`` or ``journal``.
        role: ``current``, ``previous`` or ``kept`` (damaged once, and put aside).
        problem: What is wrong with it; "" if nothing.
        notes: What it holds, for people.
        saves: How many whole saves a journal holds.
    """

    path: Path
    kind: str
    role: str
    raw: bytes = b""
    problem: str = ""
    notes: str = ""
    saves: int = 0


@dataclass(slots=True)
class Recoverable:
    """A state that can be had: a snapshot, and as many saves of a journal as are good.

    Attributes:
        journal_bytes: What is good of the journal; 0 if nothing goes with the snapshot.
        lost_bytes: What is not.
    """

    restored: Restored
    snapshot: FileFound
    journal: FileFound | None = None
    journal_bytes: int = 0
    saves: int = 0

    @property
    def lost_bytes(self) -> int:
        return len(self.journal.raw) - self.journal_bytes if self.journal is not None else 0


@dataclass(slots=True)
class Verified:
    """All files of one operation.

    Attributes:
        path: Where its checkpoint lies, or should.
        problem: Why it cannot be loaded as it is, "" if it can.
        best: The last good save; None if there is none.
    """

    operation_id: str
    path: Path
    files: list[FileFound] = field(default_factory=list)
    problem: str = ""
    best: Recoverable | None = None


def operations_at(target: str, store: FileStore) -> list[Path]:
    """The checkpoints that *target* names: a directory, any file of an operation, or an operation id in *store*.

    Raises:
        ValueError: It names none.
    """
    path = Path(target)
    if path.is_dir():
        return sorted({base for file in path.iterdir() if (base := base_of(file)) is not None})
    base = base_of(path)
    if base is not None and _files_of(base):
        return [base]
    located = store.locate(target)
    if not _files_of(located):
        raise ValueError(f"{target!r} is no checkpoint file, no directory, and no operation in {store.directory}")
    return [located]


def base_of(path: Path) -> Path | None:
    """The checkpoint that the file *path* belongs to, by its name; None if to none."""
    match = _FILE.fullmatch(path.name)
    if match is None or match.group(2) == "lock":
        return None
    return path.with_name(match.group(1) + SUFFIX)


def verify(path: Path, *, now: datetime) -> Verified:
    """Look at all files of the checkpoint at *path*.

    Args:
        now: Stands in for time stamps that old documents lack.

    Raises:
        StoreError: They cannot be read.
    """
    files = _files_of(path)
    for file in files:
        _read(file)
    operation_id = _operation_id(path, files)
    found = Verified(operation_id, path, files)
    snapshots = [file for file in files if file.kind == "checkpoint"]
    journals = [file for file in files if file.kind == "journal"]
    for journal in journals:
        _look_into(journal, operation_id)
    candidates: list[Recoverable] = []
    for snapshot in snapshots:
        if not snapshot.problem:
            candidates.extend(_candidates(snapshot, journals, operation_id, now))
    found.best = _best(candidates)
    found.problem = _problem(found, snapshots, journals, now)
    return found


def _files_of(base: Path) -> list[FileFound]:
    """In the order in which they are preferred: current, previous, kept."""
    try:
        names = list(base.parent.iterdir()) if base.parent.is_dir() else []
    except OSError as error:
        raise StoreError(f"cannot look into {base.parent}: {error.strerror or error}") from error
    found = []
    for path in sorted(names):
        match = _FILE.fullmatch(path.name)
        if match is not None and match.group(2) in _KINDS and base_of(path) == base:
            suffix = match.group(3)
            role = "current" if suffix is None else "previous" if suffix == ".prev" else "kept"
            found.append(FileFound(path, _KINDS[match.group(2)], role))
    return sorted(found, key=lambda file: ("current", "previous", "kept").index(file.role))


def _read(file: FileFound) -> None:
    try:
        file.raw = _disk.read(file.path) or b""
    except OSError as error:
        file.problem = f"it cannot be read: {error.strerror or error}"


def _operation_id(base: Path, files: list[FileFound]) -> str:
    for file in files:
        if file.kind == "checkpoint":
            found = operation_id_in(file.path)
        else:
            content = _journal.read(file.raw)
            found = content.header.get("operation_id") if content is not None else None
        if isinstance(found, str):
            return found
    return base.name[len(PREFIX) : -len(SUFFIX)]


def _look_into(journal: FileFound, operation_id: str) -> None:
    content = _journal.read(journal.raw)
    if content is None:
        journal.notes = "it holds no save"
        return
    journal.saves = len(content.records)
    journal.notes = f"{journal.saves} good saves in {content.good_bytes:,} of {len(journal.raw):,} bytes"
    if content.damage:
        journal.problem = content.damage
    elif content.header.get("operation_id") != operation_id:
        journal.problem = "it is of another operation"
    elif content.good_bytes < len(journal.raw):
        journal.notes += "; the rest is a save that was cut off, which counts for nothing"


def _candidates(
    snapshot: FileFound, journals: list[FileFound], operation_id: str, now: datetime
) -> Iterator[Recoverable]:
    try:
        restored = _checked(from_snapshot(snapshot.raw, operation_id, now))
    except ValueError as error:
        snapshot.problem = str(error)
        return
    snapshot.notes = _told(restored)
    yield Recoverable(restored, snapshot)
    for journal in journals if restored.generation else ():
        found = _with_journal(snapshot, journal, operation_id, now)
        if found is not None:
            yield found


def _with_journal(snapshot: FileFound, journal: FileFound, operation_id: str, now: datetime) -> Recoverable | None:
    """As many of the journal's saves as can be replayed."""
    content = _journal.read(journal.raw)
    first = content.since(_generation(snapshot, operation_id, now)) if content is not None and content.header else None
    if content is None or first is None:
        return None
    ends = content.ends[first:]
    good, bad = 0, len(ends) + 1  # the first `good` can be replayed, the first `bad` cannot
    best: Recoverable | None = None
    count = len(ends)
    while good < bad:
        length = ends[count - 1] if count else 0
        restored = _replayed(snapshot, journal.raw[:length], operation_id, now) if count else None
        if restored is not None:
            best, good = Recoverable(restored, snapshot, journal, length, count), count
        else:
            bad = count
        if bad - good <= 1:
            break
        count = (good + bad) // 2
    return best


def _generation(snapshot: FileFound, operation_id: str, now: datetime) -> int:
    return from_snapshot(snapshot.raw, operation_id, now).generation


def _replayed(snapshot: FileFound, journal: bytes, operation_id: str, now: datetime) -> Restored | None:
    try:
        restored = from_snapshot(snapshot.raw, operation_id, now)
        replay(restored, journal)
        return _checked(restored)
    except ValueError:
        return None


def _checked(restored: Restored) -> Restored:
    check_internal(restored.data)
    return restored


def _best(candidates: list[Recoverable]) -> Recoverable | None:
    """The current one, if it is good, else the newest; of each with the most saves."""
    current = [one for one in candidates if one.snapshot.role == "current"]
    return max(current or candidates, key=_newness, default=None)


def _newness(one: Recoverable) -> tuple[datetime, int, int]:
    return one.restored.data.last_updated, one.restored.data.metadata.save_count, one.saves


def _told(restored: Restored) -> str:
    data = restored.data
    when = f"{data.last_updated:%Y-%m-%d %H:%M:%S} UTC"
    return f"saved {when}, {data.metadata.processed_items:,} items, {restored.size:,} bytes"


def _problem(found: Verified, snapshots: list[FileFound], journals: list[FileFound], now: datetime) -> str:
    """Why it cannot be loaded as it is; "" if it can."""
    current = next((file for file in snapshots if file.role == "current"), None)
    if current is None:
        return "there is no current checkpoint"
    if current.problem:
        return current.problem
    journal = next((file for file in journals if file.role == "current"), None)
    try:
        restored = from_snapshot(current.raw, found.operation_id, now)
        if restored.generation:
            replay(restored, journal.raw if journal is not None else None)
        _checked(restored)
    except ValueError as error:
        if journal is not None:
            journal.problem = journal.problem or str(error)
        return str(error)
    return ""
