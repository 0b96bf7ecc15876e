"""``show``: one operation, with its runs, loops and state."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from resumable import checkpointed, every
from resumable.stores import FileStore
from tests.support import stores
from tests.support.command import document, resumable, run
from tests.support.running import REPOSITORY

pytestmark = pytest.mark.usefixtures("place")


@pytest.mark.slow
def test_show_tells_the_exception_that_ended_the_last_run_and_its_place_in_the_program() -> None:
    code = """
from resumable import checkpointed
def fetch(item, token):
    if item == 3:
        raise ConnectionError("reset by peer, password=hunter2secret")
with checkpointed("stars") as cp:
    for item in cp.remaining(range(10)):
        fetch(item, None)
"""
    Path("job.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run([sys.executable, "job.py"], env=environment, timeout=300, capture_output=True).returncode == 1

    shown = resumable("show", "stars").stdout

    assert "failed" in shown.splitlines()[0]
    assert re.search(r"ended by +ConnectionError: reset by peer, password=\*\*\*, at item 3, in \S*job\.py:5\n", shown)
    history = document("show", "stars")["history"]
    assert history[-1]["error"] == "ConnectionError: reset by peer, password=***"
    assert history[-1]["place"].endswith("job.py:5")


def test_show_tells_how_much_a_kill_of_a_running_one_loses() -> None:
    with checkpointed("stars", every(seconds=60), store=".") as cp:
        cp.tick()
        cp.save()
        assert "at risk" in (text := resumable("show", "stars").stdout)
        assert "at most 1 min of work" in text
        cp.keep()

    assert "at risk" not in resumable("show", "stars").stdout


def test_show_tells_position_file_runs_loops_and_state() -> None:
    run("stars", KeyboardInterrupt(), items=2)
    run("stars", OSError(), items=5)

    output = resumable("show", "stars").stdout

    for text in (
        "stars  ✗ failed",
        "5 of 10 (50%)",
        str(Path(".checkpoint_stars.json")),
        "resumable rm stars",
        "Interrupted: KeyboardInterrupt",
        "Interrupted: OSError",
        "loop-1  5/10",
        "item-4       number",
    ):
        assert text in output


def test_show_as_json_has_the_keys_that_its_help_names() -> None:
    run("stars", OSError())
    shown = document("show", "stars")
    told = resumable("show", "--help").stdout + resumable("list", "--help").stdout

    assert [key for key in shown if key not in told] == []
    assert shown["loops"] == [{"name": "loop-1", "by": "position", "processed_items": 3, "total_items": 10}]
    assert shown["state_keys"][0] == {"name": "item-0", "kind": "number", "entries": None, "bytes": 1}
    assert [entry["reason"] for entry in shown["history"]] == ["Interrupted: OSError"]
    assert shown["bytes"] == Path(".checkpoint_stars.json").stat().st_size


def test_show_counts_what_is_done_by_key() -> None:
    with contextlib.suppress(OSError), checkpointed("keys") as cp:
        for item in cp.remaining([1, 2, 3, 9, 20], key=int):
            if item == 20:
                raise OSError

    assert document("show", "keys")["loops"] == [
        {"name": "loop-1", "by": "key", "processed_items": 4, "total_items": None}
    ]


def test_the_way_out_can_be_pasted_into_a_shell() -> None:
    run("two words", OSError())

    assert "resumable rm --dir . 'two words'" in resumable("show", "two words", "--dir", ".").stdout


@pytest.mark.parametrize("command", ["show", "rm", "export"])
def test_an_unknown_id_is_answered_with_close_ones(command: str) -> None:
    run("github-stars", OSError())

    result = resumable(command, "github-star")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "no checkpoint of github-star " in result.stderr
    assert "Did you mean: github-stars?" in result.stderr


def test_a_run_that_has_not_saved_yet_is_not_unknown() -> None:
    with stores.claimed(FileStore("."), "stars"):
        result = resumable("show", "stars")

    assert (result.exit_code, result.stderr) == (1, "Error: stars is running, but has not saved yet\n")


def test_show_needs_no_id_where_there_is_one() -> None:
    assert "no checkpoints in" in resumable("show").stderr
    run("stars", OSError())
    assert resumable("show").stdout.startswith("stars")
    assert document("show")["operation_id"] == "stars"
    run("more", OSError())
    assert resumable("show").stderr.endswith("Error: say which one: more, stars\n")
