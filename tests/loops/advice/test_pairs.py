"""Items that are taken in pairs off one iterator: told where the first would be done before its work."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed

ITEMS = list(range(13))
Way = Callable[[Any], Iterator[Any]]
"""Takes the items off the loop, and yields what is worked on."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def zipped(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    yield from zip(it, it, strict=False)


def zipped_loop(loop: Any) -> Iterator[Any]:
    yield from zip(loop, loop, strict=False)


def multiplied(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    yield from itertools.zip_longest(*[it] * 3)


def multiplied_at_once(loop: Any) -> Iterator[Any]:
    parts = [iter(loop)] * 3
    yield from zip(*parts, strict=False)


def next_in_the_body(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    for first in it:
        second = next(it, None)
        yield first, second


def next_beside_a_for(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    for first in loop:
        second = next(it, None)
        yield first, second


def next_in_an_expression(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    for first in it:
        yield first, next(it, None)


def lines_that_go_on(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    for line in it:
        if line % 2:
            line += next(it, 0)
        yield line


def looking_ahead(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    present = next(it, None)
    while present is not None:
        following = next(it, None)
        yield present
        present = following


def two_at_once(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    for _ in range(6):
        first, second = next(it), next(it)
        yield first, second


def two_in_a_condition(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    while (first := next(it, None)) is not None and (second := next(it, None)) is not None:
        yield first, second


def one_by_one(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    while (item := next(it, None)) is not None:
        yield item


def in_turns(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    for first in it:
        yield first
        second = next(it, None)
        if second is not None:
            yield second


def in_two_branches(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    for number in range(13):
        if number % 2:
            odd = next(it)
            yield odd
        else:
            even = next(it)
            yield even


def a_heading_first(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    heading = next(it)
    yield heading
    for row in it:
        yield heading, row


def in_two_loops(loop: Any) -> Iterator[Any]:
    it = iter(loop)
    for item in it:
        yield item
        if item == 5:
            break
    for item in it:
        yield item


def begun_anew(loop: Any) -> Iterator[Any]:
    for item in loop:
        yield item
        if item == 5:
            break
    for item in loop:
        yield item


AHEAD: dict[Way, str] = {
    zipped: "zip(it, it)",
    zipped_loop: "a second iterator",
    multiplied: "[it] * n",
    multiplied_at_once: "[iter(...)] * n",
    next_in_the_body: "next(it)",
    next_beside_a_for: "a second iterator",
    next_in_an_expression: "next(it)",
    lines_that_go_on: "next(it)",
    looking_ahead: "next(it)",
    two_at_once: "next(it)",
    two_in_a_condition: "next(it)",
}


@pytest.mark.parametrize("way", AHEAD)
def test_what_takes_a_second_item_before_the_work_on_the_first_is_told_once(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    """After an error in the first item of a pair, it was left out by the next run, and nothing was said."""
    for _ in range(2):
        with checkpointed(way.__name__) as cp:
            for _ in way(cp.remaining(ITEMS)):
                pass
            cp.finalize()

    told = f"{way.__name__}: {AHEAD[way]} takes items from the loop ahead of the work"
    assert [one.partition(", and all")[0] for one in caplog.messages] == [told]


@pytest.mark.parametrize("way", [one_by_one, in_turns, in_two_branches, a_heading_first, in_two_loops, begun_anew])
def test_what_works_on_each_item_before_the_next_is_left_alone(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    done: list[Any] = []

    def run(stop: int) -> None:
        with checkpointed(way.__name__) as cp:
            for item in way(cp.remaining(ITEMS)):
                if item == stop:
                    raise ConnectionError
                done.append(item)
            cp.finalize()

    if way in (one_by_one, in_turns):
        for stop in (0, 3, 8):
            with pytest.raises(ConnectionError):
                run(stop)
    run(-1)

    assert [item[1] if isinstance(item, tuple) else item for item in done] == ITEMS
    assert caplog.messages == []
