"""One open operation: opened, checked between its items, saved, closed.

Written as steps (see ``_runtime.steps``), so that plain and async code share it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._durable.sink import Mode, Sink
from .._durable.sink_file import Existing
from .._errors import CheckpointCorruptError, StoreError
from .._format.restore import Restored
from .._format.sections import Finished
from .._loops.standing import standings
from .._report.terminal.reporter import DRAW_SECONDS, Reporter
from .._runtime import current, observer, signals
from .._runtime.clock import Alarm, Instant, instant
from .._runtime.steps import Steps
from .._strategies import NEVER, Plan
from . import ending, unkept
from .ahead import take_ahead
from .capture import Save, capture
from .guard import Guard
from .limits import Amount, limits_for, stop_at_limit
from .options import Options, Ticker
from .owning import forked, is_away
from .parts import Parts
from .quota import Wait, wait_if_exhausted
from .session import Decision, Session
from .stops import has_grace, stop_if_asked
from .unsaved import Stands
from .writer import Writer

if TYPE_CHECKING:
    from .._loops.map.grace import Graces
    from .._models import SaveCosts
    from .._report.terminal.forecast import QuotaLook
    from ..ratelimit._budget import Asked

_log = logging.getLogger("resumable")
_FOR_EVER, _MOST_ITEMS = float("inf"), 1 << 30
_MOST_AGAIN = 2
"""If saves are asked for faster than they are made, this many follow at once, and one at the next check-in."""


class Operation:
    """One operation that this process owns, from its first item to its last. See :func:`open_operation`.

    Attributes:
        resumed: Whether an earlier run's checkpoint was restored.
        instant: The time of the last check-in.
        ticker: Counts the items that this run ticks by hand.
        has_warned: Whether a warning said that saves fail and the loop goes on; the last one was at ``warned_at``.
        is_advised: Whether a warning said that the program's results do not reach the checkpoint.
        result: What the decorated function returned, for later calls; None if there is none.
        is_done: Whether an earlier run finished the operation, and this run skips it.
        is_reopened: Whether this run has ticked although the operation was finished, and saves again.
        stopped_by: The error that stopped a loop in another thread: the block must not finalize.
        observers: All observers; a reporter is the last.
        told: The observers that hear of saves.
        history: The record of this run and those before it.
        owner_pid: The process that opened it; no other process may write.
        is_ending: Whether the block has ended. A wait for a quota must end then, because closing needs its turn.
        save_seconds: The duration of the last save that stands.
        is_within: Whether a save is under way; a signal handler must not begin another.
        is_listening: Whether it receives signals.
        is_asked_to_stop: Whether the program has called ``cp.stop()``.
        is_asked_to_pause: Whether another process asks it to pause.
        acted_on: The signal for which it, or what runs inside it, has stopped.
        stands: The saves that the store may hold; None if nothing is kept here while the store is away.
        graces: The grace periods of the maps that have begun; None before the first map.
    """

    def __init__(
        self,
        options: Options,
        writer: Writer,
        restored: Restored | None,
        observers: Sequence[observer.Observer],
        wake: Callable[[], None],
        ticker: Ticker,
        at: Instant,
    ) -> None:
        self.options = options
        self.operation_id = options.operation_id
        self.clock, self.instant = options.clock, at
        self.writer = writer
        self.parts = parts = Parts(options, restored, self._damaged, ticker, at=at)
        self.resumed = restored is not None
        self.metadata, self.items_before, self.pace_before = parts.metadata, parts.items_before, parts.saved.pace
        self.run_number, self.last_run = parts.run_number, parts.last_run
        self.elapsed_before = parts.saved.elapsed or 0.0
        self.failed_items = lambda: len(parts.failed)
        self.standings = lambda: standings(list(parts.loops.shown().values()))
        least = options.store.traits.least_interval
        self.session = Session(
            options.strategy.spaced(least) if least else options.strategy,
            parts.metadata,
            now=at.monotonic,
            elapsed_time=self.elapsed_before,
            costs=parts.costs,
        )
        self.seconds_since_save = lambda: self.session.seconds_since_save(now=self.clock.now())
        self.guard = Guard(parts, writer, options.clock, is_asleep=not options.works_beside)
        self.reporter = Reporter(options.progress)
        if self.reporter.is_watched:
            parts.pace = self.reporter.to_dict
        self.keep_reason: str | None = None
        self.result: Finished | None = None
        self.is_done, self.is_reopened = parts.finished is not None, False
        self.is_finalized, self.is_within, self.save_seconds = False, False, 0.0
        self.observers: tuple[observer.Observer, ...] = (*observers, self.reporter)
        told = self.told = [each for each in self.observers if each.hears_saves or not each.is_quiet]
        self._watching = [each for each in told if not each.is_quiet] if told else []
        self.history, parts.on_failure = parts.history, partial(ending.tell_failure, self)
        self.wake, self.ticker, self.warned_at = wake, ticker, at.monotonic
        self._alarm: Alarm | None = None
        self._stack = contextlib.ExitStack()
        self._stack.callback(writer.release)
        self._stack.callback(parts.release)
        self.owner_pid = os.getpid()
        self._asked: str | None = None
        self.acted_on: int | None = None
        self.stopped_by: BaseException | None = None
        self.graces: Graces | None = None
        self.is_asked_to_stop = self.is_asked_to_pause = self.is_listening = self.is_ending = False
        self.has_read_count = self.has_warned = self.is_advised = self._is_postponed = self._is_closed = False
        writer.adopt(parts.collections, parts.cut)
        writer.on_stored, writer.on_failed = self._note_stored, self._note_failed
        self.stands = Stands(restored) if options.local is not None else None

    # -- what is known of it

    @property
    def done_at(self) -> str | None:
        """When an earlier run finished the operation, if it stays done."""
        return self.parts.finished.at if self.is_done and self.parts.finished is not None else None

    @property
    def processed_items(self) -> int:
        """Ticked items over all runs."""
        self.sync()
        return self.metadata.processed_items

    @property
    def costs(self) -> SaveCosts:
        """The cost of saving, over all runs."""
        return self.session.costs

    @property
    def margin_seconds(self) -> float:
        """How long a wait for a quota lasts beyond the reset."""
        return self.parts.quota.margin_seconds

    def quota_looks(self, now: float) -> list[QuotaLook]:
        """The quotas that a forecast needs; *now* is epoch seconds."""
        return self.parts.quota.looks(now=now)

    @property
    def at_risk_seconds(self) -> float | None:
        """Seconds of work that a kill would lose, at most; None if unknown."""
        return self.session.strategy.at_risk(self.costs)

    @property
    def location(self) -> Path | str:
        """Where the checkpoint lies, or will lie."""
        return self.writer.location

    @property
    def directory(self) -> str:
        """The directory or URL that a command needs to find the checkpoint; "" if it needs none."""
        return ending.directory_of(self.writer)

    def sync(self) -> None:
        """Bring the metadata up to date."""
        loops = self.parts.loops
        in_loops = loops.done() if loops.views else 0
        self.metadata.processed_items = self.items_before + self.ticker.ticked + in_loops
        if self.parts.quota.has_news:
            self.parts.quota.tell(self.session, now=self.clock.utc().timestamp())

    def is_owner(self) -> bool:
        """Whether this process opened it; a forked child owns nothing and writes nothing."""
        return os.getpid() == self.owner_pid

    def check_open(self) -> None:
        """Refuse to go on in a forked child, or after the release: another process may own the operation by now.

        Raises:
            StoreError: This is a forked child. Nothing was written.
            ValueError: The operation is released. Nothing was written.
        """
        if not self.is_owner():
            raise forked(self.operation_id, self.owner_pid)
        if self._is_closed:
            raise ValueError(
                f"the checkpoint of {self.operation_id!r} is closed, because its block has ended; nothing more is "
                "saved. Threads that tick must end within the block."
            )

    def _damaged(self, reason: str) -> CheckpointCorruptError:
        where = self.writer.location
        return CheckpointCorruptError(
            self.operation_id, str(where), reason, store="" if isinstance(where, Path) else self.directory
        )

    # -- begin

    def begin(self, checkpoint: Any) -> Steps[None]:
        """Make *checkpoint* the current one. If an earlier run's quota is used up and items are left, wait.

        If this raises, the operation is released.
        """
        try:
            signals.open_here.add(self)
            token = current.CHECKPOINT.set(checkpoint)
            self._stack.callback(current.reset_current, token)
            self.is_listening = signals.listen(self.wake, self.options.stop_signals, is_async=self.ticker.is_async)
            if self.is_listening:
                self._stack.callback(signals.unlisten, self.wake)
            elif threading.current_thread() is not threading.main_thread():
                signals.say_unheard()
            for each in self.observers:
                each.opened(self)
            if self.parts.limits is not None and (spent := self.parts.limits.spent_before(self.operation_id)):
                _log.warning("%s", spent)  # SystemExit prints no traceback
                raise spent
            if self.parts.saved.budget is not None and not self.parts.had_all_done:
                yield from wait_if_exhausted(self)
        except BaseException as error:
            ending.name_directory(error, self.writer)
            self.release()
            raise

    # -- between items

    def check_in(self, *, waits: bool = True) -> Steps[int]:
        """Save or stop if that is due. Returns how many items may pass before the next check-in.

        Args:
            waits: Whether a request may follow; if so, wait while the quota is used up.
        """
        if self._is_closed or not self.is_owner():
            self.check_open()
        # Ask each question only if something has changed: most check-ins have a single answer.
        at = self.instant = Instant(self.clock.now(), self.clock.utc())
        self.sync()
        if (parts := self.parts).tracked is not None:
            parts.note_tracked()
        if parts.between is not None:
            parts.between.note_tick()
        for each in self._watching:
            each.checking_in(self)
        if (
            self.is_asked_to_stop
            or self.is_asked_to_pause
            or self.acted_on is not None
            or (self.is_listening and signals.wish.number is not None)
        ):
            yield from stop_if_asked(self)
        if self.parts.cut.boundary.has_many:
            take_ahead(self.parts, self.session, self.clock)
        decision, self._is_postponed = None, False
        if self.writer.ending is not None:
            yield from is_away(self.writer.ending)  # raises if the lease is lost
        try:
            if self.writer.job is not None or self.writer.compaction is not None:
                self._note_finished_saves()
            decision = self.session.due(now=at.monotonic)
            if self.parts.limits is not None:
                yield from stop_at_limit(self)
            if decision is not None:
                self._is_postponed = not (yield from self._save(decision, wait=False))
        except StoreError as error:
            if not ending.outlives(self, error):
                raise
            self.session.put_off(decision or self.session.demand("", now=at.monotonic))
        if decision is None and self.guard.is_due(at.monotonic):
            self.guard.look(partial(self._capture, self.session.demand("", now=at.monotonic)))
        if self._asked is not None:
            yield from self._save_as_asked()
        is_over = parts.quota.is_known and parts.is_all_done
        if waits and parts.quota.is_known and not is_over and not has_grace(self):
            yield from wait_if_exhausted(self)
        for each in self._watching:
            each.checked_in(self)
        return min(self._plan(), 1 if is_over else _MOST_ITEMS)  # if more items come all the same, they wait

    # -- save

    def save(self, reason: str, *, is_last: bool = False, again: int = _MOST_AGAIN) -> Steps[None]:
        """Save now, and wait until the save is stored; save again, up to *again* times, if asked for meanwhile.

        Raises:
            StateEncodeError, StoreError: It was not stored; the earlier checkpoint stands. Also in a forked child.
        """
        self.check_open()
        self.instant = instant(self.clock)
        self.sync()
        if self.writer.is_saving:
            self.is_within = True
            try:
                yield from self.writer.wait(for_compaction=False)
            except Exception as error:  # this save includes the failed one's changes
                _log.warning("%s: a save before this one failed: %s", self.operation_id, error)
            finally:
                self.is_within = False
        self.guard.has_looked = True
        if is_last:
            self.parts.sinks.seal()
        yield from self._save(self.session.demand(reason, now=self.instant.monotonic), wait=True, is_last=is_last)
        self.parts.sinks.have_ended |= is_last
        if again:
            yield from self._save_as_asked(is_last=is_last, again=again - 1)

    def ask_for_save(self, reason: str) -> None:
        """Save again after the save under way."""
        self._asked = reason
        self.wake()

    def _save_as_asked(self, *, is_last: bool = False, again: int = _MOST_AGAIN) -> Steps[None]:
        reason, self._asked = self._asked, None
        if reason is not None:
            yield from self.save(reason, is_last=is_last, again=again)

    def _save(self, decision: Decision, *, wait: bool, is_last: bool = False) -> Steps[bool]:
        """Returns whether the save is stored or in flight; if not, it waits until a thread wakes the loop."""
        for each in self.told:
            each.saving(self, decision.reason)
        began = self.instant.monotonic
        self.is_within = True
        try:
            save, options = None, {"wait": wait, "is_patient": self.session.strategy.is_patient}
            hooks, asked = self.parts.hooks, self._asked
            if not hooks or (yield from self.parts.bring_up_to_date(self.writer, **options)):
                self._asked = asked  # a save that a hook asks for is this one
                take = partial(self._capture, decision, is_last=is_last)
                save = yield from self.writer.save(take, **options)
        except BaseException as error:
            for each in self.observers:
                each.failed(self, error)
            raise
        finally:
            self.is_within = False
        now = self.clock.now()
        if save is not None:
            save.seconds += now - began
            if save.status == "stored":
                self._note_stored(save)
            else:
                save.before = self.session.sent(decision)
        self.session.waited(now=now)
        return save is not None

    def _capture(self, decision: Decision, *, is_last: bool = False) -> Save:
        self.sync()
        if self.is_done and not self.is_reopened and decision.reason:
            self.is_reopened = True
            self.parts.mark_finished(None, is_marker=False)
            self.writer.write_all_next()
        in_flight = len(self.writer.in_flight.saves)
        return capture(self.parts, decision, self.session, at=self.instant.utc, in_flight=in_flight, is_last=is_last)

    def _note_finished_saves(self) -> None:
        self.is_within = True
        try:
            self.writer.poll()
        finally:
            self.is_within = False

    def _note_stored(self, save: Save) -> None:
        metadata = self.metadata
        metadata.save_count, metadata.last_save_reason = save.values["save_count"], save.decision.reason
        self.has_warned = False
        if self.stands is not None:
            self.stands.stored(save)
        self.save_seconds = save.seconds
        self.session.stored(save.decision, save.seconds, was_sent=save.before is not None)
        if save.artifacts is not None and self.parts.workshop is not None:
            self.parts.workshop.stored(save)
        _log.debug("%s: saved (%s)", self.operation_id, save.decision.reason)
        if self.session.saves < 3:
            ending.note_early_save(self)
        for each in self.told:
            each.saved(self, save.decision.reason, save.seconds)

    def _note_failed(self, saves: Sequence[Save]) -> None:
        self.session.failed([save.before for save in saves if save.before is not None])
        if self.stands is not None:
            self.stands.failed(saves)

    def open_sink(
        self, path: str | os.PathLike[str], mode: Mode, existing: Existing, header: str | bytes | None
    ) -> Steps[Sink[Any]]:
        """The sink *path*, cut back to its saved length. A save notes, before the first row, that rows may come."""
        self.check_open()
        sink: Sink[Any] = yield lambda: self.parts.open_sink(path, mode, existing, header)
        if not sink.is_announced:
            yield from self.save(f"Output: {os.fspath(path)}")
            sink.is_announced = True
        return sink

    # -- the API's quota

    def observe(self, response: object, account: str = "", host: str = "") -> None:
        """Learn from *response* how much of the quota is left. If that matters, check in before the next item."""
        now = self.clock.utc().timestamp()
        if self.parts.quota.observe(response, self.session, now=now, account=account, host=host):
            self.wake()

    def wait_for(self, asked: Asked) -> Wait:
        """A wait for the quota of the request *asked*; only the caller sleeps."""
        self.check_open()
        return Wait(self, asked)

    # -- budgets and plans

    def spend(self, amounts: Mapping[str, Amount]) -> None:
        """Count *amounts*; if they use up the budget, the loop stops after its item. See :meth:`Limits.spend`."""
        parts = self.parts
        parts.limits = parts.limits or limits_for(self.options, parts.saved.spent, began=self.instant)
        if parts.limits.spend(amounts):
            self.wake()

    def _plan(self) -> int:
        plan = self.session.plan(now=self.clock.now())
        if plan.seconds <= 0:
            if not self._is_postponed:
                return 1
            rest = _FOR_EVER if self.session.strategy.is_patient else self.writer.in_flight.seconds_left
            plan = Plan(_FOR_EVER, max(0.0, rest), NEVER)  # the threads wake the loop; after that, it waits for them
        self.parts.quota.line = plan.quota
        seconds = min(plan.seconds, DRAW_SECONDS) if self._watching else plan.seconds
        if self.graces is not None and (left := self.graces.left) is not None:
            seconds = min(seconds, max(left, 0.0))
        elif (limits := self.parts.limits) is not None:  # not in a grace: its end is the limit
            costs, longest = self.session.costs, self.session.longest_item
            seconds = min(seconds, limits.look_within(now=self.clock.now(), costs=costs, longest=longest))
        items = plan.items
        if items > 1 and not self.guard.is_asleep:
            items = min(items, self.guard.looks_at_item - self.metadata.processed_items)
            seconds = min(seconds, max(self.guard.looks_at - self.instant.monotonic, 0.0))
        if seconds < _FOR_EVER:
            self._alarm = self._alarm or Alarm(self.clock, self.wake)
            if not self._alarm.ring_within(seconds):
                return 1
        is_free = self.parts.is_proven and self.parts.tracked is None and not self.parts.cut.boundary.has_many
        return int(max(1, min(items, _MOST_ITEMS))) if is_free else 1

    # -- close

    def close(self, error: BaseException | None) -> Steps[bool]:
        """Finish, or save what is there after *error*. Later ticks raise.

        Returns:
            Whether that is done: False if a loop has items left, or if the save after *error* failed.

        Raises:
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came, and this thread had no tick that could notice it.
        """
        self.instant = instant(self.clock)
        stop = ending.stop_at_end(self) if error is None else error
        for each in self.observers:
            each.closing(self, stop)
        self._cancel_alarm()
        unkept.say_what_is_lost(self, at_end=stop is None)
        try:
            with signals.acted_upon((error or stop) if self.is_listening else None):
                return (yield from ending.end(self, stop) if error is None else ending.interrupt(self, error))
        finally:
            self._is_closed = True
            self.wake()

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def release(self) -> None:
        """Release the operation and the signals, and restore the outer current checkpoint."""
        try:
            self._cancel_alarm()
        finally:
            if self.is_owner():
                self._is_closed = True
                self._stack.close()
                self._say_closed()

    def _say_closed(self) -> None:
        observers, self.observers = self.observers, ()
        self.instant = instant(self.clock)
        for each in observers:
            each.closed(self)
