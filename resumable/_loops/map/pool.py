"""Many at a time, over any executor: hands out, takes what ends as it ends, and knows what to repeat.

One thread, the loop's own, does all of it: it submits, waits, runs the body between two results, and saves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import BrokenExecutor, Future
from itertools import islice
from queue import SimpleQueue
from typing import Any

from .calls import PENDING, Batch, Failure, Task, Told, Work
from .clusters import is_crash, of_the_call
from .executors import Engine
from .map_loop import Done, Key
from .results import PLAIN, Landing, MapOwner, Settings

_MOST_IN_A_ROW = 10
"""So many items given up for their workers' death, with no success between: not they, but the pool is at fault."""


class Coordinator(Landing):
    """Many at a time. At most ``max_in_flight`` tasks are out, the one whose results the body sees included."""

    def __init__(self, loop: Done[Any], owner: MapOwner, settings: Settings, work: Work, executor: Any) -> None:
        super().__init__(loop, owner, settings)
        self._work = work
        self._given_executor = executor
        self._to_do = loop.to_do()
        self._is_steady = False
        self._again: deque[Task] = deque()
        self._flying: dict[Future[Any], Task] = {}
        self._landed: SimpleQueue[Future[Any] | None] = SimpleQueue()
        self._window = settings.max_in_flight
        self._successes = 0
        self._suspects: list[Task] = []
        self._crash: BaseException | None = None
        self._crashes: dict[Key, int] = {}
        self._given_up_in_a_row = 0
        self._empty_breaks = 0

    def results(self) -> Generator[tuple[Any, Any], None, None]:
        """Each item with its result, as they end.

        The way of nearly all items, one a task, is written out here; all that is rare is elsewhere.
        """
        loop, ledger, flying, to_do = self.loop, self.loop._ledger, self._flying, self._to_do
        wait, land, finish = self._landed.get, self._landed.put, loop.finish
        self._engine = Engine(self._given_executor, self._work, self.ask_for_save)
        launch = self._engine.launch
        loop.on_wake = lambda: land(None)
        loop.begin()
        is_well = False
        try:
            self.check_in_if_due()
            while True:
                if not self._is_steady:
                    self._fill()
                    if not flying:
                        if self._crash is None:
                            break
                        yield from self._recover(self._crash)
                        continue
                    launch = self._engine.launch
                future = wait()
                if future is None:
                    self.check_in_if_due()
                    continue
                task = flying.pop(future)
                result = task.result
                try:
                    if result is PENDING:
                        result = future.result()
                except BaseException as error:
                    if not future.done() or future.cancelled() or future.exception() is not error:
                        raise  # a signal's, not the call's
                    yield from self._land_error(task, error)
                    continue
                if type(task) is Batch:
                    yield from self._land_batch(task, result)
                    continue
                if type(result) not in PLAIN:
                    result = self._told(result)
                ledger._offered = task.key
                yield task.item, result
                finish(task.key)
                self._left -= 1
                if self._left <= 0 or not loop._flags:
                    self.check_in()
                if not self._is_steady:
                    self._note_success()
                    continue
                entry = next(to_do, None)
                if entry is None:
                    self._is_steady = False
                    continue
                task = Task(*entry)
                try:
                    future = launch(task)
                except BrokenExecutor as error:
                    self._break(task, error)
                    continue
                flying[future] = task
                future.add_done_callback(land)
            is_well = True
            self.check_in_if_due()
            loop.end()
        finally:
            loop.on_wake = lambda: None
            self.owner.has_quota(0)
            self._close(wait=is_well)

    def _close(self, *, wait: bool) -> None:
        for future in list(self._flying):
            future.cancel()
        self._engine.close(wait=wait)

    def check_in(self) -> None:
        super().check_in()
        self._is_steady = False

    # -- what ended

    def _land_error(self, task: Task, error: BaseException) -> Iterator[tuple[Any, Any]]:
        self._is_steady = False
        if is_crash(error):
            self._suspects.append(task)
            self._crash = error
        elif not isinstance(error, Exception):
            raise error
        elif type(task) is Batch:
            self._again.extendleft(reversed(task.singly()))  # to see which one it is
        else:
            yield from self.give_up(task.key, task.item, of_the_call(error))
            self._left -= 1
        self.check_in_if_due()

    def _land_batch(self, batch: Batch, results: Any) -> Iterator[tuple[Any, Any]]:
        results = self._told(results) if type(results) is Told else results
        for key, item, result in zip(batch.key, batch.item, results, strict=True):
            if type(result) is Failure:
                yield from self.give_up(key, item, result.error)
            else:
                if type(result) not in PLAIN:
                    self.observe(result)
                self.loop.at(key)
                yield item, result
                self.loop.finish(key)
            self._left -= 1
            if self._left <= 0 or not self.loop._flags:
                self.check_in()
        self._note_success()

    def _told(self, result: Any) -> Any:
        if type(result) is not Told:
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

    # -- what is handed out

    def _fill(self) -> None:
        """Hand out as much as may be."""
        flying, settings = self._flying, self.settings
        items = sum(map(len, flying.values()))
        while self._crash is None and len(flying) < self._window:
            task = self._again.popleft() if self._again else self._next()
            if task is None:
                self.owner.has_quota(None)
                return
            if not self.owner.has_quota(items, len(task)):
                if flying:  # it may use up the rest
                    self._again.appendleft(task)
                    return
                self.check_in()  # waits
            self._launch(task)
            items += len(task)
        is_full = self._window == settings.max_in_flight and self._crash is None and not self._again
        self._is_steady = is_full and settings.batch == 1 and not self.owner.is_metered

    def _next(self) -> Task | None:
        entries = list(islice(self._to_do, self.settings.batch))
        if len(entries) > 1:
            return Batch(*zip(*entries, strict=True))
        return Task(*entries[0]) if entries else None

    def _launch(self, task: Task) -> None:
        try:
            future = self._engine.launch(task)
        except BrokenExecutor as error:
            self._break(task, error)
            return
        self._flying[future] = task
        future.add_done_callback(self._landed.put)

    # -- when workers died

    def _break(self, task: Task, error: BaseException) -> None:
        """The pool takes no more: *task* did not get out."""
        self._again.appendleft(task)
        self._crash, self._is_steady = error, False

    def _recover(self, error: BaseException) -> Iterator[tuple[Any, Any]]:
        """Nothing is out any more: run again what was, fewer at a time; alone, an item must answer for itself."""
        self._crash = None
        tasks, suspects = len(self._suspects), [one for task in self._suspects for one in task.singly()]
        self._suspects = []
        self._engine.replace(error)
        self._note_break(tasks, error)
        if len(suspects) == 1 and self._is_guilty(suspects[0].key):
            yield from self._bury(suspects[0], error)
        else:
            self._again.extendleft(reversed(suspects))

    def _note_break(self, tasks: int, error: BaseException) -> None:
        self._empty_breaks = 0 if tasks else self._empty_breaks + 1
        if self._empty_breaks > _MOST_IN_A_ROW:
            raise error
        if tasks:
            self._successes = 0
            self._window = max(1, min(self._window, tasks) // 2)

    def _is_guilty(self, key: Key) -> bool:
        """The item was alone when its worker died. Whether it is given up for that."""
        self._crashes[key] = self._crashes.get(key, 0) + 1
        return self._crashes[key] >= self.settings.max_crashes

    def _bury(self, task: Task, error: BaseException) -> Iterator[tuple[Any, Any]]:
        self._given_up_in_a_row += 1
        if self._given_up_in_a_row > _MOST_IN_A_ROW:
            raise error
        self._widen(self.settings.max_in_flight)
        if self.settings.on_error == "raise":
            self.note_failure(task.key, error)  # or no later run would get beyond it
        yield from self.give_up(task.key, task.item, error)

    def _widen(self, window: int) -> None:
        self._window = min(window, self.settings.max_in_flight)
        self._successes = 0
