"""Is it the same input? By position a changed one is refused."""

from __future__ import annotations

from collections import UserList
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable._durable import DurableLog
from tests.support.loops import SOURCES, FakeOwner, both_ways, loop_over, saved, sources, stepping, stopped_at

__all__ = ["stepping"]  # a fixture


# The same input?


@pytest.mark.slow
@both_ways
@settings(max_examples=300, deadline=None)
@given(data=st.data(), source=sources, fingerprint=st.sampled_from(["sampled", "full", None]))
def test_many_runs_do_each_item_once(data: st.DataObject, source: str, fingerprint: Any) -> None:
    count = data.draw(st.integers(0, 300))
    form, done = None, []
    for _ in range(20):
        loop = loop_over(SOURCES[source](count), FakeOwner(7), saved=form, fingerprint=fingerprint)
        stop = data.draw(st.integers(0, 60))
        for number, item in enumerate(loop):
            if number == stop:
                break
            done.append(item)
        form = saved(loop)
        if loop.is_finished:
            break

    assert done == list(range(len(done)))
    assert loop.position == len(done)


def test_items_that_the_body_changes_in_place_are_still_the_same_input() -> None:
    def records() -> list[dict[str, Any]]:
        return [{"id": number} for number in range(10)]

    loop = loop_over(records())
    for record in loop:
        record["seen"] = True
        if record["id"] == 6:
            break

    assert next(loop_over(records(), saved=saved(loop)))["id"] == 6


def test_skipping_a_million_done_items_of_a_sequence_goes_through_none() -> None:
    class Pictures(list[int]):
        def __getitem__(self, position: Any) -> Any:
            opened.append(position)
            return super().__getitem__(position)

        def __iter__(self) -> Iterator[int]:
            raise AssertionError("went through")

    opened: list[int] = []
    form = stopped_at(999, list(range(1000)))

    assert next(loop_over(Pictures(range(1000)), saved=form)) == 999
    assert len(opened) < 12


@pytest.mark.parametrize("kind", [list, UserList, DurableLog])
def test_a_queue_that_the_body_appends_to_is_worked_off_by_the_next_run_too(kind: Any) -> None:
    def worked_off(queue: Any, saved: Any = None) -> Iterator[int]:
        for number in loop_over(queue, saved=saved):
            yield number
            if number < 30:
                queue.append(number + 10)

    form = stopped_at(1, [1, 2])

    assert list(worked_off(kind([1, 2]), form)) == [2, 12, 22, 32]
    assert list(worked_off(kind([1, 2]))) == [1, 2, 11, 12, 21, 22, 31, 32]
