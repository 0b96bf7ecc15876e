"""Checkpoints in an object store: S3 and compatible services, Google Cloud Storage, Azure Blob Storage.

An operation is one object, its head (see ``_head``), and the objects that the head names: pieces of snapshots, and
segments of the journal that no longer fit into it. Only the head is ever rewritten, and a write replaces exactly the
version that was read.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatchcase

import msgspec

from .._errors import StoreBehindError, StoreError
from ._base import Entry, Holder, Stored, Traits
from ._buckets import Bucket, Missing, Refused, Version
from ._head import Head, Segment, Shown, Snapshot, Spilled, piece_name, segments_encoded, segments_in
from ._medium import HeldError, Parameters, Staged, Unchanged, row_key, stale

_SPILL_FROM = 1 << 18
_PIECE = 1 << 24
_HEAD = 4096
_AT_ONCE = 8
_ARTIFACT = re.compile(r"art-(?P<term>\d+)-(?P<name>.+)-\d+")


def open_url(url: str, parameters: Parameters) -> ObjectMedium:
    """The bucket at *url*, see :class:`Bucket`; ``table_prefix`` adds a folder to it."""
    return ObjectMedium(Bucket(url, parameters.table_prefix))


class ObjectMedium:
    """A bucket, or the objects with a prefix in it.

    The first claim tests whether the service obeys the conditions of writes; one that does not is refused.
    """

    traits: Traits = Traits(
        is_remote=True,
        keeps_summary=True,
        largest_piece=_PIECE,
        least_interval=30.0,
        fold_after=1 << 22,
        leases_end=True,
        keeps_artifacts=True,
        saves_renew=True,
        lease_seconds=120.0,  # a renewal is a paid request; with a save each 30 s there are none
        looks_every=10.0,  # a check is paid, too: 250,000 of them a month cost 10 cents
    )

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._unchanged = Unchanged()
        self._is_tried = False

    def __repr__(self) -> str:
        return f"ObjectMedium({self.bucket.place!r})"

    def claim(self, key: str, me: Holder, *, ttl: float, take_over: bool | Holder = False) -> ObjectLease:
        """Own *key*. See :meth:`Medium.claim`."""
        self._try_conditions()
        head, version = self._found(key)
        if head.nonce != me.nonce:
            self._check_free(key, head, version, take_over)
            shown = msgspec.structs.replace(head.shown, term=head.shown.term + 1, holder=me, ttl=ttl)
            head = replace(head, shown=shown, nonce=me.nonce).written_anew()
            try:
                version = self.bucket.replace(head_name(key), head.encoded(), version)
            except Refused:
                raise StoreError(f"{self.describe(key)} has just changed", is_transient=True) from None
        lease = ObjectLease(self, key, head, version)
        lease.remove_leftovers()
        return lease

    def _check_free(self, key: str, head: Head, version: Version | None, take_over: bool | Holder) -> None:
        shown = head.shown
        if shown.holder is None or version is None or take_over is True:
            return
        if isinstance(take_over, Holder) and take_over.nonce == head.nonce:
            return
        silent_for = max(self._unchanged.seconds(key, head.write), self.bucket.seconds_since(version))
        if silent_for < shown.ttl:
            raise HeldError(shown.holder, shown.ttl - silent_for, silent_for, head.write)

    def _found(self, key: str) -> tuple[Head, Version | None]:
        try:
            data, version = self.bucket.get(head_name(key))
        except Missing:
            return Head(Shown(key)), None
        with self._understanding(key):
            return Head.decoded(data), version

    def head(self, key: str) -> tuple[Head, Version | None]:
        """The present head of *key* and its version; an empty one and None if there is none."""
        return self._found(key)

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """One consistent state. See :meth:`CheckpointStore.read`."""
        while True:
            head, _ = self._found(key)
            snapshot = head.previous if previous else head.current
            if snapshot is None:
                return None
            try:
                return self._stored(key, head, snapshot, snapshot.end if previous else head.next)
            except Missing as error:
                if self._found(key)[0].write == head.write:
                    raise StoreError(f"{self.describe(key)}: the object {error} is missing") from None

    def _stored(self, key: str, head: Head, snapshot: Snapshot, end: int) -> Stored:
        spilled = [part.name for part in head.spilled if part.last > snapshot.base and part.first < end]
        objects = self._get_all(key, [*snapshot.objects(), *spilled])
        segments: list[Segment] = []
        with self._understanding(key):
            for data in objects[snapshot.pieces :]:
                segments += segments_in(data)
        journal = [data for number, data in (*segments, *head.tail) if snapshot.base < number < end]
        return Stored(b"".join(objects[: snapshot.pieces]), b"".join(journal), self.describe(key))

    def _get_all(self, key: str, names: Sequence[str]) -> list[bytes]:
        paths = [object_name(key, name) for name in names]
        if len(paths) < 2:
            return [self.bucket.get(path)[0] for path in paths]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [data for data, _ in pool.map(self.bucket.get, paths)]

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern* (see :mod:`fnmatch`), as they are now."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            listed = [*pool.map(self._shown, self.bucket.folders())]
        for shown, version in filter(None, listed):
            if shown.size is not None and fnmatchcase(shown.id, pattern):
                left = shown.ttl - self.bucket.seconds_since(version) if shown.holder is not None else None
                holder = shown.holder if left is not None and left > 0 else None
                yield Entry(
                    *(shown.id, self.describe(shown.id), shown.summary, shown.size, shown.term, holder),
                    left if holder is not None else None,
                )

    def _shown(self, folder: str) -> tuple[Shown, Version] | None:
        """The list entry in the head of *folder*; None if there is none."""
        try:
            data, version = self.bucket.get(f"{folder}/head", _HEAD)
            if b"\n" not in data:
                data, version = self.bucket.get(f"{folder}/head")
        except Missing:
            return None
        with self._understanding(folder):
            return msgspec.json.decode(data.partition(b"\n")[0], type=Shown), version

    # -- artifacts

    def artifact_piece(self, key: str, name: str, number: int) -> bytes | None:
        """A piece of an artifact; None if there is none with that number."""
        stem = self.artifacts(key).get(name)
        try:
            return self.bucket.get(object_name(key, piece_name(stem, number)))[0] if stem is not None else None
        except Missing:
            return None

    def artifacts(self, key: str) -> dict[str, str]:
        """By name of each artifact of *key*: the common beginning of the names of its objects."""
        found = sorted(filter(None, map(_ARTIFACT.fullmatch, self.bucket.objects(folder_of(key)))), key=_term)
        return {match["name"]: f"art-{match['term']}-{match['name']}" for match in found}

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and size of each artifact of *key*."""
        sizes: dict[str, int] = {}
        for path, size in self.bucket.objects(folder_of(key)).items():
            if match := _ARTIFACT.fullmatch(path):
                sizes[match["name"]] = sizes.get(match["name"], 0) + size
        return iter(sizes.items())

    def wish(self, key: str) -> bytes | None:
        """The wish for *key*, in an object of its own; None if there is none."""
        try:
            return self.bucket.get(object_name(key, "wish"))[0]
        except Missing:
            return None

    def put_wish(self, key: str, wish: bytes) -> None:
        """Replace the wish for *key*."""
        self.bucket.put(object_name(key, "wish"), wish)

    def clear_wish(self, key: str, wish: bytes) -> None:
        """Remove *wish*; another one only if it comes in that very moment."""
        if self.wish(key) == wish:
            self.bucket.remove([object_name(key, "wish")])

    def describe(self, key: str | None = None) -> str:
        """The operation's folder; or the bucket and its prefix, with the parameters needed to find it."""
        return self.bucket.address if key is None else f"{self.bucket.place}/{folder_of(key)}"

    def close(self) -> None:
        """Close the connections."""
        self.bucket.close()

    @contextlib.contextmanager
    def _understanding(self, key: str) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise StoreError(f"{self.describe()}: the objects of {key!r} are damaged: {error}") from None

    def _try_conditions(self) -> None:
        if not self._is_tried:
            self.bucket.try_conditions()
            self._is_tried = True


