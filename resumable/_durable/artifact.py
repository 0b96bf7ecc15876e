"""Which version of each artifact a save names. An artifact is a file that belongs to the checkpoint.

A version is written once, under a name that is never used again, before any save names it. So after a crash at any
moment, the version that the checkpoint names is there. Versions that no save can name any more are removed.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec

from .._json import check_unicode
from .._runtime import trees
from .._runtime.boundary import Boundary, Noting

_LONGEST_BYTES = 120
_UNSAFE = re.compile(r"[^\w.+=@-]+|^[.-]", re.ASCII)
_PIECE = 1 << 20


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of an artifact, as saved.

    Attributes:
        version: Its name in the store.
        size: Bytes of all its files.
        sha256: Of the file; for several files or a directory, of their list, see :func:`digest_of`.
        at: When it was written (UTC, ISO 8601); "" if unknown.
        published: Where it was published last; None if it never was.
    """

    version: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    at: str = ""
    published: str | None = None


class Written:
    """A version that is safe in the store while its digest is being computed; the next save waits for the digest.

    Args:
        digest: Returns its size and SHA-256, once they are known; raises StoreError if it cannot be read.
        at: When it was written (UTC, ISO 8601).
    """

    def __init__(self, version: str, digest: Callable[[], tuple[int, str]], at: str) -> None:
        self.version = version
        self._digest, self._at = digest, at

    def told(self) -> Version:
        """The form to save. Raises StoreError if it cannot be read."""
        return Version(self.version, *self._digest(), self._at)


Versions = Mapping[str, "Version | Written"]
"""By the artifact's name. Immutable: a change makes a new mapping."""


class Artifacts(Noting):
    """The versions of all artifacts of one operation. Any thread may write.

    Args:
        saved: The versions that the stored checkpoint names.
        before: Versions that the generation before it names, or may name.
        is_new: Whether the stored versions are unknown, because a run starts over while the old checkpoint stands.
        remove: Called when versions can be removed; makes the store keep only :meth:`needed`, now or later.

    Attributes:
        sweeping: Held while versions are removed, so that none begins meanwhile.
    """

    def __init__(self, saved: Versions, before: Iterable[str], remove: Callable[[], object], *, is_new: bool) -> None:
        self.sweeping = threading.RLock()
        self._now = self._cut = saved
        self._newest: dict[str, Version | Written] = dict(saved)
        self._stored = set(before) if is_new else _names_of(saved)
        self._before = set(before)
        self._tried: list[Versions] = []
        self._writing: set[str] = set()
        self._lying = self._stored | self._before
        self._published: dict[str, str] = {}
        self._remove = remove
        self.attach(Boundary())

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an artifact belongs to the process that opened its checkpoint: write it in the loop's body")

    def get(self, name: str) -> Version | Written | None:
        """The newest version that the program has written or restored; None if there is none."""
        return self._newest.get(name)

    # -- write

    def begin(self) -> str:
        """The name for a new version, which is written next."""
        version = os.urandom(12).hex()
        with self.sweeping, self._boundary.lock:
            self._writing.add(version)
            self._lying.add(version)
        return version

    def give_up(self, version: str) -> None:
        """Forget *version*: it could not be written."""
        self._writing.discard(version)

    def written(self, name: str, version: Written) -> None:
        """*version* is safe in the store: the next save names it. A worker's version belongs to its item."""
        with self._boundary.lock:
            self._newest[name] = version
            held_back = self._boundary.held_back()
            if held_back is not None:
                held_back.append((self._take, (name, version)))
            else:
                self._take((name, version))

    def published(self, version: str, target: str) -> None:
        """Note that *version* was published at *target*; the next save includes that."""
        self._published[version] = target

    def _take(self, written: tuple[str, Written]) -> None:
        name, version = written
        with self._boundary.lock:
            if self._ticks.__length_hint__() != self._seen:
                self._cross()
            # A new dict, because a save may hold this one.
            self._now = {**self._now, name: version}
            self._writing.discard(version.version)

    def _cross(self) -> None:
        if self._seen is None:
            self._wait()
        now = self._boundary.now()
        if self._seen is not None and now < self._seen:
            self._note()
            self._seen = now

    def _note(self) -> None:
        self._cut = self._now

    # -- save

    def settled(self) -> Versions:
        """The versions at the beginning of the unfinished item, for a save. See :meth:`settle`."""
        with self._boundary.lock:
            if not self._tried or self._tried[-1] is not self._cut:
                self._tried.append(self._cut)
            return self._cut

    def to_save(self) -> tuple[dict[str, Version], list[str]]:
        """The versions of :meth:`settled`, and older ones that the user may still go back to.

        Raises:
            StoreError: A new version cannot be read.
        """
        told = {name: one.told() if isinstance(one, Written) else one for name, one in self._cut.items()}
        for name, one in told.items():
            if (target := self._published.get(one.version)) is not None:
                told[name] = msgspec.structs.replace(one, published=target)
        return told, sorted((self._before | self._stored) - _names_of(self._cut))

    def stored(self, versions: Versions, *, begins_generation: bool) -> None:
        """A save that names *versions* is stored.

        Args:
            begins_generation: Whether it was a whole document, so that the store keeps the save before it.
        """
        with self._boundary.lock:
            while self._tried and self._tried[0] is not versions:
                del self._tried[0]  # nobody can go back to these any more
            if begins_generation:
                self._before = self._stored
            self._stored = _names_of(versions)
        self.tidy()

    def clear(self) -> None:
        """Note that no save names any version from now on."""
        with self._boundary.lock:
            self._now = self._cut = self._newest = {}

    def needed(self) -> set[str]:
        """The versions that a save names or may still name."""
        with self._boundary.lock:
            needed = self._before | self._stored | self._writing | _names_of(self._cut) | _names_of(self._now)
            for versions in self._tried:  # nobody knows whether a failed save stands
                needed |= _names_of(versions)
            return needed

    def tidy(self) -> None:
        """Remove the versions that no save names or can name. What fails is left to the next opening."""
        with self._boundary.lock:
            needed = self.needed()
            if self._lying <= needed:
                return
            self._lying &= needed
        self._remove()


