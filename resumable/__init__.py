"""Make any loop survive being killed: run it again and it goes on where it stopped."""

from ._async_checkpoint import AsyncCheckpoint
from ._auto import AutoStrategy, auto
from ._checkpoint import Checkpoint
from ._checkpointed import checkpointed, current_checkpoint
from ._decorator import resumable
from ._errors import (
    CheckpointBusyError,
    CheckpointCorruptError,
    InputChangedError,
    RateLimitExhausted,
    ResumableError,
    StaleCheckpointError,
    StateEncodeError,
    StoreError,
)
from ._manager import CheckpointManager
from ._models import CheckpointContext, CheckpointData, CheckpointMetadata
from ._strategies import (
    CompositeStrategy,
    ProgressBasedStrategy,
    RateLimitAwareStrategy,
    SaveDecision,
    SaveStrategy,
    TimeBasedStrategy,
    every,
    rate_limit_below,
)
from ._wait import wait_rate_limit
from .stores import CheckpointStore, open_store

__all__ = [
    "AsyncCheckpoint",
    "AutoStrategy",
    "Checkpoint",
    "CheckpointBusyError",
    "CheckpointContext",
    "CheckpointCorruptError",
    "CheckpointData",
    "CheckpointManager",
    "CheckpointMetadata",
    "CheckpointStore",
    "CompositeStrategy",
    "InputChangedError",
    "ProgressBasedStrategy",
    "RateLimitAwareStrategy",
    "RateLimitExhausted",
    "ResumableError",
    "SaveDecision",
    "SaveStrategy",
    "StaleCheckpointError",
    "StateEncodeError",
    "StoreError",
    "TimeBasedStrategy",
    "auto",
    "checkpointed",
    "current_checkpoint",
    "every",
    "open_store",
    "rate_limit_below",
    "resumable",
    "wait_rate_limit",
]
