"""A whole checkpoint, ready to be written in a thread while its loop goes on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from .._durable import Durable, Snapshot
from .._format import journal
from .._format.document import INDENT_UP_TO, VERSION, indented, object_chunks, sign
from .._json import SPELLED, encode
from .capture import Save, raw

if TYPE_CHECKING:
    from .digest import DigestBeside

BESIDE_FROM = 4 << 20
"""Documents from this size on, in bytes, are worth a thread that hashes them."""


class Document:
    """A whole checkpoint that is ready to be written: whatever may still change was copied.

    Args:
        begins: Whether this save carries the collections' changes; False for a compaction, because the journal has
            them already.

    Attributes:
        estimate: Its approximate size in bytes.
        at, digest, size: Its journal position, digest and bytes, once writing has begun.
    """

    def __init__(self, operation_id: str, save: Save, *, begins: bool = True, is_trial: bool = False) -> None:
        kinds = {name: collection.kind for name, collection in save.collections.items()}
        loops = save.loops.places()
        self._head = {"version": VERSION, "operation_id": operation_id}
        self._tail = {
            "metadata": save.values,
            "created_at": save.created_at.isoformat(),
            "last_updated": save.at.isoformat(),
        }
        self._sections: dict[str, Any] = {**raw(save.sections)}
        if kinds:
            self._sections["collections"] = kinds
        if loops:
            self._sections["loops"] = msgspec.Raw(encode(loops, "$.resumable.loops"))
        if save.effects is not None:
            self._sections["once"] = save.effects.whole()
        copies = _copies(save.collections, begins, leaves=not is_trial)
        if save.spells:
            self._sections["nonfinite"] = SPELLED
            copies = {name: copy.spell() for name, copy in copies.items()}
        self._state: Iterable[tuple[str, bytes | Snapshot]] = [
            (name, part if isinstance(part, bytes) else copies[name]) for name, part in save.parts.items()
        ]
        self.estimate = sum(len(part) if isinstance(part, bytes) else part.about_bytes() for _, part in self._state)
        self.at: journal.Position | None = None
        self.digest = ""
        self.size = 0

    def retell(self, values: dict[str, Any], history: bytes) -> None:
        """Replace the metadata and the history."""
        self._tail["metadata"] = values
        self._sections["history"] = msgspec.Raw(history)

    def pieces(self, at: journal.Position, pause: float | None = None) -> Iterable[bytes]:
        """The document's bytes: they stand for the save *at* and for all before it.

        Args:
            pause: Seconds to sleep between pieces, so that other threads run. Copies are freed piece by piece.
        """
        if pause is None and self.estimate >= BESIDE_FROM:
            return self._hashed_beside(at)
        if self.estimate > INDENT_UP_TO:
            return self._chunks(at, pause)
        document = b"".join(self._chunks(at, None))
        return [indented(document) if len(document) <= INDENT_UP_TO else document]

    def _hashed_beside(self, at: journal.Position) -> Iterator[bytes]:
        from .digest import digest_beside  # most documents are small

        with digest_beside() as digest:
            yield from self._chunks(at, None, digest)

    def _chunks(self, at: journal.Position, pause: float | None, digest: DigestBeside | None = None) -> Iterator[bytes]:
        self.at = at
        internal = {"generation": at.sequence, "journal": journal.note_for(at.crc), **self._sections}
        chunk = b""
        for chunk in sign(self._head, object_chunks(self._state), {**self._tail, "resumable": internal}, digest):
            self.size += len(chunk)
            yield chunk
            if pause is not None:
                time.sleep(pause)
        self.digest = chunk[-67:-3].decode()

    def let_go(self) -> None:
        """Free the copies while other threads run."""
        for _, part in self._state:
            if not isinstance(part, bytes):
                for _ in part.let_go():
                    time.sleep(0)
        self._state = ()


def _copies(collections: dict[str, Durable], begins: bool, *, leaves: bool) -> dict[str, Snapshot]:
    copies: dict[str, Snapshot] = {}
    try:
        for name, collection in collections.items():
            copies[name] = collection.begin_snapshot(leaves=leaves) if begins else collection.snapshot()
    except BaseException:
        for collection in collections.values():
            collection.rollback()
        raise
    return copies
