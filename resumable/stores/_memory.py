"""Checkpoints in memory: for tests, and for loops that must survive an exception but not their process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial

from .._errors import CheckpointBusyError, StaleCheckpointError, StoreError
from ._base import Entry, Holder, Meanwhile, OwnedLease, Stored, Traits
from ._names import check_artifact_name, check_operation_id


@dataclass(slots=True)
class _Generation:
    snapshot: bytes
    sequence: int
    journal: list[tuple[int, bytes]] = field(default_factory=list)
    is_committed: bool = False

    def stored(self, key: str) -> Stored:
        return Stored(self.snapshot, b"".join([data for _, data in self.journal]), f"memory:{key}")


@dataclass(slots=True)
class _Operation:
    """The content of one operation; terms and numbers continue after a delete."""

    term: int = 0
    next: int = 1
    holder: Holder | None = None
    current: _Generation | None = None
    previous: _Generation | None = None
    artifacts: dict[str, bytes] = field(default_factory=dict)
    wish: bytes | None = None


class MemoryStore:
    """Checkpoints in the memory of this process; they end with it.

    Example:
        >>> with checkpointed("job", store=MemoryStore()) as cp:
        ...     cp.tick()
    """

    traits: Traits = Traits(survives="process", keeps_artifacts=True, looks_every=1.0)

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._operations: dict[str, _Operation] = {}

    def __repr__(self) -> str:
        return "MemoryStore()"

    def claim(self, key: str, me: Holder, *, ttl: float | None = None, take_over: bool = False) -> MemoryLease:
        """Own *key* until the release; *ttl* is not used.

        Args:
            take_over: Take it from its owner, who cannot write any more then.

        Raises:
            CheckpointBusyError: Another owner has it. Names the owner.
        """
        check_operation_id(key)
        with self._lock:
            operation = self._operations.setdefault(key, _Operation())
            other = operation.holder
            if other is not None and not take_over:
                raise CheckpointBusyError(key, other.host, other.pid, other.since)
            operation.term += 1
            operation.holder = me
            return MemoryLease(key, operation, self._lock)

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """One consistent state of *key*; None if there is none."""
        check_operation_id(key)
        with self._lock:
            operation = self._operations.get(key, _Operation())
            found = operation.previous if previous else operation.current
            return found.stored(key) if found is not None else None

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern* (see :mod:`fnmatch`)."""
        with self._lock:
            found = [
                Entry(key, self.describe(key), b"", len(known.current.snapshot), known.term, known.holder, None)
                for key, known in self._operations.items()
                if known.current is not None and fnmatchcase(key, pattern)
            ]
        return iter(found)

    def read_artifact(self, key: str, name: str) -> Iterator[bytes]:
        """The bytes of an artifact. See :meth:`ArtifactStore.read_artifact`."""
        check_artifact_name(name)
        with self._lock:
            found = self._operations.get(key, _Operation()).artifacts.get(name)
        if found is None:
            raise StoreError(f"{key!r} has no artifact {name}")
        yield found

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and size of each artifact of *key*."""
        with self._lock:
            found = self._operations.get(key, _Operation()).artifacts
            return iter([(name, len(data)) for name, data in found.items()])

    def wish(self, key: str) -> bytes | None:
        """The wish for *key*; None if there is none."""
        check_operation_id(key)
        with self._lock:
            return self._operations.get(key, _Operation()).wish

    def put_wish(self, key: str, wish: bytes) -> None:
        """Replace the wish for *key*. See :meth:`WishStore.put_wish`."""
        check_operation_id(key)
        with self._lock:
            self._operations.setdefault(key, _Operation()).wish = bytes(wish)

    def clear_wish(self, key: str, wish: bytes) -> None:
        """Remove *wish*, unless another has replaced it."""
        with self._lock:
            operation = self._operations.get(key)
            if operation is not None and operation.wish == wish:
                operation.wish = None

    def describe(self, key: str | None = None) -> str:
        """``memory:{key}``."""
        return f"memory:{key or ''}"

    def close(self) -> None:
        """Do nothing; what is stored stays."""


class MemoryLease(OwnedLease):
    """See :class:`~resumable.stores.Lease`. Made by :meth:`MemoryStore.claim`."""

    next: int

    def __init__(self, key: str, operation: _Operation, lock: threading.RLock) -> None:
        super().__init__(key, operation.term, operation.next)
        self._operation = operation
        self._lock = lock

    def read(self) -> Stored | None:
        """What is stored; None if nothing is."""
        with self._lock:
            current = self._operation.current
            return current.stored(self._key) if current is not None else None

    def append(self, sequence: int, data: bytes, summary: bytes = b"", meanwhile: Meanwhile = None) -> None:
        """Add *data* to the journal as save *sequence*. See :meth:`Lease.append`."""
        if self._stands(sequence, data):
            return
        if self._operation.current is None:
            raise StoreError(f"{self._key!r} has no whole checkpoint to add a save to")
        if meanwhile is not None:
            meanwhile()
        with self._lock:
            self._check()
            self._operation.current.journal.append((sequence, bytes(data)))
            self.next = self._operation.next = sequence + 1
            self._last = sequence, data

    def stage(self, sequence: int, pieces: Iterable[bytes]) -> Callable[[bytes], None]:
        """Keep *pieces* as a new snapshot that is not visible yet. See :meth:`Lease.stage`."""
        self._check()
        return partial(self._commit, _Generation(b"".join(pieces), sequence))

    def _commit(self, new: _Generation, summary: bytes) -> None:
        with self._lock:
            self._check()
            operation, old = self._operation, self._operation.current
            if new.is_committed:
                return
            if old is not None and new.sequence < old.sequence:
                raise StaleCheckpointError(self._key)
            if new.sequence >= operation.next:
                self.next = operation.next = new.sequence + 1
                self._last = None
            elif old is not None:
                new.journal = [segment for segment in old.journal if segment[0] > new.sequence]
            operation.previous, operation.current, new.is_committed = old or operation.previous, new, True

    def delete(self) -> bool:
        """Remove the checkpoint. Returns whether there was one."""
        with self._lock:
            self._check()
            found = self._operation.current is not None
            self._operation.current = self._operation.previous = self._last = None
            self._operation.artifacts.clear()
            return found

    @property
    def has_artifacts(self) -> bool:
        """Whether there is any."""
        return bool(self._operation.artifacts)

    def put_artifact(self, name: str, pieces: Iterable[bytes]) -> None:
        """Keep *pieces* as the artifact *name*. See :meth:`ArtifactLease.put_artifact`."""
        check_artifact_name(name)
        self._check()
        data = b"".join(pieces)
        with self._lock:
            self._check()
            self._operation.artifacts[name] = data

    def artifact_place(self, name: str) -> None:
        """None, because memory has no directories."""
        check_artifact_name(name)

    def seal_artifact(self, name: str) -> None:
        """Never called, because there is no place to write at."""

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts except those with these *names*."""
        with self._lock:
            self._check()
            for name in self._operation.artifacts.keys() - set(names):
                del self._operation.artifacts[name]

    def release(self) -> None:
        """Release the operation, if the lease is not lost. Never raises."""
        if self._lets_go():
            with self._lock:
                if self._operation.term == self.term:
                    self._operation.holder = None

    def _check(self) -> None:
        super()._check()
        if self._operation.term != self.term:
            raise StaleCheckpointError(self._key)
