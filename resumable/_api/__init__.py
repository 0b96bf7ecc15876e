"""What a user writes. Each of these is a thin layer: options are checked here, and the engine does the work.

Read ``checkpointed`` first, the block around a loop, then ``base``, ``checkpoint`` and ``async_checkpoint``, what
``as cp`` gives. ``decorator`` is ``@resumable``: ``signature`` finds the parameter that takes the checkpoint,
``operation_id`` names the operation, and ``call`` makes the attempts. ``manager`` is the specification's manager.
"""

from .async_checkpoint import AsyncCheckpoint
from .checkpoint import Checkpoint
from .checkpointed import checkpointed, current_checkpoint, stop
from .decorator import resumable
from .manager import CheckpointManager

__all__ = [
    "AsyncCheckpoint",
    "Checkpoint",
    "CheckpointManager",
    "checkpointed",
    "current_checkpoint",
    "resumable",
    "stop",
]
