"""Adapts a user's own store of bytes by id to the interface of stores and leases."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fnmatch import fnmatchcase
from functools import partial
from weakref import WeakSet

from .._errors import CheckpointBusyError, StaleCheckpointError, StoreError
from ._base import Entry, Holder, Meanwhile, OwnedLease, SimpleStore, Stored, Traits
from ._names import check_operation_id

_terms = itertools.count(time.time_ns())
_holders: dict[tuple[int, str], Holder] = {}
"""By identity of the simple store and id, so that two adapters of one store see each other's leases."""
_lock = threading.Lock()
_WISH = "resumable.wish."
"""The beginning of a wish's key, before the operation's id."""
_adapted: WeakSet[AdaptedStore] = WeakSet()


class AdaptedStore:
    """A :class:`~resumable.stores.SimpleStore` as a CheckpointStore: each save is one ``put`` of a whole snapshot.

    An operation has one owner in this process; among processes only if *store* has a verb ``own(key)``.
    """

    traits = Traits(takes_journal=False, looks_every=10.0)  # the cost of a check is unknown

    def __init__(self, store: SimpleStore) -> None:
        self.store = store
        self.lock = threading.RLock()  # between the loop's thread and the one that checks for wishes
        _adapted.add(self)

    def __repr__(self) -> str:
        return repr(self.store)

    def claim(self, key: str, me: Holder, *, ttl: float | None = None, take_over: bool = False) -> AdaptedLease:
        """Own *key* until the release, or the end of this process; *ttl* and *take_over* are not used.

        Raises:
            CheckpointBusyError: Another owner has it. Names the owner.
        """
        check_operation_id(key)
        with _lock:
            other = _holders.get((id(self.store), key))
            if other is not None:
                raise CheckpointBusyError(key, other.host, other.pid, other.since)
            _holders[id(self.store), key] = me
        with ExitStack() as owned:
            owned.callback(_holders.pop, (id(self.store), key), None)
            own = getattr(self.store, "own", None)
            if own is not None:
                owned.enter_context(own(key))
            return AdaptedLease(self, key, owned.pop_all())

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """What is stored under *key*; None if nothing is. There is no previous snapshot."""
        check_operation_id(key)
        with self.lock:
            blob = None if previous else self.store.get(key)
        return Stored(blob, b"", self.describe(key)) if blob is not None else None

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern* (see :mod:`fnmatch`)."""
        with self.lock:
            found = list(self.store.keys())
        for key in found:
            if fnmatchcase(key, pattern) and not key.startswith(_WISH):
                yield Entry(key, self.describe(key), b"", 0, 0, _holders.get((id(self.store), key)), None)

    def wish(self, key: str) -> bytes | None:
        """The wish for *key*; None if there is none."""
        with self.lock:
            return self.store.get(_WISH + key)

    def put_wish(self, key: str, wish: bytes) -> None:
        """Replace the wish for *key*. See :meth:`WishStore.put_wish`."""
        check_operation_id(key)
        with self.lock:
            self.store.put(_WISH + key, wish)

    def clear_wish(self, key: str, wish: bytes) -> None:
        """Remove *wish*, unless another has replaced it."""
        with self.lock:
            if self.store.get(_WISH + key) == wish:
                self.store.delete(_WISH + key)

    def describe(self, key: str | None = None) -> str:
        """The ``repr`` of the store, and the id."""
        return repr(self.store) if key is None else f"{self.store!r}:{key}"

    def close(self) -> None:
        """Close the store."""
        self.store.close()


class AdaptedLease(OwnedLease):
    """See :class:`~resumable.stores.Lease`. Made by :meth:`AdaptedStore.claim`."""

    def __init__(self, store: AdaptedStore, key: str, owned: ExitStack) -> None:
        super().__init__(key, next(_terms), time.time_ns() // 1_000_000)
        self._store = store
        self._owned = owned

    def read(self) -> Stored | None:
        """What is stored; None if nothing is."""
        return self._store.read(self._key)

    def append(self, sequence: int, data: bytes, summary: bytes = b"", meanwhile: Meanwhile = None) -> None:
        """Raise StoreError: the store takes only whole snapshots."""
        self._check()
        raise StoreError(f"{self._store!r} takes whole checkpoints only")

    def stage(self, sequence: int, pieces: Iterable[bytes]) -> Callable[[bytes], None]:
        """Join *pieces*; the commit puts them into the store."""
        self._check()
        return partial(self._commit, [b"".join(pieces)], sequence)

    def _commit(self, staged: list[bytes], sequence: int, summary: bytes) -> None:
        """Put what is *staged*, and empty it once it is stored."""
        self._check()
        if not staged:
            return
        if sequence < self.next - 1:
            raise StaleCheckpointError(self._key)
        self.next = sequence + 1
        with self._store.lock:
            self._store.store.put(self._key, *staged)
        staged.clear()

    def delete(self) -> bool:
        """Remove the checkpoint. Returns whether there was one."""
        self._check()
        with self._store.lock:
            return self._store.store.delete(self._key)

    def release(self) -> None:
        """Release the operation. Never raises."""
        if self._lets_go():
            with contextlib.suppress(Exception):  # never replace the user's own error
                self._owned.close()


def _renew_locks() -> None:
    # No thread of a forked child can hold one of these locks.
    for store in _adapted:
        store.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
