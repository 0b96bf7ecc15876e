"""What the reporter of a run says, drawn from the events of an operation."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from resumable._format.sections import Run as PastRun
from resumable._loops.standing import LoopStanding
from resumable._models import CheckpointMetadata, SaveCosts
from resumable._report.terminal import telling
from resumable._report.terminal.bar import ProgressView
from resumable._report.terminal.forecast import QuotaLook
from resumable._report.terminal.reporter import Reporter
from resumable._runtime.clock import Instant

LAST_RUN = PastRun(ended="2026-03-01T13:50:00+00:00", reason="Interrupted: KeyboardInterrupt")
BEGAN = datetime(2026, 3, 1, 14, 0, tzinfo=UTC)


@dataclass
class Run:
    """An operation that did 100 items of 1,000 in an earlier run."""

    seconds: float = 0.0
    resumed: bool = True
    items_before: int = 100
    processed_items: int = 100
    pace_before: Mapping[str, Any] | None = None
    metadata: CheckpointMetadata = field(default_factory=lambda: CheckpointMetadata(total_items=1_000))
    costs: SaveCosts = field(default_factory=lambda: SaveCosts(active_seconds=50.0))
    run_number: int = 2
    last_run: PastRun | None = LAST_RUN
    margin_seconds: float = 1.0
    at_risk_seconds: float | None = None
    done_at: str | None = None
    directory: str = ""
    location: str = ".checkpoint_stars.json"
    operation_id: str = "stars"
    elapsed_before: float = 60.0
    failed: int = 0
    loops: list[LoopStanding] = field(default_factory=list)
    quotas: list[QuotaLook] = field(default_factory=list)

    @property
    def instant(self) -> Instant:
        return Instant(monotonic=self.seconds, utc=BEGAN + timedelta(seconds=self.seconds))

    def failed_items(self) -> int:
        return self.failed

    def seconds_since_save(self) -> float | None:
        return None

    def standings(self) -> list[LoopStanding]:
        return self.loops

    def quota_looks(self, now: float) -> list[QuotaLook]:
        return self.quotas


class Display:
    """Records what it was asked to show."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ProgressView]] = []

    def start(self, view: ProgressView, *, now: float) -> None:
        self.calls.append(("start", view))

    def update(self, view: ProgressView, *, now: float) -> None:
        self.calls.append(("update", view))

    def wait(self, view: ProgressView, *, now: float) -> None:
        self.calls.append(("wait", view))

    def stop(self, view: ProgressView, *, now: float) -> None:
        self.calls.append(("stop", view))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Makes stderr a terminal; gives what was written there since the last call, that of the end included."""
    for module in ("_report.terminal.reporter", "_report.terminal.telling", "_runtime.terminal"):
        monkeypatch.setattr(f"resumable.{module}.is_terminal", lambda stream: stream is sys.stderr)

    def written() -> str:
        telling._say_all()
        return capsys.readouterr().err

    return written


def interrupted(reporter: Reporter, run: Run, error: BaseException, reason: str, *, is_saved: bool = True) -> None:
    """The block is left by *error*."""
    reporter.closing(run, error)
    if is_saved:
        run.metadata.save_count += 1
        run.metadata.last_save_reason = reason
    reporter.closed(run)


# -- that it goes on, and stopped


def test_a_restored_run_says_that_it_goes_on(stderr: Callable[[], str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "resumable")

    Reporter(False).opened(Run())

    said = "stars: going on at 100 of 1,000. Run 2; run 1 stopped 10 min ago by Ctrl-C."
    assert stderr() == f"{said}\n"
    assert caplog.messages == [said]


def test_a_new_run_says_nothing(stderr: Callable[[], str]) -> None:
    Reporter(False).opened(Run(resumed=False))

    assert stderr() == ""


def test_where_new_checkpoints_lie_is_told_once(stderr: Callable[[], str], tmp_path: Path) -> None:
    for _ in range(2):
        Reporter(True).opened(Run(resumed=False, location=str(tmp_path / "job")))

    assert stderr() == f"stars: a new operation; its checkpoint will lie in {tmp_path / 'job'}.\n"


def test_a_history_that_cannot_be_read_is_left_out(stderr: Callable[[], str]) -> None:
    Reporter(False).opened(Run(last_run=PastRun(ended="soon")))

    assert stderr() == "stars: going on at 100 of 1,000. Run 2.\n"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(KeyboardInterrupt(), "Interrupted: KeyboardInterrupt"), (SystemExit(143), "Interrupted: SIGTERM")],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_run_that_was_stopped_says_how_to_go_on(stderr: Callable[[], str], error: BaseException, reason: str) -> None:
    reporter, run = Reporter(False), Run(resumed=False, directory="checkpoints")
    reporter.opened(run)

    interrupted(reporter, run, error, reason)

    first, *others = stderr().splitlines()
    assert first == "stars: stopped at 100 of 1,000. Saved; nothing is lost."
    assert others[1].endswith("resumable show --dir checkpoints stars")


def test_a_run_whose_last_save_failed_does_not_say_that_it_is_saved(stderr: Callable[[], str]) -> None:
    reporter, run = Reporter(False), Run(resumed=False)
    run.metadata.last_save_reason = "Interrupted: KeyboardInterrupt"  # of the run before
    reporter.opened(run)

    interrupted(reporter, run, KeyboardInterrupt(), "", is_saved=False)

    assert stderr() == ""


def test_an_error_of_the_program_speaks_for_itself(stderr: Callable[[], str]) -> None:
    reporter, run = Reporter(False), Run(resumed=False)
    reporter.opened(run)

    interrupted(reporter, run, ValueError("mine"), "Interrupted: ValueError")

    assert stderr() == ""


def test_where_no_person_reads_stderr_only_the_log_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter(False).opened(Run())

    assert capsys.readouterr().err == ""


# -- progress


def test_the_bar_is_drawn_at_most_five_times_a_second() -> None:
    display, run = Display(), Run(resumed=False)
    reporter = Reporter(display)
    reporter.opened(run)

    for hundredth in range(100):
        run.seconds = hundredth / 100
        reporter.checked_in(run)
    reporter.closed(run)

    assert display.names == ["start", *["update"] * 4, "stop"]


def test_a_view_tells_how_far_the_run_is() -> None:
    display, run = Display(), Run(resumed=False)
    reporter = Reporter(display)
    reporter.opened(run)
    reporter.checked_in(run)
    run.seconds, run.processed_items, run.costs = 60.0, 200, SaveCosts(active_seconds=100.0)
    run.quotas = [QuotaLook(name="api/core", limit=100, remaining=50, reset_at=BEGAN.timestamp() + 90, used=100)]

    reporter.checked_in(run)

    view = display.calls[-1][1]
    assert (view.operation_id, view.run, view.resumed_at, view.done, view.total) == ("stars", 2, 100, 200, 1_000)
    assert view.at == BEGAN + timedelta(seconds=60)
    assert view.rate == pytest.approx(2)
    assert view.waits > 0
    assert view.seconds_left == pytest.approx(400 + view.wait_seconds)


def test_a_run_that_begins_with_a_wait_starts_the_display_first() -> None:
    """Rich draws nothing before its start: the countdown of a resumed run was invisible."""
    display, run = Display(), Run(resumed=False)
    reporter = Reporter(display)
    reporter.opened(run)

    for run.seconds in (0.0, 1.0):
        reporter.waiting(run, 10 - run.seconds, "api.github.com")
    run.seconds = 10.0
    reporter.resumed(run)
    reporter.checked_in(run)

    assert display.names == ["start", "wait", "update"]
    assert [view.waiting_seconds for _, view in display.calls] == [10, 9, None]


def test_an_error_ends_the_bar_before_the_last_save(stderr: Callable[[], str]) -> None:
    """A save at the exit may take long; the bar must not look alive meanwhile."""
    display, run = Display(), Run(resumed=False)
    reporter = Reporter(display)
    reporter.opened(run)
    reporter.checked_in(run)

    reporter.closing(run, ValueError())
    assert display.names == ["start", "stop"]
    reporter.closed(run)

    assert display.names == ["start", "stop"]
    assert not reporter.is_watched


def test_a_first_wait_that_is_broken_off_gives_the_screen_back(stderr: Callable[[], str]) -> None:
    """The engine then closes without a save, and prints no sentence about a stop."""
    display, run = Display(), Run()
    run.metadata.save_count, run.metadata.last_save_reason = 3, "Interrupted: KeyboardInterrupt"
    reporter = Reporter(display)
    reporter.opened(run)
    reporter.waiting(run, 10, "api.github.com")
    reporter.resumed(run)

    reporter.closed(run)

    assert display.names == ["start", "stop"]
    assert "stopped at" not in stderr()


def test_an_operation_that_never_opened_has_no_bar() -> None:
    display = Display()

    Reporter(display).closed(Run())

    assert display.calls == []


def test_the_next_run_goes_on_with_the_pace_that_was_learned() -> None:
    run = Run(resumed=False)
    reporter = Reporter(Display())
    assert reporter.to_dict() is None
    reporter.opened(run)
    learned = reporter.to_dict()
    display = Display()
    successor = Reporter(display)

    successor.opened(Run(resumed=False, pace_before=learned, costs=SaveCosts()))
    successor.checked_in(run)

    assert learned is not None
    assert display.calls[0][1].rate == pytest.approx(2)
    assert Reporter(False).to_dict() is None


# -- waits without a bar


def test_a_wait_is_counted_down_on_one_line_of_the_terminal(
    stderr: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "resumable")
    reporter, run = Reporter(False), Run(resumed=False)
    reporter.opened(run)

    for tenth in range(20):
        run.seconds = tenth / 10
        reporter.waiting(run, 60 - run.seconds, "api.github.com")
    reporter.resumed(run)
    reporter.resumed(run)

    numbers = stderr().split("\r")
    assert [number[:27] for number in numbers if number.strip()] == [
        "stars: waiting 1:00 for api",
        "stars: waiting 0:59 for api",
    ]
    assert len([said for said in caplog.messages if "waiting" in said]) == 1


def test_a_wait_that_nobody_watches_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    reporter, run = Reporter(False), Run(resumed=False)
    reporter.opened(run)

    for run.seconds in (0.0, 1.0, 2.0):
        reporter.waiting(run, 60 - run.seconds, "")
    reporter.resumed(run)

    assert capsys.readouterr().err.count("stars: waiting") == 1


# -- the last words


def last_words(run: Run, error: BaseException | None = None, *, is_finished: bool = True) -> str:
    display = Display()
    reporter = Reporter(display)
    reporter.opened(run)
    run.seconds, run.processed_items = 660.0, 1_000
    reporter.closing(run, error)
    if is_finished:
        reporter.finalizing(run)
    reporter.closed(run)
    return display.calls[-1][1].last_words


def test_the_last_words_tell_the_total() -> None:
    assert last_words(Run(resumed=False)) == "stars: 1,000 of 1,000 in 12 min, 2 runs"


def test_the_last_words_count_the_waits_of_all_runs() -> None:
    run = Run(resumed=False, pace_before={"waits": 2}, run_number=3)
    assert last_words(run) == "stars: 1,000 of 1,000 in 12 min, 3 runs, 2 waits"

    reporter = Reporter(Display())
    reporter.opened(run)
    reporter.waiting(run, 10, "")
    reporter.resumed(run)
    reporter.resumed(run)

    assert (reporter.to_dict() or {})["waits"] == 3


def test_items_that_failed_are_told_with_the_command_that_names_them() -> None:
    said = last_words(Run(resumed=False, failed=4), is_finished=False)

    assert said == "stars: 1,000 of 1,000 in 12 min, 2 runs, 4 failed: resumable show stars"


def test_a_run_that_left_items_says_how_to_go_on() -> None:
    assert last_words(Run(resumed=False), is_finished=False).endswith(", 2 runs: run it again to go on")


def test_an_error_of_the_program_needs_no_advice() -> None:
    said = last_words(Run(resumed=False, failed=1), ValueError(), is_finished=False)

    assert said == "stars: 1,000 of 1,000 in 12 min, 2 runs, 1 failed"


def test_a_stop_has_a_sentence_of_its_own(stderr: Callable[[], str]) -> None:
    assert last_words(Run(resumed=False), KeyboardInterrupt(), is_finished=False) == ""


# -- several loops


def test_a_percentage_never_jumps_back() -> None:
    """A second loop makes more to do: 100% became 55%."""
    display, run = Display(), Run(resumed=False, items_before=0, processed_items=0)
    run.metadata.total_items = 30
    reporter = Reporter(display)
    reporter.opened(run)
    shares = []
    for run.seconds, run.processed_items, run.metadata.total_items in (
        (1.0, 15, 30),
        (2.0, 30, 30),
        (3.0, 40, 80),
        (4.0, 80, 80),
    ):
        reporter.checked_in(run)
        shares.append(display.calls[-1][1].share)

    assert shares == [0.5, 1.0, None, 1.0]


def test_loops_inside_another_have_one_share_and_a_time() -> None:
    display, run = Display(), Run(resumed=False, items_before=0, processed_items=0, costs=SaveCosts())
    run.metadata.total_items = None
    reporter = Reporter(display)
    reporter.opened(run)
    run.loops = [LoopStanding("epoch", 1, 4, is_around=True), LoopStanding("step", 10, 20)]
    run.seconds, run.processed_items, run.costs = 30.0, 31, SaveCosts(active_seconds=31.0)

    reporter.checked_in(run)

    view = display.calls[-1][1]
    assert view.share == 1.5 / 4
    assert view.seconds_left == pytest.approx(31 * (4 / 1.5 - 1), abs=1)
    assert [str(loop) for loop in view.loops] == ["epoch 2/4", "step 10/20"]


# -- where it is said


def test_what_stands_on_the_terminal_is_not_logged_there_again(
    stderr: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "resumable")
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    try:
        telling.tell("said", is_wanted=False)
    finally:
        logging.getLogger().removeHandler(handler)

    assert stderr() == "said\n"
    assert caplog.messages == ["said"]


def test_a_stop_is_said_only_when_the_program_ends_and_not_if_it_went_on(
    stderr: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    reporter, run = Reporter(False), Run(resumed=False)
    reporter.opened(run)
    interrupted(reporter, run, KeyboardInterrupt(), "Interrupted: KeyboardInterrupt")
    assert capsys.readouterr().err == ""

    Reporter(False).opened(run)

    assert stderr() == ""
