"""One save: everything that it holds, encoded or copied at one instant, so that the loop may go on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from .._durable import Durable, Snapshot, kind_of
from .._errors import StateEncodeError
from .._format import journal
from .._format.document import INDENT_UP_TO, VERSION, indented, object_chunks, sign
from .._json import Checker, check, encode, step
from .._models import CheckpointMetadata, check_metadata
from .session import Before, Decision

Part = bytes | Durable
"""A top-level value of the state: encoded, or a collection that knows what changed in it."""

_REMEMBER_UP_TO = 65536
"""Encoded values up to this many bytes are kept, to see whether they changed."""


class SavedLoop(Protocol):
    """A loop, as a save sees it."""

    def as_now(self) -> Callable[[], dict[str, Any]]:
        """Return what gives the loop's whole place, as it is now."""
        ...

    def changes(self) -> dict[str, Any] | None:
        """What changed since the last commit; None if nothing did."""
        ...

    def committer(self) -> Callable[[Mapping[str, Any]], None]:
        """Return what commits changes of the loop that runs now, and of no later one."""
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

    def places(self) -> dict[str, Any]:
        """The whole place of each."""
        return {name: place() for name, place in self._places.items()}

    def commit(self) -> None:
        """What changed is safely stored."""
        for name, change in self.changes.items():
            self._committers[name](change)


@dataclass(slots=True, kw_only=True)
class Save:
    """One save, from the decision to the disk.

    Attributes:
        decision: Why it is made, and where the operation stood.
        metadata: As it will be once this save stands.
        head: What says when it was made, for a document or a journal record.
        state: The user's values, by name.
        sections: The library's own, each encoded.
        loops: What is done in them.
        first: Each must be called before the save is written: it brings an output file to the disk.
        is_last: Whether nothing is saved after this in this run.
        parts: The state's values, encoded or as collections.
        record: What goes to the journal; None if a whole document is to be written.
        document: The whole, instead of the record or as a compaction after it.
        status: How far it came.
        seconds: What it cost the loop, and the disk.
        before: What the session needs if the save fails in flight.
        position: Where the journal stands after its record.
    """

    decision: Decision
    metadata: CheckpointMetadata
    values: dict[str, Any]
    created_at: str
    at: datetime
    state: dict[str, Any]
    sections: dict[str, bytes]
    loops: CapturedLoops
    first: Sequence[Callable[[], None]] = ()
    is_last: bool = False
    parts: dict[str, Part] = field(default_factory=dict)
    collections: dict[str, Durable] = field(default_factory=dict)
    record: bytes | None = None
    document: Document | None = None
    status: Literal["captured", "sent", "stored", "failed"] = "captured"
    seconds: float = 0.0
    before: Before | None = None
    position: journal.Position | None = None

    def encode_state(self, checker: Checker) -> None:
        """Encode the plain values; what this finds wrong costs nothing that was saved before.

        Raises:
            StateEncodeError: JSON cannot hold one exactly.
        """
        self.parts = encode_state(self.state, checker, wholly=self.is_last)
        self.collections = {name: part for name, part in self.parts.items() if isinstance(part, Durable)}

    def commit_collections(self) -> None:
        """What was taken of the collections is on its way to the disk. Any thread may call this."""
        for collection in self.collections.values():
            collection.commit()

    def commit(self) -> None:
        """What this save took is safely stored, or whatever follows will say it again."""
        self.commit_collections()
        self.loops.commit()

    def rollback(self) -> None:
        """What this save took was not stored: the next one takes it again."""
        for collection in self.collections.values():
            collection.rollback()


