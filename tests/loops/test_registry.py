"""``cp.remaining`` in real checkpoints: each place that is saved, and where a loop goes on."""

from __future__ import annotations

import contextlib
import pickle
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity

from resumable import (
    Checkpoint,
    CheckpointData,
    CheckpointManager,
    InputChangedError,
    RateLimitExhausted,
    StateEncodeError,
    checkpointed,
    every,
    resumable,
)
from resumable.testing import FaultyStore, ManualClock
from tests.support.blocks import Stop

NEVER = every(hours=1000)


def saved(manager: CheckpointManager) -> CheckpointData:
    data = manager.load_checkpoint("job")
    assert data is not None
    return data


def run(manager: CheckpointManager, items: Iterable[Any], stop: Any = None, **options: Any) -> list[Any]:
    """One run over *items*, left by an error at *stop*: what it did."""
    done = []
    try:
        with checkpointed("job", manager=manager) as cp:
            for item in cp.remaining(items, **options):
                if item == stop:
                    raise Stop
                done.append(item)
    except Stop:
        pass
    return done


def generated(count: int) -> Iterator[int]:
    yield from range(count)


# -- one loop ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [range, lambda n: list(range(n)), generated], ids=["a range", "a list", "a generator"])
@pytest.mark.parametrize("key", [None, lambda item: item], ids=["by position", "by key"])
def test_a_loop_goes_on_at_the_item_that_it_was_left_at(make: Any, key: Any, manager: CheckpointManager) -> None:
    runs = [run(manager, make(20), stop, key=key) for stop in (0, 7, 7, 19, None)]

    assert runs == [[], list(range(7)), [], list(range(7, 19)), [19]]
    assert manager.list_checkpoints() == []


def test_a_loop_ticks_by_itself(manager: CheckpointManager) -> None:
    counts = []
    with checkpointed("job", every(items=3), manager=manager) as cp:
        for _ in cp.remaining(range(10)):
            counts.append(cp.metadata.save_count)

    assert counts == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_a_loop_tells_how_many_items_there_are(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager, auto_cleanup=False) as cp:
        for item in cp.remaining(range(10)):
            assert cp.processed_items == item

    assert saved(manager).metadata.total_items == 10
    assert saved(manager).metadata.processed_items == 10


def test_loops_one_after_the_other_have_one_total(manager: CheckpointManager) -> None:
    """And the next run, which goes on in the first one, does not know of the second."""
    for _ in range(2):
        with contextlib.suppress(OSError), checkpointed("job", manager=manager) as cp:
            for _ in cp.remaining(range(10)):
                assert cp.metadata.total_items == (40 if cp.resumed else 10)
            for item in cp.remaining(range(30)):
                assert cp.metadata.total_items == 40
                if item == 5 and not cp.resumed:
                    raise OSError


def test_a_loop_that_was_not_begun_is_added_to_the_total_once_it_is(manager: CheckpointManager) -> None:
    for _ in range(2):
        with contextlib.suppress(OSError), checkpointed("job", manager=manager) as cp:
            for item in cp.remaining(range(10)):
                assert cp.metadata.total_items == 10
                if item == 5 and not cp.resumed:
                    raise OSError
            for _ in cp.remaining(range(30)):
                assert cp.metadata.total_items == 40


