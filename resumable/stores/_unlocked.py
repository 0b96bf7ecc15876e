"""A lease of files in a directory that cannot lock them: before and after each write, it checks that it is held."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path

from .._errors import StoreError
from .._runtime import disk
from ._base import ArtifactLease, Holder, Meanwhile, Stored
from ._lease_file import LeaseFile, claimed
from ._lock import Told, tell, told_by


class UnlockedLease:
    """See :class:`~resumable.stores.EndingLease` and :class:`~resumable.stores.ArtifactLease`.

    Args:
        lease: The lease that writes.
        files: The lease files that own the operation; several if the operation has several names.
    """

    is_away: bool = False

    def __init__(self, lease: ArtifactLease, files: list[LeaseFile]) -> None:
        self._lease = lease
        self._files = files
        self.ttl: float = files[0].ttl
        self.term: int = lease.term
        self.where: Callable[[], int] = lease.where
        self.read: Callable[[], Stored | None] = lease.read
        self.release: Callable[[], None] = lease.release

    @property
    def next(self) -> int:
        """The smallest sequence number for the next save."""
        return self._lease.next

    def append(self, sequence: int, data: bytes, summary: bytes = b"", meanwhile: Meanwhile = None) -> None:
        """Add *data* to the journal as save *sequence*. See :meth:`Lease.append`."""
        with self._owning():
            self._lease.append(sequence, data, summary, meanwhile)

    def stage(self, sequence: int, pieces: Iterable[bytes]) -> Callable[[bytes], None]:
        """Write *pieces* as a new snapshot beside the old one. See :meth:`Lease.stage`."""
        self._check()
        return partial(self._commit, self._lease.stage(sequence, pieces))

    def _commit(self, commit: Callable[[bytes], None], summary: bytes) -> None:
        with self._owning():
            commit(summary)

    def delete(self) -> bool:
        """Remove the checkpoint and all files beside it. Returns whether there was one."""
        with self._owning():
            return self._lease.delete()

    # -- artifacts

    @property
    def has_artifacts(self) -> bool:
        """Whether the claim found any."""
        return self._lease.has_artifacts

    def put_artifact(self, name: str, pieces: Iterable[bytes]) -> None:
        """Store *pieces* as the artifact *name*. See :meth:`ArtifactLease.put_artifact`."""
        with self._owning():
            self._lease.put_artifact(name, pieces)

    def artifact_place(self, name: str) -> Path | None:
        """The directory for the artifact *name*; None if it was put as bytes."""
        self._check()
        return self._lease.artifact_place(name)

    def seal_artifact(self, name: str) -> None:
        """Sync to the disk what was written at :meth:`artifact_place`."""
        with self._owning():
            self._lease.seal_artifact(name)

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts except those with these *names*."""
        with self._owning():
            self._lease.keep_artifacts(names)

    # -- the claim

    def keep(self, on_lost: Callable[[], None], patience: float) -> None:
        """Set how the lease is kept. See :meth:`EndingLease.keep`."""
        for file in self._files:
            file.on_lost = on_lost

    def give_up(self) -> None:
        """Do nothing: there are no retries here. See :meth:`EndingLease.give_up`."""

    @property
    def is_overdue(self) -> bool:
        """Whether the lease may have expired, or is lost."""
        return self._files[0].is_overdue

    def make_sure(self) -> None:
        """If the lease may have expired, ask whether it is still held. See :meth:`EndingLease.make_sure`."""
        if self.is_overdue:
            try:
                self.renew()
            except StoreError as error:
                if not error.is_transient:
                    raise

    def renew(self) -> None:
        """Extend the lease.

        Raises:
            StaleCheckpointError: It is lost.
        """
        self._lease.renew()
        for file in self._files:
            file.renew()

    @contextlib.contextmanager
    def _owning(self) -> Iterator[None]:
        """A write in the block counts only if the lease is held after it, too."""
        self._check()
        try:
            yield
        finally:
            self._check()

    def _check(self) -> None:
        self._lease.renew()
        for file in self._files:
            file.check()


class WithoutLocks:
    """Replaces locks where the file system has none.

    Args:
        ttl: Seconds that a lease lasts.
        take_over: Take the operation from its owner.
    """

    def __init__(self, ttl: float, *, take_over: bool) -> None:
        self._ttl = ttl
        self._take_over = take_over
        self._files: list[LeaseFile] = []

    @contextlib.contextmanager
    def holding(self, path: Path, operation_id: str, me: Holder) -> Iterator[int]:
        """Own *operation_id* by a lease file beside *path*. Yields the term. See :func:`_lock.holding`."""
        path.touch(0o600)
        file = claimed(path, operation_id, me, self._ttl, take_over=self._take_over)
        self._files.append(file)
        try:
            term = max(told_by(path).term + 1, time.time_ns())
            tell(path, Told(me.host, me.pid, me.since, term, operation_id[:200]))
            # An owner that lost the lease may have the journal open: its appends must not reach this journal.
            journal = path.with_suffix(".journal")
            if (content := disk.read(journal)) is not None:
                disk.replace(journal, [content])
            yield term
        finally:
            file.release()

    def lease(self, lease: ArtifactLease) -> UnlockedLease:
        """*lease*, checked by the lease files."""
        return UnlockedLease(lease, self._files)