class ObjectLease:
    """An operation that is owned. See :class:`MediumLease`."""

    def __init__(self, medium: ObjectMedium, key: str, head: Head, version: Version | None) -> None:
        self._medium = medium
        self._bucket = medium.bucket
        self._key = key
        self._head = head
        self._version = version
        self._nonce = head.nonce
        self._is_unsure = self._was_there = False
        self._lock = threading.RLock()
        self._staged: set[str] = set()
        self.term: int = head.shown.term
        self.next: int = head.next
        self.has_artifacts: bool = False

    def read(self) -> Stored | None:
        """What is stored."""
        return self._medium.read(self._key)

    # -- verbs

    def append(self, sequence: int, last: int | None, data: bytes, summary: bytes) -> None:
        """Add save *sequence* to the journal. See :meth:`MediumLease.append`."""
        with self._lock:
            head = self._known(last)
            if sequence < head.next:
                if not head.holds(sequence, data):
                    raise stale(self._key, head.shown.holder or Holder("", 0, ""))
                return
            if head.current is None:
                raise StoreError(f"{self._key!r} has no whole checkpoint to add a save to")
            head = self._with_room(head)
            shown = msgspec.structs.replace(head.shown, summary=summary)
            self._write(replace(head, shown=shown, next=sequence + 1, tail=(*head.tail, (sequence, data))))

    def put_piece(self, name: str, number: int, data: bytes) -> None:
        """Write a piece of a snapshot. See :meth:`MediumLease.put_piece`."""
        path = piece_name(self._named(name), number)
        self._staged.add(path)
        self._bucket.put(object_name(self._key, path), data)

    def commit(self, staged: Staged, last: int | None, summary: bytes) -> None:
        """Make *staged* the snapshot. See :meth:`MediumLease.commit`."""
        new = Snapshot(staged.sequence, self._named(staged.name), staged.pieces)
        with self._lock:
            head = self._known(last)
            old = head.current
            if old is not None and old.name == new.name:  # the answer to an earlier attempt was lost
                self._staged.difference_update(new.objects())
                return
            if old is not None and new.base < old.base:
                raise stale(self._key, head.shown.holder or Holder("", 0, ""))
            first = old.base + 1 if old is not None else head.next
            shown = msgspec.structs.replace(head.shown, size=staged.size, summary=summary or head.shown.summary)
            after = replace(
                head,
                shown=shown,
                next=max(head.next, new.base + 1),
                current=new,
                previous=msgspec.structs.replace(old, end=head.next) if old is not None else None,
                spilled=tuple([part for part in head.spilled if part.last >= first]),
                tail=tuple([segment for segment in head.tail if segment[0] >= first]),
            )
            self._write(after)
        self._staged.difference_update(new.objects())
        self._remove(head.objects() - after.objects())

    def renew(self) -> None:
        """Extend the lease by its ttl from now."""
        with self._lock:
            self._write(self._known(None))

    def delete(self) -> bool:
        """Remove everything but the claim. Returns whether there was a snapshot."""
        with self._lock:
            head = self._known(None)
            self._was_there |= head.current is not None  # remembered in case the answer to this attempt is lost
            shown = msgspec.structs.replace(head.shown, size=None, summary=b"")
            self._write(replace(head, shown=shown, current=None, previous=None, spilled=(), tail=()))
        self._remove(head.objects())
        self.keep_artifacts(())
        was_there, self._was_there = self._was_there, False
        return was_there

    def release(self) -> None:
        """End the claim. See :meth:`MediumLease.release`."""
        with self._lock:
            head = self._known(None)
            self._write(replace(head, shown=msgspec.structs.replace(head.shown, holder=None)))
        # A commit that was given up may have succeeded all the same.
        self._remove(self._staged - head.objects())

    # -- artifacts

    def put_artifact_piece(self, name: str, number: int, data: bytes) -> None:
        """Write a piece of an artifact. See :meth:`ArtifactMediumLease.put_artifact_piece`."""
        self._make_sure()
        # A later owner's artifacts have other names, so an owner that just lost the lease does no harm.
        path = piece_name(f"art-{self.term:08d}-{name}", number)
        self._bucket.put(object_name(self._key, path), data)

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts except those with these *names*; leaves those of a later owner."""
        self._make_sure()
        found = filter(None, map(_ARTIFACT.fullmatch, self._bucket.objects(folder_of(self._key))))
        self._remove([one[0] for one in found if one["name"] not in names and _term(one) <= self.term])

    def _make_sure(self) -> None:
        """Check the ownership by reading the head, because the next write does not go through it."""
        with self._lock:
            self._look()

    # -- the head

    def _known(self, last: int | None) -> Head:
        """The present head, if it is still this owner's.

        Raises:
            StaleCheckpointError: Another owner has the operation.
            StoreBehindError: It is older than acknowledged; save *last* is not in it.
        """
        if self._is_unsure:
            self._look()
        if last is not None and self._head.next <= last:
            raise StoreBehindError(self._key)
        return self._head

    def _look(self) -> None:
        head, version = self._medium.head(self._key)
        if head.nonce != self._nonce:
            if head.shown.term >= self.term:
                raise stale(self._key, head.shown.holder or Holder("", 0, ""))
            raise StoreBehindError(self._key)
        self._head, self._version, self._is_unsure = head, version, False

    def _write(self, head: Head) -> None:
        """Replace the known head by *head*.

        A refusal may be due to an own earlier attempt that seemed lost: read the head, and repeat the verb.
        """
        head = head.written_anew()
        self._is_unsure = True
        try:
            self._version = self._bucket.replace(head_name(self._key), head.encoded(), self._version)
        except Refused:
            self._look()
            if self._head.write != head.write:
                raise StoreError(f"{self._medium.describe(self._key)} has just changed", is_transient=True) from None
            return
        self._head, self._is_unsure = head, False

    def _with_room(self, head: Head) -> Head:
        """*head* with a short enough tail; older segments have moved to an object of their own."""
        tail = head.tail
        if sum([len(data) for _, data in tail]) < _SPILL_FROM:
            return head
        first, last = tail[0][0], tail[-1][0]
        # A number is used once in a term, so its name is unique, and a second attempt writes equal bytes.
        name = f"log-{self._named(f'{first}-{last}')}"
        self._bucket.put(object_name(self._key, name), segments_encoded(tail))
        return replace(head, spilled=(*head.spilled, Spilled(name, first, last)), tail=())

    def _named(self, name: str) -> str:
        return f"{self.term:08d}-{self._nonce[:8]}-{name}"

    # -- unneeded objects

    def remove_leftovers(self) -> None:
        """Remove what earlier owners have left. Objects of a later owner have a higher term."""
        found, kept = self._bucket.objects(folder_of(self._key)), self._head.objects()
        self.has_artifacts = any(map(_ARTIFACT.fullmatch, found))
        self._remove([name for name in found if name not in kept and self._is_older(name)])

    def _is_older(self, name: str) -> bool:
        match = re.match(r"(?:log-)?(\d+)-", name)
        return match is not None and int(match[1]) < self.term

    def _remove(self, names: Iterable[str]) -> None:
        """Remove unneeded objects; one that stays costs little."""
        paths = [object_name(self._key, name) for name in names]
        if paths:
            with contextlib.suppress(StoreError):
                self._bucket.remove(paths)


def _term(match: re.Match[str]) -> int:
    return int(match["term"])


def folder_of(key: str) -> str:
    """The folder of an operation: the harmless characters of its id, and a hash of it."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', key)[:80]}-{row_key(key)[:16]}"


def object_name(key: str, name: str) -> str:
    """The path of an operation's object."""
    return f"{folder_of(key)}/{name}"


def head_name(key: str) -> str:
    """The path of an operation's head."""
    return object_name(key, "head")
