"""Checkpoints that only who has the key can read or change.

What is stored is a JSON document that tells the operation id, which is in the file's name anyway, and the rest under
AES-256-GCM: encrypted, and bound to that id.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import CheckpointCorruptError
from ._base import CheckpointStore
from ._old import GenerationStore, StreamingStore
from ._names import check_operation_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

VERSION = "2.0 encrypted"
_KEY_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 12, 16
_SEALED, _END = b',"aes-256-gcm":"', b'"}\n'
_PASSED_ON = ("own", "is_owned", "locate", "stamp")
_REPAIR = "The save before it opens with this key; resumable repair takes it from --key-file FILE or $RESUMABLE_KEY"
_PIECE = 3 << 18  # of base64, whose groups take three bytes


class WrongKeyError(ValueError):
    """It was sealed with another key, or its bytes are damaged: which of the two, nobody can tell."""


class EncryptedStore:
    """What is put into *store* is encrypted first, and what comes out of it is authenticated.

    It can what *store* can, but for a journal: each save writes everything. Who can write to the medium cannot make a
    checkpoint, change one or give it to another operation, but can put an older one of the same operation back.

    Args:
        store: Where the encrypted checkpoints lie.
        key: From :meth:`new_key`. Keep it elsewhere than the checkpoints.

    Raises:
        ValueError: *key* is no key.
        ImportError: The package ``cryptography`` is missing.
    """

    def __init__(self, store: CheckpointStore, key: str | bytes) -> None:
        _ciphers()
        self._store = store
        self._key = _key_from(key)
        for name in _PASSED_ON:
            if hasattr(store, name):
                setattr(self, name, getattr(store, name))
        if isinstance(store, GenerationStore):
            self.get_previous = self._get_previous

    def __repr__(self) -> str:
        return f"EncryptedStore({self._store!r})"

    @staticmethod
    def new_key() -> str:
        """A new random key, as text that fits an environment variable."""
        return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()

    # -- the five verbs

    def get(self, key: str) -> bytes | None:
        """The bytes under *key*, None if there are none.

        Raises:
            CheckpointCorruptError: They were not written with this key, or are damaged.
            StoreError: They cannot be read.
        """
        sealed = self._store.get(key)
        if sealed is None:
            return None
        try:
            return self.unseal(key, sealed)
        except ValueError as error:
            previous = self._get_previous(key) if isinstance(self._store, GenerationStore) else None
            if previous is None:
                raise CheckpointCorruptError(key, self._location(key), str(error)) from None
            raise CheckpointCorruptError(key, self._location(key), f"{error}. {_REPAIR}", previous[0]) from None

    def put(self, key: str, blob: bytes) -> Path | str:
        return self.put_chunks(key, [blob])

    def put_chunks(self, key: str, chunks: Iterable[bytes]) -> Path | str:
        check_operation_id(key)
        sealed = self._seal(key, chunks)
        if isinstance(self._store, StreamingStore):
            return self._store.put_chunks(key, sealed)
        return self._store.put(key, b"".join(sealed))

    def delete(self, key: str) -> bool:
        return self._store.delete(key)

    def keys(self) -> Iterator[str]:
        return self._store.keys()

    def close(self) -> None:
        self._store.close()

    # -- generations

    def _get_previous(self, key: str) -> tuple[str, bytes] | None:
        """Where the checkpoint before the last lies, and its bytes; None if this key does not open it."""
        assert isinstance(self._store, GenerationStore)
        found = self._store.get_previous(key)
        if found is None:
            return None
        try:
            return found[0], self.unseal(key, found[1])
        except ValueError:
            return None

    def _location(self, key: str) -> str:
        store = self._store
        return str(store.locate(key)) if isinstance(store, GenerationStore) else f"{store!r}:{key}"

    # -- the cipher

    def _cipher(self, mode: modes.GCM) -> Cipher[modes.GCM]:
        ciphers = _ciphers()
        return ciphers.Cipher(ciphers.algorithms.AES(self._key), mode)  # type: ignore[no-any-return]

    def _seal(self, key: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
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
        """What was sealed into *document* for the operation *key*.

        Raises:
            WrongKeyError: This key does not open it.
            ValueError: It is damaged. With the reason, for a person.
        """
        from cryptography.exceptions import InvalidTag

        sealed = _sealed_in(document, key)
        nonce, tag = sealed[:_NONCE_BYTES], sealed[-_TAG_BYTES:]
        decryptor = self._cipher(_ciphers().modes.GCM(nonce, tag)).decryptor()
        decryptor.authenticate_additional_data(_head(key))
        try:
            return decryptor.update(sealed[_NONCE_BYTES:-_TAG_BYTES]) + decryptor.finalize()
        except InvalidTag:
            raise WrongKeyError("it was encrypted with another key than this one, or its bytes are damaged") from None


def _ciphers() -> Any:
    try:
        from cryptography.hazmat.primitives import ciphers
        from cryptography.hazmat.primitives.ciphers import algorithms, modes  # noqa: F401 - loads the submodules
    except ImportError as error:
        raise ImportError("encryption needs a package:  pip install 'resumable-loops[crypto]'") from error
    return ciphers


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
    from .._json import encode

    return encode({"version": VERSION, "operation_id": key})[:-1]


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
