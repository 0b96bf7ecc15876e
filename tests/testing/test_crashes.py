"""Each decorated function is stopped as often as asked for, and called again until it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from resumable import AsyncCheckpoint, Checkpoint, every, resumable
from resumable.testing.crashes import Crashes


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@resumable(operation_id="right", strategy=every(items=1))
def right(cp: Checkpoint) -> int:
    for number in cp.remaining(range(20)):
        cp.state["total"] = cp.state.get("total", 0) + number
    return int(cp.state["total"])


@resumable(operation_id="later", strategy=every(items=1))
async def later(cp: AsyncCheckpoint[dict[str, int]]) -> int:
    async for number in cp.remaining(range(20)):
        cp.state["total"] = cp.state.get("total", 0) + number
    return cp.state["total"]


@resumable(operation_id="wrong")
def wrong() -> None:
    raise LookupError("its own error")


@resumable(operation_id="outer")
def outer(cp: Checkpoint) -> int:
    return right()


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_a_right_function_returns_what_it_would_have(times: int) -> None:
    crashes = Crashes(times, seed=1)
    with crashes.installed():
        assert right() == 190

    assert sum(crashes.stops.values()) == len(crashes.told) == times
    assert "was killed" in crashes.told[0]
    assert "test_crashes.py:" in crashes.told[0]


async def test_so_does_an_async_one() -> None:
    crashes = Crashes(3, seed=2)
    with crashes.installed():
        assert await later() == 190

    assert sum(crashes.stops.values()) == 3


def test_errors_of_the_function_pass_through() -> None:
    with Crashes(3, seed=1).installed(), pytest.raises(LookupError, match="its own error"):
        wrong()


def test_a_function_inside_another_has_its_turn_after_that() -> None:
    crashes = Crashes(3, seed=3)
    with crashes.installed():
        assert outer() == 190

    assert [*crashes.stops.values()] == [3, 3]


@pytest.mark.slow
def test_one_seed_stops_at_the_same_moments() -> None:
    told = []
    for _ in range(2):
        crashes = Crashes(3, seed=7)
        with crashes.installed():
            right()
        told.append(crashes.told)

    assert told[0] == told[1]
