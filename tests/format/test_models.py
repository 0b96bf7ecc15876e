"""A model comes back also if a field of it reads another name than it writes."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field

from resumable import InputChangedError, checkpointed
from resumable._format.models import goes_by_name
from resumable._format.typed import TypedState, restored
from resumable._format.values import Values
from resumable.testing import MemoryStore


class Read(BaseModel):
    total: int = Field(0, validation_alias="TOTAL")


class Written(BaseModel):
    model_config = ConfigDict(extra="forbid")
    total: int = Field(0, serialization_alias="TOTAL")


class Choices(BaseModel):
    total: int = Field(0, validation_alias=AliasChoices("Total", "TOTAL"))
    other: int = Field(0, alias="o")


class Inside(BaseModel):
    total: int = Field(0, validation_alias=AliasPath("sums", 0))


class Around(BaseModel):
    model_config = ConfigDict(extra="allow")
    total: int = 0
    inner: dict[str, list[Inside]] = {}


@pydantic.dataclasses.dataclass
class Part:
    total: int = Field(0, validation_alias="sum")


class Holder(BaseModel):
    total: int = 0
    parts: list[Part] = []


class Swapped(BaseModel):
    total: int = Field(0, validation_alias="other")
    other: int = Field(0, validation_alias="total")


def _made(kind: Any, **fields: Any) -> Any:  # a type checker takes the names of the fields only
    return kind(**fields)


STATES: list[Any] = [
    _made(Read, TOTAL=3),
    Written(total=3),
    _made(Choices, TOTAL=3, o=4),
    Around(inner={"a": [_made(Inside, sums=[3])]}),
    Holder(parts=[_made(Part, sum=3)]),
    _made(Swapped, other=3, total=4),
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: type(state).__name__)
def test_names_that_differ_do_no_harm(state: Any) -> None:
    kind = type(state)

    saved = TypedState(kind, pytest.fail).plain(state, wholly=True)
    assert saved.keys() == kind.model_fields.keys()
    assert restored("job", kind, saved) == state

    values = Values(kind, "$.state.rows", "job", pytest.fail)
    raw, plain = values.encoded(state, str, "a")
    assert values.value(plain, "a") == state
    assert values.is_one(raw, raw)


def test_a_model_that_reads_what_it_writes_keeps_its_aliases_in_json() -> None:
    class Usual(BaseModel):
        total: int = Field(0, alias="TOTAL")
        either: int = Field(0, validation_alias=AliasChoices("e", "either"))
        hidden: int = Field(0, validation_alias="h", exclude=True)

    assert not goes_by_name(Usual)
    assert TypedState(Usual, print).plain(_made(Usual, TOTAL=3), wholly=True) == {"TOTAL": 3, "either": 0}


class Tally(pydantic.RootModel[dict[str, set[int]]]):
    pass


class Tallies(BaseModel):
    tally: Tally = Tally({})
    many: list[Tally] = []


def test_a_root_model_loads_also_if_its_set_has_another_order() -> None:
    """Its keys were taken for fields that the class has no more, and the saved state was refused."""
    saved = {"tally": {"a": [9, 1]}, "many": [{"b": [9, 1]}]}

    assert restored("job", Tallies, saved) == Tallies(tally=Tally({"a": {1, 9}}), many=[Tally({"b": {1, 9}})])
    assert Values(Tally, "$.state.rows", "job", pytest.fail).value({"a": [9, 1]}, "a") == Tally({"a": {1, 9}})


def test_a_saved_field_that_the_class_lost_is_refused() -> None:
    with pytest.raises(InputChangedError, match="no field 'gone'"):
        restored("job", Read, {"total": 3, "gone": 1})


def test_the_sum_goes_on() -> None:
    store = MemoryStore()

    def run(stop: int) -> int:
        with checkpointed("job", store=store, state=Choices) as cp:
            for number in cp.remaining([1, 2, 3, 4]):
                if number == stop:
                    raise ConnectionError
                cp.state.total += number
            return cp.state.total

    with pytest.raises(ConnectionError):
        run(3)
    assert run(0) == 10
