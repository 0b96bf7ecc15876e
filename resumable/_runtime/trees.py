"""A directory and all that is in it: listed, brought through to the disk, removed.

Only plain files and directories are taken: a link would lead to what may change, and a pipe holds nothing.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import disk


class Entry(NamedTuple):
    """A file or a directory in a tree.

    Attributes:
        name: Its path from the root of the tree on, with ``/``.
        size: Bytes; None for a directory.
    """

    name: str
    path: Path
    size: int | None


def entries(root: Path) -> Iterator[Entry]:
    """All that is in the directory *root*, in an order that depends on the names alone; a directory before its content.

    Raises:
        ValueError: There is something that is neither a file nor a directory.
        OSError: It cannot be read.
    """
    yield from _entries(root, "")


def _entries(directory: Path, prefix: str) -> Iterator[Entry]:
    for name in sorted(os.listdir(directory)):
        path = directory / name
        status = os.stat(path, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield Entry(prefix + name, path, None)
            yield from _entries(path, f"{prefix}{name}/")
        elif stat.S_ISREG(status.st_mode):
            yield Entry(prefix + name, path, status.st_size)
        else:
            raise ValueError(f"{path} is neither a file nor a directory; a link or a pipe cannot be kept")


def size_of(root: Path) -> int:
    """Bytes of all files in the directory *root*."""
    return sum(entry.size or 0 for entry in entries(root))


def sync(root: Path) -> None:
    """Bring the directory *root*, with all that is in it, through to the disk. Its own name is not.

    Raises:
        ValueError: There is something that is neither a file nor a directory.
        OSError: The disk refuses. Nobody knows then what it has.
    """
    for entry in entries(root):
        if entry.size is None:
            disk.sync_directory(entry.path)
        else:
            sync_file(entry.path)
    disk.sync_directory(root)


def sync_file(path: Path) -> None:
    """Bring what a file holds through to the disk. Raises OSError if the disk refuses."""
    descriptor = os.open(path, disk.READ if sys.platform != "win32" else os.O_RDWR)
    try:
        disk.sync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> bool:
    """Remove a file, or a directory with all that is in it; whether it was there. A link is not followed.

    Raises:
        OSError: Some of it is still there.
    """
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return disk.unlink(path)
    for name in os.listdir(path):
        remove(path / name)
    with contextlib.suppress(FileNotFoundError):
        disk.patiently(lambda: os.rmdir(path))
    return True
