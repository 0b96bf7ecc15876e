"""Encrypted checkpoints: where their key comes from, and what is seen of them without it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from .._errors import CheckpointCorruptError
from .._format.document import is_encrypted
from .._format.restore import good_previous
from .._format.verify import Unseal
from .._report.summary import SealedError
from .._text import printable
from ..stores import CheckpointStore, EncryptedStore, Entry, Holder, Lease, MemoryStore, Stored, Traits
from ..stores._encrypted import WrongKeyError

KEY_VARIABLE = "RESUMABLE_KEY"

with_key = click.option(
    "--key-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Holds the key of encrypted ones; else it is taken from ${KEY_VARIABLE}.",
)


def unseal_by(key_file: Path | None) -> Unseal | None:
    """What opens encrypted ones; None if no key was given.

    Raises:
        click.UsageError: The key cannot be read, or is none.
    """
    try:
        key = os.environ.get(KEY_VARIABLE) if key_file is None else key_file.read_text(encoding="utf-8")
        if key_file is not None and not (key or "").strip():
            raise ValueError("it is empty, and holds no key")
        return EncryptedStore(MemoryStore(), key).unseal if key else None
    except OSError as error:
        raise click.UsageError(printable(f"cannot read the key from {key_file}: {error.strerror or error}")) from None
    except UnicodeDecodeError:
        raise click.UsageError(printable(f"{key_file}: it is not text, and holds no key")) from None
    except (ValueError, ImportError) as error:
        where = f"${KEY_VARIABLE}" if key_file is None else str(key_file)
        raise click.UsageError(printable(f"{where}: {error}")) from None


class OpenedStore:
    """A store whose encrypted checkpoints are opened as they are read; to read and to remove, not to write.

    Args:
        store: Where the checkpoints lie.
        unseal: Opens the encrypted ones; None if no key was given.
    """

    def __init__(self, store: CheckpointStore, unseal: Unseal | None) -> None:
        self._store = store
        self._unseal = unseal

    @property
    def traits(self) -> Traits:
        """Facts of the medium."""
        return self._store.traits

    def claim(self, key: str, me: Holder, *, ttl: float = 30.0, take_over: bool = False) -> Lease:
        """Own *key*. The lease reads what is stored as it is."""
        return self._store.claim(key, me, ttl=ttl, take_over=take_over)

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """One consistent state of *key*, decrypted.

        Raises:
            SealedError: It is encrypted, and no key that opens it was given.
            CheckpointCorruptError: Its bytes are damaged.
        """
        stored = self._store.read(key, previous=previous)
        if stored is None or not is_encrypted(stored.snapshot):
            return stored
        location = str(stored.location)
        if self._unseal is None:
            raise SealedError(key, location, f"encrypted; give the key with --key-file FILE or in ${KEY_VARIABLE}")
        try:
            return dataclasses.replace(stored, snapshot=self._unseal(key, stored.snapshot), journal=b"")
        except ValueError as error:
            older = None if previous else self._opened_previous(key)
            # Where the save before it opens, the key is not what is wrong.
            if isinstance(error, WrongKeyError) and older is None:
                reason = "this key does not open it: it was encrypted with another, or its bytes are damaged"
                raise SealedError(key, location, reason) from None
            raise CheckpointCorruptError(key, location, str(error), older) from None

    def _opened_previous(self, key: str) -> str | None:
        found = self._store.read(key, previous=True)
        if found is None or not is_encrypted(found.snapshot):
            return None
        return good_previous(self, key, datetime.now(UTC))

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern*, encrypted or not."""
        return self._store.list(pattern)

    def describe(self, key: str | None = None) -> Path | str:
        """Where *key* lies or would lie, or the store as a whole."""
        return self._store.describe(key)

    def close(self) -> None:
        """Let go of connections and files."""
        self._store.close()


def opened(store: CheckpointStore, key_file: Path | None = None) -> CheckpointStore:
    """*store*, to be read with the key that was given, if any.

    Raises:
        click.UsageError: The key cannot be read, or is none.
    """
    unseal = unseal_by(key_file)
    return OpenedStore(store, unseal)
