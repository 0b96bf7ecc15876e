"""What happens when the API's quota is used up: save, then wait, raise, or ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from resumable import (
    CheckpointData,
    CheckpointManager,
    RateLimitExhausted,
    StoreError,
    checkpointed,
    every,
    rate_limit_below,
)
from resumable.testing import FaultyStore, ManualClock, MemoryStore

MARGIN = 1  # second that is waited beyond the reset


class Stop(Exception):
    """What leaves a block in these tests."""


class Quota:
    """A server that allows *limit* requests in each window; it counts requests that come too early."""

    def __init__(self, clock: ManualClock, limit: int = 10, window: float = 60) -> None:
        self.clock = clock
        self.limit = limit
        self.window = window
        self.used = 0
        self.refused = 0
        self.reset_at = self.now() + window

    def now(self) -> float:
        return self.clock.utc().timestamp()

    def ask(self) -> dict[str, str]:
        """The headers of one answer."""
        if self.now() >= self.reset_at:
            self.used, self.reset_at = 0, self.now() + self.window
        if self.used >= self.limit:
            self.refused += 1
        self.used = min(self.used + 1, self.limit)
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.limit - self.used),
            "X-RateLimit-Reset": str(int(self.reset_at)),
            "X-RateLimit-Resource": "core",
        }


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def manager(clock: ManualClock, store: FaultyStore) -> CheckpointManager:
    return CheckpointManager(store=store, clock=clock, save_strategy=every(hours=1000))


@pytest.fixture
def quota(clock: ManualClock) -> Quota:
    return Quota(clock)


def saved(manager: CheckpointManager) -> CheckpointData:
    data = manager.load_checkpoint("job")
    assert data is not None
    return data


def fetch_all(manager: CheckpointManager, quota: Quota, count: int = 25, **options: Any) -> list[int]:
    done = []
    with checkpointed("job", manager=manager, **options) as cp:
        for item in cp.remaining(range(count)):
            cp.observe(quota.ask())
            done.append(item)
    return done


# -- wait -------------------------------------------------------------------------------------------------------------


def test_by_default_it_waits_until_the_quota_is_fresh(
    manager: CheckpointManager, quota: Quota, clock: ManualClock
) -> None:
    began = clock.now()

    assert fetch_all(manager, quota) == list(range(25))

    assert quota.refused == 0
    assert clock.now() - began == pytest.approx(2 * (60 + MARGIN), abs=2)


def test_it_saves_before_it_waits(
    manager: CheckpointManager, quota: Quota, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, str | None]] = []
    sleep = clock.sleep

    def note(seconds: float) -> None:
        metadata = saved(manager).metadata
        seen.append((metadata.processed_items, metadata.last_save_reason))
        sleep(seconds)

    monkeypatch.setattr(clock, "sleep", note)

    fetch_all(manager, quota)

    reason = "Rate-limit: core is used up"
    assert list(dict.fromkeys(seen)) == [(10, reason), (20, reason)]


def test_ticks_wait_too(manager: CheckpointManager, quota: Quota, clock: ManualClock) -> None:
    with checkpointed("job", manager=manager) as cp:
        for _ in range(10):
            cp.observe(quota.ask())
            began = clock.now()
            cp.tick()

    assert clock.now() - began >= 60


@pytest.mark.parametrize("key", [None, int], ids=["by position", "by key"])
def test_nothing_is_waited_for_after_the_last_item_of_a_loop(
    key: Any, manager: CheckpointManager, clock: ManualClock
) -> None:
    began = clock.now()
    with checkpointed("job", manager=manager) as cp:
        for _ in cp.remaining(range(10), key=key):
            cp.observe(remaining=0 if cp.processed_items == 9 else 5, limit=10, reset_at=clock.utc().timestamp() + 60)

    assert clock.now() == began


def test_nothing_is_waited_for_after_the_last_item(
    manager: CheckpointManager, quota: Quota, clock: ManualClock
) -> None:
    began = clock.now()

    fetch_all(manager, quota, count=10)

    assert clock.now() == began


@pytest.mark.parametrize("how", ["total", "metadata"])
def test_nothing_is_waited_for_after_the_last_tick(how: str, manager: CheckpointManager, clock: ManualClock) -> None:
    began = clock.now()
    with checkpointed("job", manager=manager, total=3 if how == "total" else None) as cp:
        if how == "metadata":
            cp.metadata.total_items = 3
        for left in (2, 1, 0):
            cp.observe(remaining=left, limit=3, reset_at=clock.utc().timestamp() + 3600)
            cp.tick()
        assert clock.now() == began
        cp.tick()

    assert (clock.now() > began) is (how == "metadata"), "there are more than it said"


def test_a_wait_is_no_working_time(manager: CheckpointManager, quota: Quota, clock: ManualClock) -> None:
    """An interval that measures what a kill would lose must not count hours of waiting."""
    with checkpointed("job", manager=manager) as cp:
        cp.observe(remaining=0, limit=10, reset_at=quota.now() + 3600)
        cp.tick()
        costs = cp._operation.session.costs

    assert costs.active_seconds < 1


def test_a_quota_without_a_reset_cannot_be_waited_for(manager: CheckpointManager, clock: ManualClock) -> None:
    began = clock.now()
    with checkpointed("job", manager=manager) as cp:
        cp.observe(remaining=0, limit=10)
        cp.tick()

    assert clock.now() == began


def test_the_strategy_hears_of_the_quota(manager: CheckpointManager, quota: Quota) -> None:
    with checkpointed("job", rate_limit_below(0.2), manager=manager) as cp:
        for _ in range(8):
            cp.observe(quota.ask())
            cp.tick()
        reason = saved(manager).metadata.last_save_reason

    assert reason == "Rate-limit: 2/10 (20.0% remaining <= 20.0% threshold)"


def test_the_metadata_tells_what_is_left(manager: CheckpointManager, quota: Quota) -> None:
    with checkpointed("job", manager=manager) as cp:
        for _ in range(3):
            cp.observe(quota.ask())
        assert cp.metadata.rate_limit_remaining == 7
        assert cp.metadata.rate_limit_total == 10


@pytest.mark.parametrize(
    "answer",
    [None, 7, "text", {}, {"X-RateLimit-Remaining": "many"}, pytest.param(object(), id="object")],
    ids=repr,
)
def test_an_answer_that_tells_nothing_changes_nothing(answer: object, manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.observe(answer)
        cp.tick()
        assert cp.metadata.rate_limit_remaining is None


# -- raise ------------------------------------------------------------------------------------------------------------


def test_raise_saves_and_says_when_to_come_back(manager: CheckpointManager, quota: Quota) -> None:
    with pytest.raises(RateLimitExhausted) as raised:
        fetch_all(manager, quota, on_exhausted="raise")

    assert raised.value.reset_at == pytest.approx(quota.reset_at + MARGIN, abs=1)
    assert raised.value.resource == "core"
    assert saved(manager).metadata.processed_items == 10


def test_raise_raises_again_until_the_quota_is_fresh_and_then_goes_on(
    manager: CheckpointManager, quota: Quota, clock: ManualClock
) -> None:
    for _ in range(3):
        with pytest.raises(RateLimitExhausted):
            fetch_all(manager, quota, count=15, on_exhausted="raise")
    assert saved(manager).metadata.processed_items == 10
    clock.advance(60 + MARGIN)

    assert fetch_all(manager, quota, count=15, on_exhausted="raise") == list(range(10, 15))
    assert quota.refused == 0


def test_a_run_that_begins_when_it_was_told_to_goes_on(
    manager: CheckpointManager, quota: Quota, clock: ManualClock
) -> None:
    with pytest.raises(RateLimitExhausted) as raised:
        fetch_all(manager, quota, count=15, on_exhausted="raise")
    assert raised.value.reset_at is not None
    clock.advance(raised.value.reset_at - clock.utc().timestamp())

    assert fetch_all(manager, quota, count=15, on_exhausted="raise") == list(range(10, 15))


# -- ask --------------------------------------------------------------------------------------------------------------


def test_a_callable_is_told_which_quota_it_is(manager: CheckpointManager, quota: Quota) -> None:
    asked: list[Any] = []

    def policy(limit: Any) -> str:
        asked.append(limit)
        return "wait"

    fetch_all(manager, quota, count=11, on_exhausted=policy)

    assert [(limit.resource, limit.limit, limit.remaining) for limit in asked] == [("core", 10, 0)]


@pytest.mark.parametrize(
    ("policy", "waits"),
    [pytest.param(lambda limit: "wait", True, id="wait"), pytest.param(lambda limit: None, False, id="go on")],
)
def test_a_callables_answer_is_followed(
    policy: Callable[[Any], Any], waits: bool, manager: CheckpointManager, quota: Quota, clock: ManualClock
) -> None:
    began = clock.now()

    fetch_all(manager, quota, count=11, on_exhausted=policy)

    assert (clock.now() - began >= 60) is waits


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "times"), [(None, 2), ("wait", 2)], ids=str)
def test_a_callable_is_asked_once_for_each_quota_and_window(
    answer: str | None, times: int, manager: CheckpointManager, clock: ManualClock
) -> None:
    asked: list[str] = []

    def policy(limit: Any) -> Any:
        asked.append(limit.resource)
        return answer

    began = clock.utc().timestamp()
    with checkpointed("job", manager=manager, on_exhausted=policy) as cp:
        for item in cp.remaining(range(20)):
            cp.observe(remaining=0, limit=10, reset_at=began + (60 if item < 10 else 7200), resource="core")

    assert asked == ["core"] * times


def test_nothing_is_saved_before_the_answer_to_go_on(manager: CheckpointManager, quota: Quota) -> None:
    def policy(limit: object) -> None:
        assert manager.load_checkpoint("job") is None

    with checkpointed("job", manager=manager, on_exhausted=policy) as cp:
        for _ in cp.remaining(range(20)):
            cp.observe(quota.ask())
        assert cp.metadata.save_count == 0


def test_a_callable_may_raise_an_error_of_its_own(manager: CheckpointManager, quota: Quota) -> None:
    def policy(limit: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        fetch_all(manager, quota, on_exhausted=policy)

    assert saved(manager).metadata.processed_items == 10


def test_a_callable_may_answer_raise(manager: CheckpointManager, quota: Quota) -> None:
    with pytest.raises(RateLimitExhausted):
        fetch_all(manager, quota, on_exhausted=lambda limit: "raise")


@pytest.mark.parametrize("policy", ["stop", 7, None], ids=repr)
def test_any_other_policy_is_refused(policy: Any, manager: CheckpointManager) -> None:
    with pytest.raises(ValueError, match="on_exhausted must be 'wait', 'raise' or a callable"):
        checkpointed("job", manager=manager, on_exhausted=policy)


# -- the next run -----------------------------------------------------------------------------------------------------


def test_a_run_that_is_killed_in_the_wait_goes_on_waiting_for_what_is_left(
    manager: CheckpointManager, quota: Quota, clock: ManualClock
) -> None:
    """Not from the start, and it asks nothing before the reset."""
    with pytest.raises(RateLimitExhausted):
        fetch_all(manager, quota, on_exhausted="raise")
    clock.advance(45)
    began, asked = clock.now(), []

    with checkpointed("job", manager=manager) as cp:
        entered = clock.now() - began
        for item in cp.remaining(range(25)):
            asked.append(quota.now() >= quota.reset_at or quota.used < quota.limit)
            cp.observe(quota.ask())
            if item == 12:
                break

    assert entered == pytest.approx(15 + MARGIN, abs=1)
    assert all(asked)
    assert quota.refused == 0


def fail_after_all(manager: CheckpointManager, clock: ManualClock, items: Iterable[int]) -> None:
    """All *items* are done, the last with the last request of an hour. What comes after them fails."""
    reset_at = clock.utc().timestamp() + 3600
    with suppress(Stop), checkpointed("job", manager=manager) as cp:
        for item in cp.remaining(items, name="numbers"):
            cp.observe(remaining=2 - item, limit=10, reset_at=reset_at)
        raise Stop


def test_where_no_item_is_left_the_next_run_waits_for_nothing(manager: CheckpointManager, clock: ManualClock) -> None:
    fail_after_all(manager, clock, range(3))
    began = clock.now()
    with checkpointed("job", manager=manager) as cp:
        assert list(cp.remaining(range(3), name="numbers")) == []
    assert clock.now() - began < 1


def test_items_that_have_come_since_wait(manager: CheckpointManager, clock: ManualClock) -> None:
    fail_after_all(manager, clock, range(3))
    began = clock.now()
    with checkpointed("job", manager=manager) as cp:
        assert list(cp.remaining(range(4), name="numbers")) == [3]
    assert clock.now() - began >= 3600


def test_a_source_that_is_gone_through_again_sends_its_requests_after_the_wait(
    manager: CheckpointManager, clock: ManualClock
) -> None:
    asked: list[float] = []
    began = clock.now()

    def source() -> Iterator[int]:
        for number in range(3):
            asked.append(clock.now() - began)
            yield number

    fail_after_all(manager, clock, source())
    asked.clear()
    with checkpointed("job", manager=manager) as cp:
        assert list(cp.remaining(source(), name="numbers")) == []
    assert min(asked) >= 3600


@pytest.mark.slow
async def test_an_async_source_that_is_gone_through_again_sends_its_requests_after_the_wait(
    manager: CheckpointManager, clock: ManualClock
) -> None:
    began = clock.now()
    asked: list[float] = []

    async def source() -> AsyncIterator[int]:
        for number in range(3):
            asked.append(clock.now() - began)
            yield number

    with suppress(Stop):
        async with checkpointed("job", manager=manager) as cp:
            async for item in cp.remaining(source(), name="numbers"):
                cp.observe(remaining=2 - item, limit=10, reset_at=clock.utc().timestamp() + 3600)
            raise Stop
    asked.clear()
    async with checkpointed("job", manager=manager) as cp:
        assert [item async for item in cp.remaining(source(), name="numbers")] == []
    assert min(asked) >= 3600


def test_a_run_that_comes_after_the_reset_does_not_wait(
    manager: CheckpointManager, quota: Quota, clock: ManualClock
) -> None:
    with pytest.raises(RateLimitExhausted):
        fetch_all(manager, quota, on_exhausted="raise")
    clock.advance(3600)
    began = clock.now()

    with checkpointed("job", manager=manager):
        assert clock.now() == began


def test_a_save_that_fails_before_the_wait_is_told_and_the_next_tick_tries_again(
    manager: CheckpointManager, store: FaultyStore, quota: Quota, clock: ManualClock
) -> None:
    """To wait an hour with nothing saved would be a lie: "safe to stop"."""
    with checkpointed("job", manager=manager) as cp:
        cp.observe(remaining=0, limit=10, reset_at=quota.now() + 3600)
        store.fail_next("stage", error=StoreError("disk full"))
        with pytest.raises(StoreError, match="disk full"):
            cp.tick()
        assert clock.now() < 1000 + 3600
        cp.tick()
        assert saved(manager).metadata.processed_items == 2
