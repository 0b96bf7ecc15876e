"""The block: its arguments, its entry, its ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resumable import (
    CheckpointCorruptError,
    CheckpointManager,
    InputChangedError,
    SaveStrategy,
    StateEncodeError,
    StoreError,
    checkpointed,
    current_checkpoint,
)
from resumable.testing import FaultyStore, MemoryStore
from tests.support.blocks import Stop, left_after, saved, stopped


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


def test_semantics_2_a_failed_entry_owns_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".checkpoint_job.json"
    path.write_text("no JSON")
    for _ in range(2):
        with pytest.raises(CheckpointCorruptError), checkpointed("job", store=tmp_path):
            pytest.fail("the block must not be entered")

    path.unlink()
    with checkpointed("job", store=tmp_path) as cp:
        assert not cp.resumed


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


def test_a_tuple_among_the_arguments_is_the_same_in_the_next_run(manager: CheckpointManager) -> None:
    for resumed in (False, True):
        with stopped(), checkpointed("job", manager=manager, arguments={"sizes": (1, 2)}) as cp:
            assert cp.resumed is resumed
            cp.tick()
            raise Stop
