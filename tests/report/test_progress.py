"""How progress is shown: by which display, as what a terminal gets to see, and never at the loop's cost."""

from __future__ import annotations

import builtins
import io
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from resumable._report import progress as _progress
from resumable._report.bar import ASCII, ProgressView, budget_line, progress_line, text_line, waiting_line
from resumable._report.progress import LinesProgress, PlainProgress, RichProgress, say, show
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
    progress = show(PlainProgress(stream))
    assert progress is not None

    progress.update(VIEW, now=0)

    assert "3,418/10,000" in stream.getvalue()


def test_what_cannot_show_is_refused() -> None:
    with pytest.raises(TypeError, match="progress must be"):
        show("yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("missing", "terminal", "kind"),
    [
        pytest.param([], "xterm", RichProgress, id="all there"),
        pytest.param(["rich"], "xterm", PlainProgress, id="no rich"),
        pytest.param([], "dumb", PlainProgress, id="dumb terminal"),
    ],
)
def test_the_best_display_that_is_there_is_taken(
    monkeypatch: pytest.MonkeyPatch, missing: list[str], terminal: str, kind: type
) -> None:
    for name in missing:
        for module in [name, *(known for known in sys.modules if known.startswith(f"{name}."))]:
            monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("TERM", terminal)

    progress: Any = show(True, Terminal())

    assert type(progress._progress) is kind


class Widget:
    """What rich needs of the Output widget in a notebook."""

    cleared = 0

    def clear_output(self, wait: bool) -> None:
        Widget.cleared += 1

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A notebook with widgets; gives what it displays as plain text."""

    class ZMQInteractiveShell:
        kernel = object()

    displayed: list[str] = []
    display = ModuleType("IPython.display")
    vars(display)["display"] = lambda shown: displayed.append(getattr(shown, "text", ""))
    ipython, widgets = ModuleType("IPython"), ModuleType("ipywidgets")
    vars(ipython)["get_ipython"] = ZMQInteractiveShell
    vars(widgets)["Output"] = Widget
    for module in (ipython, display, widgets):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    monkeypatch.setattr(Widget, "cleared", 0)
    return displayed


def test_a_notebook_gets_a_bar_of_rich_though_its_stderr_is_no_terminal(notebook: list[str]) -> None:
    progress: Any = show(True, io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert type(progress._progress) is RichProgress

    everything(progress)

    widget, first, second, wait, *_ = map(bare, notebook)
    assert widget == ""
    assert first == second == f"{progress_line(VIEW)}\n       {budget_line(VIEW)}\n"
    assert waiting_line(WAITING) in wait
    assert Widget.cleared == 5


@pytest.mark.parametrize("missing", ["rich", "ipywidgets"])
def test_a_notebook_in_which_rich_cannot_draw_gets_the_plain_line(
    monkeypatch: pytest.MonkeyPatch, notebook: list[str], missing: str
) -> None:
    for module in [missing, *(known for known in sys.modules if known.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    stream = io.StringIO()

    progress: Any = show(True, stream)
    progress.start(VIEW, now=0)

    assert type(progress._progress) is PlainProgress
    assert "3,418/10,000" in stream.getvalue()
    assert notebook == []


def test_a_stream_that_nobody_watches_gets_lines() -> None:
    progress: Any = show(True, io.StringIO())

    assert type(progress._progress) is LinesProgress


def test_rich_is_imported_only_when_it_is_wanted() -> None:
    code = (
        "import sys; import resumable._report.progress as p; p.show(True, open('/dev/null', 'w'));"
        "sys.exit('rich' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-B", "-c", code], check=False).returncode == 0


# -- plain


@pytest.fixture
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("eighty_columns")
def test_a_plain_line_is_written_over_without_leftovers() -> None:
    stream = Terminal()
    progress = PlainProgress(stream)

    progress.start(replace(VIEW, operation_id="a-long-name-that-leaves-letters"), now=0)
    progress.wait(WAITING, now=1)
    progress.update(UNKNOWN, now=2)
    progress.stop(UNKNOWN, now=3)

    assert Screen(stream.getvalue()).lines == ["stars  3,418 done  3.3/s", ""]


@pytest.mark.usefixtures("eighty_columns")
def test_a_stream_that_takes_only_ascii_gets_only_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    progress = PlainProgress(stream)

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


@pytest.mark.parametrize("kind", [RichProgress, PlainProgress, LinesProgress])
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

    assert not isinstance(sys.stdout, _proxies())


def _proxies() -> type:
    from rich.file_proxy import FileProxy

    return FileProxy


def test_a_callable_that_raises_is_not_called_again_and_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def broken(view: ProgressView) -> None:
        calls.append(view)
        raise ValueError("my own mistake")

    progress: Any = show(broken)
    everything(progress)

    assert len(calls) <= 2  # a display that failed is stopped, once
    assert "progress is shown no more: ValueError('my own mistake')" in caplog.text


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


# -- under a real terminal

pty = pytest.importorskip("pty", reason="terminals of this kind are POSIX only")

PROGRAM = """
import sys
from dataclasses import replace
from tests.support.views import VIEW, WAITING
sys.modules[sys.argv[2]] = None
if sys.argv[1] != "-":
    sys.stdout = open(sys.argv[1], "w")
