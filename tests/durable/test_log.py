"""A durable log is a list that only grows, and a save writes what was appended."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every
from resumable._durable.frozen import FrozenDict
from resumable._durable.log import DurableLog
from resumable._errors import StateEncodeError
from tests.support.durable import replayed, saved


def test_a_save_writes_what_was_appended_and_what_a_held_entry_became() -> None:
    log = DurableLog([{"n": 0}])
    entry = {"n": 1}
    log.append(entry)
    log += [5]
    first = saved(log)
    entry["n"] = 2
    log.extend([6])
    second = saved(log)

    assert first == {"append": [{"n": 1}, 5]}
    assert second == {"append": [6], "put": [[1, {"n": 2}]]}
    assert replayed([{"n": 0}], first, second) == [{"n": 0}, {"n": 2}, 5, 6] == log
    assert saved(log) is None


def test_a_log_rolls_back_what_was_appended_and_what_was_changed() -> None:
    log, entry = DurableLog(), {"n": 1}
    log.append(entry)
    saved(log)
    entry["n"] = 2
    log.append(3)
    log.begin()
    log.rollback()
    log.append(4)

    assert saved(log) == {"append": [3, 4], "put": [[0, {"n": 2}]]}


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
    entry: dict[str, object] = {"x": 3}
    log.append(entry)
    entry["x"] = {3}

    for _ in range(2):  # no save begins
        with pytest.raises(StateEncodeError, match=r"\$\.state\.log\[2\]\.x"):
            log.begin()


@pytest.mark.parametrize("bad", [{3}, float("nan"), "\ud800", {1: 2}, {"x": [1, {3}]}, [float("inf")], b"x"])
def test_an_entry_that_json_cannot_hold_is_refused_where_it_is_appended(bad: object) -> None:
    log: DurableLog[Any] = DurableLog([1], path="$.state.log")

    with pytest.raises(StateEncodeError, match=r"^\$\.state\.log\[1\]"):
        log.append(bad)
    with pytest.raises(StateEncodeError, match=r"^\$\.state\.log\[2\]"):
        log.extend([2, bad, 3])

    assert log == [1]


def test_good_entries_are_appended_as_they_are() -> None:
    log: DurableLog[Any] = DurableLog(path="$.state.log")
    good: list[Any] = [1, 1 << 70, None, True, 0.5, "text", "\xe4", {"a": [1]}, [{}]]

    for entry in good:
        log.append(entry)
    log.extend(good)

    assert all(one is other for one, other in zip(log, good + good, strict=True))


def test_a_bad_entry_of_a_log_is_reported_at_its_item(tmp_path: Path) -> None:
    done = []

    def run() -> None:
        with checkpointed("a", every(hours=1), store=tmp_path) as cp:
            rows = cp.log("rows")
            for item in cp.remaining(range(1000)):
                rows.append({"item": item, "what": {1} if item == 700 else 1})
                done.append(item)

    with pytest.raises(StateEncodeError, match="rows"):
        run()

    assert done == list(range(700))
    with checkpointed("a", store=tmp_path) as cp:
        assert [row["item"] for row in cp.log("rows")] == done
        assert next(iter(cp.remaining(range(1000)))) == 700


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


def test_a_later_entry_that_is_not_unicode_is_told_by_its_own_number() -> None:
    """The save writes only what is new, in which it is the first."""
    log = DurableLog([{"text": "good"}] * 5, path="$.state.rows")
    entry = {"text": ""}
    log.append(entry)
    entry["text"] = "\udcff"
    change = log.begin()

    assert change is not None
    with pytest.raises(StateEncodeError, match=r"\$\.state\.rows\[5\]\.text"):
        log.look_closely(change)
