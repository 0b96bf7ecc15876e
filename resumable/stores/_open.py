"""From what a user writes to a store."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ._base import CheckpointStore
from ._old import OldStore
from ._file import FileStore
from ._memory import MemoryStore

_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]+)://"
_memory_stores: dict[str, MemoryStore] = {}


def open_store(where: str | os.PathLike[str] | CheckpointStore) -> CheckpointStore:
    """The store that *where* names: a directory, ``memory://name``, or a store, which is returned as it is.

    The same ``memory://`` name is the same store, for as long as the process lives.

    Raises:
        ValueError: If no store has that scheme.
        TypeError: If it is none of these.
    """
    if isinstance(where, os.PathLike):
        return FileStore(where)
    if isinstance(where, str):
        return _open_text(where)
    if isinstance(where, OldStore):
        return where
    raise TypeError(f"a store is a directory, a URL or an object with get, put, delete, keys and close, not {where!r}")


def _open_text(where: str) -> CheckpointStore:
    match = re.match(_SCHEME, where)
    if match is None:
        return FileStore(Path(where))
    scheme = match.group(1).lower()
    if scheme == "memory":
        return _memory_stores.setdefault(where, MemoryStore())
    if scheme == "file":
        return FileStore(where[match.end() :])
    raise ValueError(f"no store for {scheme}:// in this version; use a directory or memory://name")
