"""Verify, repair and copy checkpoints in any store."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import cast

from .._errors import CheckpointCorruptError, StoreError
from .._runtime import disk
from ..stores import ArtifactLease, ArtifactStore, CheckpointStore, FileStore, Holder, Lease, Stored
from .artifacts import in_store
from .document import begun_copy, is_begun_copy, is_encrypted
from .repair import Repaired
from .restore import Restored, put_together
from .sections import Sections, summary_of
from .verify import Unseal, UnsealArtifact, Verified, verify, verify_settled


def verify_in(
    store: CheckpointStore,
    operation_id: str,
    *,
    now: datetime,
    unseal: Unseal | None = None,
    unseal_artifact: UnsealArtifact | None = None,
) -> Verified:
    """Verify what *store* holds of *operation_id*: the snapshot, the one before, and their journals.

    Raises:
        StoreError: The store cannot be read.
    """
    return verify_settled(partial(_verify_once, store, operation_id, now, unseal, unseal_artifact))


def _verify_once(
    store: CheckpointStore,
    operation_id: str,
    now: datetime,
    unseal: Unseal | None,
    unseal_artifact: UnsealArtifact | None,
) -> Verified:
    problem = ""
    with tempfile.TemporaryDirectory(prefix="resumable-") as directory:
        path = FileStore(directory).locate(operation_id)
        for previous in (False, True):
            try:
                _write(path, store.read(operation_id, previous=previous), ".prev" if previous else "")
            except CheckpointCorruptError as error:
                problem = problem or ("" if previous else error.reason)
        opens = partial(unseal_artifact, operation_id) if unseal_artifact is not None else None
        artifacts = in_store(store, operation_id, opens) if store.traits.keeps_artifacts else None
        found = verify(path, now=now, unseal=unseal, artifacts=artifacts)
    found.operation_id, found.problem = operation_id, problem or found.problem
    found.place = str(store.describe(operation_id))
    return found


def _write(path: Path, stored: Stored | None, suffix: str) -> None:
    if stored is not None:
        disk.replace(path.with_name(path.name + suffix), [stored.snapshot])
        if stored.journal:
            disk.replace(path.with_name(path.with_suffix(".journal").name + suffix), [stored.journal])


def repair_in(
    store: CheckpointStore,
    operation_id: str,
    *,
    now: datetime,
    unseal: Unseal | None = None,
    unseal_artifact: UnsealArtifact | None = None,
) -> Repaired:
    """Make the last good save of *operation_id* the current one. Nobody may be working on the operation.

    A damaged checkpoint becomes the previous generation. A good checkpoint is left unchanged.

    Raises:
        CheckpointCorruptError: There is no good save, or this program cannot tell. Nothing was changed.
        CheckpointBusyError: A process is working on the operation.
        StoreError: The store fails.
    """
    location = str(store.describe(operation_id))
    with owned(store, operation_id) as lease:
        found = verify_in(store, operation_id, now=now, unseal=unseal, unseal_artifact=unseal_artifact)
        if found.is_unknown or found.best is None:
            raise CheckpointCorruptError(operation_id, location, found.problem or "there is no good save")
        if found.problem:
            data = found.best.restored.data
            summary = summary_of(data.metadata, at=data.last_updated)
            _put(lease, found.best.snapshot.raw, found.best.as_stored(unseal), summary)
        return Repaired(operation_id, found.path, found.problem, found.best)


@contextlib.contextmanager
def owned(store: CheckpointStore, operation_id: str) -> Iterator[Lease]:
    """Own *operation_id* inside the ``with`` block."""
    lease = store.claim(operation_id, Holder.me())
    try:
        yield lease
    finally:
        lease.release()


def _put(lease: Lease, snapshot: bytes, journal: bytes, summary: bytes) -> None:
    """Replace the stored checkpoint in one commit. If there is a *journal*, no reader sees the snapshot without it."""
    sequence = lease.next
    commit = lease.stage(sequence, [snapshot])
    if journal:
        # These go behind the existing saves for now. Saves after a snapshot's number stay when it is committed.
        lease.append(sequence + 1, journal)
    commit(summary)


# -- from one store to another ----------------------------------------------------------------------------------------


_MOST_TRIES = 20
"""While a run replaces artifacts, try so often to copy all of one save."""


@dataclass(frozen=True, slots=True)
class Copied:
    """The result of a copy.

    Attributes:
        location: Where the checkpoint lies now.
        size: Bytes of the snapshot and its journal.
        artifacts: Number of artifacts copied.
        is_moved: Whether it was removed from the source.
    """

    operation_id: str
    location: str
    size: int
    artifacts: int
    is_moved: bool


def copy(
    source: CheckpointStore,
    target: CheckpointStore,
    operation_id: str,
    *,
    now: datetime,
    move: bool = False,
    is_forced: bool = False,
) -> Copied:
    """Copy the checkpoint of *operation_id* from *source* to *target*, byte for byte, and compare digests.

    An encrypted checkpoint is copied as it is; between two :class:`~resumable.stores.EncryptedStore`, it is decrypted
    and encrypted again.

    Args:
        move: Own it in *source* meanwhile, and remove it there once *target* has it.
        is_forced: Replace even a newer checkpoint in *target*.

    Raises:
        StoreError: It is missing or unreadable, or *target* has a newer one or cannot hold it. *source* is unchanged.
        CheckpointBusyError: A process is working on it in *target*, or, for a move, in *source*.
    """
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(owned(source, operation_id)) if move else None
        lease = stack.enter_context(owned(target, operation_id))
        stored = source.read(operation_id)
        if stored is None:
            raise StoreError(f"there is no checkpoint of {operation_id!r} in {source.describe()}")
        data = None if is_encrypted(stored.snapshot) else _read(operation_id, stored, now).data
        there = _standing(target, operation_id, is_forced)
        is_begun = there is not None and is_begun_copy(there.snapshot)
        if not is_forced:
            _refuse_newer(target, operation_id, data.last_updated if data is not None else None, now)
        if stored.journal and not target.traits.takes_journal:
            raise StoreError(
                f"{target.describe()} takes whole checkpoints only, and {operation_id!r} has saves in a journal. A "
                "store with another layer, such as ?compress=zstd, takes it."
            )
        stored, artifacts = _bring_artifacts(source, target, lease, operation_id, stored, now)
        data = None if is_encrypted(stored.snapshot) else _read(operation_id, stored, now).data
        summary = summary_of(data.metadata, at=data.last_updated) if data is not None else b""
        _bring(source, target, lease, operation_id, stored, summary, is_begun=is_begun)
        if ours is not None:
            ours.delete()
        size = len(stored.snapshot) + len(stored.journal)
        return Copied(operation_id, str(target.describe(operation_id)), size, artifacts, move)


def bring_over(
    source: CheckpointStore,
    target: CheckpointStore,
    lease: Lease,
    restored: Restored,
    stored: Stored | None,
    *,
    is_begun: bool,
) -> None:
    """Copy *stored* from *source* to *target*, which *lease* owns.

    Args:
        is_begun: Whether an earlier copy has begun, so that nobody takes the target's content for a checkpoint.
    """
    assert stored is not None, "there is nothing to bring"
    summary = summary_of(restored.data.metadata, at=restored.data.last_updated)
    _copy_artifacts(source, target, lease, restored.data.operation_id, restored.sections)
    _bring(source, target, lease, restored.data.operation_id, stored, summary, is_begun=is_begun)


def _bring(
    source: CheckpointStore,
    target: CheckpointStore,
    lease: Lease,
    key: str,
    stored: Stored,
    summary: bytes,
    *,
    is_begun: bool,
) -> None:
    if stored.journal and not is_begun:  # until everything is here, nobody may resume from the snapshot alone
        lease.stage(lease.next, [begun_copy(key, str(source.describe()))])(b"")
    _put(lease, stored.snapshot, stored.journal, summary)
    _compare(stored, lease.read(), str(target.describe(key)))


def is_begun_from(stored: Stored, source: CheckpointStore, operation_id: str) -> bool:
    """Whether *stored* is only the marker of a copy from *source* that has begun."""
    return stored.snapshot == begun_copy(operation_id, str(source.describe()))


def _read(operation_id: str, stored: Stored, now: datetime) -> Restored:
    try:
        return put_together(stored.snapshot, stored.journal, operation_id, now)
    except ValueError as error:
        raise CheckpointCorruptError(operation_id, str(stored.location), str(error)) from None


def _standing(target: CheckpointStore, operation_id: str, is_forced: bool) -> Stored | None:
    """What *target* holds; also None if it cannot be opened and is to be replaced."""
    try:
        return target.read(operation_id)
    except CheckpointCorruptError:
        if not is_forced:
            raise
        return None


def _refuse_newer(target: CheckpointStore, operation_id: str, saved_at: datetime | None, now: datetime) -> None:
    there = target.read(operation_id)
    if there is not None and is_begun_copy(there.snapshot):
        with contextlib.suppress(CheckpointCorruptError):
            there = target.read(operation_id, previous=True)
        if there is not None and is_begun_copy(there.snapshot):
            return
    if there is None:
        return
    if saved_at is None:
        raise StoreError(
            f"{target.describe()} has a checkpoint of {operation_id!r}, and nobody without the key (--key-file) can "
            "tell which one is newer. --force replaces it."
        )
    if (other := _read(operation_id, there, now).data.last_updated) > saved_at:
        raise StoreError(
            f"the checkpoint of {operation_id!r} in {target.describe()} is newer: it was saved at "
            f"{other.isoformat(timespec='seconds')}. --force replaces it."
        )


def _bring_artifacts(
    source: CheckpointStore, target: CheckpointStore, lease: Lease, key: str, stored: Stored, now: datetime
) -> tuple[Stored, int]:
    """Copy the artifacts of *stored*. If a run saves meanwhile, and has removed some, copy those of its newer save.

    Returns:
        What they belong to, and their number.

    Raises:
        StoreError: One is missing, or the run replaces them faster than they can be copied.
    """
    told = ""
    for _ in range(_MOST_TRIES):
        failure, names = None, set[str]()
        sections = None if is_encrypted(stored.snapshot) else _read(key, stored, now).sections
        try:
            names = _copy_artifacts(source, target, lease, key, sections)
        except StoreError as error:
            failure = error
        if failure is None and not names and not (sections and sections.artifacts):
            return stored, 0
        newer = source.read(key)
        is_same = newer is None or (newer.snapshot, newer.journal) == (stored.snapshot, stored.journal)
        if failure is not None and is_same and str(failure) == told:
            raise failure
        if failure is None and is_same:
            _refuse_missing(source, key, sections, names)
        if failure is None and sections is None and newer is not None and names == _names_in(source, key):
            return newer, len(names)  # between the two lists, so that it names none but these
        if failure is None and (is_same or (sections is not None and not in_store(target, key)(sections))):
            return stored, len(names)
        stored, told = newer or stored, str(failure or "")
    raise StoreError(
        f"a run works on {key!r}, and replaces its artifacts faster than they can be copied. Pause it first "
        f"(resumable pause), or copy it once it has ended."
    )


def _refuse_missing(source: CheckpointStore, key: str, sections: Sections | None, names: set[str]) -> None:
    for name, one in sections.artifacts.items() if sections is not None else ():
        if one.version not in names:
            raise StoreError(
                f"the artifact {name!r} of {key!r} is missing in {source.describe()}, so a copy could not go on."
            )


def _copy_artifacts(
    source: CheckpointStore, target: CheckpointStore, lease: Lease, operation_id: str, sections: Sections | None
) -> set[str]:
    """Copy all. Those that *sections*, if known, do not name may be removed meanwhile. Returns their names."""
    if not source.traits.keeps_artifacts:
        return set()
    origin = cast("ArtifactStore", source)
    names = _names_in(source, operation_id)
    if names and not target.traits.keeps_artifacts:
        raise StoreError(f"{target.describe()} cannot keep artifacts, and {operation_id!r} has {len(names):,}")
    there = _names_in(target, operation_id) if names else set()
    needed = None if sections is None else {one.version for one in sections.artifacts.values()}
    keeper, goal = cast("ArtifactLease", lease), cast("ArtifactStore", target)
    for name in names:
        if name in there and _contents_of(origin, operation_id, name) != _contents_of(goal, operation_id, name):
            keeper.keep_artifacts(there - {name})  # an incomplete version of an interrupted copy
        elif name in there:
            continue
        try:
            keeper.put_artifact(name, origin.read_artifact(operation_id, name))
        except StoreError:
            if needed is None or name in needed:
                raise
    return names


def _names_in(store: CheckpointStore, operation_id: str) -> set[str]:
    return {name for name, _ in cast("ArtifactStore", store).list_artifacts(operation_id)}


def _contents_of(store: ArtifactStore, operation_id: str, name: str) -> bytes:
    """The digest of an artifact; empty if it cannot be read."""
    digest = hashlib.sha256()
    try:
        for piece in store.read_artifact(operation_id, name):
            digest.update(piece)
    except (StoreError, ValueError):
        return b""
    return digest.digest()


def _compare(stored: Stored, there: Stored | None, location: str) -> None:
    digests = [_digest(one) for one in (stored, there)]
    if digests[0] != digests[1]:
        raise StoreError(f"{location} does not return what was copied to it: the digests differ. The source stands.")


def _digest(stored: Stored | None) -> str:
    digest = hashlib.sha256()
    for part in (stored.snapshot, stored.journal) if stored is not None else ():
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()
