"""The options that commands share: the store, and the key that opens its encrypted checkpoints."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .._errors import CheckpointBusyError, CheckpointCorruptError, StoreError
from .._format.document import is_encrypted
from .._format.restore import good_previous
from .._report.stored.scan import ids_in, is_missing, name_of, not_there, nothing_in
from .._report.stored.summary import SealedError, Summary, summary_of
from .._text import close_to, printable
from ..stores import CheckpointStore, EncryptedStore, Holder, MemoryStore, Stored, WishStore, open_store
from ..stores._encrypted import WrongKeyError
from ..stores.defaults import default_place, place_to_open

if TYPE_CHECKING:
    from .._format.verify import Unseal

F = TypeVar("F", bound=Callable[..., Any])
_KEY_VARIABLE = "RESUMABLE_KEY"

with_key = click.option(
    "--key-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"File with the key of encrypted checkpoints (default: ${_KEY_VARIABLE}).",
)


def with_options(command: F) -> F:
    """Give *command* the option ``--json`` as ``as_json``, and ``--dir`` as ``where``, for :func:`chosen_store`."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    where = click.option("--dir", "--store", "where", metavar="DIR", help="Where the checkpoints lie.")
    return where(as_json(command))


def chosen_store(where: str | None) -> CheckpointStore:
    """Open the store that *where* names; without one, the default place of programs in this directory.

    Raises:
        click.UsageError: The URL is unknown, or pyproject.toml cannot be read.
    """
    try:
        return open_store(place_to_open(where) if where else default_place())
    except ValueError as error:
        raise click.UsageError(printable(str(error))) from None
    except ImportError as error:
        raise click.ClickException(printable(str(error))) from None


def unseal_by(key_file: Path | None) -> Unseal | None:
    """A function that decrypts checkpoints; None if no key was given.

    Raises:
        click.UsageError: The key cannot be read, or is not a key.
    """
    opener = opener_by(key_file)
    return opener.unseal if opener is not None else None


def opener_by(key_file: Path | None) -> EncryptedStore | None:
    """An empty store with the key, which decrypts what other stores hold; None if no key was given.

    Raises:
        click.UsageError: The key cannot be read, or is not a key.
    """
    key = key_given(key_file)
    return EncryptedStore(MemoryStore(), key) if key else None


def key_in(key_file: Path | None, otherwise: str | None = None) -> str | None:
    """The key in *key_file*; without a file, *otherwise*, which is ``$RESUMABLE_KEY`` or None.

    Raises:
        click.UsageError: It cannot be read, or is not a key.
    """
    where = f"${_KEY_VARIABLE}" if key_file is None else str(key_file)
    try:
        key = otherwise if key_file is None else key_file.read_text(encoding="utf-8")
        if key_file is not None and not (key or "").strip():
            raise ValueError("the file is empty; it must hold a key")
        if key:
            EncryptedStore(MemoryStore(), key)
        return key
    except OSError as error:
        problem = f"cannot read the key from {where}: {error.strerror or error}"
    except UnicodeDecodeError:
        problem = f"{where}: the file is not text; it must hold a key"
    except (ValueError, ImportError) as error:
        problem = f"{where}: {error}"
    raise click.UsageError(printable(problem))


def key_given(key_file: Path | None) -> str | None:
    """The key in *key_file*, else the one in ``$RESUMABLE_KEY``; None if there is neither.

    Raises:
        click.UsageError: It cannot be read, or is not a key.
    """
    return key_in(key_file, os.environ.get(_KEY_VARIABLE))


class OpenedStore:
    """A store that decrypts checkpoints with *unseal* as it reads them. It reads and removes, and does not write."""

    def __init__(self, store: CheckpointStore, unseal: Unseal | None) -> None:
        self._store = store
        self._unseal = unseal
        self.traits, self.claim, self.list = store.traits, store.claim, store.list
        self.describe, self.close = store.describe, store.close
        wishes: Any = store
        if isinstance(store, WishStore):
            self.wish, self.put_wish, self.clear_wish = wishes.wish, wishes.put_wish, wishes.clear_wish

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """One consistent state of *key*, decrypted.

        Raises:
            SealedError: It is encrypted, and the right key was not given.
            CheckpointCorruptError: Its bytes are damaged.
        """
        stored = self._store.read(key, previous=previous)
        if stored is None or not is_encrypted(stored.snapshot):
            return stored
        location = str(stored.location)
        if self._unseal is None:
            raise SealedError(
                key, location, f"it is encrypted; give its key with --key-file FILE or in ${_KEY_VARIABLE}"
            )
        try:
            journal = self._unseal(key, stored.journal) if stored.journal else b""
            return dataclasses.replace(stored, snapshot=self._unseal(key, stored.snapshot), journal=journal)
        except ValueError as error:
            older = None if previous else self._opened_previous(key)
            # If the key opens the save before it, the key is right, and this save is damaged.
            if isinstance(error, WrongKeyError) and older is None:
                reason = "this key does not open it: it was encrypted with another key, or its bytes are damaged"
                raise SealedError(key, location, reason) from None
            raise CheckpointCorruptError(key, location, str(error), older) from None

    def _opened_previous(self, key: str) -> str | None:
        found = self._store.read(key, previous=True)
        if found is None or not is_encrypted(found.snapshot):
            return None
        return good_previous(self, key, datetime.now(UTC))


def opened(where: str | None, key_file: Path | None = None) -> CheckpointStore:
    """The store that *where* names, read with the given key, if any. Raises :class:`click.UsageError`."""
    return OpenedStore(chosen_store(where), unseal_by(key_file))


def known(store: CheckpointStore, operation_id: str) -> Summary:
    """The summary of *operation_id*. Raises :class:`click.ClickException` if it has no checkpoint."""
    summary = summary_of(store, operation_id)
    if summary is None:
        raise click.ClickException(not_found(store, operation_id))
    return summary


def not_found(store: CheckpointStore, operation_id: str) -> str:
    """The message for an *operation_id* that has no checkpoint."""
    name = printable(operation_id)
    if _is_owned(store, operation_id):
        return f"{name} is running, but has not saved yet"
    if is_missing(store):
        return not_there(store)
    ids = ids_in(store)
    close = close_to(operation_id, ids)
    hint = f"Did you mean: {', '.join(map(printable, close))}?" if close else "To list them:  resumable list"
    return f"no checkpoint of {name} in {printable(name_of(store))}. {hint if ids else 'It has none at all.'}"


def _is_owned(store: CheckpointStore, operation_id: str) -> bool:
    """Whether a run works on it in this directory without having saved yet; such a run is in no list."""
    place = store.describe()
    if not isinstance(place, Path) or not place.is_dir():
        return False
    try:
        store.claim(operation_id, Holder.me()).release()
    except CheckpointBusyError:
        return True
    except StoreError:
        pass
    return False


def the_only_one(store: CheckpointStore) -> Summary:
    """The summary of the only operation in *store*. Raises :class:`click.ClickException` if there are more, or none."""
    ids = ids_in(store)
    if len(ids) == 1:
        return known(store, ids[0])
    if not ids:
        raise click.ClickException(nothing_in(store))
    raise click.UsageError(f"say which one: {', '.join(map(printable, ids[:10]))}{', …' if len(ids) > 10 else ''}")


def ids_for_the_shell(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The ids that begin with *incomplete*, for the shell's completion."""
    try:
        store = open_store(context.params.get("where") or default_place())
        return sorted({entry.key for entry in store.list() if entry.key.startswith(incomplete)})
    except Exception:  # completion in a shell must print no errors
        return []
