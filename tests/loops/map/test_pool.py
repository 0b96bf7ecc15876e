"""Many at a time, over executors."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tenacity

from resumable import (
    Checkpoint,
    CheckpointManager,
    InputChangedError,
    RateLimitExhausted,
    StoreError,
    checkpointed,
    every,
)
from resumable.testing import FaultyStore, ManualClock, MemoryStore
from tests.support.stores import keys

EACH = every(items=1)
NEVER = every(hours=1000)


def square(number: int) -> int:
    return number * number


def odd_fails(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number * number


def die_at(poison: tuple[int, ...], number: int) -> int:
    if number in poison:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


class Later(Executor):
    """Ends a call when the test says so; none is run before."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.most = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append((future, partial(fn, *args, **kwargs)))
        self.most = max(self.most, len(self.calls))
        return future

    def end(self, index: int = -1) -> None:
        future, call = self.calls.pop(index)
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)


class AtOnce(Later):
    """Ends each call when it is made."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self.end()
        return future


class Lastest(Later):
    """Ends the newest call of its window as soon as the window is full, then the others backwards."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        if len(self.calls) == self.window:
            self.end()
        return future


ENGINES: dict[str, Callable[[], Any]] = {
    "in line": lambda: None,
    "threads": lambda: partial(ThreadPoolExecutor, 4),
    "processes": lambda: partial(ProcessPoolExecutor, 2),
    "own executor": AtOnce,
}
engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@contextlib.contextmanager
def opened(store: Any, strategy: Any = EACH, **options: Any) -> Iterator[Checkpoint]:
    with checkpointed("squares", strategy, store=store, **options) as cp:
        yield cp


@engines
@pytest.mark.parametrize("batch", [1, 7])
def test_every_item_comes_once_with_its_result(engine: Callable[[], Any], batch: int, store: MemoryStore) -> None:
    with opened(store) as cp:
        found = list(cp.map(square, range(50), executor=engine(), batch=batch, max_in_flight=5))
        assert cp.processed_items == 50

    assert sorted(found) == [(number, number * number) for number in range(50)]
    assert keys(store) == []


def test_results_come_as_they_end_and_not_in_order(store: MemoryStore) -> None:
    executor = Later()
    with opened(store) as cp:
        results = cp.map(square, range(3), executor=executor)
        executor_thread = threading.Thread(target=_end_backwards, args=(executor, 3))
        executor_thread.start()
        assert [item for item, _ in results] == [2, 1, 0]
        executor_thread.join()


def _end_backwards(executor: Later, count: int) -> None:
    while len(executor.calls) < count:
        time.sleep(0.001)
    for _ in range(count):
        executor.end()


@engines
@pytest.mark.parametrize("key", [None, str], ids=["by position", "by key"])
def test_after_an_error_in_the_body_only_what_was_not_done_is_repeated(
    engine: Callable[[], Any], key: Any, store: MemoryStore
) -> None:
    seen: list[int] = []
    with pytest.raises(KeyError), opened(store) as cp:  # noqa: PT012
        for item, _ in cp.map(square, range(40), executor=engine(), key=key, max_in_flight=8):
            if len(seen) == 20:
                raise KeyError(item)
            seen.append(item)
    with opened(store) as cp:
        rest = [item for item, _ in cp.map(square, range(40), executor=engine(), key=key)]

    assert sorted(seen + rest) == list(range(40))


def test_an_item_is_done_in_the_same_save_as_what_its_body_put_into_the_state(store: MemoryStore) -> None:
    """Whatever save a kill leaves behind, state and done-marks tell the same."""
    with opened(store) as cp:
        squares = cp.mapping("squares")
        for item, result in cp.map(square, range(20), executor=AtOnce()):
            squares[str(item)] = result
            with contextlib.suppress(InputChangedError):
                found = CheckpointManager(store=store).load_checkpoint("squares")
            if found is not None:
                assert len(found.state["squares"]) == found.metadata.processed_items


