"""The summary of an operation: how its last run ended, and how long the rest will take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from resumable import CheckpointMetadata
from resumable._format.document import sign
from resumable._format.sections import ListedSections, Run, summary_of
from resumable._report.stored.scan import Facts
from resumable._report.stored.summary import _with_current_run, ending_of, summaries, summary_from
from resumable.stores import Entry, FileStore, Holder, MemoryStore, Stored
from tests.support import stores
from tests.support.command import document

pytestmark = pytest.mark.usefixtures("place")


@pytest.mark.parametrize(
    ("pid", "began", "runs"),
    [
        pytest.param(7, "2026-03-01T12:00:01+00:00", [1], id="it has saved"),
        pytest.param(7, "2026-03-01T11:59:59+00:00", [1, 2], id="the same process, another run"),
        pytest.param(8, "2026-03-01T12:00:01+00:00", [1, 2], id="another process"),
    ],
)
def test_a_run_that_has_not_saved_yet_counts_too(pid: int, began: str, runs: list[int]) -> None:
    holder = Holder("here", 7, "2026-03-01T12:00:00+00:00")

    history = _with_current_run([Run(run=1, began=began, pid=pid)], holder)

    assert [one.run for one in history] == runs


ENTRY = Entry("stars", "nowhere", b"", 0, 0, None, None)


def facts_with(processed: int, total: int | None, elapsed: float, history: list[Run]) -> Facts:
    now = datetime.now(UTC)
    metadata = CheckpointMetadata(processed_items=processed, total_items=total)
    return Facts(metadata, ListedSections(history, elapsed), now - timedelta(hours=1), now)


@pytest.mark.parametrize(
    ("processed", "total", "elapsed", "left"),
    [
        pytest.param(3412, 10000, 3412.0, 6588.0, id="a second an item"),
        pytest.param(0, 10000, 60.0, None, id="nothing done yet"),
        pytest.param(100, None, 60.0, None, id="no total"),
        pytest.param(100, 50, 60.0, None, id="more than there are"),
        pytest.param(100, 100, 60.0, 0.0, id="all done"),
        pytest.param(50, 100, 0.0, None, id="no time"),
    ],
)
def test_time_left_follows_from_what_all_runs_took(
    processed: int, total: int | None, elapsed: float, left: float | None
) -> None:
    summary = summary_from(facts_with(processed, total, elapsed, [Run(run=3, reason="x")]), ENTRY)

    assert summary.left_seconds == left
    assert summary.runs == 3


def test_a_history_that_makes_no_sense_is_damage() -> None:
    head = {"version": "2.0", "operation_id": "odd"}
    tail = {"metadata": {}, "created_at": "2026-01-01", "last_updated": "2026-01-01"}
    stores.put(FileStore("."), "odd", json.dumps(head | {"state": {}} | tail).encode())
    assert document("list")["checkpoints"][0]["state"] == "saved"

    own = {"resumable": {"generation": 1, "history": [{"run": "first"}]}}
    stores.put(FileStore("."), "odd", b"".join(sign(head, [b"{}"], tail | own)))
    row = document("list")["checkpoints"][0]
    assert row["state"] == "damaged"
    assert "history" in row["problem"]


@pytest.mark.parametrize(
    ("reason", "is_by_hand", "holder", "state"),
    [
        ("Interrupted: OSError", False, None, "failed"),
        ("Time-based: 61s >= 60s", False, None, "killed"),
        ("Time-based: 61s >= 60s", False, Holder("here", 1, "2026-01-01"), "running"),
        ("Requested", True, None, "saved"),
    ],
)
def test_a_store_that_keeps_summaries_is_listed_without_reading_its_documents(
    reason: str, is_by_hand: bool, holder: Holder | None, state: str
) -> None:
    metadata = CheckpointMetadata(processed_items=25, total_items=100, save_count=7, last_save_reason=reason)
    at = datetime(2026, 1, 1, tzinfo=UTC)

    class Summarizing(MemoryStore):
        def list(self, pattern: str = "*") -> Iterator[Entry]:
            yield Entry("stars", "db:stars", summary_of(metadata, at=at, is_by_hand=is_by_hand), 9, 1, holder, None)

        def read(self, key: str, *, previous: bool = False) -> Stored | None:
            raise AssertionError("it was read")

    (found,) = summaries(Summarizing())
    assert (found.state, found.processed_items, found.percent, found.save_count) == (state, 25, 25, 7)
    assert (found.last_updated, found.location) == (at, "db:stars")


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("Interrupted: RateLimitExhausted", "stopped"),
        ("Interrupted: CancelledError", "stopped"),
        ("Interrupted: ConnectError", "failed"),
        ("Time-based: 61s >= 60s | Interrupted: ValueError", "failed"),
        ("Stopped: a loop was left with items to go", "stopped"),
        ("Failed items: 4; retry_failed=True tries again", "incomplete"),
        ("Kept", "kept"),
        ("Kept: retries exhausted", "failed"),
        ("Kept: for tonight", "kept"),
        ("Retry: ConnectError (attempt 2)", "killed"),
        (None, "killed"),
    ],
)
def test_the_reason_of_the_last_save_tells_how_a_run_ended(reason: str | None, state: str) -> None:
    assert ending_of(Run(reason=reason)) == state
