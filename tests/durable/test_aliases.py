"""A change inside a value that the program still holds is saved."""

from __future__ import annotations

from typing import Any

import pytest

from resumable._durable import aliases
from resumable._durable.dict import DurableDict
from resumable._errors import StateEncodeError
from resumable._runtime.interpreter import has_gil
from tests.support.durable import saved

refcounts = pytest.mark.skipif(not has_gil(), reason="reference counts do not tell who holds an object here")


def test_a_change_inside_a_value_before_its_save_is_saved_with_it() -> None:
    files = DurableDict()
    files["a"] = {"n": 1}
    files["a"]["n"] = 2

    assert saved(files) == {"set": {"a": {"n": 2}}}


def test_a_change_inside_a_held_value_after_its_save_is_saved_by_the_next_and_seen() -> None:
    files = DurableDict()
    record = {"tags": ["x"]}
    files["a"] = record
    saved(files)
    record["tags"].append("y")

    assert files.changed_bytes() == 0
    assert saved(files) == {"set": {"a": {"tags": ["x", "y"]}}}
    assert files["a"] == record
    assert saved(files) is None


@pytest.mark.parametrize("is_held", [False, True])
def test_a_change_inside_a_value_between_begin_and_commit_is_in_the_next_save(is_held: bool) -> None:
    """A change that another task makes while an async save waits for the disk."""
    files = DurableDict()
    files["a"] = {"n": 1}
    held = files["a"] if is_held else None
    change = files.begin()
    files["a"]["n"] = 2

    assert change == {"set": {"a": {"n": 1}}}
    files.commit()
    assert saved(files) == {"set": {"a": {"n": 2}}}
    assert held == ({"n": 2} if is_held else None)


def test_a_held_inner_list_counts_as_held() -> None:
    files = DurableDict()
    tags = ["x"]
    files["a"] = {"deep": {"tags": tags}}
    saved(files)
    tags.append("y")

    assert saved(files) == {"set": {"a": {"deep": {"tags": ["x", "y"]}}}}


def test_one_becoming_true_is_a_change() -> None:
    """1 == True in Python, not in JSON."""
    files = DurableDict()
    record = {"done": 1}
    files["a"] = record
    saved(files)
    record["done"] = True

    assert saved(files)["set"]["a"]["done"] is True


def test_a_value_held_after_its_key_was_assigned_anew_or_deleted_is_not_saved() -> None:
    files = DurableDict()
    one, two = {"n": 1}, {"n": 1}
    files["one"], files["two"] = one, two
    saved(files)
    files["one"] = 7
    del files["two"]
    saved(files)
    one["n"] = two["n"] = 2

    assert saved(files) is None
    assert files == {"one": 7}


def test_a_held_value_changed_to_what_json_cannot_hold_raises_at_every_save_until_mended() -> None:
    files = DurableDict(path="$.state.files")
    record: dict[str, Any] = {"n": 1}
    files["a"] = record
    saved(files)
    record["n"] = float("nan")

    for _ in range(2):
        with pytest.raises(StateEncodeError, match=r"\$\.state\.files\.a\.n"):
            files.begin()

    record["n"] = 3
    assert saved(files) == {"set": {"a": {"n": 3}}}


@refcounts
def test_what_nobody_holds_is_no_alias() -> None:
    files = DurableDict()
    record = {}
    for n in range(100):
        record = {"n": n, "tags": [{"x": (1, "constant")}]}
        files[f"k{n}"] = record
    saved(files)

    assert list(files._aliases) == ["k99"]
    del record
    saved(files)
    assert not files._aliases


@refcounts
def test_a_change_made_just_before_letting_go_is_saved() -> None:
    files = DurableDict()
    record = {"n": 1}
    files["a"] = record
    saved(files)
    record["n"] = 2
    del record

    assert saved(files) == {"set": {"a": {"n": 2}}}


@pytest.mark.parametrize("kind", [dict, list], ids=["records", "lists"])
def test_each_save_finds_what_changed_in_any_of_many_held_values(kind: type[Any]) -> None:
    """A kill after the save must not lose what happened before it."""
    records = [{"n": 1, "o": True} if kind is dict else [1, True] for _ in range(2500)]
    key: Any = "n" if kind is dict else 0
    files = DurableDict()
    files.update((str(n), record) for n, record in enumerate(records))
    saved(files)
    assert saved(files) is None
    for number, value in ((5, 2), (1700, True), (2499, 1.0)):  # equal is not the same: 1 == True == 1.0
        records[number][key] = value

    change = saved(files)["set"]
    assert {number: repr(record[key]) for number, record in change.items()} == {"5": "2", "1700": "True", "2499": "1.0"}
    assert saved(files) is None


def test_without_true_reference_counts_every_value_counts_as_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "COUNTS_ARE_TRUE", False)
    files = DurableDict()
    record = {"n": 1}
    files["a"] = record
    files["b"] = {"n": 1}
    saved(files)
    record["n"] = 2

    assert saved(files) == {"set": {"a": {"n": 2}}}
