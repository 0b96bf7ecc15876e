"""A program that ticks is told if a run that goes on begins its loop with the first item again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every


def stop(number: int, stops_at: int | None) -> None:
    if number == stops_at:
        raise LookupError


def only_puts(cp: Any, stops_at: int | None) -> None:
    for number in range(6):
        cp.state["last"] = number
        cp.tick()
        stop(number, stops_at)
    print(cp.state["last"])


def counts(cp: Any, stops_at: int | None) -> None:
    cp.state.setdefault("count", 0)
    for number in range(6):
        cp.state["count"] += 1
        cp.tick()
        stop(number, stops_at)


def begins_there(cp: Any, stops_at: int | None) -> None:
    for number in range(cp.state.get("next", 0), 6):
        cp.state["next"] = number + 1
        cp.tick()
        stop(number, stops_at)


def leaves_out(cp: Any, stops_at: int | None) -> None:
    done = cp.state.setdefault("done", [])
    for number in range(6):
        if number in done:
            continue
        done.append(number)
        cp.tick()
        stop(number, stops_at)


def asks_elsewhere(cp: Any, stops_at: int | None) -> None:
    for number in range(first(cp), 6):
        cp.state["next"] = number + 1
        cp.tick()
        stop(number, stops_at)


def first(cp: Any) -> int:
    return int(cp.state.get("next", 0))


def by_a_set(cp: Any, stops_at: int | None) -> None:
    done = cp.set("done")
    for number in range(6):
        if number not in done:
            done.add(number)
            cp.state["last"] = number
            cp.tick()
            stop(number, stops_at)


@pytest.mark.parametrize(
    ("program", "is_told"),
    [
        (only_puts, True),
        (counts, True),
        (begins_there, False),
        (leaves_out, False),
        (asks_elsewhere, False),
        (by_a_set, False),
    ],
)
def test_a_loop_that_begins_with_the_first_item_again_is_told_of(
    program: Callable[[Any, int | None], None], is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for stops_at in (3, None):
        with contextlib.suppress(LookupError), checkpointed("job", every(items=1), store=tmp_path) as cp:
            program(cp, stops_at)

    told = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert ["begins with the first one again" in one for one in told] == [True] * is_told
