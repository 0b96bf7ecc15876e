"""What ``resumable run`` decides after each run of a job, and what it does with real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from resumable._report.supervised import ReportedEvent, RunReport, read_report
from resumable.cli._supervise import Judge, how_it_ended

REPOSITORY = Path(__file__).parents[2]


def told(items: int, name: str = "stopping", **facts: object) -> RunReport:
    event = ReportedEvent(name=name, operation_id="job", processed_items=items, total_items=10, **facts)  # type: ignore[arg-type]
    return RunReport({"job": items}, {"job": event})


def test_a_job_that_ends_well_is_done() -> None:
    assert Judge().after(0, told(10, "done"), now=0).what == "done"
    assert Judge().after(0, RunReport({}, {}), now=0).what == "done"


def test_a_job_that_ended_with_items_to_go_runs_again_at_once() -> None:
    verdict = Judge().after(0, told(5, reason="Stopped: limit 5"), now=0)

    assert (verdict.what, verdict.seconds) == ("again", 0)


def test_the_wait_doubles_as_long_as_nothing_is_gained() -> None:
    judge = Judge(tries=20, backoff=2)
    waits = [judge.after(1, told(3), now=0).seconds for _ in range(11)]

    assert waits == [2, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert judge.after(1, told(4), now=0).seconds == 2


@pytest.mark.parametrize("code", [-signal.SIGKILL, 3, -signal.SIGSEGV, 143])
def test_three_runs_without_progress_are_enough_and_the_place_is_named(code: int) -> None:
    judge = Judge()
    first = judge.after(code, told(3), now=0)
    verdicts = [judge.after(code, told(3), now=0) for _ in range(3)]

    assert [one.what for one in (first, *verdicts)] == ["again", "again", "again", "given up"]
    assert "job stops at item 4 of 10" in verdicts[-1].why
    assert verdicts[-1].code == (3 if code == 3 else 1)
    assert judge.is_careful == (code < 0)


def test_a_kill_that_a_shell_tells_of_is_one() -> None:
    judge = Judge()
    judge.after(137, RunReport({}, {}), now=0)

    assert judge.is_careful
    assert (
        "reported no progress; SIGKILL killed it" in [judge.after(137, RunReport({}, {}), now=0) for _ in "ab"][-1].why
    )


def test_an_exit_that_left_no_time_to_save_is_a_kill() -> None:
    """``os._exit``, or a shell around the job that has an exit code of its own."""
    judge = Judge()
    judge.after(3, told(0, "opened"), now=0)

    assert judge.is_careful


def test_a_request_to_stop_is_for_the_runner_too() -> None:
    """Otherwise ``resumable stop`` would only begin another run. After a SIGTERM one begins."""
    asked = Judge().after(143, told(3, reason="Interrupted: stop()", error="SystemExit: 143"), now=0)

    assert (asked.what, asked.why, asked.code) == ("stopped", "stopped by request", 75)
    assert Judge().after(143, told(3, reason="Interrupted: SIGTERM"), now=0).what == "again"


def test_an_operation_that_is_another_one_in_each_run_is_no_progress() -> None:
    """An id with the time in it would be begun anew for ever."""

    def new(number: int) -> RunReport:
        event = ReportedEvent(name="stopping", operation_id=f"job-{number}", processed_items=5, total_items=10)
        return RunReport({event.operation_id: 5}, {event.operation_id: event})

    judge = Judge()
    verdicts = [judge.after(1, new(number), now=0) for number in range(4)]

    assert [one.what for one in verdicts] == ["again", "again", "again", "given up"]


def test_a_second_operation_is_progress_if_the_first_is_done_or_met_again() -> None:
    judge = Judge()
    judge.after(1, told(3), now=0)
    first, second = told(3), ReportedEvent(name="stopping", operation_id="more", processed_items=1)
    for number in range(1, 6):
        second = ReportedEvent(name="stopping", operation_id=f"more-{number}", processed_items=1)
        both = RunReport({**first.items, second.operation_id: 1}, {**first.last, second.operation_id: second})
        done = {name: ReportedEvent(name="done", operation_id=name, processed_items=1) for name in both.items}
        assert judge.after(1, RunReport(both.items, done | {"job": first.last["job"]}), now=0).what == "again"


def test_a_job_that_counts_no_items_is_told_so() -> None:
    judge = Judge()
    event = ReportedEvent(name="saved", operation_id="job")
    verdicts = [judge.after(1, RunReport({"job": 0}, {"job": event}), now=0) for _ in range(3)]

    assert (
        verdicts[-1].why
        == "3 runs made no progress: job counted no items, which cp.tick() does; it failed with exit code 1"
    )


def test_one_item_that_ends_three_runs_is_enough_though_others_get_done() -> None:
    judge = Judge()
    verdicts = [
        judge.after(1, told(items, loop="urls", key="bad", error="ValueError: no"), now=0) for items in (1, 2, 3)
    ]

    assert [one.what for one in verdicts] == ["again", "again", "given up"]
    assert verdicts[-1].why.startswith("item 'bad' of urls in job ended 3 runs in a row: ValueError: no")


def test_a_used_up_quota_is_waited_for_and_counts_against_nothing() -> None:
    judge = Judge()
    verdicts = [judge.after(75, told(3, again_at=1000.0, error="RateLimitExhausted: x"), now=400) for _ in range(5)]

    assert {(one.what, one.seconds) for one in verdicts} == {("again", 601.0)}


def test_the_end_of_a_batch_job_is_left_to_the_batch_system() -> None:
    assert Judge(is_in_job=True).after(75, told(3, error="RunAgain: x"), now=0).code == 75
    assert Judge().after(75, told(3, error="RunAgain: x"), now=0).what == "again"


@pytest.mark.parametrize(("error", "code"), [("InputChangedError: x", 1), ("BudgetExhausted: usd", 75)])
def test_what_would_come_again_is_given_up_at_once(error: str, code: int) -> None:
    verdict = Judge().after(75, told(3, error=error), now=0)

    assert (verdict.what, verdict.code, verdict.why) == ("given up", code, error)


def test_who_is_asked_to_stop_stops() -> None:
    assert Judge().after(143, told(3), now=0, asked_to_stop="SIGTERM").code == 75
    assert Judge().after(130, told(3), now=0, asked_to_stop="SIGINT").code == 130
    assert Judge().after(0, told(10, "done"), now=0, asked_to_stop="SIGTERM").what == "done"


def test_exit_code_0_is_done_whatever_is_left_unless_a_limit_ended_it() -> None:
    """A job that leaves its loop by break, and says that all is well, is not run again."""
    verdict = Judge().after(0, told(5, reason="Stopped: a loop was left with items to go"), now=0)

    assert (verdict.what, verdict.code) == ("done", 0)
    assert verdict.why == "it exited with 0, but job has items left"
    failed = told(9, reason="Failed items: 1; retry_failed=True tries again", failed_items=1)
    assert Judge().after(0, failed, now=0).why == "it exited with 0, but 1 item failed in job"


def test_how_a_run_ended_reads_well() -> None:
    assert how_it_ended(-9, wanted_memory=True) == "the system killed it, because memory was full"
    assert how_it_ended(137, wanted_memory=False) == "SIGKILL killed it"
    assert how_it_ended(-9) == "SIGKILL killed it, perhaps because memory was full"
    assert how_it_ended(143) == "SIGTERM ended it"
    assert how_it_ended(-64) == "SIGRTMAX ended it"
    assert how_it_ended(-99) == "it failed with exit code -99"
    assert how_it_ended(2) == "it failed with exit code 2"


def test_a_line_that_a_kill_has_cut_in_two_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events"
    whole = json.dumps({"name": "saved", "operation_id": "job", "processed_items": 7, "later": 1})
    path.write_text(f'{whole}\n{{"name": "saved", "oper')

    first, offset = read_report(path, 0)

    assert first.items == {"job": 7}
    assert read_report(path, offset)[0].items == {}


# -- real jobs --------------------------------------------------------------------------------------------------------

HARD = """
import os, pathlib, resource, signal, sys, time
from resumable import RateLimitExhausted, checkpointed, every
from resumable._runtime import signals
count = pathlib.Path("count")
run = int(count.read_text()) if count.exists() else 0
count.write_text(str(run + 1))
with checkpointed("hard", every(items=1)) as cp:
    out = cp.sink("out.txt")
    for number in cp.remaining(range(70)):
        out.write(f"{number}\\n")
        if number != 4 * run + 3:
            continue
        if run < 10:
            os._exit(3)
        if run == 10:
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
            bytearray(4 << 30)
        if run == 11:  # as the kernel does it
            os.kill(os.getpid(), signal.SIGKILL)
        if run == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        if run == 13:
            os.kill(os.getppid(), signal.SIGTERM)
            while signals.wish.number is None:  # the supervisor passes it on
                time.sleep(0.01)
        if run == 14:
            raise RateLimitExhausted(time.time() + 0.5, "api")
