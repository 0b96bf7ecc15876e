"""Publishing is all or nothing, over files and directories, on this file system and another."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from resumable import StoreError
from resumable._durable.publishing import publish
from resumable._runtime import disk

MEMORY = Path("/dev/shm")


@pytest.fixture(params=["file", "directory"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "source"
    if request.param == "file":
        path.write_text("new")
    else:
        (path / "inner").mkdir(parents=True)
        (path / "inner" / "part").write_text("new")
    return path


def content(path: Path) -> Any:
    return {one.name: content(one) for one in path.iterdir()} if path.is_dir() else path.read_text()


@pytest.mark.parametrize("may_link", [True, False])
@pytest.mark.parametrize("there", ["nothing", "file", "directory", "nothing above"])
def test_what_was_there_is_replaced(source: Path, may_link: bool, there: str, tmp_path: Path) -> None:
    target = tmp_path / "to" / "target"
    if there != "nothing above":
        target.parent.mkdir()
    if there == "file":
        target.write_text("old")
    if there == "directory":
        (target / "old").mkdir(parents=True)
    if there == "directory" and source.is_file():
        with pytest.raises(StoreError, match="name the file"):
            publish(source, target, may_link=may_link)
        assert content(target) == {"old": {}}
        return
    publish(source, target, may_link=may_link)

    assert content(target) == content(source)
    assert [path.name for path in target.parent.iterdir()] == ["target"]


@pytest.mark.skipif(not os.access(MEMORY, os.W_OK), reason="needs a second file system")
def test_it_goes_to_another_file_system(source: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        publish(source, Path(directory) / "target", may_link=True)
        assert content(Path(directory) / "target") == content(source)


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("call", ["fsync", "replace", "open", "mkdir", "listdir"])
def test_an_error_leaves_what_was_there(
    source: Path, call: str, exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    if source.is_dir():
        (target / "old").mkdir(parents=True)
    else:
        target.write_text("old")
    before = content(target)
    real = getattr(os, call)

    def fails(*arguments: Any, **options: Any) -> Any:
        real_error = OSError(errno.EIO, "as the test wishes")
        if call == "open" and not str(arguments[0]).endswith(".tmp"):
            return real(*arguments, **options)
        raise real_error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        if not exchanges:
            patch.setattr(disk, "exchange", lambda path, other: False)
        try:
            publish(source, target, may_link=False)
            has_failed = False  # that call was not needed
        except StoreError:
            has_failed = True
    assert content(target) == (before if has_failed else content(source))
    publish(source, target, may_link=True)
    assert content(target) == content(source)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_changing_what_was_published_does_not_change_the_artifact(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    before = content(source)
    publish(source, target, may_link=True)
    for path in [target, *target.rglob("*")]:
        if path.is_file():
            with path.open("a") as file:
                file.write("more")

    assert content(target) != before
    assert content(source) == before


@pytest.mark.parametrize("may_link", [True, False])
def test_where_there_is_no_room_for_a_copy_it_gets_a_second_name(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_link: bool
) -> None:
    def is_full(source: Any, spare: Path, **_: Any) -> None:
        spare.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", is_full)
    target = tmp_path / "target"
    if not may_link:
        with pytest.raises(StoreError, match="No space left"):
            publish(source, target, may_link=False)
        assert not target.exists()
        return
    publish(source, target, may_link=True)

    assert content(target) == content(source)


def test_what_a_kill_has_left_is_removed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target.0123abcd.tmp").mkdir()
    (tmp_path / "target.0123abcd.tmp" / "half").write_text("half")
    (tmp_path / "other.0123abcd.tmp").write_text("not ours")
    publish(source, tmp_path / "target", may_link=True)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.0123abcd.tmp", "source", "target"]
