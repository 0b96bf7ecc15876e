"""A manager whose store can fail, and whose clock stands still."""

from __future__ import annotations

import pytest

from resumable import (
    CheckpointManager,
)
from resumable.testing import FaultyStore, ManualClock, MemoryStore
from tests.support.blocks import NEVER


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def manager(store: FaultyStore, clock: ManualClock) -> CheckpointManager:
    return CheckpointManager(store=store, clock=clock, save_strategy=NEVER)
