"""Views of a run, for the tests of what is said and shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from resumable._report.terminal.bar import ProgressView

AT = datetime(2026, 3, 1, 14, 25, 19)  # a Sunday
VIEW = ProgressView(
    operation_id="stars",
    at=AT,
    done=3_418,
    total=10_000,
    rate=3.333,
    seconds_left=3_540.0,
    waits=1,
    wait_seconds=2_092.0,
    requests_remaining=1_582,
    requests_limit=5_000,
    run=2,
    resumed_at=3_412,
)
UNKNOWN = replace(VIEW, total=None, seconds_left=None, waits=0)
WAITING = replace(VIEW, waiting_seconds=2_092.0, waiting_for="api.github.com")