def test_a_loop_left_by_break_goes_on_with_what_is_left(store: MemoryStore) -> None:
    with opened(store) as cp:
        for item, _ in cp.map(square, range(10), executor=AtOnce()):
            if item == 3:
                break
    with opened(store) as cp:
        assert [item for item, _ in cp.map(square, range(10))] == list(range(3, 10))


def test_never_more_than_max_in_flight_are_out(store: MemoryStore) -> None:
    executor = Lastest(5)
    with opened(store) as cp:
        results = cp.map(square, range(5), executor=executor, max_in_flight=5)
        next(results)
        while executor.calls:
            executor.end()
        assert len(list(results)) == 4
    assert executor.most == 5


def test_leaving_the_loop_cancels_what_has_not_begun(store: MemoryStore) -> None:
    executor = Lastest(4)
    with opened(store) as cp:
        for _ in cp.map(square, range(100), executor=executor, max_in_flight=4):
            break
    assert [future.cancelled() for future, _ in executor.calls] == [True] * 3


# -- errors


@engines
@pytest.mark.parametrize("batch", [1, 4])
def test_an_error_is_raised_with_the_item_and_the_next_run_tries_it_again(
    engine: Callable[[], Any], batch: int, store: MemoryStore
) -> None:
    with pytest.raises(ValueError, match="is odd") as caught, opened(store) as cp:
        list(cp.map(odd_fails, range(8), executor=engine(), batch=batch))
    assert any("at item" in note for note in caught.value.__notes__)
    with opened(store) as cp:
        assert cp.failed == {}
        assert {1, 3, 5, 7} <= {item for item, _ in cp.map(square, range(8), executor=engine())}


@engines
@pytest.mark.parametrize("batch", [1, 4])
def test_skip_goes_on_and_a_later_run_retries_just_those(
    engine: Callable[[], Any], batch: int, store: MemoryStore
) -> None:
    with opened(store) as cp:
        good = dict(cp.map(odd_fails, range(8), executor=engine(), on_error="skip", batch=batch))
        assert cp.metadata.error_count == 4
    assert sorted(good) == [0, 2, 4, 6]
    with opened(store) as cp:
        assert cp.failed == {number: f"ValueError: {number} is odd" for number in (1, 3, 5, 7)}
        again = dict(cp.map(odd_fails, range(8), executor=engine(), on_error="skip", batch=batch))
    assert again == {}
    with opened(store) as cp:
        done = dict(cp.map(square, range(8), executor=engine(), retry_failed=True))
        assert cp.failed == {}
        assert cp.processed_items == 8
    assert sorted(done) == [1, 3, 5, 7]
    assert keys(store) == []


def test_what_failed_in_two_maps_is_told_of_both(store: MemoryStore) -> None:
    with opened(store) as cp:
        list(cp.map(odd_fails, range(4), on_error="skip"))
        list(cp.map(odd_fails, range(3, 8), on_error="skip", name="second"))

        assert cp.failed == {
            1: "ValueError: 1 is odd",
            3: "ValueError: 3 is odd",
            0: "ValueError: 3 is odd",
            2: "ValueError: 5 is odd",
            4: "ValueError: 7 is odd",
        }
        list(cp.map(odd_fails, range(10, 12), on_error="skip", name="third"))
        first, third = [key for key in cp.failed if str(key).endswith("/1")]
        assert (cp.failed[first], cp.failed[third]) == ("ValueError: 1 is odd", "ValueError: 11 is odd")
        assert third == "third/1"


@engines
def test_collect_gives_out_the_error(engine: Callable[[], Any], store: MemoryStore) -> None:
    with opened(store) as cp:
        found = dict(cp.map(odd_fails, range(4), executor=engine(), on_error="collect"))
        assert cp.failed.keys() == {1, 3}
        cp.finalize()
    assert [type(found[number]) for number in range(4)] == [int, ValueError, int, ValueError]
    assert keys(store) == []


