"""One operation in a ``with`` block: what is saved when, what comes back, and how the block may be left."""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tenacity
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable import (
    Checkpoint,
    CheckpointBusyError,
    CheckpointCorruptError,
    CheckpointData,
    CheckpointManager,
    InputChangedError,
    ResumableError,
    SaveStrategy,
    StateEncodeError,
    StoreError,
    auto,
    checkpointed,
    current_checkpoint,
    every,
    rate_limit_below,
)
from resumable._engine.session import Session
from resumable.testing import FaultyStore, ManualClock, MemoryStore
from tests.support.stores import document, keys, put

NEVER = every(hours=1000)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def manager(store: FaultyStore, clock: ManualClock) -> CheckpointManager:
    return CheckpointManager(store=store, clock=clock, save_strategy=NEVER)


class Stop(Exception):
    """What leaves a block in these tests."""


def stopped() -> Any:
    """The block is left by Stop."""
    return pytest.raises(Stop)


def saved(manager: CheckpointManager, operation_id: str = "job") -> CheckpointData:
    data = manager.load_checkpoint(operation_id)
    assert data is not None
    return data


def left_after(manager: CheckpointManager, state: dict[str, Any], items: int = 1) -> None:
    """A run that ticked *items* and was left by an error."""
    with stopped(), checkpointed("job", manager=manager) as cp:
        cp.state.update(state)
        cp.tick(items)
        raise Stop


# -- what the block gives ---------------------------------------------------------------------------------------------


