"""Which loops run, and in which thread."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    CheckpointManager,
    checkpointed,
    every,
)
from tests.support.blocks import Stop

NEVER = every(hours=1000)


def test_loops_within_a_loop_have_no_total_unless_one_is_told(manager: CheckpointManager) -> None:
    for told in (None, 15):
        with checkpointed("job", manager=manager, total=told) as cp:
            for _ in cp.remaining(range(3)):
                for _ in cp.remaining(range(4)):
                    assert cp.metadata.total_items == told


def test_two_loops_side_by_side_each_have_their_place(manager: CheckpointManager) -> None:
    def pairs(stop: int | None) -> list[tuple[int, str]]:
        done = []
        with checkpointed("job", manager=manager) as cp:
            for number, letter in zip(cp.remaining(range(4)), cp.remaining(list("abcd")), strict=True):
                if number == stop:
                    raise Stop
                done.append((number, letter))
        return done

    with pytest.raises(Stop):
        pairs(2)

    assert pairs(None) == [(2, "c"), (3, "d")]


def test_loops_in_threads_each_go_on_at_their_place(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, save_strategy=every(items=1))

    def work(cp: Any, name: str, done: list[str], stop: int) -> None:
        for number in cp.remaining(range(30), name=name):
            if number == stop:
                return
            done.append(f"{name}{number}")

    def all_threads(stops: tuple[int, ...]) -> list[str]:
        done: list[str] = []
        with checkpointed("job", manager=manager) as cp:
            threads = [
                threading.Thread(target=work, args=(cp, name, done, stop))
                for name, stop in zip("abcd", stops, strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return done

    first, second = all_threads((3, 17, 29, 10)), all_threads((99, 99, 99, 99))

    assert len(first) == 3 + 17 + 29 + 10
    assert sorted(first + second) == sorted(f"{name}{number}" for name in "abcd" for number in range(30))
    assert manager.list_checkpoints() == []
