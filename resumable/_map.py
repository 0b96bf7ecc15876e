"""Many at a time, over any executor: hands out, takes what ends as it ends, and knows what to repeat.

One thread, the loop's own, does all of it: it submits, waits, runs the body between two results, and saves.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future
from contextvars import copy_context
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from ._done import Done, Key
from ._executors import Engine, check_executor, is_crash
from ._work import SEEN, Failure, Remote, Told, Work, settings_of

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")
R = TypeVar("R")
OnError = Literal["raise", "skip", "collect"]
Entry = tuple[Key, Any]
_MOST_IN_A_ROW = 10
"""So many items given up for their workers' death, with no success between: not they, but the pool is at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What ``map`` was asked for.

    Raises:
        ValueError: If a number is below 1, or *on_error* is none of the three.
    """

    max_in_flight: int = 64
    batch: int = 1
    retry: tenacity.BaseRetrying | None = None
    on_error: OnError = "raise"
    max_crashes: int = 2

    def __post_init__(self) -> None:
        for name in ("max_in_flight", "batch", "max_crashes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, not {getattr(self, name)!r}")
        if self.on_error not in ("raise", "skip", "collect"):
            raise ValueError(f"on_error must be 'raise', 'skip' or 'collect', not {self.on_error!r}")


class MapOwner(Protocol):
    """What a map asks of its checkpoint."""

    def check_in(self) -> int: ...
    def observe(self, response: object, /) -> None: ...
    def error(self) -> None: ...
    def has_quota(self, in_flight: int | None) -> bool:
        """Whether more than *in_flight* requests are left; None: nothing will be asked for."""
        ...


def check_function(fn: object) -> None:
    """Refuse what cannot be mapped.

    Raises:
        TypeError: If *fn* cannot be called, or is ``async``.
    """
    if not callable(fn):
        raise TypeError(f"map() needs a function, not {fn!r:.80}")
    if inspect.iscoroutinefunction(fn):
        raise TypeError("an async function needs amap(), of an async checkpoint")


class Landing:
    """What both ways of working share: the body's turn, and what is noted after it."""

    def __init__(self, loop: Done[Any], owner: Any, settings: Settings) -> None:
        self.loop = loop
        self.owner = owner
        self.settings = settings
        self._left = 0

    def check_in(self) -> None:
        self.loop.rearm()
        self._left = max(1, self.owner.check_in())

    def check_in_if_due(self) -> None:
        if self._left <= 0 or self.loop.was_woken:
            self.check_in()

    def give_up(self, key: Key, item: Any, error: BaseException) -> Iterator[tuple[Any, Any]]:
        """What the body sees of an item that failed."""
        self.observe(error)
        if self.settings.on_error == "raise":
            error.add_note(f"resumable: at item {item!r:.80}")
            raise error
        if self.settings.on_error == "collect":
            self.loop.at(key)
            yield item, error
        self.note_failure(key, error)

    def note_failure(self, key: Key, error: BaseException) -> None:
        self.loop.give_up(key, error)
        self.owner.error()

    def observe(self, seen: Any) -> None:
        """Learn of quotas from a response or an error."""
        limits = getattr(seen, SEEN, None)
        if limits:
            for limit in limits:
                self.owner.observe(limit)
        elif hasattr(seen, "headers") or hasattr(seen, "response"):
            self.owner.observe(seen)


def start(
    owner: MapOwner, loop: Done[T], fn: Callable[[T], R], executor: Any, settings: Settings
) -> Generator[tuple[T, R], None, None]:
    """The results of ``map``; nothing runs before the first is asked for.

    Raises:
        TypeError: *fn* or *executor* cannot be used.
    """
    check_function(fn)
    work = Work(fn, settings_of(settings.retry))
    if executor is None:
        return map_in_line(loop, owner, settings, work)
    check_executor(executor)
    return map_with(loop, owner, settings, work, executor)


