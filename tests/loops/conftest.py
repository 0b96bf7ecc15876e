"""A manager over a store in memory that can be made to fail; it saves only when asked."""

from __future__ import annotations

import pytest

from resumable import CheckpointManager, every
from resumable.testing import FaultyStore, ManualClock, MemoryStore


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def manager(store: FaultyStore) -> CheckpointManager:
    return CheckpointManager(store=store, clock=ManualClock(), save_strategy=every(hours=1000))
