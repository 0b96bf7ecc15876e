"""A class of which no value can be loaded is refused on entry, with the path of the field and what to do."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, TypedDict

import attr
import attrs
import msgspec
import pydantic
import pytest

from resumable import checkpointed
from resumable._format.impossible import refuse_impossible
from resumable.testing import MemoryStore

if TYPE_CHECKING:
    from decimal import Decimal


class Half(enum.Enum):
    ONE = 0.5


class Row(NamedTuple):
    number: Decimal


class Options(TypedDict, total=False):
    number: int


class Array(msgspec.Struct, array_like=True):
    number: int = 0


@attr.s
class Untyped:
    number = attr.ib(default=0)  # pyright: ignore


@attrs.define
class NeedsSelf:
    number: int = 0
    again: int = attrs.field(default=attrs.Factory(lambda self: self.number, takes_self=True))


@dataclasses.dataclass
class Begun:
    shared: ClassVar[int] = 0
    begin: dataclasses.InitVar[int] = 0


def state_of(kind: Any) -> Any:
    return dataclasses.make_dataclass("State", [("rows", list[kind], dataclasses.field(default_factory=list))])


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Half, r"State\.rows\[\]: Enums must .*texts, or ints"),
        (int | Path, r"State\.rows\[\]: Type unions .*declare one of these types"),
        (Row, r"State\.rows\[\]: name 'Decimal' is not defined; .*TYPE_CHECKING"),
        (dict[str, Untyped], r"State\.rows\[\]\[\]: its field 'number' has no type; annotate it"),
        (NeedsSelf, r"State\.rows\[\]: .*`takes_self=True`.*needs no self"),
        (Begun, r"State\.rows\[\]\.begin: .*InitVar.*make it a field"),
    ],
)
def test_a_field_without_a_decoder_is_named_with_what_to_do(kind: Any, told: str) -> None:
    """msgspec names neither, and for some of these raises KeyError, NameError or NotImplementedError."""
    kind = state_of(kind)

    with pytest.raises(TypeError, match=f"^state=State could not be loaded again: {told}"):
        refuse_impossible(kind)
    with pytest.raises(TypeError, match=told), checkpointed("job", store=MemoryStore(), state=kind):
        pytest.fail("the block must not be entered")


def test_a_class_that_refers_to_one_inside_a_function_is_named() -> None:
    @dataclasses.dataclass
    class Inner:
        number: int = 0

    @dataclasses.dataclass
    class Outer:
        inner: Inner | None = None

    with (
        pytest.raises(TypeError, match="Outer: name 'Inner' is not defined; define it where the module is read"),
        checkpointed("job", store=MemoryStore(), state=Outer),
    ):
        pytest.fail("the block must not be entered")


@pytest.mark.parametrize("kind", [Options, Array, Row, list, int])
def test_a_state_without_fields_is_refused_on_entry(kind: Any) -> None:
    with (
        pytest.raises(TypeError, match="state= takes a class with fields, such as a dataclass"),
        checkpointed("job", store=MemoryStore(), state=kind),
    ):
        pytest.fail("the block must not be entered")


@pytest.mark.parametrize("key", [tuple[int, int], tuple[str, ...], frozenset[int]])
def test_keys_that_a_model_cannot_read_are_refused(key: Any) -> None:
    kind = pydantic.create_model("State", rows=(list[dict[key, int]], []))

    with pytest.raises(TypeError, match=r"the keys of State\.rows\[\] are of type .*list of pairs"):
        refuse_impossible(kind)


@pytest.mark.parametrize("key", [int, Path, bool, Literal["a"], tuple[int, int] | str, "Text"])
def test_keys_that_a_model_can_read_are_not_refused(key: Any) -> None:
    if key == "Text":
        key = Annotated[tuple[str, ...], pydantic.PlainSerializer(",".join), pydantic.BeforeValidator(_parts)]
    refuse_impossible(pydantic.create_model("State", rows=(dict[key, int], {})))


def _parts(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value
