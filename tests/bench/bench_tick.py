"""What a tick and the import cost, against what people use today, in the same process. ``bench_full`` has whole saves.

Run it: ``python -m tests.bench.bench_tick``. It prints a table and ends with 1 if a target is missed. All ways take
turns in rounds, and the medians of the rounds are compared, as others use the machine, too.
"""

from __future__ import annotations

import compileall
import gc
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

import resumable
from resumable import (
    CheckpointContext,
    CheckpointManager,
    CompositeStrategy,
    ProgressBasedStrategy,
    RateLimitAwareStrategy,
    TimeBasedStrategy,
    checkpointed,
)

ITEMS = 200_000
ROUNDS = 9
IMPORTS = 40
STRATEGY = CompositeStrategy([TimeBasedStrategy(300), ProgressBasedStrategy(10**9), RateLimitAwareStrategy(0.2)])


class Ways:
    """Several ways to do the same; each round runs all of them, one after another."""

    def __init__(self, **ways: Callable[[], float]) -> None:
        self.ways = ways
        self.seen: dict[str, list[float]] = {name: [] for name in ways}

    def run(self, rounds: int) -> dict[str, float]:
        """The median of each."""
        for _ in range(rounds):
            for name, way in self.ways.items():
                gc.collect()
                self.seen[name].append(way())
        return {name: median(seen) for name, seen in self.seen.items()}


def report(what: str, ratio: float, target: float, *, at_least: bool = False) -> bool:
    is_good = ratio >= target if at_least else ratio <= target
    sign = ">=" if at_least else "<="
    print(f"  {what:<44} {ratio:8.3f}   {sign} {target:<5g} {'ok' if is_good else 'MISSED'}")
    return is_good


# -- a tick -----------------------------------------------------------------------------------------------------------


def bare() -> float:
    began = time.perf_counter_ns()
    for _ in range(ITEMS):
        pass
    return (time.perf_counter_ns() - began) / ITEMS


def tqdm_update() -> float:
    with tqdm(total=ITEMS, file=io.StringIO()) as bar:
        began = time.perf_counter_ns()
        for _ in range(ITEMS):
            bar.update()
        return (time.perf_counter_ns() - began) / ITEMS


def tick(directory: str) -> float:
    with checkpointed("bench", STRATEGY, store=directory) as cp:
        cp.tick()
        began = time.perf_counter_ns()
        for _ in range(ITEMS):
            cp.tick()
        return (time.perf_counter_ns() - began) / ITEMS


@dataclass
class LeanContext:
    """The specification's context, with nothing of ours."""

    processed_items: int = 0
    total_items: int | None = None
    rate_limit_remaining: int | None = None
    rate_limit_total: int | None = None
    elapsed_time: float = 0.0
    error_count: int = 0
    last_save_time: float = 0.0


class LeanManager:
    """The least that the specification's ``should_save`` can do: the clock, and an OR of its three strategies."""

    def __init__(self) -> None:
        self.began = self.saved = time.time()
        self.items = 0

    def should_save(self, context: LeanContext) -> tuple[bool, str]:
        context.elapsed_time = time.time() - self.began
        context.last_save_time = self.saved - self.began
        for decision in (self.by_time(context), self.by_items(context), self.by_quota(context)):
            if decision[0]:
                return decision
        return False, ""

    def by_time(self, context: LeanContext) -> tuple[bool, str]:
        waited = context.elapsed_time - context.last_save_time
        return (True, f"Time-based: {waited:.0f}s") if waited >= 300 else (False, "")

    def by_items(self, context: LeanContext) -> tuple[bool, str]:
        return (True, "Progress-based") if context.processed_items - self.items >= 10**9 else (False, "")

    def by_quota(self, context: LeanContext) -> tuple[bool, str]:
        if not context.rate_limit_total or context.rate_limit_remaining is None:
            return False, ""
        left = context.rate_limit_remaining / context.rate_limit_total
        return (True, f"Rate-limit: {left:.1%}") if left <= 0.2 else (False, "")


def by_hand(manager: Any, make: Callable[..., Any]) -> float:
    """The specification's loop: a context for each item, and the manager asked."""
    processed_files: dict[str, Any] = {}
    count = ITEMS // 10
    began = time.perf_counter_ns()
    for _ in range(count):
        context = make(processed_items=len(processed_files), rate_limit_remaining=4000, rate_limit_total=5000)
        if manager.should_save(context)[0]:
            manager.create_checkpoint("bench", state={"files": processed_files})
    return (time.perf_counter_ns() - began) / count


def ticks(directory: str) -> bool:
    ours = CheckpointManager(directory, save_strategy=STRATEGY)
    ways = Ways(
        bare=bare,
        tqdm=tqdm_update,
        tick=lambda: tick(directory),
        lean=lambda: by_hand(LeanManager(), LeanContext),
        ours=lambda: by_hand(ours, CheckpointContext),
    )
    ns = ways.run(ROUNDS)
    cost = {name: value - ns["bare"] for name, value in ns.items()}
    print(f"one item, ns over a bare loop of {ns['bare']:.0f}:")
    print(f"  tick() {cost['tick']:.0f}   tqdm.update() {cost['tqdm']:.0f}")
    print(f"  context and should_save by hand: at the least {cost['lean']:.0f}, our manager {cost['ours']:.0f}")
    good = [
        report("tick() / tqdm.update()", cost["tick"] / cost["tqdm"], 0.5),
        report("tick() / by hand, at the least", cost["tick"] / cost["lean"], 0.1),
        report("tick() / by hand, our manager", cost["tick"] / cost["ours"], 0.1),
    ]
    return all(good)


# -- the import -------------------------------------------------------------------------------------------------------


def import_seconds(statement: str) -> float:
    # CPU seconds: in those of the clock, whatever else runs would count.
    program = f"import time; began = time.process_time(); {statement}; print(time.process_time() - began)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(found.stdout)


def imports() -> bool:
    # As pip leaves it: compiled. Who changes the code under PYTHONDONTWRITEBYTECODE would measure the compiler.
    compileall.compile_dir(Path(resumable.__file__).parent, quiet=2)
    ways = Ways(base=lambda: import_seconds("import wrapt, tenacity"), ours=lambda: import_seconds("import resumable"))
    ways.run(2)  # bytecode is written, files are in memory
    ways.seen = {name: [] for name in ways.ways}
    seconds = ways.run(IMPORTS)
    print("\nimport, ms of CPU time:")
    print(f"  wrapt, tenacity {1e3 * seconds['base']:.1f}   resumable {1e3 * seconds['ours']:.1f}")
    return report("import resumable / import wrapt, tenacity", seconds["ours"] / seconds["base"], 1.15)


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        good = [ticks(directory), imports()]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
