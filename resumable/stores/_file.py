"""Checkpoints as JSON files in a directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from .._runtime import disk
from . import _lock
from ._base import Entry, Holder, Stored, Traits
from ._file_lease import FileLease, as_store_error, reading
from ._journal_file import without_room
from ._names import PREFIX, SUFFIX, beside, check_operation_id, file_name, older_files, operation_id_in

_WRITTEN = (SUFFIX, ".json.prev", ".journal", ".journal.prev")


class FileStore:
    """One file for each checkpoint, ``.checkpoint_{id}.json``, replaced whole or not at all.

    Beside it, as needed: ``.json.prev`` (the checkpoint before), ``.journal`` (saves since the snapshot),
    ``.journal.prev`` (those of the checkpoint before), ``.lock``. An id of which a character had to be replaced, or
    that is too long for a file name, gets a short hash appended. A checkpoint that an older release, or another tool,
    left under another name is found there; the first save moves it.

    Args:
        directory: Where they lie; made at the first claim. A leading ``~`` is the home folder. The place is absolute
            from now on: it does not follow ``os.chdir``.
    """

    traits = Traits()

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(os.path.abspath(os.path.expanduser(directory)))

    def __repr__(self) -> str:
        return f"FileStore({str(self.directory)!r})"

    def locate(self, key: str) -> Path:
        """Where the checkpoint of *key* lies, or would."""
        home = self._home(key)
        with as_store_error(f"cannot look into {self.directory}"):
            if disk.stamp(home) is not None:
                return home
            return next(older_files(self.directory, key), home)

    def _home(self, key: str) -> Path:
        check_operation_id(key)
        return self.directory / file_name(key)

    def claim(self, key: str, me: Holder, *, ttl: float = 30.0, take_over: bool = False) -> FileLease:
        """Own *key* until the lease is released, or this process ends.

        Args:
            me: Who is shown to others as the owner.
            ttl: Not used: a lock of the operating system lasts as long as its process.
            take_over: Not used: nobody can take it from a process that lives.

        Raises:
            CheckpointBusyError: Another owner has it. Names that owner.
            StoreError: The directory cannot be used.
        """
        home = self._home(key)
        with as_store_error(f"cannot use {self.directory}"), contextlib.ExitStack() as locks:
            disk.make_directory(self.directory)
            term = locks.enter_context(_lock.holding(beside(home, ".lock"), key, me))
            older = [*older_files(self.directory, key)]
            at = older[0] if older and disk.stamp(home) is None else home
            for path in older:  # a process of an older release may work there
                locks.enter_context(_lock.holding(beside(path, ".lock"), key, me))
            disk.remove_leftovers([beside(path, suffix) for path in (home, *older) for suffix in _WRITTEN])
            return FileLease(key, home, at, older, term, locks.pop_all())

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """One consistent state of *key*, None if there is none, while others may be writing it.

        Args:
            previous: The snapshot before the last one, with its segments.
        """
        suffix = ".prev" if previous else ""
        while True:
            base = self.locate(key)
            path = beside(base, SUFFIX + suffix)
            with reading(path):
                snapshot, journal = disk.read_together(path, beside(base, ".journal" + suffix))
            if self.locate(key) == base:  # else its first save here has just moved it
                return None if snapshot is None else Stored(snapshot, without_room(journal or b""), path)

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern* (see :mod:`fnmatch`), sorted by file name."""
        found: dict[str, Path] = {}
        for path in sorted(self.directory.glob(f"{PREFIX}*{SUFFIX}")):
            key = operation_id_in(path)
            if key is None:
                key = path.name[len(PREFIX) : -len(SUFFIX)]
            # A move that was cut short leaves a file under an older name, too.
            if fnmatchcase(key, pattern) and (key not in found or path.name == file_name(key)):
                found[key] = path
        for key, path in found.items():
            with contextlib.suppress(OSError):
                yield _entry(key, path)

    def describe(self, key: str | None = None) -> Path:
        """Where the checkpoint of *key* lies, or would; the directory without a *key*."""
        return self.directory if key is None else self.locate(key)

    def close(self) -> None:
        """Nothing is open outside of a lease."""


def _entry(key: str, path: Path) -> Entry:
    lock = beside(path, ".lock")
    is_held = _lock.is_held(lock)
    holder, term = _lock.read_holder(lock)
    size = os.stat(path, follow_symlinks=False).st_size
    return Entry(key, path, b"", size, term, holder if is_held else None, None)
