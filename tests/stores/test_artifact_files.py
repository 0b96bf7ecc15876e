"""Artifacts as files beside a checkpoint."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from resumable.stores._artifact_files import ArtifactFiles


@pytest.fixture
def files(tmp_path: Path) -> ArtifactFiles:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "v0").write_bytes(b"older")
    return ArtifactFiles([tmp_path / "home", tmp_path / "old"])


def test_bytes_come_back_and_count_with_their_size(files: ArtifactFiles) -> None:
    files.put("v1", [b"some ", b"weights"])

    assert b"".join(files.read("v1")) == b"some weights"
    assert sorted(files.list()) == [("v0", 5), ("v1", 12)]


def test_a_directory_is_read_as_its_tar(files: ArtifactFiles) -> None:
    place = files.place("v1")
    assert place is not None
    (place / "model").write_text("weights")
    files.seal("v1")

    with tarfile.open(fileobj=io.BytesIO(b"".join(files.read("v1")))) as tar:
        assert tar.getnames() == ["model"]
    assert files.place("v0") is None, "bytes that were put have no directory"


def test_what_lies_under_an_older_name_is_read_and_brought_home(files: ArtifactFiles, tmp_path: Path) -> None:
    assert b"".join(files.read("v0")) == b"older"

    files.bring_home()

    assert (tmp_path / "home" / "v0").read_bytes() == b"older"
    assert list((tmp_path / "old").iterdir()) == []


def test_nothing_is_left_of_what_is_not_kept(files: ArtifactFiles, tmp_path: Path) -> None:
    files.put("v1", [b"a"])
    files.keep({"v1"})
    assert list(files.list()) == [("v1", 1)]

    files.keep(())

    assert list(tmp_path.iterdir()) == []


def test_pieces_that_fail_leave_no_file(files: ArtifactFiles, tmp_path: Path) -> None:
    def pieces() -> object:
        yield b"some"
        raise KeyError

    with pytest.raises(KeyError):
        files.put("v1", pieces())  # type: ignore[arg-type]
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("name", ["", "../v1", ".v1", "a/b", "x" * 81])
def test_a_name_that_some_medium_cannot_hold_is_refused(name: str, files: ArtifactFiles) -> None:
    with pytest.raises(ValueError, match="not a valid name for a version of an artifact"):
        files.put(name, [b"a"])


def test_what_is_missing_is_told(files: ArtifactFiles) -> None:
    with pytest.raises(FileNotFoundError):
        next(files.read("v9"))
