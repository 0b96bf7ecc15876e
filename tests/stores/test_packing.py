"""A directory as a tar and back; a tar that was made to harm is refused."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resumable.stores.packing import pack, unpack

NAMES = ["a", "b" * 200, "ä", "with space", "new\nline", "-x", ".hidden", "c" * 90 + ".txt", "🦊"]


def fill(directory: Path) -> None:
    for number, name in enumerate(NAMES):
        (directory / name).mkdir(parents=True)
        (directory / name / name).write_bytes(bytes([number]) * 511 * number)
    (directory / os.fsdecode(b"no \xff unicode")).write_bytes(b"x")


def content(directory: Path) -> dict[str, bytes | None]:
    paths = sorted(directory.rglob("*"))
    return {str(path.relative_to(directory)): None if path.is_dir() else path.read_bytes() for path in paths}


def test_it_comes_back_and_other_programs_read_it(tmp_path: Path) -> None:
    fill(tmp_path / "one")
    data = b"".join(pack(tmp_path / "one"))
    (tmp_path / "other").mkdir()
    unpack([data[:700], data[700:701], data[701:]], tmp_path / "other")

    assert content(tmp_path / "other") == content(tmp_path / "one")
    assert b"".join(pack(tmp_path / "other")) == data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert len(archive.getnames()) == 2 * len(NAMES) + 1


def tar(*members: tarfile.TarInfo) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return file.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    "bad",
    [
        member("../x"),
        member("/etc/x"),
        member("a/../../x"),
        member("a//x"),
        member("."),
        member("link", tarfile.SYMTYPE),
        member("link", tarfile.LNKTYPE),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
    ],
    ids=lambda info: f"{info.name} {info.type!r}",
)
def test_a_tar_that_leaves_its_directory_or_holds_more_is_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    with pytest.raises((ValueError, FileExistsError)):
        unpack([tar(bad)], tmp_path / "in")

    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "in"]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 3000), noise=st.binary(max_size=40))
def test_any_damage_is_a_value_error_or_unseen_padding(
    tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes
) -> None:
    directory = tmp_path_factory.mktemp("damage")
    (directory / "one").mkdir()
    (directory / "one" / "file").write_bytes(b"1" * 1000)
    data = b"".join(pack(directory / "one"))
    (directory / "out").mkdir()
    with contextlib.suppress(ValueError, OSError):
        unpack([data[:cut] + noise + data[cut + len(noise) + 1 :]], directory / "out")
    assert {path.parent for path in directory.rglob("*")} <= {directory, directory / "one", directory / "out"}


def test_links_are_not_packed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="neither a file nor a directory"):
        list(pack(tmp_path))
