"""What :class:`checkpointed` was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tenacity

from ._clock import Clock, system_clock
from ._quota import OnExhausted
from ._strategies import SaveStrategy
from .stores import CheckpointStore


@dataclass(slots=True, kw_only=True)
class Options:
    """See :class:`checkpointed`; all defaults are filled in."""

    operation_id: str
    strategy: SaveStrategy
    store: CheckpointStore
    auto_cleanup: bool = True
    resume: bool = True
    total: int | None = None
    state_type: type[Any] | None = None
    arguments: Mapping[str, Any] | None = None
    progress: Any = False
    retry: tenacity.BaseRetrying | None = None
    on_exhausted: OnExhausted = "wait"
    clock: Clock = field(default_factory=lambda: system_clock)
