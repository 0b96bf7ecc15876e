"""``run``: a job, or a command for each line of a file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from resumable.cli._commands import commands

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are of a POSIX shell")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "items").write_text("".join(f"{number}\n" for number in range(1, 21)))
    return tmp_path


def run(*arguments: str) -> Result:
    options = ("run", "--items", "items", "--no-progress", "--id", "each")
    return CliRunner().invoke(commands, [*options, *arguments], catch_exceptions=False)


@pytest.mark.parametrize(
    "arguments",
    [("-j2", "--", "true"), ("--any-order", "--", "true"), ("--items", "items", "--tries", "2", "--", "true")],
)
def test_an_option_of_the_other_use_is_refused(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(commands, ["run", *arguments])

    assert result.exit_code == 2
    assert "--items" in result.output


def test_a_command_that_is_not_there_is_told_before_anything_is_done() -> None:
    Path("plain").touch()

    result = run("--", "no-such-command", "{}")
    assert (result.exit_code, "cannot run no-such-command: no such command" in result.output) == (127, True)
    assert run("--", "./plain", "{}").exit_code == 126
    assert not list(Path().glob(".checkpoint_*"))
