"""Encrypts checkpoints: only who has the key can read or change them. See ``_sealing`` for the bytes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from .._errors import CheckpointCorruptError
from . import _sealing
from ._base import (
    CheckpointStore,
    EndingLease,
    Entry,
    Holder,
    Lease,
    Meanwhile,
    SimpleStore,
    Stored,
    Traits,
    WishStore,
)
from ._compressed import CompressedStore
from ._open import open_store
from ._sealing import Sealer, WrongKeyError

__all__ = ["EncryptedLease", "EncryptedStore", "WrongKeyError"]
_REPAIR = "This key opens the save before it; give it to resumable repair with --key-file FILE or in $RESUMABLE_KEY"

Keys: TypeAlias = str | bytes | list[str] | tuple[str, ...]


class EncryptedStore:
    """Encrypts what goes into *store*, and authenticates what comes out of it.

    It supports what *store* supports: a save costs what has changed. While programs run, the artifacts that they write
    and read lie in a private directory on this machine. A person who can write to the medium cannot make a
    checkpoint, change one, give it to another operation, replace one save by another or leave one out, but can restore
    an older state of the operation.

    Example:
        >>> store = EncryptedStore("checkpoints", EncryptedStore.new_key())
        >>> with checkpointed("secret", store=store) as cp:
        ...     cp.tick()

    Args:
        store: Where the encrypted checkpoints lie.
        key: From :meth:`new_key`. Keep it away from the checkpoints. Of several keys, the first encrypts, and all are
            tried
            to decrypt: to change keys, put the new one before the old one.
        compress: ``"zstd"`` compresses before encrypting, as does ``compress=zstd`` in the URL of *store*.

    Raises:
        ValueError: A *key* is malformed, or *compress* is unknown.
        ImportError: The package ``cryptography`` is missing, or zstd.
    """

    def __init__(
        self,
        store: CheckpointStore | SimpleStore | str | os.PathLike[str],
        key: Keys,
        *,
        compress: Literal["", "zstd"] = "",
    ) -> None:
        if compress not in ("", "zstd"):
            raise ValueError(f"compress must be 'zstd', not {compress!r}")
        inner = open_store(store)
        is_compressed = isinstance(inner, CompressedStore)
        # Encrypted bytes cannot be compressed.
        self._store = inner.only_reading() if isinstance(inner, CompressedStore) else inner
        keys: list[str | bytes] = [*key] if isinstance(key, list | tuple) else [key]
        self.sealer: Sealer = Sealer(keys, packs=is_compressed or bool(compress))
        self._layer = partial(EncryptedStore, key=key, compress="zstd" if is_compressed or compress else "")
        # A save's summary would be stored unencrypted.
        self.traits: Traits = dataclasses.replace(inner.traits, keeps_summary=False)

    def __repr__(self) -> str:
        return f"EncryptedStore({self._store!r})"

    @staticmethod
    def new_key() -> str:
        """A new random key, as text for an environment variable.

        Example:
            >>> len(EncryptedStore.new_key())
            44
        """
        return _sealing.new_key()

    def claim(self, key: str, me: Holder, *, ttl: float | None = None, take_over: bool = False) -> EncryptedLease:
        """Own *key* until the lease is released. See :meth:`CheckpointStore.claim`."""
        return EncryptedLease(self, self._store.claim(key, me, ttl=ttl, take_over=take_over), key)

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """The saved state of *key*; None if there is none.

        Args:
            previous: Return the previous snapshot instead; None if this key does not decrypt it.

        Raises:
            CheckpointCorruptError: It was encrypted with another key, or is damaged.
            StoreError: It cannot be read.
        """
        sealed = self._store.read(key, previous=previous)
        if not previous:
            return self.opened(key, sealed)
        with contextlib.suppress(ValueError):
            return self._unsealed(key, sealed)
        return None

    def _unsealed(self, key: str, sealed: Stored | None) -> Stored | None:
        if sealed is None:
            return None
        snapshot = self.sealer.opened_snapshot(key, sealed.snapshot)
        journal = self.sealer.opened_journal(key, sealed.journal, _sealing.chain_of(sealed.snapshot))
        return Stored(snapshot, journal, sealed.location)

    def opened(self, key: str, sealed: Stored | None) -> Stored | None:
        """*sealed*, decrypted.

        Raises:
            CheckpointCorruptError: It was encrypted with another key, or is damaged.
        """
        try:
            return self._unsealed(key, sealed)
        except ValueError as error:
            previous = self.read(key, previous=True)
            # Only a file can be restored from its previous version.
            path = str(previous.location) if previous is not None and isinstance(previous.location, Path) else None
            reason = f"{error}. {_REPAIR}" if path is not None else str(error)
            location = str(sealed.location) if sealed is not None else ""
            raise CheckpointCorruptError(key, location, reason, path) from None

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern* (see :mod:`fnmatch`); ids are not secret."""
        return self._store.list(pattern)

    def read_artifact(self, key: str, name: str) -> Iterator[bytes]:
        """The bytes of an artifact, decrypted piece by piece. See :meth:`ArtifactStore.read_artifact`.

        Raises:
            StoreError: There is none, it was encrypted with another key, or it is damaged.
        """
        store: Any = self._store
        yield from self.unseal_artifact(key, name, store.read_artifact(key, name))

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and encrypted size of each artifact of *key*."""
        store: Any = self._store
        return iter(store.list_artifacts(key))

    def wish(self, key: str) -> bytes | None:
        """The wish for *key*. It is not encrypted, because it contains nothing of the saved data."""
        return cast("WishStore", self._store).wish(key)

    def put_wish(self, key: str, wish: bytes) -> None:
        """Replace the wish for *key*. See :meth:`WishStore.put_wish`."""
        cast("WishStore", self._store).put_wish(key, wish)

    def clear_wish(self, key: str, wish: bytes) -> None:
        """Remove *wish*, unless another has replaced it."""
        cast("WishStore", self._store).clear_wish(key, wish)

    def describe(self, key: str | None = None) -> Path | str:
        """Where the encrypted checkpoint of *key* lies, or would lie."""
        return self._store.describe(key)

    def over(self, directory: Path) -> EncryptedStore:
        """For the library: a store on this machine with equal keys, for what this one cannot take while it is away."""
        return self._layer(directory)

    def close(self) -> None:
        """Close the inner store."""
        self._store.close()

    def unseal(self, key: str, stored: bytes) -> bytes:
        """The decrypted content of a snapshot or journal of the operation *key*.

        Raises:
            WrongKeyError: This key does not open it.
            ValueError: It is damaged. The text is for a person. Of a journal, the good part is returned, with a mark of
                damage after it.
        """
        if stored.lstrip().startswith(b"{"):
            return self.sealer.opened_snapshot(key, stored)
        return self.sealer.opened_journal(key, stored)

    def unseal_artifact(self, key: str, name: str, stored: Iterable[bytes]) -> Iterator[bytes]:
        """For the library: the decrypted content of an artifact, in pieces.

        Raises:
            StoreError: It was encrypted with another key, or is damaged.
        """
        return self.sealer.opened_artifact(key, name, stored)


class EncryptedLease:
    """See :class:`~resumable.stores.Lease`. Made by :meth:`EncryptedStore.claim`."""

    def __init__(self, store: EncryptedStore, lease: Lease, key: str) -> None:
        self._store = store
        self._sealer = store.sealer
        self._lease = lease
        self._key = key
        self._chain: str | None = None
        self._last: tuple[int, bytes, bytes] = (0, b"", b"")
        self.term: int = lease.term
        self.where: Callable[[], int] = lease.where
        self.renew: Callable[[], None] = lease.renew
        self.release: Callable[[], None] = lease.release
        if isinstance(lease, EndingLease):
            self.ttl: float = getattr(lease, "ttl", 0.0)
            self.keep: Callable[[Callable[[], None], float], None] = lease.keep
            self.give_up: Callable[[], None] = lease.give_up
            self.make_sure: Callable[[], None] = lease.make_sure

    @property
    def is_away(self) -> bool:
        """Whether the store did not answer last time, so that calls are retried."""
        return isinstance(self._lease, EndingLease) and self._lease.is_away

    @property
    def is_overdue(self) -> bool:
        """Whether the lease may have expired, or is lost."""
        return isinstance(self._lease, EndingLease) and self._lease.is_overdue

    @property
    def next(self) -> int:
        """The smallest sequence number for the next save."""
        return self._lease.next

    def read(self) -> Stored | None:
        """What is stored, decrypted; None if nothing is. Raises what :meth:`EncryptedStore.read` raises."""
        return self._store.opened(self._key, self._read())

    def _read(self) -> Stored | None:
        sealed = self._lease.read()
        self._chain = _sealing.chain_of(sealed.snapshot) if sealed is not None else _sealing.new_chain()
        return sealed

    # -- saves

    def append(self, sequence: int, data: bytes, summary: bytes = b"", meanwhile: Meanwhile = None) -> None:
        """Encrypt *data* as save *sequence*. See :meth:`Lease.append`."""
        if self._last[:2] != (sequence, data):  # a repeated append must have equal bytes
            self._last = sequence, bytes(data), self._sealer.segment(self._key, self._its_chain(), sequence, data)
        self._lease.append(sequence, self._last[2], b"", meanwhile)

    def stage(self, sequence: int, pieces: Iterable[bytes]) -> Callable[[bytes], None]:
        """Encrypt *pieces* as a new snapshot. See :meth:`Lease.stage`."""
        if self._chain is None:  # the stored snapshot was not read, so nothing continues from it
            self._chain = _sealing.new_chain()
        commit = self._lease.stage(sequence, self._sealer.snapshot(self._key, pieces, self._chain))
        return lambda summary: commit(b"")

    def delete(self) -> bool:
        """Remove the checkpoint. Returns whether there was one. Later saves begin a new chain."""
        found = self._lease.delete()
        self._chain = None
        return found

    def _its_chain(self) -> str:
        """The chain of the stored snapshot."""
        if self._chain is None:
            self._read()
        return self._chain or _sealing.NO_CHAIN

    # -- artifacts

    @property
    def has_artifacts(self) -> bool:
        """Whether the claim found any."""
        lease: Any = self._lease
        return bool(lease.has_artifacts)

    def put_artifact(self, name: str, pieces: Iterable[bytes]) -> None:
        """Encrypt *pieces* as the artifact *name*. See :meth:`ArtifactLease.put_artifact`."""
        lease: Any = self._lease
        lease.put_artifact(name, self._sealer.artifact(self._key, name, pieces))

    def artifact_place(self, name: str) -> None:
        """None, because files there would not be encrypted."""

    def seal_artifact(self, name: str) -> None:
        """Never called, because there is no place to write at."""

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts except those with these *names*."""
        lease: Any = self._lease
        lease.keep_artifacts(names)
