"""What one answer tells: quotas, refusals and their ends as values, and the pauses after refusals."""

from __future__ import annotations

import pytest

from resumable.ratelimit import RateLimit
from resumable.ratelimit._limits import is_refusal, is_success, pause_after, refused, succeeded


@pytest.mark.parametrize("resource", ["", "core"])
def test_a_refusal_and_its_end_are_told_apart_and_are_no_quota(resource: str) -> None:
    refusal, end = refused(1000.0, resource), succeeded(resource)

    assert (is_refusal(refusal), is_success(refusal)) == (True, False)
    assert (is_refusal(end), is_success(end)) == (True, True)
    assert refusal.resource == end.resource
    assert not is_refusal(RateLimit(resource, limit=60, remaining=0, reset_at=1000.0))


@pytest.mark.parametrize(
    ("after", "tries", "seconds"),
    [
        pytest.param(90.0, 5, 90.0, id="the time that it names"),
        pytest.param(None, 0, 60.0, id="no time"),
        pytest.param(None, 2, 240.0, id="no time, for the third time"),
        pytest.param(None, 1000, 3600.0, id="no time, for ever"),
        pytest.param(0.0, 0, 1.0, id="a time that is over"),
        pytest.param(-5.0, 3, 8.0, id="a time that is over, for the fourth time"),
        pytest.param(0.0, 1000, 60.0, id="a time that is over, for ever"),
    ],
)
def test_a_pause_doubles_where_the_server_names_no_time(after: float | None, tries: int, seconds: float) -> None:
    assert pause_after(after, tries) == seconds
