"""What is loaded has the keys in the order that the dict had at the end of the last done item."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every
from resumable._durable.changes import Replay
from resumable._durable.dict import DurableDict
from tests.support.durable import saved

LINKS = {"/": ["/a", "/b"], "/a": ["/c", "/"], "/b": ["/c", "/d"], "/c": [], "/d": ["/e"], "/e": []}


def test_a_key_that_is_deleted_and_assigned_again_is_saved_as_the_last() -> None:
    files, disk = DurableDict({"a": 1, "b": 2, "c": 3}), Replay({"a": 1, "b": 2, "c": 3})
    files["a"] = files.pop("a") + 1
    files["d"] = 4

    change = saved(files)
    disk.apply(change)

    assert change == {"set": {"a": 2, "d": 4}, "del": ["a"]}
    assert list(disk.result()) == ["b", "c", "a", "d"]


@pytest.mark.parametrize("count", [3, 3000], ids=["few", "many"])
def test_a_first_or_last_key_that_the_unfinished_item_deletes_keeps_its_place(count: int) -> None:
    """Of many, where a key stood is not searched."""
    loaded = {str(number): number for number in range(count)}
    for take in (lambda files: files.pop(next(iter(files))), DurableDict.popitem):
        files = DurableDict(dict(loaded))
        files.boundary.move()
        take(files)
        take(files)
        files["new"] = 1

        files.hold()
        files.settle(files.boundary.now())
        snapshot = json.loads(b"".join(files.begin_snapshot()))
        files.commit()
        files.let_go()

        assert list(snapshot.items()) == list(loaded.items())


class Crash(Exception):
    """What stops the program."""


@pytest.mark.slow
@pytest.mark.parametrize("is_stack", [False, True], ids=["queue", "stack"])
@pytest.mark.parametrize("items", [1, 100], ids=["saved each", "never saved before"])
@pytest.mark.parametrize("filler", [0, 400], ids=["document", "journal"])
def test_a_queue_in_a_mapping_goes_on_in_its_order(
    is_stack: bool, items: int, filler: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def crawl(operation_id: str, stop: int) -> list[str]:
        with checkpointed(operation_id, every(items=items)) as cp:
            queue, order = cp.mapping("queue"), cp.log("order")
            if not cp.resumed:
                queue["/"] = 0
                cp.state["filler"] = ["x" * 20] * filler
            while queue:
                url = next(reversed(queue)) if is_stack else next(iter(queue))
                depth = queue.pop(url)
                order.append(url)
                for link in LINKS[url]:
                    if link not in order:
                        queue[link] = depth + 1
                if len(order) == stop:
                    raise Crash
                cp.tick()
            return list(order)

    expected = crawl("whole", -1)
    for stop in range(1, len(expected) + 1):
        with pytest.raises(Crash):
            crawl(f"stopped at {stop}", stop)
        assert crawl(f"stopped at {stop}", -1) == expected


def _change(some: random.Random, number: int, *dicts: dict[str, Any]) -> None:
    kind, keys = some.choice(["set", "new", "pop", "first", "last", "again"]), list(dicts[1])
    if kind == "set" or not keys:
        key = f"k{some.randrange(8)}"
        for each in dicts:
            each[key] = number
    elif kind == "new":
        for each in dicts:
            each[f"n{number}"] = number
    else:
        key = {"first": keys[0], "last": keys[-1]}.get(kind) or some.choice(keys)
        for each in dicts:
            value = each.pop(key)
            if kind == "again":
                each[key] = value


def test_any_order_of_changes_items_and_saves_keeps_the_order() -> None:
    for seed in range(60):
        some, start = random.Random(seed), {f"k{number}": number for number in range(seed % 7)}
        files, disk, live, settled = DurableDict(dict(start)), Replay(dict(start)), dict(start), dict(start)
        for number in range(40):
            kind = some.choice(["change", "change", "change", "item", "append", "append", "fail", "document"])
            if kind == "change":
                _change(some, number, files, live)
            elif kind == "item":
                files.boundary.move()
                settled = dict(live)
            else:
                files.hold()
                files.settle(files.boundary.now())
                if kind == "document":
                    disk = Replay(json.loads(b"".join(files.begin_snapshot())))
                elif (change := files.begin()) is not None and kind == "append":
                    disk.apply(json.loads(json.dumps(change)))
                (files.rollback if kind == "fail" else files.commit)()
                files.let_go()
                if kind != "fail":
                    assert json.dumps(disk.result()) == json.dumps(settled), seed
            assert list(files.items()) == list(live.items())