from resumable._report.progress import show
progress = show(True)
progress.start(VIEW, now=0)
print("[b]printed[/b] by the program")
progress.update(replace(VIEW, done=5000), now=1)
progress.wait(replace(WAITING, done=5000), now=2)
if sys.argv[3] == "kill":
    import os; os.kill(os.getpid(), 9)
progress.stop(replace(VIEW, done=6000), now=3)
print("after", type(sys.stdout).__name__)
"""


def on_a_terminal(out: str = "-", missing: str = "none", end: str = "stop", **environ: str) -> str:
    """All that PROGRAM writes to its terminal."""
    terminal, other_end = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", **environ}
    command = [sys.executable, "-B", "-c", PROGRAM, out, missing, end]
    child = subprocess.Popen(command, stdin=other_end, stdout=other_end, stderr=other_end, env=environment)
    os.close(other_end)
    written = b""
    try:
        while piece := os.read(terminal, 65_536):
            written += piece
    except OSError:  # how Linux tells the end
        pass
    os.close(terminal)
    child.wait()
    return written.decode()


def bare(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.fixture(scope="module")
def rich_screen() -> str:
    return on_a_terminal()


def test_rich_shows_both_lines_the_wait_and_what_the_program_prints(rich_screen: str) -> None:
    text = bare(rich_screen)

    assert str(progress_line(VIEW)) in text
    assert "       " + budget_line(VIEW) in text
    assert waiting_line(WAITING) in text
    assert "[b]printed[/b] by the program" in text


def test_rich_gives_stdout_back_and_leaves_the_last_bar(rich_screen: str) -> None:
    *_, bar, after, end = bare(rich_screen).replace("\r", "").split("\n")

    assert bar.endswith(str(progress_line(replace(VIEW, done=6_000))))
    assert (after, end) == ("after TextIOWrapper", "")


def test_a_kill_leaves_the_terminal_its_cursor() -> None:
    text = on_a_terminal(end="kill")

    assert text.rfind("\x1b[?25h") >= text.rfind("\x1b[?25l")


def test_prints_that_go_to_a_file_still_go_there(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"

    text = on_a_terminal(out=str(out))

    assert out.read_text() == "[b]printed[/b] by the program\nafter TextIOWrapper\n"
    assert "printed" not in text


def test_no_color_means_none(rich_screen: str) -> None:
    colors = re.compile(r"\x1b\[[0-9;]*\b(3[0-7]|9[0-7]|38)[;m]")

    assert colors.search(rich_screen)
    assert not colors.search(on_a_terminal(NO_COLOR="1"))


def test_without_rich_one_line_is_written_over() -> None:
    lines = Screen(bare(on_a_terminal(missing="rich")).replace("\r\n", "\n")).lines

    assert lines[-3] == str(progress_line(replace(VIEW, done=6_000), 79))
    assert lines[-2:] == ["after TextIOWrapper", ""]
