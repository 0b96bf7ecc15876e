"""How progress is shown: by which display, as what a terminal gets to see, and never at the loop's cost."""

from __future__ import annotations

import io
import logging
import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from resumable._report.terminal import progress as _progress
from resumable._report.terminal.bar import ASCII, ProgressView, lower_line, progress_line, text_line, waiting_line
from resumable._report.terminal.progress import LinesProgress, TerminalProgress, show
from resumable._report.terminal.telling import say
from tests.support.views import UNKNOWN, VIEW, WAITING


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


class Screen:
    """What a terminal shows of plain text with carriage returns."""

    def __init__(self, text: str) -> None:
        self.lines = [self._line(line) for line in text.split("\n")]

    @staticmethod
    def _line(text: str) -> str:
        shown = ""
        for part in text.split("\r"):
            shown = part + shown[len(part) :]
        return shown.rstrip()


@pytest.fixture
def recorder() -> list[ProgressView]:
    return []


# -- which display


def test_false_shows_nothing() -> None:
    assert show(False) is None


def test_a_callable_gets_each_view_and_knows_the_last(recorder: list[ProgressView]) -> None:
    progress = show(recorder.append)
    assert progress is not None

    progress.start(VIEW, now=0)
    progress.update(VIEW, now=1)
    progress.wait(WAITING, now=2)
    progress.stop(VIEW, now=3)
    progress.update(VIEW, now=4)

    assert recorder == [VIEW, VIEW, WAITING, replace(VIEW, is_last=True)]


def test_a_display_of_the_users_own_is_used_as_it_is() -> None:
    stream = io.StringIO()
    progress = show(TerminalProgress(stream))
    assert progress is not None

    progress.update(VIEW, now=0)

    assert "3,418/10,000" in stream.getvalue()


def test_what_cannot_show_is_refused() -> None:
    with pytest.raises(TypeError, match="progress must be"):
        show("yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("terminal", "kind"),
    [
        pytest.param("xterm", TerminalProgress, id="terminal"),
        pytest.param("", TerminalProgress, id="unknown terminal"),
        pytest.param("dumb", LinesProgress, id="dumb terminal"),
    ],
)
def test_the_best_display_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch, terminal: str, kind: type) -> None:
    monkeypatch.setenv("TERM", terminal)

    progress: Any = show(True, Terminal())

    assert type(progress._progress) is kind


def test_a_notebook_shows_one_text_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shell:
        kernel = object()

    class Handle:
        def update(self, shown: dict[str, str], raw: bool) -> None:
            displayed.append(shown["text/plain"])

    def first(shown: dict[str, str], raw: bool, display_id: bool) -> Handle:
        displayed.append(f"new: {shown['text/plain']}")
        return Handle()

    displayed: list[str] = []
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    vars(ipython)["get_ipython"], vars(display)["display"] = Shell, first
    for module in (ipython, display):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    progress: Any = show(True, io.StringIO())
    progress.start(VIEW, now=0)
    progress.wait(WAITING, now=1)
    progress.stop(replace(VIEW, last_words="the end"), now=2)

    assert displayed[0] == f"new: {progress_line(VIEW)}\n{lower_line(VIEW)}"
    assert displayed[1].endswith(waiting_line(WAITING))
    assert displayed[2:] == ["the end"]


def test_a_stream_that_nobody_watches_gets_lines() -> None:
    progress: Any = show(True, io.StringIO())

    assert type(progress._progress) is LinesProgress


# -- a stream that is no file: one line, written over


@pytest.fixture
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("eighty_columns")
def test_a_plain_line_is_written_over_without_leftovers() -> None:
    stream = Terminal()
    progress = TerminalProgress(stream)

    progress.start(replace(VIEW, operation_id="a-long-name-that-leaves-letters"), now=0)
    progress.wait(WAITING, now=1)
    progress.update(UNKNOWN, now=2)
    progress.stop(replace(UNKNOWN, last_words="stars: 3,418 items"), now=3)

    assert Screen(stream.getvalue()).lines == ["stars: 3,418 items", ""]


