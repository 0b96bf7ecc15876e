"""``resumable run -- COMMAND``: runs a job again until it is done or makes no progress."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .._errors import RUN_AGAIN
from .._report.stored.wording import items_failed
from .._report.supervised import CAREFUL, FILE, ReportedEvent, RunReport, read_report
from .._runtime.jobs import end_of_job
from .._runtime.processes import ending_with_parent, memory_kills
from .._text import duration, printable, quoted, shortened

GAVE_UP = 1
_MOST_BACKOFF_SECONDS = 300.0
_MARGIN_SECONDS = 1.0
"""Wait this much longer than until a quota is fresh, because clocks differ."""
_NAP_SECONDS = 0.1
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
_ASK_TO_STOP = frozenset({"SIGINT", "SIGTERM", "SIGHUP"})
_KILLS = frozenset({"SIGKILL", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS"})
"""Signals that leave a program no time to save."""
_LIMITED = "Stopped: limit "
"""How the reason of a save begins when a loop reached its ``limit=``."""
_HOPELESS = ("InputChangedError", "StateEncodeError", "BudgetExhausted", "TooManyFailedError")
"""Errors that every further run would raise again."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do after a run: run it ``again`` in *seconds*, or end, as ``done``, ``stopped`` or ``given up``."""

    what: Literal["again", "done", "stopped", "given up"]
    why: str = ""
    seconds: float = 0.0
    code: int = 0


@dataclass(slots=True)
class Judge:
    """Decides after each run of a job. It uses neither clock nor process.

    Args:
        tries: Give up after this many runs in a row without progress, or that one item ended.
        backoff: Seconds before the next run; they double after each run without progress.
        is_in_job: Whether a batch system limits the time of this job, and can run it again.

    Attributes:
        items: The highest number of done items of each operation.
        without_progress: The number of last runs in a row that did not increase it.
        is_careful: Whether the next run saves after each item, to find the one that kills it.
    """

    tries: int = 3
    backoff: float = 1.0
    is_in_job: bool = False
    items: dict[str, int] = field(default_factory=dict)
    without_progress: int = 0
    is_careful: bool = False
    _at_item: tuple[tuple[str, str, str | int] | None, int] = (None, 0)
    _left: frozenset[str] = frozenset()

    def after(
        self,
        code: int,
        report: RunReport,
        *,
        now: float,
        asked_to_stop: str | None = None,
        wanted_memory: bool | None = None,
    ) -> Verdict:
        """What to do after a run that ended with exit *code*, negative for a signal.

        Args:
            now: Seconds since the epoch.
            wanted_memory: Whether the system killed processes during the run because memory was full; None if unknown.
            asked_to_stop: The signal that asked the supervisor to stop.
        """
        self._note(code, report)
        if code == 0 and not any(one.reason.startswith(_LIMITED) for one in report.ended):
            return Verdict("done", _left_in(report))
        if asked_to_stop is not None:
            is_interrupt = asked_to_stop == "SIGINT"
            return Verdict("stopped", f"stopped by {asked_to_stop}", code=130 if is_interrupt else RUN_AGAIN)
        if report.was_asked_to_stop:
            return Verdict("stopped", "stopped by request", code=RUN_AGAIN)
        if (hopeless := _hopeless(report)) is not None:
            gave_up = RUN_AGAIN if hopeless.error.startswith("BudgetExhausted") else GAVE_UP
            return Verdict("given up", printable(hopeless.error), code=gave_up)
        if report.again_at is not None:
            wait = max(report.again_at + _MARGIN_SECONDS - now, 0.0)
            return Verdict("again", "the quota is used up", wait)
        if code == RUN_AGAIN and self.is_in_job:
            return Verdict("stopped", "its time limit is reached; run it again", code=RUN_AGAIN)
        why = how_it_ended(code, wanted_memory)
        if self._at_item[1] >= self.tries:
            item, error = self._item(report)
            text = f"{item} ended {self.tries} runs in a row: {error}; {why}"
            return Verdict("given up", text, code=_exit_code(code))
        if self.without_progress >= self.tries:
            made = f"made no progress{self._place(report)}" if self.items else "reported no progress"
            return Verdict("given up", f"{self.tries} runs {made}; {why}", code=_exit_code(code))
        if self.without_progress == 0 and code in (0, RUN_AGAIN):
            return Verdict("again", why)
        wait = self.backoff * 2.0 ** max(self.without_progress - 1, 0)
        return Verdict("again", why, min(wait, _MOST_BACKOFF_SECONDS))

    def _note(self, code: int, report: RunReport) -> None:
        # A new operation is progress only if all earlier ones go on or are done: an id that changes with each run must
        # not repeat the job for ever.
        is_new_ok = self._left <= report.items.keys()
        has_progress = False
        for name, count in report.items.items():
            has_progress |= count > self.items.get(name, 0) and (name in self.items or is_new_ok)
            self.items[name] = max(count, self.items.get(name, 0))
        if report.last:
            self._left = frozenset(name for name, event in report.last.items() if event.name != "done")
        is_waiting = report.again_at is not None
        self.without_progress = 0 if has_progress else self.without_progress + (not is_waiting)
        item, count = self._at_item
        self._at_item = (report.item, count + 1 if report.item == item else 1) if report.item is not None else (None, 0)
        was_killed = code < 0 or _signal_of(code) in _KILLS or report.is_cut_off
        self.is_careful = self.is_careful or (was_killed and self.without_progress > 0)

    def _item(self, report: RunReport) -> tuple[str, str]:
        assert report.item is not None
        operation_id, loop, key = report.item
        error = next(one.error for one in reversed(report.ended) if one.key is not None)
        shown = shortened(key, 80) if isinstance(key, str) else f"{key:,}"
        return f"item {shown} of {printable(loop)} in {printable(operation_id)}", printable(error)

    def _place(self, report: RunReport) -> str:
        last = report.newest
        if last is None:
            return ""
        done, of = self.items[last.operation_id], "" if last.total_items is None else f" of {last.total_items:,}"
        where = f": {printable(last.operation_id)} stops at item {done + 1:,}{of}"
        if not done and last.total_items is None:
            where = f": {printable(last.operation_id)} counted no items, which cp.tick() does"
        return f"{where}, {printable(last.error)}" if last.error else where


