"""The interface of stores, and of the lease through which an operation is written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from .._errors import StaleCheckpointError, StoreError
from .._runtime.interpreter import HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Properties of a medium that decide how often, and how, checkpoints are saved there.

    Attributes:
        is_remote: Writes go over a network, so they are never made in the loop's thread.
        takes_journal: Saves may be segments of a journal. False: every save is a whole snapshot.
        keeps_summary: The store keeps a summary beside each save. False: ``Entry.summary`` is empty.
        largest_piece: Largest size of a piece or segment, in bytes; None for any size.
        least_interval: Seconds between two saves, at least.
        fold_after: When the journal has this many bytes, compact it into a new snapshot.
        survives: What an acknowledged save survives: the end of the ``"process"``, or of the ``"machine"``.
        leases_end: A lease that is not renewed expires. Its lease then has the verbs of :class:`EndingLease`, too.
        saves_renew: Each save renews the lease.
        lease_seconds: How long a lease lasts by default.
        keeps_artifacts: Files may belong to a checkpoint: the store is an :class:`ArtifactStore`, its leases are
            :class:`ArtifactLease`.
        looks_every: Seconds between an owner's checks for a wish, if the store is a :class:`WishStore`; else None.
    """

    is_remote: bool = False
    takes_journal: bool = True
    keeps_summary: bool = False
    largest_piece: int | None = None
    least_interval: float = 0.0
    fold_after: int = 1 << 19
    survives: Literal["process", "machine"] = "machine"
    leases_end: bool = False
    saves_renew: bool = False
    lease_seconds: float = 30.0
    keeps_artifacts: bool = False
    looks_every: float | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """The owner of an operation: machine ("" if unknown), process id (0), and since when (UTC, ISO 8601; "").

    Attributes:
        process: Unique to the process on all machines, so that its end can be detected; "" if unknown.
        nonce: Unique to the claim; "" if not needed.
    """

    host: str
    pid: int
    since: str
    process: str = ""
    nonce: str = ""

    @classmethod
    def me(cls) -> Holder:
        """This process as a holder, from now on."""
        from datetime import UTC, datetime

        return cls(HOST, os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))


