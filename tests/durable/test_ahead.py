"""What is taken ahead of a save is in that save, as if it had been taken then; in memory it is as after a save."""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from resumable._durable import DurableDict, DurableLog, aliases
from resumable._durable import collection as durable_collection
from resumable._durable import dict as durable_dict
from resumable._durable import log as durable_log
from resumable._durable.changes import Replay
from resumable._durable.frozen import FrozenDict
from resumable._errors import StateEncodeError
from resumable._runtime import interpreter
from resumable._runtime.interpreter import has_gil
from tests.durable.test_dict import LEAF, VALUES, AnyUse, _change, exactly
from tests.durable.test_keyed import Machine
from tests.support.durable import saved, text_of

KINDS = pytest.mark.parametrize("kind", [DurableDict, DurableLog])


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(aliases, "MANY", 10)
    monkeypatch.setattr(interpreter, "COPY_SECONDS", 1.0)
    monkeypatch.setattr(durable_collection, "FREEZE_MEANWHILE", 3)
    gc.freeze()  # each search for readers looks through all that is not
    yield
    gc.unfreeze()


def take(collection: Any, *, most: int = 1000, is_done: bool = True) -> None:
    """Take ahead at an item's end, or inside the unfinished item."""
    boundary = collection.boundary
    if is_done:
        boundary.move()
    with boundary.lock:
        collection.hold()
        collection.settle(boundary.now())
        while most and collection.take_ahead():
            most -= 1
        collection.let_go()


def record(number: int) -> Any:
    return {"n": number, "tags": ["a", {"b": number}]} if number % 2 else {"n": number}


def put(collection: Any, numbers: range) -> None:
    if isinstance(collection, dict):
        collection.update({f"k{number}": record(number) for number in numbers})
    else:
        collection.extend([record(number) for number in numbers])


def filled(kind: Any, count: int = 35) -> Any:
    collection = kind()
    put(collection, range(count))
    return collection


def plain(collection: Any) -> Any:
    return json.loads(json.dumps(collection))


def raw(collection: Any, number: int) -> Any:
    """The value as it lies there."""
    if isinstance(collection, dict):
        return dict.__getitem__(collection, f"k{number}")
    return list.__getitem__(collection, number)


def at(collection: Any, number: int) -> Any:
    return collection[f"k{number}" if isinstance(collection, dict) else number]


@KINDS
@pytest.mark.parametrize("most", [0, 1, 2, 1000])
@pytest.mark.parametrize("as_snapshot", [False, True])
def test_a_save_has_what_was_taken_ahead_and_what_came_since(kind: Any, most: int, as_snapshot: bool) -> None:
    collection = filled(kind)
    take(collection, most=most)
    put(collection, range(35, 70))
    take(collection, most=most)
    put(collection, range(70, 73))
    expected = plain(collection)

    if as_snapshot:
        text = collection.begin_snapshot()
        collection.commit()
        assert json.loads(b"".join(text)) == expected
        assert list(expected) == list(json.loads(b"".join(text))) or kind is DurableLog
    else:
        change = saved(collection)
        assert change == ({"set": expected} if kind is DurableDict else {"append": expected})
        assert list(change["set"]) == list(expected) if kind is DurableDict else True
    assert saved(collection) is None
    assert text_of(collection) == expected


@KINDS
def test_what_was_taken_is_frozen_when_it_is_read_and_not_copied_before(kind: Any) -> None:
    collection = filled(kind)
    before = [id(raw(collection, number)) for number in range(35)]
    take(collection)

    assert before[:30] == [id(raw(collection, number)) for number in range(30)]
    with pytest.raises(TypeError, match="frozen"):
        at(collection, 3)["tags"].append("later")
    assert type(at(collection, 2)) is FrozenDict


@KINDS
@pytest.mark.skipif(not has_gil(), reason="reference counts do not tell who holds an object here")
def test_a_held_value_may_be_changed_until_the_save(kind: Any) -> None:
    collection = filled(kind)
    mine = at(collection, 4)
    take(collection)
    mine["n"] = "later"
    change = saved(collection)

    assert "later" in str(change)
    assert at(collection, 4)["n"] == "later"


