"""Where checkpoints lie: stores, and the lease through which an operation is written."""

from ._base import CheckpointStore, Entry, Holder, Lease, SimpleStore, Stored, Traits
from ._encrypted import EncryptedStore
from ._file import FileStore
from ._memory import MemoryStore
from ._open import open_store

__all__ = [
    "CheckpointStore",
    "EncryptedStore",
    "Entry",
    "FileStore",
    "Holder",
    "Lease",
    "MemoryStore",
    "SimpleStore",
    "Stored",
    "Traits",
    "open_store",
]
