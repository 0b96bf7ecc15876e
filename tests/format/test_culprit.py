"""What cannot be encoded is refused by its whole path, with what to do, whatever the libraries raise."""

from __future__ import annotations

import dataclasses
from typing import Any

import pydantic
import pytest

from resumable import StateEncodeError
from resumable._format.typed import TypedState


@dataclasses.dataclass
class Row:
    value: Any = None


@dataclasses.dataclass
class State:
    rows: list[Row] = dataclasses.field(default_factory=list)
    shares: dict[float, int] = dataclasses.field(default_factory=dict)
    sizes: dict[int, int] = dataclasses.field(default_factory=dict)


class Inner(pydantic.BaseModel):
    share: float = 0.0
    anything: Any = None


class Model(pydantic.BaseModel):
    inner: dict[str, Inner] = {}
    raw: list[bytes] = []
    by_set: dict[frozenset[int] | str, int] = {}


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def refused(state: Any) -> tuple[str, str]:
    with pytest.raises(StateEncodeError) as raised:
        TypedState(type(state), print).plain(state, wholly=True)
    return raised.value.path, raised.value.reason


@pytest.mark.parametrize(
    ("state", "path", "reason"),
    [
        (State([Row({"a": [object()]})]), "$.state.rows[0].value.a[0]", "plain values"),
        (State([Row(), Row({"a": {(1, 2): 3}})]), "$.state.rows[1].value.a: the key (1, 2)", "str(key)"),
        (State([Row(deep(5000))]), "$.state.rows[0].value[0][0]", "deeper than 200 levels"),
        (State([Row(endless())]), "$.state.rows[0].value[0][0]", "contains itself"),
        (State(shares={1: 2}), "$.state.shares", "float(key)"),
        (State(sizes={"a": 2}), "$.state.sizes: a key", "Expected `int`"),  # type: ignore[dict-item]
        (Model(inner={"a": Inner(anything=object())}), "$.state.inner.a.anything", "plain values"),
        (Model(raw=[b"a", b"\xff"]), "$.state.raw[1]", "ser_json_bytes"),
        (Model(by_set={frozenset({1}): 1}), "$.state.by_set: the key frozenset({1})", "str(key)"),
        (Model(inner={"a": Inner.model_construct(share=10**400)}), "$.state.inner.a", "declare"),
        (Model.model_construct(inner={"a": 1}), "$.state.inner", "declares"),
    ],
)
def test_the_innermost_value_is_named(state: Any, path: str, reason: str) -> None:
    found = refused(state)

    assert found[0].startswith(path)
    assert len(found[0]) < 300
    assert reason in found[1]


def test_what_comes_back_changed_is_told_with_where_to_look() -> None:
    @pydantic.dataclasses.dataclass
    class Part:
        total: int = dataclasses.field(default=0, init=False)

    holder: Any = pydantic.create_model("Holder", part=(Part, pydantic.Field(default_factory=Part)))()
    holder.part.total = 3

    path, reason = refused(holder)
    assert path == "$.state.part.total"
    assert "init=False" in reason
