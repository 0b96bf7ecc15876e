"""Loops by key, saves of what changed, and ``async for``."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable._errors import InputChangedError
from resumable._loops.ledgers.by_key import KeyLedger, merged
from resumable._loops.remaining import PassingRemaining, SteppingRemaining
from resumable._loops.remaining_async import remaining_async
from tests.support.loops import SOURCES, AsyncFakeOwner, FakeOwner, loop_over, saved, stepping, stopped_at

__all__ = ["stepping"]  # a fixture


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


def test_a_key_may_name_a_field_of_some_items_and_an_attribute_of_others() -> None:
    """The first item tells how to look; one of another kind is looked at in its own way."""
    thing = SimpleNamespace(id="c")

    assert list(loop_over([{"id": "a"}, thing, {"id": "ä"}], key="id")) == [{"id": "a"}, thing, {"id": "ä"}]
    assert list(loop_over([thing, {"id": "a"}], key="id")) == [thing, {"id": "a"}]
    with pytest.raises(KeyError, match="id"):
        list(loop_over([{"id": "a"}, {"name": "b"}], key="id"))
    with pytest.raises(AttributeError, match="id"):
        list(loop_over([thing, 5], key="id"))


def test_a_key_function_that_fails_is_called_once() -> None:
    calls = []

    def key(item: int) -> str:
        calls.append(item)
        raise TypeError("no key")

    with pytest.raises(TypeError, match="no key"):
        next(loop_over([1, 2], key=key))
    assert calls == [1]


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

    with pytest.raises(InputChangedError, match=r"done items by (key|position)"):
        loop_over([1, 2, 3], saved=form, **now)


# Only what changed is saved


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(data=st.data(), options=st.sampled_from([{}, {"fingerprint": "full"}, {"key": int}, {"key": str}]))
def test_changes_on_top_of_each_other_give_the_whole(data: st.DataObject, options: dict[str, Any]) -> None:
    """A save that failed is not committed, and its changes are in the next one."""
    loop = loop_over(range(500), **options)
    base, written = saved(loop), []
    for _ in loop:
        if data.draw(st.integers(0, 30)) == 0:
            changes = json.loads(json.dumps(loop.changes()))
            if data.draw(st.booleans()):
                loop.commit(changes)
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
            loop.commit(loop.changes())
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
    owner = AsyncFakeOwner(step=3)
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
    loop = remaining_async(numbers(3), AsyncFakeOwner(), name="loop", saved=stopped_at(5, range(10)))

    with pytest.raises(InputChangedError, match="only 3 now"):
        await anext(loop)


async def test_async_a_check_in_that_raises_loses_no_item() -> None:
    def then() -> None:
        if owner.check_ins == 5:
            raise KeyboardInterrupt

    owner, done = AsyncFakeOwner(step=1, then=then), []
    loop = remaining_async(numbers(10), owner, name="loop")
    try:
        async for item in loop:
            done.append(item)
    except KeyboardInterrupt:
        assert owner.check_ins == 5

    assert loop.done() == 4
    done += [item async for item in loop]
    assert done == list(range(10))


async def test_async_a_check_in_that_raises_is_made_again() -> None:
    def then() -> None:
        if owner.check_ins == 2:
            raise KeyboardInterrupt

    owner = AsyncFakeOwner(then=then)
    loop = remaining_async(range(3), owner, name="loop")
    assert await anext(loop) == 0
    loop.wake()
    with pytest.raises(KeyboardInterrupt):
        await anext(loop)

    assert await anext(loop) == 1
    assert owner.check_ins == 3


async def test_async_a_list_is_compared_before_the_loop_begins() -> None:
    with pytest.raises(InputChangedError, match="only 3 now"):
        remaining_async([0, 1, 2], AsyncFakeOwner(), name="loop", saved=stopped_at(5, range(10)))


def test_an_async_source_in_a_plain_loop_is_refused() -> None:
    with pytest.raises(TypeError, match="async"):
        loop_over(numbers(3))  # type: ignore[arg-type]


def test_the_module_chooses_by_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
    assert isinstance(loop_over([1]), PassingRemaining)
    assert isinstance(loop_over([1], key=int), PassingRemaining)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert isinstance(loop_over([1]), SteppingRemaining)


@pytest.mark.parametrize(
    "key", [id, hash, lambda item: id(item), lambda item: hash(item["id"])], ids=["id", "hash", "by id", "by hash"]
)
def test_a_key_that_differs_in_each_run_is_refused(key: Any) -> None:
    """With it, each run did all items again."""
    with pytest.raises(ValueError, match=r"the keys are made by (id|hash)\(\), which differs in each run"):
        KeyLedger("job", [], None, key)


def test_an_attribute_or_a_function_of_the_programs_own_named_so_is_a_key() -> None:
    def hash(item: Any) -> str:
        return str(item)

    for key in (lambda item: item.id, lambda item: item.hash, hash, lambda item: hash(item)):
        KeyLedger("job", [], None, key)
