"""Paths that a person gave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resumable import StoreError, checkpointed
from resumable._runtime.paths import absolute
from tests.support.running import REPOSITORY

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert absolute("~/ck") == tmp_path / "ck"


def test_the_home_folder_of_nobody_is_no_directory_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder with that very name was made, under the directory in which the program happened to start."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ValueError, match=r"~nobody-of-that-name is not known on this machine; give an absolute path"):
        absolute("~nobody-of-that-name/ck")
    assert absolute("~backup.csv") == tmp_path / "~backup.csv"
    (tmp_path / "~old").mkdir()
    assert absolute("~old/rows") == tmp_path / "~old" / "rows"


def test_a_character_that_no_path_can_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a path: it contains a NUL character"):
        absolute(f"{tmp_path}/a\0b")


def test_a_current_directory_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.delenv("CHECKPOINT_DIR", raising=False)
    gone.rmdir()

    with pytest.raises(StoreError, match=r"the current directory was removed, .*give an absolute place"):
        absolute("ck")
    with pytest.raises(StoreError, match=r"the current directory was removed, and no other place is given"):
        checkpointed("job")
    assert absolute(tmp_path) == tmp_path


@pytest.mark.slow
def test_a_run_with_an_ascii_locale_goes_on_where_one_with_utf8_stopped(tmp_path: Path) -> None:
    """Under cron the locale is often C: the name of the checkpoint must have the same bytes there."""
    program = """
import sys
from resumable import checkpointed

with checkpointed("na\\u00efve \\u65e5", store="ch\\u00e9ck") as cp:
    rows = cp.sink("r\\u00e9sum\\u00e9.txt")
    for number in cp.remaining(range(6)):
        if number == int(sys.argv[1]):
            raise SystemExit(3)
        rows.write(f"{number}\\n")
"""
    for at, locale, code in (2, {}, 3), (4, ASCII, 3), (9, {"PYTHONUTF8": "1"}, 0):
        done = subprocess.run(
            [sys.executable, "-c", program, str(at)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | locale,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
    assert (tmp_path / "résumé.txt").read_text() == "0\n1\n2\n3\n4\n5\n"


@pytest.mark.slow
def test_a_job_with_names_that_are_no_utf8_runs_and_goes_on(tmp_path: Path) -> None:
    """In such a directory, or with such a file as its argument, each save or the end of the block raised."""
    program = """
import sys, time
from resumable import checkpointed

with checkpointed("job") as cp:
    rows, model = cp.sink(sys.argv[2]), cp.artifact("model")
    for number in cp.remaining(range(6)):
        time.sleep(0.3)
        if number == int(sys.argv[1]):
            cp.save("at " + sys.argv[2])
            raise OSError(2, "no such file", sys.argv[2])
        rows.write(f"{number}\\n")
        with model.write() as path:
            path.write_bytes(b"x")
"""
    here, name = os.path.join(os.fsencode(tmp_path), b"caf\xe9"), b"r\xe9sum\xe9"
    os.mkdir(here)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "XDG_STATE_HOME": str(tmp_path / "state")}
    environment.pop("RESUMABLE_INDEX", None)
    for at, told in ("4", b"FileNotFoundError"), ("9", b""):
        command = [os.fsencode(sys.executable), b"-c", program.encode(), at.encode(), name]
        done = subprocess.run(command, cwd=here, env=environment, capture_output=True, check=False)
        assert told in done.stderr
        assert b"UnicodeEncodeError" not in done.stderr
        assert done.returncode == (at == "4"), done.stderr
    with open(os.path.join(here, name), "rb") as file:
        assert file.read() == b"0\n1\n2\n3\n4\n5\n"
