"""Saves of durable collections without a store."""

from __future__ import annotations

from typing import Any

import msgspec

from resumable._durable.changes import Replay


def saved(collection: Any) -> Any:
    """The decoded change of a save that succeeds, or None."""
    change = msgspec.json.decode(msgspec.json.encode(collection.begin()))
    collection.commit(has_time=True)
    return change


def text_of(collection: Any) -> Any:
    """The decoded text of a snapshot."""
    return msgspec.json.decode(b"".join(collection.snapshot()))


def grow(collection: Any, name: str) -> None:
    """Put something new into a collection of any kind."""
    if isinstance(collection, dict):
        collection[name] = {"n": 1}
    elif isinstance(collection, set):
        collection.add(name)
    else:
        collection.append(name)


def replayed(value: Any, *changes: Any) -> Any:
    """*value* after *changes*, as a resume makes it."""
    replay = Replay(value)
    for change in changes:
        replay.apply(change)
    return replay.result()
