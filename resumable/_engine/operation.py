"""What both shells share: opening, watching and closing one operation, told as steps (see ``_steps``)."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .._errors import InputChangedError, RateLimitExhausted, StateEncodeError, StoreError
from .._format.restore import Restored
from .._report.reporter import DRAW_SECONDS
from .._runtime import current, signals
from .._runtime.clock import Alarm
from .._runtime.steps import Pause, Steps
from .._strategies import Plan
from .._text import argument
from ..stores import OwningStore, defaults
from . import mismatch
from .options import Options
from .saving import Saving

if TYPE_CHECKING:
    from ..ratelimit._headers import RateLimit

_log = logging.getLogger("resumable")
_POLL_SECONDS = 0.1
"""How soon a wait notices that it should end."""
_SAY_HOW_TO_GO_ON = (InputChangedError, RateLimitExhausted, StateEncodeError)
"""Run again at once, the program raises these again; each one says what to do before that."""
_WHEN_WOKEN = Plan(float("inf"), float("inf"))


class Core(Saving):
    """One operation that is open, from its first item to its last.

    Args:
        wake: Called when something may be due before the plan said so; from any thread, and from signal handlers.
        count: Gives how many items were ticked by hand in this run.
    """

    def __init__(self, options: Options, wake: Callable[[], None], count: Callable[[], int]) -> None:
        super().__init__(options, wake, count)
        self.is_finalized = False
        self.keep_reason: str | None = None
        self._alarm = Alarm(options.clock, wake)
        self._is_listening = False
        self._has_stopped_threads = False
        self._is_postponed = False
        self._is_ending = False
        self._stop: int | None = None

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
            self._stack.callback(self._stored.close)
            restored: Restored | None = None
            if self.options.resume:
                now = self.clock.utc()
                restored = yield lambda: self._stored.load(now=now)
                if restored is None:
                    yield lambda: self._tell_what_remains(now)
            self._begin(restored)
            self._listen(checkpoint)
            if self.resumed:
                self.reporter.goes_on(at=self.clock.utc())
            yield from self.wait_if_exhausted()
        except BaseException as error:
            self._tell_where(error)
            self._stack.close()
            raise

    def _tell_what_remains(self, now: datetime) -> None:
        """A checkpoint was removed, or a run killed while it finished: either may begin anew, but not unsaid."""
        remains = self._stored.remains(now=now)
        if remains is not None:
            _log.warning(
                "%s: begins anew, for it was finished or its checkpoint removed; an older one is still there, %s, and "
                "will be replaced. To go on from it instead, stop this run and:  resumable repair %s",
                self.options.operation_id,
                remains,
                argument(remains),
            )

    def _listen(self, checkpoint: Any) -> None:
        token = current.set_current(checkpoint)
        self._stack.callback(current.reset_current, token)
        self._is_listening = signals.listen(self._wake)
        if self._is_listening:
            self._stack.callback(signals.unlisten, self._wake)

    # -- between items

    def check_in(self) -> Steps[float]:
        """Save or stop, if due; returns how many items may pass before this must be called again."""
        if not self.is_owner():
            return float("inf")
        self.check_open()
        self.sync()
        yield from self._stop_if_asked()
        yield from self._note_finished_saves()
        yield from self._save_if_due()
        yield from self._save_as_asked()
        yield from self.wait_if_exhausted()
        self.reporter.look(now=self.clock.now(), at=self.clock.utc())
        return self._plan()

    def _save_if_due(self) -> Steps[None]:
        save = self.session.due(now=self.clock.now())
        self._is_postponed = False
        if save is not None:
            self._is_postponed = not (yield from self._save(save, wait=False))
        elif not self._is_probed:
            self._stored.probe(self._content(self.session.metadata))
        self._is_probed = True

    # -- the API's quota

    def observe(self, response: object) -> None:
        """Learn from *response* what is left of the quota; the strategy is asked before the next item."""
        if self.quota.observe(response, self.session, now=self.clock.utc().timestamp()):
            self._wake()

    def has_quota(self, in_flight: int | None, more: int = 1) -> bool:
        """Whether *more* requests are left beyond those *in_flight*. While any are out, check-ins do not wait for it.

        Args:
            in_flight: None while nothing more is to be asked for.
        """
        if in_flight is None:
            self.quota.reserve = -1
            return True
        now = self.clock.utc().timestamp()
        self.quota.reserve = in_flight + more - 1
        is_left = self.quota.exhausted(now=now) is None
        if in_flight:
            self.quota.reserve = -1
            is_left = is_left and self.quota.has_room(in_flight + more, now=now)
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
            while (left := fresh_at - self.clock.utc().timestamp()) > 0 and not self._is_ending:
                self.reporter.wait(left, whom, now=self.clock.now(), at=self.clock.utc())
                yield Pause(min(left, _POLL_SECONDS), self.clock)
                yield from self._stop_if_asked()
        finally:
            self.session.waited(now=self.clock.now())
            self.reporter.wait_is_over()

    def _stop_if_asked(self) -> Steps[None]:
        is_main = threading.current_thread() is threading.main_thread()
        number = signals.received() if self._is_listening else None
        if number is None and not is_main:
            number = self._stop  # the main thread was faster
        if number is None:
            return
        self._stop = number
        error = signals.error_for(number)
        with contextlib.suppress(StoreError, StateEncodeError):  # the save at the exit tries again, and tells
            yield from self.save(f"Interrupted: {_name_of(error)}")
        if is_main:
            signals.take()
        else:
            # Whoever waits for this thread may not see its error: the block must not take the work for done.
            self._has_stopped_threads = True
        raise error

    def _plan(self) -> float:
        plan = self.session.plan(now=self.clock.now())
        if plan.seconds <= 0:
            if not self._is_postponed:
                return 1
            plan = _WHEN_WOKEN
        self._alarm.ring_within(min(plan.seconds, DRAW_SECONDS) if self.reporter.is_watched else plan.seconds)
        return plan.items

    # -- close

    def end_waits(self) -> None:
        """The block has ended: whoever still waits for a quota has the turn that is needed to close."""
        self._is_ending = True

    def close(self, error: BaseException | None) -> Steps[bool]:
        """Finish, or save what *error* leaves. Who ticks after that is told so."""
        try:
            return (yield from self.finish() if error is None else self.interrupt(error))
        finally:
            self._is_closed = True
            self._wake()

    def finish(self) -> Steps[bool]:
        """The block ended well: finalize. Whether it did; it does not while a loop has items to go.

        Raises:
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came, and this thread had no tick to see it at.
        """
        self._alarm.cancel()
        self.sync()
        if self._stop is not None and self._has_stopped_threads:
            error = signals.error_for(self._stop)
            yield from self.interrupt(error)
            raise error
        is_final = yield from self._finalize()
        self.reporter.stop(now=self.clock.now(), at=self.clock.utc())
        if self._is_listening:
            signals.act()
        return is_final

    def _finalize(self) -> Steps[bool]:
        if self.keep_reason is not None:
            yield from self.save(self.keep_reason, is_last=True)
            return False
        if not self.is_finalized and next(self.loops.left(), None) is not None:
            yield from self.save("Stopped: a loop was left with items to go", is_last=True)
            return False
        if not self.is_finalized and self.failed:
            reason = f"Failed items: {len(self.failed):,}; retry_failed=True tries again"
            yield from self.save(reason, is_last=True)
            return False
        if self.options.auto_cleanup:
            yield from self.sinks.syncs()
            yield from self._stored.delete()
        else:
            yield from self.save("Finished", is_last=True)
        return True

    def interrupt(self, error: BaseException) -> Steps[bool]:
        """The block was left by *error*: save what was ticked. Whether that worked; if not, *error* gets a note."""
        self._alarm.cancel()
        self.reporter.stop(now=self.clock.now(), at=self.clock.utc())
        self._tell_where(error)
        try:
            yield from self.save(f"Interrupted: {_name_of(error)}", is_last=True)
        except Exception as failure:  # the user's own error is what must be seen
            error.add_note(f"resumable: {self.options.operation_id!r} could not be saved on the way out: {failure}")
            _log.error("%s: could not be saved on the way out: %s", self.options.operation_id, failure)
            return False
        how = "" if isinstance(error, _SAY_HOW_TO_GO_ON) else "; run again to go on"
        error.add_note(f"resumable: {self.options.operation_id!r} is saved at item {self.processed_items:,}{how}")
        if isinstance(error, KeyboardInterrupt) or _name_of(error) == "SIGTERM":
            self.reporter.has_stopped(self._directory())
        return True

    def _tell_where(self, error: BaseException) -> None:
        if isinstance(error, InputChangedError) and error.operation_id == self.operation_id:
            mismatch.name_directory(error, self._directory())

    def _directory(self) -> str:
        """What a command must be told to find the checkpoint; "" for nothing."""
        try:
            return defaults.directory_to_name(self._stored.location())
        except StoreError:
            return ""

    def release(self) -> None:
        """Let go of the operation, the signals, and the place of the current checkpoint."""
        try:
            self._alarm.cancel()
        finally:
            if self.is_owner():
                self._is_closed = True
                self._stack.close()


def _name_of(error: BaseException) -> str:
    return "SIGTERM" if isinstance(error, SystemExit) and error.code == 143 else type(error).__name__
