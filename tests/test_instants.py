"""A save is one instant, whatever threads and signal handlers do meanwhile, and whatever became of the save before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointData, CheckpointManager, StoreError, checkpointed, every
from resumable._capture import CapturedLoops
from resumable._log import DurableLog
from resumable._sink_file import Extent
from resumable.stores import FileStore
from resumable.testing import FaultyStore

PADDING = {f"{number}": "x" * 90 for number in range(120)}
NEVER = every(hours=1000)


def saved(directory: Path) -> CheckpointData:
    found = CheckpointManager(directory).load_checkpoint("job")
    assert found is not None
    return found


def before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, work: Callable[[], object]) -> None:
    """As another thread would, do *work* just before a method."""
    original = getattr(owner, name)

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        work()
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, meanwhile)


# -- threads ----------------------------------------------------------------------------------------------------------


def test_what_is_appended_to_a_log_during_a_snapshot_is_saved_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with checkpointed("job", NEVER, store=tmp_path, auto_cleanup=False) as cp:
        cp.mapping("files").update(PADDING)
        log = cp.log("log")
        log.append("before")
        with monkeypatch.context() as during:
            before(during, DurableLog, "snapshot", lambda: log.append("meanwhile"))
            cp.save()
        log.append("after")
        cp.save()

        assert saved(tmp_path).state["log"] == ["before", "meanwhile", "after"]


def test_what_is_appended_to_a_log_as_a_fold_begins_is_saved_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with checkpointed("job", NEVER, store=tmp_path, auto_cleanup=False) as cp:
        files, log = cp.mapping("files"), cp.log("log")
        files.update(PADDING)
        cp.save()
        snapshot = (tmp_path / ".checkpoint_job.json").read_bytes()
        before(monkeypatch, DurableLog, "snapshot", lambda: log.append("meanwhile"))
        for number in range(100):
            files[f"new {number}"] = "y" * 900
            cp.save()
        monkeypatch.undo()
        cp.save()

        assert (tmp_path / ".checkpoint_job.json").read_bytes() != snapshot
        assert len(log) > 0
        assert saved(tmp_path).state["log"] == list(log)


@pytest.mark.parametrize("key", [None, str], ids=["by position", "by key"])
@pytest.mark.parametrize("padding", [{}, PADDING], ids=["snapshot", "journal"])
def test_what_is_done_in_another_thread_during_a_save_is_not_ahead_of_its_effects(
    key: Any, padding: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        rows = cp.sink(tmp_path / "rows.txt")
        cp.state["done"] = []
        cp.mapping("files").update(padding)
        items = iter(cp.remaining(range(100), key=key))

        def go_on() -> None:
            for item in (next(items), next(items)):
                cp.state["done"].append(item)
                rows.write(f"{item}\n")

        def capture(captured: CapturedLoops, *args: Any) -> None:
            go_on()
            original(captured, *args)
            go_on()

        original = CapturedLoops.__init__
        go_on()
        cp.save()
        monkeypatch.setattr(CapturedLoops, "__init__", capture)
        for _ in range(3):
            cp.save()
            found = saved(tmp_path)
            offset = next(iter(found.internal["sinks"].values()))["offset"]
            done = _done(found.internal["loops"])
            assert found.metadata.processed_items <= done <= len(found.state["done"])
            assert done <= (tmp_path / "rows.txt").read_bytes()[:offset].count(b"\n")
        monkeypatch.undo()


def _done(loops: dict[str, dict[str, Any]]) -> int:
    (place,) = loops.values()
    return int(place["position"]) if place["by"] == "position" else len(place["keys"])


def test_a_thread_that_outlives_the_main_one_saves_on(tmp_path: Path) -> None:
    """Then Python starts no threads any more."""
    program = """if True:
        import sys, threading
        from resumable import checkpointed, every

        def work():
            threading.main_thread().join()
            with checkpointed("job", every(items=100), store=sys.argv[1], auto_cleanup=False) as cp:
                files = cp.mapping("files")
                for number in cp.remaining(range(5000)):
                    files[str(number)] = "x" * 200

        threading.Thread(target=work).start()
    """
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    assert len(saved(tmp_path).state["files"]) == 5000


# -- signal handlers --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1 on this system")
@pytest.mark.parametrize("use", ["save", "tick"])
@pytest.mark.parametrize("is_written", [False, True], ids=["before the write", "after it"])
def test_a_signal_handler_that_saves_in_the_midst_of_a_save_tears_nothing(
    use: str, is_written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = FileStore.append_journal

    def interrupted(store: FileStore, key: str, offset: int, data: bytes) -> None:
        monkeypatch.setattr(FileStore, "append_journal", append)
        if is_written:
            append(store, key, offset, data)
        signal.raise_signal(signal.SIGUSR1)
        if not is_written:
            append(store, key, offset, data)

    handlers = {"save": lambda *_: cp.save("preempted"), "tick": lambda *_: cp.tick()}
    old = signal.signal(signal.SIGUSR1, handlers[use])
    try:
        with checkpointed("job", every(items=1), store=tmp_path, auto_cleanup=False) as cp:
            cp.mapping("files").update(PADDING)
            log = cp.log("log")
            cp.save()
            for number in range(4):
                monkeypatch.setattr(FileStore, "append_journal", interrupted)
                log.append(number)
                cp.tick()
                assert saved(tmp_path).state["log"] == list(log)
                assert use == "tick" or saved(tmp_path).metadata.last_save_reason == "preempted"
    finally:
        signal.signal(signal.SIGUSR1, old)

    assert saved(tmp_path).metadata.processed_items == (4 if use == "save" else 8)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1 on this system")
@pytest.mark.parametrize("use", ["save", "tick"])
def test_a_signal_handler_that_saves_in_the_midst_of_a_row_has_it_saved_at_the_next_tick(
    use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = {"save": lambda *_: cp.save("preempted"), "tick": lambda *_: cp.tick()}
    old = signal.signal(signal.SIGUSR1, handlers[use])
    try:
        with checkpointed("job", NEVER, store=tmp_path, auto_cleanup=False) as cp:
            rows = cp.sink(tmp_path / "rows.txt")
            before(monkeypatch, Extent, "grown", lambda: signal.raise_signal(signal.SIGUSR1))
            for number in range(4):
                rows.write(f"{number}\n")
                cp.tick()
                assert use == "tick" or saved(tmp_path).metadata.last_save_reason == "preempted"
            monkeypatch.undo()
    finally:
        signal.signal(signal.SIGUSR1, old)

    assert (tmp_path / "rows.txt").read_text() == "0\n1\n2\n3\n"
    assert saved(tmp_path).metadata.processed_items == (4 if use == "save" else 8)


# -- after a save that failed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["the end", "save()"])
def test_a_save_that_failed_beside_the_loop_does_not_stop_the_next_one(way: str, tmp_path: Path) -> None:
    store = FaultyStore(FileStore(tmp_path))
    with checkpointed("job", every(items=1), store=store, auto_cleanup=False) as cp:
        files = cp.mapping("files")
        files.update((f"{number}", "x" * 900) for number in range(120))
        cp.save()
        store.fails_on = {"append_journal": StoreError("the disk is full")}
        files.update((f"new {number}", "y" * 900) for number in range(10))
        cp.tick()
        while cp._core._stored._flight is not None and not cp._core._stored._flight.future.done():
            os.sched_yield()
        store.fails_on = {}
        if way == "save()":
            cp.save()
            assert "new 9" in saved(tmp_path).state["files"]

    assert "new 9" in saved(tmp_path).state["files"]
