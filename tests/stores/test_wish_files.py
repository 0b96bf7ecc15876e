"""Wishes beside the checkpoints of a directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resumable import StoreError
from resumable.stores._wish_files import WishFiles


def test_a_wish_is_replaced_and_only_the_one_that_was_read_is_cleared(tmp_path: Path) -> None:
    wishes = WishFiles(tmp_path / "new")
    assert wishes.get("job") is None

    wishes.put("job", b"pause")
    wishes.put("job", b"stop")
    wishes.clear("job", b"pause")
    assert wishes.get("job") == b"stop"
    assert wishes.get("other") is None

    wishes.clear("job", b"stop")
    wishes.clear("job", b"stop")
    assert os.listdir(tmp_path / "new") == []


def test_a_directory_that_cannot_be_written_is_told_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"cannot write .*\.ask: "):
        WishFiles(tmp_path / "file").put("job", b"pause")
