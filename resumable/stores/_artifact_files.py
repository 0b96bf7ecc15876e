"""The artifacts of one operation as files: ``.checkpoint_{id}.files/``, a directory or a file for each version.

Their names are never used again, so a crash leaves the version that a checkpoint names unchanged.
:meth:`ArtifactFiles.keep` removes versions that no save names.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from .._runtime import disk, trees
from ._names import check_artifact_name

_PIECE = 1 << 20


class ArtifactFiles:
    """The artifacts of one operation.

    Args:
        places: The directories in which they may lie. New ones go to the first.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self._home = places[0]
        self._places = places

    def put(self, name: str, pieces: Iterable[bytes]) -> None:
        """Store *pieces* as a file."""
        check_artifact_name(name)
        self._make_home()
        with disk.removed_on_error(self._home / name):
            disk.write_new(self._home / name, pieces)
        disk.sync_directory(self._home)

    def place(self, name: str) -> Path | None:
        """The directory for the artifact *name*, made if necessary; None if the artifact is a file."""
        check_artifact_name(name)
        found = self._found(name)
        if found is None:
            self._make_home()
            found = self._home / name
            os.mkdir(found, 0o700)
        return found if _is_directory(found) else None

    def seal(self, name: str) -> None:
        """Sync the directory at :meth:`place` to the disk."""
        trees.sync(self._home / name)
        disk.sync_directory(self._home)

    def read(self, name: str) -> Iterator[bytes]:
        """The bytes of a file, or of a directory's tar. Raises FileNotFoundError if there is none."""
        check_artifact_name(name)
        found = self._found(name)
        if found is None:
            raise FileNotFoundError(2, "there is no such artifact", str(self._home / name))
        if _is_directory(found):
            from . import packing  # tarfile takes long to load

            yield from packing.pack(found)
            return
        with open(os.open(found, disk.READ), "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                yield piece

    def list(self) -> Iterator[tuple[str, int]]:
        """Name and size of each artifact."""
        seen = set()
        for path in self._paths():
            if path.name not in seen:
                seen.add(path.name)
                try:
                    size = trees.size_of(path) if _is_directory(path) else os.stat(path, follow_symlinks=False).st_size
                except FileNotFoundError:  # a run removes it at this moment
                    continue
                yield path.name, size

    def keep(self, names: Collection[str]) -> None:
        """Remove all artifacts but *names*, and the directory once it is empty."""
        for path in self._paths():
            if path.name not in names:
                trees.remove(path)
        if not names:
            for place in self._places:
                with contextlib.suppress(OSError):
                    os.rmdir(place)

    def bring_home(self) -> None:
        """Move artifacts from other places to the first one, synced to the disk."""
        moved = [path for path in self._paths() if path.parent != self._home]
        if moved:
            self._make_home()
            for path in moved:
                disk.rename(path, self._home / path.name)
            disk.sync_directory(self._home)

    def _found(self, name: str) -> Path | None:
        paths = [place / name for place in self._places]
        return next((path for path in paths if os.path.lexists(path)), None)

    def _paths(self) -> Iterator[Path]:
        for place in self._places:
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(place):
                    yield place / name

    def _make_home(self) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._home, 0o700)
            disk.sync_directory(self._home.parent)
        if not _is_directory(self._home):
            raise NotADirectoryError(20, "there is something else in its place", str(self._home))


def _is_directory(path: Path) -> bool:
    return stat.S_ISDIR(os.stat(path, follow_symlinks=False).st_mode)
