"""Stores whose leases expire: retries calls, renews leases, and replaces dead owners.

A :class:`LeasedStore` does what all media have in common; see ``_medium`` for the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from .._errors import CheckpointBusyError, StaleCheckpointError, StoreBehindError, StoreError
from .._runtime.interpreter import user_line
from .._runtime.processes import has_ended, identity_of, passed_seconds
from ._base import CheckpointStore, Entry, Holder, Meanwhile, OwnedLease, Stored, Traits
from ._file import FileStore
from ._medium import ArtifactMedium, ArtifactMediumLease, HeldError, Medium, MediumLease, Staged
from ._names import check_artifact_name, check_operation_id
from ._pieces import blocks
from ._renewal import RENEWALS

if TYPE_CHECKING:
    import tenacity

_log = logging.getLogger("resumable")
R = TypeVar("R")
_LEAST_LEASE_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
"""Seconds for which a verb retries while the store is away."""
_LOOK_SECONDS = 3.0
"""Seconds for which a mere read retries."""
_FIRST_SECONDS, _LONGEST_SECONDS = 0.05, 2.0
_TOLD_FROM = 5
"""After this many tries, a warning says that the store is away."""
_PIECE = 1 << 20

_opened_at: dict[str, str] = {}
"""By nonce: the line of code that made each claim of this process."""


class LeasedStore:
    """A :class:`CheckpointStore` on a *medium*, whose leases expire unless they are renewed.

    Args:
        ttl: Seconds that a lease lasts without a renewal.
    """

    def __init__(self, medium: Medium, ttl: float | None = None) -> None:
        if ttl is not None and not ttl >= _LEAST_LEASE_SECONDS:
            raise ValueError(f"a lease must last {_LEAST_LEASE_SECONDS:g} s or longer, not {ttl!r}")
        self._medium = medium
        self._ttl = ttl if ttl is not None else medium.traits.lease_seconds
        self.traits: Traits = dataclasses.replace(medium.traits, leases_end=True)

    def __repr__(self) -> str:
        return repr(self._medium)

    def claim(self, key: str, me: Holder, *, ttl: float | None = None, take_over: bool = False) -> KeptLease:
        """Own *key* until the release, or until *ttl* seconds passed without a renewal and another owner took it.

        An owner on this machine whose process has ended is replaced at once.

        Args:
            take_over: Take it from its owner, who cannot write any more then.

        Raises:
            CheckpointBusyError: Another owner has it. Names the owner, and says how long the lease still lasts.
            StoreError: The store cannot be reached.
        """
        check_operation_id(key)
        seconds = ttl if ttl is not None else self._ttl
        me = dataclasses.replace(me, process=identity_of(os.getpid()), nonce=os.urandom(12).hex())
        _opened_at[me.nonce] = user_line()
        try:
            lease = self._claimed(key, me, seconds, take_over)
        except BaseException:
            del _opened_at[me.nonce]
            raise
        return KeptLease(self._medium, key, lease, me, seconds)

    def _claimed(self, key: str, me: Holder, ttl: float, take_over: bool | Holder) -> MediumLease:
        try:
            return again(lambda: self._medium.claim(key, me, ttl=ttl, take_over=take_over), _LOOK_SECONDS)
        except HeldError as held:
            other = held.holder
            # One that this process holds no more could not be released, as on a full disk.
            is_mine = bool(me.process) and (other.pid, other.process) == (me.pid, me.process)
            is_left = is_mine and other.nonce not in _opened_at
            if not take_over and (is_left or has_ended(other.pid, other.process)):
                return self._claimed(key, me, ttl, other)
            raise CheckpointBusyError(
                key,
                *(other.host, other.pid, other.since, _opened_at.get(other.nonce, "")),
                lease_left=held.lease_left,
                silent_for=held.silent_for,
                lease=held.lease,
            ) from None

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """One consistent state of *key*; None if there is none."""
        check_operation_id(key)
        return again(lambda: self._medium.read(key, previous=previous), _LOOK_SECONDS)

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern* (see :mod:`fnmatch`). Omits owners that have ended here."""
        return map(_without_ended, again(lambda: [*self._medium.list(pattern)], _LOOK_SECONDS))

    def read_artifact(self, key: str, name: str) -> Iterator[bytes]:
        """The bytes of an artifact, in pieces. See :meth:`ArtifactStore.read_artifact`."""
        check_operation_id(key)
        check_artifact_name(name)
        for number in count():
            piece = again(partial(self._artifacts.artifact_piece, key, name, number), _LOOK_SECONDS)
            if piece is None and not number:
                raise StoreError(f"{key!r} has no artifact {name}")
            if piece is None:
                return
            yield piece

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and size of each artifact of *key*, in any order."""
        check_operation_id(key)
        return iter(again(lambda: [*self._artifacts.list_artifacts(key)], _LOOK_SECONDS))

    def wish(self, key: str) -> bytes | None:
        """The wish for *key*; None if there is none. Never retries, because the owner asks again anyway."""
        check_operation_id(key)
        return self._medium.wish(key)

    def put_wish(self, key: str, wish: bytes) -> None:
        """Replace the wish for *key*. See :meth:`WishStore.put_wish`."""
        check_operation_id(key)
        again(lambda: self._medium.put_wish(key, wish), _LOOK_SECONDS)

    def clear_wish(self, key: str, wish: bytes) -> None:
        """Remove *wish*, unless another has replaced it."""
        check_operation_id(key)
        again(lambda: self._medium.clear_wish(key, wish), _LOOK_SECONDS)

    @property
    def _artifacts(self) -> ArtifactMedium:
        return cast("ArtifactMedium", self._medium)

    def describe(self, key: str | None = None) -> str:
        """Where *key* lies, or the whole store, without credentials."""
        return self._medium.describe(key)

    def over(self, directory: Path) -> CheckpointStore:
        """A store on this machine, for what this one cannot take while it is away."""
        return FileStore(directory)

    def close(self) -> None:
        """Close the connections. The store may be used again."""
        self._medium.close()


def _without_ended(entry: Entry) -> Entry:
    holder = entry.holder
    if holder is None or not has_ended(holder.pid, holder.process):
        return entry
    return dataclasses.replace(entry, holder=None, lease_left=None)


class KeptLease(OwnedLease):
    """See :class:`~resumable.stores.EndingLease`. Made by :meth:`LeasedStore.claim`."""

    next: int

    def __init__(self, medium: Medium, key: str, lease: MediumLease, me: Holder, ttl: float) -> None:
        super().__init__(key, lease.term, lease.next)
        self.ttl = ttl
        self._medium = medium
        self._lease = lease
        self._me = me
        self._next_me: Holder | None = None
        self._patience = PATIENCE_SECONDS
        self.is_away = self._gives_up = False
        self._is_behind, self._claiming = False, threading.Lock()
        self._on_lost: Callable[[], None] = lambda: None
        self._lost: StaleCheckpointError | None = None
        self._unsure: tuple[int, bytes] | None = None
        self._acknowledged: int | None = None
        self._snapshot = -1
        self._committed: set[Staged] = set()
        self._has_artifacts = medium.traits.keeps_artifacts and self._artifacts.has_artifacts
        self.renewed_at = passed_seconds()
        RENEWALS.add(self)

    def keep(self, on_lost: Callable[[], None], patience: float) -> None:
        """Set how the lease is kept. See :meth:`EndingLease.keep`."""
        self._on_lost, self._patience = on_lost, patience

    def give_up(self) -> None:
        """Stop all retries. See :meth:`EndingLease.give_up`."""
        self._gives_up = True

    def read(self) -> Stored | None:
        """What is stored; None if nothing is."""
        self._check()
        return again(self._lease.read, self._patience)

    def append(self, sequence: int, data: bytes, summary: bytes = b"", meanwhile: Meanwhile = None) -> None:
        """Add *data* to the journal as save *sequence*. See :meth:`Lease.append`."""
        if self._unsure == (sequence, data):
            self._check()
        elif self._stands(sequence, data):
            return
        if meanwhile is not None:  # now, for after the store's answer all is out of the processor's caches
            meanwhile()
        data = bytes(data)
        self.next, self._last, self._unsure = sequence + 1, None, (sequence, data)
        last, began = self._acknowledged, passed_seconds()
        self._do(lambda: self._up_to_date().append(sequence, last, data, summary))
        self._last, self._unsure, self._acknowledged = (sequence, data), None, sequence
        self._note_save(began)

    def stage(self, sequence: int, pieces: Iterable[bytes]) -> Callable[[bytes], None]:
        """Write *pieces* as a new snapshot that is not visible yet. See :meth:`Lease.stage`."""
        self._check()
        lease, name = self._lease, f"{self._me.nonce[:8]}{os.urandom(8).hex()}"
        number = size = 0
        for block in blocks(pieces, self._medium.traits.largest_piece or _PIECE):
            self._do(partial(lease.put_piece, name, number, block))
            number, size = number + 1, size + len(block)
        return partial(self._commit, lease, Staged(name, sequence, number, size))

    def _commit(self, lease: MediumLease, staged: Staged, summary: bytes) -> None:
        self._check()
        if staged in self._committed:
            return
        if staged.sequence < self._snapshot:
            raise StaleCheckpointError(self._key)
        is_whole = staged.sequence >= self.next
        if is_whole:
            self.next, self._last, self._unsure = staged.sequence + 1, None, None
        last = self._acknowledged

        def commit() -> None:
            if lease is not self._lease or (self._is_behind and not is_whole):
                raise StoreBehindError(self._key)  # its pieces, or what stands behind it, are those of another claim
            lease.commit(staged, last, summary)

        began = passed_seconds()
        self._do(commit)
        self._is_behind &= not is_whole
        self._committed.add(staged)
        self._snapshot = staged.sequence
        if last is None or staged.sequence > last:
            self._acknowledged = staged.sequence
        self._note_save(began)

    def delete(self) -> bool:
        """Remove the checkpoint. Returns whether there was one."""
        try:
            found = self._do(self._lease.delete)
        except StoreBehindError:  # what it has lost was to go
            found = self._do(self._lease.delete)
        self._acknowledged = self._last = self._unsure = None
        self._has_artifacts = False
        return found

    # -- artifacts, if the medium keeps them

    @property
    def _artifacts(self) -> ArtifactMediumLease:
        return cast("ArtifactMediumLease", self._lease)

    @property
    def has_artifacts(self) -> bool:
        """Whether there are any."""
        return self._has_artifacts

    def put_artifact(self, name: str, pieces: Iterable[bytes]) -> None:
        """Store *pieces* as the artifact *name*. See :meth:`ArtifactLease.put_artifact`."""
        check_artifact_name(name)
        self._check()
        self._has_artifacts = True
        for number, block in enumerate(blocks(pieces, self._medium.traits.largest_piece or _PIECE)):
            self._do(partial(self._artifacts.put_artifact_piece, name, number, block))

    def artifact_place(self, name: str) -> None:
        """None, because no directory of this machine holds the artifact."""
        check_artifact_name(name)

    def seal_artifact(self, name: str) -> None:
        """Never called, because there is no place to write at."""

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts except those with these *names*."""
        self._do(lambda: self._artifacts.keep_artifacts(names))

    # -- the claim

    def renew(self) -> None:
        """Extend the lease.

        Raises:
            StaleCheckpointError: It is lost.
        """
        self._check()
        began = passed_seconds()
        try:
            with self._noting(is_beside=True):
                self._lease.renew()
        except StoreError as error:
            self.is_away |= error.is_transient
            raise
        self.is_away = False
        self._note_renewal(began)

    @property
    def is_overdue(self) -> bool:
        """Whether the lease may have expired, or is lost."""
        return self._lost is not None or passed_seconds() - self.renewed_at > self.ttl

    def make_sure(self) -> None:
        """If the lease may have expired, ask whether it is still held. See :meth:`EndingLease.make_sure`."""
        self._check()
        if not self.is_overdue or self.is_away:  # a thread keeps asking, and the loop goes on
            return
        began = passed_seconds()
        try:
            with self._noting():
                self._lease.renew()
        except StoreBehindError:
            pass  # it is claimed again
        except StoreError as error:
            if not error.is_transient:
                raise
            self.is_away = True
            return
        self._note_renewal(began)

    def release(self) -> None:
        """Release the operation. Never raises."""
        if not self._lets_go():
            return
        RENEWALS.remove(self)
        for me in filter(None, (self._me, self._next_me)):
            _opened_at.pop(me.nonce, None)
        if self._lost is None:
            with contextlib.suppress(Exception):  # never replace the user's own error
                again(self._lease.release, 0 if self.is_away else min(self._patience, _LOOK_SECONDS))

    # -- failures

    def _do(self, verb: Callable[[], R]) -> R:
        """Call *verb*, with retries while the store is away."""
        self._check()
        with self._noting():
            done = again(verb, self._patience, self._check_again)
        self.is_away = False
        return done

    def _check_again(self) -> None:
        self.is_away = True
        self._check()
        if self._gives_up:
            raise StoreError(
                f"{self._key!r} is not saved: its store does not answer, and this run stops waiting for it."
            )

    @contextlib.contextmanager
    def _noting(self, *, is_beside: bool = False) -> Iterator[None]:
        """Note that the lease is lost. *is_beside*: log it, because the loop may notice only after a long item."""
        lease = self._lease
        try:
            yield
        except StaleCheckpointError as error:
            if lease is not self._lease:  # another thread has claimed it anew
                raise StoreBehindError(self._key) from None
            if is_beside and self._lost is None and not self._is_released:
                who = f"process {error.pid} on {error.host}" if error.pid else "another process"
                _log.error("%s: taken over by %s; the loop ends at its next item", self._key, who)
            self._lose(error)
            raise
        except StoreBehindError:
            with self._claiming:
                if lease is self._lease:
                    self._claim_anew()
            raise

    def _up_to_date(self) -> MediumLease:
        """What saves are added to. Raises StoreBehindError until all that the store has lost is written anew."""
        lease = self._lease
        if self._is_behind:
            raise StoreBehindError(self._key)
        return lease

    def _lose(self, error: StaleCheckpointError) -> None:
        if self._lost is None:
            self._lost = error
            RENEWALS.remove(self)
            self._on_lost()

    def _claim_anew(self) -> None:
        """Claim the operation again for the next save, because the store has lost acknowledged saves."""
        before, old = self._lease, self._me
        # One nonce until it is answered: the store may know it already. Meanwhile both are those of a live owner.
        me = self._next_me = self._next_me or dataclasses.replace(old, nonce=os.urandom(12).hex())
        _opened_at[me.nonce] = _opened_at.get(old.nonce, "")
        try:
            lease = again(lambda: self._medium.claim(self._key, me, ttl=self.ttl, take_over=old), self._patience)
        except HeldError as held:
            error = StaleCheckpointError(self._key, held.holder.host, held.holder.pid, held.holder.since)
            self._lose(error)
            raise error from None
        self._me, self._next_me = me, None
        _opened_at.pop(old.nonce, None)
        self._is_behind = True  # before anybody sees the new one
        self._lease, self.term = lease, max(lease.term, before.term)
        self.next = max(self.next, lease.next)
        self._acknowledged = self._last = self._unsure = None

    def _check(self) -> None:
        super()._check()
        if self._lost is not None:
            raise self._lost

    def _note_save(self, began: float) -> None:
        if self._medium.traits.saves_renew:
            self._note_renewal(began)

    def _note_renewal(self, began: float) -> None:
        """The store has renewed the lease after *began*. Its answer may be read much later, by a suspended process."""
        self.renewed_at = max(self.renewed_at, began)


