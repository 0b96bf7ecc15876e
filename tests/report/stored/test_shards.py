"""Shards of one job, summed up by ``resumable list``."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from resumable import checkpointed
from resumable._report.stored.shards import Sum, sums_of
from resumable._report.stored.summary import State, Summary
from resumable.stores import FileStore
from tests.support import stores
from tests.support.command import document, resumable, run

pytestmark = pytest.mark.usefixtures("place")


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def shard(
    operation_id: str, state: State, done: int | None, of: int | None, took: float | None = 100.0, left: Any = None
) -> Summary:
    return Summary(
        operation_id=operation_id,
        state=state,
        processed_items=done,
        total_items=of,
        elapsed_time=took,
        left_seconds=left,
        last_updated=NOW,
    )


def sum_of(*shards: Summary) -> Sum:
    (found,) = sums_of(shards)
    return found


def patterns(*operation_ids: str) -> list[str]:
    return [one.pattern for one in sums_of([shard(operation_id, "saved", 1, 2) for operation_id in operation_ids])]


# -- what is a shard


@pytest.mark.parametrize(
    ("operation_ids", "found"),
    [
        pytest.param(["job-0", "job-1"], ["job-*"], id="a dash"),
        pytest.param(["job/1", "job/2"], ["job/*"], id="a slash, counted from 1"),
        pytest.param(["job_000", "job_001"], ["job_*"], id="leading zeros"),
        pytest.param(["a/b-1", "a/b-2", "a/c-1", "a/c-2"], ["a/b-*", "a/c-*"], id="two jobs"),
        pytest.param(["v2/job-0", "v2/job-1"], ["v2/job-*"], id="a number elsewhere"),
        pytest.param(["job-1", "job-01"], ["job-*"], id="two ids with one number"),
        pytest.param(["line\nbreak-0", "line\nbreak-1"], ["line\nbreak-*"], id="any text"),
        pytest.param(["job-0"], [], id="only one"),
        pytest.param(["job-0", "jobs-1"], [], id="other names"),
        pytest.param(["job0", "job1"], [], id="nothing before the number"),
        pytest.param(["0", "1"], [], id="only numbers"),
        pytest.param(["crawl-2025", "crawl-2026"], [], id="years"),
        pytest.param(["crawl-2026-01-01", "crawl-2026-01-02"], [], id="dates"),
        pytest.param(["crawl-2026-01", "crawl-2026-02"], [], id="months"),
        pytest.param(["user-4711", "user-4712"], [], id="numbers that do not count from the start"),
        pytest.param(["user-1", "user-1234567890"], [], id="a number that counts no shards"),
        pytest.param(["job-٠", "job-١"], [], id="other digits"),
    ],
)
def test_shards_are_ids_that_differ_only_in_a_number_that_counts(operation_ids: list[str], found: list[str]) -> None:
    assert patterns(*operation_ids) == found


def test_a_pattern_says_what_belongs_together_whatever_the_ids_are() -> None:
    shards = [shard(f"crawl-{year}", "saved", 1, 2) for year in (2024, 2025, 2026)]
    other = shard("crawl", "saved", 1, 2)

    found = sums_of([*shards, other], ["crawl-*", "crawl", "crawl-202[56]", "none-*"])

    assert [(one.pattern, one.processed_items) for one in found] == [("crawl-*", 3), ("crawl-202[56]", 2)]


# -- the sum


def test_a_sum_adds_up_items_and_counts_states() -> None:
    found = sum_of(
        shard("job-10", "finished", 100, 100, left=None),
        shard("job-2", "failed", 20, 100, left=400.0),
        shard("job-1", "running", 30, 100, left=233.3),
    )

    assert (found.processed_items, found.total_items, found.percent) == (150, 300, 50)
    assert found.states == {"running": 1, "failed": 1, "finished": 1}
    assert found.operation_ids == ("job-1", "job-2", "job-10")


def test_a_finished_shard_counts_as_finished_whatever_its_total_was() -> None:
    """One that was ended early, or never knew its total, leaves nothing to do."""
    found = sum_of(shard("job-0", "finished", 80, 100), shard("job-1", "finished", 40, None))

    assert (found.processed_items, found.total_items, found.percent, found.left_seconds) == (120, 120, 100, 0.0)


@pytest.mark.parametrize(
    "unknown",
    [
        pytest.param(shard("job-1", "running", 40, None), id="no total"),
        pytest.param(shard("job-1", "damaged", None, None, None), id="damaged"),
    ],
)
def test_what_is_not_known_of_one_shard_is_not_made_up_for_all(unknown: Summary) -> None:
    found = sum_of(shard("job-0", "running", 30, 100), unknown)

    assert found.processed_items == 30 + (unknown.processed_items or 0)
    assert (found.total_items, found.percent, found.left_seconds) == (None, None, None)


@pytest.mark.parametrize(
    ("shards", "left"),
    [
        pytest.param([("running", 50, 100.0), ("running", 20, 400.0)], 400.0, id="all run: as long as the last one"),
        pytest.param([("running", 50, 100.0), ("killed", 0, None)], 300.0, id="one has to be started yet"),
        pytest.param([("killed", 50, 100.0), ("killed", 50, 100.0)], 100.0, id="none runs: as though all did"),
        pytest.param([("running", 50, 100.0), ("finished", 100, None)], 100.0, id="one is finished"),
        pytest.param([("running", 0, None), ("running", 0, None)], None, id="nothing done yet"),
    ],
)
def test_time_left_is_until_the_last_shard_is_done(
    shards: list[tuple[State, int, float | None]], left: float | None
) -> None:
    found = [shard(f"job-{n}", state, done, 100, left=left) for n, (state, done, left) in enumerate(shards)]

    assert sum_of(*found).left_seconds == left


def test_the_last_save_is_the_newest_and_missing_are_the_numbers_in_between() -> None:
    late = Summary(operation_id="job-7", state="saved", last_updated=NOW + timedelta(hours=1))

    found = sum_of(shard("job-1", "saved", 1, 2), late, shard("job-4", "saved", 1, 2))

    assert found.last_updated == late.last_updated
    assert found.missing == (2, 3, 5, 6)


# -- what is shown


@pytest.fixture
def job(place: Any) -> None:
    """Three shards of ten items, of which two have done three, and one operation that is none."""
    for number in (0, 1):
        run(f"job-{number}", OSError())
    run("job-3")
    run("stars", OSError())


@pytest.mark.usefixtures("job")
def test_the_list_hides_no_shard_and_ends_with_the_sum() -> None:
    lines = resumable("list").stdout.splitlines()

    assert [line.split()[0] for line in lines[1:5]] == ["stars", "job-3", "job-1", "job-0"]
    assert lines[5] == ""
    assert lines[6].split() == ["SHARDS", "STATES", "DONE", "LEFT", "LAST", "SAVE"]
    assert lines[7].startswith("job-*   3: 2 failed, 1 finished  16/30  53%  ")
    assert lines[8:] == ["job-*: no checkpoint of 2"]


@pytest.mark.usefixtures("job")
def test_a_shard_that_runs_counts_as_running() -> None:
    with stores.claimed(FileStore("."), "job-1"):
        assert document("list")["sums"][0]["states"] == {"running": 1, "failed": 1, "finished": 1}


@pytest.mark.usefixtures("job")
def test_sum_leaves_out_what_is_in_a_sum_and_nothing_else() -> None:
    lines = resumable("list", "--sum").stdout.splitlines()

    assert [line.split()[0] for line in lines if line] == ["OPERATION", "stars", "SHARDS", "job-*", "job-*:"]
    assert resumable("list", "--sum", "job-*").stdout.splitlines()[0].startswith("SHARDS")


@pytest.mark.usefixtures("job")
def test_a_pattern_shows_what_matches_and_its_sum() -> None:
    found = document("list", "job-[01]")

    assert [row["operation_id"] for row in found["checkpoints"]] == ["job-1", "job-0"]
    assert [(one["pattern"], one["operation_ids"]) for one in found["sums"]] == [("job-[01]", ["job-1", "job-0"])]
    assert document("list", "stars")["sums"] == []
    assert resumable("list", "x-*").stderr.startswith("Error: no checkpoint of x-* in ")


@pytest.mark.usefixtures("job")
def test_a_sum_as_json_has_the_keys_that_the_help_names() -> None:
    (found,) = document("list")["sums"]
    told = resumable("list", "--help").stdout

    assert [key for key in found if key not in told] == []
    assert found["missing"] == [2]
    assert (found["processed_items"], found["total_items"], found["percent"]) == (16, 30, 53)


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_sum_fits_its_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))

    lines = resumable("list", "--sum", "job-*").stdout.splitlines()

    assert max(map(len, lines)) <= width
    assert "16/30" in lines[1]


def test_a_pattern_in_an_id_cannot_steer_the_terminal() -> None:
    for number in (0, 1):
        with contextlib.suppress(OSError), checkpointed(f"\x1b[31m-{number}"):
            raise OSError

    output = resumable("list").stdout

    assert "\x1b" not in output
    assert "\\x1b[31m-*" in output


def test_long_gaps_are_told_shortly() -> None:
    for number in (0, *range(2, 30, 2), 99_999):
        run(f"job-{number}", OSError(), items=0)

    last = resumable("list").stdout.splitlines()[-1]

    assert last == f"job-*: no checkpoint of 1, 3, 5, 7, 9, 11, 13, 15 and {99_998 - 14 - 8:,} more"
    assert len(last) < 80
