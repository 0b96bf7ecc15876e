"""Counts, positions and sizes in words."""

from __future__ import annotations

import pytest

from resumable._format.sections import Run
from resumable._report.stored.summary import Summary
from resumable._report.stored.wording import error_of, items_failed, number, size


@pytest.mark.parametrize(("count", "text"), [(0, "0 items failed"), (1, "1 item failed"), (4321, "4,321 items failed")])
def test_one_item_is_no_plural(count: int, text: str) -> None:
    assert items_failed(count) == text


@pytest.mark.parametrize(("value", "text"), [(None, "?"), (0, "0"), (3412, "3,412")])
def test_an_unknown_number_is_a_question_mark(value: int | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (9_949, "9.9 KB"), (9_950, "10 KB"), (999_500, "1.0 MB")],
)
def test_a_size_never_has_four_digits(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("run", "text"),
    [
        pytest.param(
            Run(error="ValueError: bad", items=4, stopped_at=("loop-1", "urls/7"), place="job.py:5"),
            "ValueError: bad, at item 'urls/7', in job.py:5",
            id="known by a key",
        ),
        pytest.param(Run(error="ValueError: bad", items=4, stopped_at=("loop-1", 4)), "ValueError: bad, at item 4"),
        pytest.param(
            Run(error="SystemExit: 129", items=4, reason="Interrupted: SIGHUP"), "SIGHUP, at item 4", id="a signal"
        ),
        pytest.param(
            Run(error="KeyboardInterrupt", items=4, reason="Interrupted: KeyboardInterrupt"),
            "Ctrl-C, at item 4",
            id="Ctrl-C",
        ),
    ],
)
def test_what_ended_a_run_is_named_with_its_item(run: Run, text: str) -> None:
    assert error_of(Summary(operation_id="job", state="failed", history=(run,))) == text
