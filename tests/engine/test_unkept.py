"""A program that ticks by hand, and goes on, is told of variables that begin anew beside its state."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results_in_a_list(strategy: Any, stops_at: int | None) -> Any:
    with checkpointed("job", strategy) as cp:
        results = []
        for number in range(cp.state.get("next", 0), 6):
            if number == stops_at:
                raise LookupError
            results.append(number)
            cp.state["next"] = number + 1
            cp.tick()
    return results


def a_sum_under_while(strategy: Any, stops_at: int | None) -> Any:
    total = 0
    with checkpointed("job", strategy) as cp:
        while (number := cp.state.get("next", 0)) < 6:
            if number == stops_at:
                raise LookupError
            total += number
            cp.state["next"] = number + 1
            cp.tick()
    return total


@pytest.mark.parametrize("job", [results_in_a_list, a_sum_under_while])
@pytest.mark.parametrize("strategy", [every(items=1), every(minutes=5)])
def test_a_variable_beside_the_state_is_told_once(job: Callable[..., Any], strategy: Any, caplog: Any) -> None:
    with contextlib.suppress(LookupError):
        job(strategy, 3)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []

    job(strategy, None)
    told = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert ["lacks what earlier runs put into it" in one for one in told] == [True]


def in_the_state(strategy: Any, stops_at: int | None) -> Any:
    with checkpointed("job", strategy) as cp:
        total = cp.state.get("total", 0)
        shown = 0
        for number in range(cp.state.get("next", 0), 6):
            if number == stops_at:
                raise LookupError
            total += number
            shown += 2
            if shown % 2 == 0:
                print(shown)
            cp.state.update(next=number + 1, total=total)
            cp.tick()
    return total


def test_a_variable_that_comes_from_the_state_is_right(caplog: Any) -> None:
    with contextlib.suppress(LookupError):
        in_the_state(every(items=1), 3)

    assert in_the_state(every(items=1), None) == sum(range(6))
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
