"""The specification's manager: checkpoints by hand, one call at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .._errors import StoreError
from .._models import LEFT_OUT, CheckpointContext, CheckpointData, CheckpointMetadata, check_metadata
from .._runtime import observer
from .._strategies import SaveDecision, SaveStrategy, TimeBasedStrategy, in_this_window
from ..stores import CheckpointStore, Holder, SimpleStore, open_store
from ..stores._names import check_given_id, check_operation_id
from ..stores.defaults import default_auto_cleanup, default_place
from .checkpointed import refuse_both

if TYPE_CHECKING:
    from .._engine.writer import Writer
    from .._json import Checker
    from .._runtime.clock import Clock

# Code that reads and writes is loaded at the first call: `import resumable` stays light.


class _Yes(NamedTuple):
    """The strategy's last yes: the context as given and as completed, and the reason."""

    given: CheckpointContext
    context: CheckpointContext
    reason: str


@dataclasses.dataclass(slots=True)
class _Known:
    """What this manager wrote last; valid while the stored checkpoint is still that one."""

    writer: Writer
    checker: Checker
    metadata: CheckpointMetadata
    created_at: datetime
    sections: dict[str, bytes]
    spells: bool = False  # a checkpoint with NaN may contain it again
    stamp: object = None


class CheckpointManager:
    """Creates, loads and deletes checkpoints, and asks a strategy when to.

    Example:
        >>> manager = CheckpointManager("checkpoints", save_strategy=every(minutes=5))
        >>> path = manager.create_checkpoint("job", {"page": 7})
        >>> manager.load_checkpoint("job").state
        {'page': 7}
        >>> manager.finalize("job")

    Args:
        checkpoint_dir: Where the files lie, or a URL; else ``$CHECKPOINT_STORE``, ``$CHECKPOINT_DIR``, or the current
            directory.
        save_strategy: When to save; every 300 seconds by default.
        auto_cleanup: Whether :meth:`finalize` deletes; else ``$CHECKPOINT_AUTO_CLEANUP``, else True.
        store: A directory, URL or store, instead of *checkpoint_dir*.

    Raises:
        ValueError: Both *checkpoint_dir* and *store* are given, or an environment variable is malformed.
    """

    def __init__(
        self,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        save_strategy: SaveStrategy | None = None,
        auto_cleanup: bool | None = None,
        *,
        store: str | os.PathLike[str] | CheckpointStore | SimpleStore | None = None,
        clock: Clock | None = None,
    ) -> None:
        from .._json import warn_once_per_path
        from .._runtime.clock import system_clock

        refuse_both(checkpoint_dir=checkpoint_dir, store=store)
        where = checkpoint_dir if checkpoint_dir is not None else store
        self.store: CheckpointStore = open_store(where if where is not None else default_place())
        self.save_strategy: SaveStrategy = save_strategy if save_strategy is not None else TimeBasedStrategy()
        self.auto_cleanup: bool = default_auto_cleanup() if auto_cleanup is None else auto_cleanup
        self.clock: Clock = clock if clock is not None else system_clock
        self._began = self.clock.now()
        self._yes: _Yes | None = None
        self._last = CheckpointContext(last_save_items=0)
        self._known: dict[str, _Known] = {}
        self._warn = warn_once_per_path()

        for each in observer.INSTALLED:
            each.managed(self)

    if not TYPE_CHECKING:

        def __new__(cls, *args, **kwargs):
            if cls is CheckpointManager and not kwargs.keys() <= _ARGUMENTS.keys():
                from .._text.hints import unknown_argument

                raise unknown_argument("CheckpointManager", kwargs, _ARGUMENTS)
            return super().__new__(cls)

    def __repr__(self) -> str:
        return f"CheckpointManager(store={self.store!r}, save_strategy={self.save_strategy!r})"

    def create_checkpoint(
        self,
        operation_id: str,
        state: dict[str, Any],
        metadata: Mapping[str, Any] | None = None,
        context: CheckpointContext | None = None,
    ) -> Path | str:
        """Write a checkpoint, replacing any earlier one. Returns where it lies, as :meth:`checkpoint_path` does.

        Example:
            >>> manager = CheckpointManager("checkpoints")
            >>> path = manager.create_checkpoint("job", {"page": 7}, {"total_items": 40})

        Args:
            state: Plain JSON with string keys.
            metadata: Fields of :class:`CheckpointMetadata`, or others, to set; all others are kept.
            context: The operation's progress; sets the matching metadata. Without it, or if :meth:`should_save` last
                said yes to it, that answer's reason is written.

        Raises:
            TypeError, ValueError: *operation_id* is not a text, or empty; or *state* is not a dict. Nothing was
                written.
            StateEncodeError: JSON cannot hold *state* exactly. Nothing was written.
            StoreError: The store cannot take it. The earlier checkpoint stands.
            CheckpointCorruptError: The earlier checkpoint cannot be read; it was not overwritten.
            CheckpointBusyError: Another process is working on this operation.
        """
        check_given_id(operation_id)
        if not isinstance(state, dict):
            raise TypeError(f"state must be a dict, not {type(state).__name__}")
        check_metadata(metadata or {})
        yes = self._yes
        if context is not None and (yes is None or context != yes.given):  # it describes another moment
            yes = _Yes(context, context, "Requested")
        known = self._claimed(operation_id)
        try:
            updated = _updated(known.metadata, metadata or {}, yes)
            self._write(known, state, updated)
            known.metadata, known.stamp = updated, self._stamp(operation_id)
        finally:
            known.writer.release()
        self._note_save(yes)
        return known.writer.location

    def _write(self, known: _Known, state: dict[str, Any], metadata: CheckpointMetadata) -> None:
        from .._engine.capture import NO_LOOPS, Save, checked_values, encode_state
        from .._engine.session import Decision, Standing
        from .._runtime.steps import run

        reason = metadata.last_save_reason or ""
        parts, collections = encode_state(state, known.checker, spells=known.spells)
        save = Save(
            decision=Decision(Standing(0.0, metadata.processed_items), reason, False),
            values=checked_values(metadata, metadata.save_count, reason),
            created_at=known.created_at,
            at=self.clock.utc(),
            parts=parts,
            collections=collections,
            sections=known.sections,
            loops=NO_LOOPS,
            spells=known.spells,
        )
        for each in observer.INSTALLED:
            each.saving(None, reason)
        run(known.writer.save(lambda: save))
        for each in observer.INSTALLED:
            each.saved(None, reason, 0.0)

    def checkpoint_path(self, operation_id: str) -> Path | str:
        """Where the checkpoint of *operation_id* lies, or would: a path for files, a text for other stores.

        Example:
            >>> CheckpointManager("checkpoints").checkpoint_path("job").name
            '.checkpoint_job.json'
        """
        check_operation_id(operation_id)
        return self.store.describe(operation_id)

    def load_checkpoint(self, operation_id: str) -> CheckpointData | None:
        """The checkpoint of *operation_id*; None if there is none. Changes nothing.

        Example:
            >>> manager = CheckpointManager("checkpoints")
            >>> checkpoint = manager.load_checkpoint("job")
            >>> page = checkpoint.state["page"] if checkpoint else 1

        Raises:
            TypeError, ValueError: *operation_id* is not a text, or empty.
            CheckpointCorruptError: What is stored is not a checkpoint of this operation.
            StoreError: It cannot be read.
        """
        from .._format.restore import restore

        check_given_id(operation_id)
        restored = restore(self.store, operation_id, now=self.clock.utc())
        if restored is None:
            return None
        self._last = dataclasses.replace(self._last, last_save_items=restored.data.metadata.processed_items)
        return restored.data

    def delete_checkpoint(self, operation_id: str) -> bool:
        """Remove the checkpoint of *operation_id*, good or corrupt. Returns whether there was one.

        Example:
            >>> CheckpointManager("checkpoints").delete_checkpoint("job")
            False

        Raises:
            StoreError: It cannot be removed; it stands.
            CheckpointBusyError: Another process is working on this operation.
        """
        check_operation_id(operation_id)
        self._known.pop(operation_id, None)
        lease = self.store.claim(operation_id, Holder.me())
        try:
            return lease.delete()
        finally:
            lease.release()

    def finalize(self, operation_id: str) -> None:
        """The operation ended well: remove its checkpoint, if ``auto_cleanup`` is set.

        Example:
            >>> CheckpointManager("checkpoints").finalize("job")
        """
        for each in observer.INSTALLED:
            each.finalizing(None)
        if self.auto_cleanup:
            self.delete_checkpoint(operation_id)
        for each in observer.INSTALLED:
            each.finalized(self)

    def list_checkpoints(self) -> list[str]:
        """The ids of all operations that have a checkpoint, sorted.

        Example:
            >>> CheckpointManager("checkpoints").list_checkpoints()
            []
        """
        return sorted(entry.key for entry in self.store.list())

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        """Ask the strategy. Numbers given in *context* stand; missing ones are filled in.

        Example:
            >>> manager = CheckpointManager("checkpoints", save_strategy=every(items=100))
            >>> manager.should_save(CheckpointContext(processed_items=100))
            SaveDecision(should_save=True, reason='Progress-based: 100 items processed')
        """
        completed = self._completed(context)
        decision = SaveDecision(*self.save_strategy.should_save(completed))
        # A copy, because the caller may change it.
        self._yes = _Yes(dataclasses.replace(context), completed, decision.reason) if decision else None
        return decision

    def _completed(self, context: CheckpointContext) -> CheckpointContext:
        last, before, items = self._last, context.last_save_remaining, context.last_save_items
        if before is None:
            before = in_this_window(last.last_save_remaining, context.rate_limit_remaining)
            if before != last.last_save_remaining:
                # A quota that is full belongs to a new window, however much of it is left later.
                self._last = dataclasses.replace(last, last_save_remaining=before)
        is_timed, is_dated = context.elapsed_time is not LEFT_OUT, context.last_save_time is not LEFT_OUT
        # Called for each item, and dataclasses.replace() takes twice as long.
        return CheckpointContext(
            processed_items=context.processed_items,
            total_items=context.total_items,
            rate_limit_remaining=context.rate_limit_remaining,
            rate_limit_total=context.rate_limit_total,
            elapsed_time=context.elapsed_time if is_timed else self.clock.now() - self._began,
            error_count=context.error_count,
            last_save_time=context.last_save_time if is_dated else float(last.last_save_time),
            last_save_items=items if items is not None else last.last_save_items,
            last_save_remaining=before,
            save_costs=context.save_costs,
        )

    def _note_save(self, yes: _Yes | None) -> None:
        """A checkpoint is stored: only now does the save count."""
        context, last = self._completed(yes.context if yes is not None else CheckpointContext()), self._last
        remaining = context.rate_limit_remaining
        self._last = CheckpointContext(
            last_save_time=context.elapsed_time,
            last_save_items=context.processed_items if yes is not None else last.last_save_items,
            last_save_remaining=remaining if remaining is not None else last.last_save_remaining,
        )
        self._yes = None

    def _stamp(self, operation_id: str) -> object:
        """A value that changes whenever the checkpoint is rewritten; None if unknown."""
        from .._runtime import disk

        with contextlib.suppress(OSError, StoreError):  # the save that was made stands all the same
            location = self.store.describe(operation_id)
            return disk.stamp(location) if isinstance(location, Path) else None
        return None

    def _claimed(self, operation_id: str) -> _Known:
        """Own the operation inside the block. Yields what is known of its checkpoint."""
        from .._engine.writer import Writer

        known = self._known.get(operation_id)
        writer = known.writer if known else Writer(self.store, operation_id, is_by_hand=True)
        writer.claim()
        try:
            if known is None or known.stamp is None or known.stamp != self._stamp(operation_id):
                self._known[operation_id] = known = self._loaded(writer)
            return known
        except BaseException:
            writer.release()
            raise

    def _loaded(self, writer: Writer) -> _Known:
        from .._json import Checker

        now = self.clock.utc()
        restored = writer.load(now=now)
        if restored is None:
            return _Known(writer, Checker(self._warn), CheckpointMetadata(), now, {})
        sections = restored.sections
        sections.collections = {}  # what is written is a plain dict
        checker, data, spells = Checker(self._warn, nan=restored.spells), restored.data, restored.spells
        return _Known(writer, checker, data.metadata, data.created_at, sections.encoded(), spells)


_NUMBERS = ("processed_items", "total_items", "rate_limit_remaining", "rate_limit_total", "error_count")


def _updated(metadata: CheckpointMetadata, given: Mapping[str, Any], yes: _Yes | None) -> CheckpointMetadata:
    values = metadata.to_dict() | {"save_count": metadata.save_count + 1, "last_save_reason": "Requested"}
    if yes is not None:
        values |= {name: number for name in _NUMBERS if (number := getattr(yes.context, name)) is not None}
        values["last_save_reason"] = yes.reason
    return CheckpointMetadata.from_dict(values | dict(given))


_ARGUMENTS = dict(list(inspect.signature(CheckpointManager.__init__).parameters.items())[1:])
# Otherwise help() shows the signature of __new__.
CheckpointManager.__signature__ = inspect.Signature([*_ARGUMENTS.values()])  # type: ignore[attr-defined]