@pytest.mark.usefixtures("eighty_columns")
def test_a_stream_that_takes_only_ascii_gets_only_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    progress = TerminalProgress(stream)

    progress.update(VIEW, now=0)

    assert ASCII.done in stream.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]


# -- lines


def seconds_of_lines(progress: LinesProgress, stream: io.StringIO, end: int) -> list[int]:
    written, at = 0, []
    progress.start(VIEW, now=1_000)
    for second in range(end + 1):
        progress.update(VIEW, now=1_000 + second)
        if len(stream.getvalue()) > written:
            written = len(stream.getvalue())
            at.append(second)
    return at


def test_where_nobody_watches_there_is_a_line_each_30_seconds() -> None:
    stream = io.StringIO()

    assert seconds_of_lines(LinesProgress(stream), stream, 100) == [30, 60, 90]
    assert stream.getvalue().count("\n") == 3
    assert stream.getvalue().startswith("stars  34% 3,418/10,000  3.3/s  59 min left, done 15:24")


def test_a_wait_is_told_at_once_and_then_each_30_seconds() -> None:
    stream = io.StringIO()
    progress = LinesProgress(stream)
    progress.start(VIEW, now=0)

    for tenth in range(600):
        progress.wait(WAITING, now=tenth / 10)

    assert stream.getvalue().splitlines() == [waiting_line(WAITING)] * 2


def test_there_is_always_a_last_line() -> None:
    stream = io.StringIO()
    progress = LinesProgress(stream)
    progress.start(VIEW, now=0)

    progress.stop(replace(VIEW, last_words="stars: 10,000 of 10,000 in 1 min"), now=1)

    assert stream.getvalue() == "stars: 10,000 of 10,000 in 1 min\n"


def test_a_program_that_logs_gets_the_lines_as_log_records(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "resumable.progress")
    stream = io.StringIO()

    seconds_of_lines(LinesProgress(stream), stream, 30)

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("resumable.progress", "INFO")
    assert record.message == text_line(VIEW)
    assert record.__dict__["resumable.operation_id"] == "stars"
    assert stream.getvalue() == ""


# -- nothing is raised into the loop


def everything(progress: Any) -> None:
    progress.start(VIEW, now=0)
    progress.update(VIEW, now=40)
    progress.wait(WAITING, now=80)
    progress.update(UNKNOWN, now=120)
    progress.stop(VIEW, now=160)


@pytest.mark.parametrize("kind", [TerminalProgress, LinesProgress])
@pytest.mark.parametrize("closed_from", ["start", "update"])
def test_a_stream_that_is_closed_ends_the_display_and_not_the_loop(
    monkeypatch: pytest.MonkeyPatch, kind: Any, closed_from: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(logging, "raiseExceptions", False)
    stream = Terminal()
    progress = _progress._Careful(kind(stream))
    if closed_from == "update":
        progress.start(VIEW, now=0)
    stream.close()

    everything(progress)

    assert progress._progress is None


def test_a_callable_that_raises_is_not_called_again_and_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def broken(view: ProgressView) -> None:
        calls.append(view)
        raise ValueError("my own mistake")

    progress: Any = show(broken)
    everything(progress)

    assert len(calls) <= 2  # a display that failed is stopped, once
    assert "progress is no longer shown, because the display failed: ValueError('my own mistake')" in caplog.text


def test_ctrl_c_while_drawing_is_the_users_and_goes_on() -> None:
    def interrupted(view: ProgressView) -> None:
        raise KeyboardInterrupt

    progress: Any = show(interrupted)

    with pytest.raises(KeyboardInterrupt):
        progress.update(VIEW, now=0)


def test_without_a_stderr_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)

    everything(show(True))
    say("unheard")


def test_what_is_said_goes_to_stderr_in_what_letters_it_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")

    say("stars: stopped")
    assert capsys.readouterr() == ("", "stars: stopped\n")

    monkeypatch.setattr(sys, "stderr", stream)
    say("é")
    assert stream.buffer.getvalue() == b"\\xe9\n"  # type: ignore[attr-defined]
