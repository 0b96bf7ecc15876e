"""Make any loop survive being killed: run it again and it goes on where it stopped.

These are the public names. Inside, ``_api`` is what a user writes, and ``_engine`` one run of it: it asks ``_loops``
which items are done and ``_durable`` what changed, and saves through ``_format`` into ``stores``. ``_report`` tells a
person how it goes, ``_runtime`` knows the machine, ``ratelimit`` the quotas of APIs. ``cli`` is the command line,
``testing`` the proof that a loop resumes. Imports go one way only, from what a user writes down to the machine; each
room's own docstring leads on.
"""

from ._api import AsyncCheckpoint, Checkpoint, CheckpointManager, checkpointed, current_checkpoint, resumable, stop
from ._errors import (
    BudgetExhausted,
    CheckpointBusyError,
    CheckpointCorruptError,
    CursorExpiredError,
    InputChangedError,
    RateLimitExhausted,
    ResumableError,
    RunAgain,
    StaleCheckpointError,
    StateEncodeError,
    StoreError,
    UnknownOutcomeError,
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
    "BudgetExhausted",
    "Checkpoint",
    "CheckpointBusyError",
    "CheckpointContext",
    "CheckpointCorruptError",
    "CheckpointData",
    "CheckpointManager",
    "CheckpointMetadata",
    "CheckpointStore",
    "CompositeStrategy",
    "CursorExpiredError",
    "InputChangedError",
    "ProgressBasedStrategy",
    "RateLimitAwareStrategy",
    "RateLimitExhausted",
    "ResumableError",
    "RunAgain",
    "SaveDecision",
    "SaveStrategy",
    "StaleCheckpointError",
    "StateEncodeError",
    "StoreError",
    "TimeBasedStrategy",
    "UnknownOutcomeError",
    "auto",
    "checkpointed",
    "current_checkpoint",
    "every",
    "open_store",
    "rate_limit_below",
    "resumable",
    "stop",
    "wait_rate_limit",
]
