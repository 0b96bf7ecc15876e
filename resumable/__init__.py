"""Make any loop survive being killed: run it again and it goes on where it stopped.

These are the public names. Inside, ``_api`` has what a user writes, and ``_engine`` runs it: it asks ``_loops`` which
items are done and ``_durable`` what changed, and saves through ``_format`` into ``stores``. ``_report`` informs people,
``_runtime`` handles the machine, ``ratelimit`` the quotas of APIs. ``cli`` is the command line, ``testing`` the proof
that a loop resumes. Imports go one way only, from the user's names down to the machine. Each room's docstring leads on.
"""

from typing import TYPE_CHECKING

from ._api import Checkpoint, CheckpointManager, checkpointed, current_checkpoint, loop, stop
from ._errors import (
    BudgetExhausted,
    CheckpointBusyError,
    CheckpointCorruptError,
    CheckpointNotFoundError,
    CursorExpiredError,
    InputChangedError,
    RateLimitExhausted,
    ResumableError,
    RunAgain,
    StaleCheckpointError,
    StateEncodeError,
    StoreBehindError,
    StoreError,
    TooManyFailedError,
    UnknownOutcomeError,
)
from ._models import CheckpointContext, CheckpointData, CheckpointMetadata, __version__
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
from .stores import CheckpointStore, open_store

__all__ = [
    "Artifact",
    "AsyncArtifact",
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
    "CheckpointNotFoundError",
    "CheckpointStore",
    "CheckpointView",
    "CompositeStrategy",
    "CursorExpiredError",
    "DurableDict",
    "DurableLog",
    "DurableSet",
    "Event",
    "InputChangedError",
    "OpenTelemetry",
    "ProgressBasedStrategy",
    "ProgressView",
    "RateLimitAwareStrategy",
    "RateLimitExhausted",
    "ResumableError",
    "RunAgain",
    "SaveDecision",
    "SaveStrategy",
    "Sink",
    "StaleCheckpointError",
    "StateEncodeError",
    "StoreBehindError",
    "StoreError",
    "TimeBasedStrategy",
    "TooManyFailedError",
    "UnknownOutcomeError",
    "__version__",
    "auto",
    "checkpointed",
    "current_checkpoint",
    "every",
    "loop",
    "open_store",
    "rate_limit_below",
    "read",
    "resumable",
    "stop",
    "wait_rate_limit",
]

if TYPE_CHECKING:
    from ._api import AsyncCheckpoint, resumable
    from ._api.artifact import Artifact, AsyncArtifact
    from ._durable import DurableDict, DurableLog, DurableSet, Sink
    from ._report.events import Event
    from ._report.otel import OpenTelemetry
    from ._report.stored.reading import CheckpointView, read
    from ._report.terminal.bar import ProgressView
    from .ratelimit import wait_rate_limit
else:
    # Loaded at first use: their imports take longer than all the rest.
    _LATER = {"AsyncCheckpoint": "_api", "resumable": "_api", "wait_rate_limit": "ratelimit"}
    _LATER |= {"CheckpointView": "_report.stored.reading", "read": "_report.stored.reading", "Event": "_report.events"}
    _LATER |= {"OpenTelemetry": "_report.otel", "ProgressView": "_report.terminal.bar"}
    _LATER |= dict.fromkeys(("DurableDict", "DurableLog", "DurableSet", "Sink"), "_durable")
    _LATER |= {"Artifact": "_api.artifact", "AsyncArtifact": "_api.artifact"}

    def __getattr__(name):
        from importlib import import_module

        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f".{_LATER[name]}", __name__), name)
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
