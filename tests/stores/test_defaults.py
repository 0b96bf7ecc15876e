"""Where checkpoints lie if no place is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from resumable import checkpointed
from resumable.stores.defaults import configured_place, default_place
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


@pytest.mark.parametrize("text", ["$SCRATCH/ck", "${SCRATCH}/ck"])
def test_a_variable_that_the_setting_names_is_replaced(text: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service file and a .env pass such a text on as it is."""
    monkeypatch.setenv("CHECKPOINT_DIR", text)
    with pytest.raises(ValueError, match=r"CHECKPOINT_DIR is '\$.*SCRATCH.* is not set"):
        default_place()
    assert resumable("list").exit_code == 2

    monkeypatch.setenv("SCRATCH", str(place / "scratch"))
    assert document("list")["store"] == str(place / "scratch" / "ck")
    monkeypatch.delenv("CHECKPOINT_DIR")
    Path("pyproject.toml").write_text(f'[tool.resumable]\ndir = "{text}"\n')
    assert document("list")["store"] == str(place / "scratch" / "ck")


def test_the_password_of_a_url_may_look_like_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_DIR", "postgresql://me:pa$word@host/db")
    assert default_place() == "postgresql://me:pa$word@host/db"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a directory that is in use")
def test_absolute_places_need_no_current_directory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = place / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with checkpointed("job", store=place) as cp:
        rows = cp.sink(place / "rows.txt")
        for i in cp.remaining(range(3)):
            rows.write(f"{i}\n")
    assert (place / "rows.txt").read_text() == "0\n1\n2\n"
