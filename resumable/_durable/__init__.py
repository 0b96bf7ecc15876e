"""What is saved with a checkpoint and knows what changed in it: dict, set, append-only list and output file.

A save begins with each collection's change, then commits or rolls back (:class:`Durable`); an output file is brought to
the disk before the save (:class:`Sink`). On load, :class:`Replay` puts the changes onto the last snapshot.
"""

from .changes import Replay, Snapshot
from .collection import Durable, kind_of, make
from .dict import DurableDict
from .log import DurableLog
from .set import DurableSet
from .sink import Sink, Sinks

__all__ = [
    "Durable",
    "DurableDict",
    "DurableLog",
    "DurableSet",
    "Replay",
    "Sink",
    "Sinks",
    "Snapshot",
    "kind_of",
    "make",
]
