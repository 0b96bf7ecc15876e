"""Whether the artifacts that a save names are there, unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resumable._durable.artifact import Version, digest_of
from resumable._format.artifacts import in_directory
from resumable._format.sections import Sections


@pytest.fixture
def named(tmp_path: Path) -> Sections:
    """A save that names one version of an artifact, which lies in a directory."""
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "model").write_text("weights")
    size, sha256 = digest_of(tmp_path / "v1")
    return Sections(artifacts={"model": Version(version="v1", size=size, sha256=sha256)})


def remove(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param(lambda file: None, "", id="unchanged"),
        pytest.param(remove, "is missing", id="missing"),
        pytest.param(lambda file: file.write_text("more weights"), "has 12 bytes, not 7", id="size"),
        pytest.param(lambda file: file.write_text("weightS"), "was changed: its SHA-256", id="a bit"),
    ],
)
def test_what_is_wrong_is_told(spoil: Callable[[Path], None], told: str, named: Sections, tmp_path: Path) -> None:
    spoil(tmp_path / "v1" / "model")

    found = in_directory(tmp_path)(named)

    assert found.startswith(f"its artifact 'model' {told}" if told else "")
    assert bool(found) == bool(told)


def test_each_version_is_looked_at_once(named: Sections, tmp_path: Path) -> None:
    look = in_directory(tmp_path)
    assert look(named) == ""

    remove(tmp_path / "v1" / "model")

    assert look(named) == ""
