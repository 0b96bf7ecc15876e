"""Nothing is saved that cannot be loaded: a typed state is decoded again and compared, at every depth."""

from __future__ import annotations

import array
import contextlib
import dataclasses
import enum
import math
import random
import warnings
from collections import Counter, OrderedDict, defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest

from resumable import CheckpointManager, InputChangedError, StateEncodeError, checkpointed, every
from resumable._format.typed import TypedState, restored
from resumable.testing import MemoryStore


class Colour(enum.Enum):
    RED = "red"


class Pair(enum.Enum):
    ONE = (1, 2)


@dataclasses.dataclass
class Anything:
    value: Any = None
    bare: dict = dataclasses.field(default_factory=dict)  # type: ignore[type-arg]


@dataclasses.dataclass
class Base:
    number: int = 0


@dataclasses.dataclass
class Derived(Base):
    more: int = 1


@dataclasses.dataclass(frozen=True)
class Fixed:
    number: int = 0


@dataclasses.dataclass(frozen=True)
class Labelled:
    number: int = 0
    labels: list[str] = dataclasses.field(default_factory=list, compare=False)


class Slotted:
    __slots__ = ("cursor",)


@dataclasses.dataclass(slots=True)
class Slim(Slotted):
    number: int = 0


@dataclasses.dataclass
class Slotteds:
    rows: list[Slim] = dataclasses.field(default_factory=list)
    chosen: frozenset[Labelled] = frozenset()


@dataclasses.dataclass
class Texts:
    numbers: list[int] = dataclasses.field(default_factory=list)
    page: str = ""


@dataclasses.dataclass
class Kept:
    items: list[Base] = dataclasses.field(default_factory=list)
    at: datetime | None = None
    share: float = 0.0
    amount: Decimal = Decimal(0)
    raw: bytes = b""
    colour: Colour = Colour.RED
    path: Path = Path()
    names: set[str] = dataclasses.field(default_factory=set)
    marks: frozenset[tuple[int, str]] = frozenset()
    pair: tuple[int, str] = (0, "")
    by_number: dict[int, str] = dataclasses.field(default_factory=dict)
    either: int | float | None = None
    again: list[Base] = dataclasses.field(default_factory=list)
    fixed: list[Fixed] = dataclasses.field(default_factory=list)


class Renamed(msgspec.Struct, rename="camel", omit_defaults=True, tag=True):
    first_name: str = ""
    base: Base = msgspec.field(default_factory=Base)


class Model(pydantic.BaseModel):
    at: datetime | None = None
    token: pydantic.SecretStr = pydantic.SecretStr("")
    either: str | datetime = ""
    base: Base = Base()
    hidden: int = pydantic.Field(0, exclude=True)
    named: int = pydantic.Field(0, alias="NAMED")
    split: int = pydantic.Field(0, validation_alias="in", serialization_alias="out")
    share: float = 0.0
    counts: defaultdict[str, int] = pydantic.Field(default_factory=lambda: defaultdict(int))
    tally: Counter[str] = Counter()
    paths: list[Path] = []
    _private: int = pydantic.PrivateAttr(0)


class Written(pydantic.BaseModel):
    seconds: float = 0.0

    @pydantic.field_serializer("seconds")
    def written(self, value: float) -> str:
        return f"{value:.0f} s"


@dataclasses.dataclass
class Moving:
    offset: int = 9

    def __post_init__(self) -> None:
        self.offset += 1


@dataclasses.dataclass
class Wrong:
    name: str = None  # type: ignore[assignment]


def with_(value: Any, **attributes: Any) -> Any:
    for name, attribute in attributes.items():
        setattr(value, name, attribute)
    return value


def tried(state: Any) -> list[str]:
    """What is said of it. Raises what is raised."""
    said: list[str] = []
    TypedState(type(state), said.append).plain(state, wholly=True)
    return said


