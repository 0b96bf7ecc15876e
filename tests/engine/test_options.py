"""The arguments of a block: refused at once if they are wrong, and compared with those of the earlier run."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from resumable import InputChangedError, StateEncodeError, checkpointed
from resumable.testing import MemoryStore


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        pytest.param({"strategy": 5}, TypeError, "strategy must be one such as every", id="strategy"),
        pytest.param({"resume": 1}, TypeError, "resume must be True or False", id="resume"),
        pytest.param({"total": True}, TypeError, "total must be an int", id="total"),
        pytest.param({"total": -1}, ValueError, "total must be >= 0", id="a total below 0"),
        pytest.param({"state": "State"}, TypeError, "state must be a type", id="state"),
        pytest.param({"arguments": [1]}, TypeError, "arguments must be a dict", id="arguments"),
        pytest.param({"arguments": {"day": datetime.date.today}}, StateEncodeError, "day", id="arguments in JSON"),
        pytest.param({"on_save_error": "ignore"}, ValueError, "'raise' or 'warn'", id="on_save_error"),
        pytest.param({"on_store_error": "warn"}, ValueError, "'raise' or 'continue'", id="on_store_error"),
        pytest.param({"patience": -1}, ValueError, "patience must be a number", id="patience"),
        pytest.param({"patience": float("nan")}, ValueError, "patience must be a number", id="patience is none"),
        pytest.param({"when_done": "again"}, ValueError, "'restart' or 'skip'", id="when_done"),
        pytest.param({"nan": "keep"}, ValueError, "'refuse' or 'allow'", id="nan"),
        pytest.param({"on_exhausted": "stop"}, ValueError, "on_exhausted must be", id="on_exhausted"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_opened(
    options: dict[str, Any], error: type[Exception], told: str
) -> None:
    store = MemoryStore()

    with pytest.raises(error, match=told), checkpointed("job", store=store, **options):
        pytest.fail("the block began")
    assert list(store.list()) == []


def test_arguments_that_differ_are_told_and_secrets_are_not() -> None:
    store = MemoryStore()
    with checkpointed("job", store=store, arguments={"year": 2025, "pair": (1, 2), "token": "ghp_abc"}) as cp:
        cp.keep()

    with checkpointed("job", store=store, arguments={"year": 2025, "pair": (1, 2), "token": "ghp_xyz"}) as cp:
        cp.keep()
    with (
        pytest.raises(InputChangedError) as caught,
        checkpointed("job", store=store, arguments={"year": 2026, "token": "ghp_xyz"}),
    ):
        pytest.fail("the block began")

    assert "year was 2025, is 2026" in str(caught.value)
    assert "ghp_" not in str(caught.value)
