"""Iteration over what is left: which items are done, at every moment and however the loop ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable._loops.remaining import remaining
from tests.support.loops import SOURCES, FakeOwner, Numbers, both_ways, loop_over, saved, sources, stepping

__all__ = ["stepping"]  # a fixture


# How far a loop got


@both_ways
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 64, 65, 1000, 9000])
def test_a_loop_that_ends_has_done_all(source: str, count: int) -> None:
    owner = FakeOwner()
    loop = loop_over(SOURCES[source](count), owner)

    assert list(loop) == list(range(count))
    assert loop.done() == loop.position == loop.total == count
    assert loop.is_finished
    assert owner.live == []


@both_ways
@settings(max_examples=300, deadline=None)
@given(data=st.data(), source=sources, step=st.integers(1, 200))
def test_at_each_item_those_before_it_are_done(data: st.DataObject, source: str, step: int) -> None:
    """The one at which ``break`` or an exception leaves the loop is not: nothing asked for the next."""
    count = data.draw(st.integers(1, 500))
    stop = data.draw(st.integers(0, count - 1))
    with_error = data.draw(st.booleans())
    owner = FakeOwner(step)
    loop = loop_over(SOURCES[source](count), owner)
    try:
        for item in loop:
            assert loop.done() == item
            if item == stop and with_error:
                raise ZeroDivisionError
            if item == stop:
                break
    except ZeroDivisionError:
        pass

    assert loop.done() == stop
    assert not loop.is_finished
    assert owner.live == [loop]
    assert next(iter(loop_over(SOURCES[source](count), saved=saved(loop)))) == stop


@pytest.mark.slow
@both_ways
@settings(max_examples=300, deadline=None)
@given(data=st.data(), source=sources)
def test_at_a_check_in_all_that_was_given_out_is_done(data: st.DataObject, source: str) -> None:
    """A save there must name the item before; a stop there must not lose the one to come."""
    count = data.draw(st.integers(1, 400))
    stop = data.draw(st.integers(1, 60))
    given_out: list[int] = []
    seen: list[tuple[int, int]] = []

    def then() -> None:
        seen.append((loop.done(), len(given_out)))
        owner.step = data.draw(st.integers(1, 100))
        if len(seen) == stop:
            raise KeyboardInterrupt

    owner = FakeOwner(then=then)
    loop = loop_over(SOURCES[source](count), owner)
    try:
        for item in loop:
            given_out.append(item)
    except KeyboardInterrupt:
        assert not loop.is_finished

    assert all(done == given for done, given in seen)
    assert loop.done() == len(given_out)
    assert given_out + list(loop_over(SOURCES[source](count), saved=saved(loop))) == list(range(count))


@both_ways
@pytest.mark.parametrize("kind", ["generator", "own iterator"])
def test_an_error_in_the_source_leaves_no_given_item_undone(kind: str) -> None:
    """The loop had asked for the next item already; a page that cannot be fetched does not undo the page before."""

    def pages() -> Iterator[int]:
        yield from range(100)
        seen.append(loop.done())
        raise ConnectionError

    seen: list[int] = []
    loop = loop_over(pages() if kind == "generator" else map(int, pages()))
    with pytest.raises(ConnectionError):
        for _ in loop:
            pass

    assert seen == [100]
    assert loop.done() == 100
    assert not loop.is_finished


@both_ways
def test_a_loop_whose_source_died_does_not_seem_to_end_well() -> None:
    """A dead generator says that it is at its end: the rest would be forgotten."""

    def pages() -> Iterator[int]:
        yield 1
        raise ConnectionError

    loop = loop_over(pages())
    with pytest.raises(ConnectionError):
        list(loop)

    with pytest.raises(RuntimeError, match="cut short"):
        list(loop)
    assert not loop.is_finished


@both_ways
def test_a_stopped_loop_does_not_go_on_without_the_item_it_held() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    loop = loop_over(Numbers(10), FakeOwner(then=stop))
    with pytest.raises(KeyboardInterrupt):
        list(loop)

    with pytest.raises(RuntimeError, match="cut short"):
        list(loop)


@both_ways
def test_a_second_for_goes_on_and_makes_the_item_it_was_left_at_done() -> None:
    loop = loop_over(range(10))
    for item in loop:
        if item == 3:
            break

    assert list(loop) == [4, 5, 6, 7, 8, 9]
    assert loop.done() == 10


@both_ways
def test_next_takes_one() -> None:
    loop = loop_over(range(3))

    assert [next(loop), *loop] == [0, 1, 2]
    assert next(loop, None) is None


# Readers' expectations: enumerate, zip, len, nesting


@both_ways
def test_enumerate_counts_from_zero_in_each_run() -> None:
    loop = loop_over([*"abcd"])
    for number, item in enumerate(loop):
        if number == 2:
            assert item == "c"
            break

    assert loop.done() == 2
    assert list(enumerate(loop_over([*"abcd"], saved=saved(loop)))) == [(0, "c"), (1, "d")]


@both_ways
def test_an_item_that_zip_took_and_dropped_is_not_done() -> None:
    loop = loop_over(range(10))

    assert list(zip(loop, "abc", strict=False)) == [(0, "a"), (1, "b"), (2, "c")]
    assert loop.done() == 3
    assert next(loop_over(range(10), saved=saved(loop))) == 3


@both_ways
def test_zip_that_ends_with_the_loop_has_done_all() -> None:
    loop = loop_over(range(3))

    assert len(list(zip("abcdef", loop, strict=False))) == 3
    assert loop.done() == 3


@both_ways
def test_behind_an_input_of_zip_that_ends_the_last_item_is_done_again() -> None:
    loop = loop_over(range(10))

    assert list(zip("ab", loop, strict=False)) == [("a", 0), ("b", 1)]
    assert next(loop_over(range(10), saved=saved(loop))) == 1


@both_ways
@pytest.mark.parametrize("make", [list, iter], ids=["list", "iterator"])
def test_batches_that_are_made_first_are_done_as_a_whole(make: Any) -> None:
    """Taken off the loop, all but the last item of a batch would count as done before the batch was worked on."""
    batches = [list(range(10))[i : i + 4] for i in range(0, 10, 4)]
    loop = loop_over(make(batches))
    assert [next(loop), next(loop)] == [[0, 1, 2, 3], [4, 5, 6, 7]]

    assert list(loop_over(make(batches), saved=saved(loop))) == [[4, 5, 6, 7], [8, 9]]


@both_ways
def test_nested_loops_keep_their_own_places() -> None:
    owner = FakeOwner(step=3)
    outer = remaining(range(10), owner, name="outer")
    places = []
    for row in outer:
        inner = remaining(range(5), owner, name=f"inner {row}")
        for column in inner:
            places.append((outer.done(), inner.done()))
            if (row, column) == (7, 3):
                break
        else:
            continue
        break

    assert places == [(row, column) for row in range(8) for column in range(5)][:39]
    assert [loop.name for loop in owner.live] == ["outer", "inner 7"]


@both_ways
@pytest.mark.parametrize("source", ["list", "range", "dict", "deque"])
def test_len_is_what_is_left_and_total_is_all(source: str) -> None:
    items = SOURCES[source](10)
    loop = loop_over(items, saved={"by": "position", "position": 4, "samples": []})

    assert (len(loop), loop.total, loop.position, bool(loop)) == (6, 10, 4, True)
    assert next(loop) == 4
    assert next(loop) == 5
    assert len(loop) == 5
    assert list(loop)[-1] == 9
    assert (len(loop), bool(loop)) == (0, False)


@both_ways
def test_without_a_length_len_raises_and_total_is_none_until_the_end() -> None:
    loop = loop_over(number for number in range(5))

    with pytest.raises(TypeError, match="not known"):
        len(loop)
    assert loop.total is None
    assert loop
    assert list(loop) == [0, 1, 2, 3, 4]
    assert (loop.total, len(loop), bool(loop)) == (5, 0, False)


@pytest.mark.parametrize(
    ("items", "advice"),
    [("abc", "list"), (b"abc", "list"), ({1, 2}, "sorted"), (3, "iterable"), (Numbers, "iterable")],
)
def test_what_cannot_be_resumed_is_refused_with_advice(items: Any, advice: str) -> None:
    with pytest.raises(TypeError, match=advice):
        loop_over(items)


def test_a_list_that_grows_under_the_loop_is_followed() -> None:
    todo = [0]
    for item in loop_over(todo):
        if item < 100:
            todo.append(item + 1)

    assert todo[-1] == 100
