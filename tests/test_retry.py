"""A save before each sleep of tenacity, in every composition, and attempts that begin anew with progress."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity
from tenacity import AsyncRetrying, RetryCallState, Retrying, TryAgain, retry_if_result, stop_after_attempt

from resumable import AsyncCheckpoint, Checkpoint, RateLimitExhausted, StoreError, checkpointed, resumable
from resumable._format.document import decode_document
from resumable._retry import retrying
from resumable.testing import FaultyStore
from tests.support.stores import DictStore

FIVE = {"stop": stop_after_attempt(5), "sleep": lambda seconds: None}


class Saves(DictStore):
    """Remembers what each save said, and what state it held."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []
        self.states: list[dict[str, Any]] = []

    def put(self, key: str, blob: bytes) -> str:
        where = super().put(key, blob)
        document = decode_document(blob)
        self.reasons.append(document["metadata"]["last_save_reason"])
        self.states.append(document["state"])
        return where

    @property
    def retries(self) -> list[str]:
        return [reason for reason in self.reasons if reason.startswith("Retry")]


@pytest.fixture
def store() -> Saves:
    return Saves()


class Flaky:
    """Fails twice, noting in the state which attempt this is."""

    def __init__(self, error: BaseException | None = None, result: Any = "done") -> None:
        self.error = error or ConnectionError("reset")
        self.result = result
        self.attempts = 0

    def __call__(self, cp: Any) -> Any:
        self.attempts += 1
        seen = cp.state.setdefault("seen", [])
        seen.append(self.attempts)
        if self.attempts < 3:
            raise self.error
        return [self.result, *seen]


RETRIED = ["Retry: ConnectionError (attempt 2)", "Retry: ConnectionError (attempt 3)"]


# Compositions, plain


def test_retry_given(store: Saves) -> None:
    flaky = Flaky()

    @resumable(operation_id="x", store=store, retry=Retrying(**FIVE))
    def fetch(cp: Checkpoint) -> Any:
        return flaky(cp)

    assert fetch() == ["done", 1, 2, 3]
    assert store.retries == RETRIED
    assert store.states[-1] == {"seen": [1, 2]}
    assert store.get("x") is None


def test_resumable_outside_of_retry(store: Saves) -> None:
    flaky = Flaky()

    @resumable(operation_id="x", store=store)
    @tenacity.retry(**FIVE)
    def fetch(cp: Checkpoint) -> Any:
        return flaky(cp)

    assert fetch() == ["done", 1, 2, 3]
    assert store.retries == RETRIED
    assert fetch.retry.statistics["attempt_number"] == 3
    assert fetch.statistics["attempt_number"] == 3
    assert fetch.retry.before_sleep is None


def test_retry_outside_of_resumable(store: Saves) -> None:
    flaky = Flaky()

    @tenacity.retry(**FIVE)
    @resumable(operation_id="x", store=store)
    def fetch(cp: Checkpoint) -> Any:
        return flaky(cp)

    assert fetch() == ["done", 1, 2, 3]
    assert store.reasons == ["Interrupted: ConnectionError"] * 2


def test_retrying_with_a_function_and_as_a_loop(store: Saves) -> None:
    for way in ("call", "loop"):
        flaky = Flaky()
        with checkpointed("x", store=store) as cp:
            if way == "call":
                assert cp.retrying(**FIVE)(flaky, cp) == ["done", 1, 2, 3]
            else:
                for attempt in cp.retrying(**FIVE):
                    with attempt:
                        flaky(cp)
    assert store.retries == RETRIED * 2


def test_before_sleep_in_a_policy_of_ones_own(store: Saves) -> None:
    flaky = Flaky()

    with checkpointed("x", store=store) as cp:
        tenacity.retry(**FIVE, before_sleep=cp.before_sleep)(flaky)(cp)

    assert store.retries == RETRIED


def test_try_again_saves_and_names_its_cause(store: Saves) -> None:
    flaky = Flaky(TryAgain())
    caused = Flaky(TryAgain())
    caused.error.__cause__ = OSError()

    with checkpointed("x", store=store) as cp:
        cp.retrying(**FIVE)(flaky, cp)
        cp.retrying(**FIVE)(caused, cp)

    assert store.retries == [f"Retry: {name} (attempt {n})" for name in ("TryAgain", "OSError") for n in (2, 3)]


