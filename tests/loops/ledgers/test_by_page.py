"""Pages by value and by key: what is done, what has changed, what a save holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    CheckpointManager,
    InputChangedError,
    StateEncodeError,
    checkpointed,
    every,
)
from resumable._loops.ledgers.by_page import PageLedger
from tests.support.pages import Server, place, run


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_page_that_names_itself_as_the_next_one_is_refused() -> None:
    with pytest.raises(ValueError, match="would never end"), checkpointed("crawl", store="ck") as cp:
        list(cp.pages(lambda cursor: ([1], "same")))


def test_cursors_come_to_fetch_as_json_gives_them_in_every_run() -> None:
    asked = []

    def fetch(cursor: Any) -> Any:
        asked.append(cursor)
        return ([1], ("a", 2)) if cursor is None else ([2], None)

    with checkpointed("crawl", store="ck") as cp:
        list(cp.pages(fetch))
    assert asked == [None, ["a", 2]]


def test_a_cursor_that_json_cannot_hold_is_refused_before_its_page_is_worked_on() -> None:
    begun: list[int] = []
    with pytest.raises(StateEncodeError, match="the cursor"), checkpointed("crawl", store="ck") as cp:
        begun.extend(cp.pages(lambda cursor: ([1, 2], object())))
    assert begun == []


def changed(change: Callable[[list[dict[str, Any]]], object]) -> Server:
    """A server whose items were changed after a run that died at item 5, of the page 3, 4, 5."""
    server = Server()
    assert run(server, 5, key=None) == [0, 1, 2, 3, 4, 5]
    change(server.items)
    return server


def changed_by_key(change: Callable[[list[dict[str, Any]]], object]) -> Server:
    server = Server()
    run(server, 5, key="id")
    change(server.items)
    return server


def test_by_value_a_done_item_that_changed_is_told_with_ways_out() -> None:
    server = changed(lambda items: items[3].update(stars=5))

    with pytest.raises(InputChangedError, match=r"the first 2 items of page 2 \(cursor 3\)") as caught:
        run(server)
    assert [way.partition("  ")[0] for way in caught.value.ways_out] == [
        "do this page again from its first item:",
        "start over, and allow items to change, come and go from then on:",
        "start over, which does all items again:",
    ]
    assert place()["position"] == 5


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda items: items.pop(3), id="one removed"),
        pytest.param(lambda items: items.insert(3, {"id": 99}), id="one added before"),
        pytest.param(lambda items: items.__delitem__(slice(4, None)), id="all but one gone"),
    ],
)
def test_by_value_a_done_item_that_moved_is_told(change: Callable[[list[dict[str, Any]]], object]) -> None:
    with pytest.raises(InputChangedError):
        run(changed(change))


def test_by_value_items_behind_the_done_ones_may_change() -> None:
    assert run(changed(lambda items: items.insert(5, {"id": 99}))) == [99, 5, 6, 7, 8, 9]


def test_by_value_the_page_can_be_done_again() -> None:
    server = changed(lambda items: items[3].update(stars=5))

    assert run(server, changed="again") == [3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("change", "rest"),
    [
        pytest.param(lambda items: items[3].update(stars=5), [5, 6, 7, 8, 9], id="a done one has another value"),
        pytest.param(lambda items: items.pop(3), [5, 6, 7, 8, 9], id="a done one was removed"),
        pytest.param(lambda items: items.pop(6), [5, 7, 8, 9], id="one to do was removed"),
        pytest.param(lambda items: items.insert(3, {"id": 99}), [99, 5, 6, 7, 8, 9], id="one was added in the page"),
        pytest.param(lambda items: items.insert(0, {"id": 99}), [5, 6, 7, 8, 9], id="one was added before the page"),
    ],
)
def test_by_key_items_may_come_and_go(change: Callable[[list[dict[str, Any]]], object], rest: list[int]) -> None:
    """What an item that was added in front pushes over from the page before is done, and not given out again."""
    assert run(changed_by_key(change), key="id") == rest


def test_by_key_an_item_that_moves_to_the_next_page_meanwhile_is_given_out_once() -> None:
    server, begun = Server(), []
    with checkpointed("crawl", store="ck") as cp:
        for item in cp.pages(server.fetch, key="id"):
            begun.append(item["id"])
            if item["id"] == 1:
                server.items.insert(0, {"id": 99})
    assert begun == list(range(10))


def test_another_start_is_another_input() -> None:
    """Else the pages of one repository would go on at the place of another."""
    server = Server()
    run(server, 4, start=0)

    with pytest.raises(InputChangedError, match="the pages began with another start than 3"):
        run(server, start=3)
    assert run(server, start=0) == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(("before", "now"), [(None, "id"), ("id", None)], ids=["to key", "to value"])
def test_it_is_followed_in_one_way(before: str | None, now: str | None) -> None:
    server = Server()
    run(server, 4, key=before)

    with pytest.raises(InputChangedError, match="counted done items by"):
        run(server, key=now)
    assert run(server, key=before) == [4, 5, 6, 7, 8, 9]


def test_items_without_a_value_need_a_key() -> None:
    with pytest.raises(TypeError, match="key="), checkpointed("crawl", store="ck") as cp:
        list(cp.pages(lambda cursor: ([object()], None)))


def damaged_forms() -> Iterator[dict[str, Any]]:
    whole = {"by": "pages", "position": 5, "pages": 1, "cursor": 3, "index": 2, "rolled": "x", "samples": []}
    for name, value in (("position", -1), ("position", 1), ("index", "2"), ("pages", None), ("index", 6)):
        yield whole | {name: value}
    yield whole | {"keys": 5}


@pytest.mark.parametrize("form", list(damaged_forms()), ids=str)
def test_a_damaged_place_is_told(form: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"saved|cannot"):
        PageLedger("crawl", form, key="id" if "keys" in form else None)


def test_saves_hold_what_changed_only() -> None:
    """By key, too, a save is as large as its news, however many keys there are."""

    def fetch(cursor: int | None) -> Any:
        first = cursor or 0
        return [f"key {number}" for number in range(first, first + 100)], first + 100 if first < 1900 else None

    with checkpointed("crawl", every(items=100), store="ck", auto_cleanup=False) as cp:
        cp.state["padding"] = "x" * 30_000
        for number, _ in enumerate(cp.pages(fetch, key=str)):
            if number == 1950:
                break
    lines = Path("ck/.checkpoint_crawl.journal").read_bytes().rstrip(b"\0").splitlines()
    assert max(map(len, lines)) < 4000
    found = CheckpointManager("ck").load_checkpoint("crawl")
    assert found is not None
    assert len(found.internal["loops"]["loop-1"]["keys"]) == 1950
