"""What a store is: five verbs over operation ids and bytes, and the abilities that some stores add."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class OldStore(Protocol):
    """Where checkpoints lie; any object with these five verbs is a store.

    ``put`` is all or nothing: a reader sees the old bytes or the new ones. Every verb raises
    :class:`~resumable.StoreError` if the medium fails, and what was stored before still stands.
    """

    def get(self, key: str) -> bytes | None:
        """The bytes under *key*, None if there are none."""
        ...

    def put(self, key: str, blob: bytes) -> Path | str:
        """Replace what is under *key*; returns where it lies once it is safe there."""
        ...

    def delete(self, key: str) -> bool:
        """Remove *key*; returns whether it was there."""
        ...

    def keys(self) -> Iterator[str]:
        """All operation ids that have a checkpoint, in no order."""
        ...

    def close(self) -> None:
        """Let go of connections and files. The store may be used again."""


@runtime_checkable
class StreamingStore(OldStore, Protocol):
    """A store that takes a checkpoint in pieces, so that the whole need not be in memory."""

    def put_chunks(self, key: str, chunks: Iterable[bytes]) -> Path | str:
        """As ``put``, for the concatenation of *chunks*."""
        ...


@runtime_checkable
class OwningStore(OldStore, Protocol):
    """A store that lets one process at a time work on an operation."""

    def own(self, key: str) -> AbstractContextManager[None]:
        """Own *key* while in the block; raises CheckpointBusyError, naming the holder, if another one does."""
        ...


@runtime_checkable
class JournalingStore(OldStore, Protocol):
    """A store that can add to a journal beside a checkpoint, at a cost that follows what is added."""

    def read_journal(self, key: str) -> bytes | None:
        """The whole journal, None if there is none."""
        ...

    def append_journal(self, key: str, offset: int, data: bytes, meanwhile: Callable[[], None] | None = None) -> None:
        """Put *data* at *offset*, cutting off what was there; safe on the medium when this returns.

        Args:
            meanwhile: To be called once, best while the medium works. What it raises makes the append fail.
        """

    def write_journal(self, key: str, chunks: Iterable[bytes]) -> Callable[[bytes], None]:
        """Write *chunks* as a new journal beside the old one, which stands and may be added to meanwhile.

        Returns:
            What puts it in the old one's place, all or nothing, with more bytes at its end.
        """
        ...

    def retire_journal(self, key: str) -> None:
        """The journal belongs to the generation before; keep it beside that one's checkpoint, if that is kept."""


@runtime_checkable
class GenerationStore(OldStore, Protocol):
    """A store that keeps the checkpoint before the last."""

    def locate(self, key: str) -> Path:
        """Where the checkpoint of *key* lies, or would."""
        ...

    def get_previous(self, key: str) -> tuple[str, bytes] | None:
        """Where the checkpoint before the last lies, and its bytes; None if there is none."""
        ...

    def stamp(self, key: str) -> object | None:
        """Something that differs whenever the checkpoint of *key* was written anew; None if there is none."""
        ...
