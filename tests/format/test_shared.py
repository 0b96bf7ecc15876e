"""A warning of one object under two names of a state, which comes back as two."""

from __future__ import annotations

import random
from argparse import Namespace
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
        ({"a": ROW, "b": ROW}, "$.state.b is the same dict as $.state.a, and"),
        ({"a": [ROW, {}, ROW]}, "$.state.a[2] is the same dict as $.state.a[0], and"),
        ({"a": {"x y": ROW}, "b": [[ROW]]}, "$.state.b[0][0] is the same dict as $.state.a['x y'], and"),
        (Outer(INNER, INNER), "$.state.b is the same Inner as $.state.a, and"),
        (Outer(INNER, rows=[INNER]), "$.state.rows[0] is the same Inner as $.state.a, and"),
        ({"a": [[], [], {}, {}], "b": "text", "c": (1,), "d": (1,)}, ""),
        (Outer(), ""),
        ({"a": {f"k{n}": {"n": n} for n in range(500)} | {"x": ROW}, "b": [[n] for n in range(500)]}, ""),
        (
            {"a": {f"k{n}": {"n": n} for n in range(500)} | {"x": ROW}, "b": [[n] for n in range(500)] + [[ROW]]},
            "$.state.b[500][0] is the same dict as $.state.a.x, and",
        ),
        ({"a": {f"k{n}": {"n": n} for n in range(20_000)}}, ""),
        ({"a": ROW, "b": vars(Namespace(row=ROW))}, "$.state.b.row is the same dict as $.state.a, and"),
        ({"a": {1: ROW, (1, 2): ROW}}, "$.state.a[(1, 2)] is the same dict as $.state.a[1], and"),
    ],
)
def test_the_first_object_that_has_two_names(state: Any, told: str) -> None:
    assert shared_in(state).startswith(told)
    assert bool(told) == bool(shared_in(state))


def test_a_plain_state_is_found_apart_as_by_a_walk_through_it() -> None:
    """Random states of few objects, some of which stand at two places: what is found is what a plain walk finds."""
    chance, twice = random.Random(2), 0
    for _ in range(3_000):
        objects: list[Any] = [{}, []]
        for _ in range(chance.randrange(1, 8)):
            parts = [chance.choice([1, "x", None, chance.choice(objects)]) for _ in range(chance.randrange(4))]
            objects.append(parts if chance.random() < 0.5 else dict(zip("abc", parts, strict=False)))
        state = {"s": objects[-1], "t": chance.choice(objects)}
        seen, todo = set[int](), [state]
        for one in todo:
            seen.add(id(one))
            todo += [one for one in (one.values() if isinstance(one, dict) else one) if isinstance(one, dict | list)]
        assert bool(shared_in(state)) is (len(seen) < len(todo))
        twice += len(seen) < len(todo)
    assert 500 < twice < 2_500


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
