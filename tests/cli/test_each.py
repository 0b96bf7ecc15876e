"""``resumable run --items``: each line once, many at a time, whenever a process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from resumable.cli._commands import commands
from resumable.cli._each import id_for, read_items
from tests.support.running import REPOSITORY, is_alive

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are of a POSIX shell")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "items").write_text("".join(f"{number}\n" for number in range(1, 21)))
    return tmp_path


def run(*arguments: str) -> Result:
    options = ("run", "--items", "items", "--no-progress", "--id", "each")
    return CliRunner().invoke(commands, [*options, *arguments], catch_exceptions=False)


def rows(path: str) -> list[list[str]]:
    return [line.split("\t") for line in Path(path).read_text().splitlines()[1:]]


def test_each_line_is_done_once_and_logged(here: Path) -> None:
    result = run("-j4", "--joblog", "log.tsv", "--", "sh", "-c", "echo $0 >> done")

    assert result.exit_code == 0, result.output
    assert sorted(map(int, Path("done").read_text().split())) == list(range(1, 21))
    assert sorted(int(row[0]) for row in rows("log.tsv")) == list(range(1, 21))
    assert {(row[3], row[4]) for row in rows("log.tsv") if row[0] == "7"} == {("0", "sh -c 'echo $0 >> done' 7")}
    assert not list(here.glob(".checkpoint_*"))


def test_what_fails_is_kept_and_tried_again_when_asked_for() -> None:
    command = ("--", "sh", "-c", "echo $0 >> tried; test -e good || test $0 != 7 || { echo seven >&2; exit 4; }")
    first = run("-j2", "--joblog", "log.tsv", *command)
    again = run("-j2", "--joblog", "log.tsv", *command)
    Path("good").touch()
    last = run("-j2", "--joblog", "log.tsv", "--retry-failed", *command)

    assert [first.exit_code, again.exit_code, last.exit_code] == [1, 1, 0]
    assert "1 of 20 failed\n  which       resumable show each, and log.tsv\n" in first.output
    assert "run it once more with --retry-failed" in first.output
    assert Path("tried").read_text().split().count("7") == 2
    assert [row[3] for row in rows("log.tsv") if row[0] == "7"] == ["4", "0"]


def test_too_many_failures_end_it() -> None:
    result = run("--max-failed", "2", "--", "sh", "-c", "exit 3")

    assert result.exit_code == 1
    assert "3 of 3 failed, more than --max-failed allows; the last error: '3': exit code 3\n" in result.output
    assert "cp.failed" not in result.output
    assert run("--max-failed", "x", "--", "true").exit_code == 2


def test_a_failed_item_is_named_where_it_is_looked_for() -> None:
    run("--", "sh", "-c", "test $0 != 7")

    shown = CliRunner().invoke(commands, ["show", "each"], catch_exceptions=False).output
    assert "position 6  loop-1  CommandError: '7': exit code 1" in shown


def test_who_waits_for_its_end_is_told() -> None:
    tell = 'echo "$RESUMABLE_WHAT: $RESUMABLE_WHY" >> told'
    hooks = ("--on-done", tell, "--on-fail", tell)

    assert run(*hooks, "--", "sh", "-c", "test $0 != 7").exit_code == 1
    assert run(*hooks, "--retry-failed", "--", "true").exit_code == 0
    assert Path("told").read_text().splitlines() == ["given up: 1 of 20 failed", "done: "]


def test_lines_that_have_moved_are_refused_or_known_by_their_text() -> None:
    command = ("--", "sh", "-c", "echo $0 >> tried; test $0 != 7")
    run(*command)
    run("--id", "free", "--any-order", *command)
    Path("tried").unlink()
    Path("items").write_text("99\n7\n1\n\udcff\n", errors="surrogateescape")

    refused = run(*command)
    assert refused.exit_code == 1
    assert (
        "some of the first 20 items are done, but there are only 4 now\n  start over  resumable rm each"
        in refused.output
    )
    assert run("--id", "free", "--any-order", *command).exit_code == 1
    assert Path("tried").read_bytes() == b"99\n\xff\n"


def test_a_command_is_tried_again_as_often_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("items").write_text("one\n")
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)

    result = run("--retries", "3", "--", "sh", "-c", 'echo x >> tries; test "$(wc -l < tries)" -ge 3')

    assert result.exit_code == 0
    assert Path("tries").read_text().count("x") == 3


def test_a_text_for_the_shell_gets_its_item_quoted() -> None:
    Path("items").write_text("a b; echo no\n")

    result = run("--shell", "--", "printf '%s' {} | wc -c > length")

    assert result.exit_code == 0, result.output
    assert Path("length").read_text().strip() == "12"


def test_items_keep_their_bytes_and_blank_lines_are_none() -> None:
    Path("items").write_bytes(b"a\n\n  \n\xff\xfe\n")

    assert read_items("items") == ["a", "\udcff\udcfe"]
    assert run("--", "sh", "-c", 'printf "%s" "$0" >> bytes').exit_code == 0
    assert sorted(Path("bytes").read_bytes()) == sorted(b"a\xff\xfe")


def test_only_the_end_of_a_line_ends_an_item_and_nul_does_where_there_is_one() -> None:
    Path("odd").write_bytes("a\u2028b\x0cc\r\nd\x85\n".encode())
    Path("null").write_bytes(b"one\ntwo\0three\0")

    assert read_items("odd") == ["a\u2028b\x0cc", "d\x85"]
    assert read_items("null") == ["one\ntwo", "three"]


def test_an_item_with_lines_and_quotes_is_one_argument() -> None:
    Path("items").write_bytes(b'it\'s "a"\n$(touch pwned)\0caf\xe9\0')
    result = run("--joblog", "log.tsv", "--", "sh", "-c", 'printf "%s|" "$0" >> done')

    assert result.exit_code == 0, result.output
    assert Path("done").read_bytes() == b'it\'s "a"\n$(touch pwned)|caf\xe9|'
    assert not Path("pwned").exists()
    assert len(rows("log.tsv")) == 2


def test_an_id_is_made_of_both_names() -> None:
    assert id_for("urls.txt", ["curl -s {}"]).startswith("run-curl-urls-")
    assert id_for("urls.txt", ["curl"]) != id_for("urls.txt", ["curl", "-s"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_and_run_again_it_goes_on(number: int, here: Path) -> None:
    command = [sys.executable, "-m", "resumable", "run", "-j2", "--items", "items", "--no-progress", "--id", "each"]
    command += [
        "--joblog",
        "log.tsv",
        "--",
        "sh",
        "-c",
        "touch begun$0; until test -e go || test $0 -lt 9; do sleep 0.05; done; echo $0",
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    until = time.monotonic() + 60
    while not Path("begun10").exists() and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(number)
    Path("go").touch()
    child.communicate(timeout=300)
    assert child.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 75, signal.SIGINT: 130}[signal.Signals(number)]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr
    assert sorted(int(row[0]) for row in rows("log.tsv")) == list(range(1, 21))


NOTING = """
from pathlib import Path
from resumable._runtime.groups import Groups
from resumable.cli import main
add = Groups.add
def noted(groups, group):
    add(groups, group)
    Path(f"known-{group}").touch()
Groups.add = noted
main()
"""
"""``resumable``, which tells what groups its watcher knows."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who lives")
def test_killed_its_commands_end_too(here: Path) -> None:
    command = [sys.executable, "-c", NOTING, "run", "-j3", "--items", "items", "--no-progress", "--id", "each"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    child = subprocess.Popen([*command, "--", "sh", "-c", "sleep 300; true"], env=environment)
    until = time.monotonic() + 60
    while len(known := [int(path.name.partition("-")[2]) for path in here.glob("known-*")]) < 3:
        assert time.monotonic() < until
        time.sleep(0.01)
    child.kill()
    child.wait()

    until = time.monotonic() + 60
    while any(map(is_alive, known)):
        assert time.monotonic() < until
        time.sleep(0.01)
