"""Where checkpoints lie: stores, and the lease through which an operation is written.

:class:`CheckpointStore` and :class:`Lease` define what every store must do. :class:`FileStore` and
:class:`MemoryStore` implement them directly. ``_lease`` implements them for databases, Redis and object stores; each of
these is a ``_medium``: ``_sql``, ``_redis``, ``_objects``. :class:`EncryptedStore` and ``_compressed`` are layers over
another store, and :class:`SimpleStore` is all that a store of your own needs. :func:`open_store` finds the store for a
directory or URL; ``defaults`` chooses one if none is named.

:class:`ArtifactStore` and :class:`ArtifactLease` hold the files that belong to a checkpoint; ``packing`` turns a
directory into one stream of bytes, and back. :class:`WishStore` holds requests to an owner, such as to stop.
"""

from typing import TYPE_CHECKING

from ._base import (
    ArtifactLease,
    ArtifactStore,
    CheckpointStore,
    EndingLease,
    Entry,
    Holder,
    Lease,
    SimpleStore,
    Stored,
    Traits,
    WishStore,
)
from ._file import FileStore
from ._open import open_store

__all__ = [
    "ArtifactLease",
    "ArtifactStore",
    "CheckpointStore",
    "EncryptedStore",
    "EndingLease",
    "Entry",
    "FileStore",
    "Holder",
    "Lease",
    "MemoryStore",
    "SimpleStore",
    "Stored",
    "Traits",
    "WishStore",
    "open_store",
]

if TYPE_CHECKING:
    from ._encrypted import EncryptedStore
    from ._memory import MemoryStore
else:
    # Loaded at their first use: `import resumable` stays light.
    _HOMES = {"EncryptedStore": "_encrypted", "MemoryStore": "_memory"}

    def __getattr__(name):
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
