"""The course of an operation over its runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from resumable._format.sections import Run, Sections
from resumable._format.trail import MOST_RUNS, Point, RunMark, Trail, WaitMark
from resumable._report.pages.course import course_of
from resumable._report.pages.page import found, report_of, whole_page
from resumable.stores import FileStore
from tests.support.crawled import crawl


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_ten_million_items_in_two_hundred_runs_are_shown_within_a_second() -> None:
    crawl()
    summary, restored = found(FileStore("ck"), "crawl")
    trail, at, elapsed = Trail(), 1_790_000_000.0, 0.0
    for run in range(1, MOST_RUNS + 1):
        trail.add_run(
            RunMark(run, at, at + 500, (run - 1) * 50_000, run * 50_000, "Interrupted: OSError", "OSError: x")
        )
        for _ in range(10):
            at, elapsed = at + 50, elapsed + 50
            trail.add_point(Point(at, int(elapsed * 100), run, elapsed, run, 0.01, 1.0, 3.0, 10, 5000, 3, 10**7))
        trail.add_wait(WaitMark(at - 20, at - 10, "api"))
        at += 3600
    restored.sections.trail = trail

    began = time.process_time()
    page = whole_page("crawl", report_of(summary, restored))

    assert time.process_time() - began < 1
    assert len(page) < 300_000
    assert "199 stops" in page
    assert "Cost of a save" in page


def test_a_checkpoint_of_an_older_release_has_its_runs() -> None:
    runs = [
        Run(run=1, began="2026-01-01T00:00:00+00:00", ended="2026-01-01T01:00:00+00:00", items=60, items_before=0),
        Run(run=2, began="2026-01-02T00:00:00+00:00", ended="2026-01-02T01:00:00+00:00", items=90, items_before=60),
        Run(run=3, began="no time", ended=""),
    ]

    course = course_of(Sections(history=runs))

    assert [(point.elapsed, point.items) for point in course.points] == [(0, 0), (3600, 60), (3600, 60), (7200, 90)]
    assert [(stop.x, stop.seconds, stop.how) for stop in course.stops] == [(3600, 82_800, "a kill")]


def test_points_lie_where_the_work_was_done() -> None:
    trail = Trail(
        points=[Point(1000.0, 10, 1, 100.0), Point(5050.0, 30, 2, 250.0)],
        runs=[RunMark(1, 900.0, 1100.0, 0, 20, "Interrupted: SIGTERM"), RunMark(2, 5000.0, 5050.0, 20, 30, "Finished")],
        waits=[WaitMark(1050.0, 1080.0, "api"), WaitMark(5000.0, 5020.0)],
    )

    course = course_of(Sections(trail=trail))

    assert [(point.elapsed, point.items) for point in course.points] == [
        (0.0, 0),
        (100.0, 10),
        (200.0, 20),
        (200.0, 20),
        (250.0, 30),
    ]
    assert [(wait.x, wait.end) for wait in course.waits] == [(150.0, 180.0), (200.0, 220.0)]
    assert [(stop.x, stop.run, stop.seconds, stop.how) for stop in course.stops] == [(200.0, 2, 3900.0, "SIGTERM")]


def test_what_a_killed_run_has_saved_last_is_its_own() -> None:
    """Else the line jumps at the stop, and the next run seems to stand still."""
    trail = Trail(
        points=[Point(1000.0, 0, 1, 0.0), Point(1010.0, 100, 1, 10.0), Point(1025.0, 160, 2, 21.0)],
        runs=[RunMark(1, 1000.0, 1010.0, 0, 100, "Time-based: 10s >= 10s"), RunMark(2, 1020.0, 1025.0, 150, 160)],
    )

    course = course_of(Sections(trail=trail))

    assert [(point.elapsed, point.items) for point in course.points] == [
        (0.0, 0),
        (0.0, 0),
        (10.0, 100),
        (16.0, 150),
        (16.0, 150),
        (21.0, 160),
    ]
    assert [(stop.x, stop.how) for stop in course.stops] == [(16.0, "a kill")]
    assert [speed for _, _, speed in course.speeds] == [10.0, pytest.approx(50 / 6), 2.0]


def test_each_stop_has_its_place_though_the_points_of_its_run_were_thinned_out() -> None:
    began = [1000.0 * number for number in range(1, 6)]
    trail = Trail(
        points=[Point(1100.0, 10, 1, 100.0), Point(5100.0, 50, 5, 500.0)],
        runs=[RunMark(run, at, at + 100, 10 * run - 10, 10 * run) for run, at in enumerate(began, 1)],
    )

    course = course_of(Sections(trail=trail))

    assert [stop.x for stop in course.stops] == [100.0, 200.0, 300.0, 400.0]
    assert [(point.elapsed, point.items) for point in course.points][-2:] == [(400.0, 40), (500.0, 50)]
