"""What loops, maps, retries and the engine ask of a checkpoint, beside what users see of it.

A block is given an object of these classes, under the name of the class that has only what is for users. So an editor
that looks at the declared class completes no other names; ``dir()`` leaves them out, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._runtime import processes
from .._runtime.boundary import working
from .base import BaseCheckpoint, S

if TYPE_CHECKING:
    from pathlib import Path

    from .._engine.quota import Wait
    from .._loops.loop import Loop
    from .._loops.map.grace import Grace
    from .._runtime.boundary import Boundary
    from ..ratelimit._budget import Asked


class Inner(BaseCheckpoint[S]):
    """What both kinds of checkpoints answer to loops, maps, pages, retries and decorated functions."""

    def keep_result(self, result: object) -> None:
        """For decorated functions: keep *result*, which the call returned."""
        from .._engine.ending import keep_result

        keep_result(self._operation, result)

    def kept_result(self) -> Any:
        """For decorated functions: what the call returned that finished the operation.

        Raises:
            ResumableError: It was not kept.
        """
        from .._engine.ending import kept_result

        return kept_result(self._operation)

    def has_quota(self, in_flight: int | None, more: int = 1) -> bool:
        """For maps: whether *more* requests may be sent beside those *in_flight*; None if no more will be sent."""
        now = self._operation.clock.utc().timestamp()
        return self._operation.parts.quota.has_room(in_flight, more, now=now)

    @property
    def is_stopping(self) -> bool:
        """For maps: whether a signal or the program asks to stop."""
        from .._engine.stops import is_stopping

        return is_stopping(self._operation)

    def end_sleep_if_asked(self, seconds: float) -> None:
        """For retries: a thread beside the main one would sleep for *seconds*; raise if the program stops earlier."""
        from .._engine.stops import end_sleep_if_asked

        end_sleep_if_asked(self._operation, seconds)

    def open_grace(self, seconds: float) -> Grace:
        """For maps: begin a grace of *seconds*, in which calls in flight may finish after a request to stop."""
        from .._engine.stops import open_grace

        return open_grace(self._operation, seconds)

    def close_grace(self, grace: Grace) -> None:
        """For maps: the map was left, or none of its calls is in flight any more."""
        if self._operation.graces is not None:
            self._operation.graces.close(grace)

    def note_inner_stop(self, inner_id: str, error: BaseException) -> None:
        """For blocks inside of this one: *error* has stopped one, so the item around it is not done."""
        self._has_stopped = True  # the loop around raises it again, and it may leave this block, too
        self._operation.parts.loops.running.cut_off(error, place=f"block {inner_id}")

    def note_inner_begun(self, inner_id: str) -> None:
        """For blocks inside of this one: one begins, perhaps the one that was stopped, tried again."""
        self._operation.parts.loops.running.mend_at(f"block {inner_id}")

    def note_inner_sink(self, inner_id: str, path: Path) -> None:
        """For blocks inside of this one: they write rows to *path*."""
        if not self._has_inner_sink and (self.ticked or self._operation.parts.loops.running.at_item()):
            from .._engine.nested import say_rows_may_come_twice

            self._has_inner_sink = True
            say_rows_may_come_twice(self.operation_id, inner_id, path)

    @property
    def boundary(self) -> Boundary:
        """For loops: counts the items that are handed out."""
        return self._operation.parts.cut.boundary

    @property
    def is_metered(self) -> bool:
        """For maps: whether any quota is known."""
        return self._operation.parts.quota.is_known

    @property
    def has_observed(self) -> bool:
        """For pages: whether the program itself has observed a response in this run, outside of ``fetch``."""
        return self._has_observed

    @has_observed.setter
    def has_observed(self, has_observed: bool) -> None:
        self._has_observed = has_observed

    def observe_page(self, response: object) -> bool:
        """For pages: observe the response to their own request. Returns whether the next check-in waits after it."""
        quota = self._operation.parts.quota
        with quota.lock:  # else a success in another thread could end the refusal first
            self._operation.observe(response, "")
            return quota.is_refusal(response) and self._has_to_wait()

    def _has_to_wait(self) -> bool:
        """Whether a quota is used up, so that the next check-in waits."""
        quota, asked = self._operation.parts.quota, self._asked_in_call()
        return quota.exhausted(now=self._operation.clock.utc().timestamp(), asked=asked) is not None

    def _asked_in_call(self) -> Asked | None:
        """The request that a loop inside a map's call may send next; None outside of calls.

        Such a loop waits by itself, because the map waits only while no call is in flight.
        """
        quota = self._operation.parts.quota
        return quota.anything if quota.is_known and working() is not None else None

    def _wait_in_call(self, asked: Asked) -> Wait:
        """A wait for the request *asked* of a loop inside a map's call. Loops in other calls look, too."""
        if self._has_to_wait():
            self._operation.wake()
        return self._operation.wait_for(asked)

    def register(self, loop: Loop[Any]) -> None:
        """For loops: *loop* begins."""
        if not self._is_shown and self._operation.last_run is not None:  # a new one saves at once, and is shown then
            from .._engine.presence import appear

            self._is_shown = True
            appear(self._operation, has_saved=False)
        self._operation.parts.loops.running.begun(loop)

    def unregister(self, loop: Loop[Any]) -> None:
        """For loops: *loop* has ended."""
        self._operation.parts.loops.running.ended(loop)

    def may_be_small(self) -> bool:
        """For small loops: whether one may be made, which knows nothing of failed items."""
        operation, parts = self._operation, self._operation.parts
        return not (operation.is_done or parts.retries_failed or parts.saved.failed)

    def may_pass(self, items: int) -> bool:
        """For small loops: whether this many items may pass before the next check-in."""
        boundary = self._boundary
        return boundary.now() - items > boundary.granted and processes.pid == boundary.pid

    def halt(self, loop: Loop[Any]) -> None:
        """For loops: *loop* has reached its limit."""
        self._operation.parts.loops.halt(loop)
        self._operation.parts.note_tracked()

    def continuing(self) -> Callable[[Any], None]:
        """For retries: a ``before`` hook, after which loops continue where those of the last attempt were left."""
        go_on, parts = self._operation.parts.loops.continuing(), self._operation.parts

        def before(retry_state: Any) -> None:
            if retry_state.attempt_number > 1:
                parts.attempt += 1
            go_on(retry_state)

        return before
