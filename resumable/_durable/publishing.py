"""Copies a file or directory to its final path, completely or not at all, also on another file system."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from pathlib import Path

from .._errors import StoreError
from .._runtime import disk, trees

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_SPARE = re.compile(r"(?s)(.+)\.[0-9a-f]{8}\.tmp")


def publish(source: Path, target: Path, *, may_link: bool) -> None:
    """Replace *target* by the content of *source*; it is safe on the disk when this returns.

    After a crash, *target* has either its old content or the new one. Only a directory that replaces another may be
    missing for a moment, if the system cannot exchange two names.

    Args:
        may_link: Whether *target* may become a hard link to *source* if the disk has no room for a copy. A change of
            one then changes the other.

    Raises:
        StoreError: It cannot be written. *target* is unchanged.
    """
    if source.is_file() and target.is_dir():
        raise StoreError(f"cannot publish to {target}: it is a directory; name the file: {target / source.name}")
    spare = disk.temporary_for(target)
    try:
        disk.make_directory(target.parent)
        _remove_spares(target)
        try:
            _copy(source, spare, may_link=may_link)
            _put_in_place(spare, target)
        finally:
            with contextlib.suppress(OSError):
                trees.remove(spare)
        disk.sync_directory(target.parent)
    except OSError as error:
        raise StoreError(
            f"cannot publish to {target}: {error.strerror or error}. The artifact stays with its checkpoint."
        ) from error


def _remove_spares(target: Path) -> None:
    """Remove what a killed call has left."""
    for name in os.listdir(target.parent):
        match = _SPARE.fullmatch(name)
        if match is not None and match[1] == target.name:
            trees.remove(target.parent / name)


def _copy(source: Path, spare: Path, *, may_link: bool) -> None:
    if source.is_file():
        _copy_file(source, spare, may_link=may_link)
        return
    os.mkdir(spare)
    for entry in trees.entries(source):
        if entry.size is None:
            os.mkdir(spare / entry.name)
        else:
            _copy_file(entry.path, spare / entry.name, may_link=may_link)
    trees.sync(spare)


def _copy_file(source: Path, spare: Path, *, may_link: bool) -> None:
    try:
        shutil.copyfile(source, spare, follow_symlinks=False)
        shutil.copymode(source, spare, follow_symlinks=False)
        trees.sync_file(spare)
    except OSError as error:
        if not may_link or error.errno not in _NO_ROOM:
            raise
        os.unlink(spare)
        os.link(source, spare, follow_symlinks=False)


def _put_in_place(spare: Path, target: Path) -> None:
    if not os.path.lexists(target) or (spare.is_file() and not target.is_dir()):
        disk.rename(spare, target)
    elif not disk.exchange(spare, target):
        aside = disk.temporary_for(target)
        disk.rename(target, aside)
        try:
            disk.rename(spare, target)
        except BaseException:
            disk.rename(aside, target)
            raise
        trees.remove(aside)
