"""Directories with all that is in them: listed in one order, synced, removed; links are never followed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from resumable._runtime import disk, trees


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "b" / "empty").mkdir(parents=True)
    (root / "b" / "c").write_bytes(b"123")
    (root / "a").write_bytes(b"4")
    return root


def test_a_directory_comes_before_its_content_and_names_decide_the_order(tree: Path) -> None:
    found = [(entry.name, entry.size) for entry in trees.entries(tree)]

    assert found == [("a", 1), ("b", None), ("b/c", 3), ("b/empty", None)]
    assert trees.size_of(tree) == 4


@pytest.mark.skipif(os.name == "nt", reason="links need rights there, and pipes have no name")
@pytest.mark.parametrize("make", [lambda path: path.symlink_to("a"), os.mkfifo], ids=["link", "pipe"])
@pytest.mark.parametrize("use", [trees.size_of, trees.sync])
def test_what_holds_nothing_of_its_own_is_refused(
    make: Callable[[Path], None], use: Callable[[Path], object], tree: Path
) -> None:
    make(tree / "b" / "odd")

    with pytest.raises(ValueError, match="odd is neither a file nor a directory"):
        use(tree)


def test_a_sync_reaches_each_file_and_directory(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(trees, "sync_file", lambda path: synced.append(path.name))
    monkeypatch.setattr(disk, "sync_directory", lambda path: synced.append(path.name))

    trees.sync(tree)

    assert synced == ["a", "b", "c", "empty", "tree"]


def test_a_tree_is_removed_and_what_its_links_lead_to_stays(tree: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (tree / "b" / "link").symlink_to(kept)

    assert trees.remove(tree)
    assert not trees.remove(tree)
    assert not tree.exists()
    assert (kept / "file").exists()
