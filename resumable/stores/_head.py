"""The head: the one object by which an operation in an object store is found, owned and saved.

Its first line is for lists, its second names the other objects of the operation. The newest segments of the journal
follow, each after a line with its number and length. A writer replaces exactly the version that it has read, so a
writer that lost the lease cannot replace anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import msgspec

from ._base import Holder

Segment = tuple[int, bytes]


class Shown(msgspec.Struct, omit_defaults=True):
    """What a list shows of an operation. It is within the first bytes.

    Attributes:
        ttl: Seconds that the lease lasts.
        size: Bytes of the snapshot; None if there is none.
    """

    id: str
    term: int = 0
    holder: Holder | None = None
    ttl: float = 0.0
    size: int | None = None
    summary: bytes = b""


class Snapshot(msgspec.Struct):
    """A snapshot in objects.

    Attributes:
        base: The last save that it contains.
        end: One more than the last save that belongs to it, once there is a newer snapshot.
    """

    base: int
    name: str
    pieces: int
    end: int = 0

    def objects(self) -> list[str]:
        """The names of its pieces."""
        return [piece_name(self.name, number) for number in range(self.pieces)]


class Spilled(msgspec.Struct):
    """Segments in an object of their own."""

    name: str
    first: int
    last: int


class _Parts(msgspec.Struct, omit_defaults=True):
    nonce: str
    write: str
    next: int = 1
    current: Snapshot | None = None
    previous: Snapshot | None = None
    spilled: list[Spilled] = []


@dataclass(frozen=True, slots=True)
class Head:
    """One state of the head.

    Attributes:
        nonce: Of the last claim.
        write: Unique to each write of the head, so it differs after each renewal.
        next: The smallest number for the next save.
        tail: The segments that are in no other object.
    """

    shown: Shown
    nonce: str = ""
    write: str = ""
    next: int = 1
    current: Snapshot | None = None
    previous: Snapshot | None = None
    spilled: tuple[Spilled, ...] = ()
    tail: tuple[Segment, ...] = field(default=(), repr=False)

    def written_anew(self) -> Head:
        """The head with a new *write*, to be written once more."""
        return replace(self, write=os.urandom(12).hex())

    def encoded(self) -> bytes:
        """The object's bytes."""
        parts = _Parts(self.nonce, self.write, self.next, self.current, self.previous, [*self.spilled])
        lines = (msgspec.json.encode(self.shown), b"\n", msgspec.json.encode(parts), b"\n")
        return b"".join([*lines, segments_encoded(self.tail)])

    @classmethod
    def decoded(cls, data: bytes) -> Head:
        """The head in *data*.

        Raises:
            ValueError: It is malformed.
        """
        first, _, rest = data.partition(b"\n")
        second, _, tail = rest.partition(b"\n")
        shown, parts = msgspec.json.decode(first, type=Shown), msgspec.json.decode(second, type=_Parts)
        snapshots = (parts.current, parts.previous)
        return cls(shown, parts.nonce, parts.write, parts.next, *snapshots, (*parts.spilled,), (*segments_in(tail),))

    def holds(self, sequence: int, data: bytes) -> bool:
        """Whether its last save is *sequence* with these bytes."""
        return bool(self.tail) and self.tail[-1] == (sequence, data)

    def objects(self) -> set[str]:
        """The names of all objects that belong to it."""
        kept = [snapshot for snapshot in (self.current, self.previous) if snapshot is not None]
        return {part.name for part in self.spilled}.union(*(snapshot.objects() for snapshot in kept))


def piece_name(name: str, number: int) -> str:
    """The object of a snapshot's piece."""
    return f"{name}-{number:05d}"


def segments_encoded(segments: Iterable[Segment]) -> bytes:
    """Encode segments with their numbers, one after the other."""
    return b"".join([part for number, data in segments for part in (b"%d %d\n" % (number, len(data)), data)])


def segments_in(data: bytes) -> Iterator[Segment]:
    """Decode what :func:`segments_encoded` returned.

    Raises:
        ValueError: It is malformed.
    """
    start = 0
    while start < len(data):
        end = data.index(b"\n", start)
        number, size = map(int, data[start:end].split())
        start = end + 1 + size
        if start > len(data):
            raise ValueError("the last segment is cut off")
        yield number, data[end + 1 : start]
