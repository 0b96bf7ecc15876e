"""A durable dict is a dict; what is replayed from its changes is what the program had at each save."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from resumable._durable.changes import Replay
from resumable._durable.collection import locked
from resumable._durable.dict import DurableDict
from resumable._durable.frozen import FrozenDict
from resumable._errors import StateEncodeError
from tests.support.durable import saved, text_of
from tests.support.interrupts import busy_switching, needs_signals, signals


def test_a_save_writes_what_was_set_and_deleted_since_the_last() -> None:
    files = DurableDict({"kept": 1, "old": 2})
    files["new"] = 3
    del files["old"]

    assert saved(files) == {"set": {"new": 3}, "del": ["old"]}
    assert saved(files) is None


@pytest.mark.parametrize(
    ("change", "change_saved"),
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
def test_each_way_to_change_a_dict_is_saved(change: Callable[[DurableDict], object], change_saved: Any) -> None:
    files = DurableDict({"a": 1})

    change(files)

    assert saved(files) == change_saved


def test_a_dict_whose_keys_are_assigned_again_saves_the_same() -> None:
    files = DurableDict(path="$.state.files")
    files.update(a=1, b=1)
    assert saved(files) == {"set": {"a": 1, "b": 1}}

    files["b"] = 2
    files["c"] = 3
    files["a"] = {"n": 1}
    with pytest.raises(StateEncodeError, match=r"\$\.state\.files"):
        files[5] = 1  # type: ignore[index]
    files[_Text("b")] = 4
    del files["c"]
    files["c"] = 5

    assert list(files.items()) == [("a", {"n": 1}), ("b", 4), ("c", 5)]
    assert set(map(type, files)) == {str}
    assert saved(files) == {"clear": True, "set": {"a": {"n": 1}, "b": 4, "c": 5}}
    files["d"] = 6
    assert saved(files) == {"set": {"d": 6}}


class _Text(str):
    __slots__ = ()


@pytest.mark.parametrize("change", [lambda d: d.pop("x"), lambda d: d.__delitem__("x")], ids=["pop", "del"])
def test_removing_an_absent_key_raises_and_makes_nothing_dirty(change: Callable[[DurableDict], object]) -> None:
    files = DurableDict({"a": 1})

    with pytest.raises(KeyError):
        change(files)

    assert files.changed_bytes() == 0


def test_popitem_of_an_empty_dict_raises() -> None:
    with pytest.raises(KeyError):
        DurableDict().popitem()


def test_what_was_rolled_back_is_in_the_next_save_unless_something_newer_stands() -> None:
    files = DurableDict({"c": 1})
    files.update(a=1, b=1)
    del files["c"]
    files.begin()
    files["b"] = 2

    files.rollback()

    assert saved(files) == {"clear": True, "set": {"b": 2, "a": 1}}


def test_what_changes_between_begin_and_commit_belongs_to_the_next_save() -> None:
    files = DurableDict()
    files["a"] = 1
    files.begin()
    files["b"] = 2
    files.commit()

    assert saved(files) == {"set": {"b": 2}}


# -- loaded values -----------------------------------------------------------------------------------------------------


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


def test_what_is_assigned_before_loaded_values_are_frozen_is_left_alone() -> None:
    files = DurableDict({f"k{n}": {"n": n} for n in range(5000)})
    record = {"n": -1}
    files["k1"] = record
    del files["k2"]

    assert files["k1"] is record
    assert saved(files) == {"set": {"k1": {"n": -1}}, "del": ["k2"]}
    assert len(dict(files)) == 4999


# -- it is a dict ------------------------------------------------------------------------------------------------------


def test_it_is_a_dict_for_every_encoder_and_copier() -> None:
    files = DurableDict({"a": {"n": 1}})
    files["b"] = [1]

    assert json.loads(json.dumps(files)) == msgspec.json.decode(msgspec.json.encode(files)) == files
    for copied in (copy.deepcopy(files), pickle.loads(pickle.dumps(files))):
        assert copied == files
        assert [type(copied), type(copied["a"])] == [dict, dict]


@pytest.mark.parametrize("key", [1, None, ("a",), b"a"])
def test_a_key_that_is_not_a_string_is_refused_at_once(key: Any) -> None:
    files = DurableDict()
    for assign in (lambda: files.__setitem__(key, 1), lambda: files.setdefault(key, 1), lambda: files.update({key: 1})):
        with pytest.raises(StateEncodeError, match="is not a string"):
            assign()
    assert files == {}
    assert saved(files) is None


def test_a_key_of_a_subclass_of_str_becomes_a_str() -> None:
    class Name(str):
        __slots__ = ()

    files = DurableDict()
    files[Name("a")] = 1

    assert [type(key) for key in files] == [str]
    del files[Name("a")]
    assert [type(key) for key in files._dirty] == [str]


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    return value


def test_good_values_are_taken() -> None:
    values = [nested(199), 1 << 70, -0.0, 1e308, "é€𝄞", None, True, {"é": ["x", 1.5, {}]}, (1, 2), [1.0, 2]]
    files = DurableDict({})
    for number, value in enumerate(values):
        files[str(number)] = value
    files["é"] = files["0"]

    assert len(saved(files)["set"]) == 11


def test_a_key_that_is_not_unicode_is_refused() -> None:
    files = DurableDict()
    for assign in (files.__setitem__, files.setdefault):
        with pytest.raises(StateEncodeError, match="lone surrogate"):
            assign("caf\udce9", 1)
    assert files == {}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        pytest.param({"x": {1: 2}}, r"\$\.state\.files\.a\.x", id="number as key"),
        pytest.param({"when": {1, 2}}, r"\$\.state\.files\.a\.when", id="set"),
        pytest.param([1.0, float("inf")], r"\$\.state\.files\.a\[1\]", id="infinite"),
        pytest.param({"x": float("nan")}, r"\$\.state\.files\.a\.x .* keep None", id="NaN"),
        pytest.param("\ud83d", r"\$\.state\.files\.a .* lone surrogate", id="half an emoji"),
        pytest.param({"x": ["\ud83d"]}, r"\$\.state\.files\.a\.x\[0\] .* lone surrogate", id="half an emoji inside"),
        pytest.param({"\ud83d": 1}, r"\$\.state\.files\.a .* lone surrogate", id="half an emoji as a key"),
        pytest.param({"x": datetime(2026, 1, 1)}, r"\$\.state\.files\.a\.x .* x\.isoformat\(\)", id="datetime"),
        pytest.param(nested(200), r"deeper than 200 levels", id="too deep"),
    ],
)
def test_what_json_cannot_hold_is_refused_at_its_assignment_with_its_path(value: Any, path: str) -> None:
    files = DurableDict(path="$.state.files")
    files["b"] = 1

    for assign in (files.__setitem__, files.setdefault, lambda key, value: files.update({key: value})):
        with pytest.raises(StateEncodeError, match=path):
            assign("a", value)

    assert saved(files) == {"set": {"b": 1}} == {"set": dict(files)}


def test_what_a_value_was_changed_to_is_refused_at_the_save_and_no_save_begins() -> None:
    files, value = DurableDict(path="$.state.files"), {"n": 1.0}
    files["a"] = value
    files["b"] = 1
    value["n"] = float("nan")

    with pytest.raises(StateEncodeError, match=r"\$\.state\.files\.a\.n"):
        files.begin()

    files["a"] = 1
    assert saved(files) == {"set": {"a": 1, "b": 1}} == {"set": dict(files)}


def test_a_snapshot_begins_no_save() -> None:
    files = DurableDict()
    files["a"] = {"n": 1}
    files.snapshot()

    assert saved(files) == {"set": {"a": {"n": 1}}}


# -- any order of anything ---------------------------------------------------------------------------------------------


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
        self.begun: bytes | None = None
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
    def begin(self, as_snapshot: bool) -> None:
        if self.begun is not None:
            return
        if as_snapshot:
            text = b"".join(self.files.begin_snapshot())
            assert exactly(json.loads(text)) == exactly(self.model)
            self.begun = b'{"clear":true,"set":' + text + b"}"
        else:
            change = self.files.begin()
            self.begun = None if change is None else msgspec.json.encode(change)
        self.expected = exactly(self.model)
        if self.begun is None:
            assert exactly(self.disk.result()) == self.expected

    @rule(succeeds=st.booleans())
    def end_save(self, succeeds: bool) -> None:
        if self.begun is None:
            return
        if succeeds:
            self.disk.apply(json.loads(self.begun))
            self.files.commit()
            assert exactly(self.disk.result()) == self.expected
        else:
            self.files.rollback()
        self.begun = None

    @rule()
    def look_at_a_snapshot(self) -> None:
        assert exactly(text_of(self.files)) == exactly(self.model)

    @invariant()
    def the_keys_agree(self) -> None:
        assert self.files.keys() == self.model.keys()

    def teardown(self) -> None:
        self.end_save(succeeds=False)
        self.begin(as_snapshot=False)
        self.end_save(succeeds=True)
        assert exactly(text_of(self.files)) == exactly(self.model)


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


# -- threads -----------------------------------------------------------------------------------------------------------


class LockedDict(DurableDict):
    """The dict as it is where threads may switch anywhere."""

    __slots__ = ()

    __setitem__ = locked(DurableDict.__setitem__)
    pop = locked(DurableDict.pop)


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
    with busy_switching(1e-6):
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            change = files.begin()
            if change is not None and len(change["set"]) % 3 == 0:
                files.rollback()
            elif change is not None:
                disk.apply(json.loads(json.dumps(change)))
                files.commit()
        for thread in threads:
            thread.join()

    if (last := files.begin()) is not None:
        disk.apply(last)
        files.commit()
    assert disk.result() == files
    assert set(map(type, files.values())) == {FrozenDict}


@needs_signals
def test_a_signal_handler_may_write_while_a_save_begins() -> None:
    """It comes between two steps of the save, in the save's own thread: no lock keeps it off."""
    files, disk, handled = DurableDict(), Replay({}), 0

    def handle(number: int, frame: Any) -> None:
        nonlocal handled
        if handled < 1000:  # else a slow machine never comes to the end of one step without a signal
            files[f"handled {handled}"] = {"n": 1}
            handled += 1

    def save() -> None:
        files.hold()
        files.settle(files.boundary.now())
        if (change := files.begin()) is not None:
            disk.apply(json.loads(json.dumps(change)))
            files.commit()
        files.let_go()

    files.update({f"k{n}": n for n in range(300)})
    files.boundary.move()
    files.update({f"k{n}": -n for n in range(300)})  # by the unfinished item
    with signals(handle, 1e-4):
        while handled < 200:
            save()
    files.boundary.move()
    save()

    assert disk.result() == files


