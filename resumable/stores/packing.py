"""A directory as one stream of bytes: a tar that any tar program reads, with only names and contents.

Equal directories give equal bytes: owners, times and modes are omitted.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .._runtime import disk, trees
from ._pieces import Stream

_PIECE = 1 << 20
_END = bytes(2 * tarfile.BLOCKSIZE)
_ILLEGAL = frozenset(("", ".", ".."))


def pack(directory: Path) -> Iterator[bytes]:
    """The tar of *directory*, in pieces of at most 1 MiB.

    Raises:
        ValueError: It contains something that is neither a file nor a directory.
        OSError: It cannot be read, or changes meanwhile.
    """
    for entry in trees.entries(directory):
        yield _head(entry)
        if entry.size:
            yield from _content(entry.path, entry.size)
            yield bytes(-entry.size % tarfile.BLOCKSIZE)
    yield _END


def _head(entry: trees.Entry) -> bytes:
    info = tarfile.TarInfo(entry.name)
    info.type = tarfile.DIRTYPE if entry.size is None else tarfile.REGTYPE
    info.mode = 0o700 if entry.size is None else 0o600
    info.size = entry.size or 0
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with open(os.open(path, disk.READ), "rb", buffering=0) as file:
        while left and (piece := file.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece
    if left:
        raise OSError(f"{path} became shorter while it was read")


def unpack(pieces: Iterable[bytes], directory: Path) -> None:
    """Unpack a tar that :func:`pack` made into *directory*, which exists.

    Raises:
        ValueError: It is not such a tar, or contains something else. Some of it may have been unpacked.
        OSError: It cannot be written.
    """
    source: Any = Stream(pieces)
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=_PIECE) as archive:
            for member in archive:
                _make(archive, member, directory)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"it is not a tar archive ({error})") from None


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, directory: Path) -> None:
    parts = member.name.split("/")
    if _ILLEGAL.intersection(parts) or any(os.path.basename(part) != part or "\0" in part for part in parts):
        raise ValueError(f"it names {member.name!r}, which lies outside of it")
    path = directory.joinpath(*parts)
    if member.isdir():
        os.mkdir(path)
        return
    content = archive.extractfile(member) if member.isreg() else None
    if content is None:
        raise ValueError(f"it holds {member.name!r}, which is neither a file nor a directory")
    with open(path, "xb") as file:
        while piece := content.read(_PIECE):
            file.write(piece)
    if os.path.getsize(path) != member.size:
        raise ValueError(f"it ends within {member.name!r}")
