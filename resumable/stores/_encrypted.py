"""Checkpoints that only who has the key can read or change.

What is stored is a JSON document that tells the operation id, which is in the file's name anyway, and the rest under
AES-256-GCM: encrypted, and bound to that id.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .._errors import CheckpointCorruptError, StoreError
from ._base import CheckpointStore, EndingLease, Entry, Holder, Lease, Meanwhile, SimpleStore, Stored, Traits
from ._open import open_store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

VERSION = "2.0 encrypted"
_KEY_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 12, 16
_SEGMENT = b"aes-256-gcm "
_SEALED, _END = b',"aes-256-gcm":"', b'"}\n'
_REPAIR = "The save before it opens with this key; resumable repair takes it from --key-file FILE or $RESUMABLE_KEY"
_PIECE = 3 << 18  # of base64, whose groups take three bytes
_ARTIFACT_PIECE = 1 << 20
_ARTIFACT_HEAD = b"resumable encrypted artifact 1\n"


class WrongKeyError(ValueError):
    """It was sealed with another key, or its bytes are damaged: which of the two, nobody can tell."""


class EncryptedStore:
    """What is put into *store* is encrypted first, and what comes out of it is authenticated.

    It can what *store* can; on a server a save costs what has changed, while in files and in memory each one writes
    everything. Artifacts are encrypted, too; what programs write and read of them lies in a private directory of this
    machine while they run. Who can write to the medium cannot make a checkpoint, change one, give it to another
    operation or put one save in the place of another, but can put an older state of the same operation back.

    Example:
        >>> store = EncryptedStore("checkpoints", EncryptedStore.new_key())
        >>> with checkpointed("secret", store=store) as cp:
        ...     cp.tick()

    Args:
        store: Where the encrypted checkpoints lie.
        key: From :meth:`new_key`. Keep it elsewhere than the checkpoints.

    Raises:
        ValueError: *key* is no key.
        ImportError: The package ``cryptography`` is missing.
    """

    def __init__(self, store: CheckpointStore | SimpleStore | str | os.PathLike[str], key: str | bytes) -> None:
        _ciphers()
        self._store = open_store(store)
        self._key = _key_from(key)
        inner = self._store.traits
        # What a save says about itself would stand there in the clear.
        takes_journal = inner.takes_journal and inner.is_remote
        self.traits: Traits = dataclasses.replace(inner, takes_journal=takes_journal, keeps_summary=False)

    def __repr__(self) -> str:
        return f"EncryptedStore({self._store!r})"

    @staticmethod
    def new_key() -> str:
        """A new random key, as text that fits an environment variable.

        Example:
            >>> len(EncryptedStore.new_key())
            44
        """
        return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()

    def claim(self, key: str, me: Holder, *, ttl: float | None = None, take_over: bool = False) -> EncryptedLease:
        """Own *key* until the lease is released. See :meth:`CheckpointStore.claim`."""
        return EncryptedLease(self, self._store.claim(key, me, ttl=ttl, take_over=take_over), key)

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """What was saved under *key*, None if nothing was.

        Args:
            previous: The snapshot before the last one; None if this key does not open it.

        Raises:
            CheckpointCorruptError: It was not written with this key, or is damaged.
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
        return Stored(self.unseal(key, sealed.snapshot), self._opened_journal(key, sealed.journal), sealed.location)

    def opened(self, key: str, sealed: Stored | None) -> Stored | None:
        """*sealed* as it was before it was encrypted.

        Raises:
            CheckpointCorruptError: It was not written with this key, or is damaged.
        """
        try:
            return self._unsealed(key, sealed)
        except ValueError as error:
            previous = self.read(key, previous=True)
            # Only one in a file can be gone back to.
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
            StoreError: There is none, it was not written with this key, or it is damaged.
        """
        store: Any = self._store
        yield from self._opened_artifact(key, name, store.read_artifact(key, name))

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and size, encrypted, of each artifact of *key*."""
        store: Any = self._store
        return iter(store.list_artifacts(key))

    def describe(self, key: str | None = None) -> Path | str:
        """Where the encrypted checkpoint of *key* lies, or would."""
        return self._store.describe(key)

    def close(self) -> None:
        """Close the store inside."""
        self._store.close()

    # -- the cipher

    def _cipher(self, mode: modes.GCM) -> Cipher[modes.GCM]:
        ciphers = _ciphers()
        return ciphers.Cipher(ciphers.algorithms.AES(self._key), mode)  # type: ignore[no-any-return]

    def seal(self, key: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The document that holds *chunks*, encrypted for the operation *key*, in pieces."""
        nonce = os.urandom(_NONCE_BYTES)
        encryptor = self._cipher(_ciphers().modes.GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(_head(key))

        def sealed() -> Iterator[bytes]:
            yield nonce
            for chunk in chunks:
                yield encryptor.update(chunk)
            encryptor.finalize()
            yield encryptor.tag

        yield _head(key) + _SEALED
        yield from _as_base64(sealed())
        yield _END

    def unseal(self, key: str, document: bytes) -> bytes:
        """What was sealed into *document*, or into a journal, for the operation *key*.

        Raises:
            WrongKeyError: This key does not open it.
            ValueError: It is damaged. With the reason, for a person.
        """
        from cryptography.exceptions import InvalidTag

        if document.startswith(_SEGMENT):
            return self._opened_journal(key, document)
        sealed = _sealed_in(document, key)
        nonce, tag = sealed[:_NONCE_BYTES], sealed[-_TAG_BYTES:]
        decryptor = self._cipher(_ciphers().modes.GCM(nonce, tag)).decryptor()
        decryptor.authenticate_additional_data(_head(key))
        try:
            return decryptor.update(sealed[_NONCE_BYTES:-_TAG_BYTES]) + decryptor.finalize()
        except InvalidTag:
            raise WrongKeyError("it was encrypted with another key than this one, or its bytes are damaged") from None

    def sealed_segment(self, key: str, sequence: int, data: bytes) -> bytes:
        """A segment of a journal as it is stored: a line, which opens under its number only."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + _aesgcm(self._key).encrypt(nonce, data, _segment_place(key, sequence))
        return b"%s%d %s\n" % (_SEGMENT, sequence, base64.b64encode(sealed))

    def _opened_journal(self, key: str, journal: bytes) -> bytes:
        """The segments that :meth:`sealed_segment` has made; what does not open stays, and is found to be damaged."""
        return b"".join([self._opened_segment(key, line) for line in journal.splitlines(keepends=True)])

    def _opened_segment(self, key: str, line: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        number, _, text = line.removeprefix(_SEGMENT).partition(b" ")
        try:
            sealed = binascii.a2b_base64(text.rstrip(b"\n"), strict_mode=True)
            nonce, place = sealed[:_NONCE_BYTES], _segment_place(key, int(number))
            opened: bytes = _aesgcm(self._key).decrypt(nonce, sealed[_NONCE_BYTES:], place)
        except (InvalidTag, ValueError):
            return line
        return opened

    def sealed_artifact(self, key: str, name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """*pieces* as they are stored: each MiB is encrypted by itself, bound to its place in this artifact."""
        cipher = _aesgcm(self._key)
        yield _ARTIFACT_HEAD
        for number, (piece, is_last) in enumerate(_told_last(_of_size(pieces, _ARTIFACT_PIECE))):
            nonce = os.urandom(_NONCE_BYTES)
            yield nonce + cipher.encrypt(nonce, piece, _place(key, name, number, is_last))

    def _opened_artifact(self, key: str, name: str, stored: Iterable[bytes]) -> Iterator[bytes]:
        from cryptography.exceptions import InvalidTag

        cipher, failed = _aesgcm(self._key), f"cannot decrypt the artifact {name} of {key!r}"
        pieces = _of_size(stored, _NONCE_BYTES + _ARTIFACT_PIECE + _TAG_BYTES, first=len(_ARTIFACT_HEAD))
        if next(pieces) != _ARTIFACT_HEAD:
            raise StoreError(f"{failed}: it is not encrypted, and a store with a key takes nothing else")
        for number, (piece, is_last) in enumerate(_told_last(pieces)):
            try:
                yield cipher.decrypt(piece[:_NONCE_BYTES], piece[_NONCE_BYTES:], _place(key, name, number, is_last))
            except (InvalidTag, ValueError):
                raise StoreError(f"{failed}: it was encrypted with another key, or its bytes are damaged") from None


class EncryptedLease:
    """See :class:`~resumable.stores.Lease`. Made by :meth:`EncryptedStore.claim`."""

    def __init__(self, store: EncryptedStore, lease: Lease, key: str) -> None:
        self._store = store
        self._lease = lease
        self._key = key
        self._last: tuple[int, bytes, bytes] = (0, b"", b"")
        self.term: int = lease.term
        self.where: Callable[[], int] = lease.where
        self.renew: Callable[[], None] = lease.renew
        self.delete: Callable[[], bool] = lease.delete
        self.release: Callable[[], None] = lease.release
        if isinstance(lease, EndingLease):
            self.keep: Callable[[Callable[[], None], float], None] = lease.keep
            self.make_sure: Callable[[], None] = lease.make_sure

    @property
    def is_away(self) -> bool:
        """Whether the store did not answer last, and is tried again."""
        return isinstance(self._lease, EndingLease) and self._lease.is_away

    @property
    def is_overdue(self) -> bool:
        """Whether the lease may have ended by now, or is lost."""
        return isinstance(self._lease, EndingLease) and self._lease.is_overdue

    @property
    def next(self) -> int:
        """The least sequence number that the next save may take."""
        return self._lease.next

    def read(self) -> Stored | None:
        """What is stored, None if nothing is. Raises as :meth:`EncryptedStore.read` does."""
        return self._store.opened(self._key, self._lease.read())

    def append(self, sequence: int, data: bytes, summary: bytes = b"", meanwhile: Meanwhile = None) -> None:
        """Encrypt *data* as save *sequence*. See :meth:`Lease.append`.

        Raises:
            StoreError: What is in files or in memory has no journal: every save is a whole snapshot.
        """
        if not self._store.traits.takes_journal:
            raise StoreError("an encrypted checkpoint has no journal here; every save is a whole snapshot")
        if self._last[:2] != (sequence, data):  # repeated, it must have the same bytes
            self._last = sequence, bytes(data), self._store.sealed_segment(self._key, sequence, data)
        self._lease.append(sequence, self._last[2], b"", meanwhile)

    @property
    def has_artifacts(self) -> bool:
        """Whether the claim has found any."""
        lease: Any = self._lease
        return bool(lease.has_artifacts)

    def put_artifact(self, name: str, pieces: Iterable[bytes]) -> None:
        """Encrypt *pieces* as the artifact *name*. See :meth:`ArtifactLease.put_artifact`."""
        lease: Any = self._lease
        lease.put_artifact(name, self._store.sealed_artifact(self._key, name, pieces))

    def artifact_place(self, name: str) -> None:
        """None: what is written there would lie in the clear."""

    def seal_artifact(self, name: str) -> None:
        """Never called, for there is no place to write at."""

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts but those with these *names*."""
        lease: Any = self._lease
        lease.keep_artifacts(names)

    def stage(self, sequence: int, pieces: Iterable[bytes]) -> Callable[[bytes], None]:
        """Encrypt *pieces* as a new snapshot. See :meth:`Lease.stage`."""
        commit = self._lease.stage(sequence, self._store.seal(self._key, pieces))
        return lambda summary: commit(b"")


def _ciphers() -> Any:
    try:
        from cryptography.hazmat.primitives import ciphers
        from cryptography.hazmat.primitives.ciphers import algorithms, modes  # noqa: F401 - loads the submodules
    except ImportError as error:
        raise ImportError("encryption needs a package:  pip install 'resumable-loops[crypto]'") from error
    return ciphers


def _aesgcm(key: bytes) -> Any:
    _ciphers()
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _segment_place(key: str, sequence: int) -> bytes:
    """Which save of which operation a segment is: it opens as no other one."""
    return msgspec.json.encode([key, "segment", sequence])


def _place(key: str, name: str, number: int, is_last: bool) -> bytes:
    """Where a piece stands: it opens nowhere else, and what is cut off is missed."""
    return msgspec.json.encode([key, name, number, is_last])


def _of_size(pieces: Iterable[bytes], size: int, *, first: int | None = None) -> Iterator[bytes]:
    """The bytes of *pieces* in pieces of *size*, but for the *first* one and the last, which may be empty."""
    waiting, wanted = bytearray(), size if first is None else first
    for piece in pieces:
        waiting += piece
        while len(waiting) > wanted:
            yield bytes(waiting[:wanted])
            del waiting[:wanted]
            wanted = size
    yield bytes(waiting)


def _told_last(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each of *pieces*, and whether it is the last one."""
    last = next(pieces, None)
    while last is not None:
        piece = next(pieces, None)
        yield last, piece is None
        last = piece


def _key_from(key: str | bytes) -> bytes:
    try:
        raw = base64.b64decode(key.strip(), altchars=b"-_", validate=True)
    except (AttributeError, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        # The key itself must not get into a log.
        raise ValueError(f"the key must be {_KEY_BYTES} bytes in base64, as EncryptedStore.new_key() gives them")
    return raw


def _head(key: str) -> bytes:
    """The document's beginning, without what closes it; all of it is authenticated."""
    return msgspec.json.encode({"version": VERSION, "operation_id": key})[:-1]


def _sealed_in(document: bytes, key: str) -> bytes:
    """What *document* holds in base64, still encrypted.

    Raises:
        ValueError: It is none of ours.
    """
    lead = _head(key) + _SEALED
    if not document.startswith(lead) or not document.endswith(_END):
        if VERSION.encode() in document[:100]:
            raise ValueError("it is encrypted, but damaged or of another operation")
        raise ValueError("it is not encrypted, and a store with a key takes nothing else")
    try:
        sealed = binascii.a2b_base64(memoryview(document)[len(lead) : -len(_END)], strict_mode=True)
    except ValueError:
        raise ValueError("its bytes are damaged") from None
    if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
        raise ValueError("its bytes are damaged")
    return sealed


def _as_base64(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The concatenation of *chunks* in base64, in pieces."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        if len(waiting) >= _PIECE:
            size = len(waiting) // 3 * 3
            yield base64.b64encode(waiting[:size])
            del waiting[:size]
    yield base64.b64encode(waiting)
