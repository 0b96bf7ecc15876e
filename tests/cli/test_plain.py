"""The commands that work without click."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from resumable import CheckpointCorruptError, CheckpointManager, __version__
from tests.support.command import run

pytestmark = pytest.mark.usefixtures("place")


def test_without_its_extra_it_repairs(bare: Callable[..., tuple[int, str, str]], place: Path) -> None:
    """What the error of a damaged checkpoint names must be there."""
    manager, path = CheckpointManager(place), place / ".checkpoint_stars.json"
    for number in (1, 2):
        manager.create_checkpoint("stars", {"n": number})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointCorruptError) as caught:
        manager.load_checkpoint("stars")
    command = next(line for line in str(caught.value).splitlines() if " repair " in line)

    code, told, error = bare("repair", *shlex.split(command.partition(" repair ")[2]))

    assert (code, error) == (0, "")
    assert told.startswith("stars: repaired; the next run goes on from item 0\n  kept  ")
    assert manager.load_checkpoint("stars").state == {"n": 1}  # type: ignore[union-attr]
    assert bare("repair", "stars") == (0, "stars: good; nothing to repair\n", "")
    for damaged in place.iterdir():
        damaged.write_bytes(b"{")
    code, told, error = bare("repair", "stars")
    assert (code, told) == (1, "")
    assert "no other save is good. Nothing was changed.\n  start over:  move " in error
    assert bare("repair", "other")[0] == 1


def test_without_its_extra_it_lists_shows_and_removes(bare: Callable[..., tuple[int, str, str]]) -> None:
    run("stars", OSError())
    run("shard-1", OSError())
    run("shard-2", OSError())

    code, listed, told = bare("list", "stars")
    assert (code, told) == (0, "")
    assert re.fullmatch(r"stars  failed  3 of 10 \(30%\)(, \d+ s left)?  (just now|\d+ s ago)\n", listed)
    code, shown, _ = bare("show", "stars")
    assert code == 0
    assert "resumable rm stars" in shown
    assert re.search(r"  ended by +OSError, at item 3, in \S+command.py:\d+\n", shown)
    assert bare("rm", "shard-*", "-y")[:2] == (0, "removed shard-2\nremoved shard-1\n")
    assert bare("rm", "nope", "stars")[0] == 1
    assert bare("rm", "stars", "--yes")[:2] == (0, "removed stars\n")
    assert bare("list")[1].startswith("no checkpoints in ")


def test_a_driver_that_is_missing_is_told(
    bare: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "resumable.stores._objects", raising=False)
    monkeypatch.delitem(sys.modules, "resumable.stores._buckets", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)
    needs = "Error: s3:// needs obstore, which is not installed:  pip install 'resumable-loops[s3]'\n"
    assert bare("list", "--store", "s3://bucket") == (1, "", needs)


def test_without_its_extra_it_says_what_to_install(bare: Callable[..., tuple[int, str, str]]) -> None:
    assert "pip install 'resumable-loops[cli]'" in bare("--help")[1]
    code, _, said = bare("export", "stars")
    assert code == 2
    assert said == "Error: export needs click and rich:  pip install 'resumable-loops[cli]'\n"
    assert bare("--version")[:2] == (0, f"resumable, version {__version__}\n")