def checked_values(metadata: CheckpointMetadata) -> dict[str, Any]:
    """The metadata as it is to be stored.

    Raises:
        StateEncodeError: It could not be read back.
    """
    values = metadata.to_dict()
    try:
        check_metadata(values)
    except ValueError as error:
        raise StateEncodeError("$.metadata", str(error)) from None
    if metadata.extra:
        check(metadata.extra, "$.metadata")
    return values


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
    """What the store holds already, as far as that is known; a journal record says what differs from it."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.collections: dict[str, Durable] = {}
        self._parts: dict[str, bytes] = {}
        self._sections: dict[str, bytes] = {}

    def remember(self, save: Save) -> None:
        """*save* is stored now."""
        self.names = set(save.parts)
        self.collections = save.collections
        self._parts = {n: p for n, p in save.parts.items() if isinstance(p, bytes) and len(p) <= _REMEMBER_UP_TO}
        self._sections = save.sections

    def knows(self, collections: Mapping[str, Durable]) -> bool:
        """Whether changes of *collections* build upon what is stored: of these very ones, and of no others."""
        known = self.collections
        return known.keys() == collections.keys() and all(known[name] is c for name, c in collections.items())

    def changed(self, parts: Mapping[str, Part]) -> dict[str, bytes]:
        """The plain values that may differ from those stored."""
        return {n: p for n, p in parts.items() if isinstance(p, bytes) and self._parts.get(n) != p}

    def record(self, save: Save, changed: dict[str, bytes]) -> bytes:
        """Begin the collections' changes, and encode all that differs as one journal record.

        Raises:
            StateEncodeError: JSON cannot hold it.
        """
        record: dict[str, Any] = {"at": save.at.isoformat(), "metadata": save.values}
        if changed:
            record["set"] = _raw(changed)
        if self.names != save.state.keys() and (deleted := self.names.difference(save.state)):
            record["del"] = sorted(deleted)
        begun = {name: collection.begin() for name, collection in self.collections.items()}
        if changes := {name: change for name, change in begun.items() if change is not None}:
            record["collections"] = changes
        if save.loops.changes:
            record["loops"] = save.loops.changes
        known = self._sections
        if news := {name: section for name, section in save.sections.items() if known.get(name) != section}:
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


class Document:
    """A whole checkpoint that is ready to be written: what may still change was copied.

    Args:
        begins: Whether what changed in the collections is in flight with it; False for a compaction, which repeats
            what the journal has.

    Attributes:
        estimate: About how many bytes it will have.
        digest, size: Of what was written, once it was.
    """

    def __init__(self, operation_id: str, save: Save, *, begins: bool) -> None:
        kinds = {name: kind_of(collection) for name, collection in save.collections.items()}
        loops = save.loops.places()
        self._head = {"version": VERSION, "operation_id": operation_id}
        self._tail = {"metadata": save.values, "created_at": save.created_at, "last_updated": save.at.isoformat()}
        self._sections: dict[str, Any] = {**_raw(save.sections)}
        if kinds:
            self._sections["collections"] = kinds
        if loops:
            self._sections["loops"] = msgspec.Raw(encode(loops, "$.resumable.loops"))
        copies = _copies(save.collections, begins)
        self._state: Iterable[tuple[str, bytes | Snapshot]] = [
            (name, part if isinstance(part, bytes) else copies[name]) for name, part in save.parts.items()
        ]
        self.estimate = sum(len(part) if isinstance(part, bytes) else part.about_bytes() for _, part in self._state)
        self.digest = ""
        self.size = 0

    def pieces(self, at: journal.Position, pause: float | None = None) -> Iterable[bytes]:
        """The document that stands for the save *at* and all before it.

        Args:
            pause: Seconds to sleep between pieces, for other threads to run; what was copied is freed bit by bit.
        """
        if self.estimate > INDENT_UP_TO:
            return self._chunks(at, pause)
        document = b"".join(self._chunks(at, None))
        return [indented(document) if len(document) <= INDENT_UP_TO else document]

    def _chunks(self, at: journal.Position, pause: float | None) -> Iterator[bytes]:
        internal = {"generation": at.sequence, "journal": journal.note_for(at.crc), **self._sections}
        chunk = b""
        for chunk in sign(self._head, object_chunks(self._state), {**self._tail, "resumable": internal}):
            self.size += len(chunk)
            yield chunk
            if pause is not None:
                time.sleep(pause)
        self.digest = chunk[-67:-3].decode()

    def let_go(self) -> None:
        """Free what was copied, while other threads run."""
        for _, part in self._state:
            if not isinstance(part, bytes):
                for _ in part.let_go():
                    time.sleep(0)
        self._state = ()


def _copies(collections: dict[str, Durable], begins: bool) -> dict[str, Snapshot]:
    copies: dict[str, Snapshot] = {}
    try:
        for name, collection in collections.items():
            copies[name] = collection.begin_snapshot() if begins else collection.snapshot()
    except BaseException:
        for collection in collections.values():
            collection.rollback()
        raise
    return copies
