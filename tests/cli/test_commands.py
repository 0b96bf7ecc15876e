"""The commands: lists, ids, places, completion; nothing in a checkpoint can make one fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from resumable import CheckpointManager, checkpointed
from resumable.stores import FileStore
from tests.support import stores
from tests.support.command import document, resumable, run
from tests.support.running import REPOSITORY

pytestmark = pytest.mark.usefixtures("place")


def run_and_die(operation_id: str) -> None:
    """One run that saves, and is gone before it could say why."""
    code = f"""
import os
from resumable import checkpointed
with checkpointed({operation_id!r}) as cp:
    for item in cp.remaining(range(10)):
        if item == 3:
            cp.save()
            os._exit(9)
"""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=300).returncode == 9


def run_and_keep(operation_id: str, reason: str = "") -> None:
    with checkpointed(operation_id) as cp:
        cp.keep(reason)


# -- list


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leave", "state"),
    [
        pytest.param(lambda: run("stars", KeyboardInterrupt()), "■ stopped", id="Ctrl-C"),
        pytest.param(lambda: run("stars", SystemExit(143)), "■ stopped", id="SIGTERM"),
        pytest.param(lambda: run("stars", OSError()), "✗ failed", id="an exception"),
        pytest.param(lambda: run_and_die("stars"), "✗ killed", id="kill -9"),
        pytest.param(lambda: run("stars"), "✓ finished", id="the end"),
        pytest.param(lambda: run_and_keep("stars"), "✓ kept", id="kept"),
        pytest.param(lambda: run_and_keep("stars", "for tonight"), "✓ kept", id="kept, with a reason"),
        pytest.param(lambda: CheckpointManager().create_checkpoint("stars", {}), "• saved", id="the manager"),
        pytest.param(lambda: Path(".checkpoint_stars.json").write_text("{"), "! damaged", id="a torn file"),
    ],
)
def test_the_list_tells_how_each_operation_ended(leave: Callable[[], None], state: str) -> None:
    leave()

    lines = resumable("list").stdout.splitlines()

    assert lines[0].split() == ["OPERATION", "STATE", "DONE", "LEFT", "LAST", "SAVE", "RUNS"]
    assert lines[1].startswith(f"stars      {state}")
    assert len(lines) == 2


def test_who_holds_the_lock_is_running() -> None:
    run("stars", OSError())

    with stores.claimed(FileStore("."), "stars"):
        assert document("list")["checkpoints"][0]["state"] == "running"


def test_a_list_of_nothing_says_where_it_looked(place: Path) -> None:
    assert resumable("list").stdout == f"no checkpoints in {place}\n"
    assert document("list") == {"store": str(place), "checkpoints": [], "sums": []}


def test_a_directory_that_is_not_there_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch, bare: Callable[..., tuple[int, str, str]]
) -> None:
    """A misspelled --dir looked as if all jobs had ended."""
    missing = place / "missing"
    for arguments in (["list"], ["list", "--json"], ["list", "a"]):
        result = resumable(*arguments, "--dir", str(missing))
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"there is no directory {missing}" in result.stderr
    assert bare("list", "--dir", str(missing)) == (1, "", f"Error: there is no directory {missing}\n")
    (a_file := place / "file").touch()
    assert f"there is no directory {a_file}" in resumable("list", "--dir", str(a_file)).stderr
    monkeypatch.setenv("CHECKPOINT_DIR", str(missing))  # the first job will make it
    result = resumable("list")
    assert (result.exit_code, result.stdout) == (0, f"no checkpoints in {missing}, which is not there\n")


@pytest.mark.parametrize("verb", ["show", "rm", "export", "verify", "repair", "pause"])
def test_each_command_tells_of_a_directory_that_is_not_there(verb: str, place: Path) -> None:
    result = resumable(verb, "a", "--dir", str(place / "missing"))

    assert (result.exit_code, result.stderr) == (1, f"Error: there is no directory {place / 'missing'}\n")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\x00[", id="no text"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b'{"version": "9.0", "operation_id": "bad"}', id="too new"),
        pytest.param(b'{"version": "2.0", "operation_id": "bad", "state": {}, "resumable": 3}', id="not ours"),
    ],
)
def test_a_damaged_checkpoint_is_a_row_and_can_be_removed(content: bytes) -> None:
    Path(".checkpoint_bad.json").write_bytes(content)

    listed = resumable("list")
    row = document("list")["checkpoints"][0]
    shown = resumable("show", row["operation_id"])

    assert listed.exit_code == shown.exit_code == 0
    assert "! damaged" in listed.stdout
    assert row["problem"] in shown.stdout
    exported = resumable("export", row["operation_id"])
    assert (exported.exit_code, exported.stdout) == (1, "")
    assert resumable("rm", row["operation_id"]).exit_code == 0
    assert not Path(".checkpoint_bad.json").exists()


# -- what is printed


@pytest.mark.slow
def test_python_m_resumable_is_the_command_line_even_where_only_ascii_can_be_shown(place: Path) -> None:
    run("stars-é", OSError())
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "ascii"}

    done = subprocess.run(
        [sys.executable, "-m", "resumable", "list"], cwd=place, env=environment, capture_output=True, timeout=300
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[1].split()[:3] == [b"stars-\\xe9", b"x", b"failed"]


@pytest.mark.slow
def test_the_shell_completes_ids(place: Path) -> None:
    run("stars", OSError())
    run("shard 1", OSError())
    words = {"_RESUMABLE_COMPLETE": "bash_complete", "COMP_WORDS": "resumable show s", "COMP_CWORD": "2"}

    done = subprocess.run(
        [sys.executable, "-m", "resumable"],
        cwd=place,
        env=os.environ | words | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.stdout.split("\n")[:2] == ["plain,shard 1", "plain,stars"]
    for shell in ("bash", "zsh", "fish"):
        assert "_RESUMABLE_COMPLETE" in resumable("completion", shell).stdout


def test_it_tells_its_version() -> None:
    assert resumable("--version").stdout == f"resumable, version {version('resumable-loops')}\n"


# -- where


def test_a_store_that_this_version_lacks_is_a_wrong_call() -> None:
    result = resumable("list", "--store", "gopher://x")

    assert result.exit_code == 2
    assert "gopher://" in result.stderr


@pytest.mark.slow
def test_a_command_does_not_load_what_only_others_need() -> None:
    program = "import sys, resumable.cli._commands; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)

    others = {"tarfile", *(f"resumable.cli.{name}" for name in ("_export", "_removal", "_run", "_verify_commands"))}
    assert others & set(done.stdout.split()) == set()