def test_freezing_loaded_values_does_not_undo_what_another_thread_assigns() -> None:
    files = DurableDict({str(n): {"n": n, "tags": [n]} for n in range(3000)})

    def write() -> None:
        for n in range(3000):
            files[str(n)] = {"n": -1}

    thread = threading.Thread(target=write)
    with busy_switching(1e-6):
        thread.start()
        for n in reversed(range(3000)):
            assert files[str(n)]["n"] in (n, -1)
        files.values()
        thread.join()

    assert all(value["n"] == -1 for value in files.values())


@pytest.mark.slow
def test_a_snapshot_is_not_torn_by_what_runs_during_a_garbage_collection() -> None:
    """Before Python 3.12, any new object may start one; another thread may then run in a callback or a finalizer."""
    files, numbers, done = DurableDict(), count(50), list[int]()
    files.update({f"{number}": number for number in range(50)})

    def replace_one(phase: str, info: object) -> None:
        if phase == "start" and not done:
            done.append(number := next(numbers))
            files.pop(next(iter(files)))
            files[f"{number}"] = number

    gc.freeze()  # else each collection goes through all that the tests have loaded
    for threshold in range(1, 60):
        gc.collect()
        done.clear()
        gc.callbacks.append(replace_one)
        before = gc.get_threshold()
        gc.set_threshold(threshold)
        try:
            snapshot = files.snapshot()
        finally:
            gc.set_threshold(*before)
            gc.callbacks.remove(replace_one)
        assert all(key == f"{value}" for key, value in json.loads(b"".join(snapshot)).items())
    gc.unfreeze()
