"""Checkpoints in memory: for tests, and for loops that must survive an exception but not their process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .._errors import CheckpointBusyError, StoreError


class MemoryStore:
    """A dict of bytes.

    Attributes:
        fails: Raised by the next writes, until it is None again.
    """

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._owned: set[str] = set()
        self.fails: StoreError | None = None

    def get(self, key: str) -> bytes | None:
        return self._blobs.get(key)

    def put(self, key: str, blob: bytes) -> str:
        if self.fails is not None:
            raise self.fails
        self._blobs[key] = bytes(blob)
        return f"memory:{key}"

    def delete(self, key: str) -> bool:
        if self.fails is not None:
            raise self.fails
        return self._blobs.pop(key, None) is not None

    def keys(self) -> Iterator[str]:
        return iter(list(self._blobs))

    def close(self) -> None:
        pass

    @contextlib.contextmanager
    def own(self, key: str) -> Iterator[None]:
        """Own *key* while in the block; raises CheckpointBusyError if somebody else does."""
        if key in self._owned:
            raise CheckpointBusyError(key)
        self._owned.add(key)
        try:
            yield
        finally:
            self._owned.discard(key)
