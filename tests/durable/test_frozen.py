"""Saved and loaded values are frozen; copies of them are plain."""

from __future__ import annotations

import copy
import gc
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from resumable._durable.dict import DurableDict
from resumable._durable.frozen import FrozenDict, FrozenList, freeze
from resumable._durable.log import DurableLog
from resumable._runtime.interpreter import has_gil
from tests.support.durable import saved


def _changes_inside(value: Any) -> list[Callable[[], object]]:
    changes = {
        dict: lambda d: [
            lambda: d.__setitem__("a", 1), lambda: d.update(a=1), lambda: d.clear(), lambda: d.pop("a"),
            lambda: d.popitem(), lambda: d.setdefault("z", 1), lambda: d.__delitem__("a"), lambda: d.__ior__({"b": 1}),
        ],
        list: lambda entries: [
            lambda: entries.append(1), lambda: entries.extend([1]), lambda: entries.insert(0, 1), lambda: entries.pop(),
            lambda: entries.remove(1), lambda: entries.clear(), lambda: entries.sort(), lambda: entries.reverse(),
            lambda: entries.__setitem__(0, 1), lambda: entries.__delitem__(0), lambda: entries.__iadd__([1]),
            lambda: entries.__imul__(2),
        ],
    }  # fmt: skip
    return changes[dict if isinstance(value, dict) else list](value)


@pytest.mark.parametrize("value", [{"a": {"a": 1}}, {"a": [1, 2]}], ids=["dict", "list"])
@pytest.mark.parametrize("loaded", [True, False], ids=["loaded", "saved"])
def test_a_saved_or_loaded_value_refuses_every_change_and_says_what_to_do(value: Any, loaded: bool) -> None:
    files = DurableDict({"f": copy.deepcopy(value)} if loaded else None)
    if not loaded:
        files["f"] = copy.deepcopy(value)
        saved(files)

    for change in _changes_inside(files["f"]) + _changes_inside(files["f"]["a"]):
        with pytest.raises(TypeError, match=r"In a mapping, assign a changed copy: .*\. An entry of a log stays"):
            change()

    assert files["f"] == value


def test_copies_of_a_frozen_value_are_plain_all_the_way_down() -> None:
    frozen = freeze({"a": [{"b": 1}], "t": (1, 2)})
    plain = {"a": [{"b": 1}], "t": [1, 2]}

    for copied in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen)), json.loads(json.dumps(frozen))):
        assert copied == plain
        assert [type(copied), type(copied["a"]), type(copied["a"][0])] == [dict, list, dict]
    assert type(copy.copy(frozen)) is type({**frozen}) is type(frozen | {}) is type(frozen.copy()) is dict
    assert type(copy.copy(frozen["a"])) is type([*frozen["a"]]) is type(frozen["a"][:]) is list


def test_the_program_may_change_a_copy_of_a_saved_value_and_assign_it() -> None:
    files = DurableDict({"a": {"n": 1, "tags": ["x"]}})
    files["a"] = {**files["a"], "n": 2}

    assert saved(files) == {"set": {"a": {"n": 2, "tags": ["x"]}}}


@pytest.mark.parametrize("count", [1, 500, 501])
@pytest.mark.parametrize("value", [{"n": 1}, {"list": [1]}, [1]], ids=repr)
def test_frozen_values_do_not_weigh_on_the_collector(value: Any, count: int) -> None:
    files, log = DurableDict(), DurableLog()
    files.update({f"{n}": copy.deepcopy(value) for n in range(count)})
    log.extend(copy.deepcopy(value) for _ in range(count))
    saved(files)
    saved(log)

    for frozen in (*files.values(), *log):
        assert type(frozen) in (FrozenDict, FrozenList)
        assert gc.is_tracked(frozen) is not has_gil()
