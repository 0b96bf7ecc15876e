"""The two shells around the core: ``Checkpoint`` for plain code, ``AsyncCheckpoint`` for ``async``."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import tenacity

from ._auto import auto
from ._clock import system_clock
from ._current import current_checkpoint_or_none
from ._items import AsyncRemaining, Remaining, remaining, remaining_async
from ._ledgers import Fingerprint
from ._manager import CheckpointManager, default_auto_cleanup
from ._options import Options
from ._quota import OnExhausted, check_policy
from ._retry import async_save_before_sleep, retrying, save_before_sleep
from ._shell import S, Shell, count_lock, has_gil
from ._sink import Existing, Sink
from ._steps import run, run_async
from ._strategies import SaveStrategy
from ._where import default_directory
from .stores import CheckpointStore, open_store
from .stores._names import check_operation_id

if TYPE_CHECKING:
    from ._bar import ProgressView
    from ._map import OnError

T = TypeVar("T")
R = TypeVar("R")
_MOST_ITEMS = 1 << 30
ShowProgress = bool | Callable[["ProgressView"], object]
Key = Callable[[Any], str | int] | str | None


class Checkpoint(Shell[S]):
    """One operation's state, for as long as the ``with`` block runs."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._lock = threading.RLock()

    def tick(self, items: int = 1) -> None:
        """*items* are done: save, if one is due.

        Costs next to nothing when none is. The first one checks that the state can be saved at all.

        Raises:
            StateEncodeError: JSON cannot hold the state; the last checkpoint stands.
            StoreError: The save failed; it does not count, and the next tick tries again.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; everything ticked is saved.
        """
        self._ticked = ticked = self._ticked + items
        if ticked >= self._limit:
            self.check_in()

    def check_in(self) -> int:
        """Save or stop, if that is due. For loops: returns how many items may pass."""
        with self._lock:
            self._was_woken = False
            self._limit = -1
            items = run(self._core.check_in())
            self._rearm(items)
        return int(max(1, min(items, _MOST_ITEMS)))

    def save(self, reason: str = "Requested") -> None:
        """Save now; returns once it is safely stored.

        Raises:
            StateEncodeError: JSON cannot hold the state; the last checkpoint stands.
            StoreError: The save failed; the last checkpoint stands.
        """
        with self._lock:
            run(self._core.save(reason))

    def remaining(
        self,
        items: Iterable[T],
        key: Key = None,
        *,
        name: str | None = None,
        fingerprint: Fingerprint = "sampled",
    ) -> Remaining[T]:
        """The *items* that are not done yet; each one ticks when the loop asks for the next.

        The item at which an exception or a ``break`` leaves the loop is not done.

        Args:
            items: Anything that can be iterated; by position, it must come in the same order each time.
            key: Gives an item's identity, a str or int, or names the field that holds it. With it, the order may
                change, and items may be added or removed, between runs.
            name: Tells several loops apart; by default their order does.
            fingerprint: How closely to look whether the input is the same: a few items, ``"full"`` all, None none.

        Raises:
            InputChangedError: The items that are done are not the ones that were.
        """
        loop = self._core.loops.begin(
            name, lambda name, saved: remaining(items, self, name=name, key=key, saved=saved, fingerprint=fingerprint)
        )
        self._note_total(loop)
        assert isinstance(loop, Remaining)
        return loop

    def map(
        self,
        fn: Callable[[T], R],
        items: Iterable[T],
        *,
        executor: Any = None,
        key: Key = None,
        max_in_flight: int = 64,
        batch: int = 1,
        retry: tenacity.BaseRetrying | None = None,
        on_error: OnError = "raise",
        max_crashes: int = 2,
        retry_failed: bool = False,
        name: str | None = None,
    ) -> Generator[tuple[T, R], None, None]:
        """``fn(item)`` for each of *items* that is not done, many at a time: ``(item, result)`` as they end.

        An item is done when the body of the loop has returned for it: what the body put into the state, and that the
        item is done, are in one save. After a kill only what was in flight, or not saved yet, is done again.

        Args:
            executor: What has ``submit()`` like ``concurrent.futures``: threads, processes, loky, mpi4py; a
                ``distributed.Client``; the module ``ray``. Or a factory of one of these, such as
                ``lambda: ProcessPoolExecutor(8)``: it is replaced when its workers die, and shut down at the end.
                None calls *fn* in this thread, one item after the other.
            key: As in :meth:`remaining`. Without it the position counts.
            max_in_flight: How many tasks are out at most. With *batch* items in each, that many times as many items.
            batch: How many items a task takes; for items that are done faster than a task is handed out.
            retry: A tenacity policy for each item, applied by its worker. It saves nothing: what is under way is not
                in the checkpoint. The last error itself is raised, no ``RetryError``.
            on_error: What follows when an item has failed for good. ``"raise"``: raise its error, and do no more;
                the next run tries it again. ``"skip"``: note it in :attr:`failed`, go on. ``"collect"``: the same,
                and give out ``(item, error)``.
            max_crashes: An item that was alone in flight when its worker died, so many times, is noted in
                :attr:`failed`, whatever *on_error* says.
            retry_failed: Try the items of :attr:`failed` again; else they are left out.
            name: Tells several loops apart; by default their order does.

        Raises:
            InputChangedError: The items that are done are not the ones that were.
            BrokenExecutor: Workers died, and no factory was given to go on with; what was done is saved.
        """
        from ._map import Settings, start

        settings = Settings(
            max_in_flight=max_in_flight, batch=batch, retry=retry, on_error=on_error, max_crashes=max_crashes
        )
        return start(self, self._done_loop(items, key, name, retry_failed), fn, executor, settings)

    @overload
    def sink(
        self, path: str | os.PathLike[str], mode: Literal["t"] = ..., *, existing: Existing = ...
    ) -> Sink[str]: ...
    @overload
    def sink(self, path: str | os.PathLike[str], mode: Literal["b"], *, existing: Existing = ...) -> Sink[bytes]: ...
    def sink(
        self, path: str | os.PathLike[str], mode: Literal["t", "b"] = "t", *, existing: Existing = "append"
    ) -> Sink[Any]:
        """An output file that goes with the checkpoint: after a resume it holds each row that counts, once.

        Args:
            mode: ``"t"`` takes str, written as UTF-8; ``"b"`` takes bytes.
            existing: What to do with a file that is there when the operation is new: write after its end,
                ``"replace"`` it, or ``"refuse"``.

        Raises:
            InputChangedError: The file is not the one that the checkpoint knows; it was not touched.
            StoreError: It cannot be opened.
        """
        with self._lock:
            return run(self._core.open_sink(path, mode, existing))

    def retrying(self, *, reset_on_progress: bool = True, **policy: Any) -> tenacity.Retrying:
        """``tenacity.Retrying(**policy)`` that saves before each sleep; a ``before_sleep`` of its own runs after that.

        ``for attempt in cp.retrying(stop=..., wait=...): with attempt: ...``, or call it with a function.

        Args:
            reset_on_progress: Whether attempts begin anew when the loop has ticked since the failure before.
        """
        retry: tenacity.Retrying = retrying(self, tenacity.Retrying(**policy), reset_on_progress=reset_on_progress)
        return retry

    @property
    def before_sleep(self) -> Callable[[tenacity.RetryCallState], None]:
        """For a policy of your own: ``@retry(before_sleep=cp.before_sleep)`` saves before each sleep."""
        return save_before_sleep(self)

    def _open(self) -> None:
        run(self._core.open(self))

    def _close(self, error: BaseException | None) -> None:
        try:
            if self._core.is_owner():
                run(self._core.finish() if error is None else self._core.interrupt(error))
        finally:
            self._core.release()


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
            await self.check_in_async()

    async def check_in_async(self) -> int:
        """Save or stop, if that is due. For loops: returns how many items may pass."""
        async with self._turn:
            self._was_woken = False
            self._limit = -1
            items = await run_async(self._core.check_in())
            self._rearm(items)
        return int(max(1, min(items, _MOST_ITEMS)))

    async def save(self, reason: str = "Requested") -> None:
        """Save now; returns once it is safely stored. See :meth:`Checkpoint.save`."""
        async with self._turn:
            await run_async(self._core.save(reason))

    def remaining(
        self,
        items: AsyncIterable[T] | Iterable[T],
        key: Key = None,
        *,
        name: str | None = None,
        fingerprint: Fingerprint = "sampled",
    ) -> AsyncRemaining[T]:
        """The *items* that are not done yet, for ``async for``. See :meth:`Checkpoint.remaining`."""
        loop = self._core.loops.begin(
            name,
            lambda name, saved: remaining_async(items, self, name=name, key=key, saved=saved, fingerprint=fingerprint),
        )
        self._note_total(loop)
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
            retry: A tenacity policy for each item; its sleeps are the event loop's.
        """
        from ._amap import start_async
        from ._map import Settings

        settings = Settings(max_in_flight=max_in_flight, retry=retry, on_error=on_error)
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
            return await run_async(self._core.open_sink(path, mode, existing))

    def retrying(self, *, reset_on_progress: bool = True, **policy: Any) -> tenacity.AsyncRetrying:
        """``tenacity.AsyncRetrying(**policy)`` that saves before each sleep. See :meth:`Checkpoint.retrying`."""
        policy_ = tenacity.AsyncRetrying(**policy)
        retry: tenacity.AsyncRetrying = retrying(self, policy_, reset_on_progress=reset_on_progress, is_async=True)
        return retry

    @property
    def before_sleep(self) -> Callable[[tenacity.RetryCallState], Awaitable[None]]:
        """For a policy of your own: ``@retry(before_sleep=cp.before_sleep)`` saves before each sleep."""
        return async_save_before_sleep(self)

    async def _open(self) -> None:
        try:
            await run_async(self._core.open(self))
        except BaseException:
            # A cancellation is raised once all is open; nobody would close it.
            self._core.release()
            raise

    async def _close(self, error: BaseException | None) -> None:
        try:
            if self._core.is_owner():
                async with self._turn:
                    await run_async(self._core.finish() if error is None else self._core.interrupt(error))
        finally:
            self._core.release()


if not has_gil():

    def _tick(self: Checkpoint[Any], items: int = 1) -> None:
        with count_lock:
            self._ticked = ticked = self._ticked + items
        if ticked >= self._limit:
            self.check_in()

    _tick.__doc__ = Checkpoint.tick.__doc__
    Checkpoint.tick = _tick  # type: ignore[method-assign]


class checkpointed(
    AbstractContextManager[Checkpoint[S]], AbstractAsyncContextManager[AsyncCheckpoint[S]], Generic[S]
):
    """Restore an operation's state, save it as the loop goes, and remove it at a clean exit.

    ``with`` gives a :class:`Checkpoint`, ``async with`` an :class:`AsyncCheckpoint`. A clean exit finalizes; an
    exception saves first and goes on untouched; a loop over ``remaining`` that is left by ``break`` keeps the
    checkpoint.

    Args:
        operation_id: Names the operation; any text, the same in every run.
        strategy: When to save; by default as often as costs at most 1% of the time.
        store: A directory, a URL or a store; else ``$CHECKPOINT_DIR``, else the current directory.
        manager: Takes the strategy, the store and the rest from this manager.
        resume: False starts over; the old checkpoint stands until the first save.
        total: How many items there are, where the loop cannot tell.
        state: The type of ``cp.state``: a dataclass, ``msgspec.Struct`` or pydantic model that can be made
            without arguments. A dict by default.
        auto_cleanup: Whether a clean exit removes the checkpoint; else ``$CHECKPOINT_AUTO_CLEANUP``, else True.
        arguments: Plain JSON that must be the same when the operation is resumed.
        on_exhausted: What to do when the API's quota, as :meth:`Checkpoint.observe` knows it, is used up: save and
            ``"wait"`` until it is fresh, save and ``"raise"`` RateLimitExhausted, or what a callable answers.
        progress: True shows a bar on stderr (rich where it is installed, else tqdm, else a plain line), or a line every
            30 seconds where nobody watches; a callable gets a :class:`ProgressView` several times a second.

    Raises:
        CheckpointBusyError: On entry: another process works on this operation.
        CheckpointCorruptError: On entry: what is stored cannot be used; nothing was changed.
        InputChangedError: On entry: the checkpoint was made with other arguments, or another state type.
    """

    @overload
    def __init__(
        self: checkpointed[dict[str, Any]],
        operation_id: str,
        strategy: SaveStrategy | None = ...,
        *,
        store: str | os.PathLike[str] | CheckpointStore | None = ...,
        manager: CheckpointManager | None = ...,
        resume: bool = ...,
        total: int | None = ...,
        state: None = ...,
        auto_cleanup: bool | None = ...,
        arguments: Mapping[str, Any] | None = ...,
        on_exhausted: OnExhausted = ...,
        progress: ShowProgress = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        operation_id: str,
        strategy: SaveStrategy | None = ...,
        *,
        store: str | os.PathLike[str] | CheckpointStore | None = ...,
        manager: CheckpointManager | None = ...,
        resume: bool = ...,
        total: int | None = ...,
        state: type[S],
        auto_cleanup: bool | None = ...,
        arguments: Mapping[str, Any] | None = ...,
        on_exhausted: OnExhausted = ...,
        progress: ShowProgress = ...,
    ) -> None: ...
    def __init__(
        self,
        operation_id: str,
        strategy: SaveStrategy | None = None,
        *,
        store: str | os.PathLike[str] | CheckpointStore | None = None,
        manager: CheckpointManager | None = None,
        resume: bool = True,
        total: int | None = None,
        state: type[Any] | None = None,
        auto_cleanup: bool | None = None,
        arguments: Mapping[str, Any] | None = None,
        on_exhausted: OnExhausted = "wait",
        progress: ShowProgress = False,
    ) -> None:
        check_operation_id(operation_id)
        check_policy(on_exhausted)
        if manager is not None and store is not None:
            raise ValueError("give manager or store, not both")
        if manager is None:
            where = open_store(store if store is not None else default_directory())
            fallback: SaveStrategy = auto()
            cleanup = default_auto_cleanup() if auto_cleanup is None else auto_cleanup
        else:
            where, fallback = manager.store, manager.save_strategy
            cleanup = manager.auto_cleanup if auto_cleanup is None else auto_cleanup
        self._options = Options(
            operation_id=operation_id,
            strategy=strategy if strategy is not None else fallback,
            store=where,
            auto_cleanup=cleanup,
            resume=resume,
            total=total,
            state_type=state,
            arguments=arguments,
            on_exhausted=on_exhausted,
            progress=progress,
            clock=manager.clock if manager is not None else system_clock,
        )
        self._open: list[Checkpoint[S] | AsyncCheckpoint[S]] = []

    def __enter__(self) -> Checkpoint[S]:
        checkpoint: Checkpoint[S] = Checkpoint(self._options)
        checkpoint._open()
        self._open.append(checkpoint)
        return checkpoint

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        checkpoint = self._open.pop()
        assert isinstance(checkpoint, Checkpoint)
        checkpoint._close(error)
        return False

    async def __aenter__(self) -> AsyncCheckpoint[S]:
        checkpoint: AsyncCheckpoint[S] = AsyncCheckpoint(self._options)
        await checkpoint._open()
        self._open.append(checkpoint)
        return checkpoint

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        checkpoint = self._open.pop()
        assert isinstance(checkpoint, AsyncCheckpoint)
        await checkpoint._close(error)
        return False


def current_checkpoint() -> Any:
    """The innermost checkpoint that is open here: in this thread or task, or one that it was started from.

    Raises:
        RuntimeError: Outside of any.
    """
    checkpoint = current_checkpoint_or_none()
    if checkpoint is None:
        raise RuntimeError("no checkpoint is open here; use @resumable or `with checkpointed(...)`")
    return checkpoint