WHEN = datetime(2026, 10, 25, 2, 30)
EVERYTHING = Kept(
    [Base(1), Base(2)],
    WHEN.replace(tzinfo=UTC),
    0.1,
    Decimal("1.00"),
    b"\xff",
    Colour.RED,
    Path("a"),
    {"b", "a"},
    frozenset({(1, "x")}),
    (1, "y"),
    {3: "z", 1: "a"},
    2.0,
    fixed=[Fixed()] * 2,
)

GOOD = {
    "all kinds at once": EVERYTHING,
    "-0.0": Kept(share=-0.0),
    "a list that does not count for the hash": Slotteds([Slim()], frozenset({Labelled(1, ["a"]), Labelled(2)})),
    "an int in a float's field": Kept(share=1),
    "1.0 in int | float": Kept(either=1.0),
    "ZoneInfo UTC": Kept(at=WHEN.replace(tzinfo=ZoneInfo("UTC"))),
    "a model's UTC": Model(at=WHEN.replace(tzinfo=UTC)),
    "a str that is a date": Model(either="2026-01-01T00:00:00"),
    "an alias": Model(NAMED=3),
    "a field that reads another name than it writes": with_(Model(), split=3, named=4),
    "defaultdict in a model": Model(counts=defaultdict(int, a=1)),
    "Counter in a model": Model(tally=Counter("abca")),
    "paths in a model": Model(paths=[Path("a/b")]),
    "a Struct with names and tag": Renamed("a", Base(2)),
}

