"""``AsyncCheckpoint``: what ``async with checkpointed(...) as cp`` gives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import tenacity

from .._runtime.steps import run_async, to_its_end
from .checkpoint import ALWAYS, BaseCheckpoint, KeyOf, R, S, T

if TYPE_CHECKING:
    from .._durable import Sink
    from .._durable.sink_file import Existing
    from .._engine.options import Options
    from .._loops.by_position import Fingerprint
    from .._loops.map.results import OnError
    from .._loops.remaining import AsyncRemaining


class AsyncCheckpoint(BaseCheckpoint[S]):
    """One operation's state, for as long as the ``async with`` block runs. Await every call that may write."""

    _is_async = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._turn = asyncio.Lock()

    async def tick(self, items: int = 1) -> None:
        """*items* are done: save, if one is due. See :meth:`Checkpoint.tick`.

        Raises:
            asyncio.CancelledError: The task was cancelled meanwhile. The save is complete; cancelling waited for it.
        """
        self.ticked = ticked = self.ticked + items
        if ticked >= self._limit:
            await self.check_in()

    async def check_in(self) -> int:
        """For loops: save or stop, if that is due. Returns how many items may pass before the next call."""
        async with self._turn:
            self._was_woken = False
            self._limit = ALWAYS
            return self._rearm(await run_async(self._operation.check_in()))

    async def save(self, reason: str = "Requested") -> None:
        """Save now; returns once the save is safely stored. See :meth:`Checkpoint.save`."""
        async with self._turn:
            await run_async(self._operation.save(reason))

    def remaining(
        self,
        items: AsyncIterable[T] | Iterable[T],
        key: KeyOf = None,
        *,
        name: str | None = None,
        fingerprint: Fingerprint = "sampled",
    ) -> AsyncRemaining[T]:
        """The *items* that are not done yet, for one ``async for`` in one task. See :meth:`Checkpoint.remaining`.

        Tasks that share items get them by :meth:`amap`. Take no items ahead of the work, as a batching or prefetching
        iterator would: they count as done before they are. Make batches first, and loop over those that remain.
        """
        from .._loops.remaining import remaining_async

        options: Any = {"key": key, "fingerprint": fingerprint}
        return self._begin(name, lambda name, saved: remaining_async(items, self, name=name, saved=saved, **options))

    def amap(
        self,
        fn: Callable[[T], Awaitable[R]],
        items: AsyncIterable[T] | Iterable[T],
        *,
        key: KeyOf = None,
        max_in_flight: int = 64,
        retry: tenacity.BaseRetrying | None = None,
        on_error: OnError = "raise",
        retry_failed: bool = False,
        name: str | None = None,
    ) -> AsyncGenerator[tuple[T, R], None]:
        """Call ``await fn(item)`` for each of *items* that is not done, in tasks. See :meth:`Checkpoint.map`.

        The first error that is raised cancels the other tasks. So does leaving the loop, once the generator is closed.
        A *retry* sleeps in the event loop; what is done is saved meanwhile, as soon as no body is half-way.
        """
        from .._loops.map.results import MapSettings
        from .._loops.map.tasks import start_async

        settings = MapSettings(max_in_flight=max_in_flight, retry=retry, on_error=on_error)
        loop = self._begin_map(items, name, key=key, retry_failed=retry_failed)
        return start_async(self, loop, fn, settings)

    @overload
    async def sink(
        self, path: str | os.PathLike[str], mode: Literal["t"] = ..., *, existing: Existing = ...
    ) -> Sink[str]: ...
    @overload
    async def sink(
        self, path: str | os.PathLike[str], mode: Literal["b"], *, existing: Existing = ...
    ) -> Sink[bytes]: ...
    async def sink(
        self, path: str | os.PathLike[str], mode: Literal["t", "b"] = "t", *, existing: Existing = "append"
    ) -> Sink[Any]:
        """An output file that goes with the checkpoint. See :meth:`Checkpoint.sink`."""
        async with self._turn:
            return await run_async(self._operation.open_sink(path, mode, existing))

    def retrying(self, *, reset_on_progress: bool = True, **policy: Any) -> tenacity.AsyncRetrying:
        """``tenacity.AsyncRetrying(**policy)`` that saves before each sleep. See :meth:`Checkpoint.retrying`."""
        return cast("tenacity.AsyncRetrying", self._retrying(tenacity.AsyncRetrying, policy, reset_on_progress))

    async def enter_block(self) -> None:
        """For ``checkpointed``: own the operation and restore it. If this raises, nothing is owned or written."""
        try:
            await run_async(self._opened())
        except BaseException:
            # A cancellation is raised once all is open; nobody would close it.
            if self._operation is not None:
                self._operation.release()
            raise

    async def leave_block(self, error: BaseException | None) -> None:
        """For ``checkpointed``: finish, or save what *error* leaves; then let go of the operation."""
        cancellations: list[asyncio.CancelledError] = []
        try:
            if self._operation.is_owner():
                self._operation.is_ending = True
                await to_its_end(self._turn.acquire(), cancellations)  # a task may be within a tick
                try:
                    await run_async(self._operation.close(error))
                finally:
                    self._turn.release()
        finally:
            self._operation.release()
        if cancellations:
            raise cancellations[0]
