"""The history of an operation: what it tells of each run."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from resumable import CheckpointContext, SaveDecision, SaveStrategy, auto, every, rate_limit_below
from resumable._engine.history import History
from resumable._format.sections import Run, Sections

NOW = datetime(2026, 3, 1, 14, 0, tzinfo=UTC)


class AtNoon(SaveStrategy):
    def should_save(self, context: CheckpointContext) -> SaveDecision:
        return SaveDecision(False)


def history(strategy: SaveStrategy | None = None, *runs: Run) -> History:
    sections = Sections(history=list(runs))
    return History(sections, items_before=7, began=NOW, number=len(runs) + 1, notes={}, strategy=strategy)


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        pytest.param(every(minutes=5), "every 5 min", id="seconds"),
        pytest.param(every(seconds=0.5), "every 0.5 s", id="less than a second"),
        pytest.param(every(seconds=0), "at each item", id="no seconds"),
        pytest.param(every(items=1000), "every 1,000 items", id="items"),
        pytest.param(every(items=1), "at each item", id="one item"),
        pytest.param(rate_limit_below(0.2), "once less than 20% of the quota is left", id="quota"),
        pytest.param(auto(), "auto: saves take 1.0% of the time, and are 5 min apart at most", id="automatic"),
        pytest.param(every(minutes=5) | every(items=10), "every 5 min or every 10 items", id="either"),
        pytest.param(every(minutes=5) & every(items=10), "every 5 min and every 10 items", id="both"),
        pytest.param(AtNoon(), "AtNoon", id="the user's own"),
        pytest.param(None, "", id="none"),
    ],
)
def test_a_run_tells_when_it_saves(strategy: SaveStrategy | None, told: str) -> None:
    assert history(strategy).begin().strategy == told


def test_a_run_is_one_entry_until_its_end() -> None:
    told = history(every(items=1), Run(began="2026-02-01T00:00:00+00:00", items_before=0))
    told.begin()

    told.ended("Finished", 12, at=NOW)
    told.ended("Finished", 13, at=NOW)

    assert [run.items for run in told.sections.history[1:]] == [13]
    assert told.sections.history[-1].items_before == 7
    assert told.sections.history[-1].ended == "2026-03-01T14:00:00+00:00"


def test_an_error_is_told_with_its_line_and_without_secrets() -> None:
    told = history()
    try:
        raise ValueError("no access with token=ghp_0123456789abcdefghijABCDEFGHIJ012345")
    except ValueError as error:
        told.left_by(error, ("loop", 3))

    (run,) = told.sections.history
    assert run.error is not None
    assert run.error.startswith("ValueError: no access with token=")
    assert "ghp_" not in run.error
    assert run.place is not None
    assert run.place.partition("test_history.py:")[1]
    assert run.stopped_at == ("loop", 3)


def test_a_refused_last_save_is_told_beside_the_error() -> None:
    run = history().cut_short(ValueError("bad row."), OSError("disk full"), at=NOW)

    assert (run.reason, run.error) == (
        "Interrupted: ValueError",
        "ValueError: bad row; its last save failed: OSError: disk full",
    )
