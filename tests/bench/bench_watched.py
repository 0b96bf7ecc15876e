"""What being watched costs a loop: ``python -m tests.bench.bench_watched``.

Without and with the files that others watch a run by, functions that are told of events, and OpenTelemetry. The
differences should be lost in the noise between two rounds. Times are of the processor, in the loop's own thread: a
machine that is busy with other things does not count.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

from resumable import OpenTelemetry, checkpointed, every

ITEMS, SAVES, TINY = 20_000_000, 1000, 20


def seconds(items: int, *strategy: Any, **options: Any) -> float:
    began = time.thread_time()
    with checkpointed("watched", *strategy, **options) as cp:
        for _ in cp.remaining(range(items)):
            pass
    return time.thread_time() - began


def main() -> None:
    nothing: Callable[[object], None] = lambda event: None  # noqa: E731
    with tempfile.TemporaryDirectory() as home:
        ways: dict[str, tuple[str, dict[str, Any]]] = {
            "unwatched": ("off", {}),
            "watched": (f"{home}/state", {}),
            "and told": (f"{home}/state", {"on_event": nothing}),
            "and traced": (f"{home}/state", {"on_event": [nothing, OpenTelemetry()]}),
        }
        for _ in range(2):
            for name, (index, options) in ways.items():
                os.environ["RESUMABLE_INDEX"] = index
                options |= {"store": f"{home}/ck"}
                item = min(seconds(ITEMS, **options) for _ in range(2)) / ITEMS * 1e9
                save = min(seconds(SAVES, every(items=1), **options) for _ in range(2)) / SAVES * 1e6
                tiny = min(seconds(3, **options) for _ in range(TINY)) * 1e3
                print(f"{name:<11} {item:6.1f} ns an item  {save:8.1f} us a save  {tiny:6.2f} ms a run of 3 items")


if __name__ == "__main__":
    main()