def test_a_result_is_named_shortly(store: Saves) -> None:
    results = iter([None, "x" * 100, 3])

    with checkpointed("x", store=store) as cp:
        unwanted = retry_if_result(lambda result: result != 3)
        cp.retrying(**FIVE, retry=unwanted)(lambda: next(results))

    assert store.retries[0] == "Retry: result None (attempt 2)"
    assert store.retries[1].startswith("Retry: result 'xxx")
    assert len(store.retries[1]) < 80


@pytest.mark.parametrize("kind", ["method", "classmethod", "staticmethod", "bound"])
def test_methods_are_retried_with_their_receiver(store: Saves, kind: str) -> None:
    flaky = Flaky()
    policy = tenacity.retry(**FIVE)
    around = resumable(operation_id="x", store=store)

    class Client:
        @around
        @policy
        def method(self, cp: Checkpoint, a: int) -> Any:
            return [type(self).__name__, a, *flaky(cp)]

        @classmethod
        @around
        @policy
        def classmethod(cls, cp: Checkpoint, a: int) -> Any:
            return [cls.__name__, a, *flaky(cp)]

        @staticmethod
        @around
        @policy
        def staticmethod(cp: Checkpoint, a: int) -> Any:
            return ["Client", a, *flaky(cp)]

        @policy
        def later(self, cp: Checkpoint, a: int) -> Any:
            return [type(self).__name__, a, *flaky(cp)]

    client: Any = Client()
    method = around(client.later) if kind == "bound" else getattr(client, kind)

    assert method(7) == ["Client", 7, "done", 1, 2, 3]
    assert store.retries == RETRIED


def test_retry_around_a_method_does_not_lose_the_instance(store: Saves) -> None:
    flaky = Flaky()

    class Client:
        @tenacity.retry(**FIVE)
        @resumable(store=store)
        def fetch(self, cp: Checkpoint, a: int) -> Any:
            return [type(self).__name__, a, *flaky(cp)]

    assert Client().fetch(7)[:2] == ["Client", 7]


def test_a_policy_and_a_retry_below_it_both_hold(store: Saves) -> None:
    calls = Flaky(), []

    @resumable(operation_id="x", store=store, retry=Retrying(**FIVE))
    @tenacity.retry(stop=stop_after_attempt(2), reraise=True)
    def fetch(cp: Checkpoint) -> Any:
        return calls[0](cp)

    assert fetch() == ["done", 1, 2, 3]
    assert store.retries == [RETRIED[0]] * 2


def test_a_decorator_between_them_is_warned_of(store: Saves) -> None:
    @tenacity.retry(**FIVE)
    def fetch(cp: Checkpoint) -> None: ...

    def logged(cp: Checkpoint) -> None: ...

    with pytest.warns(UserWarning, match="another decorator stands between"):
        resumable(functools.wraps(fetch)(logged))


# Compositions, async


async def flaky_async(flaky: Flaky, cp: AsyncCheckpoint) -> Any:
    await asyncio.sleep(0)
    return flaky(cp)


@pytest.mark.parametrize("policy", [Retrying(**FIVE), AsyncRetrying(stop=stop_after_attempt(5))], ids=["sync", "async"])
async def test_retry_given_for_an_async_function(store: Saves, policy: Any) -> None:
    flaky = Flaky()

    @resumable(operation_id="x", store=store, retry=policy)
    async def fetch(cp: AsyncCheckpoint) -> Any:
        return await flaky_async(flaky, cp)

    assert await fetch() == ["done", 1, 2, 3]
    assert store.retries == RETRIED


async def test_resumable_outside_of_retry_async(store: Saves) -> None:
    flaky = Flaky()

    @resumable(operation_id="x", store=store)
    @tenacity.retry(stop=stop_after_attempt(5))
    async def fetch(cp: AsyncCheckpoint) -> Any:
        return await flaky_async(flaky, cp)

    assert await fetch() == ["done", 1, 2, 3]
    assert store.retries == RETRIED
    assert fetch.statistics["attempt_number"] == fetch.retry.statistics["attempt_number"] == 3


async def test_retry_outside_of_resumable_async(store: Saves) -> None:
    flaky = Flaky()

    @tenacity.retry(stop=stop_after_attempt(5))
    @resumable(operation_id="x", store=store)
    async def fetch(cp: AsyncCheckpoint) -> Any:
        return await flaky_async(flaky, cp)

    assert await fetch() == ["done", 1, 2, 3]
    assert store.reasons == ["Interrupted: ConnectionError"] * 2


