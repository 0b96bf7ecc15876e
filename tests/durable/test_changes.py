"""A snapshot is the text of one instant, and changes replay onto it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from resumable._durable.changes import Replay
from resumable._durable.dict import DurableDict
from resumable._durable.log import DurableLog
from resumable._durable.set import DurableSet
from tests.support.durable import replayed, text_of


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


# -- replay ------------------------------------------------------------------------------------------------------------


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
        replayed(value, change)


def test_a_set_does_not_take_a_change_of_a_log() -> None:
    replay = Replay([])
    replay.apply({"add": ["a"]})

    with pytest.raises(ValueError, match="this is a set"):
        replay.apply({"append": ["a"]})
