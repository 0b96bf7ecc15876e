"""A checkpoint with a past, in which everything that a person could name is hostile."""

from __future__ import annotations

from datetime import UTC, datetime

from resumable import CheckpointManager, checkpointed, every
from resumable.testing import ManualClock

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\"'&"


def crawl(operation_id: str = "crawl") -> None:
    """Three runs: one ended by an error, one by Ctrl-C, one by waits and failed items."""
    clock = ManualClock(datetime(2026, 11, 20, 8, tzinfo=UTC))
    manager = CheckpointManager("ck", every(items=25), auto_cleanup=False, clock=clock)
    for stop, error in ((100, ConnectionError(HOSTILE)), (250, KeyboardInterrupt()), (400, None)):
        try:
            with checkpointed(operation_id, manager=manager, arguments={"repo": HOSTILE}) as cp:
                for number in cp.remaining(range(400)):
                    clock.advance(2)
                    if number == stop and error is not None:
                        raise error
                    if number == 300:
                        fresh = clock.utc().timestamp() + 500
                        cp.observe(remaining=0, limit=5000, reset_at=fresh, host=HOSTILE)
                    if number == 350:
                        cp.fail(number, HOSTILE)
        except (ConnectionError, KeyboardInterrupt):
            clock.advance(36_000)
