"""What a store is, and the lease through which an operation is written."""

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
    """Facts of a medium that decide how often, and how, a checkpoint is saved there.

    Attributes:
        is_remote: A write goes over a network; it is never made in the loop's thread.
        takes_journal: Saves may be segments of a journal. False: every save is a whole snapshot.
        keeps_summary: The store keeps the summary beside each save. False: ``Entry.summary`` is empty.
        largest_piece: Bytes that one piece or segment may have; None if any number will do.
        least_interval: Seconds between two saves, at least.
        fold_after: From so many bytes of journal on, a new snapshot pays.
        survives: What an acknowledged save outlives: the end of the ``"process"``, or that of the ``"machine"``.
        leases_end: A lease that is not renewed ends by itself. Its lease has the verbs of :class:`EndingLease`, too.
        saves_renew: Each save renews the lease.
        lease_seconds: How long a lease lasts, unless somebody says otherwise.
        keeps_artifacts: Files may go with a checkpoint: it is an :class:`ArtifactStore`, its leases are
            :class:`ArtifactLease`.
        looks_every: Seconds between two looks of an owner for a wish; it is a :class:`WishStore`. None: it is none.
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
    """Who owns an operation: machine ("" if unknown), process id (0), and since when (UTC, ISO 8601; "").

    Attributes:
        process: What no other process of any machine has, so that it is known when it has ended; "" if unknown.
        nonce: What no other claim has; "" if that is not needed.
    """

    host: str
    pid: int
    since: str
    process: str = ""
    nonce: str = ""

    @classmethod
    def me(cls) -> Holder:
        """This process, from now on."""
        from datetime import UTC, datetime

        return cls(HOST, os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))


@dataclass(frozen=True, slots=True)
class Stored:
    """One consistent state of an operation.

    Attributes:
        snapshot: The whole document.
        journal: The segments since then, one after the other. The first ones may be in the snapshot already.
        location: Where the snapshot lies.
    """

    snapshot: bytes
    journal: bytes
    location: Path | str


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation in a store's list.

    Attributes:
        summary: What the last save said about itself; empty if the store keeps no summaries.
        size: Bytes of the snapshot, 0 if unknown.
        term: Number of the last claim, 0 if unknown.
        holder: Who works on it right now, None if nobody does.
        lease_left: Seconds until its lease ends, None if leases do not end by themselves.
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

    A write takes effect only while the lease is held and its sequence number is not below :attr:`next`; else it
    raises :class:`~resumable.StaleCheckpointError`. Numbers rise and may be skipped. One append or commit at a time;
    :meth:`stage` may run in another thread beside them. In a forked child, every write raises StoreError.
    """

    @property
    def term(self) -> int:
        """The number of this claim; it rises at every claim of the operation, also after a delete."""
        ...

    @property
    def next(self) -> int:
        """The least sequence number that the next save may take."""
        ...

    def read(self) -> Stored | None:
        """What is stored, None if nothing is."""

    def append(self, sequence: int, data: bytes, summary: bytes = b"", meanwhile: Meanwhile = None) -> None:
        """Add *data* to the journal as save *sequence*; it is safe on the medium when this returns.

        Repeated with the last number and the same bytes, this succeeds and writes nothing.

        Args:
            meanwhile: Called at most once, while the medium works and this thread has nothing to do. If it raises,
                the append fails.
        """

    def stage(self, sequence: int, pieces: Iterable[bytes]) -> Callable[[bytes], None]:
        """Write *pieces* as a new snapshot that stands for every save up to and including *sequence*.

        The snapshot is durable when this returns, but nobody sees it yet, and appends may go on meanwhile.

        Returns:
            What commits the snapshot, given its summary: all or nothing. If *sequence* is not below :attr:`next` at
            the commit, the snapshot is that save. Else the segments behind *sequence* stay behind the snapshot. The
            snapshot before is kept as the previous one, with its segments. A second commit changes nothing.
        """
        ...

    def where(self) -> int:
        """The sequence number that is safe to use after a write whose outcome is unknown."""
        ...

    def renew(self) -> None:
        """Keep the lease for another while. Raises StaleCheckpointError if it is lost."""

    def delete(self) -> bool:
        """Remove the checkpoint; returns whether there was one. The lease is still held."""
        ...

    def release(self) -> None:
        """Let go of the operation and of what was staged and not committed. Never raises."""


@runtime_checkable
class EndingLease(Lease, Protocol):
    """A lease that ends by itself unless it is renewed, which a thread does until the release."""

    def keep(self, on_lost: Callable[[], None], patience: float) -> None:
        """Say how it is kept.

        Args:
            on_lost: Called, from any thread, when another owner was found to have taken the operation.
            patience: Seconds for which a verb is tried again while the store is away.
        """

    def give_up(self) -> None:
        """Try no verb again from now on, also not the one that is under way: the program may not wait any longer."""

    @property
    def is_away(self) -> bool:
        """Whether the store did not answer last, and is tried again."""
        ...

    @property
    def is_overdue(self) -> bool:
        """Whether :meth:`make_sure` has something to ask, or to raise."""
        ...

    def make_sure(self) -> None:
        """Ask the store whether the lease is still held, if it may have ended: this process may have been stopped.

        A store that does not answer is not waited for: the lease is lost only once another owner has taken it.

        Raises:
            StaleCheckpointError: Another owner has taken the operation.
        """


