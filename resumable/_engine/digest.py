"""The digest of a large document, computed by a thread while the rest of the document is encoded and written."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Queue

_PIECE, _PIECES_AHEAD = 1 << 20, 8


class DigestBeside:
    """SHA-256 of what comes piece by piece, as of :func:`hashlib.sha256`, computed in a thread.

    Raises:
        RuntimeError: No thread can be started any more: the main thread has ended.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._queue: Queue[list[bytes]] = Queue(_PIECES_AHEAD)
        self._waiting: list[bytes] = []
        self._size = 0
        self._thread = threading.Thread(target=self._run, name="resumable-digest", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while pieces := self._queue.get():
            self._digest.update(pieces[0] if len(pieces) == 1 else b"".join(pieces))  # lets other threads run

    def update(self, piece: bytes, /) -> None:
        """Add *piece* at the end."""
        self._waiting.append(piece)
        self._size += len(piece)
        if self._size >= _PIECE:
            self._queue.put(self._waiting)
            self._waiting, self._size = [], 0

    def hexdigest(self) -> str:
        """The digest of all pieces. No other piece may follow."""
        if self._waiting:
            self._queue.put(self._waiting)
        self.close()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Wait for the thread, which ends. A second call does nothing."""
        if self._thread.is_alive():
            self._queue.put([])
            self._thread.join()


@contextmanager
def digest_beside() -> Iterator[DigestBeside | None]:
    """A digest for the block; None where there is no second processor, or no thread can be started."""
    digest = None
    if (os.cpu_count() or 1) > 1:
        with suppress(RuntimeError):
            digest = DigestBeside()
    try:
        yield digest
    finally:
        if digest is not None:
            digest.close()
