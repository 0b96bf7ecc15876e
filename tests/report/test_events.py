"""``on_event=``: the events and their order; a function that fails or hangs harms nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointManager, Event, RateLimitExhausted, checkpointed, current_checkpoint, every, resumable
from resumable._report import events
from resumable.testing import FaultyStore, ManualClock
from tests.support.watched import until


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names(told: list[Event]) -> list[str]:
    return [event.name for event in told]


def test_a_run_is_told_from_its_beginning_to_its_end() -> None:
    told: list[Event] = []

    with checkpointed("job", every(hours=1), on_event=told.append, store="ck") as cp:
        for number in cp.remaining(range(4)):
            if number == 2:
                cp.save("by hand")

    assert names(told) == ["opened", "saved", "done"]
    assert [event.processed_items for event in told] == [0, 2, 4]
    assert {(event.operation_id, event.run) for event in told} == {("job", 1)}
    assert told[-1].total_items == 4
    assert told[1].reason == "by hand"
    assert told[1].seconds is not None


def test_a_run_that_is_left_is_told_with_its_reason_and_the_next_one_resumes() -> None:
    told: list[Event] = []
    for _ in range(2):
        with pytest.raises(ValueError, match="two"), checkpointed("job", every(hours=1), on_event=told.append) as cp:  # noqa: PT012
            for number in cp.remaining(range(4)):
                if number == 2:
                    raise ValueError("two")

    assert names(told) == ["opened", "saved", "stopping", "resumed", "saved", "stopping"]
    assert told[2].error == "ValueError: two"
    assert told[2].reason == "Interrupted: ValueError"
    assert (told[3].run, told[3].processed_items) == (2, 2)


def test_failed_items_are_told_of_loops_and_of_maps() -> None:
    told: list[Event] = []

    def halve(number: int) -> int:
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number // 2

    with checkpointed("job", on_event=told.append) as cp, ThreadPoolExecutor(2) as pool:
        for number in cp.remaining(["a", "b"], name="plain"):
            if number == "b":
                cp.fail(number, "no b")
        for _ in cp.map(halve, range(4), executor=pool, on_error="skip", name="halves"):
            pass

    failed = [event for event in told if event.name == "failed_item"]
    assert [(event.loop, event.key) for event in failed[:1]] == [("plain", 1)]
    assert sorted((event.key, event.error) for event in failed[1:]) == [
        (1, "ValueError: 1 is odd"),
        (3, "ValueError: 3 is odd"),
    ]
    assert told[-1].name == "stopping"
    assert told[-1].failed_items == 3


def test_a_wait_is_told_once_and_a_used_up_quota_says_when_it_is_fresh() -> None:
    clock, told = ManualClock(), list[Event]()
    reset = clock.utc().timestamp() + 30
    manager = CheckpointManager(clock=clock, store="memory://waits")
    with checkpointed("job", manager=manager, on_event=told.append) as cp:
        for number in cp.remaining(range(3)):
            if number == 0:
                cp.observe(remaining=0, limit=10, reset_at=reset, host="api.example.org")
    waits = [event for event in told if event.name == "waiting"]
    assert [(event.whom, round(event.seconds or 0)) for event in waits] == [("api.example.org", 31)]

    told.clear()
    options: dict[str, Any] = {"manager": manager, "on_exhausted": "raise", "on_event": told.append}
    with pytest.raises(RateLimitExhausted), checkpointed("b", **options) as cp:  # noqa: PT012
        for _ in cp.remaining(range(3)):
            cp.observe(remaining=0, limit=10, reset_at=clock.utc().timestamp() + 30)
    assert told[-1].name == "stopping"
    assert told[-1].again_at == pytest.approx(clock.utc().timestamp() + 30)


def test_a_save_that_fails_is_told() -> None:
    told, store = list[Event](), FaultyStore("memory://faulty events")
    with checkpointed("job", every(items=1), store=store, on_save_error="warn", on_event=told.append) as cp:
        for number in cp.remaining(range(2)):
            if number == 0:
                store.fail_next("write")
    assert "save_failed" in names(told)


def test_what_a_function_raises_is_told_once_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Event] = []

    def bad(event: Event) -> None:
        raise SystemExit("no")

    with checkpointed("job", every(items=1), on_event=[bad, told.append]) as cp:
        done = list(cp.remaining(range(3)))

    assert done == [0, 1, 2]
    assert names(told)[0] == "opened"
    assert names(told)[-1] == "done"
    assert [record.message for record in caplog.records if "on_event" in record.message] == [
        "job: on_event test_what_a_function_raises_is_told_once_and_harms_nothing.<locals>.bad failed: SystemExit: no"
    ]


def test_a_function_that_hangs_holds_up_only_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "_PATIENCE_SECONDS", 0.05)
    gate, told = threading.Event(), list[Event]()

    with checkpointed("job", every(items=1), on_event=[lambda event: gate.wait(), told.append]) as cp:
        assert list(cp.remaining(range(3))) == [0, 1, 2]

    assert "has not returned" in caplog.text
    until(lambda: names(told)[-1:] == ["done"])
    gate.set()


def test_a_function_that_hangs_is_waited_for_once_however_many_operations_tell_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "_PATIENCE_SECONDS", 0.2)
    gate, told = threading.Event(), list[Event]()

    def tell(event: Event) -> None:
        gate.wait(60)
        told.append(event)

    for number in range(20):
        with checkpointed(f"job {number}", on_event=tell) as cp:
            cp.tick()
    assert len([one for one in events._left_alone if one.function is tell and one.is_at_work]) == 1
    assert caplog.text.count("has not returned") == 1

    gate.set()
    while any(other.function is tell and other.is_at_work for other in events._left_alone):
        time.sleep(0.01)
    with checkpointed("after", on_event=tell) as cp:
        cp.tick()
    assert {event.operation_id for event in told} == {"job 0", "after"}


def test_a_stop_that_saves_at_once_and_as_the_block_ends_tells_of_one_save() -> None:
    told: list[Event] = []
    with pytest.raises(SystemExit), checkpointed("job", every(hours=1), on_event=told.append) as cp:  # noqa: PT012
        for number in cp.remaining(range(100)):
            if number == 3:
                cp.stop()

    assert names(told) == ["opened", "saved", "stopping"]


def test_saves_do_not_pile_up_for_a_function_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_MOST_WAITING", 5)
    gate, told = threading.Event(), list[Event]()

    def slow(event: Event) -> None:
        gate.wait(60)
        told.append(event)

    with checkpointed("job", every(items=1), on_event=slow) as cp:
        for number in cp.remaining(range(30)):
            cp.save()
            if number == 29:
                gate.set()
    assert names(told)[0] == "opened"
    assert names(told)[-1] == "done"
    assert len(told) < 20


async def test_async_blocks_tell_and_never_block_their_loop() -> None:
    gate, told = threading.Event(), list[Event]()

    async def note(event: Event) -> None:
        await asyncio.sleep(0)
        told.append(event)

    async with checkpointed("job", every(hours=1), on_event=[note, lambda event: gate.wait(60)]) as cp:
        async for _ in cp.remaining(range(2)):
            await cp.save()
    gate.set()
    await asyncio.to_thread(until, lambda: names(told)[-1:] == ["done"])

    assert names(told) == ["opened", "saved", "saved", "done"]


def test_a_decorated_function_tells_as_well() -> None:
    told: list[Event] = []

    @resumable(operation_id="f", on_event=told.append)
    def f(cp: Any) -> int:
        return len(list(cp.remaining(range(3))))

    assert f() == 3
    assert names(told)[0] == "opened"
    assert names(told)[-1] == "done"


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="on_event must be a function"):
        checkpointed("job", on_event=[1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="on_event must be a function"):
        checkpointed("job", on_event=1)  # type: ignore[arg-type]


def test_a_function_may_stop_the_run_it_is_told_of() -> None:
    def stop_at_two(event: Event) -> None:
        if event.name == "saved" and event.processed_items >= 2:
            current_checkpoint().stop()

    with pytest.raises(SystemExit), checkpointed("job", every(items=1), on_event=stop_at_two) as cp:  # noqa: PT012
        while True:
            time.sleep(0.01)
            cp.tick()


def test_log_records_have_stable_names_and_facts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "resumable.events"), checkpointed("job", every(hours=1)) as cp:
        for number in cp.remaining(range(3)):
            if number == 2:
                cp.save("by hand")

    records = [record for record in caplog.records if record.name == "resumable.events"]
    assert [(record.__dict__["event"], record.message) for record in records] == [
        ("resumable.opened", "operation opened"),
        ("resumable.saved", "checkpoint saved"),
        ("resumable.done", "operation done"),
    ]
    assert records[1].__dict__["resumable.operation_id"] == "job"
    assert records[1].__dict__["resumable.processed_items"] == 2
    assert records[1].__dict__["resumable.reason"] == "by hand"
