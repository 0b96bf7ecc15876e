"""When to save, decided without a clock: told what happened, the session answers."""

from __future__ import annotations

from resumable import CheckpointMetadata, every
from resumable._engine.session import Session


def session(items: int, done: int = 0) -> Session:
    return Session(every(items=items), CheckpointMetadata(processed_items=done), now=100.0)


def test_a_save_is_due_once_the_strategy_says_so() -> None:
    one = session(10)
    one.metadata.processed_items = 9
    assert one.due(now=101.0) is None

    one.metadata.processed_items = 10
    decision = one.due(now=102.0)

    assert decision is not None
    assert (decision.at.processed_items, decision.at.elapsed_time, decision.is_charged) == (10, 2.0, True)


def test_a_save_in_flight_counts_until_it_fails() -> None:
    one = session(10)
    one.metadata.processed_items = 10
    decision = one.due(now=101.0)
    assert decision is not None
    before = one.sent(decision)
    assert one.due(now=102.0) is None

    one.failed([before])

    assert one.due(now=103.0) is not None
    assert one.saves == 0


def test_a_stored_save_is_where_the_next_one_is_counted_from() -> None:
    one = session(10, done=5)
    one.metadata.processed_items = 15
    decision = one.due(now=101.0)
    assert decision is not None
    one.stored(decision, 0.5, was_sent=False)

    assert one.saves == 1
    assert one.due(now=102.0) is None
    assert one.seconds_since_save(now=103.0) == 2.0
    one.metadata.processed_items = 25
    assert one.due(now=104.0) is not None


def test_a_save_that_was_put_off_is_tried_when_the_next_one_is_due() -> None:
    one = session(10)
    one.metadata.processed_items = 10
    decision = one.due(now=101.0)
    assert decision is not None
    one.put_off(decision)

    one.metadata.processed_items = 19
    assert one.due(now=102.0) is None
    one.metadata.processed_items = 20
    assert one.due(now=103.0) is not None


def test_a_demand_is_a_save_that_costs_nothing() -> None:
    decision = session(10).demand("Interrupted: KeyboardInterrupt", now=101.0)

    assert (decision.reason, decision.is_charged) == ("Interrupted: KeyboardInterrupt", False)


def test_a_wait_is_no_work_of_the_next_item() -> None:
    one = session(1000)
    one.metadata.processed_items = 1
    one.count_work(now=102.0)
    one.waited(now=500.0)
    one.metadata.processed_items = 2
    one.count_work(now=501.0)

    assert 1.9 < one.longest_item <= 2.0
