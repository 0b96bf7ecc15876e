"""The fields of a typed state that can hold durable collections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from resumable import DurableDict, DurableSet
from resumable._format.fields import blanked, fields_of


@dataclass
class Size:
    bytes: int = 0


@dataclass
class State:
    page: int = 0
    declared: DurableDict[Size] = field(default_factory=dict)  # type: ignore[assignment]
    plain: dict[str, Size] = field(default_factory=dict)
    anything: dict[str, Any] = field(default_factory=dict)
    rows: list[Size] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)


class Renamed(msgspec.Struct, rename="camel"):
    seen_urls: set[str] = msgspec.field(default_factory=set)


@dataclass(frozen=True)
class Frozen:
    seen: set[str] = field(default_factory=set)


def test_each_collection_is_found_with_its_kind_and_class() -> None:
    found = {name: (one.kind, one.of, one.is_declared) for name, one in fields_of(State).items()}

    assert found == {
        "declared": ("mapping", Size, True),
        "plain": ("mapping", Size, False),
        "anything": ("mapping", None, False),
        "rows": ("log", Size, False),
        "seen": ("set", None, False),
    }


def test_the_saved_name_may_be_another_one() -> None:
    assert fields_of(Renamed)["seen_urls"].key == "seenUrls"


def test_a_declared_collection_needs_a_class_for_its_values() -> None:
    @dataclass
    class Wrong:
        seen: DurableSet[int | str] = field(default_factory=set)  # type: ignore[assignment]

    Wrong.__annotations__["seen"] = DurableSet[int | str]
    with pytest.raises(TypeError, match=r"^state=Wrong: the field 'seen' needs a class for its values"):
        fields_of(Wrong)


@pytest.mark.parametrize("state", [State(page=3, seen={"a"}), Frozen({"a"})], ids=["a dataclass", "a frozen one"])
def test_a_copy_has_empty_collections_and_all_else(state: Any) -> None:
    copied = blanked(state, [fields_of(type(state))["seen"]])

    assert (copied.seen, state.seen) == (set(), {"a"})
    assert getattr(copied, "page", 3) == 3
    assert blanked(state, []) is state
