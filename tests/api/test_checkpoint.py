"""One operation in a ``with`` block: what is saved when, what comes back, and how the block may be left."""

from __future__ import annotations

import json
import logging
import os
import pickle
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
    CheckpointManager,
    InputChangedError,
    ResumableError,
    StateEncodeError,
    StoreError,
    checkpointed,
    every,
    rate_limit_below,
)
from resumable.testing import FaultyStore, ManualClock, MemoryStore
from tests.support.blocks import NEVER, Stop, left_after, saved, stopped
from tests.support.stores import document, keys, put

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


def test_a_state_that_is_no_dict_any_more_cannot_be_saved(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.state = [1]  # type: ignore[assignment]
        with pytest.raises(StateEncodeError, match="must stay a dict, not become a list"):
            cp.save()
        cp.state = {}


def test_created_at_stays_and_last_updated_moves(manager: CheckpointManager, clock: ManualClock) -> None:
    for _ in range(2):
        left_after(manager, {})
        clock.advance(60)

    data = saved(manager)
    assert (data.last_updated - data.created_at).total_seconds() == 60


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
    """Simulate a kill by copying the store: nothing that the dying run does later reaches the copy."""
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


@pytest.mark.slow
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


# -- durable collections ----------------------------------------------------------------------------------------------


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
        f"job: the loop goes on at item 1, but {around}() around it starts from its beginning.\n  Put it inside: "
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

    assert "Its loops had reached their end, so all items count as done" in caught.value.__notes__[-1]
