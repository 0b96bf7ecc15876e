"""A run pauses, goes on and stops, as another process asks."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from resumable import checkpointed, every
from resumable._report import presence
from resumable._report.live import live_of
from resumable._report.wishes import ask
from tests.support.watched import go_on, noting, store, until


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESUMABLE_INDEX", str(tmp_path / "state"))
    monkeypatch.setattr(presence, "_BEAT_SECONDS", 0.02)
    monkeypatch.setattr(presence, "_PULSE_SECONDS", 0.0)
    monkeypatch.setattr(presence, "_EARLY", 0.0)
    return tmp_path / "state"


def test_a_run_pauses_goes_on_and_stops_as_it_is_asked() -> None:
    seen: list[int] = []

    def ask_it() -> None:
        until(lambda: len(seen) > 5)
        ask(store(), "job", "pause")
        until(lambda: (one := live_of(store(), "job")) and one.state == "paused")
        before = len(seen)
        time.sleep(0.3)
        assert len(seen) == before
        one = live_of(store(), "job")
        assert one is not None
        assert one.summary.processed_items == before
        go_on()
        until(lambda: len(seen) > before + 5)
        ask(store(), "job", "stop")

    errors: list[BaseException] = []
    asking = threading.Thread(target=noting(ask_it, errors))
    began = time.monotonic()
    with pytest.raises(SystemExit) as stopped, checkpointed("job", every(hours=1), store="ck") as cp:  # noqa: PT012
        cp.save()
        asking.start()
        for number in cp.remaining(range(100_000)):
            seen.append(number)
            time.sleep(0.005)
    asking.join()

    assert errors == []
    took = time.monotonic() - began
    assert stopped.value.code == 143
    one = live_of(store(), "job")
    assert one is not None
    assert 0 < (one.summary.elapsed_time or 0) < took - 0.3  # the pause is no time that the run took
    assert store().wish("job") is None


async def test_an_async_run_pauses_as_well() -> None:
    import asyncio

    async with checkpointed("job", every(hours=1), store="ck") as cp:
        await cp.save()
        ticks = 0

        async def beside() -> None:
            nonlocal ticks
            while (one := live_of(store(), "job")) is None or one.state != "paused":
                await asyncio.sleep(0.01)
            ticks = 1
            go_on()

        other = asyncio.create_task(beside())
        async for number in cp.remaining(range(100_000)):
            await asyncio.sleep(0.005)
            if number == 1:
                ask(store(), "job", "pause")
            if ticks:
                assert number
                break
        await other


def test_a_paused_run_can_be_stopped_by_a_signal() -> None:

    def stop() -> None:
        until(lambda: (one := live_of(store(), "job")) and one.state == "paused")
        from resumable import stop as stop_all

        stop_all()

    asking = threading.Thread(target=stop)
    with pytest.raises(SystemExit), checkpointed("job", every(hours=1), store="ck") as cp:  # noqa: PT012
        cp.save()
        ask(store(), "job", "pause")
        asking.start()
        for _ in cp.remaining(range(100_000)):
            time.sleep(0.005)
    asking.join()
    assert store().wish("job") is None  # else the next run would pause
