"""The trail: bounded however long the operation runs, and thinned evenly."""

from __future__ import annotations

from itertools import pairwise

import msgspec

from resumable._format.trail import LARGEST, MOST_POINTS, MOST_RUNS, MOST_WAITS, Point, RunMark, Trail, WaitMark

BEGAN = 1_795_000_000.0


def trail_of(runs: int, items_a_run: int, seconds_a_run: float) -> Trail:
    """The trail of *runs* runs of that many items each, at the rates of a checkpoint."""
    trail, items, at, elapsed = Trail(), 0, BEGAN, 0.0
    for run in range(1, runs + 1):
        at += 3600  # nobody ran it
        trail.add_run(RunMark(run, at, at, items, items))
        until, due = at + seconds_a_run, at
        while at < until:
            step = min(max(trail.every, 1.0), until - at)
            at, elapsed = at + step, elapsed + step
            items += round(items_a_run * step / seconds_a_run)
            if at >= due or at == until:
                point = Point(at, items, run, elapsed, items, 0.01234, elapsed / 100, 123.4, 4999, 5000, 100, 10**7)
                trail.add_point(point)
                trail.end_run(point, "Interrupted: ConnectionError", "ConnectionError: " + "ü" * 200)
                due = at + trail.every
        trail.add_wait(WaitMark(at, at + 60, "a-very-long-host-name.example.org"))
    return trail


def test_ten_million_items_in_two_hundred_runs_take_64_kb_at_most() -> None:
    trail = trail_of(200, 50_000, 500)

    assert trail.points[-1].items >= 9_900_000
    assert len(msgspec.json.encode(trail)) <= LARGEST
    assert len(trail.runs) == 200


def test_it_stays_as_small_however_long_it_runs() -> None:
    trail = trail_of(1500, 1000, 60)

    assert len(msgspec.json.encode(trail)) <= LARGEST
    assert len(trail.points) <= MOST_POINTS
    assert len(trail.runs) <= MOST_RUNS
    assert len(trail.waits) <= MOST_WAITS


def test_texts_that_json_writes_longer_count_as_what_they_take() -> None:
    trail = Trail()
    for run in range(MOST_RUNS):
        trail.add_run(RunMark(run, BEGAN, BEGAN, 0, 0))
        trail.end_run(Point(BEGAN, 10**12, run), "\x01" * 100, "😀\n\x02" * 100)
        trail.add_wait(WaitMark(BEGAN, BEGAN, "\x7f\x01" * 50))

    assert len(msgspec.json.encode(trail)) <= LARGEST


def test_what_is_kept_of_one_long_run_lies_evenly() -> None:
    trail = trail_of(1, 100_000, 20_000)
    gaps = [later.at - earlier.at for earlier, later in pairwise(trail.points)]

    assert MOST_POINTS // 2 <= len(trail.points) <= MOST_POINTS
    assert max(gaps) <= 3 * sorted(gaps)[len(gaps) // 2]
    assert (trail.points[0].at, trail.points[-1].at) == (BEGAN + 3601, BEGAN + 3600 + 20_000)


def test_what_is_kept_of_many_short_runs_lies_evenly() -> None:
    """Each run adds points of its own: older ones were thinned more often than new ones."""
    trail = trail_of(200, 1000, 40)
    gaps = sorted(later.elapsed - earlier.elapsed for earlier, later in pairwise(trail.points[:-2]))

    assert MOST_POINTS // 2 <= len(trail.points) <= MOST_POINTS
    assert gaps[-1] <= 4 * gaps[len(gaps) // 2]


def test_the_first_and_the_last_runs_are_kept() -> None:
    trail = trail_of(500, 10, 2)

    assert trail.runs[0].run == 1
    assert [mark.run for mark in trail.runs[-2:]] == [499, 500]


def test_it_comes_back_from_json() -> None:
    trail = trail_of(3, 100, 10)

    assert msgspec.json.decode(msgspec.json.encode(trail), type=Trail) == trail
