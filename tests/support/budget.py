"""How many calls, and files of the library, one deed of a loop walks through: ``python -m tests.support.budget``.

Each deed is done a few times first: what is loaded or remembered once does not count. ``-v`` lists the calls.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import resumable
from resumable import Checkpoint, checkpointed, every

PACKAGE = str(Path(resumable.__file__).parent)
GENERATED = "<string>"
"""Where the methods of dataclasses and named tuples are written."""
PADDING = {f"{number}": "x" * 90 for number in range(200)}
WARM = 3


class Cost(NamedTuple):
    """What a deed takes."""

    calls: int
    files: int


def cost_of(deed: Callable[[], object]) -> Cost:
    calls: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and (file == GENERATED or file.startswith(PACKAGE)):
            calls.append((file.removeprefix(PACKAGE), frame.f_code.co_name))

    sys.setprofile(note)
    try:
        deed()
    finally:
        sys.setprofile(None)
    if "-v" in sys.argv:
        print(*(f"    {file} {name}" for file, name in calls), sep="\n", file=sys.stderr)
    return Cost(len(calls), len({file for file, _ in calls} - {GENERATED}))


def costs_with(directory: str, holds_mapping: bool) -> dict[str, Cost]:
    """A save, an idle tick and an opening, of a checkpoint whose saves go to a journal."""

    def change(cp: Checkpoint[dict[str, Any]], number: int) -> None:
        if holds_mapping:
            cp.mapping("files")[f"new {number}"] = number
        else:
            cp.state["n"] = number

    def opened() -> Any:
        return checkpointed("job", every(hours=9), store=directory, auto_cleanup=False)

    with checkpointed("job", every(items=1), store=directory, auto_cleanup=False) as cp:
        if holds_mapping:
            cp.mapping("files").update(PADDING)
        else:
            cp.state["files"] = dict(PADDING)
        cp.save()
        for number in range(WARM):
            change(cp, number)
            cp.tick()
        change(cp, WARM)
        a_save = cost_of(cp.tick)
    assert list(Path(directory).glob("*.journal")), "the saves did not go to a journal"
    for _ in range(WARM):
        with opened() as cp:
            cp.tick()
            idle = cost_of(cp.tick)
    block = opened()
    opening = cost_of(lambda: block.__enter__().state)
    block.__exit__(None, None, None)
    return {"save": a_save, "idle tick": idle, "opening": opening}


def costs() -> dict[str, Cost]:
    found = {}
    for kind, holds_mapping in (("state", False), ("mapping", True)):
        with tempfile.TemporaryDirectory() as directory:
            for deed, cost in costs_with(directory, holds_mapping).items():
                found[f"{deed}, {kind}"] = cost
    return found


if __name__ == "__main__":
    print(json.dumps(costs()))
