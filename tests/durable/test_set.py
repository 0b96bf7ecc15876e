"""A durable set is a set, and a save writes what changed in it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from resumable._durable.set import DurableSet
from resumable._errors import StateEncodeError
from tests.support.durable import replayed, saved


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: s.add("z"), id="add"),
        pytest.param(lambda s: s.discard("a"), id="discard"),
        pytest.param(lambda s: s.remove("a"), id="remove"),
        pytest.param(lambda s: s.clear(), id="clear"),
        pytest.param(lambda s: s.update("az", "y"), id="update"),
        pytest.param(lambda s: s.difference_update("az"), id="difference_update"),
        pytest.param(lambda s: s.intersection_update("abz"), id="intersection_update"),
        pytest.param(lambda s: s.symmetric_difference_update("az"), id="symmetric_difference_update"),
        pytest.param(lambda s: s.__ior__({"z"}), id="|="),
        pytest.param(lambda s: s.__isub__({"a", "z"}), id="-="),
        pytest.param(lambda s: s.__iand__({"a", "z"}), id="&="),
        pytest.param(lambda s: s.__ixor__({"a", "z"}), id="^="),
        pytest.param(lambda s: s.__isub__(s), id="-= itself"),
    ],
)
def test_each_way_to_change_a_set_is_saved(change: Callable[[Any], object]) -> None:
    done, model = DurableSet(["a", "b", "c"]), {"a", "b", "c"}
    change(done)
    change(model)

    assert done == model
    assert set(replayed(["a", "b", "c"], saved(done))) == model
    assert type(done | set()) is type(done.copy()) is type(copy.copy(done)) is set


def test_a_set_pops_until_it_is_empty() -> None:
    done = DurableSet(["a", "b"])

    assert {done.pop(), done.pop()} == {"a", "b"}
    with pytest.raises(KeyError):
        done.pop()
    with pytest.raises(KeyError):
        done.remove("a")


@pytest.mark.parametrize("member", [(1, 2), b"a", float("nan"), "\ud83d"], ids=ascii)
def test_a_member_that_json_cannot_hold_is_refused_at_once(member: Any) -> None:
    with pytest.raises(StateEncodeError):
        DurableSet().add(member)


def test_what_is_refused_is_told_in_a_line() -> None:
    """A member nested 5,000 levels deep has no repr, and one of a megabyte filled the screen."""
    nested: Any = {}
    for _ in range(5000):
        nested = {"a": nested}

    for member in (nested, (1,) * 1_000_000):
        with pytest.raises(StateEncodeError) as told:
            DurableSet().add(member)
        assert len(str(told.value)) < 300


@pytest.mark.parametrize("then", ["nothing", "removed", "unfinished", "rolled back"])
def test_a_snapshot_of_new_members_has_those_of_done_items(then: str) -> None:
    members = DurableSet()
    members.update(["a", "b"])
    members.boundary.move()
    expected = {"a", "b"}
    if then == "removed":
        members.discard("a")
        expected = {"b"}
    if then == "unfinished":
        members.hold()
        members.settle(members.boundary.now())
        members.let_go()
        members.boundary.move()
        members.add("c")
        members.discard("a")
        members.hold()
        members.settle(members.boundary.now())
    snapshot = members.begin_snapshot()
    if then == "rolled back":
        members.rollback()
    members.boundary.move()
    members.let_go()
    members.add("later")

    assert set(msgspec.json.decode(b"".join(snapshot))) == expected
    if then == "rolled back":
        assert set(saved(members)["add"]) == {"a", "b", "later"}