def test_a_new_operation_begins_empty(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        assert isinstance(cp, Checkpoint)
        assert cp.state == {}
        assert cp.resumed is False
        assert cp.operation_id == "job"
        assert cp.processed_items == 0


def test_a_resumed_operation_has_its_state_back(manager: CheckpointManager) -> None:
    left_after(manager, {"done": [1, 2]}, items=2)

    with checkpointed("job", manager=manager) as cp:
        assert cp.resumed is True
        assert cp.state == {"done": [1, 2]}
        assert cp.processed_items == 2
        assert cp.metadata.processed_items == 2


def test_the_plain_form_of_a_loop_goes_on_where_it_stopped(manager: CheckpointManager) -> None:
    urls, fetched = list("abcdef"), []

    def crawl(fails_at: str = "") -> None:
        with checkpointed("job", manager=manager) as cp:
            done = cp.state.setdefault("done", [])
            for url in urls[len(done) :]:
                if url == fails_at:
                    raise Stop
                fetched.append(url)
                done.append(url)
                cp.tick()

    for stop in "be":
        with pytest.raises(Stop):
            crawl(stop)
    crawl()

    assert fetched == urls
    assert manager.list_checkpoints() == []


def test_resume_false_starts_over_and_keeps_the_old_one_until_the_first_save(manager: CheckpointManager) -> None:
    left_after(manager, {"run": 1}, items=7)

    with checkpointed("job", manager=manager, resume=False) as cp:
        assert cp.state == {}
        assert cp.processed_items == 0
        assert saved(manager).state == {"run": 1}
        cp.state["run"] = 2
        cp.save()
        assert saved(manager).state == {"run": 2}
        assert saved(manager).metadata.processed_items == 0


def test_the_state_may_be_replaced_by_another_dict(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.state = {"new": 1}
        cp.save()

        assert saved(manager).state == {"new": 1}


def test_a_state_that_is_no_dict_any_more_cannot_be_saved(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.state = [1]  # type: ignore[assignment]
        with pytest.raises(StateEncodeError, match="must stay a dict, not become a list"):
            cp.save()
        cp.state = {}


def test_metadata_can_be_set_and_is_kept(manager: CheckpointManager) -> None:
    with stopped(), checkpointed("job", manager=manager, total=9) as cp:
        cp.metadata.tool_name = "crawler"
        cp.metadata.extra["mine"] = [1]
        cp.error()
        raise Stop

    with checkpointed("job", manager=manager) as cp:
        assert cp.metadata.tool_name == "crawler"
        assert cp.metadata.extra == {"mine": [1]}
        assert cp.metadata.total_items == 9
        assert cp.metadata.error_count == 1


def test_save_count_goes_on_over_runs(manager: CheckpointManager) -> None:
    for _ in range(3):
        with stopped(), checkpointed("job", manager=manager) as cp:
            cp.save()
            raise Stop

    assert saved(manager).metadata.save_count == 6


def test_created_at_stays_and_last_updated_moves(manager: CheckpointManager, clock: ManualClock) -> None:
    for _ in range(2):
        left_after(manager, {})
        clock.advance(60)

    data = saved(manager)
    assert (data.last_updated - data.created_at).total_seconds() == 60


def test_a_block_can_be_entered_again(manager: CheckpointManager) -> None:
    block = checkpointed("job", manager=manager)

    for run in range(3):
        with stopped(), block as cp:
            assert cp.state.get("run", 0) == run
            cp.state["run"] = run + 1
            raise Stop


def test_the_current_checkpoint_is_the_innermost_and_gone_after_the_block(manager: CheckpointManager) -> None:
    with checkpointed("outer", manager=manager) as outer:
        with checkpointed("inner", manager=manager) as inner:
            assert current_checkpoint() is inner
        assert current_checkpoint() is outer

    with pytest.raises(RuntimeError, match="no checkpoint is open"):
        current_checkpoint()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param({"operation_id": 7}, TypeError, id="an id that is no text"),
        pytest.param({"operation_id": "\ud800"}, ValueError, id="a lone surrogate"),
        pytest.param({"on_exhausted": "stop"}, ValueError, id="an unknown policy"),
        pytest.param({"store": "ftp://host"}, ValueError, id="an unknown store"),
        pytest.param({"store": 7}, TypeError, id="no store at all"),
        pytest.param({"strategy": 300}, TypeError, id="a number for a strategy"),
        pytest.param({"strategy": SaveStrategy}, TypeError, id="a class for a strategy"),
        pytest.param({"auto_cleanup": "no"}, TypeError, id="a text for a truth"),
        pytest.param({"total": 2.5}, TypeError, id="half an item"),
        pytest.param({"total": -1}, ValueError, id="less than no item"),
        pytest.param({"state": 3}, TypeError, id="a number for a type"),
        pytest.param({"retry": 3}, TypeError, id="a number for a retry"),
        pytest.param({"arguments": {1: 2}}, StateEncodeError, id="arguments that JSON would change"),
        pytest.param({"arguments": {"a": float("nan")}}, StateEncodeError, id="arguments that JSON cannot hold"),
    ],
)
def test_nonsense_is_refused_before_anything_is_opened(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        checkpointed(**{"operation_id": "job", **arguments})


def test_a_manager_and_a_store_are_one_too_many(manager: CheckpointManager) -> None:
    with pytest.raises(ValueError, match="not both"):
        checkpointed("job", manager=manager, store=MemoryStore())  # type: ignore[call-overload]


# -- semantics 1: at least once, and bounded --------------------------------------------------------------------------


@given(
    count=st.integers(1, 40),
    interval=st.integers(1, 10),
    kills=st.lists(st.integers(0, 45), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_semantics_1_after_a_kill_only_what_happened_since_the_last_save_is_done_again(
    count: int, interval: int, kills: list[int]
) -> None:
    """A kill is told by copying what the store holds: nothing that the dying run does later reaches the copy."""
    held: dict[str, bytes] = {}
    done: list[int] = []
    for kill in [*kills, None]:
        store = MemoryStore()
        for key, blob in held.items():
            put(store, key, blob)
        manager = CheckpointManager(store=store, save_strategy=every(items=interval), clock=ManualClock())
        with checkpointed("job", manager=manager) as cp:
            first = cp.state.setdefault("next", 0)
            repeated = len(done) - first
            assert 0 <= repeated <= interval
            for item in range(first, count):
                if kill == item:
                    held = {key: blob for key in keys(store) if (blob := document(store, key)) is not None}
                    break
                done = [*done[:item], item]
                cp.state["next"] = item + 1
                cp.tick()
            else:
                break

    assert done == list(range(count))


def test_semantics_1_after_an_exception_nothing_that_was_ticked_is_done_again(manager: CheckpointManager) -> None:
    left_after(manager, {"next": 41}, items=41)

    assert saved(manager).state == {"next": 41}
    assert saved(manager).metadata.processed_items == 41


def test_semantics_1_a_save_that_failed_does_not_count_as_one(
    manager: CheckpointManager, store: FaultyStore, clock: ManualClock
) -> None:
    """A full disk must not push the next try one whole interval away."""
    with checkpointed("job", every(seconds=60), manager=manager) as cp:
        cp.tick()
        clock.advance(61)
        store.fail_next("write", error=StoreError("disk full"))
        with pytest.raises(StoreError, match="disk full"):
            cp.tick()
        assert cp.metadata.save_count == 0

        cp.tick()
        assert saved(manager).metadata.save_count == 1
        assert saved(manager).metadata.processed_items == 3


# -- semantics 2: old or new, never half ------------------------------------------------------------------------------


def test_semantics_2_a_corrupt_checkpoint_is_never_taken_for_none_and_not_overwritten(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, save_strategy=NEVER)
    left_after(manager, {"run": 1})
    left_after(manager, {"run": 2})
    path = tmp_path / ".checkpoint_job.json"
    path.write_bytes(path.read_bytes()[:-40])
    damaged = path.read_bytes()

    with pytest.raises(CheckpointCorruptError) as raised, checkpointed("job", manager=manager):
        pytest.fail("the block must not be entered")

    assert raised.value.location == str(path)
    assert raised.value.reason
    assert raised.value.previous == str(tmp_path / ".checkpoint_job.json.prev")
    assert "Nothing was changed" in str(raised.value)
    assert path.read_bytes() == damaged


def test_semantics_2_a_failed_entry_owns_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".checkpoint_job.json"
    path.write_text("no JSON")
    for _ in range(2):
        with pytest.raises(CheckpointCorruptError), checkpointed("job", store=tmp_path):
            pytest.fail("the block must not be entered")

    path.unlink()
    with checkpointed("job", store=tmp_path) as cp:
        assert not cp.resumed


# -- semantics 3: exit ------------------------------------------------------------------------------------------------


def test_semantics_3_a_clean_exit_deletes(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.save()
        assert manager.list_checkpoints() == ["job"]

    assert manager.list_checkpoints() == []


def test_semantics_3_a_clean_exit_without_auto_cleanup_keeps_the_last_state(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager, auto_cleanup=False) as cp:
        cp.state["all"] = 1
        cp.tick()

    assert saved(manager).state == {"all": 1}
    assert saved(manager).metadata.last_save_reason == "Finished"


def test_semantics_3_a_return_out_of_the_block_is_a_clean_exit(manager: CheckpointManager) -> None:
    def work() -> int:
        with checkpointed("job", manager=manager) as cp:
            cp.save()
            return 7

    assert work() == 7
    assert manager.list_checkpoints() == []


@pytest.mark.parametrize("error", [Stop("no"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=repr)
def test_semantics_3_an_error_saves_and_goes_on_untouched(error: BaseException, manager: CheckpointManager) -> None:
    with pytest.raises(type(error)) as raised, checkpointed("job", manager=manager) as cp:  # noqa: PT012
        cp.state["n"] = 1
        cp.tick()
        raise error

    assert raised.value is error
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert saved(manager).state == {"n": 1}
    assert saved(manager).metadata.last_save_reason == f"Interrupted: {type(error).__name__}"
    assert "saved at item 1; run again" in raised.value.__notes__[0]


@pytest.mark.parametrize("failure", [StoreError("disk full"), OSError(28, "disk full")], ids=["ours", "another"])
def test_semantics_3_a_save_that_fails_on_the_way_out_is_noted_and_does_not_replace_the_error(
    failure: Exception, manager: CheckpointManager, store: FaultyStore
) -> None:
    error = Stop("mine")

    with stopped() as raised, checkpointed("job", manager=manager) as cp:
        cp.tick()
        store.fails_on["write"] = failure
        raise error

    assert raised.value is error
    assert "'job' could not be saved" in raised.value.__notes__[0]
    assert "disk full" in raised.value.__notes__[0]


def test_semantics_3_a_state_that_cannot_be_saved_on_the_way_out_is_noted_too(manager: CheckpointManager) -> None:
    with stopped() as raised, checkpointed("job", manager=manager) as cp:
        cp.tick()
        cp.state["bad"] = object()
        raise Stop

    assert "$.state.bad" in raised.value.__notes__[0]


def test_semantics_3_a_delete_that_fails_is_told(manager: CheckpointManager, store: FaultyStore) -> None:
    with pytest.raises(StoreError, match="read-only"), checkpointed("job", manager=manager) as cp:  # noqa: PT012
        cp.save()
        store.fails_on["delete"] = StoreError("read-only")

    del store.fails_on["delete"]
    assert manager.list_checkpoints() == ["job"]
    with checkpointed("job", manager=manager) as cp:
        assert cp.resumed


def test_semantics_3_a_loop_left_by_break_keeps_the_checkpoint(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        for item in cp.remaining(range(10)):
            if item == 4:
                break

    assert saved(manager).metadata.processed_items == 4
    assert saved(manager).metadata.last_save_reason == "Stopped: a loop was left with items to go"


def test_semantics_3_finalize_ends_a_loop_that_was_left_for_good(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        for item in cp.remaining(range(10)):
            if item == 4:
                cp.finalize()
                break

    assert manager.list_checkpoints() == []


# -- semantics 4: retry -----------------------------------------------------------------------------------------------


def test_semantics_4_the_checkpoint_is_written_before_tenacity_sleeps(manager: CheckpointManager) -> None:
    seen: list[tuple[Any, str | None]] = []

    def look(_: Any) -> None:
        seen.append((saved(manager).state, saved(manager).metadata.last_save_reason))

    with checkpointed("job", manager=manager) as cp:
        for attempt in cp.retrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none(), before_sleep=look):
            with attempt:
                cp.state["n"] = cp.state.get("n", 0) + 1
                if cp.state["n"] < 3:
                    raise ConnectionError

    assert seen == [
        ({"n": 1}, "Retry: ConnectionError (attempt 2)"),
        ({"n": 2}, "Retry: ConnectionError (attempt 3)"),
    ]


# -- semantics 6: strategies remember nothing -------------------------------------------------------------------------


def test_semantics_6_one_strategy_serves_two_operations(manager: CheckpointManager) -> None:
    strategy = every(items=3)

    with (
        checkpointed("a", strategy, manager=manager) as a,
        checkpointed("b", strategy, manager=manager) as b,
    ):
        for _ in range(2):
            a.tick()
            b.tick()
        assert manager.list_checkpoints() == []
        a.tick()
        assert manager.list_checkpoints() == ["a"]
        b.tick()
        assert manager.list_checkpoints() == ["a", "b"]


def test_semantics_6_a_refused_and_does_not_eat_its_operands_interval(
    manager: CheckpointManager, clock: ManualClock
) -> None:
    with checkpointed("job", every(seconds=60) & every(items=10), manager=manager) as cp:
        cp.tick(12)
        assert manager.list_checkpoints() == []
        clock.advance(60)
        cp.tick()
        reason = saved(manager).metadata.last_save_reason

    assert reason == "Time-based: 60s >= 60s | Progress-based: 13 items processed"


def test_semantics_6_the_rate_limit_saves_once_a_window(manager: CheckpointManager) -> None:
    counts = []
    with checkpointed("job", rate_limit_below(0.2), manager=manager) as cp:
        for window, remaining in [(1, 1100), (1, 1000), (1, 900), (1, 1), (2, 4900), (2, 1100), (2, 999), (2, 998)]:
            reset_at = manager.clock.utc().timestamp() + 3600 * window
            cp.observe(remaining=remaining, limit=5000, reset_at=reset_at)
            cp.tick()
            counts.append(cp.metadata.save_count)

    assert counts == [0, 1, 1, 1, 1, 1, 2, 2]


# -- when a tick saves ------------------------------------------------------------------------------------------------


def test_a_tick_saves_each_so_many_items(manager: CheckpointManager) -> None:
    saves = []
    with checkpointed("job", every(items=3), manager=manager) as cp:
        for _ in range(10):
            cp.tick()
            saves.append(cp.metadata.save_count)

    assert saves == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]


def test_a_tick_of_many_items_counts_them_all(manager: CheckpointManager) -> None:
    with checkpointed("job", every(items=100), manager=manager) as cp:
        cp.tick(250)
        assert saved(manager).metadata.processed_items == 250
        cp.tick(99)
        assert cp.metadata.save_count == 1
        cp.tick()
        assert cp.metadata.save_count == 2


def test_a_tick_saves_each_so_many_seconds(manager: CheckpointManager, clock: ManualClock) -> None:
    saves = []
    with checkpointed("job", every(seconds=60), manager=manager) as cp:
        for _ in range(7):
            clock.advance(25)
            cp.tick()
            saves.append(cp.metadata.save_count)

    assert saves == [0, 0, 1, 1, 1, 2, 2]


def test_time_is_seen_without_asking_the_clock_at_each_tick(manager: CheckpointManager, clock: ManualClock) -> None:
    class Counting(ManualClock):
        looks = 0

        def now(self) -> float:
            self.looks += 1
            return super().now()

    counting = Counting()
    manager.clock = counting
    with checkpointed("job", every(seconds=60), manager=manager) as cp:
        cp.tick()
        before = counting.looks
        for _ in range(10_000):
            cp.tick()
        assert counting.looks == before
        counting.advance(61)
        cp.tick()
        assert cp.metadata.save_count == 1


@pytest.mark.parametrize("jump", [-86400, 86400], ids=["back a day", "on a day"])
def test_semantics_7_a_wall_clock_that_jumps_changes_nothing(
    jump: float, manager: CheckpointManager, clock: ManualClock
) -> None:
    with checkpointed("job", every(seconds=60), manager=manager) as cp:
        cp.tick()
        clock.jump(jump)
        clock.advance(59)
        cp.tick()
        assert cp.metadata.save_count == 0
        clock.advance(1)
        cp.tick()
        assert cp.metadata.save_count == 1


def test_semantics_7_the_time_between_two_runs_is_no_time_of_the_operation(
    manager: CheckpointManager, clock: ManualClock
) -> None:
    strategy = every(seconds=60)
    with stopped(), checkpointed("job", strategy, manager=manager) as cp:
        clock.advance(50)
        cp.tick()
        raise Stop
    clock.advance(86400)

    with checkpointed("job", strategy, manager=manager) as cp:
        cp.tick()
        assert saved(manager).metadata.save_count == 1
        clock.advance(60)
        cp.tick()
        assert saved(manager).metadata.last_save_reason == "Time-based: 60s >= 60s"


def test_a_strategy_of_the_users_is_asked_at_each_tick(manager: CheckpointManager) -> None:
    class Third(SaveStrategy):
        def should_save(self, context: Any) -> Any:
            return context.processed_items % 3 == 0, "Third: as I like it"

    with checkpointed("job", Third(), manager=manager) as cp:
        cp.tick()
        cp.tick()
        assert manager.list_checkpoints() == []
        cp.tick()
        assert saved(manager).metadata.last_save_reason == "Third: as I like it"


def test_the_first_tick_of_the_automatic_strategy_saves_once(manager: CheckpointManager) -> None:
    """It must learn what a save costs."""
    with checkpointed("job", auto(), manager=manager) as cp:
        cp.tick()
        assert saved(manager).metadata.save_count == 1


def test_a_save_on_request_says_why(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.save()
        assert saved(manager).metadata.last_save_reason == "Requested"
        cp.save("Mine: before lunch")
        assert saved(manager).metadata.last_save_reason == "Mine: before lunch"


# -- semantics 9: one owner -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["files", "memory"])
def test_semantics_9_a_second_owner_is_refused_and_told_who_holds_it(kind: str, tmp_path: Path) -> None:
    store: Any = tmp_path if kind == "files" else MemoryStore()

    with checkpointed("job", store=store) as cp:
        cp.state["n"] = 1
        with pytest.raises(CheckpointBusyError) as raised, checkpointed("job", store=store):
            pytest.fail("the block must not be entered")
        cp.save()
    if kind == "files":
        assert raised.value.pid == os.getpid()
        assert raised.value.host
        assert raised.value.since.startswith("20")

    with checkpointed("job", store=store):
        pass  # free again


# -- semantics 10: data only ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "path"),
    [
        pytest.param({1: "a"}, "$.state.x", id="a key that is no string"),
        pytest.param({"a b": [0, {"when": float("nan")}]}, "$.state.x['a b'][1].when", id="NaN"),
        pytest.param([{1, 2}], "$.state.x[0]", id="a set"),
        pytest.param({"o": object()}, "$.state.x.o", id="an object"),
        pytest.param(b"bytes", "$.state.x", id="bytes"),
    ],
)
def test_semantics_10_what_json_cannot_hold_is_named_at_the_first_tick_and_nothing_is_touched(
    value: Any, path: str, manager: CheckpointManager
) -> None:
    left_after(manager, {"good": 1})

    with checkpointed("job", manager=manager) as cp:
        cp.state["x"] = value
        with pytest.raises(StateEncodeError) as raised:
            cp.tick()
        assert saved(manager).state == {"good": 1}

    assert raised.value.path == path


def test_semantics_10_a_value_that_turns_bad_later_is_named_at_its_save(manager: CheckpointManager) -> None:
    with checkpointed("job", every(items=2), manager=manager) as cp:
        cp.tick()
        cp.state["bad"] = {1, 2}
        with pytest.raises(StateEncodeError, match=r"\$\.state\.bad"):
            cp.tick()
        cp.state["bad"] = [1, 2]
        cp.tick()
        assert saved(manager).state == {"bad": [1, 2]}


def test_semantics_10_a_tuple_is_warned_of_once_with_its_path(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.state["pair"] = {"at": (1, 2)}
        with pytest.warns(UserWarning, match=r"\$\.state\.pair\.at is a tuple and will come back as a list"):
            cp.tick()
        cp.save()
        cp.save()
        assert saved(manager).state == {"pair": {"at": [1, 2]}}


def test_semantics_10_loading_executes_nothing(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "exploded"),)

    (tmp_path / ".checkpoint_job.json").write_bytes(pickle.dumps(Bomb()))

    with pytest.raises(CheckpointCorruptError), checkpointed("job", store=tmp_path):
        pytest.fail("the block must not be entered")
    assert not (tmp_path / "exploded").exists()


# -- semantics 11: ids ------------------------------------------------------------------------------------------------


@given(ids=st.sets(st.text(min_size=1, max_size=300), min_size=2, max_size=4))
@settings(max_examples=40, deadline=None)
def test_semantics_11_any_text_is_an_id_and_no_two_share_a_checkpoint(
    ids: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("ids")
    manager = CheckpointManager(directory, save_strategy=NEVER)
    for operation_id in ids:
        with stopped(), checkpointed(operation_id, manager=manager) as cp:
            assert not cp.resumed
            cp.state["id"] = operation_id
            raise Stop

    for operation_id in ids:
        with stopped(), checkpointed(operation_id, manager=manager) as cp:
            assert cp.state == {"id": operation_id}
            raise Stop
    assert {path.parent for path in directory.rglob("*")} == {directory}


# -- mismatches -------------------------------------------------------------------------------------------------------


def test_a_resume_with_other_arguments_is_refused_with_the_difference(manager: CheckpointManager) -> None:
    with stopped(), checkpointed("job", manager=manager, arguments={"depth": 3, "lang": "en"}) as cp:
        cp.tick()
        raise Stop

    with (
        pytest.raises(InputChangedError) as raised,
        checkpointed("job", manager=manager, arguments={"depth": 5, "lang": "en"}),
    ):
        pytest.fail("the block must not be entered")

    assert raised.value.differences == ["depth was 3, is 5"]
    assert any("ignore_arguments=('depth',)" in way for way in raised.value.ways_out)
    with checkpointed("job", manager=manager, arguments={"depth": 3, "lang": "en", "new": 1}) as cp:
        assert cp.resumed


def test_a_checkpoint_without_arguments_can_be_resumed_with_some(manager: CheckpointManager) -> None:
    left_after(manager, {})

    with checkpointed("job", manager=manager, arguments={"depth": 5}) as cp:
        assert cp.resumed


# -- durable collections ----------------------------------------------------------------------------------------------


def test_a_tuple_among_the_arguments_is_the_same_in_the_next_run(manager: CheckpointManager) -> None:
    for resumed in (False, True):
        with stopped(), checkpointed("job", manager=manager, arguments={"sizes": (1, 2)}) as cp:
            assert cp.resumed is resumed
            cp.tick()
            raise Stop


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda cp: cp.tick(0.5), id="half an item"),
        pytest.param(lambda cp: cp.tick(-3), id="less than no item"),
        pytest.param(lambda cp: setattr(cp.metadata, "total_items", 10.0), id="a float for a count"),
        pytest.param(lambda cp: setattr(cp.metadata, "tool_name", 3), id="a number for a text"),
        pytest.param(lambda cp: cp.metadata.extra.update(total_items="q"), id="an extra key of a known name"),
        pytest.param(lambda cp: cp.metadata.extra.update(a={1: 2}), id="a key that JSON would change"),
        pytest.param(lambda cp: cp.metadata.extra.update(a=float("nan")), id="what JSON cannot hold"),
    ],
)
@pytest.mark.parametrize("size", [0, 20_000], ids=["small", "in the journal"])
def test_what_could_not_be_loaded_again_is_not_saved(
    spoil: Callable[[Checkpoint], object], size: int, tmp_path: Path
) -> None:
    manager = CheckpointManager(tmp_path, save_strategy=every(items=1))
    with pytest.raises(StateEncodeError, match=r"\$\.metadata"), checkpointed("job", manager=manager) as cp:  # noqa: PT012
        cp.state["padding"] = "x" * size
        cp.save()
        spoil(cp)
        cp.save()

    assert saved(manager).metadata.processed_items == 0


@pytest.mark.parametrize("kind", ["mapping", "set", "log"])
def test_the_name_of_a_collection_is_a_string(kind: str, manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        with pytest.raises(TypeError, match="must be a str"):
            getattr(cp, kind)(3)
        cp.state[3] = getattr(cp, kind)("good")  # type: ignore[index]
        with pytest.raises(StateEncodeError, match="the key 3 is not a string"):
            cp.save()


@pytest.mark.parametrize("kind", ["mapping", "set", "log"])
def test_a_collection_under_two_names_is_refused_with_both(kind: str, manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.state["copy"] = getattr(cp, kind)("pages")
        with pytest.raises(StateEncodeError, match=r"\$\.state\.copy .* \$\.state\.pages itself"):
            cp.save()
        del cp.state["copy"]
        cp.save()

        assert saved(manager).state.keys() == {"pages"}


def test_durable_collections_come_back_as_what_they_were(tmp_path: Path) -> None:
    with stopped(), checkpointed("job", store=tmp_path) as cp:
        cp.mapping("files").update(a=1, b=[2])
        cp.set("seen").update({"x", "y"})
        cp.log("rows").extend([1, {"two": 2}])
        raise Stop

    with checkpointed("job", store=tmp_path) as cp:
        assert cp.mapping("files") == {"a": 1, "b": [2]}
        assert cp.set("seen") == {"x", "y"}
        assert cp.log("rows") == [1, {"two": 2}]
        assert cp.mapping("files") is cp.state["files"]


def test_a_name_holds_one_kind_of_collection(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.mapping("files")
        with pytest.raises(TypeError, match=r"\$\.state\.files is a durable mapping, not a set"):
            cp.set("files")


def test_saves_go_to_the_journal_and_come_back(tmp_path: Path) -> None:
    with stopped(), checkpointed("job", NEVER, store=tmp_path) as cp:
        files = cp.mapping("files")
        files.update({str(n): {"sha": "x" * 40} for n in range(500)})
        cp.save()
        whole = (tmp_path / ".checkpoint_job.json").read_bytes()
        for n in range(500, 520):
            files[str(n)] = {"sha": "y"}
            cp.save()
        assert (tmp_path / ".checkpoint_job.json").read_bytes() == whole
        raise Stop

    with checkpointed("job", store=tmp_path) as cp:
        assert len(cp.mapping("files")) == 520
        assert cp.metadata.save_count == 22


# -- threads and processes --------------------------------------------------------------------------------------------


@pytest.fixture
def _busy_threads() -> Any:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def in_threads(count: int, work: Any) -> list[BaseException]:
    """Run *work* in so many threads at once; what they raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.usefixtures("_busy_threads")
def test_thirty_two_threads_tick_one_checkpoint_and_the_count_is_exact(manager: CheckpointManager) -> None:
    with checkpointed("job", every(items=997), manager=manager) as cp:
        errors = in_threads(32, lambda: [cp.tick() for _ in range(5_000)])

        assert errors == []
        assert cp.processed_items == 160_000
        assert cp.metadata.save_count >= 150
        cp.save()
        assert saved(manager).metadata.processed_items == 160_000


@pytest.mark.usefixtures("_busy_threads")
def test_threads_may_observe_and_count_errors_while_others_save(manager: CheckpointManager) -> None:
    with checkpointed("job", every(items=50), manager=manager) as cp:

        def work() -> None:
            for _ in range(100):
                # Of one window, the lowest number stays: a thread may be held up between asking and telling.
                cp.observe(remaining=next(left), limit=5000, reset_at=reset_at)
                cp.error()
                cp.tick()

        left = iter(range(4000, 0, -1))
        reset_at = manager.clock.utc().timestamp() + 3600
        errors = in_threads(16, work)

        assert errors == []
        assert cp.metadata.error_count == cp.processed_items == 1600
        assert cp.metadata.rate_limit_remaining == 4000 - 1599


def test_a_thread_held_up_in_observe_does_not_undo_what_another_observed(
    manager: CheckpointManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_held, may_go = threading.Event(), threading.Event()
    observe = Session.observe

    def held_up(session: Session, remaining: int, total: int | None) -> None:
        if remaining == 40:
            is_held.set()
            may_go.wait(0.3)
        observe(session, remaining, total)

    monkeypatch.setattr(Session, "observe", held_up)
    with checkpointed("job", manager=manager) as cp:
        older = threading.Thread(target=lambda: cp.observe(remaining=40, limit=50))
        older.start()
        assert is_held.wait(10)
        cp.observe(remaining=39, limit=50)
        may_go.set()
        older.join()

        assert cp.metadata.rate_limit_remaining == 39


@pytest.mark.slow
@pytest.mark.usefixtures("_busy_threads")
def test_threads_may_add_to_the_state_while_another_saves(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, save_strategy=every(items=1))
    names = iter(range(10**9))

    def work() -> None:
        for _ in range(60):
            cp.state[f"key {next(names)}"] = [1, 2]
            cp.tick()

    with stopped(), checkpointed("job", manager=manager) as cp:
        errors = in_threads(8, work)
        raise Stop

    assert errors == []
    assert len(saved(manager).state) == 480


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("way_out", ["os._exit", "the end of the block", "an error"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_writes_nothing_and_owns_nothing(way_out: str, tmp_path: Path) -> None:
    with checkpointed("job", every(items=1), store=tmp_path) as cp:
        cp.state["by"] = "parent"
        cp.tick()
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        child = os.fork()
        if child == 0:
            code = 1
            try:
                cp.state["by"] = "child"
                for save in (lambda: cp.tick(5), cp.save):
                    with pytest.raises(StoreError, match="from which this one was forked"):
                        save()
                if way_out != "os._exit":
                    cp.leave_block(None if way_out == "the end of the block" else Stop())
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
        assert saved(CheckpointManager(tmp_path)).state == {"by": "parent"}
        with pytest.raises(CheckpointBusyError), checkpointed("job", store=tmp_path):
            pytest.fail("the parent must still own it")
        cp.tick()
        assert saved(CheckpointManager(tmp_path)).metadata.processed_items == 2


# -- what it says -----------------------------------------------------------------------------------------------------


def test_saves_are_logged_under_a_stable_name(manager: CheckpointManager, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "resumable")

    with checkpointed("job", manager=manager) as cp:
        cp.save("Mine")

    assert "job: saved (Mine)" in caplog.messages


def test_the_document_tells_its_runs(tmp_path: Path) -> None:
    for _ in range(3):
        left_after(CheckpointManager(tmp_path, save_strategy=NEVER), {}, items=2)

    history = json.loads((tmp_path / ".checkpoint_job.json").read_text())["resumable"]["history"]

    assert [run["run"] for run in history] == [1, 2, 3]
    assert [run["items"] for run in history] == [2, 4, 6]
    assert {run["reason"] for run in history} == {"Interrupted: Stop"}


def test_every_error_of_ours_is_one_kind() -> None:
    for error in (CheckpointBusyError("a"), InputChangedError("a", [], []), StateEncodeError("$", ""), StoreError("")):
        assert isinstance(error, ResumableError)


# -- how a loop is gone through


def test_a_loop_is_not_pulled_by_another_thread(tmp_path: Path) -> None:
    """``pool.imap`` takes items ahead of the work, in a thread of its own."""
    caught: list[BaseException] = []

    def pull(loop: Any) -> None:
        try:
            list(loop)
        except RuntimeError as error:
            caught.append(error)

    with checkpointed("job", every(items=1), store=tmp_path) as cp:
        loop = iter(cp.remaining([1, 2, 3]))
        thread = threading.Thread(target=pull, args=(loop,))
        thread.start()
        thread.join()
        cp.keep()

    assert "use cp.map(fn, items)" in str(caught[0])
    with checkpointed("job", every(items=1), store=tmp_path) as cp:
        assert list(cp.remaining([1, 2, 3])) == [1, 2, 3]


@pytest.mark.parametrize("around", ["enumerate", "zip"])
def test_numbers_around_a_loop_that_goes_on_are_told(
    around: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run() -> None:
        with checkpointed("job", every(items=1), store=tmp_path) as cp:
            loop = cp.remaining(["ab", "def", "x"])
            pairs = enumerate(loop) if around == "enumerate" else zip([0, 1, 2], loop, strict=False)
            for _, item in pairs:
                if item == "def" and not cp.resumed:
                    raise ConnectionError

    with caplog.at_level(logging.WARNING, logger="resumable"):
        with pytest.raises(ConnectionError):
            run()
        assert caplog.messages == []
        run()

    assert caplog.messages == [
        f"job: the loop goes on at item 1, but {around}() around it begins anew; put it inside: "
        f"cp.remaining({around}(...))"
    ]


def test_numbers_inside_a_loop_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    def run() -> None:
        with checkpointed("job", every(items=1), store=tmp_path) as cp:
            for number, item in cp.remaining(enumerate("abc")):
                if item == "b" and not cp.resumed:
                    raise ConnectionError
                seen.append((number, item))

    with pytest.raises(ConnectionError):
        run()
    run()

    assert seen == [(0, "a"), (1, "b"), (2, "c")]
    assert caplog.messages == []


def test_an_error_after_a_loop_says_that_its_items_count_as_done(tmp_path: Path) -> None:
    def work() -> None:
        with checkpointed("job", every(items=1), store=tmp_path) as cp:
            items = list(cp.remaining([1, 2, 3]))
            raise OSError(items)

    with pytest.raises(OSError, match="1, 2, 3") as caught:
        work()

    assert "Its loops had come to their end, so all items count as done" in caught.value.__notes__[-1]
