"""Iteration over what is left: which items are done, at every moment and however the loop ends."""

from __future__ import annotations

import gc
import json
import signal
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable import _items
from resumable._errors import InputChangedError
from resumable._items import Loop, Remaining, remaining, remaining_async
from resumable._keys import merged

FOREVER = 10**18


class FakeOwner:
    """Lets *step* items pass between two check-ins, and does *then* at each."""

    operation_id = "crawl"

    def __init__(self, step: int = FOREVER, then: Callable[[], None] = lambda: None) -> None:
        self.step = step
        self.then = then
        self.live: list[Loop[Any]] = []
        self.check_ins = 0

    def check_in(self) -> int:
        self.check_ins += 1
        self.then()
        return self.step

    async def check_in_async(self) -> int:
        return self.check_in()

    def register(self, loop: Loop[Any]) -> None:
        self.live.append(loop)

    def unregister(self, loop: Loop[Any]) -> None:
        assert loop.is_finished
        self.live.remove(loop)


@pytest.fixture(params=["in C", "no GIL"])
def _stepping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no GIL":
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)


both_ways = pytest.mark.usefixtures("_stepping")


def loop_over(items: Iterable[Any], owner: FakeOwner | None = None, **options: Any) -> Remaining[Any]:
    return remaining(items, owner or FakeOwner(), name="loop", **options)


def saved(loop: Loop[Any]) -> dict[str, Any]:
    """The saved form, as it comes back from a file."""
    return json.loads(json.dumps(loop.to_dict()))


