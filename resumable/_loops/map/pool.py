"""Many at a time on any executor: hands out items, takes results as calls end, repeats what a crash has lost.

One thread, the loop's own, does it all: it submits, waits, runs the body between two results, and saves.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterator
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from itertools import islice
from queue import SimpleQueue
from typing import Any

from ..ledgers.by_position import ItemKey
from .calls import PENDING, BatchCall, Call, Failure, MappedFunction, WorkerResult
from .clusters import is_crash, of_the_call
from .executors import ExecutorHandle
from .map_loop import MapLoop
from .results import PLAIN, EndingHandler, MapOwner, MapSettings, PlainResultHandler

_MOST_IN_A_ROW = 10
"""After this many crashes in a row without a success, the pool is to blame, not the items."""


class Coordinator(EndingHandler[MapOwner[int]], PlainResultHandler):
    """Works on many items at a time: at most ``max_in_flight`` calls, including the one whose result the body has."""

    def __init__(
        self, loop: MapLoop[Any], owner: MapOwner[int], settings: MapSettings, fn: MappedFunction, executor: Any
    ) -> None:
        super().__init__(loop, owner, settings)
        self._fn = fn
        self._given_executor = executor
        self._to_do = loop.to_do()
        # While steady, a new call follows each call that ends, without further checks.
        self._is_steady = False
        self._again: deque[Call] = deque()
        self._in_flight: dict[Future[Any], Call] = {}
        # A None in it is a wake.
        self._ended: SimpleQueue[Future[Any] | None] = SimpleQueue()
        self._window = settings.max_in_flight
        self._successes = 0
        # The calls in flight when workers died.
        self._suspects: list[Call] = []
        self._crash: BaseException | None = None
        # Crashes by item, of items that were in flight alone.
        self._crashes: Counter[ItemKey] = Counter()
        self._given_up_in_a_row = 0
        self._idle_crashes = 0

    def results(self) -> Generator[tuple[Any, Any], None, None]:
        """Each item with its result, as calls end. The most frequent path is inlined here for speed."""
        loop, in_flight, wait, ticks = self.loop, self._in_flight, self._ended.get, self.loop.ticks
        with self._workers():
            self.check_in_if_due()
            while self._is_steady or (yield from self._has_calls()):
                future = wait()
                call = None if future is None else in_flight.pop(future, None)
                if future is None or call is None:
                    self.check_in_if_due()  # it was a wake, or the call was taken back
                    continue
                result = self._result_of(future) if call.result is PENDING else call.result
                if type(call) is BatchCall or type(result) is Failure:
                    yield from self._handle(call, result)
                    continue
                if type(result) not in PLAIN:
                    result = self._unwrapped(result)
                loop.current, loop.is_out = call.key, True
                next(ticks)
                if loop.held_back:
                    loop.write_held_back(call.key)
                yield call.item, result
                loop.finish(call.key)
                next(ticks)
                loop.is_out = False
                self.left -= 1
                if self.left <= 0 or not loop.flags:
                    self.check_in()
                if self._is_steady:
                    self._launch_next()
                else:
                    self._note_success()

    @contextmanager
    def _workers(self) -> Iterator[None]:
        """Inside the block, the executor works; if the map is left, it drops the calls in flight."""
        loop, in_flight = self.loop, self._in_flight
        self._executor = ExecutorHandle(self._given_executor, self._fn, self.ask_for_save, loop.call_here)
        loop.on_wake = lambda: self._ended.put(None)
        self.open()
        if self._executor.is_local:
            loop.share(1)
        is_well = False
        try:
            yield
            is_well = True
            if self._executor.is_local:
                loop.share(-1)  # not if it is left earlier: workers may go on
            self.check_in_if_due()
            loop.end()
        finally:
            self.close()
            for future in list(in_flight):
                future.cancel()
            is_stopped = self._is_ending and self._failure is None
            self._executor.close(wait=is_well, kill=is_stopped and bool(in_flight))

    def _has_calls(self) -> Generator[tuple[Any, Any], None, bool]:
        """Launch calls up to the limit, unless the map ends. Returns False once all is done."""
        while True:
            self._fill()
            if self._is_ending and self._is_through():
                self._stop()
            elif self._in_flight:
                return True
            elif self._crash is None:
                return False
            else:
                yield from self._recover(self._crash)

    def _result_of(self, future: Future[Any]) -> Any:
        """The result of a call that has ended; a :class:`Failure` with its error."""
        try:
            return future.result()
        except BaseException as error:
            if not future.done() or future.cancelled() or future.exception() is not error:
                raise  # a signal's error, not the call's
            return Failure(error)

    def check_in(self) -> None:
        if self.is_at_end:
            self.begin_check_in()  # ask the owner once the body has everything
            return
        super().check_in()
        self._is_steady = False
        self.note_check_in()

    # -- early end

    def send_no_more(self) -> None:
        super().send_no_more()
        self._is_steady = False
        for future in list(self._in_flight):
            if self._executor.take_back(future):
                del self._in_flight[future]

    def _is_through(self) -> bool:
        """Whether the body gets nothing more."""
        return not self._in_flight or (self.is_at_end and self._ended.empty())

    def _stop(self) -> None:
        self.before_stop()
        super().check_in()
        self.go_on()

    # -- results

    def _handle(self, call: Call, result: Any) -> Iterator[tuple[Any, Any]]:
        if type(result) is Failure:
            return self._handle_error(call, result.error)
        return self._handle_batch(call, result)

    def _handle_error(self, call: Call, error: BaseException) -> Iterator[tuple[Any, Any]]:
        self._is_steady = False
        if is_crash(error):
            self._suspects.append(call)
            self._crash = error
        elif not isinstance(error, Exception):
            if not self._is_ending and not self.owner.is_stopping and self.grace.until is None:
                raise error
            self.note_end(call.keys(), error)
        elif type(call) is BatchCall:
            self._again.extendleft(reversed(call.singly()))  # to find out which item it is
        else:
            yield from self.give_up(call.key, call.item, of_the_call(error))
            self.left -= 1
        self.check_in_if_due()

    def _handle_batch(self, batch: Call, results: Any) -> Iterator[tuple[Any, Any]]:
        loop = self.loop
        results = self._unwrapped(results) if type(results) is WorkerResult else results
        for key, item, result in zip(batch.key, batch.item, results, strict=True):
            if type(result) is Failure:
                yield from self.give_up(key, item, result.error)
            else:
                if type(result) not in PLAIN:
                    self.observe(result)
                loop.give_out(key)
                yield item, result
                loop.finish(key)
                loop.take_back()
            self.left -= 1
            if self.left <= 0 or not loop.flags:
                self.check_in()
        self._note_success()

    def _unwrapped(self, result: Any) -> Any:
        """The plain result, after the quotas that came with it are recorded."""
        if type(result) is not WorkerResult:
            self.observe(result)
            return result
        for limit in result.limits:
            self.owner.observe(limit)
        return result.result

    def _note_success(self) -> None:
        self._given_up_in_a_row = 0
        if self._window < self.settings.max_in_flight:
            self._successes += 1
            if self._successes >= self._window:
                self._widen(2 * self._window)

    # -- hand out

    def _fill(self) -> None:
        """Launch calls up to the limit."""
        in_flight, settings = self._in_flight, self.settings
        self._again.extend(Call(*entry) for entry in self.loop.to_try_again())
        items = sum(map(len, in_flight.values()))
        while self._crash is None and len(in_flight) < self._window and not self._is_ending:
            call = self._again.popleft() if self._again else self._next()
            if call is None:
                self.owner.has_quota(None)
                return
            if not self.owner.has_quota(items, len(call)):
                if in_flight:  # a call in flight may use up the rest
                    self._again.appendleft(call)
                    return
                self.check_in()  # waits
            self._launch(call)
            items += len(call)
        is_full = self._window == settings.max_in_flight and not (self._crash or self._again or self._is_ending)
        self._is_steady = is_full and settings.batch == 1 and not self.owner.is_metered

    def _next(self) -> Call | None:
        entries = list(islice(self._to_do, self.settings.batch))
        if len(entries) > 1:
            return BatchCall(*zip(*entries, strict=True))
        return Call(*entries[0]) if entries else None

    def _launch_next(self) -> None:
        entry = next(self._to_do, None)
        if entry is None:
            self._is_steady = False
        else:
            self._launch(Call(*entry))

    def _launch(self, call: Call) -> None:
        try:
            future = self._executor.launch(call)
        except BrokenExecutor as error:
            self._note_broken(call, error)
            return
        self._in_flight[future] = call
        future.add_done_callback(self._ended.put)

    # -- after a crash of workers

    def _note_broken(self, call: Call, error: BaseException) -> None:
        """The pool accepts no more calls: *call* was not sent."""
        self._again.appendleft(call)
        self._crash, self._is_steady = error, False

    def _recover(self, error: BaseException) -> Iterator[tuple[Any, Any]]:
        """With nothing in flight, repeat the lost calls, fewer at a time, until a crashing item runs alone."""
        self._crash = None
        calls, suspects = len(self._suspects), [one for call in self._suspects for one in call.singly()]
        self._suspects = []
        self._executor.replace(error)
        self._note_crash(calls, error)
        if len(suspects) == 1:
            self._crashes[suspects[0].key] += 1
        if len(suspects) == 1 and self._crashes[suspects[0].key] >= self.settings.max_crashes:
            yield from self._give_up_crasher(suspects[0], error)
        else:
            self._again.extendleft(reversed(suspects))

    def _note_crash(self, calls: int, error: BaseException) -> None:
        """Narrow the window: *calls* were in flight when workers died."""
        self._idle_crashes = 0 if calls else self._idle_crashes + 1
        if self._idle_crashes > _MOST_IN_A_ROW:
            raise error
        if calls:
            self._successes = 0
            self._window = max(1, min(self._window, calls) // 2)

    def _give_up_crasher(self, call: Call, error: BaseException) -> Iterator[tuple[Any, Any]]:
        self._given_up_in_a_row += 1
        if self._given_up_in_a_row > _MOST_IN_A_ROW:
            raise error
        self._widen(self.settings.max_in_flight)
        if self.settings.raises:
            self.note_failure(call.key, error)  # otherwise no later run would get past it
        yield from self.give_up(call.key, call.item, error)

    def _widen(self, window: int) -> None:
        self._window = min(window, self.settings.max_in_flight)
        self._successes = 0
