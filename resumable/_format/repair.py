"""Returns to the last good save; damaged files are kept."""

from __future__ import annotations

import contextlib
import itertools
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .._errors import CheckpointCorruptError, StoreError
from .._runtime import disk
from ..stores import FileStore, Holder
from .verify import Recoverable, Unseal, UnsealArtifact, Verified, verify


@dataclass(slots=True)
class Repaired:
    """What a repair has done; nothing if there was no problem.

    Attributes:
        best: The save from which the next run resumes.
        kept: Copies of the damaged files.
    """

    operation_id: str
    path: Path
    problem: str
    best: Recoverable
    kept: list[Path] = field(default_factory=list)


def repair(
    path: Path, *, now: datetime, unseal: Unseal | None = None, unseal_artifact: UnsealArtifact | None = None
) -> Repaired:
    """Make the last good save of the checkpoint at *path* the current one. Nobody may be working on the operation.

    The damaged files stay beside it as ``….corrupt-<now>``. A good checkpoint is left unchanged.

    Raises:
        CheckpointCorruptError: There is no good save, or this program cannot tell: a newer release wrote it, or it is
            encrypted and *unseal* is missing. Nothing was changed.
        CheckpointBusyError: A process is working on the operation.
        StoreError: The files cannot be read or written; they can still be repaired.
    """
    store = FileStore(path.parent)
    operation_id = _judged(path, now, unseal, unseal_artifact).operation_id
    if store.locate(operation_id) != path:
        raise StoreError(f"{path} holds the operation {operation_id!r}, which belongs in {store.locate(operation_id)}")
    with contextlib.ExitStack() as stack:
        stack.callback(store.claim(operation_id, Holder.me()).release)
        found = _judged(path, now, unseal, unseal_artifact)
        if found.best is None:
            raise CheckpointCorruptError(operation_id, str(path), f"{found.problem}, and {_others(found)}")
        repaired = Repaired(operation_id, path, found.problem, found.best)
        if found.problem:
            try:
                _repair(found, repaired, f".corrupt-{now:%Y%m%dT%H%M%SZ}", found.best.as_stored(unseal))
            except OSError as error:
                raise StoreError(f"cannot repair {path}: {error.strerror or error}") from error
        return repaired


def _judged(path: Path, now: datetime, unseal: Unseal | None, unseal_artifact: UnsealArtifact | None) -> Verified:
    """Verify it, and refuse to repair what may be good.

    Raises:
        CheckpointCorruptError: It may be good; going back to an older save would lose work.
    """
    found = verify(path, now=now, unseal=unseal, unseal_artifact=unseal_artifact)
    if found.is_unknown:
        raise CheckpointCorruptError(found.operation_id, str(path), found.problem)
    return found


def _others(found: Verified) -> str:
    unknown = next((file for file in found.files if file.is_unknown), None)
    if unknown is None:
        return "no other save is good"
    return f"it is not known whether {unknown.path.name} is good: {unknown.problem}"


def _repair(found: Verified, repaired: Repaired, suffix: str, good_journal: bytes) -> None:
    """Write the copies first, then the journal, the checkpoint last: until then, the repair can be repeated."""
    best, path = repaired.best, found.path
    for file in found.files:
        if file.role != "kept" and file.is_irregular:
            # It cannot have a second name, and nothing can replace a directory.
            repaired.kept.append(_free_name(file.path, suffix))
            os.rename(file.path, repaired.kept[-1])
        elif file.role == "current" and (file.kind == "journal" or best.snapshot is not file):
            repaired.kept.append(_keep(file.path, suffix))
    journal = path.with_suffix(".journal")
    if good_journal:
        disk.replace(journal, [good_journal])
    else:
        disk.unlink(journal)
    if best.snapshot.role != "current":
        disk.replace(path, [best.snapshot.raw])
    disk.sync_directory(path.parent)


def _keep(path: Path, suffix: str) -> Path:
    """Give the file a second name, because it will be replaced."""
    kept = _free_name(path, suffix)
    try:
        os.link(path, kept, follow_symlinks=False)
    except (OSError, NotImplementedError):  # no hard links on this file system
        disk.write_new(kept, [disk.read(path) or b""])
    return kept


def _free_name(path: Path, suffix: str) -> Path:
    """A free name for a copy of *path*. The caller owns the operation, so nobody else takes the name."""
    numbers = itertools.chain([""], map("-{}".format, itertools.count(1)))
    names = (path.with_name(f"{path.name}{suffix}{number}") for number in numbers)
    return next(name for name in names if not os.path.lexists(name))
