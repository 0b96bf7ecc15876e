"""The user's interface. Thin layers: they check options, and the engine does the work.

Read ``checkpointed`` first, the block around a loop; then ``base``, ``checkpoint`` and ``async_checkpoint``, the
classes of ``cp``. ``holding`` adds collections, tracked objects and hooks to them; ``files`` and ``artifact`` add
files. ``inner`` is what loops, maps and the engine ask of ``cp``, and no user. ``decorator`` is ``@resumable``:
``signature`` finds the parameter for the checkpoint, ``operation_id`` names the operation, and ``call`` makes the
attempts. ``loop`` is a block and a loop in one. ``manager`` is the specification's manager.
"""

from typing import TYPE_CHECKING

from .checkpoint import Checkpoint
from .checkpointed import checkpointed, current_checkpoint, stop
from .loop import loop
from .manager import CheckpointManager

__all__ = [
    "AsyncCheckpoint",
    "Checkpoint",
    "CheckpointManager",
    "checkpointed",
    "current_checkpoint",
    "loop",
    "resumable",
    "stop",
]

if TYPE_CHECKING:
    from .async_checkpoint import AsyncCheckpoint
    from .decorator import resumable
else:
    # These import asyncio, tenacity and wrapt, which take longer to load than everything else.
    def __getattr__(name):
        if name == "AsyncCheckpoint":
            from .async_checkpoint import AsyncCheckpoint as found
        elif name == "resumable":
            from .decorator import resumable as found
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found
