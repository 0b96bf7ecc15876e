"""Sources that send requests: they wait between their own, also while a resumed loop skips what is done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from resumable import Checkpoint, CheckpointManager, checkpointed, every
from resumable.testing import ManualClock, MemoryStore

PAGES, PAGE, LIMIT, WINDOW = 12, 5, 3, 60
WAYS = pytest.mark.parametrize(
    "options",
    [{}, {"key": str}, {"fingerprint": "full"}, {"fingerprint": None}],
    ids=["sampled", "key", "full", "none"],
)


class Server:
    """Three requests in a window; it counts those that come too early."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.refused = self.used = 0
        self.reset_at = 0.0

    def page(self, number: int, cp: Any) -> range:
        now = self.clock.utc().timestamp()
        if now >= self.reset_at:
            self.used, self.reset_at = 0, now + WINDOW
        self.refused += self.used >= LIMIT
        self.used = min(self.used + 1, LIMIT)
        cp.observe(remaining=LIMIT - self.used, limit=LIMIT, reset_at=self.reset_at)
        return range(number * PAGE, (number + 1) * PAGE)

    def items(self, cp: Checkpoint) -> Iterator[int]:
        for number in range(PAGES):
            yield from self.page(number, cp)

    async def items_async(self, cp: Any) -> AsyncIterator[int]:
        for item in self.items(cp):
            yield item


@pytest.fixture
def server(clock: ManualClock) -> Server:
    return Server(clock)


@pytest.fixture
def manager(clock: ManualClock) -> CheckpointManager:
    return CheckpointManager(store=MemoryStore(), clock=clock, save_strategy=every(hours=1000))


@WAYS
def test_a_source_waits_between_its_requests(options: Any, manager: CheckpointManager, server: Server) -> None:
    done: list[int] = []
    for stop in (43, 51, None):
        with checkpointed("job", manager=manager) as cp:
            for item in cp.remaining(server.items(cp), **options):
                if item == stop:
                    break
                done.append(item)

    assert done == list(range(PAGES * PAGE))
    assert server.refused == 0


@WAYS
async def test_an_async_source_waits_between_its_requests(
    options: Any, manager: CheckpointManager, server: Server
) -> None:
    done: list[int] = []
    for stop in (43, 51, None):
        async with checkpointed("job", manager=manager) as cp:
            async for item in cp.remaining(server.items_async(cp), **options):
                if item == stop:
                    break
                done.append(item)

    assert done == list(range(PAGES * PAGE))
    assert server.refused == 0


def test_a_source_may_wait_by_itself(manager: CheckpointManager, server: Server) -> None:
    """One that sends several requests before it gives out anything."""

    def items(cp: Checkpoint) -> Iterator[int]:
        for number in range(0, PAGES, 6):
            pages = []
            for each in range(number, number + 6):
                cp.wait_if_exhausted()
                pages.append(server.page(each, cp))
            for page in pages:
                yield from page

    with checkpointed("job", manager=manager) as cp:
        assert list(cp.remaining(items(cp))) == list(range(PAGES * PAGE))

    assert server.refused == 0
