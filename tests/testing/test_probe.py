"""The moments at which a proof can stop a run."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from resumable import checkpointed, every
from resumable.testing._probe import Opening, Place, Probe, SimulatedKill, installed


@pytest.mark.parametrize(
    ("kind", "items", "saves", "told"),
    [
        ("line", 3, 1, "after item 3 and save 1, before this line ran"),
        ("tick", 3, 0, "at the tick of item 3, after no save, before it saved"),
        ("tick", 0, 0, "before the first item, after no save"),
        ("ticked", 3, 2, "right after the tick of item 3 and save 2"),
        ("save", 3, 0, "right before save 1 was written, at item 3"),
        ("saved", 3, 1, "right after save 1 stood, at item 3"),
        ("finalize", 9, 4, "at the end of the block, after item 9"),
    ],
)
def test_a_moment_reads_well(kind: str, items: int, saves: int, told: str) -> None:
    assert str(Place(kind, items, saves, "", 0)) == told


def test_an_opening_says_where_it_goes_on() -> None:
    assert str(Opening("job", resumed=True, items=3)) == "'job' resumed after item 3"
    assert str(Opening("job", resumed=False, items=0)) == "'job' began anew"


def test_a_loop_can_be_left_by_an_error_where_its_body_runs(tmp_path: Path) -> None:
    source = tmp_path / "loops.py"
    source.write_text("for x in y:\n    fetch(x)\n")

    assert not Place("line", 0, 0, str(source), 1).can_fail
    assert Place("line", 0, 0, str(source), 2).can_fail
    assert not Place("save", 0, 0, str(source), 2).can_fail
    assert Place("line", 0, 0, str(source), 2).source.endswith("loops.py:2: fetch(x)")


@pytest.mark.parametrize("kind", ["tick", "ticked", "save", "saved", "finalize"])
def test_a_run_is_stopped_at_the_moment_that_is_asked_for(kind: str, tmp_path: Path) -> None:
    def stop(probe: Probe) -> NoReturn:
        probe.kill()

    probe = Probe(lambda place: place.kind == kind and (place.items > 1 or kind == "finalize"), stop, lines=False)
    begun = []
    with (
        pytest.raises(SimulatedKill),
        installed(probe),
        checkpointed("job", every(items=1), store=tmp_path) as cp,
    ):
        begun.extend(cp.remaining(range(4)))

    assert probe.stopped is not None
    assert (probe.stopped.kind, probe.stopped.items) == (kind, 4 if kind == "finalize" else 2)


def test_a_killed_run_has_not_saved_on_its_way_out(tmp_path: Path) -> None:
    def stop(probe: Probe) -> NoReturn:
        probe.kill()

    probe = Probe(lambda place: place.kind == "tick" and place.items == 3, stop, lines=False)
    with pytest.raises(SimulatedKill), installed(probe), checkpointed("job", every(items=2), store=tmp_path) as cp:
        list(cp.remaining(range(9)))

    with checkpointed("job", store=tmp_path) as cp:
        assert next(iter(cp.remaining(range(9)))) == 2
