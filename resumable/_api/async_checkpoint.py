"""``AsyncCheckpoint``: what ``async with checkpointed(...) as cp`` gives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from .._errors import STOPS
from .._runtime import signals
from .._runtime.interpreter import opening_from_here, show_users_frames_only
from .._runtime.steps import acquire, exchange_async, run_async
from .._text.hints import explained, explained_later
from .base import ALWAYS, SEEKABLE, BaseCheckpoint, KeyOf, R, S, T
from .inner import Inner

if TYPE_CHECKING:
    import tenacity

    from .._durable import Sink
    from .._durable.once import Unknown
    from .._durable.sink_file import Existing
    from .._engine.options import Options
    from .._engine.quota import Wait
    from .._loops.ledgers.by_page import Changed
    from .._loops.ledgers.by_position import Fingerprint
    from .._loops.map.results import OnError
    from .._loops.pages import ItemsOf
    from .._loops.remaining_async import AsyncRemaining
    from .artifact import AsyncArtifact

_CANCEL_SECONDS = 2.0
"""How long after SIGTERM an item may finish; then the task that waits for it is cancelled."""


class AsyncCheckpoint(BaseCheckpoint[S]):
    """One operation's state, inside an ``async with`` block. Await every call that may write.

    Example:
        >>> async def main():
        ...     async with checkpointed("async job") as cp:
        ...         doubles = cp.mapping("doubles")
        ...         async for number in cp.remaining(range(3)):
        ...             doubles[str(number)] = number * 2
        ...         return dict(doubles)
        >>> asyncio.run(main())
        {'0': 0, '1': 2, '2': 4}
    """

    _is_async = True
    ticked: int

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        try:
            self._event_loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "`async with checkpointed(...)` and an async @resumable need asyncio or uvloop, and neither runs "
                "here. On trio and others, use the plain `with checkpointed(...)` in a thread of its own, such as one "
                "of trio.to_thread.run_sync."
            ) from None
        self._turn = asyncio.Lock()
        self._task = asyncio.current_task()
        self._was_cancelled = False
        self._opened_by = threading.get_ident()
        self._saving: set[asyncio.Task[None]] = set()

    async def tick(self, items: int = 1) -> None:
        """*items* are done: save if one is due. See :meth:`Checkpoint.tick`.

        Example:
            >>> for number in range(cp.state.get("next", 0), 5):
            ...     cp.state["next"] = number + 1
            ...     await cp.tick()

        Raises:
            asyncio.CancelledError: The task was cancelled meanwhile. The save was completed first.
        """
        next(self._ticks)
        self.ticked = ticked = self.ticked + items
        if ticked >= self._limit:
            await self._check_in()

    async def _check_in(self, *, waits: bool = True) -> int:
        """Save, stop, or wait for a quota, if that is due. Returns how many items may pass until the next call."""
        async with self._turn:
            self._was_woken = self._has_stopped = False
            self._limit, self._boundary.granted = ALWAYS, inf
            if self._is_total_old:
                self._note_total()
            try:
                items = await run_async(self._operation.check_in(waits=waits))
            except STOPS as error:
                self._cut_off(error)
                raise
            self._limit, self._boundary.granted = self.ticked + items, self._count() - items
            if self._was_woken:
                self._limit, self._boundary.granted = ALWAYS, inf
            return items

    async def save(self, reason: str = "Requested") -> None:
        """Save now. Returns once the save is stored. See :meth:`Checkpoint.save`.

        Example:
            >>> await cp.save("Before the risky part")
        """
        async with self._turn:
            await run_async(self._operation.save(reason))

    @explained_later
    def remaining(
        self,
        items: AsyncIterable[T] | Iterable[T],
        key: KeyOf = None,
        *,
        name: str | None = None,
        fingerprint: Fingerprint = "sampled",
        limit: int | None = None,
        retry_failed: bool = False,
    ) -> AsyncRemaining[T]:
        """The *items* that are not done yet, for one ``async for`` in one task. See :meth:`Checkpoint.remaining`.

        Tasks share items through :meth:`amap`. Take no items ahead of the work, as a batching or prefetching iterator
        would: they would count as done too early. Make batches first, and loop over the remaining batches.

        Example:
            >>> async for number in cp.remaining(range(5)):
            ...     cp.state["sum"] = cp.state.get("sum", 0) + number
        """
        is_plain = key is None and limit is None and not retry_failed and fingerprint == "sampled"
        if self._again is not None and is_plain and type(items) in SEEKABLE:
            small = self._again(self, items, None, name, is_async=True)
            if small is not None:
                self._is_total_old = True
                return small  # type: ignore[no-any-return]
        items, failures = self._to_do(items), self._failures(retry_failed)
        from .._loops.remaining_async import remaining_async

        options: Any = {"key": key, "fingerprint": fingerprint, "limit": limit} | failures
        return self._begin(
            name, lambda name, saved: remaining_async(items, self._inner, name=name, saved=saved, **options)
        )

    @explained
    def pages(
        self,
        fetch: Callable[[Any], Any],
        start: Any = None,
        key: KeyOf = None,
        name: str | None = None,
        *,
        items: ItemsOf = None,
        changed: Changed = "raise",
    ) -> AsyncRemaining[Any]:
        """The items of all pages of a server that are not done yet, for one ``async for`` in one task.

        *fetch* is an async function, and so may *items* be. See :meth:`Checkpoint.pages`.

        Example:
            >>> async def fetch(cursor):
            ...     return ["a", "b"], None
            >>> [item async for item in cp.pages(fetch)]
            ['a', 'b']
        """
        from .._loops.pages import pages_async

        if self._operation.is_done:
            return self.remaining(())
        options: Any = {"start": start, "key": key, "items": items, "changed": changed}
        return self._begin(name, lambda name, saved: pages_async(fetch, self._inner, name=name, saved=saved, **options))

    async def once(self, key: str | int, fn: Callable[[], Awaitable[R]], *, unknown: Unknown = "raise") -> R:
        """Await ``fn()`` for an effect that must not happen twice. Returns its result; later calls return it again.

        If a task is cancelled inside *fn*, nobody knows whether the effect has happened. A function for *unknown* may
        be async. See :meth:`Checkpoint.once`.

        Example:
            >>> async def send():
            ...     return {"sent": True}
            >>> await cp.once("mail", send)
            {'sent': True}
        """
        return cast("R", await exchange_async(self._once(key, fn, unknown, asyncio.Lock)))

    @explained
    def amap(
        self,
        fn: Callable[[T], Awaitable[R]],
        items: AsyncIterable[T] | Iterable[T],
        *,
        key: KeyOf = None,
        max_in_flight: int = 64,
        retry: tenacity.BaseRetrying | None = None,
        on_error: OnError = "raise",
        max_failed: float | None = None,
        retry_failed: bool = False,
        grace: float = 20.0,
        name: str | None = None,
    ) -> AsyncGenerator[tuple[T, R], None]:
        """Call ``await fn(item)`` for each of *items* that is not done, in tasks. See :meth:`Checkpoint.map`.

        The first error that is raised cancels the other tasks, after the loop's body got what has ended by then. So
        does leaving the loop, once the generator is closed. A *retry* sleeps in the event loop; meanwhile, what is done
        is saved, between two runs of the loop's body.

        Example:
            >>> async def double(number):
            ...     return number * 2
            >>> async def main():
            ...     async with checkpointed("doubles") as cp:
            ...         return sorted([pair async for pair in cp.amap(double, range(3), max_in_flight=2)])
            >>> asyncio.run(main())
            [(0, 0), (1, 2), (2, 4)]
        """
        from .._loops.map.results import MapSettings
        from .._loops.map.tasks import start_async

        settings = MapSettings(
            max_in_flight=max_in_flight, retry=retry, on_error=on_error, max_failed=max_failed, grace=grace
        )
        loop = self._begin_map(items, name, key=key, retry_failed=retry_failed)
        return start_async(self._inner, loop, fn, settings)

    @overload
    async def sink(
        self,
        path: str | os.PathLike[str],
        mode: Literal["t"] = ...,
        *,
        existing: Existing = ...,
        header: str | None = ...,
    ) -> Sink[str]: ...
    @overload
    async def sink(
        self,
        path: str | os.PathLike[str],
        mode: Literal["b"],
        *,
        existing: Existing = ...,
        header: bytes | None = ...,
    ) -> Sink[bytes]: ...
    async def sink(
        self,
        path: str | os.PathLike[str],
        mode: Literal["t", "b"] = "t",
        *,
        existing: Existing = "append",
        header: str | bytes | None = None,
    ) -> Sink[Any]:
        """An output file that goes with the checkpoint. See :meth:`Checkpoint.sink`.

        Example:
            >>> rows = await cp.sink("rows.csv", header="number,square\\n")
            >>> print("3,9", file=rows)
        """
        async with self._turn:
            sink = await run_async(self._operation.open_sink(path, mode, existing, header))
        self._note_sink(sink, existing)
        return sink

    async def artifact(self, name: str) -> AsyncArtifact:
        """A file or directory that belongs to the checkpoint. See :meth:`Checkpoint.artifact`.

        Example:
            >>> model = await cp.artifact("model")
            >>> model.exists
            False
        """
        from .._engine.artifacts import workshop
        from .artifact import AsyncArtifact

        async with self._turn:
            shop = workshop(self._operation)
            await run_async(shop.open(name))
        return AsyncArtifact(shop, name)

    def retrying(self, *, reset_on_progress: bool = True, **policy: Any) -> tenacity.AsyncRetrying:
        """``tenacity.AsyncRetrying(**policy)`` that saves before each sleep. See :meth:`Checkpoint.retrying`.

        Example:
            >>> async for attempt in cp.retrying(stop=tenacity.stop_after_attempt(3), reraise=True):
            ...     with attempt:
            ...         cp.state["answer"] = 42
        """
        import tenacity

        return cast("tenacity.AsyncRetrying", self._retrying(tenacity.AsyncRetrying, policy, reset_on_progress))

    # -- waits before a request

    async def wait_if_exhausted(self) -> None:
        """Wait here while a quota is used up. See :meth:`Checkpoint.wait_if_exhausted`.

        Other tasks go on meanwhile.

        Example:
            >>> await cp.wait_if_exhausted()
        """
        await self._sleep_through(self._wait_for())

    async def wait_for(self, host: str = "", *, account: str = "", resource: str = "") -> None:
        """Announce the next request, and wait only if its quota is used up. See :meth:`Checkpoint.wait_for`.

        Example:
            >>> await cp.wait_for("https://api.github.com/", account="A")
        """
        await self._sleep_through(self._wait_for(host, account, resource))

    async def ready_account(self, host: str, accounts: Iterable[str] = ()) -> str:
        """The account of *host* with the most left of its quota. See :meth:`Checkpoint.ready_account`.

        Example:
            >>> await cp.ready_account("api.github.com", ["A", "B"])
            'A'
        """
        wait = self._wait_for(host, accounts=accounts)
        await self._sleep_through(wait)
        return wait.ready_account()

    async def _sleep_through(self, wait: Wait) -> None:
        """Sleep without the lock, so that other tasks tick meanwhile."""
        try:
            while True:
                async with self._turn:
                    seconds = await run_async(wait.nap())
                if not seconds:
                    return
                await wait.clock.sleep_async(seconds)
        finally:
            wait.over()

    def _wake(self) -> None:
        super()._wake()
        if self._is_to_stop():
            with contextlib.suppress(RuntimeError):  # the event loop has ended
                self._event_loop.call_soon_threadsafe(self._event_loop.call_later, _CANCEL_SECONDS, self._cancel)

    def _is_to_stop(self) -> bool:
        return signals.wish.number is not None or self._operation.is_asked_to_stop

    def _cancel(self) -> None:
        """End the wait of an item that has not noticed the stop."""
        if self._task is None or not self._is_to_stop() or self._operation.is_ending:
            return
        from .._engine.stops import seconds_of_grace

        seconds = seconds_of_grace(self._operation)
        if seconds > 0:
            self._event_loop.call_later(seconds + _CANCEL_SECONDS, self._cancel)
        else:
            self._was_cancelled = self._task.cancel("resumable: asked to stop")

    def _seen(self, error: BaseException | None) -> BaseException | None:
        """The stop, if *error* is the cancellation that stands for it; else *error*."""
        if not isinstance(error, asyncio.CancelledError):
            return error
        if signals.has_stopped_asyncio():
            return KeyboardInterrupt().with_traceback(error.__traceback__)
        if self._task is None:
            return error
        if self._was_cancelled:
            self._task.uncancel()
            number = signals.take()
            stop = signals.requested_stop() if number is None else signals.error_for(number)
            return stop.with_traceback(error.__traceback__)
        # A stop in another task, or a second Ctrl-C, has ended the event loop, which then cancels all tasks.
        number = signals.wish.raised
        if number is None and self._operation is not None:
            number = self._operation.acted_on
        return error if number is None else signals.error_for(number)


class InnerAsyncCheckpoint(Inner[S], AsyncCheckpoint[S]):
    """The checkpoint of an async block."""

    is_async = True

    async def check_in(self, *, waits: bool = True) -> int:
        """For loops: save, stop, or wait for a quota, if that is due. See :meth:`InnerCheckpoint.check_in`."""
        asked = self._asked_in_call() if waits else None
        items = await self._check_in(waits=waits and asked is None)
        if asked is not None:
            await self._sleep_through(self._wait_in_call(asked))
        return items

    def take_cancellation(self) -> bool:
        """For amap: whether this task was cancelled only for a stop; if so, the cancellation is withdrawn."""
        if not self._was_cancelled or self._task is None or self._task is not asyncio.current_task():
            return False
        self._was_cancelled = False
        self._task.uncancel()
        return True

    def save_before_sleep(self, retry_state: tenacity.RetryCallState) -> None:
        """For the user's own retries: begin a save, which goes on during the sleep. A failure is logged and noted."""
        from .._retry import reason, save_async

        if threading.get_ident() != self._opened_by:
            self._operation.ask_for_save(reason(retry_state))
            return
        saving = self._event_loop.create_task(save_async(self, retry_state, reason(retry_state)))
        self._saving.add(saving)
        saving.add_done_callback(self._saving.discard)

    async def enter_block(self) -> None:
        """For ``checkpointed``: claim the operation and restore it. If this raises, nothing is owned or written."""
        try:
            with opening_from_here():
                await run_async(self._opened())
        except BaseException as error:
            stop = self._seen(error) or error
            # A cancellation is raised once everything is open, because nobody would close it.
            if self._operation is not None:
                for each in self._operation.observers:
                    each.closing(self._operation, stop)
                self._operation.release()
            if isinstance(stop, KeyboardInterrupt):
                show_users_frames_only()
                raise stop from None
            raise

    async def leave_block(self, error: BaseException | None) -> None:
        """For ``checkpointed``: finish, or save what is there after *error*; then release the operation."""
        cancellations: list[asyncio.CancelledError] = []
        cause, error = error, self._seen(error)
        is_stop = error is not None and error is not cause and (self._was_cancelled or signals.has_stopped_asyncio())
        try:
            if self._operation.is_owner():
                self._operation.is_ending = True
                await acquire(self._turn, cancellations)  # a task may be inside a tick
                try:
                    await run_async(self._operation.close(error))
                finally:
                    self._turn.release()
        except STOPS as failure:
            error, self._has_stopped = failure, True
            raise
        finally:
            self._operation.release()
            self._tell_outer(error)
        if cancellations:
            raise cancellations[0]
        if error is not None and is_stop:
            raise error from None


InnerAsyncCheckpoint.__name__ = InnerAsyncCheckpoint.__qualname__ = "AsyncCheckpoint"  # as Python shows it
