"""Bytes in pieces, so that a long stream is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def blocks(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """*pieces*, joined and cut into blocks of *size* bytes; the last may be shorter. At least one block."""
    waiting, has_given = bytearray(), False
    for piece in pieces:
        waiting += piece
        while len(waiting) >= size:
            yield bytes(waiting[:size])
            del waiting[:size]
            has_given = True
    if waiting or not has_given:
        yield bytes(waiting)


class Stream:
    """Pieces of bytes as a readable file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")

    def read(self, size: int) -> bytes:
        """*size* bytes; fewer only at the end."""
        found = bytearray()
        while len(found) < size:
            if not self._piece:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._piece = memoryview(piece)
            taken = self._piece[: size - len(found)]
            found += taken
            self._piece = self._piece[len(taken) :]
        return bytes(found)