REFUSED = {
    "fold": (Kept(at=WHEN.replace(fold=1)), "$.state.at"),
    "ZoneInfo": (Kept(at=WHEN.replace(tzinfo=ZoneInfo("Europe/Berlin"))), "$.state.at"),
    "ZoneInfo in a model": (Model(at=WHEN.replace(tzinfo=ZoneInfo("Europe/Berlin"))), "$.state.at"),
    "a subclass in a list": (Kept([Base(), Derived()]), "$.state.items[1]"),
    "a subclass in a model": (Model(base=Derived()), "$.state.base"),
    "an undeclared attribute": (with_(Kept(), cursor=3), "$.state.cursor"),
    "an undeclared slot": (Slotteds([Slim(), with_(Slim(), cursor=3)]), "$.state.rows[1].cursor"),
    "a list for a tuple": (Kept(pair=[1, "a"]), "$.state.pair"),  # type: ignore[arg-type]
    "True for an int": (Kept([Base(True)]), "$.state.items[0].number"),
    "None for a str": (Wrong(), "$.state.name"),
    "a str subclass": (Kept(names={type("Name", (str,), {})("a")}), "$.state.names[0]"),
    "Decimal for a float": (Kept(share=Decimal("0.1")), "$.state.share"),  # type: ignore[arg-type]
    "a tuple in Any": (Anything([(1, 2)]), "$.state.value[0]"),
    "a dataclass in Any": (Anything([Base()]), "$.state.value[0]"),
    "a set in Any": (Anything({1}), "$.state.value"),
    "bytes in Any": (Anything(b"a"), "$.state.value"),
    "a datetime in a bare dict": (Anything(bare={"a": WHEN}), "$.state.bare.a"),
    "int keys in a bare dict": (Anything(bare={1: "a"}), "$.state.bare: the key 1"),
    "defaultdict in Any": (Anything(defaultdict(int, a=1)), "$.state.value"),
    "OrderedDict in Any": (Anything(OrderedDict(a=1)), "$.state.value"),
    "Counter in a bare dict": (Anything(bare=Counter("a")), "$.state.bare"),
    "Path keys": (Anything(bare={Path("a"): 1}), "$.state.bare: the key PosixPath('a')"),
    "a secret": (Model(token=pydantic.SecretStr("s3cret")), "$.state.token"),
    "a datetime in str | datetime": (Model(either=WHEN), "$.state.either"),
    "a serializer without its validator": (Written(seconds=60), "$.state.seconds"),
    "__post_init__": (Moving(), "$.state.offset"),
    "an object of another class": (Anything([object()]), "$.state.value[0]"),
    "an array": (Anything([array.array("i", [1])]), "$.state.value[0]"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_comes_back_is_saved(name: str) -> None:
    assert tried(GOOD[name]) == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_come_back_as_something_else_is_refused_with_its_place(name: str) -> None:
    state, path = REFUSED[name]

    with pytest.raises(StateEncodeError) as raised:
        tried(state)

    assert raised.value.path == path
    assert "s3cret" not in str(raised.value)
    assert not any(word in str(raised.value).lower() for word in ("msgspec", "pydantic", "orjson"))


@pytest.mark.parametrize("name", ["hidden", "_private"])
def test_what_a_model_does_not_save_is_said(name: str) -> None:
    assert [text.split()[0] for text in tried(with_(Model(), **{name: 3}))] == [f"$.state.{name}"]


def test_members_of_an_enum_are_compared_in_a_set_and_below_it() -> None:
    @dataclasses.dataclass
    class Chosen:
        colours: set[Colour] = dataclasses.field(default_factory=set)
        pairs: frozenset[tuple[Colour, int]] = frozenset()

    chosen = Chosen({Colour.RED}, frozenset({(Colour.RED, 1)}))
    saved = TypedState(Chosen, pytest.fail).plain(chosen, wholly=True)
    assert restored("op", Chosen, saved) == chosen


def test_the_place_of_bad_text_in_a_typed_state_begins_at_the_state() -> None:
    with pytest.raises(StateEncodeError, match=r"\$\.state\.value\[0\]"):
        TypedState(Anything, pytest.fail).plain(Anything(["\ud800"]), wholly=True)


def test_one_object_under_two_names_is_said() -> None:
    both = [Base(1)]

    assert tried(Kept(both, again=both)) == [
        "$.state.again is the same object as $.state.items, and comes back as a separate one"
    ]


IMPOSSIBLE: dict[str, Any] = {
    "str | datetime": str | datetime,
    "list | set": list[int] | set[int],
    "two dataclasses": Base | Kept,
    "complex": complex,
    "defaultdict": defaultdict[str, int],
    "Counter": Counter[str],
    "OrderedDict": OrderedDict[str, int],
    "Pair": Pair,
    "CheckpointManager": list[CheckpointManager],
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_type_that_cannot_come_back_is_refused_before_the_first_item(name: str) -> None:
    kind = dataclasses.make_dataclass("State", [("field", IMPOSSIBLE[name], dataclasses.field(default=None))])
    store = MemoryStore()

    with pytest.raises(TypeError, match="state=State"), checkpointed("job", store=store, state=kind):
        pytest.fail("the block must not be entered")

    with checkpointed("job", store=store) as cp:  # nobody owns it
        assert not cp.resumed


@pytest.mark.parametrize("key", [Path, tuple[int, int], tuple[str, ...], bool, frozenset[int], Path | None, Fixed])
def test_keys_that_cannot_come_back_are_refused_before_the_first_item(key: Any) -> None:
    """msgspec makes a decoder for each of these types, but encodes no such key, or leaves it text."""
    kind = dataclasses.make_dataclass("State", [("field", list[dict[key, int]], dataclasses.field(default=None))])

    with pytest.raises(TypeError, match=r"the keys of State\.field\[\] are of type .*list of pairs"):
        TypedState(kind, print)


@pytest.mark.parametrize("key", [str | tuple[int, int], int, bytes, datetime, UUID, Literal["a"], Any])
def test_keys_of_which_one_can_come_back_are_not_refused(key: Any) -> None:
    TypedState(dataclasses.make_dataclass("State", [("field", dict[key, int])]), print)


def test_a_model_with_any_class_is_refused_unless_it_gives_it_a_form() -> None:
    config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    plain = pydantic.create_model("State", __config__=config, field=(CheckpointManager | None, None))

    class Own(pydantic.BaseModel):
        model_config = config
        field: CheckpointManager | None = None

        @pydantic.field_serializer("field")
        def written(self, value: Any) -> None:
            return None

    with pytest.raises(TypeError, match=r"could not be loaded again: a field is .*CheckpointManager"):
        TypedState(plain, print)
    assert tried(Own()) == []


# -- when it is tried -------------------------------------------------------------------------------------------------


def loops(cp: Any) -> dict[str, Any]:
    return {
        "remaining": lambda: cp.remaining(range(100)),
        "by key": lambda: cp.remaining(range(100), key=str),
        "full": lambda: cp.remaining(range(100), fingerprint="full"),
        "iterator": lambda: cp.remaining(iter(range(100))),
        "map": lambda: cp.map(str, range(100)),
    }


@pytest.mark.parametrize("loop", ["remaining", "by key", "full", "iterator", "map"])
def test_the_first_item_that_does_not_come_back_is_told_at_once(loop: str) -> None:
    done = 0
    with (  # noqa: PT012
        pytest.raises(StateEncodeError, match=r"\$.state.value"),
        checkpointed("job", every(minutes=5), store=MemoryStore(), state=Anything) as cp,
    ):
        for _ in loops(cp)[loop]():
            cp.state.value = {"at": WHEN}
            done += 1
    assert done == 1


async def test_async_loops_tell_it_at_once() -> None:
    for loop in ("remaining", "amap"):
        done = 0
        with pytest.raises(StateEncodeError, match=r"\$.state.value"):  # noqa: PT012
            async with checkpointed("job", every(minutes=5), store=MemoryStore(), state=Anything) as cp:

                async def fetch(item: int) -> int:
                    return item

                async for _ in cp.remaining(range(100)) if loop == "remaining" else cp.amap(fetch, range(100)):
                    cp.state.value = {"at": WHEN}
                    done += 1
        assert done == 1


def test_what_comes_later_is_found_at_its_save() -> None:
    store = MemoryStore()
    for fails in (True, False):
        with contextlib.ExitStack() as stack:
            if fails:
                stack.enter_context(pytest.raises(StateEncodeError))
            cp = stack.enter_context(checkpointed("job", every(items=1), store=store, state=Kept))
            for number in cp.remaining(range(100)):
                assert len(cp.state.items) == number
                cp.state.items.append(Derived(number) if fails and number == 50 else Base(number))
    assert [one.number for one in cp.state.items] == list(range(100))


@pytest.mark.parametrize("count", [5, 5000])
def test_between_the_first_item_and_the_end_the_newest_are_looked_at(count: int) -> None:
    state, trial = Kept([Base(number) for number in range(count)]), TypedState(Kept, print)
    trial.plain(state, wholly=True)
    trial.plain(state, wholly=False)
    state.items.append(Derived())

    with pytest.raises(StateEncodeError, match=rf"\$.state.items\[{count}\]"):  # noqa: PT012
        for _ in range(4):
            trial.plain(state, wholly=False)


def test_an_old_entry_is_found_in_its_turn() -> None:
    state, trial = Kept([Base(number) for number in range(3000)]), TypedState(Kept, print)
    trial.plain(state, wholly=True)
    state.items[1500] = Derived()

    with pytest.raises(StateEncodeError, match=r"\$.state.items\[1500\]"):  # noqa: PT012
        for _ in range(70):
            trial.plain(state, wholly=False)


@pytest.mark.parametrize("wrong", ["text", [*range(300), "text"], "text" * 100_000])
@pytest.mark.parametrize("turns", range(1, 4))
def test_a_new_value_of_a_large_state_does_not_wait_for_its_turn(wrong: Any, turns: int) -> None:
    """A state of 400 KB is decoded at every seventh save only; none of the saves before could be loaded."""
    state, trial = Texts(page="x" * 400_000), TypedState(Texts, print)
    for turn in range(turns):
        trial.plain(state, wholly=turn == 0)
    state.numbers = wrong

    with pytest.raises(StateEncodeError, match=r"\$.state.numbers"):
        trial.plain(state, wholly=False)


def test_a_large_class_whose_fields_must_fit_together_is_not_refused_for_its_ends() -> None:
    class Table(pydantic.BaseModel):
        page: str = "x" * 400_000
        rows: list[int] = pydantic.Field(default_factory=lambda: [0] * 100, min_length=100)

    state, trial = Table(), TypedState(Table, print)
    for turn in range(20):
        assert len(trial.plain(state, wholly=turn == 0)["rows"]) == 100


def test_a_class_whose_fields_must_fit_together_is_not_refused_for_its_parts() -> None:
    class Table(pydantic.BaseModel):
        count: int = 0
        rows: list[int] = []

        @pydantic.model_validator(mode="after")
        def fits(self) -> Table:
            assert self.count == len(self.rows)
            return self

    state, trial = Table(count=2000, rows=list(range(2000))), TypedState(Table, print)
    for turn in range(5):
        assert trial.plain(state, wholly=turn == 0)["count"] == 2000
    assert len(state.rows) == 2000


def test_random_states_are_refused_just_when_one_thing_in_them_is_wrong() -> None:
    spoilt: list[dict[str, Any]] = [
        {"at": datetime(2026, 1, 1, fold=1)},
        {"at": datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))},
        {"pair": [1, "a"]},
        {"items": [Base(), Derived()]},
        {"names": frozenset({"a"})},
        {"either": True},
        {"by_number": {True: "a"}},
        {"items": (Base(),)},
    ]
    for seed in range(600):
        chance = random.Random(seed)
        state = Kept(
            items=[Base(chance.randint(-9, 9)) for _ in range(chance.randint(0, 4))],
            at=chance.choice([None, datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)]),
            share=chance.choice([0.0, -0.0, chance.random(), 1e300, 5e-324, math.inf, math.nan]),
            amount=chance.choice([Decimal("1.00"), Decimal("1E+3"), Decimal("-0")]),
            raw=chance.randbytes(3),
            names=set(chance.sample("abcdef", 3)),
            marks=frozenset((n, "x") for n in range(chance.randint(0, 3))),
            by_number=dict.fromkeys(chance.sample(range(9), 3), "é"),
            either=chance.choice([None, 1, 1.0, 2**60]),
        )
        if seed % 2:
            with pytest.raises(StateEncodeError):
                tried(with_(state, **chance.choice(spoilt)))
        else:
            assert tried(state) == []