def _left_in(report: RunReport) -> str:
    """A sentence about an operation that is not done, though the job exited with 0; "" if there is none."""
    for one in report.ended:
        if one.reason.startswith("Stopped: "):
            return f"it exited with 0, but {printable(one.operation_id)} has items left"
        if one.reason.startswith("Failed items: "):
            return f"it exited with 0, but {items_failed(one.failed_items)} in {printable(one.operation_id)}"
    return ""


def _hopeless(report: RunReport) -> ReportedEvent | None:
    return next((one for one in report.ended if one.error.startswith(_HOPELESS)), None)


def _exit_code(code: int) -> int:
    """The exit code after giving up: the job's own, unless that has another meaning for ``resumable run``."""
    return code if 0 < code < 126 and code != RUN_AGAIN else GAVE_UP


def how_it_ended(code: int, wanted_memory: bool | None = None) -> str:
    """What an exit code means: ``SIGKILL killed it, perhaps because memory was full``."""
    if code in (0, RUN_AGAIN):
        return "it ended with items left"
    name = _signal_of(code)
    if name == "SIGKILL":
        perhaps = "" if wanted_memory is False else ", perhaps because memory was full"
        return "the system killed it, because memory was full" if wanted_memory else f"SIGKILL killed it{perhaps}"
    return f"{name} ended it" if name else f"it failed with exit code {code}"


def _signal_of(code: int) -> str:
    """The name of the signal in an exit code, also in a shell's form, 128 + number; "" if there is none."""
    number = -code if code < 0 else code - 128
    try:
        return signal.Signals(number).name if number > 0 else ""
    except ValueError:
        return ""


