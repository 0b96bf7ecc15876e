"""Make any loop survive being killed: run it again and it goes on where it stopped."""

from ._api.async_checkpoint import AsyncCheckpoint
from ._api.checkpoint import Checkpoint
from ._api.checkpointed import checkpointed, current_checkpoint
from ._api.decorator import resumable
from ._api.manager import CheckpointManager
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
from ._models import CheckpointContext, CheckpointData, CheckpointMetadata
from ._strategies import (
    AutoStrategy,
    CompositeStrategy,
    ProgressBasedStrategy,
    RateLimitAwareStrategy,
    SaveDecision,
    SaveStrategy,
    TimeBasedStrategy,
    auto,
    every,
    rate_limit_below,
)
from .ratelimit import wait_rate_limit
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
