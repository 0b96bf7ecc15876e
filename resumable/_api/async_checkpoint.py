"""``AsyncCheckpoint``: the shell around the core for ``async`` code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import tenacity

from .._runtime.steps import run_async, to_its_end
from .checkpoint import Key, S, Shell

if TYPE_CHECKING:
    from .._durable.sink import Sink
    from .._durable.sink_file import Existing
    from .._engine.options import Options
    from .._loops.by_position import Fingerprint
    from .._loops.map.results import OnError
    from .._loops.remaining import AsyncRemaining

T = TypeVar("T")
R = TypeVar("R")
_MOST_ITEMS = 1 << 30


class AsyncCheckpoint(Shell[S]):
    """The same under asyncio: what may write is awaited, and written in a thread."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._turn = asyncio.Lock()

    async def tick(self, items: int = 1) -> None:
        """*items* are done: save, if one is due. See :meth:`Checkpoint.tick`.

        Raises:
            asyncio.CancelledError: The task was cancelled meanwhile; the save was brought to its end first.
        """
        self._ticked = ticked = self._ticked + items
        if ticked >= self._limit:
            await self.check_in()

    async def check_in(self) -> int:
        """Save or stop, if that is due. For loops: returns how many items may pass."""
        async with self._turn:
            self._was_woken = False
            self._limit = -1
            items = await run_async(self._operation.check_in())
            self._rearm(items)
        return int(max(1, min(items, _MOST_ITEMS)))

    async def save(self, reason: str = "Requested") -> None:
        """Save now; returns once it is safely stored. See :meth:`Checkpoint.save`."""
        async with self._turn:
            await run_async(self._operation.save(reason))

    def remaining(
        self,
        items: AsyncIterable[T] | Iterable[T],
        key: Key = None,
        *,
        name: str | None = None,
        fingerprint: Fingerprint = "sampled",
    ) -> AsyncRemaining[T]:
        """The *items* that are not done yet, for one ``async for`` in one task. See :meth:`Checkpoint.remaining`.

        Tasks that share items get them by :meth:`amap`. Take no items ahead of the work, as a batching or prefetching
        iterator would: they count as done before they are. Make batches first, and loop over what remains of those.
        """
        from .._loops.remaining import AsyncRemaining, remaining_async

        loop = self._operation.parts.loops.begin(
            name,
            lambda name, saved: remaining_async(items, self, name=name, key=key, saved=saved, fingerprint=fingerprint),
        )
        self._note_total()
        assert isinstance(loop, AsyncRemaining)
        return loop

    def amap(
        self,
        fn: Callable[[T], Awaitable[R]],
        items: AsyncIterable[T] | Iterable[T],
        *,
        key: Key = None,
        max_in_flight: int = 64,
        retry: tenacity.BaseRetrying | None = None,
        on_error: OnError = "raise",
        retry_failed: bool = False,
        name: str | None = None,
    ) -> AsyncGenerator[tuple[T, R], None]:
        """``await fn(item)`` for each of *items* that is not done, in tasks. See :meth:`Checkpoint.map`.

        The first error that is raised cancels the other tasks; so does leaving the loop, when the generator is closed.

        Args:
            retry: A tenacity policy for each item; its sleeps are the event loop's. What is done is saved meanwhile, as
                soon as no body is half-way.
        """
        from .._loops.map.results import MapSettings
        from .._loops.map.tasks import start_async

        settings = MapSettings(max_in_flight=max_in_flight, retry=retry, on_error=on_error)
        return start_async(self, self._done_loop(items, key, name, retry_failed, is_async=True), fn, settings)

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
        from .._retry import retrying

        base = tenacity.AsyncRetrying(**policy) if policy else self._options.retry or tenacity.AsyncRetrying()
        retry: tenacity.AsyncRetrying = retrying(self, base, reset_on_progress=reset_on_progress, is_async=True)
        return retry

    @property
    def before_sleep(self) -> Callable[[tenacity.RetryCallState], Awaitable[None]]:
        """For a policy of your own: ``@retry(before_sleep=cp.before_sleep)`` saves before each sleep."""
        from .._retry import async_save_before_sleep

        return async_save_before_sleep(self)

    async def _open(self) -> None:
        try:
            await run_async(self._opened())
        except BaseException:
            # A cancellation is raised once all is open; nobody would close it.
            if self._operation is not None:
                self._operation.release()
            raise

    async def _close(self, error: BaseException | None) -> None:
        cancellations: list[asyncio.CancelledError] = []
        try:
            if self._operation.is_owner():
                self._operation.end_waits()
                await to_its_end(self._turn.acquire(), cancellations)  # a task may be within a tick
                try:
                    await run_async(self._operation.close(error))
                finally:
                    self._turn.release()
        finally:
            self._operation.release()
        if cancellations:
            raise cancellations[0]