def test_a_total_that_the_program_notes_stands_if_the_loops_know_of_no_more(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.metadata.total_items = 25
        for _ in cp.remaining(n for n in range(10)):
            assert cp.metadata.total_items == 25
        for _ in cp.remaining(range(15)):
            assert cp.metadata.total_items == 25


def test_time_is_noticed_within_a_loop(manager: CheckpointManager) -> None:
    clock = manager.clock
    assert isinstance(clock, ManualClock)
    with checkpointed("job", every(seconds=60), manager=manager) as cp:
        for item in cp.remaining(range(10_000)):
            if item in (5_000, 9_000):
                assert cp.metadata.save_count == (item == 9_000)
                clock.advance(61)
        assert cp.metadata.save_count == 2


def test_an_item_is_not_done_before_the_loop_asks_for_the_next(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        for item in cp.remaining(range(3)):
            cp.save()
            assert saved(manager).metadata.processed_items == item


@pytest.mark.parametrize("seed", range(20))
def test_random_stops_lose_nothing_and_repeat_nothing(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    key = chance.choice([None, str])
    manager = CheckpointManager(tmp_path, save_strategy=every(items=chance.randint(1, 9)))
    done: list[int] = []
    for _ in range(100):
        items = list(range(60))
        if key is not None:
            chance.shuffle(items)
        stop = chance.choice([*range(60), None])
        done += run(manager, items, stop, key=key)
        if manager.list_checkpoints() == []:
            break

    assert sorted(done) == list(range(60))


def test_manual_ticks_and_a_loop_both_count(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.tick(5)
        for _ in cp.remaining(range(3)):
            pass
        assert cp.processed_items == 8


# -- keys -------------------------------------------------------------------------------------------------------------


def test_by_key_items_may_come_go_and_change_their_order(manager: CheckpointManager) -> None:
    assert run(manager, ["a", "b", "c", "d"], "c", key=str) == ["a", "b"]

    assert run(manager, ["new", "d", "b", "c"], key=str) == ["new", "d", "c"]


def test_a_key_may_be_the_name_of_a_field(manager: CheckpointManager) -> None:
    rows = [{"id": number} for number in range(4)]
    run(manager, rows, rows[2], key="id")

    assert run(manager, list(reversed(rows)), key="id") == [{"id": 3}, {"id": 2}]


# -- break, finalize, changed input -----------------------------------------------------------------------------------


def test_a_loop_left_by_break_goes_on_in_the_next_run(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        for item in cp.remaining(range(10)):
            if item == 4:
                break

    assert run(manager, range(10)) == list(range(4, 10))


def test_finalize_ends_it_for_good(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        for item in cp.remaining(range(10)):
            if item == 4:
                cp.finalize()
                break

    assert manager.list_checkpoints() == []


def test_a_loop_that_was_never_begun_holds_nothing_back(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.remaining(range(10))

    assert manager.list_checkpoints() == []


def test_another_input_is_refused_with_the_difference_and_nothing_is_touched(manager: CheckpointManager) -> None:
    run(manager, ["a", "b", "c", "d"], "d")
    before = saved(manager)

    with pytest.raises(InputChangedError) as raised:
        run(manager, ["a", "X", "c", "d"])

    assert raised.value.differences
    assert any("resumable rm job" in way for way in raised.value.ways_out)
    assert saved(manager).internal["loops"] == before.internal["loops"]
    assert run(manager, ["a", "b", "c", "d"]) == ["d"]


@pytest.mark.parametrize("where", [".", "elsewhere", "with blank"])
def test_the_way_to_start_over_names_the_directory_where_it_is_not_looked_for(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    manager = CheckpointManager(where)
    run(manager, ["a", "b"], "b")

    with pytest.raises(InputChangedError) as raised:
        run(manager, ["X", "b"])

    place = {".": "", "elsewhere": "--dir elsewhere ", "with blank": "--dir 'with blank' "}[where]
    assert f"start over, which does all items again:  resumable rm {place}job" in raised.value.ways_out
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_arguments_that_differ_name_the_directory_too(tmp_path: Path) -> None:
    @resumable(operation_id="job", manager=CheckpointManager(tmp_path))
    def job(cp: Checkpoint, depth: int) -> None:
        if not cp.resumed:
            raise Stop

    with pytest.raises(Stop):
        job(1)

    with pytest.raises(InputChangedError) as raised:
        job(2)

    assert f"start over:  resumable rm --dir {tmp_path} job" in raised.value.ways_out


@pytest.mark.parametrize(
    ("error", "note"),
    [
        pytest.param(ValueError("bad row"), "is saved at item 1; run again to go on", id="the user's"),
        pytest.param(InputChangedError("job", [], []), "is saved at item 1", id="the input"),
        pytest.param(StateEncodeError("$.state.m", "it is a set"), "is saved at item 1", id="the state"),
        pytest.param(RateLimitExhausted(2e9), "is saved at item 1", id="the quota"),
    ],
)
def test_to_run_again_is_no_advice_where_the_same_error_would_follow(
    manager: CheckpointManager, error: Exception, note: str
) -> None:
    def job() -> None:
        with checkpointed("job", manager=manager) as cp:
            cp.tick()
            raise error

    with pytest.raises(type(error)):
        job()

    assert error.__notes__ == [f"resumable: 'job' {note}"]


def test_an_input_that_became_shorter_is_refused(manager: CheckpointManager) -> None:
    run(manager, range(10), 8)

    with pytest.raises(InputChangedError, match="8 items are done, but there are only 5 now"):
        run(manager, range(5))


# -- several loops ----------------------------------------------------------------------------------------------------


def test_loops_after_one_another_are_told_apart_by_their_order(manager: CheckpointManager) -> None:
    def both(stop: str | None) -> list[str]:
        done = []
        with checkpointed("job", manager=manager) as cp:
            for group in ("abc", "xyz"):
                for item in cp.remaining(list(group)):
                    if item == stop:
                        raise Stop
                    done.append(item)
        return done

    with pytest.raises(Stop):
        both("y")

    assert both(None) == ["y", "z"]


def test_named_loops_keep_their_places_whatever_their_order(manager: CheckpointManager) -> None:
    def both(names: str, stop: str | None) -> list[str]:
        done = []
        with checkpointed("job", manager=manager) as cp:
            for name in names:
                for number in cp.remaining(range(3), name=name):
                    if f"{name}{number}" == stop:
                        raise Stop
                    done.append(f"{name}{number}")
        return done

    with pytest.raises(Stop):
        both("ab", "b1")

    assert both("ba", None) == ["b1", "b2"]


def test_a_second_loop_of_the_same_name_begins_anew(manager: CheckpointManager) -> None:
    """Only the first one goes on from the saved place; the second would leave items out silently."""
    run(manager, range(5), 3, name="items")

    with checkpointed("job", manager=manager) as cp:
        first = list(cp.remaining(range(5), name="items"))
        second = list(cp.remaining(range(5), name="items"))

    assert (first, second) == ([3, 4], [0, 1, 2, 3, 4])


@pytest.mark.parametrize("items", [3, 100], ids=["small", "large"])
@pytest.mark.parametrize("turns", [2, 12])
def test_each_loop_of_one_name_has_its_own_place(manager: CheckpointManager, items: int, turns: int) -> None:
    """A plain `for epoch in range(n)` around a named loop makes it n times."""

    def all_turns(stop: tuple[int, int] | None) -> list[tuple[int, int]]:
        done = []
        with checkpointed("job", manager=manager) as cp:
            for turn in range(turns):
                for number in cp.remaining(range(items), name="step"):
                    if (turn, number) == stop:
                        raise Stop
                    done.append((turn, number))
        return done

    stop = (turns - 1, 1)
    with pytest.raises(Stop):
        all_turns(stop)

    assert all_turns(None) == [(turns - 1, number) for number in range(1, items)]


# -- loops and retries ------------------------------------------------------------------------------------------------


class Flaky:
    """Fails once at each of these items."""

    def __init__(self, *fails_at: int) -> None:
        self.failures = set(fails_at)
        self.done: list[int] = []

    def __call__(self, item: int) -> None:
        if item in self.failures:
            self.failures.remove(item)
            raise ConnectionError(item)
        self.done.append(item)


QUICK = {"wait": tenacity.wait_none(), "stop": tenacity.stop_after_attempt(4)}


@pytest.mark.parametrize("key", [None, lambda item: item], ids=["by position", "by key"])
def test_a_loop_in_a_retried_attempt_goes_on_where_the_attempt_before_left_it(
    key: Any, manager: CheckpointManager
) -> None:
    fetch = Flaky(2, 5)
    with checkpointed("job", manager=manager) as cp:
        for attempt in cp.retrying(**QUICK):
            with attempt:
                for item in cp.remaining(range(8), key=key):
                    fetch(item)
        assert cp.processed_items == 8

    assert fetch.done == list(range(8))
    assert manager.list_checkpoints() == []


def test_a_retried_attempt_whose_save_failed_still_goes_on_in_memory(
    manager: CheckpointManager, store: FaultyStore
) -> None:
    """State in memory is kept between attempts, not read again."""
    fetch = Flaky(2, 5)
    store.fail_next("write", times=1)
    with checkpointed("job", manager=manager, auto_cleanup=False) as cp:
        for attempt in cp.retrying(**QUICK):
            with attempt:
                for item in cp.remaining(range(8)):
                    fetch(item)

    assert fetch.done == list(range(8))
    assert saved(manager).internal["loops"]["loop-1"]["position"] == 8


def test_a_retry_inside_a_loop_leaves_that_loop_alone(manager: CheckpointManager) -> None:
    fetch = Flaky(2, 3)
    with checkpointed("job", manager=manager) as cp:
        retry = cp.retrying(**QUICK)
        for item in cp.remaining(range(6)):
            retry(fetch, item)
            if item == 4:
                break

    assert fetch.done == [0, 1, 2, 3, 4]
    assert saved(manager).metadata.processed_items == 4
    assert run(manager, range(6)) == [4, 5]


@pytest.mark.parametrize("items", [4, 100], ids=["few", "many"])
def test_a_retried_loop_inside_of_each_item_goes_on_where_it_was(items: int, manager: CheckpointManager) -> None:
    done: list[tuple[int, int]] = []
    with checkpointed("job", manager=manager) as cp:
        for item in cp.remaining(range(7)):
            for attempt in cp.retrying(**QUICK):
                with attempt:
                    for part in cp.remaining(range(items)):
                        if part == 2 and attempt.retry_state.attempt_number < 3:
                            raise ConnectionError
                        done.append((item, part))

    assert done == [(item, part) for item in range(7) for part in range(items)]


def test_finished_loops_of_a_failed_attempt_are_not_done_again(manager: CheckpointManager) -> None:
    first, second = Flaky(), Flaky(1)
    with checkpointed("job", manager=manager) as cp:
        for attempt in cp.retrying(**QUICK):
            with attempt:
                for item in cp.remaining(range(3)):
                    first(item)
                for item in cp.remaining(range(3)):
                    second(item)

    assert first.done == [0, 1, 2]
    assert second.done == [0, 1, 2]


def test_a_run_killed_in_a_later_attempt_goes_on_from_there(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, save_strategy=every(items=1))
    fetch = Flaky(2)
    with pytest.raises(Stop), checkpointed("job", manager=manager) as cp:  # noqa: PT012
        for attempt in cp.retrying(retry=tenacity.retry_if_exception_type(ConnectionError), **QUICK):
            with attempt:
                for item in cp.remaining(range(8)):
                    if item == 5:
                        raise Stop
                    fetch(item)

    assert fetch.done == [0, 1, 2, 3, 4]
    assert run(manager, range(8)) == [5, 6, 7]


def test_a_decorated_function_that_is_retried_goes_on_with_its_loops(manager: CheckpointManager) -> None:
    fetch = Flaky(2, 5)

    @resumable(operation_id="job", manager=manager, retry=tenacity.Retrying(**QUICK))
    def work(cp: Any) -> str:
        for item in cp.remaining(range(8)):
            fetch(item)
        return "done"

    assert work() == "done"
    assert fetch.done == list(range(8))
    assert manager.list_checkpoints() == []
