"""What a refusal says to keep instead: for types of the standard library, of known packages, of the program."""

from __future__ import annotations

import enum
import random
from collections import deque
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from resumable._text.cures import advice, cure


@dataclass
class Row:
    n: int = 0


class Colour(enum.Enum):
    RED = 1


class Model:
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Unknown: ...


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1}, "use sorted(...) or cp.set(name)"),
        (deque([1]), "keep list(x)"),
        (date(2026, 1, 1), "keep x.isoformat(), or give a typed state"),
        (random.Random(1), "cp.track(x)"),
        (Colour.RED, "keep x.name"),
        (Row(), "cp.mapping(name, Row)"),
        (Model(), "cp.track(x), if its state_dict() is plain JSON"),
        (Unknown(), ""),
    ],
)
def test_the_cure_fits_the_type(value: Any, said: str) -> None:
    assert said in cure(value)
    assert bool(said) == bool(cure(value))


def test_what_is_unknown_gets_the_general_advice() -> None:
    assert advice(Unknown()).endswith(
        "which JSON cannot hold exactly; keep plain JSON in the state, or "
        "give a typed state: checkpointed(..., state=MyState)"
    )
    assert "is of type datetime.date" in advice(date(2026, 1, 1))
