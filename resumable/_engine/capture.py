"""What one operation saves, and one save of it: encoded or copied at one instant, so that the loop may go on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from .._durable import Durable, Sinks, make
from .._durable.sink import Mode, Sink
from .._durable.sink_file import Existing
from .._durable.typed import make_typed
from .._errors import CheckpointCorruptError, StateEncodeError
from .._format import typed
from .._format.restore import Restored
from .._format.sections import Finished, Sections
from .._format.values import Values
from .._json import SPELLED, Checker, check, encode, encode_spelled, is_plain, step, to_json, warn_once_per_path
from .._loops.map.map_loop import Failed
from .._loops.registry import LoopRegistry, opening
from .._models import CheckpointMetadata, as_stored, check_metadata
from .._runtime.clock import Instant
from .history import History
from .limits import limits_for
from .moment import NO_LOOPS, Cut, Part, Save
from .options import Options, Ticker
from .quota import Quota
from .session import Decision, Session

if TYPE_CHECKING:
    from .._durable.once import Effects
    from .._durable.tracked import Tracked
    from .._loops.loop import Loop

_REMEMBER_UP_TO = 65536
"""Encoded values up to this many bytes are kept, to see whether they changed."""


class Parts:
    """All that is saved of one operation, restored or new.

    Args:
        restored: What is stored; None if the operation is new.
        damaged: Makes the error for what this library cannot have saved, from what is wrong with it.

    Attributes:
        state: What the user holds: a dict, or a value of the type that was asked for.
        items_before: Items that earlier runs have ticked.
        last_run: The run before this one; None if there was none.
        is_proven: Whether a state with an item of this run in it was looked at wholly.
        tracked: The objects that go with it, once there is one.
        hooks: What to call before each save, each with the attempt that it is of.
        attempt: How many times a decorated function or an item was begun, so that names may be taken again.
        known_effects: Its effects, once there is one.
        history: What is told of this run and those before it.
        pace: Gives what the reporter learned of the pace; None if nobody watches.
        finished: That, and when, the operation has finished; None if it has not.
    """

    def __init__(
        self,
        options: Options,
        restored: Restored | None,
        damaged: Callable[[str], CheckpointCorruptError],
        ticker: Ticker,
        *,
        at: Instant,
    ) -> None:
        data = restored.data if restored is not None else None
        saved = self.saved = restored.sections if restored is not None else Sections()
        self._is_marker = False
        if saved.arguments:
            options.check_arguments(saved.arguments)
        self._options, self._damaged = options, damaged
        self._warn = warn_once_per_path()
        self._typed = typed.TypedState(options.state_type, self._warn) if options.state_type is not None else None
        self.metadata = data.metadata if data is not None else CheckpointMetadata()
        self.created_at = data.created_at if data is not None else at.utc
        self.cut = Cut(ticker, has_ticked=self.metadata.processed_items > 0 and not saved.loops)
        if (finished := saved.finished) is not None:
            saved.loops = {}  # all of them had come to their end, and give nothing out
        self.finished = finished
        self.collections: dict[str, Durable] = {}
        self.is_proven = False
        self.state: Any = self._restored_state(options, data.state if data is not None else None)
        self.items_before = self.metadata.processed_items
        if options.total is not None:
            self.metadata.total_items = options.total
        # A resume counts as an interruption, whatever ended the run before.
        self.costs = dataclasses.replace(saved.costs, restores=saved.costs.restores + 1) if saved.costs else None
        self.pace: Callable[[], dict[str, Any] | None] | None = None
        self.last_run = saved.history[-1] if saved.history else None
        self.run_number = (self.last_run.run or len(saved.history)) + 1 if self.last_run is not None else 1
        self._opening = opening()
        self.history = History(saved, self.items_before, at.utc, self.run_number)
        saved.arguments = dict(options.arguments or saved.arguments)
        is_limited = options.max_runtime is not None or options.budget or saved.spent
        self.limits = limits_for(options, saved.spent, began=at) if is_limited else None
        self.tracked: Tracked | None = None
        self.hooks: list[tuple[Callable[[], object], int]] = []
        self.attempt = 1
        self.known_effects: Effects | None = None
        if saved.once:
            self.known_effects = self.effects
        self._sections: dict[str, bytes] = {}

    # Made when they are first asked for: most operations need but one or two of them.

    @cached_property
    def loops(self) -> LoopRegistry:
        return LoopRegistry(
            self.saved.loops,
            self._damaged,
            opened=self._opening,
            operation_id=self._options.operation_id,
            has_failures=lambda name: self.failed.is_known(name),
        )

    @cached_property
    def failed(self) -> Failed:
        return Failed(self.saved.failed)

    @cached_property
    def quota(self) -> Quota:
        return Quota(self.saved.budget)

    @cached_property
    def sinks(self) -> Sinks:
        return Sinks(self._options.owner(), self.saved.sinks)

    @cached_property
    def effects(self) -> Effects:
        from .._durable.once import Effects

        saved, self.saved.once = self.saved.once, {}  # a document and a record say them by themselves
        self.known_effects = Effects(saved, self._options.clock.utc)
        return self.known_effects

    # -- what the program holds

    def tracking(self) -> Tracked:
        """Its tracked objects, from now on."""
        from .._durable.tracked import Tracked

        self.tracked = self.tracked or Tracked(self.saved.tracked)
        return self.tracked

    def note_tracked(self) -> None:
        """An item has ended, if anything is tracked."""
        if self.tracked is not None:
            loops = self.loops.unfinished()
            name, position = (loops[-1].name, loops[-1].position) if loops else ("", self.metadata.processed_items)
            self.tracked.note(name, position, len(loops) or 1)

    def note_end_of(self, loop: Loop[Any]) -> None:
        """*loop* has come to its end, if anything is tracked."""
        if self.tracked is not None:
            self.tracked.note_end(loop.name, len(self.loops.unfinished()) + 1)

    def add_hook(self, fn: Callable[[], object]) -> None:
        """Call *fn* before each save; that of an earlier attempt, made by one and the same code, no longer."""
        code = getattr(fn, "__code__", fn)
        self.hooks = [
            one for one in self.hooks if one[1] == self.attempt or getattr(one[0], "__code__", one[0]) != code
        ]
        if not any(known is fn for known, _ in self.hooks):
            self.hooks.append((fn, self.attempt))

    @cached_property
    def _checker(self) -> Checker:
        return Checker(self._warn, nan=self._typed is not None or self._options.nan == "allow")

    def release(self) -> None:
        """Let go of the output files."""
        if "sinks" in self.__dict__:
            self.sinks.release()

    def _restored_state(self, options: Options, values: dict[str, Any] | None) -> Any:
        if options.state_type is not None:
            return typed.restored(options.operation_id, options.state_type, values)
        state = values if values is not None else {}
        kinds = self.saved.collections
        for name in kinds.keys() & state.keys():
            self.collections[name] = state[name] = self._made(kinds[name], state[name], name)
        return state

    def collection(self, name: str, kind: str, of: type[Any] | None = None) -> Any:
        """The durable collection ``state[name]``, made of what is there; its values are of the class *of*.

        Raises:
            InputChangedError: A loaded value does not fit the class.
            TypeError: There is something else, the state is no dict, *name* no str, or *of* no class that comes back.
        """
        if type(name) is not str:
            raise TypeError(f"the name of a durable collection must be a str, not {name!r:.80}")
        if not isinstance(self.state, dict):
            kind_of_state = type(self.state).__name__
            raise TypeError(
                f"durable collections need a dict state: {name!r} has no place in a {kind_of_state}; "
                f"with state={kind_of_state} use its own fields"
            )
        value = self.state.get(name)
        if not isinstance(value, Durable):
            if value is not None:
                check(value, f"$.state.{name}", nan=self._options.nan == "allow")
            value = self.state[name] = self._made(kind, value, name)
        if value.kind != kind:
            raise TypeError(f"$.state.{name} is a durable {value.kind}, not a {kind}; give this one another name")
        if of is not None:
            make_typed(value, Values(of, f"$.state.{name}", self._options.operation_id, self._warn))
        return value

    def _made(self, kind: str, value: Any, name: str) -> Durable:
        collection = make(kind, value, f"$.state.{name}")
        if self._options.nan == "allow":
            collection.allow_nan()
        self.cut.add(collection)
        return collection

    def open_sink(
        self, path: str | os.PathLike[str], mode: Mode, existing: Existing, header: str | bytes | None
    ) -> Sink[Any]:
        """The sink that writes to *path*. See :meth:`Sinks.open`."""
        sink = self.sinks.open(path, mode, existing, header)
        self.cut.add(sink)
        return sink

    @property
    def is_used(self) -> bool:
        """Whether there is anything beside the plain state that is saved."""
        return bool(self.loops.views or self.sinks.opened or self.collections)

    @property
    def is_all_done(self) -> bool:
        """Whether all items that the program has announced are done: no request follows."""
        done, total = self.metadata.processed_items, self._options.total
        if total is None:  # a number that the program has set, or an earlier run; more may have come since
            return not self.loops.views and done == self.metadata.total_items
        return done >= total

    @property
    def had_all_done(self) -> bool:
        """Whether the run before has left no item to do: what came after its loops has failed."""
        return all(loop.get("over") for loop in self.saved.loops.values()) if self.saved.loops else self.is_all_done

    # -- save

    def capture(
        self, decision: Decision, session: Session, *, at: datetime, in_flight: int, is_last: bool = False
    ) -> Save:
        """All that is to be saved, as it is now; what the unfinished item has written is left out.

        Args:
            in_flight: How many saves are in flight before this one.

        Raises:
            StateEncodeError: JSON cannot hold the state, or the metadata could not be read back.
        """
        if self.tracked is not None and not self.loops.views and not self.has_done:
            self.note_tracked()
        loops = NO_LOOPS if self._is_marker else self.cut.settle(self.loops)
        values = checked_values(self.metadata, self.metadata.save_count + in_flight + 1, decision.reason)
        wholly = is_last or not self.is_proven
        # Copies, for other threads may add to it meanwhile.
        is_dict = type(self.state) is dict and self._typed is None
        state = {} if self._is_marker else self.state.copy() if is_dict else self._plain_state(wholly=wholly)
        spells = self._options.nan == "allow" if self._typed is None else not is_plain(state)
        parts, collections = encode_state(state, self._checker, wholly=wholly, spells=spells)
        self.is_proven = self.is_proven or self.has_done
        if is_last:
            for collection in collections.values():
                collection.look_at_all()
        self.cut.keep_only([*collections.values(), *self.sinks.opened.values()])
        run = self.history.run or self.history.begin()
        run.ended, run.items, run.reason = at.isoformat(timespec="seconds"), values["processed_items"], decision.reason
        return Save(
            decision=decision,
            values=values,
            created_at=self.created_at,
            at=at,
            parts=parts,
            collections=collections,
            sections=self._encoded_sections(decision, session),
            loops=loops,
            effects=None if self.known_effects is None or self._is_marker else self.known_effects.capture(),
            first=self.sinks.syncs() if self.sinks.opened and not self._is_marker else (),
            is_last=is_last,
            spells=spells,
        )

    def mark_finished(self, finished: Finished | None, *, is_marker: bool) -> None:
        """Save from now on that the operation has finished; None: that it goes on after all.

        Args:
            is_marker: Whether nothing else of it is saved: no state, no loops, no outputs.
        """
        self.finished, self._is_marker = finished, is_marker
        self._sections = {}

    @property
    def has_done(self) -> bool:
        """Whether this run has done an item."""
        return self.metadata.processed_items > self.items_before

    def _plain_state(self, *, wholly: bool) -> dict[str, Any]:
        if self._typed is not None:
            return self._typed.plain(self.state, wholly=wholly)
        if not isinstance(self.state, dict):
            raise StateEncodeError("$.state", f"cp.state must stay a dict, not become a {type(self.state).__name__}")
        return dict(self.state)

    def _encoded_sections(self, decision: Decision, session: Session) -> dict[str, bytes]:
        saved = self.saved
        saved.elapsed = round(session.elapsed_time, 3)
        saved.costs = as_stored(session.costs, charged=decision.is_charged)
        at_risk = session.strategy.at_risk(saved.costs)
        saved.history[-1].at_risk = at_risk and round(at_risk, 3)
        has_more = (
            self.loops.views or self.sinks.opened or self.quota.is_known or self.limits or self.pace or self.tracked
        )
        if not self._sections or has_more or self.finished is not None:
            saved.finished = self.finished
            saved.sinks = {} if self._is_marker else self.sinks.to_dict(settled=True)
            if self.quota.is_known:
                saved.budget = self.quota.to_dict()
            if self.failed or saved.failed is not None:
                saved.failed = self.failed.to_dict()
            if self.limits is not None:
                saved.spent = self.limits.spent
            if self.pace is not None:
                saved.pace = self.pace()
            if self.tracked is not None:
                saved.tracked = self.tracked.moments
            saved.loops, saved.collections = {}, {}  # a document and a record say them by themselves
            self._sections = saved.encoded()
            return self._sections
        return self._sections | {
            "history": to_json(saved.history),
            "elapsed": to_json(saved.elapsed),
            "costs": to_json(saved.costs),
        }


def checked_values(metadata: CheckpointMetadata, save_count: int, reason: str) -> dict[str, Any]:
    """The metadata as it is to be stored.

    Raises:
        StateEncodeError: It could not be read back.
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
    """Each top-level value as bytes, but for durable collections; and these.

    Raises:
        StateEncodeError: JSON cannot hold one exactly.
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
            parts[name] = encode(value, f"$.state{step(name)}")  # raises, and says where
    return parts, collections


def _check_places(collections: dict[str, Durable]) -> None:
    """Make sure that each collection in the state has one name, a string."""
    places: dict[int, str] = {}
    for name, value in collections.items():
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
        self.values: dict[str, Any] = {}
        self.collections: dict[str, Durable] = {}
        self._parts: dict[str, Part] = {}
        self._sections: dict[str, bytes] = {}

    def remember(self, save: Save) -> None:
        """*save* is stored now."""
        self.names, self.values = set(save.parts), save.values
        self.collections, self._sections = save.collections, save.sections
        self._parts = {}
        for name, part in save.parts.items():
            if isinstance(part, bytes) and len(part) <= _REMEMBER_UP_TO:
                self._parts[name] = part

    def changed(self, save: Save) -> dict[str, bytes] | None:
        """The plain values that may differ from those stored; None if the collections are others."""
        if self.collections != save.collections and not _are_same(self.collections, save.collections):
            return None
        changed = {}
        for name, part in save.parts.items():
            if isinstance(part, bytes) and self._parts.get(name) != part:
                changed[name] = part
        return changed

    def record(self, save: Save, changed: dict[str, bytes]) -> bytes:
        """Begin the collections' changes, and encode all that differs as one journal record.

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
            if self._sections.get(name) != section:
                news[name] = msgspec.Raw(section)
        record["resumable"] = news
        try:
            return to_json(record)  # once for all of it: a collection may have changed much
        except Exception:
            self._find_out_where(record)
            raise

    def _find_out_where(self, record: dict[str, Any]) -> None:
        """Raise the StateEncodeError that names the place in the state, where a record has it somewhere else."""
        encode(record["metadata"], "$.metadata")
        for name, change in record.get("collections", {}).items():
            self.collections[name].look_closely(change)
        encode(record, "$.resumable")


def _are_same(some: Mapping[str, Durable], others: Mapping[str, Durable]) -> bool:
    return some.keys() == others.keys() and all(some[name] is other for name, other in others.items())


def raw(parts: Mapping[str, bytes]) -> dict[str, Any]:
    """*parts*, to be put into JSON unchanged."""
    return dict(zip(parts, map(msgspec.Raw, parts.values()), strict=True))
