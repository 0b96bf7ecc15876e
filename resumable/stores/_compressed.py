"""Compresses checkpoints with zstd: each piece and each save separately. They take less space and network.

A frame is ``RZS1``, four bytes of length, and that many bytes of zstd. Uncompressed data is read unchanged.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from .._errors import StoreError
from ._base import (
    ArtifactLease,
    ArtifactStore,
    CheckpointStore,
    EndingLease,
    Entry,
    Holder,
    Lease,
    Meanwhile,
    Stored,
    Traits,
    WishStore,
)
from ._medium import with_parameter
from ._pieces import Stream, blocks

MARK = b"RZS1"
_HEAD = len(MARK) + 4
_LEVEL = 1
"""Higher levels take longer than they save."""
_PIECE = 1 << 20
_LARGEST = 1 << 32
"""A frame that claims a larger content is damaged."""


class CompressedStore:
    """Compresses what goes into *store*. Reads uncompressed content, too.

    Args:
        only_reads: Store everything uncompressed, because a layer above compresses.

    Raises:
        ImportError: zstd is missing.
    """

    def __init__(self, store: CheckpointStore, *, only_reads: bool = False) -> None:
        _zstd()
        self._store = store
        self._only_reads = only_reads
        self.traits: Traits = store.traits

    def __repr__(self) -> str:
        return f"CompressedStore({self._store!r})"

    def only_reading(self) -> CompressedStore:
        """A layer over the inner store that compresses nothing, and reads compressed content."""
        return CompressedStore(self._store, only_reads=True)

    def over(self, directory: Path) -> CheckpointStore:
        """An uncompressed store on this machine, for what the inner one cannot take while it is away."""
        inner: Any = self._store
        return cast("CheckpointStore", inner.over(directory))

    def claim(self, key: str, me: Holder, *, ttl: float | None = None, take_over: bool = False) -> CompressedLease:
        """Own *key*. See :meth:`CheckpointStore.claim`."""
        lease = self._store.claim(key, me, ttl=ttl, take_over=take_over)
        return CompressedLease(lease, bytes if self._only_reads else frame)

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """The saved state of *key*; None if there is none."""
        return expanded(self._store.read(key, previous=previous))

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern* (see :mod:`fnmatch`). Sizes are the stored ones."""
        return self._store.list(pattern)

    def read_artifact(self, key: str, name: str) -> Iterator[bytes]:
        """The bytes of an artifact, in pieces. See :meth:`ArtifactStore.read_artifact`.

        Raises:
            StoreError: There is none, or it is damaged.
        """
        return _expanded(cast("ArtifactStore", self._store).read_artifact(key, name))

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and size of each artifact of *key*, in any order."""
        return cast("ArtifactStore", self._store).list_artifacts(key)

    def wish(self, key: str) -> bytes | None:
        """The wish for *key*; not compressed."""
        return cast("WishStore", self._store).wish(key)

    def put_wish(self, key: str, wish: bytes) -> None:
        """Replace the wish for *key*. See :meth:`WishStore.put_wish`."""
        cast("WishStore", self._store).put_wish(key, wish)

    def clear_wish(self, key: str, wish: bytes) -> None:
        """Remove *wish*, unless another has replaced it."""
        cast("WishStore", self._store).clear_wish(key, wish)

    def describe(self, key: str | None = None) -> Any:
        """Where *key* lies, or the whole store."""
        place = self._store.describe(key)
        if key is None and isinstance(place, str) and "://" in place:
            return with_parameter(place, "compress", "zstd")
        return place

    def close(self) -> None:
        """Close the inner store."""
        self._store.close()


class CompressedLease:
    """See :class:`~resumable.stores.Lease`. Made by :meth:`CompressedStore.claim`."""

    def __init__(self, lease: Lease, frame: Callable[[bytes], bytes]) -> None:
        self._lease = lease
        self._frame = frame
        self._ending = cast("EndingLease", lease)
        self._artifacts = cast("ArtifactLease", lease)

    @property
    def term(self) -> int:
        """The number of this claim."""
        return self._lease.term

    @property
    def next(self) -> int:
        """The smallest sequence number for the next save."""
        return self._lease.next

    def read(self) -> Stored | None:
        """What is stored; None if nothing is."""
        return expanded(self._lease.read())

    def append(self, sequence: int, data: bytes, summary: bytes = b"", meanwhile: Meanwhile = None) -> None:
        """Add *data*, compressed, to the journal. See :meth:`Lease.append`."""
        self._lease.append(sequence, self._frame(data), summary, meanwhile)

    def stage(self, sequence: int, pieces: Iterable[bytes]) -> Callable[[bytes], None]:
        """Write *pieces*, compressed, as a new snapshot. See :meth:`Lease.stage`."""
        return self._lease.stage(sequence, map(self._frame, blocks(pieces, _PIECE)))

    def where(self) -> int:
        """A sequence number that is safe to use after a write with an unknown outcome."""
        return self._lease.where()

    def renew(self) -> None:
        """Extend the lease."""
        self._lease.renew()

    def delete(self) -> bool:
        """Remove the checkpoint. Returns whether there was one."""
        return self._lease.delete()

    def release(self) -> None:
        """Release the operation. Never raises."""
        self._lease.release()

    # -- where leases expire

    def keep(self, on_lost: Callable[[], None], patience: float) -> None:
        """Set how the lease is kept. See :meth:`EndingLease.keep`."""
        self._ending.keep(on_lost, patience)

    def give_up(self) -> None:
        """Stop all retries. See :meth:`EndingLease.give_up`."""
        self._ending.give_up()

    @property
    def is_away(self) -> bool:
        """Whether the store did not answer last time, so that calls are retried."""
        return self._ending.is_away

    @property
    def is_overdue(self) -> bool:
        """Whether the lease may have expired, or is lost."""
        return self._ending.is_overdue

    def make_sure(self) -> None:
        """If the lease may have expired, ask whether it is still held. See :meth:`EndingLease.make_sure`."""
        self._ending.make_sure()

    # -- artifacts

    @property
    def has_artifacts(self) -> bool:
        """Whether the claim found any."""
        return self._artifacts.has_artifacts

    def put_artifact(self, name: str, pieces: Iterable[bytes]) -> None:
        """Store *pieces*, compressed, as the artifact *name*. See :meth:`ArtifactLease.put_artifact`."""
        self._artifacts.put_artifact(name, map(self._frame, blocks(pieces, _PIECE)))

    def artifact_place(self, name: str) -> Any:
        """The directory for the artifact *name*; None if there is no such place."""
        return self._artifacts.artifact_place(name)

    def seal_artifact(self, name: str) -> None:
        """Sync to the disk what was written at :meth:`artifact_place`."""
        self._artifacts.seal_artifact(name)

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts except those with these *names*."""
        self._artifacts.keep_artifacts(names)