async def test_retrying_and_before_sleep_async(store: Saves) -> None:
    async with checkpointed("x", store=store) as cp:
        flaky = Flaky()
        async for attempt in cp.retrying(stop=stop_after_attempt(5)):
            with attempt:
                await flaky_async(flaky, cp)
        flaky = Flaky()
        await cp.retrying(stop=stop_after_attempt(5))(flaky_async, flaky, cp)
        flaky = Flaky()
        await tenacity.retry(before_sleep=cp.before_sleep)(flaky_async)(flaky, cp)

    assert store.retries == RETRIED * 3


async def test_concurrent_calls_do_not_share_a_policy(store: Saves) -> None:
    flaky = {name: Flaky() for name in "abc"}

    @resumable(operation_id="{name}", store=store, retry=AsyncRetrying(stop=stop_after_attempt(3)))
    async def fetch(cp: AsyncCheckpoint, name: str) -> Any:
        return await flaky_async(flaky[name], cp)

    assert await asyncio.gather(*map(fetch, "abc")) == [["done", 1, 2, 3]] * 3


async def test_hooks_of_an_async_call_may_be_either(store: Saves) -> None:
    said: list[str] = []

    async def slowly(retry_state: RetryCallState) -> str:
        await asyncio.sleep(0)
        said.append("async")
        return "given up"

    def at_once(retry_state: RetryCallState) -> None:
        said.append("plain")

    policy = AsyncRetrying(stop=stop_after_attempt(2), after=slowly, before_sleep=at_once, retry_error_callback=slowly)

    @resumable(operation_id="x", store=store, retry=policy)
    async def fetch(cp: AsyncCheckpoint) -> None:
        raise ConnectionError

    assert await fetch() == "given up"
    assert said == ["async", "plain", "async", "async"]


# The user's own hooks


def test_our_save_comes_first_then_the_users_hook(store: Saves) -> None:
    seen: list[int] = []
    policy = Retrying(**FIVE, before_sleep=lambda retry_state: seen.append(len(store.retries)))

    with checkpointed("x", store=store) as cp:
        retrying(cp, policy)(Flaky(), cp)

    assert seen == [1, 2]
    assert policy.statistics == {}


def test_an_async_hook_is_refused_in_plain_code(store: Saves) -> None:
    """It would never be awaited."""

    async def hook(retry_state: RetryCallState) -> None: ...

    with checkpointed("x", store=store) as cp, pytest.raises(TypeError, match="never awaited in plain code"):
        cp.retrying(before_sleep=hook)


def test_an_async_policy_is_refused_for_a_plain_function() -> None:
    def fetch(cp: Checkpoint) -> None: ...

    with pytest.raises(TypeError, match=r"give retry=tenacity\.Retrying"):
        resumable(retry=AsyncRetrying())(fetch)


def test_a_save_that_fails_does_not_hide_the_error(store: Saves, caplog: pytest.LogCaptureFixture) -> None:
    error = ConnectionError("reset")

    failing = FaultyStore(store)

    def fetch(cp: Checkpoint) -> None:
        failing.fails = StoreError("disk full")
        raise error

    decorated = resumable(operation_id="x", store=failing, retry=Retrying(**{**FIVE, "reraise": True}))(fetch)
    with caplog.at_level(logging.ERROR, "resumable.retry"), pytest.raises(ConnectionError, match="reset"):
        decorated()

    notes = [note for note in error.__notes__ if "could not be saved before the retry: disk full" in note]
    assert len(notes) == 1
    assert [r.name for r in caplog.records if "before the retry" in r.message] == ["resumable.retry"] * 4


def test_a_policy_that_is_switched_off_stays_so(store: Saves) -> None:
    with checkpointed("x", store=store) as cp, pytest.raises(ConnectionError):
        cp.retrying(**FIVE, enabled=False)(Flaky(), cp)


# Giving up


@pytest.mark.parametrize("below", [False, True], ids=["retry given", "retry below"])
def test_a_failure_made_a_result_keeps_the_checkpoint(store: Saves, below: bool) -> None:
    policy = Retrying(stop=stop_after_attempt(2), retry_error_callback=lambda retry_state: "gave up")

    def fetch(cp: Checkpoint) -> Any:
        cp.state["n"] = 1
        raise ConnectionError

    function = policy.wraps(fetch) if below else fetch
    assert resumable(operation_id="x", store=store, retry=None if below else policy)(function)() == "gave up"
    assert store.get("x") is not None
    assert store.states[-1] == {"n": 1}


