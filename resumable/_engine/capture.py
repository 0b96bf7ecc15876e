"""What one save holds, taken at one instant: everything encoded or copied, so that the loop may go on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from .._durable.changes import Snapshot
from .._durable.kinds import Durable, kind_of
from .._errors import StateEncodeError
from .._format.document import INDENT_UP_TO, VERSION, indented, object_chunks, sign
from .._json import Checker, check, encode, step
from .._models import CheckpointMetadata, check_metadata
from ..stores import CheckpointStore, StreamingStore

Part = bytes | Durable


@dataclass(slots=True)
class SnapshotWriter:
    """A document that is ready to be written: what may still change was copied.

    Attributes:
        estimate: About how many bytes it will have.
        digest, size: Of the document, once written.
    """

    store: CheckpointStore
    operation_id: str
    state: Sequence[tuple[str, bytes | Snapshot]]
    tail: dict[str, Any]
    generation: int
    collections: list[Durable]
    estimate: int
    digest: str = ""
    size: int = 0

    def write(self, pause: float | None = None) -> Path | str:
        """Write it; returns where it lies. *pause* seconds are slept between pieces, for other threads to run."""
        if self.estimate <= INDENT_UP_TO:
            document = b"".join(self._chunks(None))
            return self.store.put(self.operation_id, indented(document) if len(document) <= INDENT_UP_TO else document)
        if isinstance(self.store, StreamingStore):
            return self.store.put_chunks(self.operation_id, self._chunks(pause))
        return self.store.put(self.operation_id, b"".join(self._chunks(pause)))

    def _chunks(self, pause: float | None) -> Iterator[bytes]:
        head = {"version": VERSION, "operation_id": self.operation_id}
        chunk = b""
        for chunk in sign(head, object_chunks(self.state), self.tail):
            self.size += len(chunk)
            yield chunk
            if pause is not None:
                time.sleep(pause)
        self.digest = chunk[-67:-3].decode()

    def write_beside(self) -> Path | str:
        """Write it while other threads run; what was copied is freed bit by bit."""
        try:
            return self.write(pause=0)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for _, part in self.state:
            if not isinstance(part, bytes):
                for _ in part.let_go():
                    time.sleep(0)
        self.state = ()


def writer_for(
    store: CheckpointStore, operation_id: str, parts: dict[str, Part], tail: dict[str, Any], *, takes: bool
) -> SnapshotWriter:
    """A writer for the state made of *parts*.

    Args:
        tail: What follows the state, its last section ``resumable``.
        takes: Whether what changed in the collections counts as taken with it.
    """
    collections = {name: part for name, part in parts.items() if isinstance(part, Durable)}
    internal = tail["resumable"]
    if collections:
        internal["collections"] = {name: kind_of(collection) for name, collection in collections.items()}
    encode(tail, "$")
    copies = _copies(collections, takes)
    state = [(name, part if isinstance(part, bytes) else copies[name]) for name, part in parts.items()]
    estimate = sum(len(part) if isinstance(part, bytes) else part.about_bytes() for _, part in state)
    return SnapshotWriter(
        store, operation_id, state, tail, internal["generation"], list(collections.values()), estimate
    )


def _copies(collections: dict[str, Durable], takes: bool) -> dict[str, Snapshot]:
    copies: dict[str, Snapshot] = {}
    try:
        for name, collection in collections.items():
            copies[name] = collection.take_snapshot() if takes else collection.snapshot()
    except BaseException:
        for collection in collections.values():
            collection.put_back()
        raise
    return copies


_REMEMBER_UP_TO = 65536
"""Encoded values up to this many bytes are kept, to see whether they changed."""


class SavedLoop(Protocol):
    """A loop, as the saver sees it."""

    def as_now(self) -> Callable[[], dict[str, Any]]:
        """What gives all that is to be saved of it, as it is now."""
        ...

    def changes(self) -> dict[str, Any] | None:
        """What changed since the last ``commit``; None if nothing."""
        ...

    def committer(self) -> Callable[[Mapping[str, Any]], None]:
        """A function that notes later that changes are safely stored; void once another loop has the name."""
        ...


class CapturedLoops:
    """The places of all loops at one instant.

    Captured before the state: what another thread has finished by then, the state has. It may have more, which is then
    done again.
    """

    def __init__(self, loops: Mapping[str, SavedLoop] | None = None) -> None:
        self.changes: dict[str, dict[str, Any]] = {}
        self._committers: dict[str, Callable[[Mapping[str, Any]], None]] = {}
        self._places: dict[str, Callable[[], dict[str, Any]]] = {}
        for name, view in list(loops.items()) if loops else ():
            self._committers[name] = view.committer()
            if (change := view.changes()) is not None:
                self.changes[name] = change
            self._places[name] = view.as_now()

    def to_dict(self) -> dict[str, Any]:
        """All that is to be saved of them."""
        return {name: place() for name, place in self._places.items()}

    def settle(self) -> None:
        """What changed is safely stored."""
        for name, change in self.changes.items():
            self._committers[name](change)


@dataclass(slots=True)
class Content:
    """What one save holds.

    Attributes:
        internal: The library's own sections.
        is_last: Nothing will be saved after this in this run.
        first: What must be on the disk before the save is.
        loops: What is done in them.
    """

    state: dict[str, Any]
    metadata: CheckpointMetadata
    created_at: datetime
    last_updated: datetime
    internal: dict[str, Any] = field(default_factory=dict)
    is_last: bool = False
    first: Sequence[Callable[[], None]] = ()
    loops: CapturedLoops = field(default_factory=CapturedLoops)

    def checked_metadata(self) -> dict[str, Any]:
        """The metadata as it is to be stored.

        Raises:
            StateEncodeError: It could not be read back.
        """
        values = self.metadata.to_dict()
        try:
            check_metadata(values)
        except ValueError as error:
            raise StateEncodeError("$.metadata", str(error)) from None
        if self.metadata.extra:
            check(self.metadata.extra, "$.metadata")
        return values

    def tail(self, generation: int) -> dict[str, Any]:
        """What follows the state in a snapshot."""
        internal = {"generation": generation, **self.internal}
        if loops := self.loops.to_dict():
            internal["loops"] = loops
        return {
            "metadata": self.checked_metadata(),
            "created_at": self.created_at.isoformat(),
            "last_updated": self.last_updated.isoformat(),
            "resumable": internal,
        }


@dataclass(slots=True)
class Capture:
    """A save, taken at one instant.

    Attributes:
        record: What goes to the journal; None if everything is to be written.
        writer: Of everything: instead of the record, or as a fold after it.
        collections: Those of the *parts* that are durable.
    """

    content: Content
    parts: dict[str, Part]
    sections: dict[str, bytes]
    record: bytes | None = None
    writer: SnapshotWriter | None = None
    collections: dict[str, Durable] = field(init=False)

    def __post_init__(self) -> None:
        self.collections = {name: part for name, part in self.parts.items() if isinstance(part, Durable)}

    def settle(self) -> None:
        """What was taken of the collections is on its way to the disk. Any thread may tell them."""
        for collection in self.collections.values():
            collection.settle()


def encode_state(state: dict[str, Any], checker: Checker, *, wholly: bool = False) -> dict[str, Part]:
    """Each top-level value as bytes; durable collections stay as they are.

    Raises:
        StateEncodeError: JSON cannot hold one exactly.
    """
    plain = {name: value for name, value in state.items() if not isinstance(value, Durable)}
    if len(plain) < len(state):
        _check_places(state)
    if plain:
        checker.check(plain, "$.state", wholly=wholly)
    return {name: encode(value, f"$.state{step(name)}") if name in plain else value for name, value in state.items()}


def _check_places(state: dict[str, Any]) -> None:
    """Make sure that each collection in *state* has one name, a string."""
    places: dict[int, str] = {}
    for name, value in state.items():
        if isinstance(value, Durable):
            if type(name) is not str:
                raise StateEncodeError("$.state", f"the key {name!r} is not a string; JSON would make it one")
            other = places.setdefault(id(value), name)
            if other != name:
                where = f"$.state{step(name)}"
                raise StateEncodeError(where, f"it is the collection $.state{step(other)} itself; keep a copy of it")


class Baseline:
    """What the store holds already, as far as that is known: changes are told against it."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.collections: dict[str, Durable] = {}
        self._parts: dict[str, bytes] = {}
        self._sections: dict[str, bytes] = {}

    def remember(self, capture: Capture) -> None:
        """This is stored now."""
        self.names = set(capture.parts)
        self.collections = capture.collections
        self._parts = {n: p for n, p in capture.parts.items() if isinstance(p, bytes) and len(p) <= _REMEMBER_UP_TO}
        self._sections = capture.sections

    def knows(self, collections: Mapping[str, Durable]) -> bool:
        """Whether changes of *collections* build upon what is stored: of these very ones, and of no others."""
        known = self.collections
        return known.keys() == collections.keys() and all(known[name] is c for name, c in collections.items())

    def changed(self, parts: Mapping[str, Part]) -> dict[str, bytes]:
        """The plain values that are not surely the same as those stored."""
        return {n: p for n, p in parts.items() if isinstance(p, bytes) and self._parts.get(n) != p}

    def record(self, capture: Capture, changed: dict[str, bytes]) -> bytes:
        """One journal record: all that differs. What changed in the collections is taken with it.

        Raises:
            StateEncodeError: JSON cannot hold it.
        """
        content = capture.content
        record: dict[str, Any] = {"at": content.last_updated.isoformat(), "metadata": content.checked_metadata()}
        if changed:
            record["set"] = _raw(changed)
        deleted = self.names.difference(content.state)
        if deleted:
            record["del"] = sorted(deleted)
        taken = {name: collection.take_changes() for name, collection in self.collections.items()}
        changes = {name: change for name, change in taken.items() if change is not None}
        if changes:
            record["collections"] = changes
        if content.loops.changes:
            record["loops"] = content.loops.changes
        news = {name: section for name, section in capture.sections.items() if self._sections.get(name) != section}
        if news:
            record["resumable"] = _raw(news)
        try:
            return encode(record)  # once for all of it: a collection may have changed much
        except StateEncodeError:
            _find_out_where(record)
            raise


def _raw(parts: Mapping[str, bytes]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(part) for name, part in parts.items()}


def _find_out_where(record: dict[str, Any]) -> None:
    """Raise the StateEncodeError that names the place in the state, where a record has it somewhere else."""
    encode(record["metadata"], "$.metadata")
    for name, change in record.get("collections", {}).items():
        for part in change.values():
            encode(part, f"$.state{step(name)}")
    encode(record.get("loops"), "$.resumable.loops")


def beginning_fold(record: bytes, generation: int) -> bytes:
    """*record*, naming the snapshot that is begun with it."""
    return b'%b,"fold":%d}' % (record[:-1], generation)


def encode_sections(internal: Mapping[str, Any]) -> dict[str, bytes]:
    """The library's own sections, each encoded."""
    return {name: encode(section, f"$.resumable.{name}") for name, section in internal.items()}
