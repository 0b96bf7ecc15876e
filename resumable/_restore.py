"""A checkpoint out of a store, while others may be writing it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from ._codec import in_place
from ._collector import collector_paused
from ._errors import CheckpointCorruptError
from ._formats import UnknownFormatError
from ._reading import Restored, check_internal, from_snapshot, replay
from .stores import CheckpointStore, GenerationStore, JournalingStore

R = TypeVar("R")

_BESIDE_FROM = 1 << 22
"""The digest of so many bytes is worth a thread."""


def restore(store: CheckpointStore, operation_id: str, *, now: datetime) -> Restored | None:
    """The checkpoint of *operation_id*, None if there is none. Nothing is changed or executed.

    Args:
        now: Stands in for the time stamp that a document of version 1.0 may lack.

    Raises:
        CheckpointCorruptError: There is something, but it is no checkpoint of this operation.
        StoreError: It cannot be read.
    """
    return undisturbed(store, operation_id, lambda: _restore(store, operation_id, now))


def _restore(store: CheckpointStore, operation_id: str, now: datetime) -> Restored | None:
    raw = store.get(operation_id)
    if raw is None:
        return None
    is_good_alone = False  # without its journal
    try:
        with collector_paused():
            restored = from_snapshot(raw, operation_id, now, _beside if len(raw) >= _BESIDE_FROM else in_place)
            if restored.generation and isinstance(store, JournalingStore):
                check_internal(restored.data)
                is_good_alone = True
                replay(restored, store.read_journal(operation_id))
            check_internal(restored.data)
    except ValueError as error:
        where = str(store.locate(operation_id)) if isinstance(store, GenerationStore) else repr(store)
        # What may be good is not to be replaced by an older one.
        if isinstance(error, UnknownFormatError):
            previous = None
        elif is_good_alone and isinstance(store, GenerationStore):
            previous = where
        else:
            previous = good_previous(store, operation_id, now)
        raise CheckpointCorruptError(operation_id, where, str(error), previous) from None
    return restored


def _beside(work: Callable[[], R]) -> Callable[[], R]:
    """Do *work* in a thread. Hashing, it leaves the interpreter to the parser."""
    results: list[R] = []
    thread = threading.Thread(target=lambda: results.append(work()), name="resumable-digest")
    thread.start()

    def result() -> R:
        thread.join()
        return results[0] if results else work()

    return result


def undisturbed(store: CheckpointStore, operation_id: str, read: Callable[[], R]) -> R:
    """What *read* gives or raises while no new snapshot is put in place: it would not fit the journal read after."""
    if not isinstance(store, GenerationStore):
        return read()
    while True:
        before = store.stamp(operation_id)
        try:
            result = read()
        except Exception:
            if store.stamp(operation_id) == before:
                raise
        else:
            if store.stamp(operation_id) == before:
                return result


def good_previous(store: CheckpointStore, operation_id: str, now: datetime) -> str | None:
    """Where the checkpoint before the last lies, if it is good."""
    if not isinstance(store, GenerationStore):
        return None
    try:
        previous = store.get_previous(operation_id)
        if previous is not None:
            from_snapshot(previous[1], operation_id, now)
            return previous[0]
    except Exception:  # whatever is wrong with it, it cannot be offered
        return None
    return None
