"""Where checkpoints lie."""

from ._base import CheckpointStore, GenerationStore, JournalingStore, OwningStore, StreamingStore
from ._encrypted import EncryptedStore
from ._file import FileStore
from ._memory import MemoryStore
from ._open import open_store

__all__ = [
    "CheckpointStore",
    "EncryptedStore",
    "FileStore",
    "GenerationStore",
    "JournalingStore",
    "MemoryStore",
    "OwningStore",
    "StreamingStore",
    "open_store",
]
