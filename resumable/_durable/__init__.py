"""What is saved with a checkpoint and knows what changed in it.

Read ``collection`` first: a save begins with each collection's change, then commits or rolls back. The collections are
``dict``, ``set`` and ``log``. ``keyed`` is how dict and set leave out what an unfinished item wrote; ``typed`` gives
collections values of a class. ``frozen``, ``aliases`` and ``below`` see to it that no change is missed; ``changes``
writes the changes, and replays them onto the last snapshot. ``sink`` is an output file, brought to the disk before the
save; ``sink_file`` opens it where the checkpoint says, unless the ``claim`` of another operation stands, and ``sinks``
knows all of them. ``once`` knows which effects have happened, ``tracked`` the states of generators and loaders at the
end of each item. ``artifact`` knows which version of each file a save names, and which ones no save can name;
``publishing`` gives a file a name elsewhere.
"""

from .changes import Replay, Snapshot
from .collection import Durable, make
from .dict import DurableDict
from .log import DurableLog
from .set import DurableSet
from .sink import Sink
from .sinks import Sinks

__all__ = ["Durable", "DurableDict", "DurableLog", "DurableSet", "Replay", "Sink", "Sinks", "Snapshot", "make"]
