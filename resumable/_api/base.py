"""``BaseCheckpoint``: the common base of the plain and the async checkpoint."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from .._errors import STOPS
from .._runtime import current, signals
from .._runtime.steps import Steps
from .holding import Holding

if TYPE_CHECKING:
    import tenacity
    import typing_extensions

    from .._durable.once import Unknown
    from .._durable.sink import Sink
    from .._durable.sink_file import Existing
    from .._engine.limits import Amount
    from .._engine.operation import Operation
    from .._engine.options import Options
    from .._engine.quota import Wait
    from .._loops.loop import Loop
    from .._loops.map.map_loop import MapLoop
    from .._models import CheckpointMetadata
    from .._runtime.boundary import Boundary

    S = typing_extensions.TypeVar("S", default=dict[str, Any])
else:
    S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")
L = TypeVar("L", bound="Loop[Any]")

KeyOf = Callable[[Any], str | int] | str | None
"""How to get an item's key: a function, or the name of a field; None: the position."""

ALWAYS = -1
"""A limit that every count has reached."""
SEEKABLE = frozenset({list, tuple, range})
"""Types of items over which a small loop may iterate."""
count_lock = threading.Lock()


def _is_inner(checkpoint: object, name: str) -> bool:
    return (getattr(getattr(type(checkpoint), name, None), "__doc__", None) or "").startswith("For ")


