"""The progress of loops, in words."""

from __future__ import annotations

from typing import Any

import pytest

from resumable._loops.standing import LoopStanding
from resumable._report.messages import amount, stopped


def test_where_loops_stopped_is_told_by_the_outer_one() -> None:
    loops = [LoopStanding("epoch", 2, 4, is_around=True), LoopStanding("step", 7, 20, is_around=False)]

    assert stopped("training", 47, None, "", loops=loops).startswith("training: stopped at epoch 2 of 4. Saved;")


@pytest.mark.parametrize(
    ("done", "loops", "text"),
    [
        pytest.param(12, [("x", 12, 12, False)], "12 of 12", id="one loop alone needs no name"),
        pytest.param(84, [("epoch", 4, 4, False)], "epoch 4 of 4", id="the outer one of nested loops"),
        pytest.param(9, [("epoch", 1, 4, True), ("step", 8, 20, False)], "epoch 1 of 4", id="left within a loop"),
        pytest.param(80, [("a", 30, 30, False), ("b", 50, 50, False)], "a 30/30 · b 50/50", id="one after the other"),
        pytest.param(7, [("x", 7, None, False)], "7 items", id="no total"),
    ],
)
def test_the_last_line_counts_what_tells_most(done: int, loops: list[Any], text: str) -> None:
    assert amount(done, None, [LoopStanding(*loop) for loop in loops]) == text