"""
POISON = """
import os
from resumable import checkpointed
with checkpointed("poison") as cp:
    for number in cp.remaining(range(100)):
        if number == 57:
            os.abort()
"""


def run(here: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    if text:
        (here / "job.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "resumable", "run", *arguments],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )


JOB: Sequence[str] = ("--backoff", "0.05", "--", sys.executable, "job.py")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits its memory as Linux does")
def test_a_job_that_crashes_runs_out_of_memory_is_preempted_and_limited_gets_done(tmp_path: Path) -> None:
    tell = 'echo "$RESUMABLE_WHAT after $RESUMABLE_RUNS of $RESUMABLE_ID"'
    first = run(tmp_path, "--on-done", tell, *JOB, text=HARD)

    assert first.returncode == 75, first.stderr  # the machine goes; systemd or Slurm start it again elsewhere
    assert first.stderr.count("it failed with exit code 3") == 10
    assert "MemoryError" in first.stderr
    assert "SIGKILL killed it" in first.stderr
    assert "SIGTERM ended it" in first.stderr
    assert "resumable run: stopped by SIGTERM after 14 runs" in first.stderr
    assert not first.stdout

    done = run(tmp_path, "--on-done", tell, *JOB)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.txt").read_text().split() == [str(number) for number in range(70)]
    assert "the quota is used up, at 59 of 70" in done.stderr
    assert done.stdout == "done after 2 of hard\n"


@pytest.mark.slow
def test_an_item_that_kills_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "--on-fail", 'echo "$RESUMABLE_WHY"', *JOB, text=POISON)

    assert done.returncode == 1
    assert "3 runs made no progress: poison stops at item 58 of 100; SIGABRT ended it" in done.stdout


def test_a_command_that_is_not_there_is_not_tried_again(tmp_path: Path) -> None:
    done = run(tmp_path, "--", "no-such-command")

    assert done.returncode == 127
    assert "cannot run no-such-command" in done.stderr


def test_a_text_where_a_command_is_meant_is_explained(tmp_path: Path) -> None:
    done = run(tmp_path, "--on-fail", 'echo "$RESUMABLE_WHY"', "--", "no such command")

    assert done.returncode == 127
    assert "this is one word: leave the quotes out, or write sh -c 'no such command'" in done.stdout


WAITS = """
import pathlib, time
from resumable import checkpointed
with checkpointed("waits") as cp:
    for number in cp.remaining(range(100000)):
        pathlib.Path("here").touch()
        time.sleep(0.01)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM")
