"""Encrypted checkpoints: where their key comes from, and what is seen of them without it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from .._errors import CheckpointCorruptError
from .._format.document import is_encrypted
from .._format.restore import good_previous
from .._format.verify import Unseal
from .._report.summary import SealedError
from .._text import printable
from ..stores import CheckpointStore, EncryptedStore, FileStore, MemoryStore
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


class OpenedStore(FileStore):
    """A directory whose encrypted checkpoints are opened by *unseal* as they are read; to read, not to write."""

    def __init__(self, directory: Path, unseal: Unseal | None) -> None:
        super().__init__(directory)
        self._unseal = unseal

    def get(self, key: str) -> bytes | None:
        raw = super().get(key)
        if raw is None or not is_encrypted(raw):
            return raw
        location = str(self.locate(key))
        if self._unseal is None:
            reason = f"encrypted; give the key with --key-file FILE or in ${KEY_VARIABLE}"
            raise SealedError(key, location, reason)
        try:
            return self._unseal(key, raw)
        except ValueError as error:
            previous = self._opened_previous(key)
            # Where the save before it opens, the key is not what is wrong.
            if isinstance(error, WrongKeyError) and previous is None:
                reason = "this key does not open it: it was encrypted with another, or its bytes are damaged"
                raise SealedError(key, location, reason) from None
            raise CheckpointCorruptError(key, location, str(error), previous) from None

    def _opened_previous(self, key: str) -> str | None:
        found = super().get_previous(key)
        if found is None or not is_encrypted(found[1]):
            return None
        return good_previous(self, key, datetime.now(UTC))

    def get_previous(self, key: str) -> tuple[str, bytes] | None:
        found = super().get_previous(key)
        if found is None or self._unseal is None or not is_encrypted(found[1]):
            return found
        return found[0], self._unseal(key, found[1])


def opened(store: CheckpointStore, key_file: Path | None = None) -> CheckpointStore:
    """*store*, to be read with the key that was given, if any.

    Raises:
        click.UsageError: The key cannot be read, or is none.
    """
    unseal = unseal_by(key_file)
    return OpenedStore(store.directory, unseal) if isinstance(store, FileStore) else store