class FailsTwice:
    def __init__(self) -> None:
        self.calls: dict[int, int] = {}

    def __call__(self, number: int) -> int:
        self.calls[number] = self.calls.get(number, 0) + 1
        if self.calls[number] < 3:
            raise OSError(number)
        return number


@engines
def test_each_item_is_retried_by_its_own_policy(engine: Callable[[], Any], store: MemoryStore) -> None:
    policy = tenacity.Retrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none())
    with opened(store) as cp:
        found = dict(cp.map(FailsTwice(), range(6), executor=engine(), retry=policy))
    assert found == {number: number for number in range(6)}


class Asked:
    """A retry policy whose sleep lasts until *is_over* says so, and that tells when its hook was called."""

    def __init__(self, is_over: Callable[[], object] = lambda: True) -> None:
        self.hooks = threading.Semaphore(0)
        self.policy = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(3), sleep=self.sleep, before_sleep=lambda state: self.hooks.release()
        )
        self.is_over = is_over

    def sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + 20
        while not self.is_over():
            assert time.monotonic() < deadline, "nothing was saved while the worker slept"
            time.sleep(0.001)


class FailsOnce(FailsTwice):
    """Each item above 0, at its first call."""

    def __call__(self, number: int) -> int:
        self.calls[number] = self.calls.get(number, 0) + 1
        if number and self.calls[number] == 1:
            raise OSError(number)
        return number


@pytest.mark.parametrize("engine", [None, partial(ThreadPoolExecutor, 2)], ids=["in line", "threads"])
def test_what_is_done_is_saved_while_a_worker_sleeps_before_it_tries_again(engine: Any, store: MemoryStore) -> None:
    """The sleep may be long, and the program killed in it."""
    with opened(store, NEVER) as cp:

        def is_saved() -> bool:
            found = CheckpointManager(store=store).load_checkpoint("squares")
            return found is not None and found.metadata.last_save_reason == "Retry: OSError (attempt 2)"

        asked = Asked(is_saved)
        results = cp.map(FailsOnce(), range(2), executor=engine, retry=asked.policy)
        assert list(results) == [(0, 0), (1, 1)]
    assert asked.hooks.acquire(blocking=False), "the policy's own hook was forgotten"


def test_a_retry_saves_nothing_while_the_body_is_half_way(store: MemoryStore) -> None:
    asked = Asked()
    may_fail = threading.Event()

    def work(number: int) -> int:
        if number and asked.hooks._value == 0:
            assert may_fail.wait(20)
            raise OSError(number)
        return number

    with opened(store, NEVER) as cp:
        results = cp.map(work, range(2), executor=partial(ThreadPoolExecutor, 2), retry=asked.policy)
        next(results)
        saves = cp._operation.session.saves
        cp.state["half"] = True
        may_fail.set()
        assert asked.hooks.acquire(timeout=300)
        asked.hooks.release()
        assert cp._operation.session.saves == saves
        cp.state["whole"] = True
        next(results)
        assert cp._operation.session.saves == saves + 1
        found = CheckpointManager(store=store).load_checkpoint("squares")
        assert found is not None
        assert (found.state, found.metadata.processed_items) == ({"half": True, "whole": True}, 1)


