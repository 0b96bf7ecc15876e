"""Jobs that a proof runs: what they return, and what is wrong with them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from resumable import checkpointed
from resumable.testing import ProofFailed, prove_resumable

ITEMS = ["a", "bb", "ccc", "dddd", "eeeee"]


sent: list[Any] = []


def kinds(failure: ProofFailed) -> set[str]:
    return {finding.kind for finding in failure.proof.findings}


def failure_of(job: Callable[..., Any], **options: Any) -> ProofFailed:
    with pytest.raises(ProofFailed) as caught:
        prove_resumable(job, effects=sent, **options)
    return caught.value


@pytest.mark.slow
def test_a_second_run_that_raises_is_told_with_its_error() -> None:
    def job() -> None:
        with checkpointed("job") as cp:
            if cp.resumed:
                raise ValueError("no such file")
            for _ in cp.remaining(ITEMS):
                pass

    assert "ValueError: no such file" in str(failure_of(job))


@pytest.mark.slow
def test_a_job_that_makes_no_progress_is_found() -> None:
    def job() -> None:
        with checkpointed("job", resume=False) as cp:
            for _ in cp.remaining(ITEMS):
                pass

    assert "no progress" in kinds(failure_of(job))


def test_a_job_that_fails_by_itself_is_no_finding() -> None:
    def job() -> None:
        with checkpointed("job"):
            raise ValueError("of its own")

    with pytest.raises(RuntimeError, match="fails even when nothing stops it: ValueError: of its own"):
        prove_resumable(job)


def test_a_job_without_a_checkpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="opened no checkpoint"):
        prove_resumable(lambda: 1)


@pytest.mark.slow
def test_swallowing_the_kill_does_not_help() -> None:
    def job() -> int:
        total = 0
        with checkpointed("job") as cp:
            for item in cp.remaining(ITEMS):
                with contextlib.suppress(BaseException):
                    cp.save()
                total += len(item)
        return total

    assert "result diverged" in kinds(failure_of(job))
