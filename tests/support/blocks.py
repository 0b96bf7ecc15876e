"""What leaves a block in tests, and what is saved then."""

from __future__ import annotations

from typing import Any

import pytest

from resumable import (
    CheckpointData,
    CheckpointManager,
    checkpointed,
    every,
)

NEVER = every(hours=1000)


class Stop(Exception):
    """What leaves a block in these tests."""


def stopped() -> Any:
    """The block is left by Stop."""
    return pytest.raises(Stop)


def saved(manager: CheckpointManager, operation_id: str = "job") -> CheckpointData:
    data = manager.load_checkpoint(operation_id)
    assert data is not None
    return data


def left_after(manager: CheckpointManager, state: dict[str, Any], items: int = 1) -> None:
    """A run that ticked *items* and was left by an error."""
    with stopped(), checkpointed("job", manager=manager) as cp:
        cp.state.update(state)
        cp.tick(items)
        raise Stop
