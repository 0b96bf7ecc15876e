"""Many new values that nobody else holds are saved as they are, and frozen when they are first read."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from resumable._durable import DurableDict, DurableLog, aliases
from resumable._durable import collection as durable_collection
from resumable._durable import dict as durable_dict
from resumable._durable.frozen import FrozenDict
from resumable._errors import StateEncodeError
from resumable._runtime import interpreter
from resumable._runtime.interpreter import has_gil
from tests.durable.test_dict import AnyUse
from tests.support.durable import saved, text_of
from tests.support.interrupts import busy_switching

pytestmark = pytest.mark.skipif(not has_gil(), reason="reference counts do not tell who holds an object here")


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "MANY", 20)
    monkeypatch.setattr(interpreter, "COPY_SECONDS", 1.0)
    monkeypatch.setattr(durable_collection, "FREEZE_MEANWHILE", 10)


def record(number: int) -> Any:
    return {"n": number, "tags": ["a", {"b": number}]} if number % 2 else {"n": number}


def filled(kind: Any, count: int = 30) -> Any:
    collection = kind()
    if kind is DurableDict:
        collection.update({f"k{number}": record(number) for number in range(count)})
    else:
        collection.extend([record(number) for number in range(count)])
    return collection


def raw(collection: Any) -> list[Any]:
    """Its values as they lie there."""
    if isinstance(collection, dict):
        return list(dict.values(collection))
    return [list.__getitem__(collection, index) for index in range(len(collection))]


def left(collection: Any) -> int:
    return sum(type(value) is dict for value in raw(collection))


KINDS = pytest.mark.parametrize("kind", [DurableDict, DurableLog])


@KINDS
def test_values_that_nobody_holds_are_not_copied_and_what_is_read_is_frozen(kind: Any) -> None:
    collection = filled(kind)
    before = list(map(id, raw(collection)))

    saved(collection)

    assert left(collection) > 0
    assert len(set(before) & set(map(id, raw(collection)))) == left(collection)
    key: Any = "k3" if kind is DurableDict else 3
    with pytest.raises(TypeError, match="frozen"):
        collection[key]["tags"].append("c")
    with pytest.raises(TypeError, match="frozen"):
        collection[key]["n"] = 7
    assert collection[key] is collection[key]
    assert saved(collection) is None


@KINDS
def test_reading_is_a_builtins_own_after_some_saves(kind: Any) -> None:
    collection = filled(kind)
    saved(collection)
    assert type(collection) is not kind
    for _ in range(3):
        saved(collection)

    assert type(collection) is kind
    assert set(map(type, raw(collection))) == {FrozenDict}


def held_outer(value: Any) -> Any:
    return value


def held_inner(value: Any) -> Any:
    return value["tags"]


def held_innermost(value: Any) -> Any:
    return value["tags"][1]


@KINDS
@pytest.mark.parametrize("part", [held_outer, held_inner, held_innermost])
def test_a_value_that_the_program_holds_is_copied_and_its_later_changes_are_saved(kind: Any, part: Any) -> None:
    collection = filled(kind)
    key: Any = "k5" if kind is DurableDict else 5
    mine = part(collection[key])
    before = msgspec.json.decode(msgspec.json.encode(collection))
    snapshot = collection.begin_snapshot()
    (mine.append if isinstance(mine, list) else lambda what: mine.update(n=what))("later")
    collection.commit()

    assert msgspec.json.decode(b"".join(snapshot)) == before
    change = saved(collection)
    assert change is not None
    assert "later" in str(change)
    assert "later" in str(collection[key])


@KINDS
def test_what_is_read_after_the_beginning_changes_nothing_of_the_save(kind: Any) -> None:
    collection = filled(kind)
    before = msgspec.json.decode(msgspec.json.encode(collection))
    snapshot = collection.begin_snapshot()
    collection.commit()
    for key in ("k1", "k2") if kind is DurableDict else (1, -2):
        with pytest.raises(TypeError):
            collection[key]["n"] = "later"
    if kind is DurableDict:
        collection["k1"] = {"n": "later"}
        del collection["k2"]
        assert collection.pop("k3")["n"] == 3

    assert msgspec.json.decode(b"".join(snapshot)) == before


def views(collection: Any) -> dict[str, Callable[[], Any]]:
    if isinstance(collection, dict):
        return {
            "values": collection.values,
            "items": lambda: iter(collection.items()),
            "backwards": lambda: reversed(collection.values()),
            "get": lambda: collection.get,
            "item": lambda: collection.__getitem__,
            "setdefault": lambda: collection.setdefault,
        }
    return {
        "iterator": lambda: iter(collection),
        "backwards": lambda: reversed(collection),
        "numbered": lambda: enumerate(collection),
        "item": lambda: collection.__getitem__,
    }


@pytest.mark.parametrize(("kind", "name"), [(k, name) for k in (DurableDict, DurableLog) for name in views(k())])
def test_a_reader_in_c_that_is_under_way_gets_frozen_values_after_a_save(kind: Any, name: str) -> None:
    """It would go past the collection's own methods, and a change of what it gives would be lost."""
    collection = filled(kind)
    reader = views(collection)[name]()
    saved(collection)

    if callable(reader):
        values = (
            [reader(*((f"k{n}", None) if name in ("get", "setdefault") else (f"k{n}",))) for n in range(3)]
            if (kind is DurableDict)
            else [reader(n) for n in range(3)]
        )
    else:
        values = [one[1] if isinstance(one, tuple) else one for one in reader]

    assert set(map(type, values)) == {FrozenDict}


