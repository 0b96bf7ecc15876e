"""Errors: a tree, facts as attributes, and all of it after a pickle."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import resumable
from resumable import _errors
from resumable._errors import (
    BudgetExhausted,
    CheckpointBusyError,
    CheckpointCorruptError,
    CheckpointNotFoundError,
    InputChangedError,
    RateLimitExhausted,
    ResumableError,
    RunAgain,
    StaleCheckpointError,
    StateEncodeError,
    StoreBehindError,
    StoreError,
    TooManyFailedError,
    UnknownOutcomeError,
)

ERRORS: list[BaseException] = [
    StoreError("disk full", is_transient=True),
    CheckpointCorruptError("job", "/a/checkpoint_job.json", "cut off", "/a/previous"),
    CheckpointBusyError("job", "host", 7, "2026-01-01T00:00:00+00:00", lease_left=3.0, silent_for=1.0, lease="x"),
    StaleCheckpointError("job", "host", 7),
    StoreBehindError("job"),
    CheckpointNotFoundError("job", "/a", ["jobs"]),
    InputChangedError("job", ["items[3] differs"], ["start over"]),
    UnknownOutcomeError("killed meanwhile", "key", ["look"]),
    StateEncodeError("$.state.a", "a lock"),
    TooManyFailedError("job", 3, 9, 0.1, "ValueError: no"),
    RateLimitExhausted(1e9, "core"),
    RunAgain("job", "the time is up"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_comes_from_another_process_with_all_its_facts(error: BaseException, copied: Any) -> None:
    again = copied(error)

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("name", [name for name in resumable.__all__ if hasattr(_errors, name)])
def test_every_public_error_stands_in_the_tree(name: str) -> None:
    kind = getattr(_errors, name)

    assert f" {name} " in (_errors.__doc__ or "").replace("\n", " ")
    assert kind is ResumableError or issubclass(kind, ResumableError | SystemExit)


def test_to_run_again_is_no_error_of_an_item() -> None:
    assert not issubclass(RunAgain, Exception)
    assert issubclass(BudgetExhausted, RunAgain)
    assert RunAgain("job", "the time is up").code == _errors.RUN_AGAIN


def test_a_damaged_checkpoint_in_memory_names_what_reaches_it() -> None:
    text = str(CheckpointCorruptError("job", "memory:job", "it is not valid JSON", "memory:job"))

    assert "delete_checkpoint('job')" in text
    assert "move memory" not in text
    assert "repair" not in text
