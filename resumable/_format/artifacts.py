"""Whether the artifacts that a save names are there, unchanged. Only reads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from .._durable.artifact import Version, digest_of
from .._errors import StoreError
from ..stores import ArtifactStore, CheckpointStore
from ..stores.packing import unpack
from .sections import Sections

Look = Callable[[Sections], str]
"""What is wrong with the artifacts of a save; "" if nothing."""


class Looker:
    """Looks at the artifacts of one operation, at each version once.

    Args:
        digest: Gives size and SHA-256 of a version; raises FileNotFoundError if it is missing, ValueError if nobody can
            tell what it holds.
    """

    def __init__(self, digest: Callable[[str], tuple[int, str]]) -> None:
        self._digest = digest
        self._known: dict[Version, str] = {}

    def __call__(self, sections: Sections) -> str:
        """What is wrong with those that *sections* name; "" if nothing."""
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
            return ""  # encrypted, perhaps
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        if size != version.size:
            return f"has {size:,} bytes, not {version.size:,}"
        return "" if sha256 == version.sha256 else "was changed: its SHA-256 is not the one that was saved"


def in_directory(directory: Path) -> Look:
    """Looks at versions that lie in *directory*, beside a checkpoint."""

    def digest(version: str) -> tuple[int, str]:
        place = directory / version
        return digest_of(place) if place.is_dir() else _unpacked([place.read_bytes()])

    return Looker(digest)


def in_store(store: CheckpointStore, operation_id: str) -> Look:
    """Looks at those of *operation_id* in *store*."""

    def digest(version: str) -> tuple[int, str]:
        keeper = cast("ArtifactStore", store)
        try:
            if version not in dict(keeper.list_artifacts(operation_id)):
                raise FileNotFoundError(version)
            return _unpacked(keeper.read_artifact(operation_id, version))
        except StoreError as error:
            raise OSError(str(error)) from error

    return Looker(digest)


def _unpacked(pieces: Iterable[bytes]) -> tuple[int, str]:
    with tempfile.TemporaryDirectory(prefix="resumable-") as directory:
        unpack(pieces, Path(directory))
        return digest_of(Path(directory))
