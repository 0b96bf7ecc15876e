"""A class of which no value can be loaded is refused on entry, with the path of the field and what to do."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypedDict

import attr
import attrs
import msgspec
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
