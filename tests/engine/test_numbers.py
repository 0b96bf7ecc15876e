"""Numbers that JSON does not know: the scalars of numpy."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import enum
import random
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resumable import StateEncodeError, checkpointed, every

np = pytest.importorskip("numpy")

SCALARS = {
    "float64": (np.float64(0.1), 0.1),
    "float32": (np.float32(0.1), 0.10000000149011612),
    "float16": (np.float16(0.1), 0.0999755859375),
    "int8": (np.int8(-5), -5),
    "int64": (np.int64(3), 3),
    "uint64": (np.uint64(2**64 - 1), 2**64 - 1),
    "bool": (np.bool_(True), True),
    "str": (np.str_("é"), "é"),
}


def kept(path: Path, body: Any, **options: Any) -> Any:
    """The state of a next run, after one that *body* has filled was stopped."""
    with contextlib.suppress(ZeroDivisionError), checkpointed("job", every(items=1), store=path, **options) as cp:
        for number in cp.remaining(range(4)):
            if number == 3:
                raise ZeroDivisionError
            body(cp)
    with checkpointed("job", store=path, **options) as cp:
        cp.keep()
        return cp.state


def is_exactly(value: Any, expected: Any) -> bool:
    return type(value) is type(expected) and bool(value == expected)


@pytest.mark.parametrize("name", SCALARS)
def test_a_scalar_of_numpy_is_saved_as_what_it_is(name: str, tmp_path: Path) -> None:
    scalar, plain = SCALARS[name]

    def fill(cp: Any) -> None:
        cp.state["alone"] = scalar
        cp.state.setdefault("list", []).append(scalar)
        cp.mapping("mapping")["alone"] = scalar
        cp.mapping("mapping")["inside"] = {"deep": [scalar, (scalar,)]}
        cp.mapping("mapping").setdefault("default", scalar)
        cp.log("log").extend([scalar, [scalar]])
        cp.set("set").add(scalar)

    with pytest.warns(UserWarning, match=r"will come back as a plain \w+, first at \$\.state\.\w+") as said:
        state = kept(tmp_path, fill)
    assert len(said) == 1
    found = [state["alone"], *state["list"], state["mapping"]["alone"], *state["mapping"]["inside"]["deep"][:1]]
    found += [state["mapping"]["inside"]["deep"][1][0], state["mapping"]["default"], *state["set"]]
    found += [state["log"][0], state["log"][1][0], state["log"][-1][0]]
    assert all(is_exactly(one, plain) for one in found)
    assert len(state["log"]) == 6


def test_a_set_takes_out_what_was_put_in_as_a_scalar(tmp_path: Path) -> None:
    def fill(cp: Any) -> None:
        numbers = cp.set("numbers")
        numbers.add(np.int64(1))
        numbers.add(np.int64(2))
        numbers.discard(np.int64(1))

    assert kept(tmp_path, fill)["numbers"] == {2}


def test_what_the_program_still_holds_is_compared_without_complaint(tmp_path: Path) -> None:
    held: list[Any] = [np.float64(0.5), {"loss": np.float64(0.25)}]

    def fill(cp: Any) -> None:
        cp.log("log").extend(held)
        cp.mapping("mapping")["a"] = held[1]

    state = kept(tmp_path, fill)
    assert state["log"][:2] == [0.5, {"loss": 0.25}]
    assert state["mapping"] == {"a": {"loss": 0.25}}


@dataclass
class Plain:
    loss: float = 0.0
    step: int = 0
    ended: bool = False
    best: float | None = None
    losses: list[float] = field(default_factory=list)
    seen: set[float] = field(default_factory=set)


class Struct(msgspec.Struct):
    loss: float = 0.0
    step: int = 0
    ended: bool = False
    best: float | None = None
    losses: list[float] = []
    seen: set[float] = set()


def model() -> Any:
    pydantic = pytest.importorskip("pydantic")
    fields = {"loss": (float, 0.0), "step": (int, 0), "ended": (bool, False), "best": (float | None, None)}
    return pydantic.create_model("Model", **fields, losses=(list[float], []), seen=(set[float], set()))


@pytest.mark.parametrize("kind", [lambda: Plain, lambda: Struct, model], ids=["dataclass", "struct", "model"])
def test_a_typed_state_takes_scalars_into_fields_of_numbers(kind: Any, tmp_path: Path) -> None:
    def fill(cp: Any) -> None:
        state = cp.state
        state.loss, state.step, state.ended = np.float64(0.1), np.int32(7), np.bool_(True)
        state.best = np.float32(0.1)
        state.losses.append(np.float32(0.1))
        state.seen.add(np.float64(0.5))

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        state = kept(tmp_path, fill, state=kind())
    exact = 0.10000000149011612
    assert (state.loss, state.step, state.ended, state.best) == (0.1, 7, True, exact)
    assert state.losses == [exact] * 3
    assert state.seen == {0.5}
    assert {type(one) for one in (state.loss, state.best, *state.losses)} == {float}
    assert len(said) == len({str(one.message).split(",")[0] for one in said}) <= 4


@dataclasses.dataclass
class Kept:
    size: int


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "cure"),
    [
        (np.arange(3), "x.tolist()"),
        (np.array(5.0), "x.tolist()"),
        (np.longdouble(1), "float(x)"),
        (np.complex128(1), "float(x.real)"),
        (np.datetime64("2020-01-01T00:00:00.000000000"), "str(x)"),
        (np.float64("nan"), "keep None instead"),
        ({np.int64(1): 1}, "str(key)"),
        (np.random.default_rng(1), "cp.track(x)"),
        (random.Random(1), "cp.track(x)"),
        (collections.deque([1]), "list(x)"),
        (range(3), "list(x)"),
        (re.compile("x"), "x.pattern"),
        (datetime.time(1), "x.isoformat()"),
        (Kept(1), "cp.mapping(name, Kept)"),
        (Colour.RED, "x.name"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_exact_form_is_refused_with_a_cure(value: Any, cure: str, tmp_path: Path) -> None:
    with pytest.raises(StateEncodeError) as caught:
        kept(tmp_path, lambda cp: cp.state.update(inside=[value]))
    assert cure in str(caught.value)
    with pytest.raises(StateEncodeError, match=r"\$\.state\.mapping\.key"), checkpointed("other", store=tmp_path) as cp:
        cp.mapping("mapping")["key"] = value


@dataclasses.dataclass
class Anything:
    value: Any = None


@pytest.mark.parametrize(
    ("value", "cure"),
    [
        (np.arange(3), r"x\.tolist\(\).*cp\.artifact\(name\)"),
        (np.complex128(1), r"float\(x\.real\)"),
        (np.random.default_rng(1), r"cp\.track\(x\)"),
        (range(3), r"list\(x\)"),
        (object(), "keep plain values instead"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_typed_state_names_the_cure_too(value: Any, cure: str, tmp_path: Path) -> None:
    def keep() -> None:
        with checkpointed("job", state=Anything, store=tmp_path) as cp:
            cp.state.value = value
            cp.save()

    with pytest.raises(StateEncodeError, match=cure):
        keep()


def test_frames_and_tensors_are_refused_with_their_own_cures() -> None:
    from resumable._json import check

    pandas = pytest.importorskip("pandas")
    for value, cure in ((pandas.DataFrame({"a": [1]}), r"to_dict\('records'\)"), (pandas.Series([1]), r"tolist\(\)")):
        with pytest.raises(StateEncodeError, match=cure):
            check(value, "$.state")