class Supervisor:
    """Runs *command* again until *judge* decides to end.

    Args:
        hooks: The shell commands to run at the end, by outcome: ``done`` or ``given up``.
    """

    def __init__(self, command: Sequence[str], judge: Judge, hooks: Mapping[str, str | None]) -> None:
        self._command, self._judge, self._hooks = list(command), judge, hooks
        self._child: subprocess.Popen[bytes] | None = None
        self._asked: str | None = None

    def run(self) -> int:
        """Run the command to its end. Returns the exit code for this program."""
        before = {name: signal.signal(getattr(signal, name), self._on_signal) for name in _not_ignored(_FORWARDED)}
        try:
            with tempfile.TemporaryDirectory(prefix="resumable-run-") as directory:
                return self._run(Path(directory) / "events.jsonl")
        finally:
            for name, handler in before.items():
                signal.signal(getattr(signal, name), handler)

    def _run(self, path: Path) -> int:
        path.touch(0o600)
        offset, runs, kills = 0, 0, memory_kills()
        while True:
            runs += 1
            try:
                code = self._run_once(path)
            except OSError as error:
                code = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
                return self._end(Verdict("given up", why_not(self._command, error), code=code), RunReport({}, {}), 1)
            report, offset = read_report(path, offset)
            kills, before = memory_kills(), kills
            wanted = None if kills is None or before is None else kills > before
            verdict = self._judge.after(code, report, now=time.time(), asked_to_stop=self._asked, wanted_memory=wanted)
            if verdict.what == "again":
                _say(f"run {runs:,}: {verdict.why}{_position(report)}; again {_in(verdict.seconds)}")
                self._sleep(verdict.seconds)
                if self._asked is None:
                    continue
                verdict = self._judge.after(code, RunReport({}, {}), now=time.time(), asked_to_stop=self._asked)
            return self._end(verdict, report, runs)

    def _run_once(self, path: Path) -> int:
        environment = os.environ | {FILE: str(path)} | ({CAREFUL: "1"} if self._judge.is_careful else {})
        self._child = subprocess.Popen(self._command, env=environment, preexec_fn=ending_with_parent())
        try:
            if self._asked is not None:  # a signal came while the job started
                self._child.send_signal(getattr(signal, self._asked))
            return self._child.wait()
        finally:
            self._child = None

    def _on_signal(self, number: int, frame: object) -> None:
        name = signal.Signals(number).name
        if name in _ASK_TO_STOP:
            self._asked = name
        if self._child is not None and not (name == "SIGINT" and _has_terminal()):
            self._child.send_signal(number)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._asked is None and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _NAP_SECONDS))

    def _end(self, verdict: Verdict, report: RunReport, runs: int) -> int:
        if verdict.what != "done" or runs > 1 or verdict.why:
            after = f" after {runs:,} runs" if runs > 1 else ""
            why = f": {verdict.why}" if verdict.why else ""
            _say(f"{verdict.why}{after}" if verdict.what == "stopped" else f"{verdict.what}{after}{why}")
        last = report.newest
        facts = {"RESUMABLE_RUNS": str(runs), "RESUMABLE_ID": last.operation_id if last else ""}
        run_hook(self._hooks.get(verdict.what), verdict.what, verdict.why, self._command, facts)
        return verdict.code


def run_hook(hook: str | None, what: str, why: str, command: Sequence[str], facts: Mapping[str, str]) -> None:
    """Run the shell command *hook*, if there is one. Its environment says how *command* ended, and why."""
    if hook is None:
        return
    environment = {"RESUMABLE_WHAT": what, "RESUMABLE_WHY": why, "RESUMABLE_COMMAND": " ".join(command)}
    code = subprocess.run(hook, shell=True, env=os.environ | environment | dict(facts)).returncode
    if code:
        _say(f"the command for {what!r} failed with exit code {code}")


def why_not(command: Sequence[str], error: OSError) -> str:
    """Why *command* cannot be run, and what to write instead."""
    name = command[0]
    words = f"; this is one word: leave the quotes out, or write sh -c {quoted(name)}" if " " in name.strip() else ""
    return f"cannot run {printable(name) or repr(name)}: {error.strerror or error}{words}"


def _not_ignored(names: Sequence[str]) -> list[str]:
    """The signals that this system has, and that this program does not ignore, as it ignores SIGHUP under nohup."""
    known = [name for name in names if hasattr(signal, name)]
    return [name for name in known if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN]


def _has_terminal() -> bool:
    """Whether Ctrl-C comes from a terminal, which sends it to the job, too."""
    return sys.stdin is not None and sys.stdin.isatty()


def _position(report: RunReport) -> str:
    last = report.newest
    if last is None:
        return ""
    of = "" if last.total_items is None else f" of {last.total_items:,}"
    return f", at {report.items.get(last.operation_id, 0):,}{of}"


def _in(seconds: float) -> str:
    return f"in {duration(seconds)}" if seconds >= 1 else "at once"


def _say(text: str) -> None:
    print(f"resumable run: {text}", file=sys.stderr, flush=True)


def supervise(
    command: Sequence[str], *, tries: int, backoff: float, on_done: str | None = None, on_fail: str | None = None
) -> int:
    """Run *command* until it is done or makes no progress. Returns the exit code for this program."""
    judge = Judge(tries=tries, backoff=backoff, is_in_job=end_of_job(os.environ) is not None)
    return Supervisor(command, judge, {"done": on_done, "given up": on_fail}).run()
