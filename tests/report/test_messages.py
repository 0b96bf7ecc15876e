"""What is said to people: bars and sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from resumable._loops.standing import LoopStanding
from resumable._report.bar import (
    ProgressView,
    budget_line,
    cells,
    lower_line,
    one_line,
    progress_line,
    text_line,
    waiting_line,
)
from resumable._report.messages import amount, going_on, how_it_ended, stopped, waiting
from tests.support.views import AT, UNKNOWN, VIEW, WAITING

# -- the lines


def test_a_run_that_goes_on_is_told_in_two_lines() -> None:
    assert (
        str(progress_line(VIEW, 76)) == "stars  34% ━━━━━━┿───────────── 3,418/10,000  3.3/s  59 min left, done 15:24"
    )
    assert budget_line(VIEW) == "requests 1,582 of 5,000 left · one wait of 35 min expected"


def test_the_mark_in_the_bar_is_where_this_run_began() -> None:
    later = replace(VIEW, done=9_000)

    assert progress_line(later).bar_done == "━━━━━━━━━━┿━━━━━━━━━━━━━━━━"
    assert "┿" not in str(progress_line(replace(later, resumed_at=0)))


def test_a_run_that_waits_says_until_when_and_that_it_is_safe_to_stop() -> None:
    said = "stars: waiting 34:52 for api.github.com (fresh at 15:00:11). Saved: safe to stop."

    assert waiting("stars", 2_092, "api.github.com", AT) == said
    assert waiting_line(WAITING) == said
    assert waiting_line(VIEW) == ""


@pytest.mark.parametrize("width", range(40, 90))
def test_a_narrow_wait_still_says_that_it_is_safe_to_stop(width: int) -> None:
    line = waiting_line(WAITING, width)

    assert line.startswith("stars: waiting 34:52")
    assert line.endswith("Saved: safe to stop.")
    assert len(line) <= max(width, 42)


def test_a_run_that_stopped_says_what_can_be_done_now() -> None:
    assert stopped("stars", 3_412, 10_000, "python stars.py --org apache") == (
        "stars: stopped at 3,412 of 10,000. Saved; nothing is lost.\n"
        "  go on       python stars.py --org apache\n"
        "  look        resumable show stars\n"
        "  start over  resumable rm stars"
    )


def test_where_loops_stopped_is_told_by_the_outer_one() -> None:
    loops = [LoopStanding("epoch", 2, 4, is_around=True), LoopStanding("step", 7, 20, is_around=False)]

    assert stopped("training", 47, None, "", loops=loops).startswith("training: stopped at epoch 2 of 4. Saved;")


def test_what_is_to_be_typed_names_the_directory_where_it_is_not_looked_for() -> None:
    text = stopped("stars", 1, None, "", "my checkpoints")

    assert "look        resumable show --dir 'my checkpoints' stars\n" in text
    assert text.endswith("start over  resumable rm --dir 'my checkpoints' stars")


def test_what_is_to_be_typed_is_quoted_for_the_shell() -> None:
    text = stopped("it's $HOME", 1, None, "")

    assert text.startswith("it's $HOME: stopped at 1. Saved")
    assert "go on       run it again\n" in text
    assert text.endswith("""resumable rm 'it'"'"'s $HOME'""")


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


def test_an_unknown_total_has_neither_bar_nor_end() -> None:
    assert str(progress_line(UNKNOWN)) == "stars  3,418 done  3.3/s"
    assert text_line(UNKNOWN) == "stars  3,418 done  3.3/s · requests 1,582 of 5,000 left"
    assert UNKNOWN.share is None
    assert UNKNOWN.finish_at is None


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        pytest.param({"waits": 0}, "requests 1,582 of 5,000 left · no wait expected", id="enough"),
        pytest.param(
            {"waits": 3, "wait_seconds": 6_720},
            "requests 1,582 of 5,000 left · 3 waits of 1h52m in all expected",
            id="several",
        ),
        pytest.param({"requests_limit": None, "waits": 0}, "requests 1,582 left · no wait expected", id="no limit"),
        pytest.param({"requests_remaining": None}, "one wait of 35 min expected", id="nothing known but the wait"),
        pytest.param({"requests_remaining": None, "waits": 0}, "", id="no quota"),
    ],
)
def test_the_second_line_tells_what_is_known_of_the_quota(changes: dict[str, Any], line: str) -> None:
    assert budget_line(replace(VIEW, **changes)) == line


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        pytest.param(1.03, "at risk: at most 1.0 s", id="a second"),
        pytest.param(0.24, "at risk: at most 0.2 s", id="less"),
        pytest.param(300.4, "at risk: at most 5 min", id="minutes"),
        pytest.param(None, "", id="unknown"),
    ],
)
def test_the_second_line_tells_what_a_kill_loses(seconds: float | None, told: str) -> None:
    view = replace(VIEW, at_risk_seconds=seconds)

    assert lower_line(view) == " · ".join(filter(None, [budget_line(view), told]))
    assert text_line(view).endswith(lower_line(view))
    assert lower_line(replace(view, requests_remaining=None, waits=0)) == told


@pytest.mark.parametrize(("width", "parts"), [(83, 3), (82, 2), (58, 2), (57, 1), (1, 1)])
def test_the_second_line_leaves_out_whole_parts(width: int, parts: int) -> None:
    view = replace(VIEW, at_risk_seconds=1.03)
    whole = lower_line(view).split(" · ")

    assert lower_line(view, width=width) == " · ".join(whole[:parts])


@pytest.mark.parametrize(
    ("done", "total", "percent"),
    [(0, 10, "  0%"), (9_999, 10_000, " 99%"), (10, 10, "100%"), (11, 10, "100%"), (0, 0, "100%")],
)
def test_a_hundred_percent_is_said_only_at_the_end(done: int, total: int, percent: str) -> None:
    assert progress_line(replace(VIEW, done=done, total=total, resumed_at=0)).head == f"stars {percent} "


def test_the_end_says_done_and_no_time() -> None:
    assert str(progress_line(replace(VIEW, done=10_000))).endswith(" 10,000/10,000  3.3/s  done")


@pytest.mark.parametrize("view", [VIEW, UNKNOWN, WAITING, replace(VIEW, operation_id="星" * 60)])
@pytest.mark.parametrize("width", [1, 2, 10, 30, 60, 80, 119, 120, 200])
def test_a_line_is_never_wider_than_the_terminal(view: ProgressView, width: int) -> None:
    assert cells(one_line(view, width)) <= width


def test_names_cannot_steer_the_terminal() -> None:
    evil = replace(WAITING, operation_id="a\x1b[2J\nb", waiting_for="\x1b]0;x\x07")
    texts = [text_line(evil), text_line(replace(evil, waiting_seconds=None))]
    texts += [stopped("\x1b[2J", 1, 2, ""), going_on("\x07", 1, 2, 3, 4, "\x1b[1m")]

    for text in texts:
        assert all(line.isprintable() for line in text.split("\n")), text


@pytest.mark.parametrize(
    ("done", "loops", "text"),
    [
        pytest.param(12, [("x", 12, 12, False)], "12 of 12", id="one loop alone needs no name"),
        pytest.param(84, [("epoch", 4, 4, False)], "epoch 4 of 4", id="the outer one of nested loops"),
        pytest.param(9, [("epoch", 1, 4, True), ("step", 8, 20, False)], "epoch 1 of 4", id="left within a loop"),
        pytest.param(80, [("a", 30, 30, False), ("b", 50, 50, False)], "a 30/30 · b 50/50", id="one after the other"),
        pytest.param(7, [("x", 7, None, False)], "7 items", id="no total"),
    ],
)
def test_the_last_line_counts_what_tells_most(done: int, loops: list[Any], text: str) -> None:
    assert amount(done, None, [LoopStanding(*loop) for loop in loops]) == text
