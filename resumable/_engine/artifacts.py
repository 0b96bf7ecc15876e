"""The artifacts of an open operation: opened, checked, written, published; those that no save names are removed.

Written as steps (see ``_runtime.steps``), so that plain and async code share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .._durable.artifact import Artifacts, Version, Written, check_name, content_of, digest_of, file_name
from .._errors import CheckpointCorruptError, StoreBehindError, StoreError
from .._runtime import trees
from .._runtime.processes import identity_of
from .._runtime.steps import Steps
from ..stores import ArtifactLease, ArtifactStore
from ..stores.packing import pack, unpack
from .background import Threads
from .owning import is_away

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .._format.sections import Sections
    from .capture import Save
    from .operation import Operation
    from .writer import Writer

_log = logging.getLogger("resumable")


def sweep(writer: Writer, sections: Sections | None) -> list[str]:
    """Remove what a killed run has left behind. Call this before the run writes anything.

    Args:
        sections: Of the stored checkpoint; None if there is none, or it was not read.

    Returns:
        The versions that a user may still go back to.
    """
    lease, store = cast("ArtifactLease", writer.lease), cast("ArtifactStore", writer.store)
    key = writer.operation_id
    if sections is None and (store.read(key) is not None or store.read(key, previous=True) is not None):
        return [name for name, _ in store.list_artifacts(key)]
    before = sections.artifacts_before if sections is not None else []
    named = [one.version for one in sections.artifacts.values()] if sections is not None else []
    try:
        lease.keep_artifacts([*named, *before])
    except StoreError as error:
        _log.debug("%s: left-overs stay: %s", key, error)
    return before


def workshop(operation: Operation) -> Workshop:
    """The workshop of *operation*, made at the first call.

    Raises:
        StoreError: The store cannot keep artifacts.
    """
    parts = operation.parts
    if parts.workshop is None:
        parts.workshop = Workshop(operation)
        parts.cut.add(parts.workshop.versions)
        operation.writer.behind.artifacts_anew = parts.workshop.put_anew
    return parts.workshop


class Workshop:
    """Writes and reads artifacts: in the store's own directory if it has one, else in a private one.

    Attributes:
        versions: The current version of each artifact.
    """

    def __init__(self, operation: Operation) -> None:
        store = operation.writer.store
        if not store.traits.keeps_artifacts:
            raise StoreError(
                f"{store!r} cannot keep artifacts; use a directory or a database, or keep the files yourself"
            )
        self._operation = operation
        self._lease = cast("ArtifactLease", operation.writer.lease)
        self._store = cast("ArtifactStore", store)
        saved = operation.parts.saved
        self.versions = Artifacts(saved.artifacts, saved.artifacts_before, self._remove, is_new=not operation.resumed)
        self._private: Path | None = None
        self._places: dict[str, Path] = {}
        self._contents: dict[str, Path] = {}
        self._threads = Threads(lambda: None)
        self._removal: Future[tuple[None, float]] | None = None

    # -- read

    def open(self, name: str) -> Steps[None]:
        """Make sure that the saved version of the artifact *name* is there, unchanged.

        Raises:
            CheckpointCorruptError: It is not.
            StoreError: The store fails.
        """
        self._operation.check_open()
        check_name(name)
        version = self.versions.get(name)
        if isinstance(version, Version) and version.version not in self._contents:
            yield lambda: self._check(name, version)

    def path(self, name: str) -> Path | None:
        """The newest version of the artifact *name*; None if there is none."""
        version = self.versions.get(name)
        return None if version is None else self._contents[version.version]

    def _check(self, name: str, version: Version) -> None:
        place = self._lease.artifact_place(version.version)
        try:
            if place is None:
                place = self._fetched(version)
            found, content = digest_of(place), content_of(place, name)
        except FileNotFoundError:
            raise self._damaged(name, "is missing") from None
        except ValueError as error:
            raise self._damaged(name, f"cannot be read: {error}") from None
        except OSError as error:
            raise StoreError(f"cannot read the artifact {name!r}: {error.strerror or error}") from error
        if found[0] != version.size:
            raise self._damaged(name, f"has {found[0]:,} bytes, not {version.size:,}")
        if found[1] != version.sha256:
            raise self._damaged(name, "was changed: its SHA-256 is not the one that was saved")
        self._places[version.version], self._contents[version.version] = place, content

    def _fetched(self, version: Version) -> Path:
        key = self._operation.operation_id
        if version.version not in dict(self._store.list_artifacts(key)):
            raise FileNotFoundError
        place = self._private_place(version.version)
        try:
            unpack(self._store.read_artifact(key, version.version), place)
        except BaseException:
            trees.remove(place)
            raise
        return place

    def _private_place(self, version: str) -> Path:
        with self.versions.sweeping:  # one removal at a time, over all threads
            self._private = self._private or _private_directory(self._operation)
        place = self._private / version
        place.mkdir(exist_ok=True)
        return place

    def _damaged(self, name: str, what: str) -> CheckpointCorruptError:
        from .._format.verify import verify  # imported late: few operations are damaged

        operation, location = self._operation, self._operation.location
        previous = None
        with contextlib.suppress(StoreError, OSError):
            best = verify(location, now=operation.clock.utc()).best if isinstance(location, Path) else None
            previous = str(best.snapshot.path) if best is not None else None
        reason = f"its artifact {name!r} {what}"
        place = "" if isinstance(location, Path) else operation.directory
        return CheckpointCorruptError(operation.operation_id, str(location), reason, previous, place)

    # -- write

    def begin(self, name: str) -> Steps[tuple[str, Path]]:
        """Begin a new version. Returns its name, and the path that the program must write."""
        yield from self._make_sure()
        version: str = yield self.versions.begin
        place: Path = yield lambda: self._new_place(version)
        self._places[version] = place
        return version, place / file_name(name)

    def _make_sure(self) -> Steps[None]:
        """Raise StaleCheckpointError if another one has taken the operation: this one may write nothing any more."""
        self._operation.check_open()
        if (lease := self._operation.writer.ending) is not None:
            yield from is_away(lease)

    def _new_place(self, version: str) -> Path:
        return self._lease.artifact_place(version) or self._private_place(version)

    def end(self, name: str, version: str) -> Steps[None]:
        """Finish *version*, which the program has written: the next save names it.

        Raises:
            ValueError: The program wrote nothing, or something that is neither a file nor a directory.
            StoreError: The store cannot take it. The earlier version stays.
        """
        try:
            self._operation.check_open()
            written: Written = yield lambda: self._kept(name, version)
            if self._operation.ticker.is_async:  # nothing may block the event loop
                yield written.told
        except BaseException:
            yield lambda: self.give_up(version)
            raise
        self.versions.written(name, written)
        yield self.versions.tidy

    def _kept(self, name: str, version: str) -> Written:
        place = self._places[version]
        try:
            if not os.listdir(place):
                raise ValueError(f"nothing was written to {place / file_name(name)}; the artifact {name!r} stays")
            digest = self._threads.start(lambda: digest_of(place))  # overlaps with the disk's work
            if place.parent == self._private:
                self._put(version, place)
            else:
                self._lease.seal_artifact(version)
            self._contents[version] = content_of(place, name)
        except OSError as error:
            raise StoreError(f"cannot keep the artifact {name!r}: {error.strerror or error}") from error

        def told() -> tuple[int, str]:
            with contextlib.suppress(OSError, ValueError):
                return digest.result()[0]
            try:
                return digest_of(place)  # try once more
            except (OSError, ValueError) as error:
                raise StoreError(f"cannot read the artifact {name!r}: {error}") from error

        return Written(version, told, self._operation.clock.utc().isoformat(timespec="seconds"))

    def give_up(self, version: str) -> None:
        """Remove what was written of *version*. Never raises."""
        place = self._places.pop(version, None)
        with contextlib.suppress(OSError, StoreError):
            if place is not None and self._operation.is_owner():
                trees.remove(place)
        self.versions.give_up(version)
        if self._operation.is_owner():
            self.versions.tidy()

    # -- publish

    def publish(self, name: str, target: Path) -> Steps[None]:
        """Make *target* hold the newest version of the artifact *name*. See ``publishing``.

        Raises:
            FileNotFoundError: There is no version.
            StoreError: It cannot be written; the artifact stays.
        """
        yield from self._make_sure()
        from .._durable.publishing import publish

        version = self.versions.get(name)
        if version is None:
            raise FileNotFoundError(2, "the artifact has no version yet", name)
        place = self._places[version.version]
        source = self._contents[version.version]
        may_link = self._operation.options.auto_cleanup
        yield lambda: publish(source if os.path.lexists(source) else place, target, may_link=may_link)
        self.versions.published(version.version, os.fsdecode(target))

    # -- saved

    def stored(self, save: Save) -> None:
        """*save* stands: remove the versions that it replaced, except those of the save before."""
        if save.artifacts is not None:
            self.versions.stored(save.artifacts, begins_generation=save.document is not None)

    def _remove(self) -> None:
        """Remove all versions that no save needs; if the store is remote, in a thread."""
        if not self._store.traits.is_remote:
            self._sweep()
            return
        self._wait()
        self._removal = self._threads.start(self._sweep)

    def _sweep(self) -> None:
        with self.versions.sweeping:
            needed = self.versions.needed()
            for version in set(self._places) - needed:
                place = self._places.pop(version)
                if place.parent == self._private:
                    with contextlib.suppress(OSError):
                        trees.remove(place)
            try:
                self._lease.keep_artifacts(needed)
            except (StoreError, OSError) as error:
                _log.debug("%s: an older artifact stays: %s", self._operation.operation_id, error)

    def _wait(self) -> None:
        if self._removal is not None:
            self._removal.exception()

    def put_into(self, lease: ArtifactLease) -> None:
        """Copy the known versions into another store, whose checkpoint names them, too."""
        for version in self.versions.needed():
            place = self._places.get(version)
            if place is not None and place.is_dir():
                lease.put_artifact(version, pack(place))

    def _put(self, version: str, place: Path) -> None:
        try:
            self._lease.put_artifact(version, pack(place))
        except StoreBehindError:  # the next save tells of that; the claim has been made anew
            self._lease.put_artifact(version, pack(place))

    def put_anew(self) -> None:
        """Put the versions that are known here and that the store has lost, or a part of them."""
        for version in self.versions.needed():
            place = self._places.get(version)
            if place is not None and place.parent == self._private and place.is_dir() and not self._is_whole(version):
                others = [name for name, _ in self._store.list_artifacts(self._operation.operation_id)]
                self._lease.keep_artifacts({*others} - {version})
                self._put(version, place)

    def _is_whole(self, version: str) -> bool:
        try:
            stored = _digest_of(self._store.read_artifact(self._operation.operation_id, version))
        except StoreError:
            return False
        return stored == _digest_of(pack(self._places[version]))

    def release(self) -> None:
        """Remove the private directory. No artifact may be written after this."""
        self._wait()
        self._threads.close()
        if self._private is not None:
            with contextlib.suppress(OSError):
                trees.remove(self._private)


def _digest_of(pieces: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _private_directory(operation: Operation) -> Path:
    """A new directory, readable by this user only. Removes those that killed runs left on this machine.

    One whose process lives is kept: two services may have a bucket of one name.
    """
    writer = operation.writer
    whose = hashlib.sha256(f"{writer.store.describe(operation.operation_id)}".encode(errors="surrogateescape"))
    prefix = f"resumable-{whose.hexdigest()[:16]}-"
    if writer.store.traits.survives == "machine":  # else another process may use an operation of this name
        for name in os.listdir(tempfile.gettempdir()):
            if name.startswith(prefix) and not _lives(name.removeprefix(prefix).rpartition("-")[0]):
                with contextlib.suppress(OSError):
                    trees.remove(Path(tempfile.gettempdir()) / name)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{_mark_of(os.getpid())}-"))


def _mark_of(pid: int) -> str:
    """The process with that *pid*, for a file's name; "" if the system does not tell, or there is none."""
    identity = identity_of(pid)
    return f"{pid}.{hashlib.sha256(identity.encode()).hexdigest()[:8]}" if identity else ""


def _lives(mark: str) -> bool:
    pid = mark.partition(".")[0]
    return pid.isdecimal() and mark == _mark_of(int(pid))
