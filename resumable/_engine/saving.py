"""What a save of one open operation holds, and when it counts. Told as steps (see ``_steps``)."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Any

from .._durable.kinds import Durable, kind_of, make
from .._durable.sink import Mode, Sink, Sinks
from .._durable.sink_file import Existing
from .._errors import CheckpointCorruptError
from .._format import typed
from .._format.restore import Restored
from .._json import check, warn_once_per_path
from .._loops.map.map_loop import Failed
from .._loops.registry import LoopRegistry
from .._models import CheckpointMetadata, SaveCosts, as_stored
from .._report.reporter import Reporter
from .._runtime.steps import Steps
from . import mismatch
from .capture import CapturedLoops, Content
from .history import Runs
from .options import Options
from .quota import Quota
from .session import Save, Session
from .writer import POSTPONED, SENT, StoredOperation

_log = logging.getLogger("resumable")


class Saving:
    """One operation that is open: its state and all else that is saved with it.

    Args:
        wake: Called when something may be due before the plan said so; from any thread, and from signal handlers.
        count: Gives how many items were ticked by hand in this run.
    """

    def __init__(self, options: Options, wake: Callable[[], None], count: Callable[[], int]) -> None:
        self.options = options
        self.clock = options.clock
        self.state: Any = {}
        self.resumed = False
        self.loops = LoopRegistry({})
        self._count = count
        self._stored = StoredOperation(options.store, options.operation_id, warn_once_per_path(), wake=wake)
        self._stack = contextlib.ExitStack()
        self._pending: deque[tuple[Save, float, CheckpointMetadata]] = deque()
        self._is_probed = False
        self._owner_pid = os.getpid()
        self._is_closed = False
        self.is_within = False
        self._asked: str | None = None
        self._wake = wake
        self._internal: dict[str, Any] = {}

    @property
    def operation_id(self) -> str:
        """Names the operation."""
        return self.options.operation_id

    @property
    def items_before(self) -> int:
        """Items that earlier runs have ticked."""
        return self._before

    @property
    def processed_items(self) -> int:
        """Ticked items over all runs."""
        return self._before + self._count() + self.loops.done()

    def sync(self) -> None:
        """Bring the metadata up to date."""
        self.session.metadata.processed_items = self.processed_items

    def is_owner(self) -> bool:
        """Whether this process opened it; a forked child owns nothing and writes nothing."""
        return os.getpid() == self._owner_pid

    def check_open(self) -> None:
        """Refuse to go on once the operation is let go: another process may own it by now.

        Raises:
            ValueError: It is. Nothing was written.
        """
        if self._is_closed:
            raise ValueError(
                f"the checkpoint of {self.operation_id!r} is closed, for the block that it belongs to has ended; "
                "nothing more is saved. Threads that tick must end within the block"
            )

    # -- restore

    def _begin(self, restored: Restored | None) -> None:
        utc = self.clock.utc()
        self.resumed = restored is not None
        self.created_at = utc
        metadata, saved_state = CheckpointMetadata(), None
        if restored is not None:
            data = restored.data
            mismatch.check_arguments(self.options, data.internal.get("arguments"))
            self.created_at, metadata, saved_state = data.created_at, data.metadata, data.state
            self._internal = data.internal
        self.state = self._restored_state(saved_state)
        if self.options.total is not None:
            metadata.total_items = self.options.total
        self._before = metadata.processed_items
        costs, elapsed = self._restored_costs()
        self.session = Session(self.options.strategy, metadata, now=self.clock.now(), elapsed_time=elapsed, costs=costs)
        self.loops = LoopRegistry(self._internal.get("loops", {}), self._damaged)
        self.quota = Quota(self._internal.get("budget"))
        self.failed = Failed(self._internal.get("failed"))
        self.sinks = Sinks(self.options.operation_id, self._internal.get("sinks", {}))
        self._stack.callback(self.sinks.release)
        self.runs = Runs(self._internal.get("history", []), self._before, at=utc)
        self.reporter = Reporter(self, self.options.progress, self._internal.get("pace"))

    def _restored_state(self, saved: dict[str, Any] | None) -> Any:
        if self.options.state_type is not None:
            return typed.restored(self.options.operation_id, self.options.state_type, saved)
        state = saved if saved is not None else {}
        kinds = self._internal.get("collections", {})
        collections: dict[str, Durable] = {}
        for name in kinds.keys() & state.keys():
            collections[name] = state[name] = make(kinds[name], state[name], f"$.state.{name}")
        self._stored.adopt(collections)
        return state

    def _restored_costs(self) -> tuple[SaveCosts | None, float]:
        try:
            return typed.costs_from(self._internal)
        except ValueError as error:
            raise self._damaged(str(error)) from None

    def _damaged(self, reason: str) -> CheckpointCorruptError:
        return CheckpointCorruptError(self.options.operation_id, str(self._stored.location()), reason)

    def collection(self, name: str, kind: str) -> Any:
        """The durable collection ``state[name]``, made of what is there.

        Raises:
            TypeError: There is something else, the state is no dict, or *name* no str.
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
                check(value, f"$.state.{name}")
            value = self.state[name] = make(kind, value, f"$.state.{name}")
        if kind_of(value) != kind:
            raise TypeError(f"$.state.{name} is a durable {kind_of(value)}, not a {kind}; give this one another name")
        return value

    # -- output files

    def open_sink(self, path: str | os.PathLike[str], mode: Mode, existing: Existing) -> Steps[Sink[Any]]:
        """The sink *path*, cut back to what is saved of it. Before the first row, a save tells that rows may come."""
        self.check_open()
        sink: Sink[Any] = yield lambda: self.sinks.open(path, mode, existing)
        if not self.sinks.is_announced(sink):
            yield from self.save(f"Output: {os.fspath(path)}")
            self.sinks.note_announced(sink)
        return sink

    # -- save

    def save(self, reason: str, *, is_last: bool = False) -> Steps[None]:
        """Save now, and wait until it stands. In a forked child nothing is done: the parent owns the operation.

        Raises:
            StateEncodeError, StoreError: It does not; the last checkpoint stands.
        """
        if not self.is_owner():
            return
        self.check_open()
        self.sync()
        if self._stored.is_saving or self._pending:
            try:
                yield from self._note_finished_saves(wait=True)
            except Exception as error:  # this one tells everything anew
                _log.warning("%s: a save before this one failed: %s", self.operation_id, error)
        self._is_probed = True
        if is_last:
            self.sinks.seal()
        yield from self._save(self.session.demand(reason, now=self.clock.now()), wait=True, is_last=is_last)
        yield from self._save_as_asked()

    def ask_for_save(self, reason: str) -> None:
        """Save again once the save that is under way has ended."""
        self._asked = reason
        self._wake()

    def _save_as_asked(self) -> Steps[None]:
        reason, self._asked = self._asked, None
        if reason is not None:
            yield from self.save(reason)

    def _save(self, save: Save, *, wait: bool, is_last: bool = False) -> Steps[bool]:
        """Whether it was made, or is on its way; if not, it was postponed until a thread wakes the loop."""
        began = self.clock.now()
        metadata = self.session.metadata

        def take() -> Content:
            nonlocal metadata
            self.sync()
            loops = CapturedLoops(self.loops.views)
            metadata = self.session.metadata.copy()
            metadata.save_count += len(self._pending) + 1
            metadata.last_save_reason = save.reason
            return self._content(metadata, save, is_last=is_last, loops=loops)

        self.is_within = True
        try:
            location = yield from self._stored.save(take, wait=wait)
        finally:
            self._note_landed()
        seconds = self.clock.now() - began
        if location is SENT:
            self._pending.append((save, seconds, metadata))
            self.session.departed(save)
        elif location is not POSTPONED:
            self._note_saved(save, seconds, metadata)
        self.session.waited(now=self.clock.now())
        return location is not POSTPONED

    def _note_saved(self, save: Save, seconds: float, metadata: CheckpointMetadata) -> None:
        self.session.metadata.save_count = metadata.save_count
        self.session.metadata.last_save_reason = metadata.last_save_reason
        self.session.saved(save, seconds)
        _log.debug("%s: saved (%s)", self.options.operation_id, save.reason)

    def _note_finished_saves(self, *, wait: bool = False) -> Steps[None]:
        self.is_within = True
        try:
            yield from self._stored.wait(for_fold=False) if wait else self._stored.poll()
        finally:
            self._note_landed()

    def _note_landed(self) -> None:
        """Take note of the saves that came to stand, or failed."""
        for beside in self._stored.take_landed()[: len(self._pending)]:  # an interruption may have lost some
            save, seconds, metadata = self._pending.popleft()
            self._note_saved(save, seconds + beside, metadata)
        if not self._stored.is_saving:
            self._pending.clear()
            self.session.failed()
        self.is_within = False

    def _content(
        self,
        metadata: CheckpointMetadata,
        save: Save | None = None,
        *,
        is_last: bool = False,
        loops: CapturedLoops | None = None,
    ) -> Content:
        now = self.clock.utc()
        self.runs.note(metadata, at=now)
        internal = {name: value for name, value in self._internal.items() if name not in ("loops", "collections")}
        internal["history"] = [*self.runs.entries[:-1], *map(dict, self.runs.entries[-1:])]
        if (budget := self.quota.to_dict()) is not None:
            internal["budget"] = budget
        if self.failed or "failed" in internal:
            internal["failed"] = self.failed.to_dict()
        if sinks := self.sinks.to_dict():
            internal["sinks"] = sinks
        if (pace := self.reporter.to_dict()) is not None:
            internal["pace"] = pace
        internal["elapsed"] = round(self.session.elapsed_time, 3)
        internal["costs"] = as_stored(self.session.costs, charged=save is not None and save.is_charged)
        if self.options.arguments:
            internal["arguments"] = dict(self.options.arguments)
        # A copy, for other threads may add to it meanwhile.
        state = dict(typed.plain(self.options.state_type, self.state))
        loops = loops or CapturedLoops()
        return Content(state, metadata, self.created_at, now, internal, is_last, self.sinks.syncs(), loops)
