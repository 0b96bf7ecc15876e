"""Checks whether the artifacts that a save names are there, unchanged. Only reads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import cast

from .._durable.artifact import Version, digest_of
from .._errors import StoreError
from ..stores import ArtifactStore, CheckpointStore
from ..stores.packing import unpack
from .sections import Sections

Look = Callable[[Sections], str]
"""Returns what is wrong with the artifacts of a save; "" if nothing."""
Open = Callable[[str, Iterable[bytes]], Iterable[bytes]]
"""Decrypts the version of that name; raises StoreError, at any piece, if it cannot."""
_SEALED = b"resumable encrypted artifact "
_PIECE = 1 << 20


class Looker:
    """Checks the artifacts of one operation, each version once.

    Args:
        digest: Returns size and SHA-256 of a version; raises FileNotFoundError if it is missing, ValueError if its
            content cannot be known.
    """

    def __init__(self, digest: Callable[[str], tuple[int, str]]) -> None:
        self._digest = digest
        self._known: dict[Version, str] = {}

    def __call__(self, sections: Sections) -> str:
        """What is wrong with the artifacts that *sections* name; "" if nothing."""
        for name, version in sections.artifacts.items():
            if version not in self._known:
                self._known[version] = self._damage(version)
            if self._known[version]:
                return f"its artifact {name!r} {self._known[version]}"
        return ""

    def _damage(self, version: Version) -> str:
        try:
            size, sha256 = self._digest(version.version)
        except FileNotFoundError:
            return "is missing"
        except ValueError:
            return ""  # perhaps encrypted
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        except StoreError as error:
            return f"cannot be decrypted: {error}"
        if size != version.size:
            return f"has {size:,} bytes, not {version.size:,}"
        return "" if sha256 == version.sha256 else "was changed: its SHA-256 is not the one that was saved"


def in_directory(directory: Path, opens: Open | None = None) -> Look:
    """Checks versions in *directory*, beside a checkpoint; encrypted ones only if *opens* is given."""

    def digest(version: str) -> tuple[int, str]:
        place = directory / version
        return digest_of(place) if place.is_dir() else _unpacked(_opened(version, _pieces_of(place), opens))

    return Looker(digest)


def in_store(store: CheckpointStore, operation_id: str, opens: Open | None = None) -> Look:
    """Checks versions of *operation_id* in *store*; encrypted ones only if *opens* is given."""

    def digest(version: str) -> tuple[int, str]:
        keeper = cast("ArtifactStore", store)
        try:
            if version not in dict(keeper.list_artifacts(operation_id)):
                raise FileNotFoundError(version)
            return _unpacked(_opened(version, keeper.read_artifact(operation_id, version), opens))
        except StoreError as error:
            raise OSError(str(error)) from error

    return Looker(digest)


def _pieces_of(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        while piece := content.read(_PIECE):
            yield piece


def _opened(version: str, pieces: Iterable[bytes], opens: Open | None) -> Iterable[bytes]:
    rest = iter(pieces)
    first = next(rest, b"")
    whole = chain((first,), rest)
    return opens(version, whole) if opens is not None and first.startswith(_SEALED) else whole


def _unpacked(pieces: Iterable[bytes]) -> tuple[int, str]:
    with tempfile.TemporaryDirectory(prefix="resumable-") as directory:
        unpack(pieces, Path(directory))
        return digest_of(Path(directory))
