"""Ids that would share a file name: whose is the file that lies under it?"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .._runtime import disk
from ._names import may_share_a_file, names_for

_ID_IN_HEAD = rb'\A\s*\{\s*"version"\s*:\s*"[^"]*"\s*,\s*"operation_id"\s*:\s*("(?:[^"\\]|\\.)*")'
_HEAD = 8192


def belongs_to_a_rival(path: Path, key: str) -> bool:
    """Whether the file at *path*, whose name *key* would get, is a good one of another id that gets it, too.

    One that is damaged does not count: were the id inside it believed, the operation would begin anew beside it.

    Raises:
        OSError: It cannot be read.
    """
    other = read_operation_id(path)
    return other is not None and are_rivals(key, other) and _is_named_for(path, other) and _is_whole(path)


def are_rivals(key: str, other: str) -> bool:
    """Whether these are two ids that may get one file name."""
    return other != key and may_share_a_file(key, other)


def _is_named_for(path: Path, operation_id: str) -> bool:
    """Only a file system that folds case finds a file under a name that is not exactly its own."""
    names = names_for(operation_id)
    if path.name in names:
        return True
    return any(name in os.listdir(path.parent) and os.path.samefile(path, path.with_name(name)) for name in names)


def _is_whole(path: Path) -> bool:
    from .._format.document import decode_document, is_as_written

    raw = disk.read(path) or b""
    try:
        return is_as_written(raw) or bool(decode_document(raw))
    except ValueError:
        return False


def operation_id_in(path: Path) -> str | None:
    """The operation id inside the checkpoint file *path*; None if there is no file or it does not say."""
    try:
        return read_operation_id(path)
    except OSError:
        return None


def read_operation_id(path: Path) -> str | None:
    """The same, but what cannot be read is told.

    Raises:
        OSError: It cannot be read.
    """
    head = disk.read(path, _HEAD)
    if head is None:
        return None
    from .._format.document import decode_document  # msgspec is not worth loading before there is a file
    from .._json import decode

    match = re.match(_ID_IN_HEAD, head)

    try:
        if match is not None:
            value = decode(match.group(1))
        else:
            value = decode_document(disk.read(path) or b"").get("operation_id")
    except ValueError:
        return None
    return value if isinstance(value, str) else None
