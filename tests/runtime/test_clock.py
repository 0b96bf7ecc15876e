"""Clocks and alarms."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest

from resumable._runtime.clock import Alarm, Instant, SystemClock, instant
from resumable.testing import ManualClock


def test_an_instant_is_one_moment_of_both_clocks() -> None:
    clock = ManualClock()
    clock.advance(5)
    now = instant(clock)

    assert (now.monotonic, now.utc) == (clock.now(), clock.utc())
    assert now.epoch == clock.utc().timestamp()


def test_an_instant_does_not_change() -> None:
    now = Instant(1.0, datetime(2026, 3, 1, tzinfo=UTC))
    with pytest.raises(AttributeError):
        now.monotonic = 2.0  # type: ignore[misc]


def test_the_system_clock_reads_the_computers_clocks() -> None:
    before = time.monotonic(), datetime.now(UTC)
    now = instant(SystemClock())

    assert before[0] <= now.monotonic <= time.monotonic()
    assert before[1] <= now.utc <= datetime.now(UTC)


def test_an_alarm_rings_once_from_another_thread() -> None:
    rung, threads = threading.Event(), list[threading.Thread]()
    alarm = Alarm(SystemClock(), lambda: (threads.append(threading.current_thread()), rung.set()))
    alarm.ring_within(0.01)

    assert rung.wait(10)
    assert threads != [threading.current_thread()]


def test_an_earlier_alarm_stays_and_a_cancelled_one_is_silent() -> None:
    clock, rings = ManualClock(), list[float]()
    alarm = Alarm(clock, lambda: rings.append(clock.now()))
    began = clock.now()
    alarm.ring_within(5)
    alarm.ring_within(60)
    alarm.ring_within(float("inf"))
    clock.advance(100)
    assert len(rings) == 1
    assert rings[0] >= began + 5

    alarm.ring_within(5)
    alarm.cancel()
    clock.advance(100)
    assert len(rings) == 1
