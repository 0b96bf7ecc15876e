"""From what a user writes to a store."""

from __future__ import annotations

import os
import re

from ._base import CheckpointStore, SimpleStore
from ._file import FileStore
from ._memory import MemoryStore
from ._simple import AdaptedStore

_memory_stores: dict[str, MemoryStore] = {}


def open_store(where: str | os.PathLike[str] | CheckpointStore | SimpleStore) -> CheckpointStore:
    """The store that *where* names: a directory, ``memory://name``, or a store, which is returned as it is.

    A ``memory://`` name stands for one store as long as the process lives. A simple store of your own, with get, put,
    delete, keys and close, is wrapped.

    Example:
        >>> with checkpointed("in memory", store=open_store("memory://tests")) as cp:
        ...     cp.tick()

    Raises:
        ValueError: If no store has that scheme.
        TypeError: If it is none of these.
    """
    if isinstance(where, str):
        match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", where)
        scheme = match.group(1).lower() if match is not None else ""
        if scheme == "memory":
            return _memory_stores.setdefault(where, MemoryStore())
        if scheme not in ("", "file"):
            raise ValueError(f"no store for {scheme}:// in this version; use a directory or memory://name")
        return FileStore(where[match.end() :] if match is not None else where)
    if isinstance(where, os.PathLike):
        return FileStore(where)
    if isinstance(where, CheckpointStore):
        return where
    if isinstance(where, SimpleStore):
        return AdaptedStore(where)
    raise TypeError(f"a store is a directory, a URL or an object with get, put, delete, keys and close, not {where!r}")