def test_exhausted_retries_keep_the_checkpoint(store: Saves) -> None:
    @resumable(operation_id="x", store=store, retry=Retrying(**FIVE))
    def fetch(cp: Checkpoint) -> None:
        raise ConnectionError

    with pytest.raises(tenacity.RetryError):
        fetch()
    assert store.reasons[-1] == "Interrupted: RetryError"


def test_what_another_attempt_cannot_mend_is_not_tried_again(store: Saves) -> None:
    """``on_exhausted="raise"`` asks to be run again later, not five times now."""
    attempts: list[int] = []

    @resumable(operation_id="x", store=store, retry=Retrying(**FIVE))
    def fetch(cp: Checkpoint) -> None:
        attempts.append(1)
        raise RateLimitExhausted(0.0)

    with pytest.raises(RateLimitExhausted):
        fetch()
    assert attempts == [1]


# Attempts that know progress


def crawl(cp: Checkpoint, items: int, fails_each: int) -> Callable[[], int]:
    """Fails before each *fails_each*-th item, once."""
    failed: set[int] = set()

    def go_on() -> int:
        while cp.processed_items < items:
            if cp.processed_items % fails_each == 0 and cp.processed_items not in failed:
                failed.add(cp.processed_items)
                raise ConnectionError
            cp.tick()
        return len(failed)

    return go_on


def test_five_attempts_are_five_failures_at_one_place(store: Saves) -> None:
    with checkpointed("x", store=store) as cp:
        assert cp.retrying(**FIVE)(crawl(cp, items=100, fails_each=5)) == 20


def test_without_it_they_are_five_failures_in_all(store: Saves) -> None:
    with checkpointed("x", store=store) as cp, pytest.raises(tenacity.RetryError):
        cp.retrying(**FIVE, reset_on_progress=False)(crawl(cp, items=100, fails_each=5))


def test_failures_at_one_place_still_end_it(store: Saves) -> None:
    attempts: list[int] = []

    def fetch() -> None:
        attempts.append(cp.processed_items)
        if cp.processed_items < 3:
            cp.tick()
        raise ConnectionError

    with checkpointed("x", store=store) as cp, pytest.raises(tenacity.RetryError):
        cp.retrying(**FIVE)(fetch)
    assert attempts == [0, 1, 2, 3, 3, 3, 3]


def test_waits_begin_anew_too(store: Saves) -> None:
    waits: list[float] = []
    progress = iter([False, False, True, False, False])

    def fetch() -> None:
        if next(progress):
            cp.tick()
        raise ConnectionError

    policy = {"stop": stop_after_attempt(3), "wait": tenacity.wait_exponential(1), "sleep": waits.append}
    with checkpointed("x", store=store) as cp, pytest.raises(tenacity.RetryError):
        cp.retrying(**(policy | {"stop": lambda retry_state: len(waits) == 4}))(fetch)
    assert waits == [1, 2, 1, 2]


def test_the_time_for_stop_after_delay_begins_anew(store: Saves) -> None:
    seen: list[tuple[int, float, float]] = []

    def look(retry_state: RetryCallState) -> bool:
        seen.append((retry_state.attempt_number, retry_state.idle_for, retry_state.seconds_since_start or 0.0))
        return len(seen) == 3

    def fetch() -> None:
        cp.tick()
        raise ConnectionError

    with checkpointed("x", store=store) as cp, pytest.raises(tenacity.RetryError):
        cp.retrying(stop=look, wait=tenacity.wait_fixed(9), sleep=lambda seconds: None)(fetch)
    assert seen == [(1, 0.0, 0.0)] * 3


def test_in_the_end_the_true_totals_count(store: Saves) -> None:
    """A loop that creeps on by one item a failure is not repeated forever."""
    attempts: list[int] = []

    def fetch() -> None:
        attempts.append(1)
        cp.tick()
        raise ConnectionError

    with checkpointed("x", store=store) as cp, pytest.raises(tenacity.RetryError):
        retrying(cp, Retrying(**FIVE), max_attempts_total=20)(fetch)
    assert len(attempts) == 20


def test_an_attempt_repeated_for_its_result_is_not_progress(store: Saves) -> None:
    """Each may tick and answer "not yet": attempts that began anew would never end."""
    attempts: list[int] = []

    def poll() -> None:
        attempts.append(1)
        cp.tick()

    with checkpointed("x", store=store) as cp, pytest.raises(tenacity.RetryError):
        cp.retrying(**FIVE, retry=retry_if_result(lambda result: result is None))(poll)
    assert len(attempts) == 5