def test_a_signal_is_passed_on_and_ends_it_with_75(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(WAITS)
    child = subprocess.Popen(
        [sys.executable, "-m", "resumable", "run", *JOB],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "here").exists() and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=300)

    assert child.returncode == 75, errors
    assert "resumable run: stopped by SIGTERM" in errors
    assert (tmp_path / ".checkpoint_waits.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a system call of Linux")
def test_a_job_whose_supervisor_is_killed_saves_and_ends(tmp_path: Path) -> None:
    """Else it would work on beside the one that is started next."""
    (tmp_path / "job.py").write_text(WAITS)
    child = subprocess.Popen(
        [sys.executable, "-m", "resumable", "run", *JOB],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "here").exists() and time.monotonic() < until:
        time.sleep(0.01)
    child.kill()
    _, errors = child.communicate(timeout=300)  # the job holds stderr open until it ends

    assert b"Saved; nothing is lost" in errors


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGHUP")
def test_under_nohup_the_end_of_the_terminal_is_not_heard(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(WAITS.replace("100000", "200"))
    child = subprocess.Popen(
        ["nohup", sys.executable, "-m", "resumable", "run", *JOB],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "here").exists() and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(signal.SIGHUP)
    told, _ = child.communicate(timeout=300)

    assert child.returncode == 0, told
    assert "stopped" not in told


HUNGRY = """
import os, pathlib, signal
from resumable import checkpointed
with checkpointed("hungry") as cp:
    for number in cp.remaining(range(100)):
        if number == 57:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_job_that_is_killed_at_one_item_is_given_up_and_said_to_be_killed(tmp_path: Path) -> None:
    done = run(tmp_path, *JOB, text=HUNGRY)

    assert done.returncode == 1
    assert "3 runs made no progress: hungry stops at item 58 of 100; SIGKILL killed it" in done.stderr


BREAKS = """
from resumable import checkpointed
with checkpointed("breaks") as cp:
    for number in cp.remaining(range(100)):
        if number == 3:
            break
"""


@pytest.mark.slow
def test_a_job_that_leaves_its_loop_and_exits_with_0_is_run_once(tmp_path: Path) -> None:
    done = run(tmp_path, *JOB, text=BREAKS)

    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "resumable run: done: it exited with 0, but breaks has items left"
    assert (tmp_path / ".checkpoint_breaks.json").exists()
