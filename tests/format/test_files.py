"""Which files belong to an operation."""

from __future__ import annotations

from pathlib import Path

import pytest

from resumable._format.files import base_of, operations_at
from resumable.stores import FileStore
from tests.support.damaged import run, saved


@pytest.mark.parametrize(
    ("name", "base"),
    [
        (".checkpoint_a.json", ".checkpoint_a.json"),
        (".checkpoint_a.json.prev", ".checkpoint_a.json"),
        (".checkpoint_a.journal.prev", ".checkpoint_a.json"),
        (".checkpoint_a.json.json.corrupt-20261124T030000Z-1", ".checkpoint_a.json.json"),
        (".checkpoint_a.lock", None),
        ("other.json", None),
    ],
)
def test_each_file_belongs_to_a_checkpoint(name: str, base: str | None) -> None:
    assert base_of(Path("d") / name) == (base and Path("d") / base)


def test_a_directory_names_all_in_it(tmp_path: Path) -> None:
    saved(tmp_path, 1, "one")
    saved(tmp_path, 1, "two/of them")
    assert len(operations_at(str(tmp_path), FileStore("."))) == 2


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    result = run("verify", "nothing", "--dir", str(tmp_path))
    assert result.exit_code == 1
    assert "neither a checkpoint file, nor a directory, nor an operation" in result.output
