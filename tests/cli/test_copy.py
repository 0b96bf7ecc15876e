"""``resumable copy``, and the other commands on stores that are no directory."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointCorruptError, checkpointed, every, open_store
from resumable.stores import Holder
from tests.support import databases
from tests.support.command import resumable
from tests.support.media import place_in
from tests.support.stores import keys

pytestmark = pytest.mark.usefixtures("place")


PASSWORD = "pw-that-nobody-sees"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def keep(store: str, *ids: str) -> None:
    for operation_id in ids:
        with checkpointed(operation_id, every(items=2), store=store, auto_cleanup=False) as cp:
            cp.mapping("files").update({f"{number}": "x" * 300 for number in range(60)})
            for number in cp.remaining(range(10)):
                cp.mapping("files")[f"{number}"] = number


def stop(store: str) -> None:
    """A run that Ctrl-C ends."""
    with checkpointed("job", store=store, progress=True) as cp:
        for _ in cp.remaining(range(3)):
            raise KeyboardInterrupt


def told(*arguments: str, code: int = 0) -> Any:
    result = resumable(*arguments, "--json")
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def test_operations_are_copied_and_moved_by_their_ids(url: str, tmp_path: Path) -> None:
    keep(url, "shard-0", "shard-1", "other")
    assert resumable("copy", url, str(tmp_path / "a"), "shard-*").exit_code == 0
    assert keys(open_store(tmp_path / "a")) == ["shard-0", "shard-1"]

    found = told("copy", url, str(tmp_path / "b"), "--move")
    assert sorted(one["operation_id"] for one in found["copied"]) == ["other", "shard-0", "shard-1"]
    assert keys(open_store(url)) == []
    assert keys(open_store(tmp_path / "b")) == ["other", "shard-0", "shard-1"]


def test_what_was_not_copied_is_told(url: str, tmp_path: Path) -> None:
    keep(url, "job")
    assert "no checkpoint of missing" in resumable("copy", url, str(tmp_path), "missing").stderr
    keep(str(tmp_path / "a"), "job")
    found = told("copy", url, str(tmp_path / "a"), code=1)

    assert found["copied"] == []
    assert "--force" in found["failed"][0]["problem"]
    assert told("copy", url, str(tmp_path / "a"), "--force")["failed"] == []


def test_a_place_without_checkpoints_is_told(url: str) -> None:
    missing = resumable("copy", "no-such-directory", url)
    assert missing.exit_code == 1
    assert "no-such-directory, which is not there" in missing.stderr
    assert "no checkpoints in" in resumable("copy", url, "there").stdout


def test_all_commands_work_on_a_database(url: str) -> None:
    keep(url, "job")
    with checkpointed("running", store=url) as cp:
        cp.tick()
        cp.save()
        states = {one["operation_id"]: one["state"] for one in told("list", "--store", url)["checkpoints"]}
        assert states["running"] == "running"
    assert told("show", "job", "--store", url)["processed_items"] == 10
    assert [one["verdict"] for one in told("verify", "--store", url)["checkpoints"]] == ["good"]
    assert told("repair", "job", "--store", url)["repaired"][0]["problem"] is None
    assert len(json.loads(resumable("export", "job", "--store", url, "--of", "files").stdout)) == 60
    assert told("rm", "job", "-y", "--store", url)["removed"] == ["job"]
    assert told("list", "--store", url)["checkpoints"] == []


@pytest.mark.slow
def test_an_owner_that_was_killed_is_not_listed_as_running(url: str) -> None:
    killed = """
import os, signal, sys
from resumable import checkpointed
with checkpointed("job", store=sys.argv[1]) as cp:
    cp.tick()
    cp.save()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", killed, url], env=environment, check=False).returncode == -9
    assert [one["state"] for one in told("list", "--store", url)["checkpoints"]] == ["killed"]


@pytest.mark.parametrize("more", ["", "?table_prefix=other_", "?compress=zstd&lease=20&table_prefix=x"])
@pytest.mark.parametrize("is_default", [False, True])
def test_the_commands_that_a_stopped_run_names_find_it(
    url: str, more: str, is_default: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url += more
    if is_default:
        monkeypatch.setenv("CHECKPOINT_STORE", url)
    with pytest.raises(KeyboardInterrupt):
        stop(url)
    (look,) = [line for line in capsys.readouterr().err.splitlines() if "  look  " in line]
    command = shlex.split(look)[2:]
    assert ("--store" in command) is not is_default
    assert resumable(*command).exit_code == 0


def test_a_damaged_one_names_the_store_in_what_to_type(url: str) -> None:
    keep(url := f"{url}?table_prefix=other_", "job")
    lease = open_store(url).claim("job", Holder.me())
    lease.stage(lease.next, [b"{}"])(b"")
    lease.release()
    with pytest.raises(CheckpointCorruptError) as caught:
        checkpointed("job", store=url).__enter__()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

    command = shlex.split(str(caught.value).partition("start over:")[2])
    assert resumable(*command[1:], "-y").exit_code == 0
    assert keys(open_store(url)) == []


@pytest.mark.slow
@pytest.mark.parametrize("is_known", [False, True])
def test_a_command_on_a_server_asks_nothing_more_if_the_password_is_known(
    is_known: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never shown. It may stand in the URL of $CHECKPOINT_STORE, or where PostgreSQL's own tools look for it."""
    url = place_in("postgresql", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        stop(url)
    (look,) = [line for line in capsys.readouterr().err.splitlines() if "  look  " in line]
    assert databases.PASSWORD not in look
    monkeypatch.setenv(*(("PGPASSWORD", databases.PASSWORD) if is_known else ("CHECKPOINT_STORE", url)))
    result = resumable(*shlex.split(look)[2:])
    assert (result.exit_code, databases.PASSWORD in result.stdout) == (0, False), result.stderr


def test_a_url_in_pyproject_is_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that names a file in a relative way goes from there, as a directory does."""
    (tmp_path / "pyproject.toml").write_text('[tool.resumable]\ndir = "sqlite:///kept.db?table_prefix=p_"\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    with checkpointed("job", auto_cleanup=False) as cp:
        cp.tick()
    assert [one["operation_id"] for one in told("list")["checkpoints"]] == ["job"]
    assert keys(open_store(f"sqlite:///{tmp_path}/kept.db?table_prefix=p_")) == ["job"]
    assert os.listdir() == []


def test_a_checkpoint_in_memory_is_not_called_safe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        stop("memory://stopped")
    says = capsys.readouterr().err
    assert "with the process, it is lost" in says
    assert "Saved" not in says


@pytest.mark.slow
def test_a_command_that_is_told_shows_no_password() -> None:
    away = f"postgresql://user:{PASSWORD}@127.0.0.1:1/none"
    for arguments in (["list"], ["show", "job"], ["rm", "job", "-y"]):
        result = resumable(*arguments, "--store", away)
        assert result.exit_code == 1
        assert "127.0.0.1" in result.stderr
        assert PASSWORD not in result.stderr + result.stdout
    result = resumable("copy", away, away)
    assert PASSWORD not in result.stderr + result.stdout
