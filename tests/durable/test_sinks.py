"""All output files of one operation: one sink for one file, under the name that the user gave."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from resumable import StoreError
from resumable._durable.claim import Owner
from resumable._durable.sinks import Sinks


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sinks(saved: dict[str, Any] | None = None) -> Sinks:
    return Sinks(lambda: Owner("job"), saved or {})


def test_one_file_has_one_sink_however_its_path_is_written(tmp_path: Path) -> None:
    os.symlink(tmp_path, tmp_path / "link")
    found = sinks()
    sink = found.open("rows.csv", "t", "append")

    for path in (tmp_path / "rows.csv", "./rows.csv", "link/rows.csv"):
        assert found.open(path, "t", "append") is sink
    assert list(found.to_dict()) == ["rows.csv"]
    found.release()


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        pytest.param(("rows.csv", "b", "append"), TypeError, "cannot be written with 'b' as well", id="mode"),
        pytest.param(("rows.csv", "t", "append", "a,c\n"), ValueError, "with the header b'a,b", id="another header"),
        pytest.param(("new.csv", "w", "append"), ValueError, "mode must be 't' or 'b'", id="no such mode"),
        pytest.param(("new.csv", "t", "keep"), ValueError, "existing must be", id="no such word"),
        pytest.param(("new.csv", "t", "append", "a,b"), ValueError, "end with a newline", id="header without an end"),
        pytest.param(("new.csv", "t", "append", b"a\n"), TypeError, "must be str, not bytes", id="header in bytes"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(arguments: Any, error: type[Exception], told: str) -> None:
    found = sinks()
    found.open("rows.csv", "t", "append", "a,b\n")

    with pytest.raises(error, match=told):
        found.open(*arguments)
    assert not Path("new.csv").exists()
    found.release()


def test_what_a_run_does_not_open_stays_in_the_checkpoint() -> None:
    Path("old.csv").write_text("1\n")
    first = sinks()
    first.open("old.csv", "t", "append").write("2\n")
    for sync in first.syncs():
        sync()
    saved = first.to_dict()
    first.release()

    found = sinks(saved)
    found.open("new.csv", "t", "append")

    assert found.to_dict()["old.csv"] == saved["old.csv"]
    assert set(found.to_dict()) == {"old.csv", "new.csv"}
    found.release()


def test_a_path_that_is_no_utf8_is_written_and_found_again() -> None:
    """As ``os.listdir`` gives it."""
    name = os.fsdecode(b"caf\xe9.csv")
    first = sinks()
    first.open(name, "t", "append").write("1\n")
    for sync in first.syncs():
        sync()
    saved = json.loads(json.dumps(first.to_dict()))
    first.release()

    found = sinks(saved)
    found.open(name, "t", "append").write("2\n")
    for sync in found.syncs():
        sync()
    found.release()

    assert Path(name).read_text() == "1\n2\n"


def test_the_home_folder_of_a_sink_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder named ~ was made in the current directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    opened = sinks()

    assert opened.open("~/rows.csv", "t", "append").path == tmp_path.resolve() / "rows.csv"
    opened.release()


@pytest.mark.parametrize("path", ["/dev/null", "pipe"])
def test_what_is_no_regular_file_is_refused_by_its_name(path: str) -> None:
    os.mkfifo("pipe")

    with pytest.raises(StoreError, match=rf"cannot open .*{path}: it is not a regular file"):
        sinks().open(path, "t", "append")
    with pytest.raises(ValueError, match="'' names no file"):
        sinks().open("", "t", "append")
