"""Durable collections: what is replayed from their changes is what the program had at each save."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from resumable._durable import aliases
from resumable._durable.dict import DurableDict, Replay, apply_change
from resumable._durable.dirty import run_alone
from resumable._durable.frozen import FrozenDict, FrozenList, freeze
from resumable._durable.log import DurableLog
from resumable._durable.set import DurableSet
from resumable._errors import StateEncodeError
from resumable._runtime.interpreter import has_gil

refcounts = pytest.mark.skipif(not has_gil(), reason="reference counts do not tell who holds an object here")


def taken(collection: Any) -> Any:
    """One save that succeeds: the decoded change, or None."""
    change = msgspec.json.decode(msgspec.json.encode(collection.take_changes()))
    collection.settle()
    return change


def text_of(collection: Any) -> Any:
    return msgspec.json.decode(b"".join(collection.snapshot()))


# -- what a save tells ------------------------------------------------------------------------------------------------


def test_a_save_tells_what_was_set_and_deleted_since_the_last() -> None:
    files = DurableDict({"kept": 1, "old": 2})
    files["new"] = 3
    del files["old"]

    assert taken(files) == {"set": {"new": 3}, "del": ["old"]}
    assert taken(files) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(lambda d: d.setdefault("b", 2), {"set": {"b": 2}}, id="setdefault, absent"),
        pytest.param(lambda d: d.setdefault("a", 2), None, id="setdefault, present"),
        pytest.param(lambda d: d.update({"b": 2}, c=3), {"set": {"b": 2, "c": 3}}, id="update"),
        pytest.param(lambda d: d.__ior__({"b": 2}), {"set": {"b": 2}}, id="|="),
        pytest.param(lambda d: d.pop("a"), {"clear": True, "set": {}}, id="pop of the last"),
        pytest.param(lambda d: d.pop("x", None), None, id="pop, absent"),
        pytest.param(lambda d: d.popitem(), {"clear": True, "set": {}}, id="popitem"),
        pytest.param(lambda d: (d.clear(), d.update(z=1)), {"clear": True, "set": {"z": 1}}, id="clear"),
        pytest.param(lambda d: (d.update(b=2), d.pop("a")), {"clear": True, "set": {"b": 2}}, id="all replaced"),
    ],
)
def test_each_way_to_change_a_dict_is_told(change: Callable[[DurableDict], object], told: Any) -> None:
    files = DurableDict({"a": 1})

    change(files)

    assert taken(files) == told


def test_a_mapping_whose_keys_are_assigned_again_tells_the_same() -> None:
    """Until the next save it assigns in another way, which is cheaper for known keys."""
    files = DurableDict(path="$.state.files")
    files.update(a=1, b=1)
    assert taken(files) == {"set": {"a": 1, "b": 1}}

    files["b"] = 2
    assert type(files) is not DurableDict
    files["c"] = 3
    files["a"] = {"n": 1}
    with pytest.raises(StateEncodeError, match=r"\$\.state\.files"):
        files[5] = 1  # type: ignore[index]
    files[_Text("b")] = 4
    del files["c"]
    files["c"] = 5

    assert list(files.items()) == [("a", {"n": 1}), ("b", 4), ("c", 5)]
    assert set(map(type, files)) == {str}
    assert taken(files) == {"set": {"b": 4, "c": 5, "a": {"n": 1}}}
    assert type(files) is DurableDict
    files["d"] = 6
    assert taken(files) == {"set": {"d": 6}}


class _Text(str):
    __slots__ = ()


@pytest.mark.parametrize("change", [lambda d: d.pop("x"), lambda d: d.__delitem__("x")], ids=["pop", "del"])
def test_removing_an_absent_key_raises_and_marks_nothing(change: Callable[[DurableDict], object]) -> None:
    files = DurableDict({"a": 1})

    with pytest.raises(KeyError):
        change(files)

    assert files.changed_bytes() == 0


def test_popitem_of_an_empty_dict_raises() -> None:
    with pytest.raises(KeyError):
        DurableDict().popitem()


def test_what_was_put_back_is_told_again_unless_something_newer_stands() -> None:
    files = DurableDict({"c": 1})
    files.update(a=1, b=1)
    del files["c"]
    files.take_changes()
    files["b"] = 2

    files.put_back()

    assert taken(files) == {"clear": True, "set": {"b": 2, "a": 1}}


def test_what_changes_between_take_and_settle_belongs_to_the_next_save() -> None:
    files = DurableDict()
    files["a"] = 1
    files.take_changes()
    files["b"] = 2
    files.settle()

    assert taken(files) == {"set": {"b": 2}}


@pytest.mark.parametrize("is_held", [False, True])
def test_a_change_inside_a_value_between_take_and_settle_is_told_by_the_next_save(is_held: bool) -> None:
    """As another task may make it while an async save waits for the disk."""
    files = DurableDict()
    files["a"] = {"n": 1}
    held = files["a"] if is_held else None
    change = files.take_changes()
    files["a"]["n"] = 2

    assert change == {"set": {"a": {"n": 1}}}
    files.settle()
    assert taken(files) == {"set": {"a": {"n": 2}}}
    assert held == ({"n": 2} if is_held else None)


@pytest.mark.parametrize("kind", [DurableDict, DurableSet, DurableLog])
def test_a_second_take_before_the_first_is_settled_raises(kind: Any) -> None:
    collection = kind()
    _grow(collection, "a")
    collection.take_changes()
    _grow(collection, "b")

    with pytest.raises(RuntimeError):
        collection.take_changes()


@pytest.mark.parametrize("kind", [DurableDict, DurableSet, DurableLog])
def test_a_snapshot_that_is_taken_counts_as_a_save(kind: Any) -> None:
    collection = kind()
    _grow(collection, "a")
    snapshot = collection.take_snapshot()
    _grow(collection, "b")
    collection.settle()

    after = Replay(msgspec.json.decode(b"".join(snapshot)))
    after.apply(taken(collection))

    assert sorted(after.result()) == sorted(collection.plain())


@pytest.mark.parametrize("kind", [DurableDict, DurableSet, DurableLog])
def test_a_snapshot_put_back_is_told_again(kind: Any) -> None:
    collection = kind()
    _grow(collection, "a")
    collection.take_snapshot()

    collection.put_back()

    assert apply_change(None, taken(collection)) == collection.plain()


def _grow(collection: Any, name: str) -> None:
    if isinstance(collection, dict):
        collection[name] = {"n": 1}
    elif isinstance(collection, set):
        collection.add(name)
    else:
        collection.append(name)


# -- changes inside a value -------------------------------------------------------------------------------------------


def test_a_change_inside_a_value_before_its_save_is_saved_with_it() -> None:
    files = DurableDict()
    files["a"] = {"n": 1}
    files["a"]["n"] = 2

    assert taken(files) == {"set": {"a": {"n": 2}}}


def test_a_change_inside_a_held_value_after_its_save_is_saved_by_the_next_and_seen() -> None:
    files = DurableDict()
    record = {"tags": ["x"]}
    files["a"] = record
    taken(files)
    record["tags"].append("y")

    assert files.changed_bytes() == 0
    assert taken(files) == {"set": {"a": {"tags": ["x", "y"]}}}
    assert files["a"] == record
    assert taken(files) is None


def test_a_held_inner_list_counts_as_held() -> None:
    files = DurableDict()
    tags = ["x"]
    files["a"] = {"deep": {"tags": tags}}
    taken(files)
    tags.append("y")

    assert taken(files) == {"set": {"a": {"deep": {"tags": ["x", "y"]}}}}


def test_one_becoming_true_is_a_change() -> None:
    """1 == True in Python, not in JSON."""
    files = DurableDict()
    record = {"done": 1}
    files["a"] = record
    taken(files)
    record["done"] = True

    assert taken(files)["set"]["a"]["done"] is True


def test_a_value_held_after_its_key_was_assigned_anew_or_deleted_says_nothing() -> None:
    files = DurableDict()
    one, two = {"n": 1}, {"n": 1}
    files["one"], files["two"] = one, two
    taken(files)
    files["one"] = 7
    del files["two"]
    taken(files)
    one["n"] = two["n"] = 2

    assert taken(files) is None
    assert files == {"one": 7}


def test_a_held_value_changed_to_what_json_cannot_hold_raises_at_every_save_until_mended() -> None:
    files = DurableDict(path="$.state.files")
    record: dict[str, Any] = {"n": 1}
    files["a"] = record
    taken(files)
    record["n"] = float("nan")

    for _ in range(2):
        with pytest.raises(StateEncodeError, match=r"\$\.state\.files\.a\.n"):
            files.take_changes()

    record["n"] = 3
    assert taken(files) == {"set": {"a": {"n": 3}}}


@refcounts
def test_what_nobody_holds_is_not_watched() -> None:
    files = DurableDict()
    record = {}
    for n in range(100):
        record = {"n": n, "tags": [{"x": (1, "constant")}]}
        files[f"k{n}"] = record
    taken(files)

    assert list(files._watch) == ["k99"]
    del record
    taken(files)
    assert not files._watch


@refcounts
def test_a_change_made_just_before_letting_go_is_saved() -> None:
    files = DurableDict()
    record = {"n": 1}
    files["a"] = record
    taken(files)
    record["n"] = 2
    del record

    assert taken(files) == {"set": {"a": {"n": 2}}}


@pytest.mark.parametrize("kind", [dict, list], ids=["records", "lists"])
def test_each_save_finds_what_changed_in_any_of_many_held_values(kind: type[Any]) -> None:
    """A kill after the save must not lose what happened before it."""
    records = [{"n": 1, "o": True} if kind is dict else [1, True] for _ in range(2500)]
    key: Any = "n" if kind is dict else 0
    files = DurableDict()
    files.update((str(n), record) for n, record in enumerate(records))
    taken(files)
    assert taken(files) is None
    for number, value in ((5, 2), (1700, True), (2499, 1.0)):  # equal is not the same: 1 == True == 1.0
        records[number][key] = value

    change = taken(files)["set"]
    assert {number: repr(record[key]) for number, record in change.items()} == {"5": "2", "1700": "True", "2499": "1.0"}
    assert taken(files) is None


def test_without_true_reference_counts_every_value_is_taken_as_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "_COUNTS_ARE_TRUE", False)
    files = DurableDict()
    record = {"n": 1}
    files["a"] = record
    files["b"] = {"n": 1}
    taken(files)
    record["n"] = 2

    assert taken(files) == {"set": {"a": {"n": 2}}}


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
        taken(files)

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

    assert taken(files) == {"set": {"a": {"n": 2, "tags": ["x"]}}}


# -- loaded values ----------------------------------------------------------------------------------------------------

LOADED = {"a": {"n": 1}, "b": [{"n": 2}], "c": 3}


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda d: d["a"], id="[]"),
        pytest.param(lambda d: d.get("a"), id="get"),
        pytest.param(lambda d: d.setdefault("a", {}), id="setdefault"),
        pytest.param(lambda d: d.pop("a"), id="pop"),
        pytest.param(lambda d: next(iter(d.values())), id="values"),
        pytest.param(lambda d: dict(d.items())["a"], id="items"),
        pytest.param(lambda d: d.copy()["a"], id="copy"),
        pytest.param(lambda d: dict(d)["a"], id="dict()"),
        pytest.param(lambda d: {**d}["a"], id="**"),
        pytest.param(lambda d: (d | {})["a"], id="|"),
        pytest.param(lambda d: ({} | d)["a"], id="reversed |"),
        pytest.param(lambda d: copy.copy(d)["a"], id="copy.copy"),
        pytest.param(lambda d: (lambda **named: named["a"])(**d), id="call"),
    ],
)
def test_a_loaded_value_is_frozen_however_it_is_read(read: Callable[[DurableDict], Any]) -> None:
    files = DurableDict(copy.deepcopy(LOADED))

    assert type(read(files)) is FrozenDict


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda log: log[0], id="[]"),
        pytest.param(lambda log: log[:][0], id="slice"),
        pytest.param(lambda log: next(iter(log)), id="iter"),
        pytest.param(lambda log: list(log)[0], id="list()"),  # noqa: RUF015
        pytest.param(lambda log: [*log][0], id="*"),  # noqa: RUF015
        pytest.param(lambda log: next(reversed(log)), id="reversed"),
        pytest.param(lambda log: (log + [])[0], id="+"),  # noqa: RUF005
        pytest.param(lambda log: ([] + log)[0], id="reversed +"),  # noqa: RUF005
        pytest.param(lambda log: (log * 2)[0], id="times"),
        pytest.param(lambda log: log.copy()[0], id="copy"),
        pytest.param(lambda log: (lambda first: first)(*log), id="call"),
    ],
)
def test_a_loaded_entry_is_frozen_however_it_is_read(read: Callable[[DurableLog], Any]) -> None:
    log = DurableLog([{"n": 1}])

    assert type(read(log)) is FrozenDict


@pytest.mark.parametrize("collection", [DurableDict({f"k{n}": {"n": n} for n in range(5000)}),
                                        DurableLog([{"n": n} for n in range(5000)])], ids=["dict", "log"])  # fmt: skip
def test_saves_freeze_loaded_values_bit_by_bit_until_reading_is_a_builtins_own(collection: Any) -> None:
    kind = type(collection).__mro__[1]
    for _ in range(5):
        assert taken(collection) is None

    assert type(collection) is kind
    assert "__getitem__" not in kind.__dict__  # A builtin's own, in C.


def test_what_is_assigned_before_loaded_values_are_frozen_is_left_alone() -> None:
    files = DurableDict({f"k{n}": {"n": n} for n in range(5000)})
    record = {"n": -1}
    files["k1"] = record
    del files["k2"]

    assert files["k1"] is record
    assert taken(files) == {"set": {"k1": {"n": -1}}, "del": ["k2"]}
    assert len(dict(files)) == 4999


@pytest.mark.parametrize(("kind", "wrong"), [(DurableDict, []), (DurableSet, {}), (DurableLog, {})])
def test_a_name_that_holds_another_kind_is_refused(kind: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"\$\.state\.files holds a"):
        kind(wrong, path="$.state.files")


# -- it is a dict -----------------------------------------------------------------------------------------------------


def test_it_is_a_dict_for_every_encoder_and_copier() -> None:
    files = DurableDict({"a": {"n": 1}})
    files["b"] = [1]

    assert json.loads(json.dumps(files)) == msgspec.json.decode(msgspec.json.encode(files)) == files
    for copied in (copy.deepcopy(files), pickle.loads(pickle.dumps(files)), files.plain()):
        assert copied == files
        assert [type(copied), type(copied["a"])] == [dict, dict]


@pytest.mark.parametrize("key", [1, None, ("a",), b"a"])
def test_a_key_that_is_not_a_string_is_refused_at_once(key: Any) -> None:
    files = DurableDict()
    for assign in (lambda: files.__setitem__(key, 1), lambda: files.setdefault(key, 1), lambda: files.update({key: 1})):
        with pytest.raises(StateEncodeError, match="is not a string"):
            assign()
    assert files == {}
    assert taken(files) is None


def test_a_key_of_a_subclass_of_str_becomes_a_str() -> None:
    class Name(str):
        __slots__ = ()

    files = DurableDict()
    files[Name("a")] = 1

    assert [type(key) for key in files] == [str]
    del files[Name("a")]
    assert [type(key) for key in files._changed] == [str]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        pytest.param({"x": {1: 2}}, r"\$\.state\.files\.a\.x", id="number as key"),
        pytest.param({"when": {1, 2}}, r"\$\.state\.files\.a\.when", id="set"),
        pytest.param([1.0, float("inf")], r"\$\.state\.files\.a\[1\]", id="infinite"),
    ],
)
def test_what_json_cannot_hold_is_refused_at_the_save_with_its_path_and_nothing_is_taken(value: Any, path: str) -> None:
    files = DurableDict(path="$.state.files")
    files["a"] = value
    files["b"] = 1

    with pytest.raises(StateEncodeError, match=path):
        files.take_changes()

    files["a"] = 1
    assert taken(files) == {"set": {"b": 1, "a": 1}} == {"set": dict(files)}


# -- snapshots --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 3500])
def test_a_snapshot_is_the_whole_text_in_pieces_of_a_thousand(size: int) -> None:
    plain = {f"k{n}": {"n": n} for n in range(size)}
    pieces = list(DurableDict(plain).snapshot())

    assert msgspec.json.decode(b"".join(pieces)) == plain
    assert len(pieces) == -(-size // 1000) + 1
    assert text_of(DurableLog(list(plain))) == list(plain)
    assert sorted(text_of(DurableSet(list(plain)))) == sorted(plain)


def test_a_snapshot_is_not_torn_by_what_changes_after_it() -> None:
    files = DurableDict()
    records = [{"n": 0} for _ in range(2500)]
    files.update((str(n), record) for n, record in enumerate(records))
    pieces = iter(files.snapshot())
    first = next(pieces)
    for n, record in enumerate(records):
        record["n"] = 1
        files[f"new{n}"] = n
    del files["2400"]

    text = msgspec.json.decode(first + b"".join(pieces))

    assert text == {str(n): {"n": 0} for n in range(2500)}


def test_a_snapshot_takes_nothing() -> None:
    files = DurableDict()
    files["a"] = {"n": 1}
    files.snapshot()

    assert taken(files) == {"set": {"a": {"n": 1}}}


# -- replay -----------------------------------------------------------------------------------------------------------


def test_a_hundred_thousand_changes_of_a_set_replay_in_linear_time() -> None:
    replay = Replay(list(range(100_000)))
    for n in range(20_000):
        replay.apply({"add": [f"m{n}"], "del": [n]})

    assert len(replay.result()) == 100_000


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ({}, {}), ({}, []), ({}, None), ({}, {"set": []}), ({}, {"set": {}, "del": {}}), ({}, {"add": [1]}),
        ({}, {"append": [1]}), ([], {"set": {}}), ([], {"append": 1}), ([], {"append": [], "put": [[0, 1]]}),
        ([1], {"append": [], "put": [[-1, 1]]}), ([1], {"append": [], "put": [["0", 1]]}), ([], {"add": [[]]}),
        ([], {"add": [], "set": {}}), ({}, {"set": {}, "what": 1}), ({}, {"del": ["a"]}),
        ({"a": 1}, {"set": {}, "del": [[]]}),
        ([], {"add": [[1]]}),
    ],
)  # fmt: skip
def test_a_malformed_change_raises(value: Any, change: Any) -> None:
    with pytest.raises(ValueError, match=r"malformed change"):
        apply_change(value, change)


def test_a_set_does_not_take_a_change_of_a_log() -> None:
    replay = Replay([])
    replay.apply({"add": ["a"]})

    with pytest.raises(ValueError, match="this is a set"):
        replay.apply({"append": ["a"]})


# -- sets and logs ----------------------------------------------------------------------------------------------------


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
def test_each_way_to_change_a_set_is_told(change: Callable[[Any], object]) -> None:
    done, model = DurableSet(["a", "b", "c"]), {"a", "b", "c"}
    change(done)
    change(model)

    assert done == model
    assert set(apply_change(["a", "b", "c"], taken(done))) == model
    assert type(done | set()) is type(done.copy()) is type(copy.copy(done)) is set


def test_a_set_pops_until_it_is_empty() -> None:
    done = DurableSet(["a", "b"])

    assert {done.pop(), done.pop()} == {"a", "b"}
    with pytest.raises(KeyError):
        done.pop()
    with pytest.raises(KeyError):
        done.remove("a")


@pytest.mark.parametrize("member", [(1, 2), b"a", float("nan")], ids=str)
def test_a_member_that_json_cannot_hold_is_refused_at_once(member: Any) -> None:
    with pytest.raises(StateEncodeError):
        DurableSet().add(member)


def test_a_log_tells_what_was_appended_and_what_a_held_entry_became() -> None:
    log = DurableLog([{"n": 0}])
    entry = {"n": 1}
    log.append(entry)
    log += [5]
    first = taken(log)
    entry["n"] = 2
    log.extend([6])
    second = taken(log)

    assert first == {"append": [{"n": 1}, 5]}
    assert second == {"append": [6], "put": [[1, {"n": 2}]]}
    assert apply_change(apply_change([{"n": 0}], first), second) == [{"n": 0}, {"n": 2}, 5, 6] == log
    assert taken(log) is None


def test_a_log_puts_back_what_was_appended_and_what_was_changed() -> None:
    log, entry = DurableLog(), {"n": 1}
    log.append(entry)
    taken(log)
    entry["n"] = 2
    log.append(3)
    log.take_changes()
    log.put_back()
    log.append(4)

    assert taken(log) == {"append": [3, 4], "put": [[0, {"n": 2}]]}


def test_a_log_only_grows() -> None:
    log = DurableLog([1, 2])
    changes = ["insert", "pop", "remove", "clear", "sort", "reverse", "__setitem__", "__delitem__", "__imul__"]

    for name in changes:
        with pytest.raises(TypeError, match="only grows"):
            getattr(log, name)(0, 1)
    assert log == [1, 2]
    assert type(log[:1]) is type(copy.copy(log)) is list


def test_an_entry_that_json_cannot_hold_is_named_by_its_place() -> None:
    log = DurableLog([1, 2], path="$.state.log")
    log.append({"x": {3}})

    for _ in range(2):  # nothing is taken
        with pytest.raises(StateEncodeError, match=r"\$\.state\.log\[2\]\.x"):
            log.take_changes()


# -- any order of anything --------------------------------------------------------------------------------------------

KEYS = st.sampled_from("abcd")
LEAF = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 1.5, "s"])
VALUES = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2), max_leaves=4
)


def exactly(value: Any) -> str:
    """JSON with sorted keys: tells 1 from True and 1.0."""
    return json.dumps(value, sort_keys=True)


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _containers(item)


class AnyUse(RuleBasedStateMachine):
    """Two dicts side by side, the durable one and a plain one. Each held value is held in both worlds.

    The disk is replayed from the changes of successful saves, and must equal the plain dict after each. In-place
    changes go to both worlds if the durable one allows them, to none if it raises.
    """

    held = Bundle("held")

    @initialize(loaded=st.dictionaries(KEYS, VALUES, max_size=3))
    def load(self, loaded: dict[str, Any]) -> None:
        self.model: dict[str, Any] = copy.deepcopy(loaded)
        self.disk = Replay(copy.deepcopy(loaded))
        self.files = DurableDict(loaded)
        self.taken: bytes | None = None
        self.expected = ""

    @rule(target=held, value=VALUES)
    def make(self, value: Any) -> tuple[Any, Any]:
        return copy.deepcopy(value), copy.deepcopy(value)

    @rule(key=KEYS, pair=held)
    def assign_held(self, key: str, pair: tuple[Any, Any]) -> None:
        self.files[key], self.model[key] = pair

    @rule(key=KEYS, value=VALUES)
    def assign(self, key: str, value: Any) -> None:
        self.files[key], self.model[key] = copy.deepcopy(value), copy.deepcopy(value)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.files.pop(key, None)
        self.model.pop(key, None)

    @rule()
    def clear(self) -> None:
        self.files.clear()
        self.model.clear()

    @rule(key=KEYS, value=VALUES)
    def setdefault(self, key: str, value: Any) -> None:
        self.files.setdefault(key, copy.deepcopy(value))
        self.model.setdefault(key, copy.deepcopy(value))

    @rule(pair=held, which=st.integers(0, 9), leaf=LEAF)
    def change_held_in_place(self, pair: tuple[Any, Any], which: int, leaf: Any) -> None:
        _change(pair[0], which, leaf)
        _change(pair[1], which, leaf)

    @rule(key=KEYS, which=st.integers(0, 9), leaf=LEAF)
    def change_in_place_through_the_mapping(self, key: str, which: int, leaf: Any) -> None:
        if key not in self.files:
            return
        # A frozen copy that stands for a held original may be behind it until the next save.
        if exactly(self.files[key]) != exactly(self.model[key]):
            return
        try:
            _change(self.files[key], which, leaf)
        except TypeError:
            return
        _change(self.model[key], which, leaf)

    @rule(as_snapshot=st.booleans())
    def take(self, as_snapshot: bool) -> None:
        if self.taken is not None:
            return
        if as_snapshot:
            text = b"".join(self.files.take_snapshot())
            assert exactly(json.loads(text)) == exactly(self.model)
            self.taken = b'{"clear":true,"set":' + text + b"}"
        else:
            change = self.files.take_changes()
            self.taken = None if change is None else msgspec.json.encode(change)
        self.expected = exactly(self.model)
        if self.taken is None:
            assert exactly(self.disk.result()) == self.expected

    @rule(succeeds=st.booleans())
    def end_save(self, succeeds: bool) -> None:
        if self.taken is None:
            return
        if succeeds:
            self.disk.apply(json.loads(self.taken))
            self.files.settle()
            assert exactly(self.disk.result()) == self.expected
        else:
            self.files.put_back()
        self.taken = None

    @rule()
    def look_at_a_snapshot(self) -> None:
        assert exactly(text_of(self.files)) == exactly(self.model)

    @invariant()
    def the_keys_agree(self) -> None:
        assert self.files.keys() == self.model.keys()

    def teardown(self) -> None:
        self.end_save(succeeds=False)
        self.take(as_snapshot=False)
        self.end_save(succeeds=True)
        assert exactly(self.files.plain()) == exactly(self.model)


def _change(value: Any, which: int, leaf: Any) -> None:
    containers = list(_containers(value))
    if not containers:
        return
    container = containers[which % len(containers)]
    if isinstance(container, list):
        container.append(leaf)
    else:
        container["abc"[which % 3]] = leaf


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# -- threads ----------------------------------------------------------------------------------------------------------


class LockedDict(DurableDict):
    """The dict as it is where threads may switch anywhere."""

    __slots__ = ()

    __setitem__ = run_alone(DurableDict.__setitem__)
    __delitem__ = run_alone(DurableDict.__delitem__)
    pop = run_alone(DurableDict.pop)


@contextmanager
def busy_switching() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("kind", [DurableDict, LockedDict])
@pytest.mark.parametrize("shared", [True, False], ids=["same keys", "own keys"])
def test_no_change_is_lost_while_many_threads_write_and_another_saves(kind: Any, shared: bool) -> None:
    files, disk = kind(), Replay({})
    writers = 4

    def write(number: int) -> None:
        for n in range(1500):
            key = f"k{n % 50}" if shared else f"{number}:{n}"
            files[key] = {"by": number, "n": n}
            if n % 7 == 0:
                files.pop(f"k{n % 13}" if shared else f"{number}:{n - 3}", None)

    threads = [threading.Thread(target=write, args=[number]) for number in range(writers)]
    with busy_switching():
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            change = files.take_changes()
            if change is not None and len(change["set"]) % 3 == 0:
                files.put_back()
            elif change is not None:
                disk.apply(json.loads(json.dumps(change)))
                files.settle()
        for thread in threads:
            thread.join()

    if (last := files.take_changes()) is not None:
        disk.apply(last)
        files.settle()
    assert disk.result() == files
    assert set(map(type, files.values())) == {FrozenDict}


def test_a_save_freezes_some_loaded_values_however_often_it_is_settled() -> None:
    files = DurableDict({str(n): {"n": n} for n in range(5000)})
    for saves in (1, 2):
        files.take_changes()
        for _ in range(3):
            files.settle()
        frozen = sum(type(dict.__getitem__(files, str(n))) is FrozenDict for n in range(5000))
        assert frozen == 1000 * saves


def test_freezing_loaded_values_does_not_undo_what_another_thread_assigns() -> None:
    files = DurableDict({str(n): {"n": n, "tags": [n]} for n in range(3000)})

    def write() -> None:
        for n in range(3000):
            files[str(n)] = {"n": -1}

    thread = threading.Thread(target=write)
    with busy_switching():
        thread.start()
        for n in reversed(range(3000)):
            assert files[str(n)]["n"] in (n, -1)
        files.values()
        thread.join()

    assert all(value["n"] == -1 for value in files.values())


@pytest.mark.parametrize("count", [1, 500, 501])
@pytest.mark.parametrize("value", [{"n": 1}, {"list": [1]}, [1]], ids=repr)
def test_frozen_values_do_not_weigh_on_the_collector(value: Any, count: int) -> None:
    files, log = DurableDict(), DurableLog()
    files.update({f"{n}": copy.deepcopy(value) for n in range(count)})
    log.extend(copy.deepcopy(value) for _ in range(count))
    taken(files)
    taken(log)

    for frozen in (*files.values(), *log):
        assert type(frozen) in (FrozenDict, FrozenList)
        assert gc.is_tracked(frozen) is not has_gil()
