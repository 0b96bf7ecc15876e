"""The bar: a line for the items, and one for the quota and what a kill loses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from resumable._report.messages import going_on, stopped
from resumable._report.terminal.bar import (
    ProgressView,
    cells,
    lower_line,
    one_line,
    progress_line,
    text_line,
    waiting_line,
)
from tests.support.views import UNKNOWN, VIEW, WAITING


def test_the_mark_in_the_bar_is_where_this_run_began() -> None:
    later = replace(VIEW, done=9_000)

    assert progress_line(later).bar_done == "━━━━━━━━━━┿━━━━━━━━━━━━━━━━"
    assert "┿" not in str(progress_line(replace(later, resumed_at=0)))


@pytest.mark.parametrize("width", range(40, 90))
def test_a_narrow_wait_still_says_that_it_is_safe_to_stop(width: int) -> None:
    line = waiting_line(WAITING, width)

    assert line.startswith("stars: waiting 34:52")
    assert line.endswith("Saved: safe to stop.")
    assert len(line) <= max(width, 42)


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
    assert lower_line(replace(VIEW, at_risk_seconds=None, **changes)) == line


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

    quota = lower_line(replace(VIEW, at_risk_seconds=None))
    assert lower_line(view) == " · ".join(filter(None, [quota, told]))
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