@KINDS
def test_what_the_unfinished_item_wrote_is_not_taken(kind: Any) -> None:
    collection = filled(kind)
    collection.boundary.move()
    done = plain(collection)
    put(collection, range(50, 80))
    if kind is DurableDict:
        collection["k1"] = "later"
        del collection["k2"]
    for _ in range(2):
        take(collection, is_done=False)
    collection.hold()
    collection.settle(collection.boundary.now())
    change = collection.begin()
    collection.let_go()

    assert change == ({"set": done} if kind is DurableDict else {"append": done})
    collection.commit()
    collection.boundary.move()
    saved(collection)
    assert text_of(collection) == plain(collection)


@KINDS
def test_a_save_that_failed_leaves_what_was_taken_to_the_next_one(kind: Any) -> None:
    collection = filled(kind)
    take(collection)
    put(collection, range(40, 45))
    expected = plain(collection)
    for begin in (collection.begin, collection.begin_snapshot, collection.begin):
        begin()
        collection.rollback()
        assert text_of(collection) == (expected if kind is DurableDict else [])
    put(collection, range(45, 47))

    assert saved(collection) is not None
    assert text_of(collection) == plain(collection)
    assert len(collection) == 42


def test_keys_that_are_assigned_and_deleted_after_they_were_taken() -> None:
    files = filled(DurableDict)
    take(files, most=1)  # some are still raw
    files["k1"] = {"again": 1}
    files["k34"] = {"again": 34}
    del files["k2"], files["k33"]
    take(files)
    put(files, range(60, 90))
    files["k2"] = {"back": 2}
    take(files)
    del files["k60"]

    change = saved(files)
    assert change["set"] == plain(files)
    assert set(change.get("del", ())) <= {"k33", "k60"}
    assert text_of(files) == plain(files)


@KINDS
@pytest.mark.parametrize("as_snapshot", [False, True])
def test_a_bad_value_that_was_taken_is_named_by_the_save(kind: Any, as_snapshot: bool) -> None:
    collection = filled(kind)
    at(collection, 7)["n"] = {1, 2}
    take(collection)

    with pytest.raises(StateEncodeError, match=r"\$\.state\.k7\.n" if kind is DurableDict else r"\$\.state\[7\]\.n"):
        _ = b"".join(collection.begin_snapshot()) if as_snapshot else collection.begin()
    collection.rollback()


def test_a_sample_keeps_its_moment() -> None:
    """A snapshot that may be written after the save was rolled back must not show what came since."""
    files = filled(DurableDict)
    take(files)
    expected = plain(files)
    sample = files.begin_snapshot(leaves=False)
    files.rollback()
    put(files, range(50, 80))
    take(files)

    assert json.loads(b"".join(sample)) == expected


# -- any order of anything ---------------------------------------------------------------------------------------------


class AnyUseAhead(AnyUse):
    """The random program of the durable dict, which takes values ahead now and then."""

    @rule(most=st.integers(0, 2), is_done=st.booleans())
    def take_ahead(self, most: int, is_done: bool) -> None:
        take(self.files, most=most, is_done=is_done)


