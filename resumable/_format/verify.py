"""Judges the files of an operation: each generation, and each save in a journal. Only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec

from . import journal as _journal
from .artifacts import Look, in_directory
from .document import ENCRYPTED, UnknownFormatError, is_encrypted
from .files import FileFound, files_of, operation_id_of, read
from .restore import Restored, put_together

Unseal = Callable[[str, bytes], bytes]
"""Decrypts the content of an operation's file; raises ValueError if it cannot."""
UnsealArtifact = Callable[[str, str, Iterable[bytes]], Iterable[bytes]]
"""Decrypts an operation's artifact of that name; raises StoreError if it cannot."""
_SEALED = b"aes-256-gcm"
"""How a line of an encrypted journal begins."""
_MOST_LOOKS = 20
"""Look so often, at most, at what seems damaged while a run saves."""


@dataclass(slots=True)
class Recoverable:
    """A state that can be loaded: a snapshot with the good saves of its journals.

    Attributes:
        journals: The files that hold those saves; a journal may continue the one before it.
        journal: Their good lines, as one journal; empty without any.
        lost_bytes: Bytes of the journals that are not good.
    """

    restored: Restored
    snapshot: FileFound
    journals: tuple[FileFound, ...] = ()
    journal: bytes = b""
    saves: int = 0
    lost_bytes: int = 0

    def as_stored(self, unseal: Unseal | None) -> bytes:
        """The good part of the journals, encrypted if they are: as many whole segments as there are."""
        sealed = b"".join([journal.sealed for journal in self.journals])
        if not sealed or unseal is None:
            return self.journal
        kept, at = [], 0
        for line in sealed.splitlines(keepends=True):
            segment = unseal(self.restored.data.operation_id, line)
            if segment and self.journal.startswith(segment, at):  # else the journal before contains it, too
                kept.append(line)
                at += len(segment)
        return b"".join(kept)


@dataclass(slots=True)
class Verified:
    """All files of one operation.

    Attributes:
        path: Where its checkpoint lies, or should lie.
        problem: Why it cannot be loaded as it is; "" if it can.
        place: Its place, if that is not a file.
        best: The last good save; None if there is none.
    """

    operation_id: str
    path: Path
    files: list[FileFound] = field(default_factory=list)
    problem: str = ""
    best: Recoverable | None = None
    place: str = ""

    @property
    def location(self) -> str:
        """Its place, for people."""
        return self.place or str(self.path)

    @property
    def is_unknown(self) -> bool:
        """Whether it may be good, but this program cannot tell."""
        return any(file.is_unknown for file in self.files if file.role == "current")

    @property
    def verdict(self) -> str:
        """``good``, ``damaged`` or ``unknown``."""
        return "unknown" if self.is_unknown else "damaged" if self.problem else "good"


def verify(
    path: Path,
    *,
    now: datetime,
    unseal: Unseal | None = None,
    unseal_artifact: UnsealArtifact | None = None,
    artifacts: Look | None = None,
) -> Verified:
    """Judge all files of the checkpoint at *path*. Encrypted files cannot be judged without *unseal*.

    Args:
        now: Stands in for time stamps that old documents lack.
        artifacts: Checks the artifacts; by default, those beside *path*.

    Raises:
        StoreError: The files cannot be read.
    """
    files = files_of(path)
    for file in files:
        read(file)
    operation_id = operation_id_of(path, files)
    found = Verified(operation_id, path, files)
    snapshots = [file for file in files if file.kind == "checkpoint"]
    journals = [file for file in files if file.kind == "journal"]
    for snapshot in snapshots:
        _open(snapshot, operation_id, unseal)
    sealed = {snapshot.role for snapshot in snapshots if is_encrypted(snapshot.raw)}
    for journal in journals:
        if unseal is not None and journal.raw and (journal.role in sealed or journal.raw.startswith(_SEALED)):
            journal.sealed, journal.raw = journal.raw, unseal(operation_id, journal.raw)
        if journal.is_readable:
            _look_into(journal, operation_id)
    good = [snapshot for snapshot in snapshots if not snapshot.problem]
    opens = partial(unseal_artifact, operation_id) if unseal_artifact is not None else None
    artifacts = artifacts or in_directory(path.with_suffix(".files"), opens)
    candidates = [each for snapshot in good for each in _candidates(snapshot, journals, operation_id, now)]
    found.best = _best([each for each in candidates if not artifacts(each.restored.sections)])
    found.problem = _problem(found, snapshots, journals, now, artifacts)
    return found


def verify_settled(look: Callable[[], Verified]) -> Verified:
    """What *look* finds. What seems damaged is looked at until it stays as it is, because a run may be saving."""
    found = look()
    for _ in range(_MOST_LOOKS):
        before = found
        if not before.problem:
            break
        found = look()
        if [file.raw for file in found.files] == [file.raw for file in before.files]:
            break
    return found


def _open(snapshot: FileFound, operation_id: str, unseal: Unseal | None) -> None:
    snapshot.content = snapshot.raw
    if unseal is not None and is_encrypted(snapshot.raw):
        try:
            snapshot.content = unseal(operation_id, snapshot.raw)
        except ValueError as error:
            snapshot.fails(error)


