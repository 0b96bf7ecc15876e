"""Sentences for people, and bars."""

from __future__ import annotations

import pytest

from resumable._report.messages import going_on, how_it_ended, stopped, waiting
from resumable._report.terminal.bar import lower_line, progress_line, waiting_line
from tests.support.views import AT, VIEW, WAITING

# -- the lines


def test_a_run_that_goes_on_is_told_in_two_lines() -> None:
    assert (
        str(progress_line(VIEW, 76)) == "stars  34% ━━━━━━┿───────────── 3,418/10,000  3.3/s  59 min left, done 15:24"
    )
    assert lower_line(VIEW) == "requests 1,582 of 5,000 left · one wait of 35 min expected"


def test_a_run_that_waits_says_until_when_and_that_it_is_safe_to_stop() -> None:
    said = "stars: waiting 34:52 for api.github.com (fresh at 15:00:11). Saved: safe to stop."

    assert waiting("stars", 2_092, "api.github.com", AT) == said
    assert waiting_line(WAITING) == said
    assert waiting_line(VIEW) == ""


def test_a_run_that_stopped_says_what_can_be_done_now() -> None:
    assert stopped("stars", 3_412, 10_000, "python stars.py --org apache") == (
        "stars: stopped at 3,412 of 10,000. Saved; nothing is lost.\n"
        "  go on       python stars.py --org apache\n"
        "  look        resumable show stars\n"
        "  start over  resumable rm stars"
    )


def test_a_run_that_goes_on_tells_of_the_one_before() -> None:
    said = "stars: going on at 3,413 of 10,000. Run 2; run 1 stopped 10 min ago by Ctrl-C."

    assert going_on("stars", 3_413, 10_000, 2, 600, "Ctrl-C") == said
    assert going_on("stars", 3_413, None, 2) == "stars: going on at 3,413. Run 2."
    assert going_on("a", 2, None, 3, 7).endswith("Run 3; run 2 was cut off, its last save was 7 s ago.")


@pytest.mark.parametrize(
    ("reason", "how"),
    [
        ("Interrupted: KeyboardInterrupt", "Ctrl-C"),
        ("Interrupted: SIGTERM", "SIGTERM"),
        ("Interrupted: stop()", "a request to stop"),
        ("Interrupted: ConnectError", "ConnectError"),
        ("Interrupted: RateLimitExhausted", "the rate limit"),
        ("Time-based: 61s >= 60s | Interrupted: KeyboardInterrupt", "Ctrl-C"),
        ("Time-based: 61s >= 60s", ""),
        ("Requested", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_the_last_save_tells_how_a_run_ended(reason: str | None, how: str) -> None:
    assert how_it_ended(reason) == how


def test_a_run_that_goes_on_with_what_another_program_left_says_so() -> None:
    assert going_on("stars", 3, 10, 2, 5.0, "Ctrl-C", program="old.py") == (
        "stars: going on at 3 of 10. Run 2; run 1 of another program, old.py, stopped 5 s ago by Ctrl-C."
    )