class Numbers:
    """An iterable with an iterator in Python, as a paginated source has."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return NumbersIterator(self.count)


class NumbersIterator:
    def __init__(self, count: int) -> None:
        self.numbers = iter(range(count))

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        return next(self.numbers)


SOURCES: dict[str, Callable[[int], Iterable[int]]] = {
    "list": lambda count: list(range(count)),
    "tuple": lambda count: tuple(range(count)),
    "range": range,
    "dict": lambda count: dict.fromkeys(range(count)),
    "values": lambda count: {str(number): number for number in range(count)}.values(),
    "deque": lambda count: deque(range(count)),
    "generator": lambda count: (number for number in range(count)),
    "map": lambda count: map(int, range(count)),
    "iterator": lambda count: iter(range(count)),
    "own class": Numbers,
}

sources = st.sampled_from(sorted(SOURCES))


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


def test_a_stopped_loop_in_c_does_not_go_on_without_the_item_it_held() -> None:
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
    loop = loop_over("a b c d".split())
    for number, item in enumerate(loop):
        if number == 2:
            assert item == "c"
            break

    assert loop.done() == 2
    assert list(enumerate(loop_over("a b c d".split(), saved=saved(loop)))) == [(0, "c"), (1, "d")]


@both_ways
def test_an_item_that_zip_took_and_dropped_is_not_done() -> None:
    loop = loop_over(range(10))

    assert list(zip(loop, "abc", strict=False)) == [(0, "a"), (1, "b"), (2, "c")]
    assert loop.done() == 3
    assert list(loop_over(range(10), saved=saved(loop)))[0] == 3


@both_ways
def test_zip_that_ends_with_the_loop_has_done_all() -> None:
    loop = loop_over(range(3))

    assert len(list(zip("abcdef", loop, strict=False))) == 3
    assert loop.done() == 3


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


# Wakes and reads from elsewhere


@both_ways
@pytest.mark.parametrize("source", SOURCES)
def test_a_woken_loop_checks_in_before_the_next_item(source: str) -> None:
    owner = FakeOwner()
    loop = loop_over(SOURCES[source](300), owner)
    checked_at: list[int] = []
    for item in loop:
        if item % 7 == 0:
            owner.then = lambda: checked_at.append(loop.done())
            loop.wake()
        else:
            owner.then = lambda: None

    assert [number for number in checked_at if number % 7 == 1] == list(range(1, 300, 7))


@both_ways
def test_a_wake_during_a_check_in_is_not_lost() -> None:
    def then() -> None:
        if owner.check_ins == 1:
            loop.wake()

    owner = FakeOwner(then=then)
    loop = loop_over(range(10), owner)
    next(loop)

    assert owner.check_ins == 2


@both_ways
@pytest.mark.parametrize("source", ["list", "generator", "own class"])
def test_wakes_from_other_threads_lose_no_item_and_no_count(source: str) -> None:
    """Thousands of wakes at moments that nobody chose, and reads that must never run ahead or backwards."""
    count, stop = 300_000, threading.Event()
    loop: Remaining[int]
    wrong: list[tuple[int, ...]] = []

    def then() -> None:
        if loop.done() != position + 1:
            wrong.append((loop.done(), position))

    def disturb() -> None:
        before = 0
        while not stop.is_set():
            loop.wake()
            done = loop.done()
            # One may lag behind the other by what passed between, never lead.
            if done > position + 1 or done < before - 1:
                wrong.append((before, done, position))
            before = done

    position, owner = -1, FakeOwner(then=then)
    loop = loop_over(SOURCES[source](count), owner)
    threads = [threading.Thread(target=disturb) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for item in loop:
            if item != position + 1:
                wrong.append((item, position))
            position = item
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()

    assert wrong == []
    assert loop.done() == count
    assert owner.check_ins > 10


@both_ways
@pytest.mark.parametrize("source", ["list", "generator", "own class"])
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an interval timer")
def test_a_signal_handler_reads_the_exact_count(source: str) -> None:
    """It runs between any two bytecodes: in the body, in the source, in a check-in."""
    seen: list[tuple[int, int, bool]] = []
    loop = loop_over(SOURCES[source](400_000), FakeOwner(step=50))

    def handler(*_: object) -> None:
        seen.append((loop.done(), position, is_in_body))
        loop.wake()

    position, is_in_body = -1, False
    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        for item in loop:
            position = item
            is_in_body = True
            is_in_body = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    assert [(done, last) for done, last, is_in_body in seen if is_in_body and done != last] == []
    # Elsewhere `position` may still name the item before, which is done.
    assert [(done, last) for done, last, _ in seen if done - last not in (0, 1)] == []
    assert any(is_in_body for _, _, is_in_body in seen)
    assert loop.done() == 400_000


def test_the_longest_round_needs_no_wake_in_a_fast_loop() -> None:
    owner = FakeOwner()
    deque(loop_over(range(100_000), owner), maxlen=0)

    assert 100_000 / 4096 < owner.check_ins < 40


def test_loops_leave_no_uncollectable_garbage() -> None:
    for item in loop_over(range(10)):
        if item == 5:
            break
    gc.collect()

    assert gc.garbage == []


# The same input?


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


def stopped_at(stop: int, items: Iterable[Any], **options: Any) -> dict[str, Any]:
    loop = loop_over(items, **options)
    for number, _ in enumerate(loop):
        if number == stop:
            break
    return saved(loop)


@both_ways
@pytest.mark.parametrize("make", [list, iter, deque, tuple, lambda items: (item for item in items)])
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        pytest.param(["new", *"abcdefghij"], "items[0] was 'a', is 'new' now", id="put in front"),
        pytest.param([*"abcxefghij"], "items[3] was 'd', is 'x' now", id="replaced"),
        pytest.param([*"bcdefghij"], "items[0] was 'a', is 'b' now", id="first removed"),
        pytest.param([*"jihgfedcba"], "items[0] was 'a', is 'j' now", id="order turned round"),
        pytest.param([*"abcd"], "5 items were done, but there are only 4 now", id="too short"),
    ],
)
def test_another_input_is_refused_readably(make: Any, changed: list[str], told: str) -> None:
    form = stopped_at(5, make([*"abcdefghij"]))

    with pytest.raises(InputChangedError) as caught:
        next(loop_over(make(changed), saved=form))

    assert told in caught.value.differences
    assert any("fingerprint=None" in way for way in caught.value.ways_out)
    assert any("resumable rm crawl" in way for way in caught.value.ways_out)
    assert any("key=" in way for way in caught.value.ways_out)


def test_a_list_is_compared_before_the_loop_begins() -> None:
    form = stopped_at(5, [*"abcdefghij"])

    with pytest.raises(InputChangedError, match="there were 10 items, there are 11 now"):
        loop_over(["new", *"abcdefghij"], saved=form)


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


@pytest.mark.parametrize("make", [list, iter])
@pytest.mark.parametrize("changed", [[*"xxxxxxxxxx"], []])
def test_without_a_fingerprint_any_input_is_taken(make: Any, changed: list[str]) -> None:
    form = stopped_at(5, make([*"abcdefghij"]))

    assert list(loop_over(make(changed), saved=form, fingerprint=None)) == changed[5:]


def test_items_that_the_body_changes_in_place_are_still_the_same_input() -> None:
    def records() -> list[dict[str, Any]]:
        return [{"id": number} for number in range(10)]

    loop = loop_over(records())
    for record in loop:
        record["seen"] = True
        if record["id"] == 6:
            break

    assert next(loop_over(records(), saved=saved(loop)))["id"] == 6


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


# By key


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 40), unique=True),
    st.lists(st.integers(0, 40)),
    st.integers(0, 40),
    st.sampled_from([int, str]),
)
def test_by_key_order_and_number_may_change(first: list[int], then: list[int], stop: int, key: Any) -> None:
    loop = loop_over(first, FakeOwner(3), key=key)
    done = []
    for number, item in enumerate(loop):
        assert loop.done() == number
        if number == stop:
            break
        done.append(item)

    second = loop_over(then, key=key, saved=saved(loop))
    left = list(dict.fromkeys(item for item in then if item not in done))
    assert len(second) == len(left)
    assert list(second) == left
    assert second.position == len(done) + len(left)


def test_the_first_item_of_a_key_counts() -> None:
    records = [{"id": 1, "n": 1}, {"id": 2, "n": 2}, {"id": 1, "n": 3}]

    assert [record["n"] for record in loop_over(records, key="id")] == [1, 2]


def test_a_set_with_a_key_is_welcome() -> None:
    assert sorted(loop_over({3, 1, 2}, key=int)) == [1, 2, 3]


def test_a_key_may_name_an_attribute() -> None:
    assert [item.real for item in loop_over([1, 2], key="real")] == [1, 2]


@pytest.mark.parametrize("key", [float, lambda item: None, lambda item: (item,), bool])
def test_other_keys_are_refused_with_advice(key: Any) -> None:
    with pytest.raises(TypeError, match="a key must be a str or an int"):
        list(loop_over([1, 2], key=key))


def test_text_and_number_keys_are_told_apart_after_a_save() -> None:
    form = stopped_at(1, [1, "1"], key=lambda item: item)

    assert list(loop_over([1, "1"], key=lambda item: item, saved=form)) == ["1"]


def test_dense_numbers_are_saved_as_ranges() -> None:
    form = stopped_at(5000, range(10_000), key=int)

    assert form == {"by": "key", "keys": [], "ranges": [[0, 4999]]}


@pytest.mark.parametrize(
    "form", [{"by": "key", "keys": [1.5]}, {"by": "key", "keys": [1, 1]}, {"by": "key", "ranges": [[3, 1]]}]
)
def test_an_implausible_key_set_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"saved|done ranges"):
        loop_over([1], key=int, saved=form)


@pytest.mark.parametrize(("before", "now"), [({}, {"key": str}), ({"key": str}, {})])
def test_a_key_that_comes_or_goes_is_told(before: dict[str, Any], now: dict[str, Any]) -> None:
    form = stopped_at(2, [1, 2, 3], **before)

    with pytest.raises(InputChangedError, match=r"was followed by (key|position)"):
        loop_over([1, 2, 3], saved=form, **now)


# Only what changed is saved


@settings(max_examples=100, deadline=None)
@given(data=st.data(), options=st.sampled_from([{}, {"fingerprint": "full"}, {"key": int}, {"key": str}]))
def test_changes_on_top_of_each_other_give_the_whole(data: st.DataObject, options: dict[str, Any]) -> None:
    """A save that failed is not settled, and its changes are in the next one."""
    loop = loop_over(range(500), **options)
    base, written = saved(loop), []
    for _ in loop:
        if data.draw(st.integers(0, 30)) == 0:
            changes = json.loads(json.dumps(loop.changes()))
            if data.draw(st.booleans()):
                loop.settle(changes)
                written.append(changes)
        if data.draw(st.integers(0, 200)) == 0:
            break
    written.append(loop.changes())

    whole = merged(base, written)
    assert whole == merged(whole, written[-1:]) == merged(None, [whole])
    assert list(loop_over(range(500), saved=whole, **options)) == list(range(loop.position, 500))


def test_changes_by_key_cost_what_changed() -> None:
    loop = loop_over(range(100_000), key=str)
    for item in loop:
        if item == 90_000:
            loop.settle(loop.changes())
        if item == 90_003:
            break

    assert loop.changes()["keys"] == ["90000", "90001", "90002"]


def test_saved_forms_of_different_kinds_do_not_merge() -> None:
    with pytest.raises(ValueError, match="fit together"):
        merged({"by": "key", "keys": []}, [{"by": "position", "position": 1, "samples": []}])


# async for


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


ASYNC_SOURCES: dict[str, Callable[[int], Any]] = {"async generator": numbers, **SOURCES}


@pytest.mark.parametrize("source", ASYNC_SOURCES)
@pytest.mark.parametrize("options", [{}, {"fingerprint": "full"}, {"key": int}])
async def test_async_loops_keep_the_same_books(source: str, options: dict[str, Any]) -> None:
    owner = FakeOwner(step=3)
    loop = remaining_async(ASYNC_SOURCES[source](100), owner, name="loop", **options)
    async for item in loop:
        assert loop.done() == item
        if item == 42:
            break
    form = saved(loop)

    assert loop.position == 42
    again = remaining_async(ASYNC_SOURCES[source](100), owner, name="loop", saved=form, **options)
    assert [item async for item in again] == list(range(42, 100))
    assert again.is_finished
    assert owner.live == [loop]


async def test_async_another_input_is_refused() -> None:
    loop = remaining_async(numbers(3), FakeOwner(), name="loop", saved=stopped_at(5, range(10)))

    with pytest.raises(InputChangedError, match="only 3 now"):
        await anext(loop)


async def test_async_a_check_in_that_raises_loses_no_item() -> None:
    def then() -> None:
        if owner.check_ins == 5:
            raise KeyboardInterrupt

    owner, done = FakeOwner(step=1, then=then), []
    loop = remaining_async(numbers(10), owner, name="loop")
    with pytest.raises(KeyboardInterrupt):
        async for item in loop:
            done.append(item)

    assert loop.done() == 4
    done += [item async for item in loop]
    assert done == list(range(10))


def test_an_async_source_in_a_plain_loop_is_refused() -> None:
    with pytest.raises(TypeError, match="async"):
        loop_over(numbers(3))  # type: ignore[arg-type]


def test_the_module_chooses_by_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(loop_over([1]), _items.PassingRemaining)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert isinstance(loop_over([1]), _items.SteppingRemaining)