def map_with(
    loop: Done[T], owner: MapOwner, settings: Settings, work: Work, executor: Any
) -> Generator[tuple[T, Any], None, None]:
    """Many at a time; the executor is made when the first is asked for."""
    yield from Coordinator(loop, owner, settings, work, Engine(executor)).results()


def map_in_line(loop: Done[T], owner: MapOwner, settings: Settings, work: Work) -> Generator[tuple[T, Any], None, None]:
    """One after the other, in the loop's own thread."""
    landing = Landing(loop, owner, settings)
    loop.begin()
    for key, item in loop.to_do():
        landing.check_in_if_due()
        loop.at(key)
        try:
            result = work(item)
        except Exception as error:
            yield from landing.give_up(key, item, error)
        else:
            if hasattr(result, "headers"):
                owner.observe(result)
            yield item, result
            loop.finish(key)
        landing._left -= 1
    landing.check_in_if_due()
    loop.end()


class Coordinator(Landing):
    """Many at a time. At most ``max_in_flight`` tasks are out, the one whose results the body sees included."""

    def __init__(self, loop: Done[Any], owner: MapOwner, settings: Settings, work: Work, engine: Engine) -> None:
        super().__init__(loop, owner, settings)
        self._work = work
        self._engine = engine
        self._to_do = loop.to_do()
        self._again: deque[list[Entry]] = deque()
        self._flying: dict[Future[Any], list[Entry]] = {}
        self._landed: SimpleQueue[Future[Any] | None] = SimpleQueue()
        self._window = settings.max_in_flight
        self._successes = 0
        self._suspects: list[list[Entry]] = []
        self._crash: BaseException | None = None
        self._crashes: dict[Key, int] = {}
        self._given_up_in_a_row = 0
        self._empty_breaks = 0

    def results(self) -> Generator[tuple[Any, Any], None, None]:
        """Each item with its result, as they end."""
        is_well = False
        self.loop.on_wake = self._wake
        self.loop.begin()
        loop, flying, landed = self.loop, self._flying, self._landed
        try:
            self.check_in_if_due()
            while True:
                self._fill()
                if not flying:
                    if self._crash is None:
                        break
                    yield from self._recover(self._crash)
                    continue
                future = landed.get()
                if future is None:
                    self.check_in_if_due()
                    continue
                error = future.exception()
                if error is not None or len(flying[future]) > 1:
                    yield from self._land(future, error)
                    continue
                # What follows is the way of nearly all items, kept short.
                ((key, item),) = flying[future]
                result = future.result()
                if type(result) is Told or hasattr(result, "headers"):
                    result = self._told(result)
                loop.at(key)
                yield item, result
                loop.finish(key)
                del flying[future]
                self._note_success()
            is_well = True
            self.check_in_if_due()
            loop.end()
        finally:
            loop.on_wake = lambda: None
            self.owner.has_quota(0)
            self._close(wait=is_well)

    def _wake(self) -> None:
        self._landed.put(None)

    def _close(self, *, wait: bool) -> None:
        for future in list(self._flying):
            future.cancel()
        self._engine.close(wait=wait)

    # -- what ended

    def _land(self, future: Future[Any], error: BaseException | None) -> Iterator[tuple[Any, Any]]:
        entries = self._flying[future]
        if error is None:
            yield from self._batch(entries, future.result())
        elif is_crash(error):
            self._suspects.append(entries)
            self._crash = error
        elif isinstance(error, CancelledError) or not isinstance(error, Exception):
            raise error
        elif len(entries) > 1:
            self._again.extendleft([entry] for entry in reversed(entries))  # to see which one it is
        else:
            yield from self.give_up(*entries[0], error)
            self._left -= 1
        self._flying.pop(future, None)
        self.check_in_if_due()

    def _batch(self, entries: list[Entry], results: Any) -> Iterator[tuple[Any, Any]]:
        results = self._told(results) if type(results) is Told else results
        for (key, item), result in zip(entries, results, strict=True):
            if type(result) is Failure:
                yield from self.give_up(key, item, result.error)
                self._left -= 1
                continue
            if hasattr(result, "headers"):
                self.owner.observe(result)
            self.loop.at(key)
            yield item, result
            self.loop.finish(key)
            self._note_success()

    def _told(self, told: Any) -> Any:
        if type(told) is not Told:
            self.owner.observe(told)
            return told
        for limit in told.limits:
            self.owner.observe(limit)
        return told.result

    def _note_success(self) -> None:
        self._left -= 1
        if self._left <= 0 or self.loop.was_woken:
            self.check_in()
        if self._window < self.settings.max_in_flight:
            self._successes += 1
            if self._successes >= self._window:
                self._widen(2 * self._window)
        self._given_up_in_a_row = 0

    # -- what is handed out

    def _fill(self) -> None:
        """Hand out as much as may be."""
        flying = self._flying
        while self._crash is None and len(flying) < self._window:
            entries = self._again.popleft() if self._again else list(islice(self._to_do, self.settings.batch))
            if not entries:
                self.owner.has_quota(None)
                return
            if not self.owner.has_quota(len(flying)):
                if flying:  # it may use up the rest
                    self._again.appendleft(entries)
                    return
                self.check_in()  # waits
            self._submit(entries)

    def _submit(self, entries: list[Entry]) -> None:
        try:
            future = self._call(entries)
        except BrokenExecutor as error:
            self._again.appendleft(entries)
            self._crash = error
            return
        self._flying[future] = entries
        future.add_done_callback(self._landed.put)

    def _call(self, entries: list[Entry]) -> Future[Any]:
        work: Any = self._work
        argument: Any = entries[0][1]
        if self._engine.is_local:
            run = copy_context().run
            if len(entries) == 1:
                return self._engine.submit(run, work.fn if work.settings is None else work, argument)
            return self._engine.submit(run, work.many, [item for _, item in entries])
        if len(entries) == 1:
            return self._engine.submit(Remote(work), argument)
        return self._engine.submit(Remote(work).many, [item for _, item in entries])

    # -- when workers died

    def _recover(self, error: BaseException) -> Iterator[tuple[Any, Any]]:
        """Nothing is out any more: run again what was, fewer at a time; alone, an item must answer for itself."""
        self._crash = None
        tasks, suspects = len(self._suspects), [entry for entries in self._suspects for entry in entries]
        self._suspects = []
        self._engine.replace(error)
        self._note_break(tasks, error)
        if len(suspects) == 1 and self._is_guilty(*suspects[0], error):
            yield from self._bury(*suspects[0], error)
        else:
            self._again.extendleft([entry] for entry in reversed(suspects))

    def _note_break(self, tasks: int, error: BaseException) -> None:
        self._empty_breaks = 0 if tasks else self._empty_breaks + 1
        if self._empty_breaks > _MOST_IN_A_ROW:
            raise error
        if tasks:
            self._successes = 0
            self._window = max(1, min(self._window, tasks) // 2)

    def _is_guilty(self, key: Key, item: Any, error: BaseException) -> bool:
        """The item was alone when its worker died. Whether it is given up for that."""
        self._crashes[key] = self._crashes.get(key, 0) + 1
        return self._crashes[key] >= self.settings.max_crashes

    def _bury(self, key: Key, item: Any, error: BaseException) -> Iterator[tuple[Any, Any]]:
        self._given_up_in_a_row += 1
        if self._given_up_in_a_row > _MOST_IN_A_ROW:
            raise error
        self._widen(self.settings.max_in_flight)
        if self.settings.on_error == "raise":
            self.note_failure(key, error)  # or no later run would get beyond it
        yield from self.give_up(key, item, error)

    def _widen(self, window: int) -> None:
        self._window = min(window, self.settings.max_in_flight)
        self._successes = 0
