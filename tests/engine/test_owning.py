"""An operation whose owner is silent: waited for, or taken over."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    CheckpointBusyError,
    StaleCheckpointError,
    checkpointed,
    every,
    read,
)
from resumable.stores import Holder
from resumable.stores._medium import Parameters
from resumable.stores._sql import open_url
from tests.support.owners import other_process

ELSEWHERE = Holder("elsewhere", 7, "2026-01-01T00:00:00+00:00", nonce="theirs")
"""An owner that never renews its lease."""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # where what cannot be saved is kept
    return f"sqlite:///{tmp_path}/store.db"


def left_behind(url: str, seconds: float) -> Any:
    """The lease of a silent owner of "job"; it lasts that many seconds."""
    return open_url(url, Parameters()).claim("job", ELSEWHERE, ttl=seconds)


@pytest.mark.slow
def test_a_run_waits_for_the_rest_of_a_silent_owners_lease(url: str, caplog: pytest.LogCaptureFixture) -> None:
    began = time.monotonic()
    left_behind(url, 4)
    with checkpointed("job", store=url) as cp:
        cp.tick()

    assert time.monotonic() - began >= 3.9
    (told,) = [record.getMessage() for record in caplog.records if "works on it" in record.getMessage()]
    assert "process 7 on elsewhere works on it, silent for" in told
    assert "take_over=True does so now" in told


@pytest.mark.slow
async def test_async_code_waits_without_holding_up_its_loop(url: str) -> None:
    import asyncio

    theirs = left_behind(url, 3600)

    async def release_in_time() -> None:
        for _ in range(20):
            await asyncio.sleep(0.01)
        theirs.release()

    releasing = asyncio.create_task(release_in_time())
    async with checkpointed("job", store=url):
        await releasing


def test_a_run_does_not_wait_if_it_takes_over(url: str) -> None:
    left_behind(url, 3600)
    with checkpointed("job", store=url, take_over=True) as cp:
        cp.tick()


def test_who_was_taken_over_from_is_not_said_to_be_killed(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The one that lost it says so once; the history says what has ended it."""
    with pytest.raises(StaleCheckpointError), checkpointed("job", every(items=1), store=url) as cp:  # noqa: PT012
        for number in cp.remaining(range(5)):
            if number == 2:
                with pytest.raises(OSError, match="left"), checkpointed("job", store=url, take_over=True) as other:  # noqa: PT012
                    assert other.resumed
                    raise OSError("left")
    runs = read("job", store=url).history

    assert [run.reason for run in runs] == ["Interrupted: TakenOver", "Interrupted: OSError"]
    assert "taken over" not in caplog.text


@pytest.mark.slow
def test_an_owner_that_answers_is_not_replaced(url: str) -> None:
    url += "?lease=10"
    with other_process(url) as process:
        with pytest.raises(CheckpointBusyError) as caught, checkpointed("job", store=url):
            pass
        assert caught.value.pid == process.pid
        assert "take_over=True" in str(caught.value)