# -- on load ----------------------------------------------------------------------------------------------------------


class Either(pydantic.BaseModel):
    total: int = pydantic.Field(0, validation_alias=pydantic.AliasChoices("Total", "TOTAL"))


class ByName(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)
    total: int = pydantic.Field(0, alias="TOTAL")


@pytest.mark.parametrize(
    ("kind", "saved", "lost"),
    [
        pytest.param(Kept, {"gone": 1}, "gone", id="top"),
        pytest.param(Kept, {"items": [{"number": 1}, {"gone": 3}]}, "items[1].gone", id="in a list"),
        pytest.param(
            Renamed, {"type": "Renamed", "firstName": "a", "base": {"number": 1, "gone": 2}}, "base.gone", id="Struct"
        ),
        pytest.param(Model, {"base": {"number": 1, "gone": 2}}, "base.gone", id="model"),
        pytest.param(Model, {"out": 1}, "out", id="written under another name"),
        pytest.param(Either, {"TOTAL": 1}, "TOTAL", id="read under its own name only"),
        pytest.param(Renamed, {"type": "Renamed", "firstName": ""}, None, id="a default, left out"),
        pytest.param(Either, {"total": 1}, None, id="its own name"),
        pytest.param(ByName, {"total": 1}, None, id="by name"),
        pytest.param(Kept, {"items": [{"number": 1}]}, None, id="nothing"),
    ],
)
def test_a_saved_field_that_has_no_room_is_refused_at_every_depth(
    kind: type[Any], saved: dict[str, Any], lost: str | None
) -> None:
    if lost is None:
        restored("job", kind, saved)
        return
    with pytest.raises(InputChangedError) as raised:
        restored("job", kind, saved)
    assert raised.value.differences == [f"the saved state does not fit {kind.__name__}: it has no field {lost!r}"]


def test_nothing_is_said_twice(recwarn: pytest.WarningsRecorder) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with checkpointed("job", every(items=1), store=MemoryStore(), state=Model) as cp:
            for _ in cp.remaining(range(5)):
                cp.state._private += 1
    assert len(caught) == 1
