"""Checkpoints in memory: they end with the process, and nothing else of a store is missing."""

from __future__ import annotations

from contextlib import suppress

import pytest

from resumable import CheckpointBusyError, StaleCheckpointError, checkpointed, every, open_store
from resumable.stores import Holder, MemoryStore


def test_a_loop_goes_on_in_the_same_process() -> None:
    store = MemoryStore()
    begun = []
    for fails_at in (3, -1):
        with suppress(KeyError), checkpointed("job", every(hours=1), store=store) as cp:
            for number in cp.remaining(range(5)):
                begun.append(number)
                if number == fails_at:
                    raise KeyError

    assert begun == [0, 1, 2, 3, 3, 4]
    assert list(store.list()) == []


def test_one_name_is_one_store() -> None:
    assert open_store("memory://a") is open_store("memory://a")
    assert open_store("memory://a") is not open_store("memory://b")


def test_an_owner_can_be_replaced_and_then_writes_nothing() -> None:
    store = MemoryStore()
    lease = store.claim("job", Holder.me())
    with pytest.raises(CheckpointBusyError):
        store.claim("job", Holder.me())

    other = store.claim("job", Holder.me(), take_over=True)
    assert other.term > lease.term
    with pytest.raises(StaleCheckpointError):
        lease.stage(lease.next, [b"a"])(b"")
    lease.release()
    other.stage(other.next, [b"b"])(b"")

    found = store.read("job")
    assert found is not None
    assert found.snapshot == b"b"
