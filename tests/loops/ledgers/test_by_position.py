"""Inputs that are followed by position: compared with those of the earlier run."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed
from resumable._errors import InputChangedError
from tests.support.loops import SOURCES, both_ways, loop_over, saved, stepping, stopped_at

__all__ = ["stepping"]  # a fixture


@both_ways
@pytest.mark.parametrize("make", [list, iter, deque, tuple, lambda items: (item for item in items)])
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        pytest.param(["new", *"abcdefghij"], "items[0] was 'a', is 'new' now", id="put in front"),
        pytest.param([*"abcxefghij"], "items[3] was 'd', is 'x' now", id="replaced"),
        pytest.param([*"bcdefghij"], "items[0] was 'a', is 'b' now", id="first removed"),
        pytest.param([*"jihgfedcba"], "items[0] was 'a', is 'j' now", id="order turned round"),
        pytest.param([*"abcd"], "5 items are done, but there are only 4 now", id="too short"),
    ],
)
def test_another_input_is_refused_readably(make: Any, changed: list[str], told: str) -> None:
    form = stopped_at(5, make([*"abcdefghij"]))

    with pytest.raises(InputChangedError) as caught:
        next(loop_over(make(changed), saved=form))

    assert told in caught.value.differences
    is_way_on = any("fingerprint=None" in way for way in caught.value.ways_out)
    assert is_way_on == (len(changed) > 5), "go on where there is nothing?"
    assert any("resumable rm crawl" in way for way in caught.value.ways_out)
    assert any("key=" in way for way in caught.value.ways_out)


def test_a_list_is_compared_before_the_loop_begins() -> None:
    form = stopped_at(5, [*"abcdefghij"])

    with pytest.raises(InputChangedError, match="there were 10 items, there are 11 now"):
        loop_over(["new", *"abcdefghij"], saved=form)


def test_numbers_of_items_are_told_with_separators() -> None:
    form = stopped_at(2000, list(range(3000)))

    with pytest.raises(InputChangedError) as caught:
        loop_over(list(range(1500)), saved=form)

    assert caught.value.differences == [
        "2,000 items are done, but there are only 1,500 now",
        "there were 3,000 items, there are 1,500 now",
    ]


def test_the_last_done_item_of_a_list_is_compared() -> None:
    form = stopped_at(900, list(range(1000)))

    with pytest.raises(InputChangedError, match=r"items\[899\] was 899, is 900 now"):
        loop_over([*range(850), *range(851, 1001)], saved=form)


@both_ways
@pytest.mark.parametrize("make", [list, iter])
def test_items_added_at_the_end_are_just_more_to_do(make: Any) -> None:
    form = stopped_at(5, make([*"abcdefghij"]))

    assert list(loop_over(make([*"abcdefghijkl"]), saved=form)) == [*"fghijkl"]


@pytest.mark.parametrize("make", [list, iter])
def test_full_finds_what_samples_miss(make: Any) -> None:
    changed = [*"abcdeXghijklm"]
    assert next(loop_over(make(changed), saved=stopped_at(7, make([*"abcdefghijklm"]))))

    form = stopped_at(7, make([*"abcdefghijklm"]), fingerprint="full")
    with pytest.raises(InputChangedError, match="one or more of the first 7 items"):
        next(loop_over(make(changed), saved=form, fingerprint="full"))


@both_ways
@pytest.mark.parametrize("make", [list, iter])
def test_full_goes_on_from_a_save_before_the_first_step(make: Any) -> None:
    """A resumed run that ends before its loop begins must not spoil the place."""
    form = stopped_at(7, make([*"abcdefghij"]), fingerprint="full")
    again = saved(loop_over(make([*"abcdefghij"]), saved=form, fingerprint="full"))

    assert again["position"] == 7
    assert list(loop_over(make([*"abcdefghij"]), saved=again, fingerprint="full")) == [*"hij"]


@pytest.mark.parametrize("make", [list, iter])
@pytest.mark.parametrize("changed", [[*"xxxxxxxxxx"], []])
def test_without_a_fingerprint_any_input_is_taken(make: Any, changed: list[str]) -> None:
    form = stopped_at(5, make([*"abcdefghij"]))

    assert list(loop_over(make(changed), saved=form, fingerprint=None)) == changed[5:]


def test_an_unknown_fingerprint_is_refused() -> None:
    with pytest.raises(ValueError, match="fingerprint must be"):
        loop_over([1], fingerprint="ful")


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({"by": "position", "position": -1}, id="negative"),
        pytest.param({"by": "position", "position": "5"}, id="text"),
        pytest.param({"by": "position", "position": True}, id="boolean"),
        pytest.param({"by": "position", "position": 3, "samples": [[3, "x", "y"]]}, id="sample beyond"),
        pytest.param({"position": 3}, id="no kind"),
    ],
)
def test_an_implausible_saved_form_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="saved"):
        loop_over([1, 2, 3], saved=form)


@pytest.mark.parametrize("count", [10, 1000, 100_000])
@pytest.mark.parametrize("source", ["list", "generator"])
def test_the_saved_form_stays_small(source: str, count: int) -> None:
    assert len(json.dumps(stopped_at(count - 1, SOURCES[source](count)))) < 800


@pytest.mark.parametrize("changes", ["sort", "pop and append", "clear"])
@pytest.mark.parametrize("how", ["first", "again", "async", "keys", "left", "async left"])
def test_a_program_may_change_its_input_behind_the_loop(how: str, changes: str, tmp_path: Path) -> None:
    """A save of a later loop compares what the items were, not what stands there now."""

    def change(items: Any) -> None:
        kept = {"sort": sorted(items), "pop and append": [*[*items][1:], "z"]}.get(changes, [])
        items.clear()
        items.update(dict.fromkeys(kept)) if isinstance(items, dict) else items.extend(kept)

    letters = "cabfed" + "z" * (200 if how.endswith("left") else 0)  # a loop over a few keeps a copy of them

    def plain(stop: int) -> list[str]:
        done: list[str] = []
        with checkpointed("job", store=tmp_path) as cp:
            for number in range(2 if how == "again" else 1):
                items: Any = dict.fromkeys("cabfed") if how == "keys" else list(letters)
                for item in cp.remaining(items):
                    if how == "left" and item == "d":
                        break
                    done.append(f"{item}{number}")
                change(items)
            for number in cp.remaining(range(3)):
                if number == stop:
                    raise LookupError
        return done

    async def asynchronous(stop: int) -> list[str]:
        done: list[str] = []
        async with checkpointed("job", store=tmp_path) as cp:
            items = list(letters)
            async for item in cp.remaining(items):
                if how == "async left" and item == "d":
                    break
                done.append(item)
            change(items)
            async for number in cp.remaining(range(3)):
                if number == stop:
                    raise LookupError
        return done

    def run(stop: int) -> list[str]:
        return asyncio.run(asynchronous(stop)) if how.startswith("async") else plain(stop)

    with pytest.raises(LookupError):
        run(1)
    assert run(3) == []
