"""The ledger of what ends out of order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable import InputChangedError
from resumable._loops.ledgers.by_key import merged
from resumable._loops.ledgers.failed import Failed, error_text
from resumable._loops.ledgers.out_of_order import OutOfOrderLedger
from resumable._loops.map.map_loop import MapLoop, map_loop
from resumable._loops.remaining import remaining
from tests.support.loops import FakeOwner


def loop_over(items: Iterable[Any], form: dict[str, Any] | None = None, **options: Any) -> MapLoop[Any]:
    return map_loop(items, FakeOwner(), name="map", saved=form, **options)


def saved(loop: MapLoop[Any]) -> dict[str, Any]:
    """The saved form, as it comes back from a file."""
    return json.loads(json.dumps(loop.to_dict()))


def after(done: Iterable[int], handed: int, items: Iterable[Any] = range(100), **options: Any) -> MapLoop[Any]:
    """A loop that handed out some items, of which some are done."""
    loop = loop_over(items, **options)
    to_do = loop.to_do()
    for _ in range(handed):
        next(to_do)
    for key in done:
        loop.finish(key)
    return loop


SOURCES: dict[str, Callable[[int], Any]] = {
    "list": lambda count: list(range(count)),
    "range": range,
    "generator": lambda count: (number for number in range(count)),
    "own iterator": lambda count: iter(list(range(count))),
}
sources = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


@pytest.mark.slow
@sources
@given(st.lists(st.sets(st.integers(0, 29)), max_size=4), st.data())
def test_every_item_is_handed_out_until_it_is_done_and_never_after(
    source: Callable[[int], Any], rounds: list[set[int]], data: st.DataObject
) -> None:
    form, done = None, set[int]()
    for wanted in rounds:
        loop = loop_over(source(30), form)
        handed: list[int] = []
        limit = data.draw(st.integers(0, 30))
        for key, item in loop.to_do():
            assert key == item
            handed.append(item)
            if len(handed) >= limit:
                break
        assert not done & set(handed)
        for item in wanted & set(handed):
            loop.finish(item)
            done.add(item)
        assert loop.position == len(done)
        form = saved(loop)
    assert [item for _, item in loop_over(source(30), form).to_do()] == sorted(set(range(30)) - done)


def test_what_is_saved_names_only_what_is_missing_below_the_head() -> None:
    form = saved(after({0, 1, 4, 6}, handed=9))

    assert (form["head"], form["missing"], form["handed"]) == (7, [[2, 3], [5, 5]], 9)


def test_nothing_is_missing_once_all_are_done() -> None:
    assert saved(after(reversed(range(50)), handed=50))["missing"] == []


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({"head": 5, "handed": 4}, id="more done than handed out"),
        pytest.param({"head": 5, "handed": 9, "missing": [[5, 5]]}, id="missing at the head"),
        pytest.param({"head": 5, "handed": 9, "missing": [[3, 3], [1, 1]]}, id="not sorted"),
        pytest.param({"head": -1, "handed": 9}, id="negative head"),
        pytest.param({"head": True, "handed": 9}, id="no number"),
        pytest.param({"head": 10**18, "handed": 10**18, "missing": [[0, 10**17]]}, id="too many to be true"),
        pytest.param({"head": 5, "handed": 9, "samples": [[7, "0", "7"]]}, id="sample of what is not done"),
        pytest.param({"head": "5", "handed": 9}, id="text"),
    ],
)
def test_a_saved_form_that_cannot_be_is_refused(form: dict[str, Any]) -> None:
    """Elsewhere such a one silently skipped items."""
    with pytest.raises(ValueError, match=r"\w"):
        loop_over(range(100), {"by": "scattered", **form})


@sources
def test_another_input_is_noticed(source: Callable[[int], Any]) -> None:
    form = saved(after(range(10), handed=12))
    others: Any = source(30)
    changed = [number + 1000 for number in others]

    with pytest.raises(InputChangedError, match="was 0, is 1000 now"):
        list(loop_over(changed if isinstance(others, (list, range)) else iter(changed), form).to_do())


@sources
def test_an_input_that_is_shorter_than_what_is_done_is_noticed(source: Callable[[int], Any]) -> None:
    form = saved(after(range(10), handed=12))

    with pytest.raises(InputChangedError, match="only 4 now"):
        list(loop_over(source(4), form).to_do())


def test_an_item_that_is_not_done_may_change() -> None:
    """Only what was worked on must be the same."""
    items = list(range(20))
    form = saved(after(set(range(10)) - {3}, handed=12, items=items))
    items[3] = -3

    assert next(iter(loop_over(items, form).to_do())) == (3, -3)


@pytest.mark.parametrize(
    ("form", "key"),
    [
        pytest.param({"by": "position", "position": 3, "samples": []}, None, id="in order before"),
        pytest.param({"by": "key", "keys": [1]}, None, id="by key before"),
        pytest.param({"by": "scattered", "head": 1, "handed": 1}, str, id="by position before"),
    ],
)
def test_another_way_to_follow_a_loop_is_refused(form: dict[str, Any], key: Any) -> None:
    with pytest.raises(InputChangedError, match="this call counts them"):
        loop_over(range(9), form, key=key)


def test_by_key_order_may_change_and_the_first_of_a_key_counts() -> None:
    loop = after(["a", "c"], handed=3, items=["a", "b", "c", "b"], key=str)

    assert [key for key, _ in loop_over(["c", "d", "b", "a", "d"], saved(loop), key=str).to_do()] == ["d", "b"]


@pytest.mark.parametrize("key", [None, lambda item: item], ids=["by position", "by key"])
def test_changes_on_top_of_each_other_give_the_whole(key: Any) -> None:
    loop = loop_over(range(5000), key=key)
    form, to_do = saved(loop), loop.to_do()
    for step in range(40):
        for number, _ in [next(to_do) for _ in range(60)]:
            if number % 7 != step % 7:
                loop.finish(number)
        changes = json.loads(json.dumps(loop.changes()))
        loop.commit(changes)
        form = merged(form, [changes])

    left = {item for _, item in loop_over(range(5000), form, key=key).to_do()}
    assert left == {item for _, item in loop_over(range(5000), saved(loop), key=key).to_do()}
    assert len(left) == 5000 - loop.done()


@pytest.mark.parametrize("key", [None, lambda item: item], ids=["by position", "by key"])
@sources
def test_what_was_given_up_is_left_out_until_asked_for(source: Callable[[int], Any], key: Any) -> None:
    failed = Failed()
    loop = loop_over(source(6), failed=failed, key=key)
    for number, _ in loop.to_do():
        if number == 4:
            loop.give_up(number, ValueError("no"))
        else:
            loop.finish(number)
    form, known = saved(loop), json.loads(json.dumps(failed.to_dict()))

    assert failed.all() == {4: "ValueError: no"}
    assert list(loop_over(source(6), form, failed=Failed(known), key=key).to_do()) == []
    again = loop_over(source(6), form, failed=(tried := Failed(known)), key=key, retry_failed=True)
    assert list(again.to_do()) == [(4, 4)]
    again.finish(4)
    assert tried.all() == {}
    assert again.position == 6


def test_what_failed_keeps_the_type_of_its_key() -> None:
    failed = Failed()
    failed.add("map", 1, "one")
    failed.add("map", "1", "text")

    assert Failed(json.loads(json.dumps(failed.to_dict()))).all() == {1: "one", "1": "text"}


def test_an_error_without_text_that_can_be_had_is_named_by_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_text(Mute()) == "Mute"
    assert error_text(ValueError("a\nb" + "x" * 900)) == ("ValueError: a b" + "x" * 900)[:500]


def test_memory_follows_what_is_missing() -> None:
    """At 1e9 items a set of keys would be 20 GB."""
    ledger = OutOfOrderLedger("crawl", saved={"by": "scattered", "head": 10**9, "handed": 10**9, "missing": [[5, 6]]})

    assert (ledger.missing, ledger.start) == ([5, 6], 10**9 - 2)
    assert len(json.dumps(ledger.as_now(0)())) < 200


@pytest.mark.parametrize("key", [None, str], ids=["in order, by position", "by key"])
def test_a_loop_in_order_does_not_go_on_where_a_map_was(key: Any) -> None:
    saved = {"by": "scattered", "head": 1, "handed": 1}

    with pytest.raises(InputChangedError, match=r"(?s)in any order.*map\(\.\.\.\)"):
        remaining(range(3), FakeOwner(), name="loop", key=key, saved=saved)
