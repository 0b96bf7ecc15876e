"""Many at a time under asyncio: a bounded number of tasks; what ends is taken as it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import CancelledError
from types import CoroutineType
from typing import Any, Protocol, TypeVar

import tenacity

from ..._retry import chain_async
from .calls import settings_of
from .map_loop import Done, Key
from .results import PLAIN, Landing, Owner, Settings

T = TypeVar("T")
R = TypeVar("R")
Entry = tuple[Key, Any]


class AsyncMapOwner(Owner, Protocol):
    """What a map asks of its checkpoint."""

    async def check_in_async(self) -> int: ...


def with_retry(
    fn: Callable[[T], Awaitable[R]], policy: tenacity.BaseRetrying | None, before_sleep: Callable[[Any], None]
) -> Callable[[T], Awaitable[R]]:
    """*fn*, tried again as *policy* says. Each call has a policy of its own: a shared one mixes tasks up."""
    if policy is None:
        return fn
    settings: dict[str, Any] = dict(settings_of(policy) or {})
    settings["before_sleep"] = chain_async(before_sleep, settings["before_sleep"])
    if not isinstance(policy, tenacity.AsyncRetrying):
        del settings["sleep"]  # it would block the loop

    async def retried(item: T) -> R:
        result: R = await tenacity.AsyncRetrying(**settings)(fn, item)
        return result

    return retried


def start_async(
    owner: AsyncMapOwner, loop: Done[T], fn: Callable[[T], Awaitable[R]], settings: Settings
) -> AsyncGenerator[tuple[T, R], None]:
    """The results of ``amap``; nothing runs before the first is asked for.

    Raises:
        TypeError: *fn* cannot be called.
    """
    if not callable(fn):
        raise TypeError(f"amap() needs an async function, not {fn!r:.80}")
    return AsyncCoordinator(loop, owner, settings, fn).results()


class AsyncCoordinator(Landing):
    """At most ``max_in_flight`` tasks are out, the one whose result the body sees included."""

    def __init__(self, loop: Done[Any], owner: AsyncMapOwner, settings: Settings, fn: Callable[[Any], Any]) -> None:
        super().__init__(loop, owner, settings)
        self._checking = owner
        self._fn = with_retry(fn, settings.retry, self.ask_for_save)
        self._sync: Any = loop.to_do() if isinstance(loop._items, Iterable) else None
        self._async: AsyncIterator[Entry] | None = loop.to_do_async() if self._sync is None else None
        self._held: Entry | None = None
        self._is_out = False
        self._is_steady = False
        self._flying: dict[asyncio.Task[Any], Entry] = {}
        self._landed: deque[asyncio.Task[Any]] = deque()
        self._something = asyncio.Event()

    async def results(self) -> AsyncGenerator[tuple[Any, Any], None]:
        """Each item with its result, as they end."""
        loop, flying, landed = self.loop, self._flying, self._landed
        home = asyncio.get_running_loop()
        self._create_task, self._land_it = home.create_task, self._land
        loop.on_wake = lambda: _call_soon(home, self._something.set)
        loop.begin()
        try:
            await self._check_in_if_due()
            while True:
                if not self._is_steady:
                    await self._fill()
                    if not flying:
                        break
                if not landed:
                    await self._until_something()
                task = landed.popleft()
                key, item = flying[task]
                try:
                    result = task.result()
                except (Exception, asyncio.CancelledError) as error:
                    for pair in self.give_up(key, item, _of_the_call(error)):
                        yield pair
                else:
                    if type(result) not in PLAIN and hasattr(result, "headers"):
                        self.owner.observe(result)
                    loop.at(key)
                    yield item, result
                    loop.finish(key)
                del flying[task]
                self._left -= 1
                if self._left <= 0 or not loop._flags:
                    await self._check_in()
                if self._is_steady:
                    self._launch_next()
            loop.end()
        finally:
            loop.on_wake = lambda: None
            self.owner.has_quota(0)
            await self._cancel()

    async def _until_something(self) -> None:
        while not self._landed:
            self._something.clear()
            await self._something.wait()
            await self._check_in_if_due()

    async def _check_in_if_due(self) -> None:
        if self._left <= 0 or self.loop.was_woken:
            await self._check_in()

    async def _check_in(self) -> None:
        self.loop.rearm()
        if self._reason is not None:
            asked, self._reason = self._reason, None
            try:
                await self.owner.save(asked)
            except Exception as failure:
                self.note_unsaved(failure)
        self._left = max(1, await self._checking.check_in_async())
        self._is_steady = False

    async def _fill(self) -> None:
        flying = self._flying
        while not self._is_out and len(flying) < self.settings.max_in_flight:
            entry = self._held or await self._next()
            if entry is None:
                self._is_out = True
                self.owner.has_quota(None)
                return
            if not self.owner.has_quota(len(flying)):
                self._held = entry
                if flying:  # it may use up the rest
                    return
                await self._check_in()  # waits
            self._held = None
            self._launch(entry)
        self._is_steady = self._sync is not None and not self._is_out and not self._checking.is_metered

    def _launch_next(self) -> None:
        """One has landed, one is handed out: the way of nearly all items."""
        entry = next(self._sync, None)
        if entry is not None:
            self._launch(entry)
        else:
            self._is_steady = False

    def _launch(self, entry: Entry) -> None:
        call = self._fn(entry[1])
        task = self._create_task(call) if type(call) is CoroutineType else asyncio.ensure_future(call)
        self._flying[task] = entry
        task.add_done_callback(self._land_it)

    async def _next(self) -> Entry | None:
        if self._sync is not None:
            return next(self._sync, None)
        assert self._async is not None
        return await anext(self._async, None)

    def _land(self, task: asyncio.Task[Any]) -> None:
        self._landed.append(task)
        if len(self._landed) == 1:
            self._something.set()

    async def _cancel(self) -> None:
        tasks = list(self._flying)
        for task in tasks:
            task.cancel()
        # Their errors are looked at, or asyncio would complain of them.
        await asyncio.gather(*tasks, return_exceptions=True)


def _of_the_call(error: BaseException) -> Exception:
    """What an item's call ended with. That the call was cancelled does not mean that whoever runs the loop is."""
    if isinstance(error, Exception):
        return error
    cancelled = CancelledError("the call was cancelled")
    cancelled.__cause__ = error
    return cancelled


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    # From a signal handler or an alarm's thread, maybe after the loop's end.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