def _names_of(versions: Versions) -> set[str]:
    return {version.version for version in versions.values()}


# -- files ------------------------------------------------------------------------------------------------------------


def check_name(name: object) -> None:
    """Refuse a wrong name for an artifact.

    Raises:
        TypeError: It is not a str.
        StateEncodeError: It is not valid Unicode.
        ValueError: It is empty.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of an artifact must be a str, not {name!r:.80}")
    if not name:
        raise ValueError("the name of an artifact must not be empty")
    check_unicode(name, "the name of an artifact", "choose another one")


def file_name(name: str) -> str:
    """The file or directory name for the program to write: as much of *name* as any disk can hold."""
    safe = _UNSAFE.sub("_", name)
    return safe if len(safe) <= _LONGEST_BYTES else f"{safe[: _LONGEST_BYTES - 20]}_{safe[-19:]}"


def content_of(directory: Path, name: str) -> Path:
    """The content of a version's *directory*: the file or directory in it, whatever its suffix.

    Libraries add suffixes (``np.savez``), or write several files whose names begin with the given one. For several,
    this returns the common beginning.
    """
    found = os.listdir(directory)
    return directory / (found[0] if len(found) == 1 else file_name(name))


def digest_of(directory: Path) -> tuple[int, str]:
    """Size and SHA-256 of the content of a version's *directory*.

    For one file, the digest is the file's. Otherwise it is that of a text with one line for each file,
    ``{sha256}  {path}``, and each directory, ``directory  {path}/``, sorted by name.

    Raises:
        FileNotFoundError: The directory is empty.
        ValueError: It contains something that is neither a file nor a directory.
        OSError: It cannot be read.
    """
    import hashlib

    found = [*trees.entries(directory)]
    if not found:
        raise FileNotFoundError(2, "there is nothing", str(directory))
    if len(found) == 1 and found[0].size is not None:
        return found[0].size, _sha256_of(found[0].path)
    total = hashlib.sha256()
    for entry in found:
        line = f"directory  {entry.name}/" if entry.size is None else f"{_sha256_of(entry.path)}  {entry.name}"
        total.update(f"{line}\n".encode(errors="surrogateescape"))
    return sum(entry.size or 0 for entry in found), total.hexdigest()


def _sha256_of(path: Path) -> str:
    import hashlib

    digest: Any = hashlib.sha256()
    buffer = bytearray(_PIECE)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(view[:size])
    return str(digest.hexdigest())
