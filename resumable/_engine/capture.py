"""One save: one instant of the operation, encoded or copied so that the loop may go on, and its journal record.

The instant is the end of the last done item: what the unfinished item wrote is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .._durable import Durable
from .._errors import StateEncodeError
from .._format import journal
from .._format.shared import shared_in
from .._format.trail import Point
from .._json import SPELLED, Checker, check, encode, encode_spelled, is_plain, step, to_json
from .._loops.loop import Loop
from .._loops.registry import LoopRegistry
from .._loops.view import LoopView
from .._models import CheckpointMetadata, as_stored, check_metadata
from .._runtime.boundary import Boundary, Noting
from .session import Before, Decision, Session

if TYPE_CHECKING:
    from .._durable.artifact import Versions
    from .._durable.once import CapturedEffects
    from .document import Document
    from .options import Ticker
    from .parts import Parts

_REMEMBER_UP_TO = 65536
"""Encoded values up to this many bytes are kept, to detect whether they changed."""
_WHOLE_AT_FIRST = 2
"""Before the first item is done, this many saves check the whole state; later ones check a part of it."""

# -- the instant ------------------------------------------------------------------------------------------------------


class CapturedLoops:
    """The places of all loops at one instant.

    Capture them before the state. Another thread may finish an item between the two: then the state has it, the
    places do not, and the item is done again.
    """

    def __init__(self, views: Mapping[str, LoopView]) -> None:
        self.changes: dict[str, dict[str, Any]] = {}
        self._committers: dict[str, Callable[[Mapping[str, Any]], None]] = {}
        self._places: dict[str, Callable[[], dict[str, Any] | None]] = {}
        for name, view in list(views.items()):
            self._committers[name] = view.committer()
            if (change := view.changes()) is not None:
                self.changes[name] = change
            self._places[name] = view.as_now()

    def places(self) -> dict[str, Any]:
        """The place of each loop that is kept, whole."""
        return {name: form for name, place in self._places.items() if (form := place()) is not None}

    def commit(self) -> None:
        """The places are safely stored."""
        for name, change in self.changes.items():
            self._committers[name](change)


NO_LOOPS = CapturedLoops({})


Part = bytes | Durable
"""A top-level value of the state: encoded, or a collection that tracks its own changes."""


class Save(msgspec.Struct, kw_only=True):
    """One save, from the decision to the disk.

    Attributes:
        decision: Why this save is made, and where the operation stood.
        values: The metadata, valid once this save stands.
        parts: The user's values, encoded or as collections.
        sections: The library's own values, each encoded.
        first: Called before the save is written; each call syncs one output file to the disk.
        is_last: Whether this is the run's last save.
        record: The journal record; None if a whole document is to be written.
        document: The whole document, instead of the record or as a compaction after it.
        seconds: The time that it cost the loop and the disk.
        sent_at: When it was sent, in monotonic seconds.
        before: What the session restores if the save fails in flight.
        spells: Whether numbers that JSON lacks (NaN, infinities) are spelled out.
        artifacts: The artifact versions that it names, if the run has any.
        position: The end of its record in the journal.
    """

    decision: Decision
    values: dict[str, Any]
    created_at: datetime
    at: datetime
    parts: dict[str, Part]
    collections: dict[str, Durable]
    sections: dict[str, bytes]
    loops: CapturedLoops
    effects: CapturedEffects | None = None
    first: Sequence[Callable[[], None]] = ()
    is_last: bool = False
    record: bytes | None = None
    document: Document | None = None
    status: Literal["captured", "sent", "stored", "failed"] = "captured"
    seconds: float = 0.0
    sent_at: float = 0.0
    before: Before | None = None
    position: journal.Position | None = None
    spells: bool = False
    artifacts: Versions | None = None

    def commit_collections(self, *, has_time: bool = False) -> None:
        """Commit the collections' changes. Any thread may call this.

        Args:
            has_time: Whether a disk writes meanwhile, for which the caller waits anyway. Where leases end, none does.
        """
        for collection in self.collections.values():
            collection.commit(has_time=has_time)

    def commit(self) -> None:
        """All that this save began is safely stored, or a later save repeats it."""
        self.commit_collections()
        self.loops.commit()
        if self.effects is not None:
            self.effects.commit()

    def rollback(self) -> None:
        """This save was not stored: the next one includes its changes again."""
        for collection in self.collections.values():
            collection.rollback()


_TRIES = 4
"""How often places are captured again when a loop in another thread goes on meanwhile. If all tries fail, what the
unfinished items have written by then counts, too."""


class Cut(msgspec.Struct):
    """Where the unfinished item began: a save leaves out what was written after that.

    Inside its ``with`` block, other threads wait before they write to a collection or a sink.

    Attributes:
        ticker: Counts ticks by hand: between two ticks lies one item.
        has_ticked: Whether an item that is ticked by hand is under way, though this run has not ticked yet.
        boundary: Counts the items that loops hand out.
        is_at_end: Whether the program has ended its block, so that no item follows the last tick.
        is_final: Whether nothing is left to do, whatever the places of the loops say.
        is_within_first: Whether the first item of a program that ticks has begun, and no loop hands out items.
    """

    ticker: Ticker
    has_ticked: bool
    boundary: Boundary = msgspec.field(default_factory=Boundary)
    is_at_end: bool = False
    is_final: bool = False
    is_within_first: bool = False

    def add(self, written: Noting) -> None:
        """Tell *written*, from now on, where the unfinished item began. A second call changes nothing."""
        if written.boundary is not self.boundary:
            written.attach(self.boundary)
        if not any(other is written for other in self.boundary.writers):
            self.boundary.add(written)

    def keep_only(self, written: Sequence[Noting]) -> None:
        """Save nothing but *written* from now on."""
        if len(written) != len(self.boundary.writers):
            for one in written:
                self.add(one)
            self.boundary.writers = list(written)

    def __enter__(self) -> None:
        self.boundary.lock.acquire()
        for one in self.boundary.writers:
            one.hold()

    def __exit__(self, *error: object) -> None:
        for one in self.boundary.writers:
            one.let_go()
        self.boundary.lock.release()

    def end(self, *, is_final: bool) -> None:
        """The program has ended its block: no item follows the last tick.

        Args:
            is_final: Whether nothing is left to do, whatever the places of the loops say.
        """
        self.is_at_end, self.is_final = True, is_final
        if is_final:
            for apart in self.boundary.apart:
                apart.write()

    def settle(self, loops: LoopRegistry, *, is_early: bool = False) -> CapturedLoops:
        """Note where the unfinished item began. Returns the places of all loops at that moment.

        Args:
            is_early: Whether the run has not reached its first loop or tick, so that nothing it wrote counts.
        """
        views, boundary, captured = loops.views, self.boundary, NO_LOOPS
        count = boundary.ticks.__length_hint__
        self.is_within_first = self.is_within_first and not any(view.has_begun for view in views.values())
        for _ in range(_TRIES):
            unfinished = [loop for loop in loops.unfinished() if not loop.is_beside] if views else []
            asking = [loop for loop in unfinished if loop.must_settle()]
            if asking or not (is_early or self._is_within_item(unfinished)):
                if not asking and all(loop.done() for loop in unfinished):  # of those, each has raised at an item's end
                    loops.running.again.outside()
                boundary.move()
            for loop in asking:
                loop.note_settled()
            now = count()
            if views:
                captured = CapturedLoops(views)
            # Keep this order: a loop that waits for an item may get it between the two.
            if not any(loop.must_settle() for loop in unfinished if loop not in asking) and count() == now:
                break
        else:
            now = count()
        for one in boundary.writers:
            one.settle(now)
        return captured

    def _is_within_item(self, unfinished: Sequence[Loop[Any]]) -> bool:
        if self.is_final:
            return False
        has_ticked = self.has_ticked or self.ticker.ticked > 0 or self.is_within_first
        return (has_ticked and not self.is_at_end) or any(loop.is_at_item() for loop in unfinished)


# -- the save ---------------------------------------------------------------------------------------------------------


def capture(
    parts: Parts, decision: Decision, session: Session, *, at: datetime, in_flight: int, is_last: bool = False
) -> Save:
    """Make a save of *parts* at this instant, without what the unfinished item has written.

    Args:
        in_flight: How many saves are in flight before this one.

    Raises:
        StateEncodeError: JSON cannot hold the state, or the metadata would not load again.
    """
    is_early = not parts.cut.ticker.ticked and parts.beginning.is_now(decision.reason)
    if parts.tracked is not None and not (parts.loops.views or parts.has_done or parts.beginning.holds_objects):
        parts.note_tracked()
    loops = NO_LOOPS if parts.is_marker else parts.cut.settle(parts.loops, is_early=is_early)
    values = checked_values(parts.metadata, parts.metadata.save_count + in_flight + 1, decision.reason)
    wholly = is_last or (not parts.is_proven and (parts.has_done or parts.checker.turn < _WHOLE_AT_FIRST))
    state = _plain_state(parts, wholly=wholly)
    spells = parts.spells
    if parts.typed is not None and not spells:
        spells = not is_plain([value for value in state.values() if not isinstance(value, Durable)])
    encoded, collections = encode_state(state, parts.checker, wholly=wholly, spells=spells)
    if wholly and (twice := shared_in(parts.state)):
        parts.warn(twice)
    parts.is_proven = parts.is_proven or parts.has_done
    if is_last:
        for collection in collections.values():
            collection.look_at_all()
    artifacts = parts.workshop.versions if parts.workshop is not None else None
    more = () if artifacts is None else (artifacts,)
    parts.cut.keep_only([*collections.values(), *parts.sinks.opened.values(), *more])
    run = parts.history.run or parts.history.begin()
    run.ended, run.items, run.reason = at.isoformat(timespec="seconds"), values["processed_items"], decision.reason
    if is_last or at.timestamp() >= parts.history.due_at:
        parts.history.note(_point(parts, session, values, at))
    return Save(
        decision=decision,
        values=values,
        created_at=parts.created_at,
        at=at,
        parts=encoded,
        collections=collections,
        sections=_encoded_sections(parts, decision, session),
        loops=loops,
        effects=None if parts.known_effects is None or parts.is_marker else parts.known_effects.capture(),
        first=parts.sinks.syncs() if parts.sinks.opened and not parts.is_marker else (),
        is_last=is_last,
        spells=spells,
        artifacts=artifacts.settled() if artifacts is not None else None,
    )


def _plain_state(parts: Parts, *, wholly: bool) -> dict[str, Any]:
    if parts.is_marker:
        return {}
    if parts.typed is not None:
        return parts.plain_state(parts.typed, wholly=wholly)
    if not isinstance(parts.state, dict):
        raise StateEncodeError("$.state", f"cp.state must stay a dict, not become a {type(parts.state).__name__}")
    return dict(parts.state)  # a copy: other threads may add to it


def _point(parts: Parts, session: Session, values: Mapping[str, Any], at: datetime) -> Point:
    """Where the operation stands, for reports."""
    costs, metadata = session.costs, parts.metadata
    at_risk = session.strategy.at_risk(costs)
    return Point(
        at=round(at.timestamp(), 1),
        items=values["processed_items"],
        run=parts.run_number,
        elapsed=round(session.elapsed_time, 1),
        saves=values["save_count"],
        save_seconds=costs.average_seconds and round(costs.average_seconds, 5),
        charged=round(costs.charged_seconds, 3),
        at_risk=at_risk and round(at_risk, 1),
        remaining=metadata.rate_limit_remaining,
        limit=metadata.rate_limit_total,
        failed=len(parts.failed),
        total=metadata.total_items,
    )


def _encoded_sections(parts: Parts, decision: Decision, session: Session) -> dict[str, bytes]:
    saved = parts.saved
    saved.elapsed = round(session.elapsed_time, 3)
    saved.costs = as_stored(session.costs, charged=decision.is_charged)
    at_risk = session.strategy.at_risk(saved.costs)
    saved.history[-1].at_risk = at_risk and round(at_risk, 3)
    has_more = (
        parts.loops.views or parts.sinks.opened or parts.quota.is_known or parts.limits or parts.pace or parts.tracked
    )
    if not parts.encoded_sections or has_more or parts.workshop or parts.finished is not None:
        saved.finished = parts.finished
        saved.sinks = {} if parts.is_marker else parts.sinks.to_dict(settled=True)
        if parts.quota.is_known:
            saved.budget = parts.quota.to_dict()
        if parts.failed or saved.failed is not None:
            saved.failed = parts.failed.to_dict()
        if parts.limits is not None:
            saved.spent = parts.limits.spent
        if parts.pace is not None:
            saved.pace = parts.pace()
        if parts.tracked is not None:
            saved.tracked = parts.tracked.moments
        if parts.is_marker:
            saved.artifacts, saved.artifacts_before = {}, []
        elif parts.workshop is not None:
            saved.artifacts, saved.artifacts_before = parts.workshop.versions.to_save()
        saved.loops, saved.collections = {}, {}  # a document and a record carry them elsewhere
        parts.encoded_sections = saved.encoded()
        return parts.encoded_sections
    return parts.encoded_sections | {
        "history": to_json(saved.history),
        "trail": to_json(saved.trail),
        "elapsed": to_json(saved.elapsed),
        "costs": to_json(saved.costs),
    }


def checked_values(metadata: CheckpointMetadata, save_count: int, reason: str) -> dict[str, Any]:
    """The metadata to store.

    Raises:
        StateEncodeError: It would not load again.
    """
    values = metadata.to_dict() | {"save_count": save_count, "last_save_reason": reason}
    try:
        check_metadata(values)
    except ValueError as error:
        raise StateEncodeError("$.metadata", str(error)) from None
    if metadata.extra:
        check(metadata.extra, "$.metadata")
    return values


def encode_state(
    state: dict[str, Any], checker: Checker, *, wholly: bool = False, spells: bool = False
) -> tuple[dict[str, Part], dict[str, Durable]]:
    """Each top-level value as bytes, and the durable collections apart.

    Raises:
        StateEncodeError: JSON cannot hold a value exactly.
    """
    parts: dict[str, Part] = {}
    collections: dict[str, Durable] = {}
    plain: dict[str, Any] = {}
    for name, value in state.items():
        parts[name] = value
        if isinstance(value, Durable):
            collections[name] = value
        else:
            plain[name] = value
    if collections:
        _check_places(collections)
    if plain:
        checker.check(plain, "$.state", wholly=wholly)
    for name, value in plain.items():
        try:
            parts[name] = encode_spelled(value) if spells else to_json(value)
        except Exception:
            parts[name] = encode(value, f"$.state{step(name)}")  # raises an error that names the place
    return parts, collections


def _check_places(collections: dict[str, Durable]) -> None:
    """Make sure that each collection has exactly one name in the state, a string."""
    places: dict[int, str] = {}
    for name, value in collections.items():
        if type(name) is not str:
            raise StateEncodeError("$.state", f"the key {name!r} is not a string; JSON would make it one")
        other = places.setdefault(id(value), name)
        if other != name:
            where = f"$.state{step(name)}"
            raise StateEncodeError(where, f"it is the collection $.state{step(other)} itself; keep a copy of it")


class Baseline(msgspec.Struct):
    """What the store is known to hold; a journal record contains what differs from it.

    Attributes:
        names: The names of all values in the state.
        values: The metadata.
        parts: The plain values, encoded; without the largest ones.
        sections: The library's own values, encoded.
    """

    names: set[str] = msgspec.field(default_factory=set)
    values: dict[str, Any] = msgspec.field(default_factory=dict)
    collections: dict[str, Durable] = msgspec.field(default_factory=dict)
    parts: dict[str, Part] = msgspec.field(default_factory=dict)
    sections: dict[str, bytes] = msgspec.field(default_factory=dict)

    def remember(self, save: Save) -> None:
        """Note that *save* is stored."""
        self.names, self.values = set(save.parts), save.values
        self.collections, self.sections = save.collections, save.sections
        self.parts = {}
        for name, part in save.parts.items():
            if isinstance(part, bytes) and len(part) <= _REMEMBER_UP_TO:
                self.parts[name] = part

    def changed(self, save: Save) -> dict[str, bytes] | None:
        """The plain values that may differ from the stored ones; None if the set of collections has changed."""
        if self.collections != save.collections and not _are_same(self.collections, save.collections):
            return None
        changed = {}
        for name, part in save.parts.items():
            if isinstance(part, bytes) and self.parts.get(name) != part:
                changed[name] = part
        return changed

    def record(self, save: Save, changed: dict[str, bytes]) -> bytes:
        """Begin the collections' changes, and encode all differences as one journal record.

        Raises:
            StateEncodeError: JSON cannot hold it.
        """
        record: dict[str, Any] = {"at": save.at.isoformat(), "metadata": save.values}
        if changed:
            record["set"] = raw(changed)
        if deleted := self.names.difference(save.parts):
            record["del"] = sorted(deleted)
        changes = {}
        for name, collection in self.collections.items():
            if (change := collection.begin()) is not None:
                changes[name] = msgspec.Raw(encode_spelled(change)) if save.spells else change
        if save.spells:
            record["nonfinite"] = SPELLED
        if changes:
            record["collections"] = changes
        if save.loops.changes:
            record["loops"] = save.loops.changes
        if save.effects is not None and save.effects.changes:
            record["once"] = save.effects.changes
        news = {}
        for name, section in save.sections.items():
            if self.sections.get(name) != section:
                news[name] = msgspec.Raw(section)
        record["resumable"] = news
        try:
            return to_json(record)  # encoded in one call: a collection may have changed much
        except Exception:
            self._find_out_where(record)
            raise

    def _find_out_where(self, record: dict[str, Any]) -> None:
        """Raise the StateEncodeError that names the place in the state instead of the place in *record*."""
        encode(record["metadata"], "$.metadata")
        for name, change in record.get("collections", {}).items():
            self.collections[name].look_closely(change)
        encode(record, "$.resumable")


def _are_same(some: Mapping[str, Durable], others: Mapping[str, Durable]) -> bool:
    return some.keys() == others.keys() and all(some[name] is other for name, other in others.items())


def raw(parts: Mapping[str, bytes]) -> dict[str, Any]:
    """*parts*, marked as encoded already."""
    return dict(zip(parts, map(msgspec.Raw, parts.values()), strict=True))
