"""What both shells share: opening, saving and closing one operation, told as steps (see ``_steps``)."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import _current, _mismatch, _signals, _typed
from ._capture import Content
from ._clock import Clock, system_clock
from ._codec import warn_once_per_path
from ._collections import Durable, make
from ._done import Failed
from ._errors import CheckpointCorruptError, RateLimitExhausted, StateEncodeError, StoreError
from ._loops import Loops
from ._models import CheckpointMetadata, SaveCosts
from ._quota import OnExhausted, Quota
from ._reporter import DRAW_SECONDS, Reporter
from ._restore import Restored
from ._session import Save, Session
from ._shellwords import resume_command
from ._sink import Existing, Sink
from ._steps import Pause, Steps
from ._stored import StoredOperation
from ._strategies import SaveStrategy
from .stores import CheckpointStore, OwningStore

if TYPE_CHECKING:
    from .ratelimit._headers import RateLimit

_log = logging.getLogger("resumable")
_RUNS_KEPT = 10
_POLL_SECONDS = 0.1
"""How soon a wait notices that it should end."""


@dataclass(slots=True, kw_only=True)
class Options:
    """What :class:`checkpointed` was asked for."""

    operation_id: str
    strategy: SaveStrategy
    store: CheckpointStore
    auto_cleanup: bool = True
    resume: bool = True
    total: int | None = None
    state_type: type[Any] | None = None
    arguments: Mapping[str, Any] | None = None
    progress: Any = False
    on_exhausted: OnExhausted = "wait"
    clock: Clock = field(default_factory=lambda: system_clock)


class Core:
    """One operation that is open: its state, its session, its place in the store.

    Args:
        wake: Called when something may be due before the plan said so; from any thread, and from signal handlers.
        count: Gives how many items were ticked by hand in this run.
    """

    def __init__(self, options: Options, wake: Callable[[], None], count: Callable[[], int]) -> None:
        self.options = options
        self.clock = options.clock
        self.state: Any = {}
        self.resumed = False
        self.loops = Loops({})
        self.is_finalized = False
        self.keep_reason: str | None = None
        self._wake = wake
        self._count = count
        self._warn = warn_once_per_path()
        self._stored = StoredOperation(options.store, options.operation_id, self._warn)
        self._stack = contextlib.ExitStack()
        self._pending: tuple[Save, float, CheckpointMetadata] | None = None
        self._alarm: tuple[float, Callable[[], None]] | None = None
        self._is_probed = False
        self._is_listening = False
        self._has_stopped_threads = False
        self._stop: int | None = None
        self._owner_pid = os.getpid()
        self._internal: dict[str, Any] = {}

    # -- open

    def open(self, checkpoint: Any) -> Steps[None]:
        """Own the operation, restore it, and make *checkpoint* the current one.

        If this raises, nothing is owned and nothing was written.
        """
        store = self.options.store
        try:
            if isinstance(store, OwningStore):
                owning = store.own(self.options.operation_id)
                yield owning.__enter__
                self._stack.push(owning)
            restored: Restored | None = None
            if self.options.resume:
                now = self.clock.utc()
                restored = yield lambda: self._stored.load(now=now)
            self._begin(restored)
            self._listen(checkpoint)
            if self.resumed:
                self.reporter.goes_on(at=self.clock.utc())
            yield from self.wait_if_exhausted()
        except BaseException:
            self._stack.close()
            raise

    def _begin(self, restored: Restored | None) -> None:
        utc = self.clock.utc()
        self.resumed = restored is not None
        self.created_at = utc
        metadata, saved_state = CheckpointMetadata(), None
        if restored is not None:
            data = restored.data
            _mismatch.check_arguments(self.options, data.internal.get("arguments"))
            self.created_at, metadata, saved_state = data.created_at, data.metadata, data.state
            self._internal = data.internal
        self.state = self._restored_state(saved_state)
        if self.options.total is not None:
            metadata.total_items = self.options.total
        self._before = metadata.processed_items
        costs, elapsed = self._restored_costs()
        self.session = Session(self.options.strategy, metadata, now=self.clock.now(), elapsed_time=elapsed, costs=costs)
        self.loops = Loops(self._internal.get("loops", {}), self._damaged)
        self.quota = Quota(self._internal.get("budget"))
        self.failed = Failed(self._internal.get("failed"))
        self._sinks: dict[str, Sink[Any]] = {}
        self.runs: list[dict[str, Any]] = [*self._internal.get("history", [])][-_RUNS_KEPT:]
        self.runs.append(self._this_run(utc.isoformat(timespec="seconds")))
        self.reporter = Reporter(self, self.options.progress, self._internal.get("pace"))

    def _restored_state(self, saved: dict[str, Any] | None) -> Any:
        if self.options.state_type is not None:
            return _typed.restored(self.options.operation_id, self.options.state_type, saved)
        state = saved if saved is not None else {}
        kinds = self._internal.get("collections", {})
        collections: dict[str, Durable] = {}
        for name in kinds.keys() & state.keys():
            collections[name] = state[name] = make(kinds[name], state[name], f"$.state.{name}")
        self._stored.adopt(collections)
        return state

    def _restored_costs(self) -> tuple[SaveCosts | None, float]:
        try:
            return _typed.costs_from(self._internal)
        except ValueError as error:
            raise self._damaged(str(error)) from None

    def _damaged(self, reason: str) -> CheckpointCorruptError:
        return CheckpointCorruptError(self.options.operation_id, str(self._stored.location()), reason)

    def _this_run(self, began: str) -> dict[str, Any]:
        number = self.runs_before() + 1
        run = {"run": number, "began": began, "from": self._before, "host": socket.gethostname(), "pid": os.getpid()}
        command = resume_command(sys.orig_argv, is_windows=sys.platform == "win32")
        return run | ({"command": command} if command else {})

    def runs_before(self) -> int:
        """How many runs there were before this one."""
        history = self._internal.get("history", [])
        return int(history[-1].get("run", len(history))) if history else 0

    def _listen(self, checkpoint: Any) -> None:
        token = _current.set_current(checkpoint)
        self._stack.callback(_reset_current, token)
        self._is_listening = _signals.listen(self._wake)
        if self._is_listening:
            self._stack.callback(_signals.unlisten, self._wake)

    # -- between items

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

    def check_in(self) -> Steps[float]:
        """Save or stop, if due; returns how many items may pass before this must be called again."""
        if not self.is_owner():
            return float("inf")
        self.sync()
        yield from self._stop_if_asked()
        yield from self._note_finished_save()
        now = self.clock.now()
        if self._pending is None:
            save = self.session.due(now=now)
            if save is not None:
                yield from self._save(save, wait=False)
            elif not self._is_probed:
                self._stored.probe(self._content(self.session.metadata))
            self._is_probed = True
        yield from self.wait_if_exhausted()
        self.reporter.look(now=self.clock.now(), at=self.clock.utc())
        return self._plan()

    # -- the API's quota

    def observe(self, response: object) -> None:
        """Learn from *response* what is left of the quota; the strategy is asked before the next item."""
        if self.quota.observe(response, self.session, now=self.clock.utc().timestamp()):
            self._wake()

    def has_quota(self, in_flight: int | None) -> bool:
        """Whether more than *in_flight* requests are left. While any are out, check-ins do not wait for the quota.

        Args:
            in_flight: None while nothing more is to be asked for.
        """
        if in_flight is None:
            self.quota.reserve = -1
            return True
        self.quota.reserve = in_flight
        is_left = self.quota.exhausted(now=self.clock.utc().timestamp()) is None
        if in_flight:
            self.quota.reserve = -1
        return is_left

    def wait_if_exhausted(self) -> Steps[None]:
        """Save and wait, or raise, if the quota is used up.

        Raises:
            RateLimitExhausted: If ``on_exhausted`` wants it; everything ticked is saved.
        """
        limit = self.quota.exhausted(now=self.clock.utc().timestamp())
        if limit is None or limit.reset_at is None:
            return
        policy = self.options.on_exhausted
        if self.session.saves or self.processed_items > self._before:
            yield from self.save(f"Rate-limit: {limit.resource or 'quota'} is used up")
        answer = policy(limit) if callable(policy) else policy
        if answer == "raise":
            raise RateLimitExhausted(limit.reset_at, limit.resource)
        if answer == "wait":
            yield from self._wait_until(limit)

    def _wait_until(self, limit: RateLimit) -> Steps[None]:
        assert limit.reset_at is not None
        fresh_at = limit.reset_at + self.quota.margin_seconds
        whom = limit.host or limit.resource
        try:
            while (left := fresh_at - self.clock.utc().timestamp()) > 0:
                self.reporter.wait(left, whom, now=self.clock.now(), at=self.clock.utc())
                yield Pause(min(left, _POLL_SECONDS), self.clock.sleep)
                yield from self._stop_if_asked()
        finally:
            self.session.waited(now=self.clock.now())
            self.reporter.wait_is_over()

    def _stop_if_asked(self) -> Steps[None]:
        is_main = threading.current_thread() is threading.main_thread()
        number = _signals.received() if self._is_listening else None
        if number is None and not is_main:
            number = self._stop  # the main thread was faster
        if number is None:
            return
        self._stop = number
        error = _signals.error_for(number)
        with contextlib.suppress(StoreError, StateEncodeError):  # the save at the exit tries again, and tells
            yield from self.save(f"Interrupted: {_name_of(error)}")
        if is_main:
            _signals.take()
        else:
            # Whoever waits for this thread may not see its error: the block must not take the work for done.
            self._has_stopped_threads = True
        raise error

    def _plan(self) -> float:
        if self._pending is not None:
            self._alarm_in(0.05)
            return float("inf")
        now = self.clock.now()
        plan = self.session.plan(now=now)
        if plan.seconds <= 0:
            return 1
        self._alarm_in(min(plan.seconds, DRAW_SECONDS) if self.reporter.is_watched else plan.seconds)
        return plan.items

    def _alarm_in(self, seconds: float) -> None:
        if seconds == float("inf"):
            return
        when = self.clock.now() + max(seconds, 0.0)
        # One that rings earlier only asks once more; setting a new one each time would pile them up.
        if self._alarm is not None and self._alarm[0] <= when:
            return
        self.disarm()
        self._alarm = when, self.clock.call_at(when, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake()

    def disarm(self) -> None:
        """Take the alarm back."""
        if self._alarm is not None:
            self._alarm[1]()
            self._alarm = None

    # -- output files

    def open_sink(self, path: str | os.PathLike[str], mode: Literal["t", "b"], existing: Existing) -> Steps[Sink[Any]]:
        """The sink *path*, cut back to what is saved of it. A new one is saved at once, so that its rows count."""
        name = os.fspath(path)
        if name in self._sinks:
            return self._sinks[name]
        sink: Sink[Any] = Sink(self.options.operation_id, Path(name).absolute(), mode)
        saved = self._internal.get("sinks", {}).get(name)
        yield lambda: sink.open(saved, existing)
        self._stack.callback(sink.close)
        self._sinks[name] = sink
        if saved is None:
            yield from self.save(f"Output: {name}")
        return sink

    # -- save

    def save(self, reason: str, *, is_last: bool = False) -> Steps[None]:
        """Save now, and wait until it stands. In a forked child nothing is done: the parent owns the operation.

        Raises:
            StateEncodeError, StoreError: It does not; the last checkpoint stands.
        """
        if not self.is_owner():
            return
        self.sync()
        yield from self._note_finished_save(wait=True)
        self._is_probed = True
        yield from self._save(self.session.demand(reason, now=self.clock.now()), wait=True, is_last=is_last)

    def _save(self, save: Save, *, wait: bool, is_last: bool = False) -> Steps[None]:
        began = self.clock.now()
        metadata = self.session.metadata

        def take() -> Content:
            nonlocal metadata
            self.sync()
            metadata = dataclasses.replace(self.session.metadata, extra=dict(self.session.metadata.extra))
            metadata.save_count += 1
            metadata.last_save_reason = save.reason
            return self._content(metadata, save, is_last=is_last)

        location = yield from self._stored.save(take, wait=wait)
        seconds = self.clock.now() - began
        if location is None:
            self._pending = save, seconds, metadata
            self.session.waited(now=self.clock.now())
        else:
            self._note_saved(save, seconds, metadata)

    def _note_saved(self, save: Save, seconds: float, metadata: CheckpointMetadata) -> None:
        now = self.clock.now()
        self.session.metadata.save_count = metadata.save_count
        self.session.metadata.last_save_reason = metadata.last_save_reason
        self.session.saved(save, seconds, now=now)
        self.session.waited(now=now)
        _log.debug("%s: saved (%s)", self.options.operation_id, save.reason)

    def _note_finished_save(self, wait: bool = False) -> Steps[None]:
        pending = self._pending
        try:
            stands = yield from (self._stored.wait() if wait else self._stored.poll())
        except BaseException:
            self._pending = None
            raise
        if stands and pending is not None:
            self._pending = None
            self._note_saved(*pending)

    def _content(self, metadata: CheckpointMetadata, save: Save | None = None, *, is_last: bool = False) -> Content:
        now = self.clock.utc()
        self.runs[-1] |= {
            "ended": now.isoformat(timespec="seconds"),
            "items": metadata.processed_items,
            "reason": metadata.last_save_reason,
        }
        internal = {name: value for name, value in self._internal.items() if name not in ("loops", "collections")}
        internal["history"] = self.runs
        if (budget := self.quota.to_dict()) is not None:
            internal["budget"] = budget
        if self.failed or "failed" in internal:
            internal["failed"] = self.failed.to_dict()
        if self._sinks:
            internal["sinks"] = {**internal.get("sinks", {}), **{n: sink.to_dict() for n, sink in self._sinks.items()}}
        if (pace := self.reporter.to_dict()) is not None:
            internal["pace"] = pace
        internal["elapsed"] = round(self.session.elapsed_time, 3)
        internal["costs"] = _typed.costs_to(self.session.costs, charged=save is not None and save.is_charged)
        if self.options.arguments:
            internal["arguments"] = dict(self.options.arguments)
        syncs = [sink.sync for sink in self._sinks.values()]
        # A copy, for other threads may add to it meanwhile.
        state = dict(_typed.plain(self.options.state_type, self.state))
        return Content(state, metadata, self.created_at, now, internal, is_last, syncs, self.loops.views)

    # -- close

    def finish(self) -> Steps[bool]:
        """The block ended well: finalize. Whether it did; it does not while a loop has items to go.

        Raises:
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came, and this thread had no tick to see it at.
        """
        self.disarm()
        self.sync()
        if self._stop is not None and self._has_stopped_threads:
            error = _signals.error_for(self._stop)
            yield from self.interrupt(error)
            raise error
        is_final = yield from self._finalize()
        self.reporter.stop(now=self.clock.now(), at=self.clock.utc())
        if self._is_listening:
            _signals.act()
        return is_final

    def _finalize(self) -> Steps[bool]:
        if self.keep_reason is not None:
            yield from self.save(self.keep_reason, is_last=True)
            return False
        if not self.is_finalized and next(self.loops.left(), None) is not None:
            yield from self.save("Stopped: a loop was left with items to go", is_last=True)
            return False
        if not self.is_finalized and self.failed:
            yield from self.save(f"Failed: {len(self.failed)} items; retry_failed=True tries them again", is_last=True)
            return False
        if self.options.auto_cleanup:
            for sink in self._sinks.values():
                yield sink.sync
            yield from self._stored.delete()
        else:
            yield from self.save("Finished", is_last=True)
        return True

    def interrupt(self, error: BaseException) -> Steps[bool]:
        """The block was left by *error*: save what was ticked. Whether that worked; if not, *error* gets a note."""
        self.disarm()
        self.reporter.stop(now=self.clock.now(), at=self.clock.utc())
        try:
            with contextlib.suppress(StoreError):  # a save before this one; this one tells everything anew
                yield from self._note_finished_save(wait=True)
            yield from self.save(f"Interrupted: {_name_of(error)}", is_last=True)
        except Exception as failure:  # the user's own error is what must be seen
            error.add_note(f"resumable: {self.options.operation_id!r} could not be saved on the way out: {failure}")
            _log.error("%s: could not be saved on the way out: %s", self.options.operation_id, failure)
            return False
        error.add_note(
            f"resumable: {self.options.operation_id!r} is saved at item {self.processed_items:,}; run again to go on"
        )
        if isinstance(error, KeyboardInterrupt) or _name_of(error) == "SIGTERM":
            self.reporter.has_stopped()
        return True

    def release(self) -> None:
        """Let go of the operation, the signals, and the place of the current checkpoint."""
        self.disarm()
        if self.is_owner():
            self._stack.close()

    def is_owner(self) -> bool:
        """Whether this process opened it; a forked child owns nothing and writes nothing."""
        return os.getpid() == self._owner_pid


def _name_of(error: BaseException) -> str:
    return "SIGTERM" if isinstance(error, SystemExit) and error.code == 143 else type(error).__name__


def _reset_current(token: Any) -> None:
    # A generator that is closed elsewhere leaves its block in another context.
    with contextlib.suppress(ValueError):
        _current.reset_current(token)
