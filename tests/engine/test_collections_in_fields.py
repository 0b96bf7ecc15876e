"""Durable collections in the fields of a typed state."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

import msgspec
import pydantic
import pytest

from resumable import DurableDict, DurableLog, DurableSet, StateEncodeError, checkpointed, every, read

WHEN = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


@dataclasses.dataclass
class File:
    size: int
    when: dt.datetime = WHEN
    raw: bytes = b"\xff"


@dataclasses.dataclass
class State:
    n: int = 0
    files: DurableDict[File] = dataclasses.field(default_factory=DurableDict)
    rows: DurableLog[File] = dataclasses.field(default_factory=DurableLog)
    seen: DurableSet[UUID] = dataclasses.field(default_factory=DurableSet)
    plain: DurableDict = dataclasses.field(default_factory=DurableDict)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    n: list[int] = dataclasses.field(default_factory=lambda: [0])
    files: DurableDict[File] = dataclasses.field(default_factory=DurableDict)
    rows: DurableLog[File] = dataclasses.field(default_factory=DurableLog)
    seen: DurableSet[UUID] = dataclasses.field(default_factory=DurableSet)
    plain: DurableDict = dataclasses.field(default_factory=DurableDict)


class Struct(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    n: int = 0
    files: DurableDict[File] = msgspec.field(default_factory=DurableDict)
    rows: DurableLog[File] = msgspec.field(name="theRows", default_factory=DurableLog)
    seen: DurableSet[UUID] = msgspec.field(default_factory=DurableSet)
    plain: DurableDict = msgspec.field(default_factory=DurableDict)


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    n: int = 0
    files: DurableDict[File] = pydantic.Field(default_factory=DurableDict)
    rows: DurableLog[File] = pydantic.Field(default_factory=DurableLog, alias="theRows")
    seen: DurableSet[UUID] = pydantic.Field(default_factory=DurableSet)
    plain: DurableDict = pydantic.Field(default_factory=DurableDict)


@dataclasses.dataclass
class Ordinary:
    n: int = 0
    files: dict[str, File] = dataclasses.field(default_factory=dict)
    rows: list[File] = dataclasses.field(default_factory=list)
    seen: set[UUID] = dataclasses.field(default_factory=set)
    plain: dict[str, Any] = dataclasses.field(default_factory=dict)


class Stop(Exception):
    """Ends a run as an error of the program's own does."""


def run(kind: Any, path: Path, stop: int | None, filling: int = 0) -> None:
    """Eight items; an error within item *stop*, which has written by then."""
    with contextlib.suppress(Stop), checkpointed("job", every(items=1), store=path, state=kind) as cp:
        if kind is Ordinary:
            assert cp.mapping("files") is cp.state.files
            assert (cp.log("rows"), cp.set("seen"), cp.mapping("plain")) == (
                cp.state.rows,
                cp.state.seen,
                cp.state.plain,
            )
        state = cp.state
        for i in cp.remaining(range(8)):
            state.files[f"k{i}"] = File(i)
            state.files["k0"].size += i  # in place
            state.rows.append(File(-i))
            state.seen.add(uuid5(NAMESPACE_DNS, str(i)))
            state.plain[str(i)] = {"x": [i], "filling": "x" * filling}
            if i == stop:
                state.files["unfinished"] = File(-1)
                raise Stop
            if kind is Frozen:
                state.n[0] += 1
            else:
                state.n += 1
        state.files.pop("unfinished", None)
        cp.keep()


@pytest.mark.parametrize("kind", [State, Frozen, Struct, Model, Ordinary])
@pytest.mark.parametrize("filling", [0, 20_000], ids=["snapshots", "journal"])
def test_they_come_back_with_their_values(kind: Any, filling: int, tmp_path: Path) -> None:
    for stop in (2, 3, 6, None):
        run(kind, tmp_path, stop, filling)
    assert bool(list(tmp_path.glob("*.journal"))) == bool(filling)

    with checkpointed("job", store=tmp_path, state=kind) as cp:
        cp.keep()
        state = cp.state
        assert state.n in (8, [8])
        assert dict(state.files) == {"k0": state.files["k0"]} | {f"k{i}": File(i) for i in range(1, 8)}
        assert [row.size for row in state.rows] == [-i for i in range(8)]
        assert state.seen == {uuid5(NAMESPACE_DNS, str(i)) for i in range(8)}
        assert list(state.plain) == [str(i) for i in range(8)]
        assert isinstance(state.files, DurableDict)
    view = read("job", tmp_path)
    assert {type(held) for held in view.collections.values()} == {dict, list, set}
    assert view.state["files"]["k3"]["size"] == 3


