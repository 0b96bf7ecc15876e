"""The values: a context that can be assigned to, and what counts as left out of it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from resumable import CheckpointContext
from resumable._models import LEFT_OUT


def pickled(context: CheckpointContext) -> CheckpointContext:
    again: CheckpointContext = pickle.loads(pickle.dumps(context))
    return again


def test_a_context_can_be_assigned_to() -> None:
    context = CheckpointContext(processed_items=1)

    context.processed_items += 1
    context.elapsed_time += 0.5

    assert context == CheckpointContext(processed_items=2, elapsed_time=0.5)


def test_a_context_takes_no_other_names() -> None:
    """A misspelled field would be a number that no strategy ever sees."""
    with pytest.raises(AttributeError):
        CheckpointContext().procesed_items = 1  # type: ignore[attr-defined]


def test_a_time_that_was_assigned_is_no_longer_left_out() -> None:
    context = CheckpointContext()
    assert context.last_save_time is LEFT_OUT

    context.last_save_time = 0.0
    context.elapsed_time += 0.0

    assert context.last_save_time is not LEFT_OUT
    assert context.elapsed_time is not LEFT_OUT


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_what_was_left_out_is_left_out_of_a_copy(copied: Callable[[CheckpointContext], CheckpointContext]) -> None:
    """A copied 0.0 would stand as if the caller had written it."""
    again = copied(CheckpointContext(last_save_time=3.0))

    assert again.elapsed_time is LEFT_OUT
    assert again.last_save_time == 3.0
