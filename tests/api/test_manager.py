"""The manager: its numbers, its history, and what it refuses."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    CheckpointBusyError,
    CheckpointContext,
    CheckpointCorruptError,
    CheckpointManager,
    ProgressBasedStrategy,
    RateLimitAwareStrategy,
    SaveDecision,
    SaveStrategy,
    StateEncodeError,
    StoreError,
    TimeBasedStrategy,
    checkpointed,
    every,
)
from resumable._format.sections import SavedSummary, read_summary
from resumable.stores import Holder
from resumable.testing import FaultyStore, ManualClock, MemoryStore


class Recording(SaveStrategy):
    """Says what it was told to say, and remembers what it was asked with."""

    def __init__(self, answer: object = SaveDecision(False)) -> None:
        self.answer = answer
        self.contexts: list[CheckpointContext] = []

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        self.contexts.append(context)
        return self.answer  # type: ignore[return-value]


def manager_with(clock: ManualClock, strategy: SaveStrategy | None = None, store: Any = None) -> CheckpointManager:
    return CheckpointManager(save_strategy=strategy, store=store or MemoryStore(), clock=clock)


# -- arguments --------------------------------------------------------------------------------------------------------


def test_the_default_strategy_is_five_minutes() -> None:
    assert CheckpointManager(store=MemoryStore()).save_strategy == TimeBasedStrategy(300)


def test_a_directory_and_a_store_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="not both"):
        CheckpointManager("here", store=MemoryStore())


@pytest.mark.parametrize("make", [str, Path], ids=["text", "Path"])
def test_a_directory_may_be_text_or_a_path(make: Any, tmp_path: Path) -> None:
    where = CheckpointManager(make(tmp_path / "new" / "deep")).create_checkpoint("job", {})

    assert where == tmp_path / "new" / "deep" / ".checkpoint_job.json"


def test_an_id_must_be_text() -> None:
    manager = CheckpointManager(store=MemoryStore())

    for call in (manager.load_checkpoint, manager.delete_checkpoint, lambda id: manager.create_checkpoint(id, {})):
        with pytest.raises(TypeError, match="operation_id must be a str"):
            call(7)  # type: ignore[arg-type]


def test_a_state_must_be_a_dict() -> None:
    with pytest.raises(TypeError, match="state must be a dict, not list"):
        CheckpointManager(store=MemoryStore()).create_checkpoint("job", [1])  # type: ignore[arg-type]


# -- semantics 5: the caller's numbers stand --------------------------------------------------------------------------


def test_semantics_5_what_the_caller_put_into_a_context_is_not_overwritten(clock: ManualClock) -> None:
    strategy = Recording()
    manager = manager_with(clock, strategy)
    given = CheckpointContext(
        processed_items=3,
        total_items=9,
        rate_limit_remaining=5,
        rate_limit_total=10,
        elapsed_time=180.5,
        error_count=2,
        last_save_time=7.0,
        last_save_items=1,
        last_save_remaining=6,
    )
    clock.advance(1000)

    manager.should_save(given)

    assert strategy.contexts == [given]


def test_semantics_5_a_zero_that_the_caller_wrote_stands_too(clock: ManualClock) -> None:
    strategy = Recording()
    manager = manager_with(clock, strategy)
    clock.advance(1000)

    manager.should_save(CheckpointContext(elapsed_time=0.0, last_save_time=0.0))

    assert strategy.contexts[0].elapsed_time == 0
    assert strategy.contexts[0].last_save_time == 0


def test_semantics_5_what_was_left_out_is_filled_in(clock: ManualClock) -> None:
    strategy = Recording()
    manager = manager_with(clock, strategy)
    clock.advance(100)
    manager.create_checkpoint("job", {}, context=CheckpointContext(processed_items=40, rate_limit_remaining=9))
    clock.advance(60)

    manager.should_save(CheckpointContext(processed_items=50, rate_limit_remaining=8))

    asked = strategy.contexts[0]
    assert asked.elapsed_time == 160
    assert asked.last_save_time == 100
    assert asked.last_save_items == 40
    assert asked.last_save_remaining == 9


def test_a_strategy_that_answers_with_a_plain_tuple_is_understood(clock: ManualClock) -> None:
    manager = manager_with(clock, Recording((True, "Mine: now")))

    decision = manager.should_save(CheckpointContext())

    assert decision
    assert decision.reason == "Mine: now"


# -- when the next one is due -----------------------------------------------------------------------------------------


def test_time_counts_from_the_last_save(clock: ManualClock) -> None:
    manager = manager_with(clock, TimeBasedStrategy(60))
    clock.advance(61)
    assert manager.should_save(CheckpointContext())
    manager.create_checkpoint("job", {})

    clock.advance(59)
    assert not manager.should_save(CheckpointContext())
    clock.advance(1)
    assert manager.should_save(CheckpointContext())


def test_items_count_from_the_last_save(clock: ManualClock) -> None:
    manager = manager_with(clock, ProgressBasedStrategy(10))
    assert manager.should_save(CheckpointContext(processed_items=12))
    manager.create_checkpoint("job", {})

    assert not manager.should_save(CheckpointContext(processed_items=21))
    assert manager.should_save(CheckpointContext(processed_items=22))


def test_asking_twice_gives_the_same_answer(clock: ManualClock) -> None:
    manager = manager_with(clock, every(seconds=60, items=10))
    clock.advance(61)

    assert manager.should_save(CheckpointContext(processed_items=10)) == manager.should_save(
        CheckpointContext(processed_items=10)
    )


def test_a_resumed_operation_counts_its_items_from_the_loaded_ones(clock: ManualClock) -> None:
    store = MemoryStore()
    manager_with(clock, store=store).create_checkpoint("job", {}, {"processed_items": 1000})
    manager = manager_with(clock, ProgressBasedStrategy(100), store)
    manager.load_checkpoint("job")

    assert not manager.should_save(CheckpointContext(processed_items=1099))
    assert manager.should_save(CheckpointContext(processed_items=1100))


def test_the_rate_limit_strategy_fires_once_a_window(clock: ManualClock) -> None:
    manager = manager_with(clock, RateLimitAwareStrategy(0.2))
    due = []
    for remaining in (1100, 1000, 900, 100, 4900, 1100, 999, 998):
        context = CheckpointContext(rate_limit_remaining=remaining, rate_limit_total=5000)
        if manager.should_save(context):
            manager.create_checkpoint("job", {})
            due.append(remaining)

    assert due == [1000, 999]


def test_semantics_1_a_save_that_failed_does_not_count_as_one(clock: ManualClock) -> None:
    """A full disk must not push the next try one whole interval away."""
    store = FaultyStore(MemoryStore())
    manager = manager_with(clock, TimeBasedStrategy(60), store)
    clock.advance(61)
    assert manager.should_save(CheckpointContext())
    store.fail_next("write")
    with pytest.raises(StoreError):
        manager.create_checkpoint("job", {})

    assert manager.should_save(CheckpointContext())
    manager.create_checkpoint("job", {})
    loaded = manager.load_checkpoint("job")
    assert loaded is not None
    assert loaded.metadata.save_count == 1


# -- semantics 7: time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-86400, 86400], ids=["back a day", "on a day"])
def test_semantics_7_a_wall_clock_that_jumps_changes_nothing(jump: float, clock: ManualClock) -> None:
    manager = manager_with(clock, TimeBasedStrategy(60))
    clock.advance(30)
    clock.jump(jump)
    assert not manager.should_save(CheckpointContext())
    clock.advance(31)
    assert manager.should_save(CheckpointContext())


def test_semantics_7_stamps_are_utc_and_the_first_one_stays(clock: ManualClock) -> None:
    manager = manager_with(clock)
    manager.create_checkpoint("job", {})
    clock.advance(90)
    manager.create_checkpoint("job", {})

    loaded = manager.load_checkpoint("job")

    assert loaded is not None
    assert loaded.created_at.utcoffset() == timedelta(0)
    assert loaded.created_at.isoformat() == "2026-01-01T00:00:00+00:00"
    assert loaded.last_updated - loaded.created_at == timedelta(seconds=90)


# -- what is stored ---------------------------------------------------------------------------------------------------


def test_a_load_without_a_checkpoint_is_none(clock: ManualClock) -> None:
    assert manager_with(clock).load_checkpoint("job") is None


def test_delete_says_whether_there_was_one(clock: ManualClock) -> None:
    manager = manager_with(clock)
    manager.create_checkpoint("job", {})

    assert manager.delete_checkpoint("job") is True
    assert manager.delete_checkpoint("job") is False


def test_the_list_is_sorted_and_names_what_was_asked_for(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    for name in ("b", "a/b", "a_b", "ü ö", "x" * 300):
        manager.create_checkpoint(name, {"name": name})

    assert manager.list_checkpoints() == ["a/b", "a_b", "b", "x" * 300, "ü ö"]
    for name in manager.list_checkpoints():
        loaded = manager.load_checkpoint(name)
        assert loaded is not None
        assert loaded.state == {"name": name}


def test_metadata_that_is_not_named_again_is_kept(clock: ManualClock) -> None:
    manager = manager_with(clock)
    manager.create_checkpoint("job", {}, {"total_items": 10, "tool_name": "crawler", "mine": 1})
    manager.create_checkpoint("job", {}, {"processed_items": 4})

    loaded = manager.load_checkpoint("job")

    assert loaded is not None
    assert loaded.metadata.total_items == 10
    assert loaded.metadata.tool_name == "crawler"
    assert loaded.metadata["mine"] == 1
    assert loaded.metadata.get("yours", 0) == 0


def test_named_metadata_beats_the_context(clock: ManualClock) -> None:
    manager = manager_with(clock)

    manager.create_checkpoint("job", {}, {"processed_items": 5}, CheckpointContext(processed_items=4, total_items=9))

    loaded = manager.load_checkpoint("job")
    assert loaded is not None
    assert loaded.metadata.processed_items == 5
    assert loaded.metadata.total_items == 9


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"total_items": "many"}, id="text for a count"),
        pytest.param({"processed_items": -1}, id="less than none"),
        pytest.param({"error_count": True}, id="a truth for a count"),
        pytest.param({"tool_name": 7}, id="a number for a text"),
    ],
)
def test_metadata_that_could_not_be_loaded_again_is_refused_at_once(
    metadata: dict[str, Any], clock: ManualClock
) -> None:
    manager = manager_with(clock)

    with pytest.raises(ValueError, match="metadata has"):
        manager.create_checkpoint("job", {}, metadata)
    assert manager.load_checkpoint("job") is None


# -- the reason, the place and the summary of a save ------------------------------------------------------------------


def reason_of(manager: CheckpointManager) -> str | None:
    loaded = manager.load_checkpoint("job")
    assert loaded is not None
    return loaded.metadata.last_save_reason


def test_a_save_after_a_yes_has_its_reason_with_the_context_and_without(clock: ManualClock) -> None:
    manager = manager_with(clock, ProgressBasedStrategy(10))
    context = CheckpointContext(processed_items=10)

    assert manager.should_save(context)
    manager.create_checkpoint("job", {}, context=context)
    assert reason_of(manager) == "Progress-based: 10 items processed"

    assert manager.should_save(CheckpointContext(processed_items=25))
    manager.create_checkpoint("job", {})
    assert reason_of(manager) == "Progress-based: 15 items processed"


def test_a_save_that_no_yes_speaks_of_was_requested(clock: ManualClock) -> None:
    manager = manager_with(clock, ProgressBasedStrategy(10))
    context = CheckpointContext(processed_items=10)

    assert manager.should_save(context)
    manager.create_checkpoint("job", {}, context=CheckpointContext(processed_items=11))
    assert reason_of(manager) == "Requested"

    manager.create_checkpoint("job", {}, context=context)  # the yes was for the save before
    assert reason_of(manager) == "Requested"

    assert not manager.should_save(CheckpointContext(processed_items=12))
    manager.create_checkpoint("job", {})
    assert reason_of(manager) == "Requested"


def test_the_path_is_known_before_and_after_a_save(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    where = manager.checkpoint_path("my job")

    assert isinstance(where, Path)
    assert not where.exists()
    assert manager.create_checkpoint("my job", {}) == where
    assert where.exists()
    assert CheckpointManager(store=MemoryStore()).checkpoint_path("my job") == "memory:my job"
    with pytest.raises(TypeError, match="operation_id must be a str"):
        manager.checkpoint_path(7)  # type: ignore[arg-type]


class SummariesKept(MemoryStore):
    """Keeps the summary beside each save, as a database would."""

    traits = dataclasses.replace(MemoryStore.traits, keeps_summary=True)

    def __init__(self) -> None:
        super().__init__()
        self.summaries: list[SavedSummary | None] = []

    def claim(self, key: str, me: Holder, *, ttl: float | None = None, take_over: bool = False) -> Any:
        lease = super().claim(key, me, ttl=ttl, take_over=take_over)
        stage = lease.stage

        def staged(sequence: int, pieces: Iterable[bytes]) -> Callable[[bytes], None]:
            commit = stage(sequence, pieces)
            return lambda summary: (self.summaries.append(read_summary(summary)), commit(summary))[1]

        lease.stage = staged  # type: ignore[method-assign]
        return lease


def test_a_summary_tells_whether_a_run_or_a_call_of_the_manager_saved(clock: ManualClock) -> None:
    store = SummariesKept()
    manager = manager_with(clock, store=store)

    manager.create_checkpoint("job", {}, context=CheckpointContext(processed_items=3, total_items=9))
    with checkpointed("job", manager=manager) as cp:
        cp.tick()
        cp.keep()

    by_hand, run = store.summaries
    assert by_hand is not None
    assert run is not None
    assert (by_hand.items, by_hand.total, by_hand.saves, by_hand.is_by_hand) == (3, 9, 1, True)
    assert (run.items, run.total, run.saves, run.is_by_hand) == (4, 9, 2, False)


def test_two_managers_in_turn_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """What a manager remembers is good only as long as the file is the one that it wrote."""
    one, other = CheckpointManager(tmp_path), CheckpointManager(tmp_path)
    one.create_checkpoint("job", {}, {"a": 1})
    other.create_checkpoint("job", {}, {"b": 2})
    one.create_checkpoint("job", {}, {"c": 3})

    loaded = one.load_checkpoint("job")

    assert loaded is not None
    assert loaded.metadata.extra == {"a": 1, "b": 2, "c": 3}
    assert loaded.metadata.save_count == 3


def test_a_state_that_json_cannot_hold_leaves_everything_as_it_was(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    path = Path(manager.create_checkpoint("job", {"good": 1}))
    before = path.read_bytes()

    with pytest.raises(StateEncodeError, match=r"\$\.state\.files\['a b'\]\.when") as raised:
        manager.create_checkpoint("job", {"files": {"a b": {"when": {1, 2}}}})

    assert raised.value.path == "$.state.files['a b'].when"
    assert path.read_bytes() == before


def test_semantics_2_a_corrupt_checkpoint_is_neither_none_nor_overwritten(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    manager.create_checkpoint("job", {"run": 1})
    path = Path(manager.create_checkpoint("job", {"run": 2}))
    damaged = path.read_bytes().replace(b'"run": 2', b'"run": 3')
    path.write_bytes(damaged)

    with pytest.raises(CheckpointCorruptError) as raised:
        CheckpointManager(tmp_path).load_checkpoint("job")
    assert raised.value.location == str(path)
    assert "digest" in raised.value.reason
    assert raised.value.previous is not None
    with pytest.raises(CheckpointCorruptError):
        CheckpointManager(tmp_path).create_checkpoint("job", {"run": 9})
    assert path.read_bytes() == damaged


def test_semantics_2_another_operations_document_is_refused(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    path = Path(manager.create_checkpoint("job", {}))
    path.rename(tmp_path / ".checkpoint_other.json")

    with pytest.raises(CheckpointCorruptError, match="another operation, 'job'"):
        manager.load_checkpoint("other")


def test_semantics_9_while_a_loop_owns_an_operation_the_manager_may_not_write_it(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)

    with checkpointed("job", store=tmp_path) as cp:
        cp.save()
        with pytest.raises(CheckpointBusyError) as raised:
            manager.create_checkpoint("job", {})
        with pytest.raises(CheckpointBusyError):
            manager.delete_checkpoint("job")
        assert manager.load_checkpoint("job") is not None

    assert raised.value.pid == os.getpid()


def test_the_manager_reads_what_a_loop_left_and_keeps_it_when_it_writes(tmp_path: Path) -> None:
    with pytest.raises(KeyError), checkpointed("job", store=tmp_path) as cp:  # noqa: PT012
        for _ in cp.remaining(range(5)):
            if cp.processed_items == 3:
                raise KeyError
    manager = CheckpointManager(tmp_path)
    loaded = manager.load_checkpoint("job")
    assert loaded is not None
    assert loaded.metadata.processed_items == 3

    manager.create_checkpoint("job", loaded.state, {"note": "looked at"})

    with checkpointed("job", store=tmp_path) as cp:
        assert list(cp.remaining(range(5))) == [3, 4]
        assert cp.metadata["note"] == "looked at"


def test_a_context_may_be_changed_with_replace() -> None:
    context = CheckpointContext(processed_items=1)

    assert dataclasses.replace(context, processed_items=2).processed_items == 2


def test_a_context_that_is_counted_up_is_asked_with_its_new_numbers() -> None:
    """Users of the specification keep one context for the whole loop."""
    clock = ManualClock()
    manager = CheckpointManager(save_strategy=ProgressBasedStrategy(3), store=MemoryStore(), clock=clock)
    context = CheckpointContext()
    answers = []

    for _ in range(6):
        context.processed_items += 1
        answers.append(bool(manager.should_save(context)))
        if answers[-1]:
            manager.create_checkpoint("x", {}, context=context)

    assert answers == [False, False, True] * 2


def test_what_is_left_out_of_a_context_that_is_counted_up_is_filled_in_each_time() -> None:
    clock = ManualClock()
    manager = CheckpointManager(save_strategy=TimeBasedStrategy(60), store=MemoryStore(), clock=clock)
    context = CheckpointContext()

    context.error_count += 1
    clock.advance(59)
    assert not manager.should_save(context)
    clock.advance(1)
    assert manager.should_save(context)