def test_a_failing_save_for_a_retry_hides_no_result(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    failing = FaultyStore(store)
    with opened(failing, NEVER) as cp:
        asked = Asked(lambda: caplog.records)
        results = cp.map(FailsOnce(), range(2), executor=partial(ThreadPoolExecutor, 2), retry=asked.policy)
        failing.fails_on["write"] = StoreError("disk full")
        assert dict(results) == {0: 0, 1: 1}
        failing.fails_on.clear()
    assert "could not be saved before a retry" in caplog.text


def test_after_the_last_attempt_the_last_error_is_told(store: MemoryStore) -> None:
    policy = tenacity.Retrying(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_none())
    with opened(store) as cp:
        list(cp.map(FailsTwice(), [7], executor=partial(ThreadPoolExecutor, 1), retry=policy, on_error="skip"))
        assert cp.failed == {0: "OSError: 7"}


# -- workers that die


@pytest.mark.slow
def test_poison_is_given_up_and_innocents_are_not(store: MemoryStore) -> None:
    poison = (20, 21, 70)
    with opened(store, NEVER) as cp:
        found = dict(
            cp.map(
                partial(die_at, poison), range(100), executor=partial(ProcessPoolExecutor, 2), on_error="skip", batch=3
            )
        )
        assert cp.failed.keys() == set(poison)
    assert found == {number: number * number for number in range(100) if number not in poison}


def test_a_poison_item_that_is_raised_does_not_stop_the_next_run(store: MemoryStore) -> None:
    work = partial(die_at, (3,))
    with pytest.raises(BrokenExecutor), opened(store) as cp:
        list(cp.map(work, range(6), executor=partial(ProcessPoolExecutor, 1), max_in_flight=1))
    with opened(store) as cp:
        assert cp.failed.keys() == {3}
        assert [item for item, _ in cp.map(work, range(6), executor=partial(ProcessPoolExecutor, 1))] == [4, 5]


class NeverWorks(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise BrokenExecutor("no workers")


def test_a_pool_that_never_works_is_not_tried_for_ever(store: MemoryStore) -> None:
    with pytest.raises(BrokenExecutor, match="no workers"), opened(store) as cp:
        list(cp.map(square, range(6), executor=NeverWorks))


class AllDie(Later):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(BrokenExecutor("died"))
        return future


def test_a_pool_in_which_every_item_dies_is_at_fault_itself(store: MemoryStore) -> None:
    """Else a bad initializer would put the whole input among the failed."""
    with pytest.raises(BrokenExecutor, match="died"), opened(store) as cp:
        list(cp.map(square, range(1000), executor=AllDie, on_error="skip"))
    with opened(store) as cp:
        assert len(cp.failed) <= 10


# -- quotas


class Answer:
    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.status_code = 200


class Api:
    """One quota of 10 requests in 60 s, for all workers."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.window, self.used, self.refused = 0, 0, 0

    def __call__(self, number: int) -> Answer:
        now = self.clock.utc().timestamp()
        if int(now // 60) != self.window:
            self.window, self.used = int(now // 60), 0
        self.used += 1
        self.refused += self.used > 10
        left = str(max(0, 10 - self.used))
        headers = {"x-ratelimit-limit": "10", "x-ratelimit-remaining": left}
        return Answer(headers | {"x-ratelimit-reset": str((self.window + 1) * 60), "date": _http_date(self.clock)})


def _http_date(clock: ManualClock) -> str:
    return clock.utc().strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize("engine", [lambda: None, AtOnce, Later], ids=["in line", "at once", "four out"])
@pytest.mark.parametrize("batch", [1, 2])
def test_one_quota_is_waited_for_once_by_all(engine: Callable[[], Any], batch: int, store: MemoryStore) -> None:
    """No worker asks for more than what is left, those that are out counted."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    api, executor = Api(clock), engine()
    if type(executor) is Later:
        executor = Lastest(4)
    with checkpointed("crawl", manager=CheckpointManager(store=store, clock=clock, save_strategy=NEVER)) as cp:
        results = cp.map(api, range(35), executor=executor, max_in_flight=4, batch=batch)
        ender = threading.Event()
        # What ends at once needs nobody to end it, who might come between.
        thread = threading.Thread(target=_end_all, args=(executor if type(executor) is Lastest else None, ender))
        thread.start()
        try:
            assert len(list(results)) == 35
        finally:
            ender.set()
            thread.join()
        waited = (clock.utc() - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds()
    assert api.refused == 0
    assert waited < 4 * 62


def test_a_window_that_begins_anew_is_not_asked_for_more_than_it_has(store: MemoryStore) -> None:
    """Before the first answer the limit is unknown; after it, no more calls are in flight than the limit allows."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    api = Api(clock)
    with checkpointed("crawl", manager=CheckpointManager(store=store, clock=clock, save_strategy=NEVER)) as cp:
        list(cp.map(api, range(10), executor=AtOnce(), max_in_flight=1, name="first"))
        assert len(list(cp.map(api, range(100), executor=AtOnce(), max_in_flight=4, batch=5))) == 100
    assert api.refused == 0


def _end_all(executor: Any, stop: threading.Event) -> None:
    while not stop.is_set():
        if isinstance(executor, Later) and executor.calls:
            with contextlib.suppress(IndexError):
                executor.end()
        else:
            time.sleep(0.0005)


def test_the_last_items_do_not_wait_for_a_quota_that_nobody_needs(store: MemoryStore) -> None:
    clock = ManualClock()
    with checkpointed("crawl", manager=CheckpointManager(store=store, clock=clock, save_strategy=NEVER)) as cp:
        list(cp.map(Api(clock), range(10), executor=AtOnce(), max_in_flight=4))
        assert clock.now() == 1000.0


def test_a_used_up_quota_can_be_raised_instead(store: MemoryStore) -> None:
    clock = ManualClock()
    manager = CheckpointManager(store=store, clock=clock, save_strategy=NEVER)
    with pytest.raises(RateLimitExhausted), checkpointed("crawl", manager=manager, on_exhausted="raise") as cp:
        list(cp.map(Api(clock), range(20), executor=AtOnce(), max_in_flight=4))
    found = manager.load_checkpoint("crawl")
    assert found is not None
    assert found.metadata.processed_items == 10


# -- the rest


def test_a_save_that_is_due_does_not_wait_for_the_slowest_item(store: MemoryStore) -> None:
    clock = ManualClock()
    executor = Lastest(2)
    with checkpointed("crawl", every(seconds=60), manager=CheckpointManager(store=store, clock=clock)) as cp:
        results = cp.map(square, range(2), executor=executor, max_in_flight=2)
        next(results)
        session = cp._operation.session
        before = session.saves
        helper = threading.Thread(target=_end_after_save, args=(clock, executor, lambda: session.saves > before))
        helper.start()
        next(results)
        assert session.saves > before
        helper.join()


def _end_after_save(clock: ManualClock, executor: Later, has_saved: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not has_saved() and time.monotonic() < deadline:
        clock.advance(61)
        time.sleep(0.005)
    executor.end()


def test_a_loop_inside_an_item_belongs_to_that_item(store: MemoryStore) -> None:
    """Items end in another order in the next run: the place of an inner loop must not go to another item's."""
    pages: list[tuple[int, int]] = []
    with pytest.raises(KeyError), opened(store) as cp:  # noqa: PT012
        for item, _ in cp.map(square, range(4), executor=Lastest(4), max_in_flight=4):
            for page in cp.remaining(range(5)):
                if (item, page) == (3, 2):
                    raise KeyError
                pages.append((item, page))
    with opened(store) as cp:
        for item, _ in cp.map(square, range(4), executor=AtOnce()):
            pages += [(item, page) for page in cp.remaining(range(5))]
    assert sorted(pages) == [(item, page) for item in range(4) for page in range(5)]


def test_another_engine_and_another_number_of_workers_go_on(tmp_path: Path) -> None:
    seen: list[int] = []
    engines = [partial(ThreadPoolExecutor, 3), None, partial(ProcessPoolExecutor, 2), AtOnce(), ThreadPoolExecutor]
    for number, engine in enumerate(engines):
        with contextlib.suppress(KeyError), opened(tmp_path) as cp:
            results = cp.map(square, range(50), executor=engine, max_in_flight=3 + number)
            for ended, (item, _) in enumerate(results):
                if ended == 11:
                    raise KeyError
                seen.append(item)
    assert sorted(seen) == list(range(50))


def test_the_executor_that_was_given_is_not_shut_down(store: MemoryStore) -> None:
    with ThreadPoolExecutor(1) as pool, opened(store) as cp:
        list(cp.map(square, range(3), executor=pool))
        assert pool.submit(square, 3).result() == 9
