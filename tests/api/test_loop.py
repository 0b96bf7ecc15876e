"""The small form: a loop that needs no block around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import resumable


def saved(path: Path) -> bool:
    return (path / ".checkpoint_job.json").exists()


def through(path: Path, last: int, how: str, seen: list[int]) -> None:
    for number in resumable.loop(range(6), "job", store=path):
        seen.append(number)
        if number == last and how == "error":
            raise ZeroDivisionError
        if number == last and how == "interrupt":
            raise KeyboardInterrupt
        if number == last and how == "break":
            break
        if number == last and how == "return":
            return


@pytest.mark.parametrize("how", ["error", "interrupt", "break", "return"])
def test_it_goes_on_at_the_item_at_which_it_was_left(how: str, tmp_path: Path) -> None:
    seen: list[int] = []
    try:
        through(tmp_path, 3, how, seen)
    except (ZeroDivisionError, KeyboardInterrupt):
        assert saved(tmp_path)  # before the except runs
    assert saved(tmp_path)
    through(tmp_path, 99, how, seen)
    assert seen == [0, 1, 2, 3, 3, 4, 5]
    assert not saved(tmp_path)


def test_nothing_happens_before_the_for_and_only_one_may_go_through_it(tmp_path: Path) -> None:
    loop: Any = resumable.loop(range(3), "job", store=tmp_path)
    assert not list(tmp_path.iterdir())
    assert list(loop) == [0, 1, 2]
    with pytest.raises(RuntimeError, match="has run already"):
        iter(loop)


async def items_to_come() -> AsyncIterator[int]:
    yield 1


async def test_an_async_for_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """What it goes through does not end when it is left: a break would not save."""
    way_out = r"async with checkpointed\('job'\) as cp:  async for item in cp\.remaining\(items\)"
    loop: Any = resumable.loop(range(3), "job", store=tmp_path)
    with pytest.raises(TypeError, match=way_out):
        async for _ in loop:
            pass
    with pytest.raises(TypeError, match=way_out):
        resumable.loop(items_to_come(), "job", store=tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
