"""Where checkpoints lie."""

from ._base import CheckpointStore, Entry, Holder, Lease, SimpleStore, Stored, Traits
from ._encrypted import EncryptedStore
from ._file import FileStore
from ._memory import MemoryStore
from ._old import GenerationStore, JournalingStore, OwningStore, StreamingStore
from ._open import open_store

__all__ = [
    "CheckpointStore",
    "EncryptedStore",
    "Entry",
    "FileStore",
    "GenerationStore",
    "Holder",
    "JournalingStore",
    "Lease",
    "MemoryStore",
    "OwningStore",
    "SimpleStore",
    "Stored",
    "StreamingStore",
    "Traits",
    "open_store",
]