class BaseCheckpoint(Holding, Generic[S]):
    """The common base of both checkpoints: counts items, and calls the engine when the next check-in is due.

    Users get checkpoints from :class:`checkpointed` and :func:`resumable`.

    Attributes:
        ticked: For the engine: the number of items that this run ticked by hand.
    """

    _is_async = False

    def __init__(self, options: Options) -> None:
        self._options = options
        self.ticked: int = 0
        self._has_observed = False
        self._ticks: Iterator[object] = repeat(None)  # next() of it takes a fifth of the time of its __next__()
        self._count: Callable[[], int] = lambda: 0
        self._limit: float = ALWAYS
        self._was_woken = False
        self._boundary: Boundary = None  # type: ignore[assignment]  # until it is opened
        self._again: Callable[..., Any] | None = None
        self._is_total_old = self._is_shown = self._has_inner_sink = self._has_stopped = False
        self._total: int | None = None
        self._outer: Any = None
        self._operation: Operation = None  # type: ignore[assignment]  # until it is opened

    def __repr__(self) -> str:
        """``<Checkpoint 'nb': 21 of 60, saved 3 s ago in .checkpoint_nb.json>``"""
        stands = "not open" if self._operation is None else self._operation.reporter.standing(self._operation)
        kind = "AsyncCheckpoint" if self._is_async else "Checkpoint"
        return f"<{kind} {self.operation_id!r}: {stands}>"

    def _repr_html_(self) -> str:
        """A card for notebooks; it still shows the progress when the kernel is gone."""
        from .._report.card import card_of_run

        if self._operation is None:
            return card_of_run(self.operation_id, None, "not open")
        self._operation.sync()
        stands = self._operation.reporter.standing(self._operation)
        return card_of_run(self.operation_id, self._operation, stands)

    def __dir__(self) -> list[str]:
        """The names for users, without those for loops, maps or the engine."""
        return [name for name in super().__dir__() if name not in ("is_async", "ticked") and not _is_inner(self, name)]

    @property
    def state(self) -> S:
        """What is saved and restored: a dict, or a value of the class that ``state=`` names. May be assigned."""
        return cast("S", self._operation.parts.state)

    @state.setter
    def state(self, state: S) -> None:
        self._operation.parts.replace_state(state)

    @property
    def operation_id(self) -> str:
        """The operation's name."""
        return self._options.operation_id

    @property
    def resumed(self) -> bool:
        """Whether this run continues from anything that earlier runs have left: items, loops, state, or rows."""
        return self._operation.parts.goes_on

    @property
    def is_done(self) -> bool:
        """Whether an earlier run has finished the operation, and ``when_done="skip"`` keeps it done."""
        return self._operation.is_done

    @property
    def metadata(self) -> CheckpointMetadata:
        """Facts about the operation besides its state. Fields may be set; ``extra`` is kept."""
        self._operation.sync()
        if self._is_total_old:
            self._note_total()
        return self._operation.session.metadata

    @property
    def processed_items(self) -> int:
        """Number of ticked items, over all runs."""
        self._operation.has_read_count = True
        return self._operation.processed_items

    # -- in the loop

    @overload
    def observe(self, response: object, /, *, host: str = ..., account: str = ...) -> None: ...
    @overload
    def observe(
        self,
        /,
        *,
        remaining: int,
        limit: int | None = ...,
        reset_at: float | None = ...,
        resource: str = ...,
        host: str = ...,
        account: str = ...,
    ) -> None: ...
    def observe(
        self,
        response: object = None,
        /,
        *,
        remaining: int | None = None,
        limit: int | None = None,
        reset_at: float | None = None,
        resource: str = "",
        host: str = "",
        account: str = "",
    ) -> None:
        """Learn how much of the API's quota is left. If that calls for action, it happens before the next item.

        A refusal means that the quota is empty until the time that it names; without a time, for a minute, and twice as
        long at each repetition. The next success ends it. See :mod:`resumable.ratelimit` for what counts as a refusal.

        Example:
            >>> cp.observe({"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4200"})

        Args:
            response: A response or an error of httpx, requests, aiohttp, urllib3, PyGithub, githubkit or gidgethub, a
                mapping of headers, or a decoded body. Without information about a quota, nothing changes. A body is
                examined only if it was read.
            remaining: Requests left, if there is no response to pass.
            limit: Requests in a full window.
            reset_at: When the quota is full again, in seconds since the epoch.
            resource: The quota's name, if the API has several.
            host: The server, or a URL, if there is no response, which contains it. Other ports are other hosts.
            account: The account whose token was used, if the program uses several: a name for it, not the token itself.
                If it looks like a token, or is longer than 24 characters, only a digest is kept. A loop waits for a
                host once all its accounts are empty.
        """
        if remaining is not None:
            from ..ratelimit import RateLimit

            response = RateLimit(resource, limit, remaining, reset_at, host)
        self._has_observed = True
        self._operation.observe(response, account, host)

    def error(self) -> None:
        """Count an error that the loop survived.

        Example:
            >>> cp.error()
            >>> cp.metadata.error_count
            1
        """
        with count_lock:
            self._operation.session.metadata.error_count += 1

    def spend(self, **amounts: Amount) -> None:
        """Count the cost of this item: ``cp.spend(tokens=1200, usd=0.03)``. From any thread.

        Costs are summed over all runs, and saved with the checkpoint; a hard kill forgets those since the last save.
        Once one part of ``budget=`` is spent, the loop ends after its item with :class:`BudgetExhausted`.

        Example:
            >>> cp.spend(tokens=1200, usd=0.03)

        Raises:
            TypeError, ValueError: An amount is not a number >= 0; none was counted.
        """
        self._operation.spend(amounts)

    @property
    def spent(self) -> dict[str, float]:
        """What :meth:`spend` has counted over all runs, by name."""
        limits = self._operation.parts.limits
        return limits.spent if limits is not None else {}

    def fail(self, item: object, error: BaseException | str) -> None:
        """Note in :attr:`failed` that *item*, at which a loop over ``remaining`` is, has failed; the loop goes on.

        While :attr:`failed` has items, a clean exit keeps the checkpoint; ``remaining(..., retry_failed=True)`` retries
        them. What the item has written to collections and outputs counts.

        Example:
            >>> for number in cp.remaining(range(3)):
            ...     cp.fail(number, "the server said no")

        Args:
            item: The item of the loop, or of one around it; anything else means the innermost loop's item.
            error: Its text is kept, without secrets, with the line that raised it.

        Raises:
            RuntimeError: No loop over ``remaining`` is at an item in this thread or task.
        """
        from .._loops.failing import failed_at, failure_text

        parts = self._operation.parts
        loop, key = failed_at(parts.loops.running.at_item(), item)
        parts.failed.add(loop.name, key, failure_text(item, key, error))
        self.error()

    def finalize(self) -> None:
        """Declare the operation done, though a loop has items left: a clean exit will remove the checkpoint.

        Example:
            >>> cp.finalize()  # what is left is not worth a run
        """
        self._operation.is_finalized = True

    def keep(self, reason: str = "") -> None:
        """Keep the checkpoint at a clean exit, so that the next run continues from here.

        The last save's reason is ``Kept``, or ``Kept: `` and *reason*.

        Example:
            >>> cp.keep("the report reads it")
        """
        self._operation.keep_reason = f"Kept: {reason}" if reason else "Kept"

    def stop(self) -> None:
        """Ask the loop to stop after its current item, as SIGTERM would: it saves, then raises ``SystemExit(143)``.

        From any thread; for programs whose loop is not in the main thread. ``resumable.stop()`` asks all loops.

        Example:
            >>> def on_shutdown():  # called by a framework, in any thread
            ...     cp.stop()
        """
        self._operation.is_asked_to_stop = True
        self._wake()

    def idempotency_key(self, item: object) -> str:
        """A UUID for *item*, equal in every run of this operation, for servers that accept an ``Idempotency-Key``.

        Keys differ between operations. An operation that begins anew under its old id has the old keys, and the server
        takes its requests for repetitions: put what makes it new, such as the month, into the operation_id.

        Example:
            >>> cp.idempotency_key(7) == cp.idempotency_key(7) != cp.idempotency_key(8)
            True

        Args:
            item: Its key, a str or int; or the item itself, which is then identified by its value.

        Raises:
            TypeError: The item has no value that is equal in every run.
        """
        from .._durable.once import idempotency_key

        return idempotency_key(self.operation_id, item)

    @property
    def failed(self) -> dict[str | int, str]:
        """The failed items of ``map`` and :meth:`fail`, each with its error as text: by key, or by position.

        An item that failed in two loops is there twice, as ``name/key`` with each loop's name. While there are any, a
        clean exit keeps the checkpoint; ``map`` and ``remaining`` with ``retry_failed=True`` retry them.
        """
        return self._operation.parts.failed.all()

    @property
    def before_sleep(self) -> Callable[[tenacity.RetryCallState], Any]:
        """A hook for a policy of your own: ``@retry(before_sleep=cp.before_sleep)`` saves before each sleep."""
        from .._retry import save_before_sleep

        return save_before_sleep(self._inner, is_async=self._is_async)

    @property
    def _inner(self) -> Any:
        """This object as loops, maps and the engine see it: users see less."""
        return self

    # -- open

    def _opened(self) -> Steps[None]:
        from .._engine.opening import open_operation  # loads everything else: `import resumable` stays light

        self._operation = yield from open_operation(self._options, wake=self._wake, ticker=self._inner)
        boundary = self._operation.parts.cut.boundary
        self._ticks, self._count = boundary.ticks, boundary.ticks.__length_hint__
        boundary.wake, self._boundary = self._wake, boundary
        around: Any = current.CHECKPOINT.get()
        if isinstance(around, BaseCheckpoint):  # and not what records the limits in a map's worker
            self._outer = around
        outer = self._outer
        try:
            yield from self._operation.begin(self)
        except STOPS as error:
            self._has_stopped = True
            self._tell_outer(error)
            raise
        if outer is None:
            return
        outer.note_inner_begun(self.operation_id)
        if outer.boundary.writers:
            from .._engine.nested import Nested

            Nested(outer.operation_id, outer.boundary, self._operation)

    def _note_sink(self, sink: Sink[Any], existing: Existing) -> None:
        if self._outer is not None and existing == "append":
            self._outer.note_inner_sink(self.operation_id, sink.path)

    def _cut_off(self, error: BaseException) -> None:
        """*error* stops a loop or a tick."""
        self._has_stopped = True
        self._operation.parts.loops.running.cut_off(error, by_loop=True)

    def _tell_outer(self, error: BaseException | None) -> None:
        """The block was left. If it was stopped by *error*, the item of the block around it is not done."""
        if self._outer is not None and self._has_stopped and isinstance(error, STOPS):
            self._outer.note_inner_stop(self.operation_id, error)

    def _wake(self) -> None:
        """Check in before the next item. Safe from any thread, and in signal handlers."""
        self._was_woken = True
        self._limit = ALWAYS
        if self._boundary is not None:
            self._boundary.granted = inf
        if os.getpid() != self._operation.owner_pid:
            self._operation.parts.cut.boundary.forked(self.operation_id)
        running, number = self._operation.parts.loops.running, signals.wish.interrupts
        running.wake()
        if number is not None:
            self._operation.acted_on = number
            running.cut_off(signals.error_for(number))

    def _wait_for(self, host: str = "", account: str = "", resource: str = "", accounts: Iterable[str] = ()) -> Wait:
        """A wait for the program's own request; if it names a host, check-ins no longer wait for that host."""
        asked = self._operation.parts.quota.asked(host, account, resource, accounts, is_said=bool(host))
        return self._operation.wait_for(asked)

    def _failures(self, retry_failed: bool) -> dict[str, Any]:
        parts = self._operation.parts
        retry_failed = retry_failed or parts.retries_failed
        is_needed = retry_failed or parts.saved.failed
        return {"failed": parts.failed, "retry_failed": retry_failed} if is_needed else {}

    def _to_do(self, items: Any) -> Any:
        """*items*; none if the operation stays done."""
        return () if self._operation.is_done else items

    def _begin(self, name: str | None, make: Callable[[str, Any], L], *, may_be_small: bool = True) -> L:
        loops = self._operation.parts.loops
        self._again, loop = loops.small.again, loops.begin(name, make, may_be_small=may_be_small)
        self._note_total()
        return cast("L", loop)

    def _begin_map(self, items: Any, name: str | None, **options: Any) -> MapLoop[Any]:
        from .._loops.map.map_loop import map_loop

        items = self._to_do(items)
        parts = self._operation.parts
        options |= {"owner": self, "failed": parts.failed, "is_async": self._is_async}
        options["retry_failed"] |= parts.retries_failed

        def make(name: str, saved: Any) -> MapLoop[Any]:
            return map_loop(items, name=name, saved=saved, **options)

        return self._begin(name, make, may_be_small=False)

    def _once(self, key: str | int, fn: Callable[[], Any], unknown: Unknown, new_lock: Callable[[], Any]) -> Any:
        with count_lock:  # made at the first use
            effects = self._operation.parts.effects
        return effects.once(key, fn, unknown, self._inner.save, new_lock)

    def _note_total(self) -> None:
        """Update ``total_items``, unless the program or an earlier run has a larger number."""
        self._is_total_old = False
        metadata, total = self._operation.session.metadata, self._operation.parts.loops.total()
        known = metadata.total_items
        # An equal number is the loops' own, of a run that ended before its inner loops began: those end the knowledge.
        if self._options.total is None and (known in (None, self._total) or (total or 0) >= known):
            metadata.total_items = self._total = total

    def _retrying(self, kind: type[tenacity.BaseRetrying], policy: dict[str, Any], reset_on_progress: bool) -> Any:
        from .._retry import retrying

        base = kind(**policy) if policy else self._options.retry or kind()
        return retrying(self._inner, base, reset_on_progress=reset_on_progress, is_async=self._is_async)
