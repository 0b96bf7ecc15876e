"""A slice of the hostile files; the whole runs by hand, see ``fuzz_files``."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.faults.fuzz_files import fuzz, seeds, try_one

COUNT = 1_000_000 if os.environ.get("RESUMABLE_FAULTS") == "all" else 5000


def test_the_seeds_are_valid() -> None:
    assert [try_one(snapshot, journal) for snapshot, journal in seeds()] == ["loaded"] * 3


def test_only_our_own_errors_come_out(figure: Callable[[str], None]) -> None:
    outcomes, longest = fuzz(COUNT)
    assert set(outcomes) <= {"loaded", "CheckpointCorruptError"}
    assert outcomes["CheckpointCorruptError"] > COUNT / 2
    assert longest < 5
    figure(f"hostile files: {COUNT:,} inputs, 0 foreign exceptions, longest {longest * 1000:.0f} ms")