def _look_into(journal: FileFound, operation_id: str) -> None:
    if journal.raw.startswith(_SEALED):
        journal.fails(UnknownFormatError(ENCRYPTED))
        return
    content = _journal.read(journal.raw)
    if content is None:
        journal.notes = f"it holds no save{_zeros(journal.raw)}"
        return
    journal.saves = len(content.records)
    room = f", and {journal.room:,} bytes of room for more" if journal.room else ""
    journal.notes = f"{journal.saves} good saves in {content.good_bytes:,} of {len(journal.raw):,} bytes{room}"
    try:
        if content.header:
            _journal.check_format(content.header)
    except ValueError as error:
        journal.notes = ""
        journal.fails(error)
        return
    journal.records = list(_records(content, len(journal.raw)))
    if content.damage:
        journal.problem = content.damage
    elif content.header and content.header.get("operation_id") != operation_id:
        journal.problem = "it belongs to another operation"
    elif content.good_bytes < len(journal.raw):
        journal.notes += _zeros(journal.raw[content.good_bytes :]) or (
            "; the rest is a save that was cut off, and does not count"
        )


def _zeros(tail: bytes) -> str:
    """Describe a tail of zeros; "" if it has other bytes."""
    if not tail or tail.strip(b"\0"):
        return ""
    return f"; its last {len(tail):,} bytes are zeros: saves that were lost, or not written completely"


def _records(content: _journal.JournalContent, size: int) -> Iterator[str]:
    start = 0
    for number, (record, end) in enumerate(zip(content.records, content.ends, strict=True), 1):
        metadata = record.get("metadata")
        items = metadata.get("processed_items") if isinstance(metadata, dict) else None
        fold = "; a new snapshot was begun with it" if "fold" in record else ""
        yield f"bytes {start:,} to {end:,}: good, save {number}, at {record.get('at')}, item {items or 0}{fold}"
        start = end
    if content.good_bytes < size:
        kind = f"damaged, {content.damage}" if content.damage else "cut off while it was written"
        yield f"bytes {content.good_bytes:,} to {size:,}: {kind}"


def _candidates(snapshot: FileFound, journals: list[FileFound], key: str, now: datetime) -> Iterator[Recoverable]:
    try:
        restored = put_together(snapshot.content, b"", key, now)
    except ValueError as error:
        snapshot.fails(error)
        return
    data = restored.data
    when = f"{data.last_updated:%Y-%m-%d %H:%M:%S} UTC"
    snapshot.notes = f"saved {when}, {data.metadata.processed_items:,} items, {restored.size:,} bytes"
    yield Recoverable(restored, snapshot)
    for files, raw in _whole_journals(journals) if restored.snapshot.generation else ():
        found = _with_journal(restored, snapshot, raw, now)
        if found is not None:
            found.journals = files
            yield found


def _whole_journals(journals: list[FileFound]) -> Iterator[tuple[tuple[FileFound, ...], bytes]]:
    """Each journal, and two as one if the current one continues the previous one."""
    for journal in journals:
        yield (journal,), journal.raw
    for older in (one for one in journals if one.role == "previous"):
        for newer in (one for one in journals if one.role == "current"):
            if raw := _journal.joined(older.raw, newer.raw):
                yield (older, newer), raw


def _with_journal(alone: Restored, snapshot: FileFound, raw: bytes, now: datetime) -> Recoverable | None:
    """The snapshot with as many saves of the journal *raw* as can be replayed; None if none can."""
    content = _journal.read(raw)
    try:
        # The lines before the damage are good.
        whole = msgspec.structs.replace(content, damage="") if content is not None else None
        saves = _journal.saves_for(whole, alone.snapshot) if whole is not None else []
    except ValueError:
        return None
    ends = content.ends[-len(saves) :] if content is not None and saves else []
    good, bad = 0, len(ends) + 1  # the first `good` saves can be replayed, the first `bad` cannot
    best: Recoverable | None = None
    count = len(ends)
    while bad - good > 1:
        journal = raw[: ends[count - 1]]
        try:
            restored = put_together(snapshot.content, journal, alone.data.operation_id, now)
        except ValueError:
            bad = count
        else:
            best = Recoverable(restored, snapshot, (), journal, count, len(raw) - len(journal))
            good = count
        count = (good + bad) // 2
    return best


def _best(candidates: list[Recoverable]) -> Recoverable | None:
    """The current one if it is good, else the newest; of equals, the one with the most saves."""

    def newness(one: Recoverable) -> tuple[datetime, int, int]:
        return one.restored.data.last_updated, one.restored.data.metadata.save_count, one.saves

    current = [one for one in candidates if one.snapshot.role == "current"]
    return max(current or candidates, key=newness, default=None)


def _problem(
    found: Verified, snapshots: list[FileFound], journals: list[FileFound], now: datetime, artifacts: Look
) -> str:
    """Why it cannot be loaded as it is; "" if it can."""
    current = next((file for file in snapshots if file.role == "current"), None)
    if current is None:
        return (
            "there is no current checkpoint: the operation was finished, or its checkpoint was removed; a run begins "
            "anew"
        )
    if current.problem:
        return current.problem
    journal = next((file for file in journals if file.role == "current"), None)
    previous = next((file for file in snapshots if file.role == "previous"), None)
    if previous is not None and previous.is_irregular and previous.path.is_dir():
        return f"{previous.problem}, where the previous checkpoint belongs, so nothing can be saved"
    try:
        if journal is not None and not journal.is_readable:
            alone = put_together(current.content, b"", found.operation_id, now)
            return journal.problem if alone.snapshot.generation else ""
        restored = put_together(current.content, journal.raw if journal is not None else b"", found.operation_id, now)
        return artifacts(restored.sections)
    except ValueError as error:
        if journal is not None and not journal.problem:
            journal.fails(error)
        return str(error)