def test_calls_of_one_policy_are_counted_apart(store: Saves) -> None:
    with checkpointed("x", store=store) as cp:
        policy = retrying(cp, Retrying(**FIVE), max_attempts_total=4)
        for _ in range(5):
            policy(Flaky(), cp)


async def test_progress_counts_in_async_code(store: Saves) -> None:
    async with checkpointed("x", store=store) as cp:
        failures: list[int] = []

        async def fetch() -> int:
            if len(failures) < 20:
                failures.append(1)
                await cp.tick()
                raise ConnectionError
            return len(failures)

        assert await cp.retrying(stop=stop_after_attempt(2))(fetch) == 20


# Loops over what remains


class Once:
    """Fails at the first call for each of *items*, and remembers all."""

    def __init__(self, *items: int) -> None:
        self.left = set(items)
        self.seen: list[int] = []

    def __call__(self, item: int) -> None:
        self.seen.append(item)
        if item in self.left:
            self.left.remove(item)
            raise ConnectionError


def test_the_next_attempt_goes_on_with_the_item_that_failed(store: Saves) -> None:
    fetch = Once(3, 7)

    @resumable(operation_id="x", store=store, retry=Retrying(**FIVE))
    def crawl(cp: Checkpoint) -> int:
        for _ in cp.remaining([100, 101]):
            pass
        for item in cp.remaining(range(9)):
            fetch(item)
        return cp.processed_items

    assert crawl() == 11
    assert fetch.seen == [0, 1, 2, 3, 3, 4, 5, 6, 7, 7, 8]
    assert store.get("x") is None


def test_a_retry_inside_a_loop_leaves_the_loop_alone(store: Saves) -> None:
    fetch = Once(12, 20)

    with checkpointed("x", store=store) as cp:
        for page in cp.remaining([1, 2]):
            for attempt in cp.retrying(**FIVE):
                with attempt:
                    for item in cp.remaining(range(10 * page, 10 * page + 4)):
                        fetch(item)

    assert fetch.seen == [10, 11, 12, 12, 13, 20, 20, 21, 22, 23]
    assert store.get("x") is None


async def test_async_attempts_go_on_too(store: Saves) -> None:
    fetch = Once(3)

    @resumable(operation_id="x", store=store)
    @tenacity.retry(stop=stop_after_attempt(2))
    async def crawl(cp: AsyncCheckpoint) -> None:
        async for item in cp.remaining(range(5)):
            fetch(item)

    await crawl()
    assert fetch.seen == [0, 1, 2, 3, 3, 4]
    assert store.get("x") is None


# Sleeps


@contextlib.contextmanager
def signal_after(seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        yield
    finally:
        timer.join()


@pytest.mark.timeout(30)
def test_a_signal_ends_the_sleep_and_nothing_is_lost(store: Saves) -> None:
    """A wait for a rate limit takes half an hour; nobody reads the flag meanwhile."""

    @resumable(operation_id="x", store=store, retry=Retrying(wait=tenacity.wait_fixed(3600)))
    def fetch(cp: Checkpoint) -> None:
        cp.state["n"] = 1
        raise ConnectionError

    with signal_after(0.3), pytest.raises(SystemExit) as caught:
        fetch()

    assert caught.value.code == 143
    assert store.reasons == ["Retry: ConnectionError (attempt 2)", "Interrupted: SIGTERM"]
    assert store.states[-1] == {"n": 1}


async def test_the_sleep_of_a_plain_policy_does_not_block_the_loop(store: Saves) -> None:
    threads: list[Any] = []
    policy = Retrying(stop=stop_after_attempt(5), sleep=lambda s: threads.append(threading.current_thread()))

    @resumable(operation_id="x", store=store, retry=policy)
    async def fetch(cp: AsyncCheckpoint, flaky: Flaky) -> Any:
        return flaky(cp)

    await fetch(Flaky())
    assert len(threads) == 2
    assert threading.main_thread() not in threads


def test_retrying_without_a_policy_takes_the_one_of_the_block(tmp_path: Path) -> None:
    failures = [ConnectionError(), ConnectionError()]
    policy = tenacity.Retrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none())
    with checkpointed("job", store=tmp_path, retry=policy) as cp:
        for attempt in cp.retrying():
            with attempt:
                if failures:
                    raise failures.pop()
        assert cp.metadata.last_save_reason == "Retry: ConnectionError (attempt 3)"
