"""``rm``: what it removes, and what it asks before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resumable.cli import _removal
from resumable.stores import FileStore
from tests.support import stores
from tests.support.command import document, resumable, run

pytestmark = pytest.mark.usefixtures("place")


def test_rm_removes_each_and_leaves_nothing_behind(place: Path) -> None:
    for name in ("a", "b/c", "kept"):
        run(name, OSError())

    result = resumable("rm", "a", "b/c")

    assert (result.exit_code, result.stdout) == (0, "removed a\nremoved b/c\n")
    assert {path.name.partition(".json")[0] for path in place.iterdir()} <= {
        ".checkpoint_kept",
        ".checkpoint_kept.lock",
    }


def test_rm_leaves_a_running_one_alone() -> None:
    run("busy", OSError())
    run("idle", OSError())

    with stores.claimed(FileStore("."), "busy"):
        result = resumable("rm", "busy", "idle", "--json")

    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["removed"] == ["idle"]
    assert [failure["operation_id"] for failure in answer["failed"]] == ["busy"]
    assert "'busy' is already open in this process" in result.stderr
    assert Path(".checkpoint_busy.json").exists()


def test_rm_with_an_unknown_id_removes_nothing() -> None:
    run("a", OSError())

    assert resumable("rm", "a", "b").exit_code == 1
    assert Path(".checkpoint_a.json").exists()


@pytest.mark.parametrize(
    ("arguments", "answer", "removed"),
    [
        pytest.param([], "n\n", False, id="no"),
        pytest.param([], "", False, id="no answer"),
        pytest.param([], "y\n", True, id="yes"),
        pytest.param(["--yes"], None, True, id="not asked"),
    ],
)
def test_rm_asks_on_a_terminal(
    arguments: list[str], answer: str | None, removed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_removal, "_can_ask", lambda: True)
    run("stars", OSError())

    result = resumable("rm", "stars", *arguments, answer=answer)

    assert ("stars: failed, 3 of 10 (30%)" in result.stderr) is (arguments == [])
    assert result.exit_code == (0 if removed else 1)
    assert Path(".checkpoint_stars.json").exists() is not removed


def test_rm_takes_patterns() -> None:
    for name in ("shard-1", "shard-2", "other"):
        run(name, OSError())

    result = resumable("rm", "shard-*")

    assert sorted(result.stdout.split()) == ["removed", "removed", "shard-1", "shard-2"]
    assert resumable("rm", "shard-*").exit_code == 1
    assert [one["operation_id"] for one in document("list")["checkpoints"]] == ["other"]


def test_rm_chooses_by_state_and_age() -> None:
    run("failed", OSError())
    run("done", items=99)

    assert resumable("rm").exit_code == 2
    assert resumable("rm", "--older-than", "soon").exit_code == 2
    assert resumable("rm", "--older-than", "1h").stderr == "nothing to remove\n"
    assert resumable("rm", "--finished", "--older-than", "0s").stdout == "removed done\n"
    assert resumable("rm", "*", "--older-than", "0s").stdout == "removed failed\n"