@dataclass(frozen=True, slots=True)
class Stored:
    """One consistent state of an operation.

    Attributes:
        snapshot: The whole document.
        journal: The segments since then, joined. The snapshot may contain the first ones already.
        location: Where the snapshot lies.
    """

    snapshot: bytes
    journal: bytes
    location: Path | str


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation in a store's list.

    Attributes:
        summary: The summary of the last save; empty if the store keeps none.
        size: Bytes of the snapshot; 0 if unknown.
        term: Number of the last claim; 0 if unknown.
        holder: The present owner; None without one.
        lease_left: Seconds until the owner's lease expires; None if leases do not expire.
    """

    key: str
    location: Path | str
    summary: bytes
    size: int
    term: int
    holder: Holder | None
    lease_left: float | None


Meanwhile = Callable[[], None] | None


class Lease(Protocol):
    """One operation, owned. All writes go through it; every verb raises StoreError if the medium fails.

    A write takes effect only while the lease is held and its sequence number is not below :attr:`next`; otherwise it
    raises :class:`~resumable.StaleCheckpointError`. Numbers rise and may be skipped. One append or commit at a time;
    :meth:`stage` may run in another thread meanwhile. In a forked child, every write raises StoreError.
    """

    @property
    def term(self) -> int:
        """The number of this claim; it rises with every claim of the operation, also after a delete."""
        ...

    @property
    def next(self) -> int:
        """The smallest sequence number for the next save."""
        ...

    def read(self) -> Stored | None:
        """What is stored; None if nothing is."""

    def append(self, sequence: int, data: bytes, summary: bytes = b"", meanwhile: Meanwhile = None) -> None:
        """Add *data* to the journal as save *sequence*; it is safe on the medium when this returns.

        Repeated with the last number and equal bytes, it succeeds and writes nothing.

        Args:
            meanwhile: Called once, best while a disk of this machine writes, else before that. If it raises, the
                append fails.
        """

    def stage(self, sequence: int, pieces: Iterable[bytes]) -> Callable[[bytes], None]:
        """Write *pieces* as a new snapshot that replaces every save up to and including *sequence*.

        The snapshot is durable when this returns, but not visible yet; appends may go on meanwhile.

        Returns:
            A function that commits the snapshot, given its summary: all or nothing. If *sequence* is not below
                :attr:`next` at the commit, the snapshot counts as that save. Otherwise the segments after *sequence*
                follow the snapshot. The earlier snapshot is kept as the previous one, with its segments. A second
                commit changes nothing.
        """
        ...

    def where(self) -> int:
        """A sequence number that is safe to use after a write with an unknown outcome."""
        ...

    def renew(self) -> None:
        """Extend the lease. Raises StaleCheckpointError if it is lost."""

    def delete(self) -> bool:
        """Remove the checkpoint. Returns whether there was one. The lease is still held."""
        ...

    def release(self) -> None:
        """Release the operation, and drop what was staged but not committed. Never raises."""


@runtime_checkable
class EndingLease(Lease, Protocol):
    """A lease that expires unless it is renewed; a thread renews it until the release."""

    def keep(self, on_lost: Callable[[], None], patience: float) -> None:
        """Set how the lease is kept.

        Args:
            on_lost: Called, from any thread, once another owner is found to have taken the operation.
            patience: Seconds for which a verb retries while the store is away.
        """

    def give_up(self) -> None:
        """Stop all retries, including one under way: the program cannot wait any longer."""

    @property
    def is_away(self) -> bool:
        """Whether the store did not answer last time, so that calls are retried."""
        ...

    @property
    def is_overdue(self) -> bool:
        """Whether :meth:`make_sure` would ask the store, or raise."""
        ...

    def make_sure(self) -> None:
        """If the lease may have expired, because this process was suspended, ask the store whether it is still held.

        This does not wait for a store that is away: the lease is lost only when another owner has taken it.

        Raises:
            StaleCheckpointError: Another owner has taken the operation.
        """


class ArtifactLease(Lease, Protocol):
    """A lease whose operation may have artifacts: bytes under names that are used once and never written again.

    A name is that of one version: 1 to 80 ASCII letters, digits, ``-``, ``_`` and ``.``; the first is a letter or a
    digit. An artifact counts once a save names it. The store does not know these names, so whoever saves tells it
    what to keep. :meth:`Lease.delete` removes all artifacts, after the checkpoint. A write is refused where a save
    would be refused.
    """

    @property
    def has_artifacts(self) -> bool:
        """Whether the claim found any. Also False if finding out would have cost an extra request."""
        ...

    def put_artifact(self, name: str, pieces: Iterable[bytes]) -> None:
        """Store *pieces*, joined, as the artifact *name*; it is safe on the medium when this returns.

        If this or *pieces* raises, a part may remain; :meth:`keep_artifacts` removes it. Other threads may save
        meanwhile.
        """

    def artifact_place(self, name: str) -> Path | None:
        """The directory in which to write and read the artifact *name*; None if there is no such place.

        A medium of local files has one, so that nothing is copied; it is made if necessary. An artifact that was stored
        by :meth:`put_artifact` has none.
        """
        ...

    def seal_artifact(self, name: str) -> None:
        """Sync to the disk what was written at :meth:`artifact_place`, and its name.

        Raises:
            ValueError: There is something that is neither a file nor a directory.
        """

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts except those with these *names*. Some may be missing."""


class OwnedLease:
    """The common part of this package's leases: each ends with its release, or with its process."""

    def __init__(self, key: str, term: int, first: int) -> None:
        self.term = term
        self.next: int = first
        self._key = key
        self._owner_pid = os.getpid()
        self._is_released = False
        self._last: tuple[int, bytes] | None = None

    def where(self) -> int:
        """One more than any number that was tried."""
        return self.next

    def renew(self) -> None:
        """Check that the lease is held."""
        self._check()

    def _check(self) -> None:
        if os.getpid() != self._owner_pid:
            raise StoreError(
                f"{self._key!r} is owned by process {self._owner_pid}, from which this one was forked; only that one "
                "may save. What was saved before still stands."
            )
        if self._is_released:
            raise StaleCheckpointError(self._key)

    def _stands(self, sequence: int, data: bytes) -> bool:
        """Whether exactly this was appended last. Raises StaleCheckpointError if something else has its number."""
        self._check()
        if sequence < self.next and self._last != (sequence, data):
            raise StaleCheckpointError(self._key)
        return sequence < self.next

    def _lets_go(self) -> bool:
        """Whether there is something to release: not twice, and not in a forked child, whose parent goes on."""
        is_held = not self._is_released and os.getpid() == self._owner_pid
        if is_held:
            self._is_released, self.next = True, sys.maxsize  # no number is left to be used
        return is_held