def test_what_an_unfinished_item_wrote_does_not_count(tmp_path: Path) -> None:
    run(State, tmp_path, stop=3)

    view = read("job", tmp_path)
    assert list(view.state["files"]) == ["k0", "k1", "k2"]
    assert len(view.state["rows"]) == len(view.state["seen"]) == len(view.state["plain"]) == 3


def test_a_save_writes_what_changed_in_them(tmp_path: Path) -> None:
    with checkpointed("job", store=tmp_path, state=State) as cp:
        cp.state.files.update({f"f{i}": File(i) for i in range(5000)})
        cp.keep()
    with checkpointed("job", store=tmp_path, state=State) as cp:
        cp.state.files["f7"] = File(-7)
        cp.save()
        written = (tmp_path / ".checkpoint_job.journal").read_bytes()
        cp.keep()

    assert b"f7" in written
    assert len(written.rstrip(b"\xff")) < 2000


@pytest.mark.parametrize(("first", "second"), [(Ordinary, State), (State, Ordinary)])
def test_a_field_may_become_one_and_no_longer_be_one(first: Any, second: Any, tmp_path: Path) -> None:
    for kind in (first, second, second):
        with checkpointed("job", store=tmp_path, state=kind) as cp:
            cp.state.files[f"{len(cp.state.files)}"] = File(len(cp.state.files))
            cp.keep()
    assert cp.state.files == {"0": File(0), "1": File(1), "2": File(2)}


def test_a_state_that_is_assigned_brings_what_its_fields_hold(tmp_path: Path) -> None:
    with checkpointed("job", every(items=1), store=tmp_path, state=State) as cp:
        for i in cp.remaining(range(4)):
            cp.state.files[str(i)] = File(i)
            if i == 1:
                cp.state = State(n=5, files={"z": File(26)})  # type: ignore[arg-type]
        cp.keep()
    with checkpointed("job", store=tmp_path, state=State) as cp:
        assert cp.state == State(n=5, files={"z": File(26), "2": File(2), "3": File(3)})  # type: ignore[arg-type]


def replaced(cp: Any) -> None:
    cp.state.files = {}
    cp.tick()


@dataclasses.dataclass
class Union:
    files: DurableDict[File | None] = dataclasses.field(default_factory=DurableDict)


@dataclasses.dataclass
class Inner:
    files: DurableDict[File] = dataclasses.field(default_factory=DurableDict)


@dataclasses.dataclass
class Nested:
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize(
    ("kind", "deed", "error", "text"),
    [
        pytest.param(State, replaced, StateEncodeError, r"\$\.state\.files .* another object", id="replaced"),
        pytest.param(State, lambda cp: cp.mapping("other", File), TypeError, "declare it:  other: Dur", id="no field"),
        pytest.param(State, lambda cp: cp.log("files", File), TypeError, "has a mapping there", id="another kind"),
        pytest.param(State, lambda cp: cp.mapping("files", UUID), TypeError, "of the class File", id="another class"),
        pytest.param(State, lambda cp: cp.state.files.update(a=3), TypeError, "takes File, not int", id="a value"),
        pytest.param(Union, None, TypeError, "the field 'files' needs a class for its values", id="a union"),
        pytest.param(Nested, None, TypeError, "only a field of the state itself can be one", id="nested"),
    ],
)
def test_what_cannot_be_is_refused(
    kind: Any, deed: Callable[[Any], object], error: type[Exception], text: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=text), checkpointed("job", store=tmp_path, state=kind) as cp:
        deed(cp)
