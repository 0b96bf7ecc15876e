"""What belongs to one operation, restored or new: its state, loops, outputs and history."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from .._durable import Durable, DurableLog, Sinks, make
from .._durable.sink import Mode, Sink
from .._durable.sink_file import Existing
from .._durable.typed import make_typed
from .._errors import CheckpointCorruptError, StateEncodeError
from .._format import typed
from .._format.fields import Field, blanked, set_field
from .._format.restore import Restored
from .._format.sections import Finished, Sections
from .._format.typed import TypedState
from .._format.values import Values
from .._json import Checker, check, warn_once_per_path
from .._loops.ledgers.failed import Failed
from .._loops.registry import LoopRegistry
from .._models import CheckpointMetadata
from .._runtime.clock import Instant
from .._runtime.interpreter import running_here, stack
from .._runtime.steps import Steps
from .beginning import Beginning, has_more, to_bytes
from .capture import Cut
from .first_item import FirstItem
from .history import History
from .limits import limits_for
from .options import Options, Ticker
from .quota import Quota

if TYPE_CHECKING:
    from .._durable.once import Effects
    from .._durable.tracked import Tracked
    from .._loops.loop import Loop
    from .artifacts import Workshop
    from .headings import BetweenLoops
    from .writer import Writer


T = TypeVar("T")
_making = threading.RLock()


class _made_once(cached_property[T]):
    """A cached property of which threads that ask at the same moment get one value; functools has not from 3.12 on."""

    def __get__(self, instance: object, owner: type[Any] | None = None) -> T:  # type: ignore[override]
        with _making:
            return super().__get__(instance, owner)


class Parts:
    """Everything that is saved of one operation, restored or new.

    Args:
        restored: The stored checkpoint; None if the operation is new.
        damaged: Makes the error for a stored value that this library cannot have written; gets the reason.

    Attributes:
        state: The program's state: a dict, or a value of the requested type.
        items_before: Items that earlier runs have ticked.
        goes_on: Whether earlier runs have left anything to continue from.
        opening: Who opened the checkpoint, and where.
        beginning: Detects whether this run has reached its first loop or tick.
        last_run: The run before this one; None if there was none.
        is_proven: Whether a state that contains an item of this run was checked wholly.
        first_item: Finds where the first item of a program that ticks begins; None once an item was done.
        between: Notes rows between loops and others that tick; None before there is something to write to.
        may_have_headings: Whether earlier runs may have written headings that this one writes again.
        tracked: The tracked objects; None before the first.
        hooks: Functions to call before each save, each with the attempt that registered it.
        attempt: Number of the attempt of the decorated function or item; a new attempt may use names again.
        known_effects: The effects of ``once``; None before the first.
        workshop: Writes the artifacts; None before the first.
        history: The record of this run and those before it.
        retries_failed: Whether a person asked that loops retry the failed items.
        on_failure: Called when an item has failed, with its loop, its key and the text of the error.
        pace: Gives the pace that the reporter measured; None without a reporter.
        finished: When and how the operation finished; None if it has not.
        is_marker: Whether nothing but ``finished`` is saved.
        spells: Whether numbers that JSON lacks (NaN, infinities) are spelled out.
        typed: Reads and writes a state of a class; None for a dict.
        held: The collections in the state's fields, by the field's name.
        encoded_sections: The sections as last saved; empty if all must be encoded anew.
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
        self.is_marker = False
        # A spelled number may be in a collection that this run never opens. Values of a class may hold one, too.
        self.spells = options.nan == "allow" or (restored is not None and restored.spells)
        if saved.arguments:
            options.check_arguments(saved.arguments)
        self.options, self._damaged = options, damaged
        self.typed = TypedState(options.state_type, self.warn) if options.state_type is not None else None
        self.metadata = data.metadata if data is not None else CheckpointMetadata()
        self.created_at = data.created_at if data is not None else at.utc
        self.cut = Cut(ticker, has_ticked=self.metadata.processed_items > 0 and not saved.loops)
        if (finished := saved.finished) is not None:
            saved.loops = {}  # all loops had ended, and hand out nothing
        self.finished = finished
        self.beginning = Beginning(self)
        if data is not None:
            plain = dict(data.state)
            for name in saved.collections:
                plain.pop(name, None)
            self.beginning.state = to_bytes(plain)
        self.goes_on = restored is not None and (
            self.metadata.processed_items > 0 or has_more(restored, self.beginning.fresh())
        )
        is_begun = self.metadata.processed_items > 0 or saved.loops or finished is not None
        self.first_item = None if is_begun else FirstItem(self, self.beginning.has_changed)
        self.between: BetweenLoops | None = None
        self.collections: dict[str, Durable] = {}
        self.held: dict[str, Durable] = {}
        self.is_proven = False
        self.may_have_headings = self.goes_on
        self.state: Any = self._restored_state(options, data.state if data is not None else None)
        self.items_before = self.metadata.processed_items
        if options.total is not None:
            self.metadata.total_items = options.total
        # A resume counts as an interruption, however the run before ended.
        self.costs = dataclasses.replace(saved.costs, restores=saved.costs.restores + 1) if saved.costs else None
        self.pace: Callable[[], dict[str, Any] | None] | None = None
        self.last_run = saved.history[-1] if saved.history else None
        self.run_number = (self.last_run.run or len(saved.history)) + 1 if self.last_run is not None else 1
        self.opening = running_here(), stack()
        self.cut.boundary.context = self.opening[0]
        self.history = History(saved, self.items_before, at.utc, self.run_number, strategy=options.strategy)
        saved.arguments = dict(options.arguments or saved.arguments)
        is_limited = options.max_runtime is not None or options.budget or saved.spent
        self.limits = limits_for(options, saved.spent, began=at) if is_limited else None
        self.tracked: Tracked | None = None
        self.hooks: list[tuple[Callable[[], object], int]] = []
        self.attempt = 1
        self.workshop: Workshop | None = None
        self.known_effects: Effects | None = None
        self.retries_failed = False
        self.on_failure: Callable[[str, str | int, str], None]
        if saved.once:
            self.known_effects = self.effects
        if self.held and self.first_item is not None:
            self.first_item.attend()
        if saved.loops and any("wrote" in form for form in saved.loops.values()):
            _ = self.loops  # what precedes the first loop may be written again
        self.encoded_sections: dict[str, bytes] = {}

    # Made at the first use: most operations need one or two of them.

    @_made_once
    def loops(self) -> LoopRegistry:
        loops = LoopRegistry(
            self.saved.loops,
            self._damaged,
            opened=self.opening,
            operation_id=self.options.operation_id,
            failed=self.failed,
        )
        loops.running.again.attach(self.cut.boundary, loops.views.values(), self.ends())
        loops.running.watch(self.cut.boundary)
        return loops

    def ends(self) -> dict[str, int]:
        """How long the output files and logs of the run before are, by what they are known as."""
        ends = {str(sink["path"]): int(sink["offset"]) for sink in self.saved.sinks.values() if "path" in sink}
        logs = [*self.collections.values(), *self.held.values()]
        return ends | {one.known_as: len(one) for one in logs if isinstance(one, DurableLog)}

    @_made_once
    def failed(self) -> Failed:
        return Failed(
            self.saved.failed, lambda *what: self.on_failure(*what), lambda loop: self.loops.keep_around(loop)
        )

    @_made_once
    def quota(self) -> Quota:
        return Quota(self.saved.budget)

    @_made_once
    def sinks(self) -> Sinks:
        return Sinks(self.options.owner, self.saved.sinks)

    @_made_once
    def effects(self) -> Effects:
        from .._durable.once import Effects

        saved, self.saved.once = self.saved.once, {}  # a document and a record carry them elsewhere
        self.known_effects = Effects(saved, self.options.clock.utc)
        return self.known_effects

    # -- what the program holds

    def tracking(self) -> Tracked:
        """The tracked objects; from this call on, they are saved."""
        from .._durable.tracked import Tracked

        self.tracked = self.tracked or Tracked(self.saved.tracked)
        self.loops.running.tell_ends(self._note_end_of)
        return self.tracked

    def note_tracked(self) -> None:
        """An item has ended: tell the tracked objects."""
        if self.tracked is not None:
            loops = self.loops.unfinished()
            name, position = (loops[-1].name, loops[-1].position) if loops else ("", self.metadata.processed_items)
            self.tracked.note(name, position, len(loops) or 1)

    def _note_end_of(self, loop: Loop[Any]) -> None:
        if self.tracked is not None:
            self.tracked.note_end(loop.name, len(self.loops.unfinished()) + 1)

    def add_hook(self, fn: Callable[[], object]) -> None:
        """Call *fn* before each save. It replaces the function that this line registered in an earlier attempt."""
        code = getattr(fn, "__code__", fn)
        self.hooks = [
            one for one in self.hooks if one[1] == self.attempt or getattr(one[0], "__code__", one[0]) != code
        ]
        if not any(known is fn for known, _ in self.hooks):
            self.hooks.append((fn, self.attempt))

    def bring_up_to_date(self, writer: Writer, *, wait: bool, is_patient: bool) -> Steps[bool]:
        """Call the hooks before a save, unless that save must wait.

        Returns:
            Whether they were called; False if the save is put off, see :meth:`Writer.save`.
        """
        if writer.job is not None or writer.compaction is not None:
            if not wait and (is_patient or writer.in_flight.seconds_left > 0):
                writer.in_flight.put_off()
                return False
            yield from writer.wait()
        for hook, _ in self.hooks:
            hook()
        return True

    @cached_property
    def warn(self) -> Callable[[str], None]:
        return warn_once_per_path()

    @cached_property
    def checker(self) -> Checker:
        return Checker(self.warn, nan=self.typed is not None or self.options.nan == "allow")

    def release(self) -> None:
        """Close the output files, and remove the private artifact directory."""
        if "sinks" in self.__dict__:
            self.sinks.release()
        if self.workshop is not None:
            self.workshop.release()

    def _restored_state(self, options: Options, values: dict[str, Any] | None) -> Any:
        if options.state_type is not None:
            return self._restored_object(options.state_type, values)
        state = values if values is not None else {}
        kinds = self.saved.collections
        for name in kinds.keys() & state.keys():
            self.collections[name] = state[name] = self._made(kinds[name], state[name], name)
        return state

    def collection(self, name: str, kind: str, of: type[Any] | None = None) -> Any:
        """The durable collection ``state[name]``, made from the value that is there; its values are of the class *of*.

        Raises:
            InputChangedError: A loaded value does not fit the class.
            TypeError: The name is taken by something else, the state is no dict, *name* no str, *of* cannot be loaded.
        """
        if kind == "log":
            self._expect_headings()
        if self.first_item is not None:
            self.first_item.attend()
        if type(name) is not str:
            raise TypeError(f"the name of a durable collection must be a str, not {name!r:.80}")
        if self.typed is not None:
            return self._collection_in_field(self.typed, name, kind, of)
        value = self.state.get(name)
        if not isinstance(value, Durable):
            if value is not None:
                check(value, f"$.state.{name}", nan=self.options.nan == "allow")
            value = self.state[name] = self._made(kind, value, name)
        if kind == "log":
            self._note_between()
        if value.kind != kind:
            raise TypeError(f"$.state.{name} is a durable {value.kind}, not a {kind}; give this one another name")
        self._make_typed(value, name, of)
        return value

    def _make_typed(self, collection: Durable, name: str, of: type[Any] | None) -> None:
        if of is not None:
            make_typed(collection, Values(of, f"$.state.{name}", self.options.operation_id, self.warn))
            self.spells = True

    # -- collections in the fields of a typed state

    def _restored_object(self, kind: type[Any], values: dict[str, Any] | None) -> Any:
        """A state of the class *kind*, with collections in the fields that are declared or were saved so."""
        assert self.typed is not None
        saved: dict[str, Any] = {}
        for field in self.typed.fields.values():
            if values and field.key in values and (field.is_declared or field.key in self.saved.collections):
                saved[field.name], values[field.key] = values[field.key], [] if field.kind != "mapping" else {}
        state = typed.restored(self.options.operation_id, kind, values)
        for name, value in saved.items():
            field = self.typed.fields[name]
            collection = self._put_in_field(state, field, self._made(field.kind, value, field.key))
            if self.saved.collections.get(field.key) == field.kind:
                self.collections[field.key] = collection
        self._hold_declared(state)
        return state

    def replace_state(self, state: Any) -> None:
        """Take over a *state* that the program assigned. Collections are made of what its fields hold."""
        if self.typed is not None and isinstance(state, self.typed.kind):
            self.held = {}
            self._hold_declared(state)
        self.state = state

    def _hold_declared(self, state: Any) -> None:
        assert self.typed is not None
        for field in self.typed.fields.values():
            if field.is_declared and field.name not in self.held:
                self._hold(state, field, field.of)

    def _hold(self, state: Any, field: Field, of: type[Any] | None) -> Durable:
        """Make a collection of the value in *field*."""
        value = getattr(state, field.name)
        collection = self._put_in_field(state, field, self._made(field.kind, None, field.key), of)
        if value:
            put: Callable[[Any], None] = getattr(collection, "extend" if field.kind == "log" else "update")
            put(value)
        return collection

    def _put_in_field(self, state: Any, field: Field, collection: Durable, of: type[Any] | None = None) -> Durable:
        self._make_typed(collection, field.key, of or field.of)
        set_field(state, field.name, collection)
        self.held[field.name] = collection
        return collection

    def _collection_in_field(self, state: TypedState, name: str, kind: str, of: type[Any] | None) -> Durable:
        field = state.fields.get(name)
        if field is None or field.kind != kind:
            of_kind = f"state={state.kind.__name__}"
            what = "no such field" if field is None else f"a {field.kind} there"
            wanted = {"mapping": "DurableDict", "log": "DurableLog", "set": "DurableSet"}[kind]
            raise TypeError(
                f"the durable {kind} {name!r} needs a field in {of_kind}, which has {what}; "
                f"declare it:  {name}: {wanted} = field(default_factory={wanted})"
            )
        if field.refusal:
            raise TypeError(field.refusal)
        if field.name not in self.held:
            return self._hold(self.state, field, of)
        self._make_typed(self.held[field.name], field.key, of)
        return self.held[field.name]

    def plain_state(self, state: TypedState, *, wholly: bool) -> dict[str, Any]:
        """The typed state as plain JSON, without the collections in its fields.

        Raises:
            StateEncodeError: It would not load again, or a collection was replaced.
        """
        if not isinstance(self.state, state.kind):
            return state.plain(self.state, wholly=wholly)  # raises the error for it
        fields = [state.fields[name] for name in self.held]
        for field in fields:
            if getattr(self.state, field.name) is not self.held[field.name]:
                how = "change the one that is there, by its methods"
                raise StateEncodeError(
                    f"$.state.{field.name}", f"another object stands where the collection was; {how}"
                )
        values = state.plain(blanked(self.state, fields), wholly=wholly)
        return values | {field.key: self.held[field.name] for field in fields}

    def _made(self, kind: str, value: Any, name: str) -> Durable:
        collection = make(kind, value, f"$.state.{name}")
        if self.options.nan == "allow":
            collection.allow_nan()
        self.cut.add(collection)
        return collection

    def open_sink(
        self, path: str | os.PathLike[str], mode: Mode, existing: Existing, header: str | bytes | None
    ) -> Sink[Any]:
        """The sink that writes to *path*. See :meth:`Sinks.open`."""
        self._expect_headings()
        if self.first_item is not None:
            self.first_item.attend()
        sink = self.sinks.open(path, mode, existing, header)
        self.cut.add(sink)
        self._note_between()
        return sink

    def _expect_headings(self) -> None:
        """The program asks for what may have headings of an earlier run."""
        if self.may_have_headings:
            from .headings import Headings

            self.may_have_headings = False
            Headings(self).attend()

    def _note_between(self) -> None:
        """The program has something to write to: its rows may come between loops and others that tick."""
        if self.between is None:
            from .headings import BetweenLoops

            self.between = BetweenLoops(self, self.first_item)
            self.between.attend()

    @property
    def is_used(self) -> bool:
        """Whether anything but the plain state is saved."""
        return bool(self.loops.views or self.sinks.opened or self.collections or self.workshop)

    @property
    def is_unused(self) -> bool:
        """Whether nothing but the plain state can hold what the program has done."""
        opened = self.loops.views or self.sinks.opened or self.workshop or self.known_effects or self.tracked
        plain = self.state.values() if type(self.state) is dict else ()
        kept = [one for one in (*self.collections.values(), *plain) if isinstance(one, list | dict | set)]
        return not (opened or any(isinstance(one, Durable) and len(one) for one in kept))

    @property
    def is_all_done(self) -> bool:
        """Whether all announced items are done, so that no request follows."""
        done, total = self.metadata.processed_items, self.options.total
        if total is None:  # the program or an earlier run has set the number; items may have been added since
            return not self.loops.views and done == self.metadata.total_items
        return done >= total

    @property
    def had_all_done(self) -> bool:
        """Whether the run before had done all items, and failed after its loops."""
        return all(loop.get("over") for loop in self.saved.loops.values()) if self.saved.loops else self.is_all_done

    def mark_finished(self, finished: Finished | None, *, is_marker: bool) -> None:
        """Save from now on that the operation has finished; None: that it goes on after all.

        Args:
            is_marker: Whether nothing else is saved: no state, no loops, no outputs.
        """
        self.finished, self.is_marker = finished, is_marker
        self.encoded_sections = {}
        if is_marker and self.workshop is not None:
            self.workshop.versions.clear()

    @property
    def has_done(self) -> bool:
        """Whether this run has done an item."""
        return self.metadata.processed_items > self.items_before
