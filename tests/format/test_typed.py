"""State of a given type: what it holds comes back as it was."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest

from resumable import CheckpointManager, InputChangedError, StateEncodeError, checkpointed
from resumable.testing import MemoryStore


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Point:
    x: float = 0.0
    y: float = 0.0


NOBODY = UUID(int=0)


@dataclass
class PlainState:
    when: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    path: Path = Path("a")
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    seen: set[str] = field(default_factory=set)
    raw: bytes = b""
    points: list[Point] = field(default_factory=list)
    by_number: dict[int, str] = field(default_factory=dict)
    pair: tuple[int, str] = (0, "")
    maybe: Point | None = None
    day: date = date(2026, 1, 1)
    price: Decimal = Decimal("0")
    id: UUID = NOBODY


class StructState(msgspec.Struct):
    when: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    path: PurePosixPath = PurePosixPath("a")
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    seen: set[str] = msgspec.field(default_factory=set)
    raw: bytes = b""
    points: list[Point] = msgspec.field(default_factory=list)
    by_number: dict[int, str] = msgspec.field(default_factory=dict)
    pair: tuple[int, str] = (0, "")
    maybe: Point | None = None
    day: date = date(2026, 1, 1)
    price: Decimal = Decimal("0")
    id: UUID = NOBODY


class PydanticState(pydantic.BaseModel):
    # Else pydantic takes bytes for UTF-8 text, and refuses all others.
    model_config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    when: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    path: Path = Path("a")
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    seen: set[str] = set()
    raw: bytes = b""
    points: list[Point] = []
    by_number: dict[int, str] = {}
    pair: tuple[int, str] = (0, "")
    maybe: Point | None = None
    day: date = date(2026, 1, 1)
    price: Decimal = Decimal("0")
    id: UUID = NOBODY


KINDS = [PlainState, StructState, PydanticState]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)

VALUES: dict[str, Any] = {
    "when": datetime(2026, 3, 29, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2))),
    "path": Path("/data/ü ö/file.txt"),
    "colour": Colour.BLUE,
    "level": Level.LOW,
    "seen": {"x", "y"},
    "raw": b"plain bytes",
    "points": [Point(1.5, -2.0), Point()],
    "by_number": {7: "seven"},
    "pair": (3, "three"),
    "maybe": Point(1, 2),
    "day": date(2026, 12, 31),
    "price": Decimal("19.90"),
    "id": UUID(int=2**100),
}


class Stop(Exception):
    """What leaves a block in these tests."""


@pytest.fixture
def manager() -> CheckpointManager:
    return CheckpointManager(store=MemoryStore())


def leave(manager: CheckpointManager, kind: type[Any], **values: Any) -> None:
    with pytest.raises(Stop), checkpointed("job", manager=manager, state=kind) as cp:  # noqa: PT012
        for name, value in values.items():
            setattr(cp.state, name, value)
        cp.tick()
        raise Stop


@kinds
def test_a_new_operation_begins_with_a_fresh_one(kind: type[Any], manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager, state=kind) as cp:
        assert isinstance(cp.state, kind)
        assert cp.state == kind()


@kinds
@pytest.mark.parametrize("name", VALUES)
def test_each_value_comes_back_as_it_was(name: str, kind: type[Any], manager: CheckpointManager) -> None:
    value = PurePosixPath(VALUES[name]) if kind is StructState and name == "path" else VALUES[name]
    leave(manager, kind, **{name: value})

    with checkpointed("job", manager=manager, state=kind) as cp:
        back = getattr(cp.state, name)
        assert cp.resumed
        assert isinstance(cp.state, kind)
        assert back == value
        assert type(back) is type(value)


@kinds
@pytest.mark.parametrize("raw", [bytes(range(256)), b"\xff\xfe", b""], ids=["every byte", "no UTF-8", "none"])
def test_any_bytes_come_back(raw: bytes, kind: type[Any], manager: CheckpointManager) -> None:
    leave(manager, kind, raw=raw)

    with checkpointed("job", manager=manager, state=kind) as cp:
        assert cp.state.raw == raw


def test_the_document_is_plain_json(tmp_path: Path) -> None:
    leave(CheckpointManager(tmp_path), PlainState, seen={"x"}, colour=Colour.BLUE)

    state = json.loads((tmp_path / ".checkpoint_job.json").read_text())["state"]

    assert state["colour"] == "blue"
    assert state["seen"] == ["x"]
    assert state["when"].startswith("2026-01-01T00:00:00")


def test_the_state_may_be_replaced_by_another_one(manager: CheckpointManager) -> None:
    with pytest.raises(Stop), checkpointed("job", manager=manager, state=Point) as cp:  # noqa: PT012
        cp.state = Point(3, 4)
        raise Stop

    with checkpointed("job", manager=manager, state=Point) as cp:
        assert cp.state == Point(3, 4)


# -- a state that no longer fits --------------------------------------------------------------------------------------


@dataclass
class Before:
    count: int = 0


@dataclass
class WithMore:
    count: int = 0
    more: str = "default"


@dataclass
class Renamed:
    number: int = 0


class RenamedModel(pydantic.BaseModel):
    number: int = 0


@dataclass
class AnotherKind:
    count: list[str] = field(default_factory=list)


class StrictModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    total: int = 0


class AnotherStruct(msgspec.Struct):
    count: list[str] = []


def test_a_new_field_with_a_default_fits(manager: CheckpointManager) -> None:
    leave(manager, Before, count=3)

    with checkpointed("job", manager=manager, state=WithMore) as cp:
        assert cp.state == WithMore(3, "default")


@pytest.mark.parametrize(
    "kind", [AnotherKind, AnotherStruct, StrictModel, Renamed, RenamedModel], ids=lambda kind: kind.__name__
)
def test_a_state_that_no_longer_fits_is_refused_and_left_alone(kind: type[Any], manager: CheckpointManager) -> None:
    leave(manager, Before, count=3)

    with pytest.raises(InputChangedError) as raised, checkpointed("job", manager=manager, state=kind):
        pytest.fail("the block must not be entered")

    assert kind.__name__ in raised.value.differences[0]
    assert any("resumable rm job" in way for way in raised.value.ways_out)
    data = manager.load_checkpoint("job")
    assert data is not None
    assert data.state == {"count": 3}
    with checkpointed("job", manager=manager, state=Before) as cp:
        assert cp.state == Before(3)


# -- what cannot be saved ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(object(), id="object"),
    ],
)
@pytest.mark.parametrize("kind", [Point], ids=lambda kind: kind.__name__)
def test_what_cannot_be_saved_exactly_is_refused(value: Any, kind: type[Any], manager: CheckpointManager) -> None:
    leave(manager, kind, x=1.0)

    with checkpointed("job", manager=manager, state=kind) as cp:
        cp.state.x = value
        with pytest.raises(StateEncodeError, match=r"\$\.state"):
            cp.tick()
        cp.state.x = 0.0

    assert manager.load_checkpoint("job") is None


class Measured(pydantic.BaseModel):
    value: float = 0.0


def test_a_nan_in_a_pydantic_model_does_not_become_none(manager: CheckpointManager) -> None:
    """In JSON mode pydantic turns it into null, which would not come back."""
    with checkpointed("job", manager=manager, state=Measured) as cp:
        cp.state.value = float("nan")
        cp.tick()
        cp.keep()
    with checkpointed("job", manager=manager, state=Measured) as cp:
        assert cp.state.value != cp.state.value


def test_durable_collections_need_fields_of_a_typed_state(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager, state=Point) as cp:
        for collection in (cp.mapping, cp.set, cp.log):
            with pytest.raises(
                TypeError, match=r"'files' needs a field in state=Point, .* declare it:  files: Durable"
            ):
                collection("files")


class AsciiModel(pydantic.BaseModel):
    raw: bytes = b""


def test_bytes_that_a_pydantic_model_cannot_hold_are_refused_with_what_to_set(
    manager: CheckpointManager,
) -> None:
    with checkpointed("job", manager=manager, state=AsciiModel) as cp:
        cp.state.raw = b"\xff"
        with pytest.raises(StateEncodeError, match=r"utf-8.*ser_json_bytes='base64', val_json_bytes='base64'"):
            cp.tick()
        cp.state.raw = b"ascii"


class AliasedModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    page: int = pydantic.Field(default=0, alias="pageNumber")
    when: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def next_page(self) -> int:
        return self.page + 1


def test_a_strict_pydantic_model_with_aliases_and_computed_fields_comes_back(manager: CheckpointManager) -> None:
    leave(manager, AliasedModel, page=7, when=VALUES["when"])

    with checkpointed("job", manager=manager, state=AliasedModel) as cp:
        assert cp.state.page == 7
        assert cp.state.when == VALUES["when"]
