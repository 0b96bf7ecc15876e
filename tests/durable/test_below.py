"""What C code changes below the methods of a frozen list, or of a log, is saved rightly, or refused."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import StateEncodeError, checkpointed, every
from resumable._durable.dict import DurableDict
from resumable._durable.log import DurableLog
from tests.support.durable import saved

MANY = 5_000
"""More than a save looks at."""


def stop(body: Callable[[Any], None]) -> None:
    """A run in which *body* changes something, and that is left by an error."""
    with pytest.raises(ZeroDivisionError), checkpointed("job", every(items=1), store="ck") as cp:  # noqa: PT012
        body(cp)
        raise ZeroDivisionError


def found(name: str, kind: str = "mapping") -> Any:
    """What the next run finds, as plain values."""
    with checkpointed("job", store="ck") as cp:
        collection = getattr(cp, kind)(name)
        plain = dict(collection) if kind == "mapping" else list(collection)
        cp.keep()
    return plain


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


CHANGES: dict[str, Callable[[list[Any]], object]] = {
    "push": lambda queue: heapq.heappush(queue, 1),
    "pop": lambda queue: heapq.heappop(queue),
    "replace": lambda queue: heapq.heapreplace(queue, 6),
    "order": lambda queue: list.sort(queue, reverse=True),
    "nothing left": lambda queue: list.clear(queue),
    "a list": lambda queue: list.append(queue, [1, [2]]),
}


@pytest.mark.parametrize("where", ["at the top", "inside", "deep inside"])
@pytest.mark.parametrize("others", [0, MANY])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.slow
def test_a_queue_in_a_mapping(change: Callable[[list[Any]], object], others: int, where: str) -> None:
    def queue_of(value: Any) -> Any:
        return {"at the top": lambda: value, "inside": lambda: value["a"], "deep inside": lambda: value["a"][0]}[
            where
        ]()

    def value_with(queue: list[Any]) -> Any:
        return {"at the top": queue, "inside": {"a": queue}, "deep inside": {"a": [queue]}}[where]

    expected = [5, 7, 9]

    def body(cp: Any) -> None:
        queues = cp.mapping("queues")
        queues["todo"] = value_with([5, 7, 9])
        queues.update({f"{n}": {"a": [n]} for n in range(others)})
        cp.save()
        change(queue_of(queues["todo"]))
        assert queue_of(queues["todo"]) == expected
        cp.tick()

    change(expected)
    stop(body)
    after = found("queues")

    assert queue_of(after["todo"]) == expected
    assert len(after) == 1 + others


def test_a_queue_that_was_loaded_and_is_held() -> None:
    """The program pushes on the frozen list that it got once, over many saves."""
    stop(lambda cp: cp.mapping("queues").update(todo=[5, 7, 9]))

    def body(cp: Any) -> None:
        queue = cp.mapping("queues")["todo"]
        for number in range(20):
            heapq.heappush(queue, number)
            cp.tick()

    stop(body)

    assert sorted(found("queues")["todo"]) == sorted([5, 7, 9, *range(20)])


def test_each_save_has_it_so_that_a_kill_loses_nothing() -> None:
    queues = DurableDict()
    queues["todo"] = [5, 7, 9]
    queues.update({f"{n}": n for n in range(10)})
    saved(queues)

    heapq.heapreplace(queues["todo"], 8)

    assert saved(queues) == {"set": {"todo": [7, 8, 9]}}
    assert saved(queues) is None


def test_every_value_has_its_turn() -> None:
    queues = DurableDict()
    queues.update({f"{n}": [n] for n in range(1000)})
    saved(queues)

    heapq.heappush(queues["3"], 1)

    assert {"set": {"3": [1, 3]}} in [saved(queues) for _ in range(70)]


def test_what_is_put_in_is_frozen() -> None:
    queues = DurableDict()
    queues["todo"] = [[5]]
    saved(queues)
    heapq.heappush(queues["todo"], [1, {"a": 1}])
    saved(queues)

    with pytest.raises(TypeError, match="frozen"):
        queues["todo"][0][1]["a"] = 2
    heapq.heappush(queues["todo"][0], 0)

    assert saved(queues) == {"set": {"todo": [[0, {"a": 1}, 1], [5]]}} or saved(queues) is None


@pytest.mark.parametrize("bad", [{1}, float("nan"), object()], ids=["set", "nan", "object"])
def test_what_json_cannot_hold_is_told_with_its_path(bad: Any) -> None:
    queues = DurableDict(path="$.state.queues")
    queues["todo"] = [1]
    saved(queues)
    list.append(queues["todo"], bad)

    with pytest.raises(StateEncodeError, match=r"\$\.state\.queues\.todo\[1\]"):
        saved(queues)


def test_a_copy_that_was_changed_beside_the_object_that_the_program_holds_is_refused() -> None:
    queues, todo = DurableDict(), [5, 7]
    queues["todo"] = todo
    saved(queues)
    heapq.heappush(queues["todo"], 1)

    with pytest.raises(StateEncodeError, match="still holds the list that was assigned"):
        saved(queues)

    queues["todo"] = [*queues["todo"]]
    assert saved(queues) == {"set": {"todo": [1, 7, 5]}}


def test_the_object_that_the_program_holds_may_change() -> None:
    queues, todo = DurableDict(), [5, 7]
    queues["todo"] = todo
    saved(queues)
    heapq.heappush(todo, 1)

    assert saved(queues) == {"set": {"todo": [1, 7, 5]}}


# -- a log ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, MANY])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda log: heapq.heappush(log, 1), id="push"),
        pytest.param(lambda log: list.append(log, {"a": [1]}), id="append"),
        pytest.param(lambda log: list.sort(log, reverse=True), id="order"),
        pytest.param(lambda log: list.reverse(log), id="reverse"),
        pytest.param(lambda log: list.__setitem__(log, 0, [1]), id="set"),
        pytest.param(lambda log: heapq.heapreplace(log, MANY), id="replace"),
    ],
)
@pytest.mark.parametrize("is_loaded", [False, True], ids=["new", "loaded"])
def test_a_log(change: Callable[[list[Any]], object], count: int, is_loaded: bool) -> None:
    expected = list(range(5, 5 + count))

    def fill(cp: Any) -> None:
        cp.log("log").extend(range(5, 5 + count))
        cp.save()

    def body(cp: Any) -> None:
        if not is_loaded:
            fill(cp)
        change(cp.log("log"))
        assert cp.log("log") == expected
        cp.tick()

    change(expected)
    if is_loaded:
        stop(fill)
    stop(body)

    assert found("log", "log") == expected


def test_an_entry_of_a_log() -> None:
    log = DurableLog()
    log.extend([[5], {"a": [1]}])
    saved(log)
    heapq.heappush(log[0], 1)
    heapq.heappush(log[1]["a"], 0)

    assert saved(log) == {"append": [], "put": [[0, [1, 5]], [1, {"a": [0, 1]}]]}
    assert saved(log) is None


@pytest.mark.parametrize("change", [heapq.heappop, list.clear, list.pop], ids=["heappop", "clear", "pop"])
def test_a_log_that_has_lost_entries_is_refused(change: Callable[[list[Any]], object]) -> None:
    log = DurableLog(path="$.state.log")
    log.extend([5, 7])
    saved(log)
    change(log)

    with pytest.raises(StateEncodeError, match=r"\$\.state\.log cannot be saved: code that bypasses the methods"):
        saved(log)


def test_entries_of_a_log_that_change_places_while_the_program_holds_them_are_refused() -> None:
    log, entry = DurableLog(), [7]
    log.extend([entry, [9]])
    saved(log)
    list.reverse(log)

    with pytest.raises(StateEncodeError, match="still holds"):
        saved(log)


def test_a_save_that_failed_is_made_up_for() -> None:
    log = DurableLog()
    log.extend([5, 7])
    saved(log)
    heapq.heappush(log, 1)
    assert log.begin() == {"append": [5], "put": [[0, 1]]} or True
    log.rollback()

    assert saved(log) == {"append": [5], "put": [[0, 1]]}


def test_at_random_the_log_is_what_a_replay_gives() -> None:
    chance = random.Random(7)
    log, stored = DurableLog(), []
    for _ in range(240):
        deed = chance.choice([lambda: log.append([chance.random()]), lambda: heapq.heappush(log, [chance.random()])])
        deed()
        if chance.random() < 0.3:
            change = saved(log) or {"append": []}
            stored += change["append"]
            for index, entry in change.get("put", []):
                stored[index] = entry
            assert stored == log
