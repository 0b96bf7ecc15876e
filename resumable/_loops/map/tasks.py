"""Many at a time under asyncio: a bounded number of tasks; takes results as tasks end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import CancelledError
from contextvars import copy_context
from types import CoroutineType
from typing import Any, Protocol, TypeVar

import tenacity

from ..._retry import chain_async
from ..._runtime.boundary import working_for
from ..ledgers.by_position import ItemKey
from .calls import settings_of
from .map_loop import MapLoop
from .results import PLAIN, EndingHandler, MapOwner, MapSettings

T = TypeVar("T")
R = TypeVar("R")
Entry = tuple[ItemKey, Any]


def with_retry(
    fn: Callable[[T], Awaitable[R]], policy: tenacity.BaseRetrying | None, before_sleep: Callable[[Any], None]
) -> Callable[[T], Awaitable[R]]:
    """Retry *fn* as *policy* says. Each call gets its own copy of the policy, which tasks cannot share."""
    if policy is None:
        return fn
    settings: dict[str, Any] = settings_of(policy) or {}
    settings["before_sleep"] = chain_async(before_sleep, settings["before_sleep"])
    if not isinstance(policy, tenacity.AsyncRetrying):
        del settings["sleep"]  # it would block the event loop

    async def retried(item: T) -> R:
        result: R = await tenacity.AsyncRetrying(**settings)(fn, item)
        return result

    return retried


def start_async(
    owner: AsyncMapOwner, loop: MapLoop[T], fn: Callable[[T], Awaitable[R]], settings: MapSettings
) -> AsyncGenerator[tuple[T, R], None]:
    """Start ``amap``; nothing runs before the first result is asked for. TypeError if *fn* cannot be called."""
    if not callable(fn):
        raise TypeError(f"amap() needs an async function, not {fn!r:.80}")
    results = AsyncCoordinator(loop, owner, settings, fn).results()
    loop.keep_by(results)
    return results


class AsyncMapOwner(MapOwner[Awaitable[int]], Protocol):
    """What ``amap`` needs of its checkpoint."""

    def take_cancellation(self) -> bool:
        """Whether this task was cancelled only for a stop; if so, the cancellation is withdrawn."""
        ...


class AsyncCoordinator(EndingHandler[AsyncMapOwner]):
    """Works on many items at a time: at most ``max_in_flight`` tasks, including the one whose result the body has."""

    def __init__(
        self, loop: MapLoop[Any], owner: AsyncMapOwner, settings: MapSettings, fn: Callable[[Any], Any]
    ) -> None:
        super().__init__(loop, owner, settings)
        self._fn = with_retry(fn, settings.retry, self.ask_for_save)
        self._to_do: Any = loop.to_do_async() if loop.is_async else loop.to_do()
        self._held: Entry | None = None
        self._again: deque[Entry] = deque()
        self._is_out = False
        self._cancelled: asyncio.CancelledError | None = None
        # While steady, a new task follows each task that ends, without further checks.
        self._is_steady = False
        self._in_flight: dict[asyncio.Task[Any], Entry] = {}
        self._ended: deque[asyncio.Task[Any]] = deque()
        self._something = asyncio.Event()

    async def results(self) -> AsyncGenerator[tuple[Any, Any], None]:
        """Each item with its result, as tasks end."""
        loop, in_flight, ended = self.loop, self._in_flight, self._ended
        event_loop = asyncio.get_running_loop()
        self._create_task, self._note_end = event_loop.create_task, self._end
        loop.on_wake = lambda: _call_soon(event_loop, self._something.set)
        loop.can_be_apart = True
        self.open()
        loop.share(1)
        try:
            if self.is_check_in_due:
                await self._check_in()
            while True:
                if not self._is_steady:
                    await self._fill()
                    if self._is_ending and self._is_through():
                        await self._stop()
                        continue
                    if not in_flight:
                        break
                if not ended:
                    await self._until_one_ends()
                    continue
                task = ended.popleft()
                key, item = in_flight[task]
                try:
                    result = task.result()
                except (Exception, asyncio.CancelledError) as error:
                    for pair in self.give_up(key, item, _of_the_call(error)):
                        yield pair
                else:
                    if type(result) not in PLAIN and hasattr(result, "headers"):
                        self.owner.observe(result)
                    loop.give_out(key)
                    yield item, result
                    loop.finish(key)
                    loop.take_back()
                del in_flight[task]
                self.left -= 1
                if self.left <= 0 or not loop.flags:
                    await self._check_in()
                if self._is_steady:
                    self._launch_next()
            loop.end()
        finally:
            self.close()
            await self._cancel()
            loop.share(-1)

    async def _until_one_ends(self) -> None:
        while not self._ended and not self.is_at_end:
            self._something.clear()
            await self._something.wait()
            if self.is_check_in_due:
                await self._check_in()

    async def _check_in(self) -> None:
        asked = self.begin_check_in()
        if self.is_at_end:
            return  # ask the owner once the body has everything
        await self._ask_owner(asked)
        self.note_check_in()

    async def _ask_owner(self, asked: str | None) -> None:
        if asked is not None:
            try:
                await self.owner.save(asked)
            except Exception as failure:
                self.note_unsaved(failure)
        self.left = max(1, await self.owner.check_in())
        self._is_steady = False

    # -- early end

    @property
    def is_at_end(self) -> bool:
        return super().is_at_end or (self._is_ending and self._all_are_held())

    def _all_are_held(self) -> bool:
        """Whether all calls in flight wait for a quota beyond the end of the grace."""
        held = self.grace.held
        return bool(held) and held.issuperset(key for key, _ in self._in_flight.values())

    def send_no_more(self) -> None:
        super().send_no_more()
        self._is_steady = False

    def _is_through(self) -> bool:
        """Whether the body gets nothing more."""
        return not self._in_flight or (self.is_at_end and not self._ended)

    async def _stop(self) -> None:
        self.before_stop()
        await self._ask_owner(self.begin_check_in())
        if self._cancelled is not None:
            raise self._cancelled  # the input has ended with it
        self.go_on()

    # -- hand out

    @property
    def _has_more(self) -> bool:
        return self._held is not None or bool(self._again) or not self._is_out

    async def _fill(self) -> None:
        """Launch tasks up to the limit."""
        in_flight = self._in_flight
        self._again.extend(self.loop.to_try_again())
        while self._has_more and not self._is_ending and len(in_flight) < self.settings.max_in_flight:
            entry = self._held or (self._again.popleft() if self._again else await self._next())
            if entry is None:
                self._is_out = True
                self.owner.has_quota(None)
                return
            if not self.owner.has_quota(len(in_flight)):
                self._held = entry
                if in_flight:  # a task in flight may use up the rest
                    return
                await self._check_in()  # waits
            self._held = None
            self._launch(entry)
        is_full = not self._is_out and not self._is_ending and not self._again
        self._is_steady = is_full and not self.loop.is_async and not self.owner.is_metered

    def _launch_next(self) -> None:
        entry = next(self._to_do, None)
        if entry is not None:
            self._launch(entry)
        else:
            self._is_steady = False

    def _launch(self, entry: Entry) -> None:
        context = copy_context()
        context.run(working_for.set, (self.loop, entry[0]))
        call = context.run(self._fn, entry[1])
        task = self._create_task(call, context=context) if type(call) is CoroutineType else asyncio.ensure_future(call)
        self._in_flight[task] = entry
        task.add_done_callback(self._note_end)

    async def _next(self) -> Entry | None:
        if not self.loop.is_async:
            return next(self._to_do, None)
        self.grace.is_idle = True
        try:
            return await anext(self._to_do, None)
        except asyncio.CancelledError as cancelled:
            if not self.owner.take_cancellation():
                raise
            self._cancelled = cancelled
            self.send_no_more()
            return None
        finally:
            self.grace.is_idle = False

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._ended.append(task)
        if len(self._ended) == 1:
            self._something.set()

    async def _cancel(self) -> None:
        tasks = list(self._in_flight)
        for task in tasks:
            task.cancel()
        # Look at their errors, because asyncio warns of errors that nobody sees.
        await asyncio.gather(*tasks, return_exceptions=True)


def _of_the_call(error: BaseException) -> Exception:
    """The error for an item whose call ended with *error*; a cancelled call does not cancel the loop."""
    if isinstance(error, Exception):
        return error
    cancelled = CancelledError("the call was cancelled")
    cancelled.__cause__ = error
    return cancelled


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    # From a signal handler or an alarm's thread, perhaps after the event loop has ended.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
