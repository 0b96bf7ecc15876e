"""What a server or database must do to be a store: each verb once, and say what came of it.

:class:`~resumable.stores._lease.LeasedStore` makes a :class:`~resumable.stores.CheckpointStore` of it: it repeats what
was lost on the way, renews leases, and takes over from the dead. So a medium never waits, never repeats, and remembers
nothing but its connections.

All verbs raise ``StoreError(..., is_transient=True)`` where the outcome may be unknown: time-outs, resets, servers that
start or fail over. They are called again with the same arguments then, so each must find out whether it was done
before: a refusal, as of a key that exists, is looked into and never believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from .._errors import StaleCheckpointError
from .._runtime.processes import passed_seconds
from ._base import Entry, Holder, Stored, Traits


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a store's URL says to us, and not to a driver.

    Attributes:
        lease: Seconds that leases last, None for what suits the medium.
        table_prefix: What the names of tables, or of keys, begin with; "" for the usual.
        compress: ``"zstd"``, or "" for none.
    """

    lease: float | None = None
    table_prefix: str = ""
    compress: str = ""

    def added_to(self, address: str) -> str:
        """*address* and in which of its tables, or keys, the store is: without that, another one would be found."""
        return with_parameter(address, "table_prefix", self.table_prefix) if self.table_prefix else address


class Staged(NamedTuple):
    """A snapshot that was written in pieces under a name that was never used before.

    Attributes:
        sequence: The last save that it holds.
        pieces: How many there are, numbered from 0.
        size: Their bytes together.
    """

    name: str
    sequence: int
    pieces: int
    size: int


class Medium(Protocol):
    """A server or database that holds operations."""

    @property
    def traits(self) -> Traits:
        """Facts of the medium. ``largest_piece`` must be set."""
        ...

    def claim(self, key: str, me: Holder, *, ttl: float, take_over: bool | Holder = False) -> MediumLease:
        """Own *key*, if nobody does, or the owner's lease has ended.

        Where ``me.nonce`` owns it already, an earlier attempt has done it. What was staged and never committed is
        removed. Whether a lease has ended is told by the store's own clock, or by :class:`Unchanged`.

        Args:
            take_over: True: from whoever has it. A holder: from that one only, told by its nonce.

        Raises:
            HeldError: Somebody else has it.
        """
        ...

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """One consistent state. See :meth:`CheckpointStore.read`."""

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """See :meth:`CheckpointStore.list`."""
        ...

    def wish(self, key: str) -> bytes | None:
        """The wish for *key*. See :class:`WishStore`; each of its verbs may be called again if it fails."""

    def put_wish(self, key: str, wish: bytes) -> None:
        """Put *wish* in the place of what was wished before."""

    def clear_wish(self, key: str, wish: bytes) -> None:
        """Remove *wish*, but no other one."""

    def describe(self, key: str | None = None) -> str:
        """Where it is, without password or any secret."""
        ...

    def close(self) -> None:
        """Let go of the connections. The next verb makes new ones."""


class ArtifactMedium(Medium, Protocol):
    """One that keeps artifacts, too, and says so by its trait; its leases are :class:`ArtifactMediumLease`.

    An artifact is its pieces, numbered from 0. It may have been written halfway only.
    """

    def artifact_piece(self, key: str, name: str, number: int) -> bytes | None:
        """A piece of an artifact; None if there is none of that number."""

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and size of each artifact of *key*."""
        ...


class MediumLease(Protocol):
    """An operation that is owned. Each verb takes effect only if its term and nonce are still the store's.

    If they are another's, it raises :func:`stale`; if the store does not know of the claim or of save *last* any more,
    StoreBehindError. :meth:`put_piece` and :meth:`renew` are called by other threads while a save is made.
    """

    @property
    def term(self) -> int:
        """Rises at every claim, also after a delete and after the end of the operation."""
        ...

    @property
    def next(self) -> int:
        """One more than any number that was used before the claim."""
        ...

    def read(self) -> Stored | None:
        """What is stored."""

    def append(self, sequence: int, last: int | None, data: bytes, summary: bytes) -> None:
        """Add save *sequence* to the journal.

        Args:
            last: The last save of this lease that the store has acknowledged; None if there is none yet.
        """

    def put_piece(self, name: str, number: int, data: bytes) -> None:
        """Write a piece of a snapshot beside what is stored. Its name is new; it may have been written before."""

    def commit(self, staged: Staged, last: int | None, summary: bytes) -> None:
        """Make *staged* the snapshot; all or nothing.

        The one before becomes the previous one, with its segments up to now; what is older is removed afterwards. If
        ``staged.sequence`` is beyond *last*, no segment stands behind it; else those beyond ``staged.sequence`` do.
        """

    def renew(self) -> None:
        """Let the lease last another ttl from now, on a connection of its own."""

    def delete(self) -> bool:
        """Remove all but the claim. Whether there was a snapshot."""
        ...

    def release(self) -> None:
        """End the claim, and remove what was staged and not committed; terms and numbers go on."""


class ArtifactMediumLease(MediumLease, Protocol):
    """An operation whose artifacts may be written."""

    @property
    def has_artifacts(self) -> bool:
        """Whether the claim has found any."""
        ...

    def put_artifact_piece(self, name: str, number: int, data: bytes) -> None:
        """Write a piece of an artifact; it may have been written before."""

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts but those with these *names*. :meth:`delete` removes all of them."""


# -- what media share -------------------------------------------------------------------------------------------------


def with_parameter(address: str, name: str, value: str) -> str:
    """*address* with one more parameter of its own."""
    return f"{address}{'&' if '?' in address else '?'}{name}={value}"


def row_key(key: str) -> str:
    """What stands for an id where case, length and control characters would be trouble."""
    return hashlib.sha256(key.encode()).hexdigest()


def encoded(holder: Holder) -> str:
    """A holder as the store keeps it."""
    return msgspec.json.encode(holder).decode()


def decoded(text: str | bytes | None) -> Holder:
    """The holder that :func:`encoded` was given; an unknown one if it cannot be read."""
    try:
        return msgspec.json.decode(text or b"", type=Holder)
    except (ValueError, RecursionError):
        return Holder("", 0, "")


class HeldError(Exception):
    """Somebody else owns the operation.

    Attributes:
        lease_left: Seconds until the lease ends, unless it is renewed.
        silent_for: Seconds since it was renewed last, as far as known.
        lease: What differs after each renewal.
    """

    def __init__(self, holder: Holder, lease_left: float, silent_for: float, lease: str) -> None:
        super().__init__(holder, lease_left, silent_for, lease)
        self.holder = holder
        self.lease_left = max(lease_left, 0.0)
        self.silent_for = max(silent_for, 0.0)
        self.lease = lease


class Unchanged:
    """For how long leases were seen as they are, by this process's clock: where a store has no clock of its own."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}

    def seconds(self, key: str, lease: str) -> float:
        """How long ago *lease* was first seen, if nothing else was seen since.

        Args:
            lease: What differs after each renewal.
        """
        now = passed_seconds()
        seen, since = self._seen.get(key, ("", now))
        if seen != lease:
            since = now
        self._seen[key] = lease, since
        return now - since


def stale(key: str, holder: Holder) -> StaleCheckpointError:
    """*holder* has taken *key* over."""
    return StaleCheckpointError(key, holder.host, holder.pid, holder.since)