@KINDS
def test_methods_that_give_nothing_out_may_be_held(kind: Any) -> None:
    """``append = rows.append`` before a loop is usual."""
    collection = filled(kind)
    held = [
        collection.update if kind is DurableDict else collection.append,
        collection.__len__,
        collection.__contains__,
    ]
    saved(collection)

    assert left(collection) > 0
    assert len(held) == 3


@KINDS
def test_where_looking_for_readers_takes_longer_than_copies_all_are_copied(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(filled(kind))  # which takes note of how long it took
    monkeypatch.setattr(interpreter, "COPY_SECONDS", 0.0)
    collection = filled(kind)
    saved(collection)

    assert left(collection) == 0
    assert type(collection) is kind


@KINDS
def test_a_save_that_failed_is_in_the_next_one(kind: Any) -> None:
    collection = filled(kind)
    whole = msgspec.json.decode(msgspec.json.encode(collection))
    for begin in (collection.begin, collection.begin_snapshot, collection.begin):
        begin()
        collection.rollback()
    change = saved(collection)

    assert change == ({"set": whole} if kind is DurableDict else {"append": whole})
    assert text_of(collection) == whole


def bad_values() -> Iterator[Any]:
    yield {1: 2}
    yield float("nan")
    yield {1, 2}
    yield b"bytes"


@KINDS
@pytest.mark.parametrize("bad", list(bad_values()), ids=["key", "nan", "set", "bytes"])
@pytest.mark.parametrize("as_snapshot", [False, True])
@pytest.mark.slow
def test_a_value_that_was_made_bad_is_named_and_the_next_save_has_all(kind: Any, bad: Any, as_snapshot: bool) -> None:
    collection = filled(kind)
    where = r"\$\.state\.k7\.n" if kind is DurableDict else r"\$\.state\[7\]\.n"
    collection["k7" if kind is DurableDict else 7]["n"] = bad

    write = (lambda: b"".join(collection.begin_snapshot())) if as_snapshot else collection.begin
    with pytest.raises(StateEncodeError, match=where):
        write()
    collection.rollback()
    collection["k7" if kind is DurableDict else 7]["n"] = 7

    assert saved(collection) is not None
    assert text_of(collection) == msgspec.json.decode(msgspec.json.encode(collection))


@pytest.mark.slow
def test_any_use_is_saved_where_values_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The random program of the durable dict, each save of which leaves what it can."""
    for module, name in (
        (aliases, "MANY"),
        (durable_collection, "FREEZE_MEANWHILE"),
        (durable_dict, "FREEZE_AT_READING"),
    ):
        monkeypatch.setattr(module, name, 1)
    gc.freeze()  # each save looks through all that is not
    try:
        run_state_machine_as_test(AnyUse, settings=settings(max_examples=100, stateful_step_count=40, deadline=None))
    finally:
        gc.unfreeze()


@KINDS
def test_the_last_value_that_is_frozen_may_be_taken_out(kind: Any) -> None:
    """Reading it makes the collection one of another class."""
    collection = filled(kind)
    saved(collection)
    if kind is DurableLog:
        assert [collection[index]["n"] for index in range(30)] == list(range(30))
    else:
        assert [collection.pop(f"k{number}")["n"] for number in range(30)] == list(range(30))
    assert type(collection) is kind


def test_a_held_value_whose_save_failed_is_saved_as_it_is_then() -> None:
    """A copy stands in the mapping for it."""
    files, held = DurableDict(), []
    files.update({f"k{number}": held for number in range(30)})
    text_of(files)
    files.begin()
    held.append(1)
    files.rollback()

    assert saved(files) == {"set": {f"k{number}": [1] for number in range(30)}}
    assert text_of(files) == files == {f"k{number}": [1] for number in range(30)}


def test_untracked_dicts_hold_no_containers() -> None:
    """What is looked at depends on it: a dict that the collector does not track need not be searched."""
    assert gc.is_tracked({"a": []})
    assert gc.is_tracked({"a": {}})
    grown: dict[str, Any] = {"a": 1}
    grown["b"] = [1]
    gc.collect()
    assert gc.is_tracked(grown)


@pytest.mark.slow
def test_what_was_left_is_known_once_for_each_key_or_about() -> None:
    """A save that leaves many values costs what changed, and what it notes does not grow with the saves."""
    files = DurableDict()
    for _ in range(10):
        files.update({f"k{number}": {"n": number} for number in range(60)})
        files.begin()
        files.commit()
        assert len(files._unfrozen) <= 2 * len(files)
    assert left(files) > 0
    assert [type(value) for value in files.values()] == [FrozenDict] * 60


def test_a_copy_of_what_is_left_shows_nobody_another_class() -> None:
    """A reader in another thread would get a value that is not frozen, and could change it unnoticed."""
    files = DurableDict({f"k{number}": {"n": number} for number in range(20_000)})
    seen: set[type] = set()
    stopped = threading.Event()

    def look() -> None:
        while not stopped.is_set():
            seen.add(type(files))

    thread = threading.Thread(target=look)
    with busy_switching(1e-6):
        thread.start()
        try:
            for _ in range(60):
                assert len(files.snapshot()) == 20_000
        finally:
            stopped.set()
            thread.join()
    assert DurableDict not in seen
    assert left(files) == 20_000
