"""What is saved with a checkpoint and tracks its own changes.

Read ``collection`` first: a save begins with each collection's change, then commits or rolls back. The collections are
``dict``, ``set`` and ``log``. ``keyed`` lets dict and set leave out what an unfinished item wrote, ``order`` keeps a
dict's keys in their order then, and ``ahead`` takes many new values of a dict before the save; ``typed`` gives
collections values of a class. ``frozen``, ``aliases`` and ``below`` make sure that no change is missed; ``changes``
encodes the changes, and replays them onto the last snapshot. ``sink`` is an output file, synced before each save;
``sink_file`` opens it at its saved end, ``claim`` refuses a file that another operation will still cut back, and
``sinks`` holds all of them. ``once`` records which effects have happened, ``tracked`` the states of generators and
loaders at the end of each item. ``artifact`` records which version of each file a save names; ``publishing`` copies a
file to its final path.
"""

from .changes import Replay, Snapshot
from .collection import Durable, make
from .dict import DurableDict
from .log import DurableLog
from .set import DurableSet
from .sink import Sink
from .sinks import Sinks

__all__ = ["Durable", "DurableDict", "DurableLog", "DurableSet", "Replay", "Sink", "Sinks", "Snapshot", "make"]
