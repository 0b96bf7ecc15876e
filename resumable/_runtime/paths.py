"""Where a path that a person gave lies: absolute at once, whatever the directory and the locale of the next run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .._errors import StoreError


def absolute(given: str | os.PathLike[str], *, resolves: bool = False) -> Path:
    """*given* as an absolute path, with ``~`` expanded; with *resolves*, links are followed, too.

    Raises:
        StoreError: It is relative, and the current directory was removed. Nothing was touched.
        ValueError: It is not a path, or begins with the home folder of a user who does not exist.
    """
    text = encodable(os.fsdecode(given))
    if "\0" in text:
        raise ValueError(f"{text!r:.80} is not a path: it contains a NUL character")
    expanded = os.path.expanduser(text)
    home, *below = expanded.split("/", 1)
    if home.startswith("~") and below and not os.path.lexists(home):
        raise ValueError(f"{text!r:.80}: the home folder {home} is not known on this machine; give an absolute path")
    try:
        return Path((os.path.realpath if resolves else os.path.abspath)(expanded))
    except FileNotFoundError as error:
        raise removed_directory(f"{text!r:.80} starts at the current directory") from error


def current_directory() -> Path:
    """The current directory.

    Raises:
        StoreError: It was removed.
    """
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise removed_directory("no other place is given") from error


def removed_directory(why: str) -> StoreError:
    """The error for a current directory that was removed, and *why* it is needed."""
    return StoreError(
        f"the current directory was removed, and {why}. Nothing was touched: start in a directory that exists, or give "
        "an absolute place (store=, CHECKPOINT_DIR)"
    )


def encodable(path: str) -> str:
    """*path*, so that the system takes it also where the locale says ASCII: then its bytes are UTF-8."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return in_utf8(path)
    return path


def in_utf8(name: str) -> str:
    """*name*, so that its bytes on the disk are UTF-8 in each locale: another one would look for another file."""
    return name if sys.getfilesystemencoding() == "utf-8" else os.fsdecode(name.encode(errors="surrogateescape"))
