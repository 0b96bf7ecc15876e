"""Wishes as small files beside the checkpoints of a directory: ``.checkpoint_{id}.ask``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .._errors import StoreError
from .._runtime import disk
from ._names import files_of

_SUFFIX = ".ask"
_MOST = 1 << 16


class WishFiles:
    """The wishes for the operations in a *directory*. See :class:`~resumable.stores.WishStore`.

    They are not synced: after a power cut the owner has ended, and no wish matters.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, key: str) -> Path:
        """The file of the wish for *key*."""
        return files_of(self._directory, key)[0].snapshot.with_suffix(_SUFFIX)

    def get(self, key: str) -> bytes | None:
        """The wish for *key*; None if there is none."""
        path = self.path(key)
        if not os.path.exists(path):  # the usual case
            return None
        with _failing(f"cannot read {path}"):
            return disk.read(path, _MOST)

    def put(self, key: str, wish: bytes) -> None:
        """Replace the wish for *key*."""
        path = self.path(key)
        new = disk.temporary_for(path)
        with _failing(f"cannot write {path}"):
            disk.make_directory(self._directory)
            with disk.removed_on_error(new):
                with open(os.open(new, disk.WRITE | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(wish)
                os.replace(new, path)

    def clear(self, key: str, wish: bytes) -> None:
        """Remove *wish*."""
        if self.get(key) == wish:
            path = self.path(key)
            with _failing(f"cannot remove {path}"), contextlib.suppress(FileNotFoundError):
                os.unlink(path)


@contextlib.contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what}: {error.strerror or error}") from error
