"""What is saved with a checkpoint and knows what changed in it: dict, set, append-only list and output file.

A save begins with each collection's change, then commits or rolls back (:class:`Durable`). It first brings each output
file to the disk (:class:`Sink`). On load, :class:`Replay` puts the changes onto the last snapshot.
"""

from .changes import Replay, Snapshot
from .collection import Durable, make
from .dict import DurableDict
from .log import DurableLog
from .set import DurableSet
from .sink import Sink, Sinks

__all__ = ["Durable", "DurableDict", "DurableLog", "DurableSet", "Replay", "Sink", "Sinks", "Snapshot", "make"]
