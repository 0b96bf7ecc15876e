"""What mypy and pyright say of decorated functions."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(set(Path(__file__).parent.glob("*.py")) - {Path(__file__)})


def mistakes(file: Path) -> list[int]:
    lines = file.read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if line.endswith("# mistake")]


def checked(command: list[str], directory: Path) -> dict[Path, list[int]]:
    """The lines at which *command* finds errors, by file."""
    done = subprocess.run([*command, *map(str, FILES)], cwd=directory, capture_output=True, text=True)
    errors: dict[Path, list[int]] = {file: [] for file in FILES}
    for name, line in re.findall(r"^\s*(\S+?\.py):(\d+)(?::\d+)?(?: -|:) error", done.stdout, re.MULTILINE):
        lines = errors.setdefault(Path(directory, name).resolve(), [])
        if int(line) not in lines:
            lines.append(int(line))
    assert any(errors.values()), f"{done.stdout}{done.stderr}"
    return errors


@pytest.mark.slow
def test_mypy_sees_the_arguments_without_the_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    settings = ["--strict", f"--cache-dir={tmp_path}", "--follow-imports=silent"]
    command = [sys.executable, "-m", "mypy", *settings]

    assert checked(command, ROOT) == {file: mistakes(file) for file in FILES}


@pytest.mark.slow
def test_pyright_sees_the_same() -> None:
    pyright = shutil.which("pyright", path=f"{Path(sys.executable).parent}:{sys.prefix}/bin")
    if pyright is None:
        pytest.skip("pyright is not installed")
    command = [pyright, "--pythonpath", sys.executable]

    assert checked(command, ROOT) == {file: mistakes(file) for file in FILES}
