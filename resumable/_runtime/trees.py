"""A whole directory: listed, synced, removed.

Only plain files and directories are accepted: the target of a link may change, and a pipe has no content.
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
        name: Its path from the root of the tree, with ``/``.
        size: Bytes; None for a directory.
    """

    name: str
    path: Path
    size: int | None


def entries(root: Path) -> Iterator[Entry]:
    """Everything in the directory *root*, sorted by name; a directory comes before its content.

    Raises:
        ValueError: It contains something that is neither a file nor a directory.
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
    """Sync the directory *root* and everything in it, but not its own name.

    Raises:
        ValueError: It contains something that is neither a file nor a directory.
        OSError: The disk fails. What it has is unknown then.
    """
    for entry in entries(root):
        if entry.size is None:
            disk.sync_directory(entry.path)
        else:
            sync_file(entry.path)
    disk.sync_directory(root)


def sync_file(path: Path) -> None:
    """Sync a file's content. Raises OSError if the disk fails."""
    descriptor = os.open(path, disk.READ if sys.platform != "win32" else os.O_RDWR)
    try:
        disk.sync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> bool:
    """Remove a file, or a directory and everything in it. Returns whether it was there. Links are not followed.

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
