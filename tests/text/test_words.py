"""Durations, times and speeds in words; names and commands for shells and terminals."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from resumable._text import (
    ago,
    argument,
    clock_time,
    commands,
    countdown,
    duration,
    printable,
    quoted,
    resume_command,
    speed,
)
from tests.support.views import AT

# -- durations, times, speeds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3_569, "59 min"), (3_570, "1h00m"),
        (6_720, "1h52m"), (100_000, "27h47m"), (3 * 86_400, "3 days"), (1e12, "over a year"),
        (float("inf"), "over a year"), (float("nan"), "over a year"),
    ],
)  # fmt: skip
def test_a_duration_is_told_in_the_units_that_matter(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (0.1, "0:01"), (7, "0:07"), (2_092, "34:52"), (5_692, "1:34:52"), (float("nan"), "over a year")],
)
def test_a_countdown_is_zero_only_at_its_end(seconds: float, text: str) -> None:
    assert countdown(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"), (2, "2 s ago"), (600, "10 min ago"), (3_600, "1 h ago"), (80_000, "22 h ago"),
        (90_000, "yesterday"), (500_000, "5 days ago"),
    ],
)  # fmt: skip
def test_how_long_ago_is_told_as_people_do(seconds: float, text: str) -> None:
    assert ago(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(12_345, "12,345/s"), (99.96, "100/s"), (3.333, "3.3/s"), (1, "1/s"), (0.2, "12/min"), (0.000_7, "2.5/h"),
     (0.000_01, "0.9/day")],
)  # fmt: skip
def test_a_speed_is_told_in_the_unit_that_keeps_it_readable(rate: float, text: str) -> None:
    assert speed(rate) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 3, 1, 15, 24), "15:24"),
        (datetime(2026, 3, 2, 0, 5), "Mon 00:05"),
        (datetime(2026, 3, 8, 14, 25), "2026-03-08 14:25"),
    ],
)
def test_a_time_on_another_day_says_the_day(moment: datetime, text: str) -> None:
    assert clock_time(moment, AT) == text


# -- shell and terminal


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["python", "stars.py", "--org", "apache"], "python stars.py --org apache"),
        (["python", "-m", "pkg.tool", "a b"], "python -m pkg.tool 'a b'"),
        (["python", "-Im", "pkg"], "python -Im pkg"),
        (["python", "-X", "dev", "-W", "error", "-u", "x.py"], "python -X dev -W error -u x.py"),
        (["python", "-Wignore", "--check-hash-based-pycs", "never", "x.py"],
         "python -Wignore --check-hash-based-pycs never x.py"),
        (["python", "-c", "print(1)"], "python -c 'print(1)'"),
        (["python", "my_multiprocessing.py"], "python my_multiprocessing.py"),
        (["python", "x.py", "a\nb"], "python x.py $'a\\x0ab'"),
        pytest.param([], "", id="embedded"),
        pytest.param(["python"], "", id="prompt"),
        pytest.param(["python", "-i"], "", id="prompt with a flag"),
        pytest.param(["python", "-", "a"], "", id="stdin"),
        pytest.param(["python", "-m", "ipykernel_launcher", "-f", "k.json"], "", id="notebook"),
        pytest.param(["python", "/usr/bin/ipython"], "", id="ipython"),
        pytest.param(["python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main()"], "", id="worker"),
    ],
)  # fmt: skip
def test_the_command_that_goes_on_repeats_the_program(argv: list[str], command: str) -> None:
    assert resume_command(argv) == command


def test_the_command_is_quoted_as_windows_does_there() -> None:
    argv = [r"C:\Program Files\python.exe", "x.py", "a b"]

    assert resume_command(argv, is_windows=True) == r'"C:\Program Files\python.exe" x.py "a b"'


def test_an_installed_command_is_told_as_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "tool"
    tool.touch(0o755)
    argv = ["/venv/bin/python3", str(tool), "run", "a b"]

    monkeypatch.setenv("PATH", str(tmp_path))
    assert resume_command(argv) == "tool run 'a b'"
    monkeypatch.setenv("PATH", "/nowhere")
    assert resume_command(argv) == f"/venv/bin/python3 {tool} run 'a b'"


@pytest.mark.parametrize(
    "text", ["plain", "a b", "it's", "$HOME `x` \\", "", "é星", "a\nb\t'\\n", "\x1b[2J\x85", "\u202e"]
)
def test_a_quoted_word_comes_out_of_the_shell_as_it_was(text: str) -> None:
    script = f"printf %s {quoted(text)}"
    answer = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})

    assert quoted(text).isprintable()
    assert answer.stdout.decode() == text


def test_a_name_that_begins_with_a_dash_is_no_option() -> None:
    assert argument("-rf") == "-- -rf"


def test_text_that_is_printable_is_left_alone() -> None:
    assert printable("é 星") == "é 星"
    assert printable("\x1b\udc80\n") == "\\x1b\\udc80\\n"


@pytest.mark.parametrize(
    ("command", "argv", "name"),
    [
        ("python a.py --token '***'", ["python3", "src/b.py"], "a.py"),
        ("python a.py 1", ["python", "/home/me/a.py", "2"], ""),
        ("python -m job", ["python", "a.py"], ""),
        ("python -c 'x = 1'", ["python", "a.py"], ""),
        ("python it's.py", ["python", "a.py"], ""),
        ("", ["python", "a.py"], ""),
    ],
)
def test_a_script_of_another_name_is_another_program(command: str, argv: list[str], name: str) -> None:
    assert commands.other_script(command, argv) == name


def test_a_command_that_the_shell_would_not_find_is_started_by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a virtual environment that is not active, for example."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "orig_argv", [".venv/bin/python", "job.py"])
    commands._our_command.cache_clear()
    try:
        assert commands.command_for("show", "a job") == ".venv/bin/python -m resumable show 'a job'"
    finally:
        commands._our_command.cache_clear()
