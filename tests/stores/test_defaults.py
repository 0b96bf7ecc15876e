"""Where checkpoints lie if no place is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from resumable.stores.defaults import configured_place
from tests.support.command import document, resumable

pytestmark = pytest.mark.usefixtures("place")


def test_argument_beats_environment_beats_pyproject_beats_here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = place / "project" / "src"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert document("list")["store"] == str(inner)

    (place / "project" / "pyproject.toml").write_text('[tool.resumable]\ndir = "saved"\n')
    (inner / "pyproject.toml").write_text("[tool.other]\n")
    assert document("list")["store"] == str(place / "project" / "saved")

    monkeypatch.setenv("CHECKPOINT_DIR", str(place / "environment"))
    assert document("list")["store"] == str(place / "environment")

    for option in ("--dir", "--store"):
        assert document("list", option, str(place))["store"] == str(place)


@pytest.mark.parametrize("content", ["[tool.resumable]\ndir = 3\n", "[tool.resumable\n"])
def test_a_pyproject_that_makes_no_sense_is_named(content: str, place: Path) -> None:
    Path("pyproject.toml").write_text(content)

    result = resumable("list")

    assert result.exit_code == 2
    assert str(place / "pyproject.toml") in result.stderr
    with pytest.raises(ValueError, match="pyproject"):
        configured_place(place)
