"""The command line, called in this process; and runs for it to show."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from click.testing import CliRunner, Result

from resumable import checkpointed
from resumable.cli._commands import commands

JOB = """
import sys, time
from resumable import checkpointed, every
from resumable._report import presence
presence._BEAT_SECONDS, presence._PULSE_SECONDS = 0.05, 0.0
with checkpointed("job", every(seconds=0.2)) as cp:
    for number in cp.remaining(range(100_000)):
        time.sleep(0.01)
        if number == 40:
            cp.fail(number, "no")
            print("begun", flush=True)
"""
"""Works until it is stopped; says when it has begun."""


def resumable(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(commands, list(arguments), input=answer, catch_exceptions=False)


def document(*arguments: str) -> Any:
    """What the command prints as JSON."""
    result = resumable(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def run(operation_id: str, error: BaseException | None = None, items: int = 3, of: int = 10, **options: Any) -> None:
    """One run that is left by *error* after *items* of *of*."""
    with contextlib.suppress(BaseException), checkpointed(operation_id, auto_cleanup=False, **options) as cp:
        for item in cp.remaining(range(of)):
            if item == items and error is not None:
                raise error
            cp.state[f"item-{item}"] = item


def until(fact: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := fact()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
    return found


def state() -> str:
    """The state of the only job of this machine, as ``list --all`` says."""
    (one,) = json.loads(resumable("list", "--all", "--json").output)["checkpoints"]
    return str(one["state"])