# -- retries: repeat a call with equal arguments


def again(call: Callable[[], R], patience: float, check: Callable[[], None] = lambda: None) -> R:
    """The result of *call*, which is repeated after a transient failure.

    Args:
        patience: Seconds after which it is not repeated any more.
        check: Called before each repetition; raises to end them.

    Raises:
        StoreError: The last failure, which may be transient.
    """
    try:
        return call()
    except StoreError as error:
        if not error.is_transient or patience <= 0:
            raise
    return _repeated(call, patience, check)


def _repeated(call: Callable[[], R], patience: float, check: Callable[[], None]) -> R:
    import tenacity  # loads slowly, and most calls do not fail

    def checked() -> R:
        check()
        return call()

    policy = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, StoreError) and error.is_transient),
        wait=tenacity.wait_exponential(_FIRST_SECONDS, _LONGEST_SECONDS) + tenacity.wait_random(0, _FIRST_SECONDS),
        stop=tenacity.stop_after_delay(patience),
        before_sleep=_tell if patience > _LOOK_SECONDS else None,  # a mere read reports the failure soon
        reraise=True,
    )
    return policy(checked)


def _tell(state: tenacity.RetryCallState) -> None:
    if state.attempt_number == _TOLD_FROM and state.outcome is not None:
        _log.warning("%s It is tried again.", state.outcome.exception())
