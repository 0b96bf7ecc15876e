"""The interface of a server or database that serves as a store: each verb is tried once, and reports the outcome.

:class:`~resumable.stores._lease.LeasedStore` makes a :class:`~resumable.stores.CheckpointStore` of a medium: it
retries, renews leases, and replaces dead owners. So a medium never waits, never repeats, and remembers nothing but its
connections.

If the outcome may be unknown (time-outs, resets, servers that start or fail over), every verb raises
``StoreError(..., is_transient=True)``. Then it is called again with equal arguments, so it must find out whether an
earlier attempt succeeded: after an error such as "key exists", it reads what is stored.
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
    """The parameters in a store's URL that are meant for this library, not for a driver.

    Attributes:
        lease: Seconds that leases last; None for the medium's default.
        table_prefix: The beginning of the names of tables or keys; "" for the default.
        compress: ``"zstd"``, or "" for none.
    """

    lease: float | None = None
    table_prefix: str = ""
    compress: str = ""

    def added_to(self, address: str) -> str:
        """*address* with the parameter that names its tables or keys, without which another store would be found."""
        return with_parameter(address, "table_prefix", self.table_prefix) if self.table_prefix else address


class Staged(NamedTuple):
    """A snapshot written in pieces, under a name that was never used before.

    Attributes:
        sequence: The last save that it contains.
        pieces: Number of pieces, counted from 0.
        size: Bytes of all pieces.
    """

    name: str
    sequence: int
    pieces: int
    size: int


class Medium(Protocol):
    """A server or database that stores operations."""

    @property
    def traits(self) -> Traits:
        """Properties of the medium. ``largest_piece`` must be set."""
        ...

    def claim(self, key: str, me: Holder, *, ttl: float, take_over: bool | Holder = False) -> MediumLease:
        """Own *key* if nobody does, or if the owner's lease has expired.

        If ``me.nonce`` owns it already, an earlier attempt succeeded. Removes what was staged and never committed. The
        store's own clock decides whether a lease has expired, or :class:`Unchanged`.

        Args:
            take_over: True: take it from any owner. A holder: only from that one, identified by its nonce.

        Raises:
            HeldError: Another owner has it.
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
        """Replace the wish for *key*."""

    def clear_wish(self, key: str, wish: bytes) -> None:
        """Remove *wish*, but no other one."""

    def describe(self, key: str | None = None) -> str:
        """Where it is, without any secret."""
        ...

    def close(self) -> None:
        """Close the connections. The next verb makes new ones."""


class ArtifactMedium(Medium, Protocol):
    """A medium that also keeps artifacts, as its traits say; its leases are :class:`ArtifactMediumLease`.

    An artifact consists of pieces, numbered from 0. It may be incomplete.
    """

    def artifact_piece(self, key: str, name: str, number: int) -> bytes | None:
        """A piece of an artifact; None if there is none with that number."""

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and size of each artifact of *key*."""
        ...


class MediumLease(Protocol):
    """An operation that is owned. Each verb takes effect only if the store still has its term and nonce.

    If the store has another owner's, the verb raises :func:`stale`; if it no longer knows of the claim or of save
    *last*, StoreBehindError. Other threads call :meth:`put_piece` and :meth:`renew` during a save.
    """

    @property
    def term(self) -> int:
        """Rises with every claim, also after a delete and after the end of the operation."""
        ...

    @property
    def next(self) -> int:
        """One more than any number used before the claim."""
        ...

    def read(self) -> Stored | None:
        """What is stored."""

    def append(self, sequence: int, last: int | None, data: bytes, summary: bytes) -> None:
        """Add save *sequence* to the journal.

        Args:
            last: The last save of this lease that the store has acknowledged; None if there is none yet.
        """

    def put_piece(self, name: str, number: int, data: bytes) -> None:
        """Write a piece of a new snapshot. Its name is new; an earlier attempt may have written it."""

    def commit(self, staged: Staged, last: int | None, summary: bytes) -> None:
        """Make *staged* the snapshot; all or nothing.

        The earlier snapshot becomes the previous one, with its segments up to now; older ones are removed afterwards.
        If ``staged.sequence`` exceeds *last*, no segment follows it; otherwise those after ``staged.sequence`` do.
        """

    def renew(self) -> None:
        """Extend the lease by its ttl from now, on a connection of its own."""

    def delete(self) -> bool:
        """Remove everything but the claim. Returns whether there was a snapshot."""
        ...

    def release(self) -> None:
        """End the claim, and remove what was staged and not committed; terms and numbers continue."""


class ArtifactMediumLease(MediumLease, Protocol):
    """An operation that is owned, with artifacts."""

    @property
    def has_artifacts(self) -> bool:
        """Whether the claim found any."""
        ...

    def put_artifact_piece(self, name: str, number: int, data: bytes) -> None:
        """Write a piece of an artifact; an earlier attempt may have written it."""

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts except those with these *names*. :meth:`delete` removes all of them."""


# -- common to all media


def with_parameter(address: str, name: str, value: str) -> str:
    """*address* with another parameter."""
    return f"{address}{'&' if '?' in address else '?'}{name}={value}"


def row_key(key: str) -> str:
    """A short key for an id, where case, length or control characters would cause trouble."""
    return hashlib.sha256(key.encode()).hexdigest()


def encoded(holder: Holder) -> str:
    """A holder in the form that the store keeps."""
    return msgspec.json.encode(holder).decode()


def decoded(text: str | bytes | None) -> Holder:
    """Decode what :func:`encoded` returned; an unknown holder if that is impossible."""
    try:
        return msgspec.json.decode(text or b"", type=Holder)
    except (ValueError, RecursionError):
        return Holder("", 0, "")


class HeldError(Exception):
    """Another owner has the operation.

    Attributes:
        lease_left: Seconds until the lease expires, unless it is renewed.
        silent_for: Seconds since the last renewal, as far as known.
        lease: A value that differs after each renewal.
    """

    def __init__(self, holder: Holder, lease_left: float, silent_for: float, lease: str) -> None:
        super().__init__(holder, lease_left, silent_for, lease)
        self.holder = holder
        self.lease_left = max(lease_left, 0.0)
        self.silent_for = max(silent_for, 0.0)
        self.lease = lease


class Unchanged:
    """How long leases were seen unchanged, by this process's clock: for stores without a clock."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}

    def seconds(self, key: str, lease: str) -> float:
        """Seconds since *lease* was first seen, if nothing else was seen since.

        Args:
            lease: A value that differs after each renewal.
        """
        now = passed_seconds()
        seen, since = self._seen.get(key, ("", now))
        if seen != lease:
            since = now
        self._seen[key] = lease, since
        return now - since


def stale(key: str, holder: Holder) -> StaleCheckpointError:
    """The error for a *key* that *holder* has taken over."""
    return StaleCheckpointError(key, holder.host, holder.pid, holder.since)