@runtime_checkable
class CheckpointStore(Protocol):
    """Where checkpoints lie. Every verb raises :class:`~resumable.StoreError` if the medium fails."""

    @property
    def traits(self) -> Traits:
        """Properties of the medium."""
        ...

    def claim(self, key: str, me: Holder, *, ttl: float | None = None, take_over: bool = False) -> Lease:
        """Own the operation *key* until the lease is released.

        Args:
            me: The owner, as shown to others.
            ttl: Seconds that the lease lasts without a renewal, if leases expire here; None for the value in the
                store's URL, or the medium's default.
            take_over: Take the operation from its owner, if the medium can; the owner cannot write any more then.

        Raises:
            CheckpointBusyError: Another owner has it. Names the owner.
        """
        ...

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """One consistent state of *key*; None if there is none. Needs no ownership.

        Args:
            previous: Return the previous snapshot with its segments instead.
        """

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern* (see :mod:`fnmatch`), in any order."""
        ...

    def describe(self, key: str | None = None) -> Path | str:
        """Where *key* lies or would lie, or the whole store; for people, without credentials."""
        ...

    def close(self) -> None:
        """Close connections and files. The store may be used again."""


class ArtifactStore(CheckpointStore, Protocol):
    """A store that also keeps artifacts; see :class:`ArtifactLease`."""

    def read_artifact(self, key: str, name: str) -> Iterator[bytes]:
        """The bytes of an artifact, in pieces. Needs no ownership.

        For a directory written at its :meth:`ArtifactLease.artifact_place`, they are its tar.

        Raises:
            StoreError: There is none, or the medium fails; at the first piece at the latest.
        """
        ...

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and size, in bytes, of each artifact of the operation *key*, in any order."""
        ...


@runtime_checkable
class WishStore(CheckpointStore, Protocol):
    """A store that keeps a wish beside each operation: a few bytes by which anybody may request something of the owner.

    A wish needs no ownership, and no checkpoint. It is not part of the checkpoint: it stays over saves, claims and a
    delete until it is cleared. Verbs may be called from any thread, also during a save.
    """

    def wish(self, key: str) -> bytes | None:
        """The wish for *key*; None if there is none."""

    def put_wish(self, key: str, wish: bytes) -> None:
        """Replace the wish for *key*. It is safe when this returns."""

    def clear_wish(self, key: str, wish: bytes) -> None:
        """Remove *wish*, unless another has replaced it meanwhile."""


@runtime_checkable
class SimpleStore(Protocol):
    """A store of your own: bytes by operation id. Any object with these five verbs works.

    ``put`` is all or nothing: a reader sees the old bytes or the new ones. Every verb raises
    :class:`~resumable.StoreError` if the medium fails. An optional sixth verb ``own(key)``, a context manager that
    raises :class:`~resumable.CheckpointBusyError`, excludes other processes; without it, only this process is kept
    from working on an operation twice. Verbs are never called concurrently. What ``resumable stop`` and the like
    request of a running operation lies under a key of its own, ``resumable.wish.`` and the operation's id.
    """

    def get(self, key: str) -> bytes | None:
        """The bytes under *key*; None if there are none."""

    def put(self, key: str, blob: bytes) -> Path | str:
        """Replace the bytes under *key*. Returns where they lie once they are safe."""
        ...

    def delete(self, key: str) -> bool:
        """Remove *key*. Returns whether it was there."""
        ...

    def keys(self) -> Iterator[str]:
        """All operation ids that have a checkpoint, in any order."""
        ...

    def close(self) -> None:
        """Close connections and files. The store may be used again."""