class AnyLog(RuleBasedStateMachine):
    """A log and a list side by side. Each held entry is held in both worlds; a save has the entries of done items."""

    held = Bundle("held")

    @initialize(loaded=st.lists(VALUES, max_size=3))
    def load(self, loaded: list[Any]) -> None:
        self.model = copy.deepcopy(loaded)
        self.disk = Replay(copy.deepcopy(loaded))
        self.log = DurableLog(loaded)
        self.done = len(loaded)
        self.begun: bytes | None = None
        self.expected = ""

    @rule(target=held, value=VALUES)
    def make(self, value: Any) -> tuple[Any, Any]:
        return copy.deepcopy(value), copy.deepcopy(value)

    @rule(pair=held)
    def append_held(self, pair: tuple[Any, Any]) -> None:
        self.log.append(pair[0])
        self.model.append(pair[1])

    @rule(values=st.lists(VALUES, max_size=4))
    def extend(self, values: list[Any]) -> None:
        self.log.extend(copy.deepcopy(values))
        self.model.extend(copy.deepcopy(values))

    @rule()
    def end_item(self) -> None:
        self.log.boundary.move()
        self.done = len(self.model)

    @rule(pair=held, which=st.integers(0, 9), leaf=LEAF)
    def change_held_in_place(self, pair: tuple[Any, Any], which: int, leaf: Any) -> None:
        _change(pair[0], which, leaf)
        _change(pair[1], which, leaf)

    @rule(index=st.integers(0, 50), which=st.integers(0, 9), leaf=LEAF)
    def change_in_place_through_the_log(self, index: int, which: int, leaf: Any) -> None:
        if not self.log or exactly(self.log[index % len(self.log)]) != exactly(self.model[index % len(self.log)]):
            return
        try:
            _change(self.log[index % len(self.log)], which, leaf)
        except TypeError:
            return
        _change(self.model[index % len(self.log)], which, leaf)

    @rule(most=st.integers(0, 2))
    def take_ahead(self, most: int) -> None:
        take(self.log, most=most, is_done=False)

    @rule(as_snapshot=st.booleans())
    def begin(self, as_snapshot: bool) -> None:
        if self.begun is not None:
            return
        self.log.hold()
        self.log.settle(self.log.boundary.now())
        self.expected = exactly(self.model[: self.done])
        if as_snapshot:
            text = b"".join(self.log.begin_snapshot())
            assert exactly(json.loads(text)) == self.expected
            self.begun = text
        elif (change := self.log.begin()) is not None:
            self.begun = json.dumps(change).encode()
        self.log.let_go()
        if self.begun is None:
            assert exactly(self.disk.result()) == self.expected

    @rule(succeeds=st.booleans())
    def end_save(self, succeeds: bool) -> None:
        if self.begun is None:
            return
        if succeeds:
            form = json.loads(self.begun)
            if isinstance(form, list):
                self.disk = Replay(form)
            else:
                self.disk.apply(form)
            self.log.commit(has_time=True)
            assert exactly(self.disk.result()) == self.expected
        else:
            self.log.rollback()
        self.begun = None

    def teardown(self) -> None:
        self.end_save(succeeds=False)
        self.end_item()
        self.begin(as_snapshot=False)
        self.end_save(succeeds=True)
        assert exactly(self.disk.result()) == exactly(self.model) == exactly(list(self.log))


@pytest.mark.slow
@pytest.mark.parametrize(("machine", "many"), [(AnyUseAhead, 1), (AnyUseAhead, 3), (AnyLog, 2)])
def test_any_use_is_saved_where_values_are_taken_ahead(
    machine: type[RuleBasedStateMachine], many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aliases, "MANY", many)
    for module, name in (
        (durable_collection, "FREEZE_MEANWHILE"),
        (durable_dict, "FREEZE_AT_READING"),
        (durable_log, "FREEZE_AT_READING"),
    ):
        monkeypatch.setattr(module, name, 1)
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))


@pytest.mark.slow
def test_random_writes_of_bodies_and_workers_are_saved_where_values_are_taken_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aliases, "MANY", 1)
    for seed in range(100):
        machine = Machine(seed)

        def take_some(machine: Machine = machine) -> None:
            if machine.body is None:
                machine.boundary.move()
            take(machine.mapping, most=machine.random.randrange(3), is_done=False)

        steps: list[Callable[[], None]] = [
            *[machine.worker_writes] * 5,
            *[machine.body_writes] * 2,
            *[machine.begin_item, machine.body_goes_on, machine.save, take_some] * 2,
            machine.item_fails,
        ]
        for _ in range(80):
            machine.random.choice(steps)()
            machine.check_memory()
        machine.end()
        machine.check_memory()
        machine.save()
