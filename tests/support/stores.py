"""Stores as tests see them: what lies in one, a simple one, and short ways to read and write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from resumable.stores import CheckpointStore, Holder, Lease, SimpleStore, open_store


def document(store: CheckpointStore | SimpleStore, key: str) -> bytes | None:
    """The bytes of the snapshot, None if there is none."""
    found = open_store(store).read(key)
    return found.snapshot if found is not None else None


def journal(store: CheckpointStore | SimpleStore, key: str) -> bytes:
    """The segments since the snapshot, one after the other."""
    found = open_store(store).read(key)
    return found.journal if found is not None else b""


def keys(store: CheckpointStore | SimpleStore) -> list[str]:
    """The ids of what is stored, in their order."""
    return sorted(entry.key for entry in open_store(store).list())


@contextmanager
def claimed(store: CheckpointStore | SimpleStore, key: str) -> Iterator[Lease]:
    """Own *key* while in the block."""
    lease = open_store(store).claim(key, Holder.me())
    try:
        yield lease
    finally:
        lease.release()


def put(store: CheckpointStore | SimpleStore, key: str, blob: bytes) -> None:
    """Save *blob* as a whole snapshot."""
    with claimed(store, key) as lease:
        lease.stage(lease.next, [blob])(b"")


def delete(store: CheckpointStore | SimpleStore, key: str) -> bool:
    """Remove the checkpoint of *key*; whether there was one."""
    with claimed(store, key) as lease:
        return lease.delete()


class DictStore:
    """A store as a user writes one: bytes by id."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.blobs.get(key)

    def put(self, key: str, blob: bytes) -> str:
        self.blobs[key] = blob
        return f"dict:{key}"

    def delete(self, key: str) -> bool:
        return self.blobs.pop(key, None) is not None

    def keys(self) -> Iterator[str]:
        return iter(list(self.blobs))

    def close(self) -> None:
        pass
