"""One object under two names of a state is told of: it comes back as two."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every
from resumable._format.shared import shared_in


@dataclass
class Inner:
    n: int = 0


@dataclass
class Outer:
    a: Inner = field(default_factory=Inner)
    b: Inner = field(default_factory=Inner)
    rows: list[Inner] = field(default_factory=list)


ROW: dict[str, Any] = {"n": 1}
INNER = Inner()


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"a": ROW, "b": ROW}, "$.state.b is the same dict as $.state.a and"),
        ({"a": [ROW, {}, ROW]}, "$.state.a[2] is the same dict as $.state.a[0] and"),
        ({"a": {"x y": ROW}, "b": [[ROW]]}, "$.state.b[0][0] is the same dict as $.state.a['x y'] and"),
        (Outer(INNER, INNER), "$.state.b is the same Inner as $.state.a and"),
        (Outer(INNER, rows=[INNER]), "$.state.rows[0] is the same Inner as $.state.a and"),
        ({"a": [[], [], {}, {}], "b": "text", "c": (1,), "d": (1,)}, ""),
        (Outer(), ""),
    ],
)
def test_the_first_object_that_has_two_names(state: Any, told: str) -> None:
    assert shared_in(state).startswith(told)
    assert bool(told) == bool(shared_in(state))


def test_it_is_said_once_and_saved(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="same list") as warned:
        fill(tmp_path)
    assert len(warned) == 1
    with checkpointed("job", store=tmp_path) as cp:
        assert cp.state == {"first": [0, 1, 2, 3], "second": [0, 1, 2, 3]}
        assert cp.state["first"] is not cp.state["second"]


def fill(directory: Path) -> None:
    with checkpointed("job", every(items=1), store=directory) as cp:
        first: list[int] = cp.state.setdefault("first", [])
        cp.state["second"] = first
        for item in cp.remaining(range(4)):
            first.append(item)
        cp.keep()