class ArtifactLease(Lease, Protocol):
    """A lease whose operation may have artifacts: bytes under names that are used once and never written again.

    A name is that of one version: 1 to 80 ASCII letters, digits, ``-``, ``_`` and ``.``, the first one a letter or a
    digit. An artifact counts for nothing until a save names it, and the store does not know which ones are named:
    whoever saves tells it what to keep. :meth:`Lease.delete` removes all of them, after the checkpoint. Writes are
    refused where those of a save are.
    """

    @property
    def has_artifacts(self) -> bool:
        """Whether the claim has found any. False, too, where it would have had to ask for that."""
        ...

    def put_artifact(self, name: str, pieces: Iterable[bytes]) -> None:
        """Store *pieces*, one after the other, as the artifact *name*; it is safe on the medium when this returns.

        If it raises, or *pieces* does, there may be a part of it: only :meth:`keep_artifacts` knows of it then. Other
        threads may save meanwhile.
        """

    def artifact_place(self, name: str) -> Path | None:
        """The directory that is the artifact *name*, to be written and read there; None if there is no such place.

        A medium of local files gives one, so that nothing is copied. It is made if it is missing. What was stored by
        :meth:`put_artifact` has no such place.
        """
        ...

    def seal_artifact(self, name: str) -> None:
        """Bring through to the disk what was written at :meth:`artifact_place`, and its name.

        Raises:
            ValueError: There is something that is neither a file nor a directory.
        """

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts but those with these *names*. Some may be missing."""


class OwnedLease:
    """What the leases of this package share: each ends with its release, or with its process."""

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
        """Make sure that the lease is held."""
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
        """Whether just this was appended last. Raises StaleCheckpointError if anything else has its number."""
        self._check()
        if sequence < self.next and self._last != (sequence, data):
            raise StaleCheckpointError(self._key)
        return sequence < self.next

    def _lets_go(self) -> bool:
        """Whether there is something to release: not twice, and not in a forked child, whose parent goes on."""
        is_held = not self._is_released and os.getpid() == self._owner_pid
        if is_held:
            self._is_released, self.next = True, sys.maxsize  # no number is left to be taken
        return is_held


@runtime_checkable
class CheckpointStore(Protocol):
    """Where checkpoints lie. Every verb raises :class:`~resumable.StoreError` if the medium fails."""

    @property
    def traits(self) -> Traits:
        """Facts of the medium."""
        ...

    def claim(self, key: str, me: Holder, *, ttl: float | None = None, take_over: bool = False) -> Lease:
        """Own the operation *key* until the lease is released.

        Args:
            me: Who is shown to others as the owner.
            ttl: Seconds that the lease lasts without being renewed, where leases end by themselves; None for what the
                store's URL says, or what suits the medium.
            take_over: Take the operation from its owner, where the medium can; the owner may no longer write then.

        Raises:
            CheckpointBusyError: Another owner has it. Names that owner.
        """
        ...

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """One consistent state of *key*, None if there is none. Needs no ownership.

        Args:
            previous: The snapshot before the last one, with its segments.
        """

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern* (see :mod:`fnmatch`), in no order."""
        ...

    def describe(self, key: str | None = None) -> Path | str:
        """Where *key* lies or would lie, or the store as a whole; for people, without credentials."""
        ...

    def close(self) -> None:
        """Let go of connections and files. The store may be used again."""


class ArtifactStore(CheckpointStore, Protocol):
    """A store that keeps artifacts, too; see :class:`ArtifactLease`."""

    def read_artifact(self, key: str, name: str) -> Iterator[bytes]:
        """The bytes of an artifact, in pieces. Needs no ownership.

        One that was written at its :meth:`ArtifactLease.artifact_place` is given as a tar of that directory.

        Raises:
            StoreError: There is none, or the medium fails; at the first piece at the latest.
        """
        ...

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and size, in bytes, of each artifact of the operation *key*, in no order."""
        ...


@runtime_checkable
class WishStore(CheckpointStore, Protocol):
    """A store that keeps a wish beside each operation: some bytes by which anybody may ask something of its owner.

    Nobody needs to own the operation for it, and it may have no checkpoint. A wish is no part of the checkpoint: it
    stays over saves, claims and a delete until it is cleared. Verbs may be called from any thread, beside a save.
    """

    def wish(self, key: str) -> bytes | None:
        """The wish for *key*, None if there is none."""

    def put_wish(self, key: str, wish: bytes) -> None:
        """Wish something of the owner of *key*, in place of what was wished before. It is safe when this returns."""

    def clear_wish(self, key: str, wish: bytes) -> None:
        """Forget *wish*, if it still stands; another one that has come in its place meanwhile stays."""


@runtime_checkable
class SimpleStore(Protocol):
    """A store of your own: bytes by operation id. Any object with these five verbs will do.

    ``put`` is all or nothing: a reader sees the old bytes or the new ones. Every verb raises
    :class:`~resumable.StoreError` if the medium fails. A sixth verb ``own(key)``, a context manager that raises
    :class:`~resumable.CheckpointBusyError`, keeps other processes away; without it, only this process is kept from
    working on an operation twice. No two verbs are called at the same time. What ``resumable stop`` and the like ask
    of a running operation lies under a key of its own, ``resumable.wish.`` and the operation's id.
    """

    def get(self, key: str) -> bytes | None:
        """The bytes under *key*, None if there are none."""

    def put(self, key: str, blob: bytes) -> Path | str:
        """Replace what is under *key*; returns where it lies once it is safe there."""
        ...

    def delete(self, key: str) -> bool:
        """Remove *key*; returns whether it was there."""
        ...

    def keys(self) -> Iterator[str]:
        """All operation ids that have a checkpoint, in no order."""
        ...

    def close(self) -> None:
        """Let go of connections and files. The store may be used again."""