# -- frames -----------------------------------------------------------------------------------------------------------


def frame(data: bytes) -> bytes:
    """*data*, compressed; empty stays empty. Equal input gives equal bytes."""
    if not data:
        return b""
    small = packed(data)
    return MARK + len(small).to_bytes(4) + small


def expanded(stored: Stored | None) -> Stored | None:
    """*stored*, decompressed. Damaged bytes stay, so that a reader can report them."""
    if stored is None:
        return None
    snapshot, journal = (b"".join(_unframed(raw)) for raw in (stored.snapshot, stored.journal))
    return dataclasses.replace(stored, snapshot=snapshot, journal=journal)


def _unframed(raw: bytes) -> Iterator[bytes]:
    """The contents of the frames in *raw*, and the uncompressed lines between."""
    at = 0
    while at < len(raw):
        if not raw.startswith(MARK, at):
            end = raw.find(b"\n", at) + 1 or len(raw)
            yield raw[at:end]
        else:
            start = at + _HEAD
            end = start + int.from_bytes(raw[at + len(MARK) : start])
            data = unpacked(raw[start:end]) if end <= len(raw) else None
            if data is None:
                yield raw[at:]
                return
            yield data
        at = end


def _expanded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The contents of a stream of frames; a stream without frames unchanged."""
    stream = Stream(pieces)
    head = stream.read(_HEAD)
    if not head.startswith(MARK):
        yield head
        while piece := stream.read(_PIECE):
            yield piece
    while head.startswith(MARK):
        size = int.from_bytes(head[len(MARK) :])
        data = unpacked(stream.read(size)) if len(head) == _HEAD and size <= 2 * _PIECE else None
        head = stream.read(_HEAD)
        if data is None or (head and not head.startswith(MARK)):
            raise StoreError("its compressed bytes are damaged")
        yield data


def packed(data: bytes) -> bytes:
    """*data*, compressed by zstd. Raises ImportError without zstd."""
    small: bytes = _zstd().compress(data, _LEVEL)
    return small


def unpacked(small: bytes) -> bytes | None:
    """The decompressed bytes; None if they are damaged."""
    zstd = _zstd()
    try:
        if (zstd.get_frame_info(small).decompressed_size or 0) > _LARGEST:
            return None
        data: bytes = zstd.decompress(small)
    except zstd.ZstdError:
        return None
    return data


def _zstd() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd

            return zstd
        from backports import zstd as backport
    except ImportError:
        raise ImportError(
            "compress=zstd needs the package backports.zstd:  pip install 'resumable-loops[zstd]'"
        ) from None
    return backport
