"""A store that answers slowly: how far the loop may run ahead of what it has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import Checkpoint, CheckpointManager, SaveStrategy, auto, checkpointed, every
from resumable.testing import FaultyStore

ITEM_SECONDS = 0.005
LARGE = "x" * (1 << 18)
"""A document with it is written beside the loop."""
RECORD = "y" * (1 << 13)
"""A record with it is, too."""
ENTRIES = {f"{number}": RECORD for number in range(40)}
"""A change of one of them goes to the journal."""


class SlowStore(FaultyStore):
    """Takes *seconds* for each write; and until the gate is open, if one is set."""

    def __init__(self, directory: Path, seconds: float = 0.0) -> None:
        super().__init__(directory)
        self.seconds = seconds
        self.gate = threading.Event()
        self.gate.set()
        self.writes = 0

    def call(self, *verbs: str) -> None:
        super().call(*verbs)
        if "write" in verbs:
            time.sleep(self.seconds)
            assert self.gate.wait(100)
            self.writes += 1


def change_state(cp: Checkpoint[dict[str, Any]], number: int) -> None:
    """All of it is written anew."""
    cp.state["large"] = LARGE
    cp.state["last"] = number


def change_entry(cp: Checkpoint[dict[str, Any]], number: int) -> None:
    """It goes to the journal."""
    cp.mapping("files")[f"{number % 40}"] = f"{number}{RECORD}"


changes = pytest.mark.parametrize("change", [change_state, change_entry])


def stored_items(directory: Path) -> int:
    found = CheckpointManager(directory).load_checkpoint("job")
    assert found is not None
    return found.metadata.processed_items


def begin(cp: Checkpoint[dict[str, Any]], change: Callable[..., None]) -> None:
    if change is change_entry:
        cp.mapping("files").update(ENTRIES)
    else:
        change_state(cp, 0)
    cp.save()


@pytest.mark.slow
def test_saves_at_every_item_lie_at_most_a_second_behind(tmp_path: Path) -> None:
    """Each write takes longer than that: what is not stored is what two of them would bring."""
    store = SlowStore(tmp_path)
    behind = []
    with checkpointed("job", every(items=1), store=store, auto_cleanup=False) as cp:
        begin(cp, change_state)
        store.seconds = 1.2
        for number in range(300):
            change_state(cp, number)
            time.sleep(ITEM_SECONDS)
            cp.tick()
            behind.append(number + 1 - stored_items(tmp_path))

    assert max(behind) * ITEM_SECONDS <= 1.2
    assert stored_items(tmp_path) == 300


@pytest.mark.slow
@changes
@pytest.mark.parametrize("strategy", [every(items=1), every(seconds=0.01) | auto()])
def test_a_loop_waits_for_a_store_that_does_not_answer(
    tmp_path: Path, strategy: SaveStrategy, change: Callable[..., None]
) -> None:
    store = SlowStore(tmp_path)
    with checkpointed("job", strategy, store=store, auto_cleanup=False) as cp:
        begin(cp, change)
        store.gate.clear()
        threading.Timer(2, store.gate.set).start()
        done = 0
        while not store.gate.is_set():
            change(cp, done)
            time.sleep(ITEM_SECONDS)
            cp.tick()
            done += 1

    assert done * ITEM_SECONDS <= 1.2
    assert stored_items(tmp_path) == done


@pytest.mark.slow
@changes
def test_auto_lets_the_loop_go_on_meanwhile(tmp_path: Path, change: Callable[..., None]) -> None:
    """It saves as often as pays: to wait would cost more."""
    store = SlowStore(tmp_path)
    strategy = auto(max_overhead=0.9, max_loss_seconds=0.02)
    with checkpointed("job", strategy, store=store, auto_cleanup=False) as cp:
        begin(cp, change)
        store.gate.clear()
        writes = store.writes
        for number in range(300):
            change(cp, number)
            time.sleep(ITEM_SECONDS)
            cp.tick()
        assert store.writes == writes
        store.gate.set()

    assert stored_items(tmp_path) == 300
    assert store.writes > writes
