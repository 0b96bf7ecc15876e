"""A save is one instant, whatever threads and signal handlers do meanwhile, and whatever became of the save before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointData, CheckpointManager, StateEncodeError, StoreError, checkpointed, every
from resumable._durable import dict as durable_dict
from resumable._durable import sink
from resumable._durable.aliases import Aliases
from resumable._durable.dict import DurableDict, Pending
from resumable._durable.log import DurableLog
from resumable._engine.capture import CapturedLoops
from resumable.stores import FileStore
from resumable.stores._file import FileLease
from resumable.testing import FaultyStore
from tests.support.interrupts import needs_signals, signals

PADDING = {f"{number}": "x" * 90 for number in range(120)}
NEVER = every(hours=1000)


def saved(directory: Path) -> CheckpointData:
    found = CheckpointManager(directory).load_checkpoint("job")
    assert found is not None
    return found


def before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, work: Callable[[], object]) -> None:
    """Do *work* just before a method, as another thread may."""
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
            before(during, DurableLog, "_copied", lambda: log.append("meanwhile"))
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


@pytest.mark.parametrize("key", [None, str], ids=["by position", "by key"])
def test_a_loop_that_begins_anew_during_the_write_is_not_taken_for_saved(
    key: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with checkpointed("job", NEVER, store=tmp_path, auto_cleanup=False) as cp:
        cp.mapping("files").update(PADDING)
        cp.save()
        list(cp.remaining(range(5), key=key, name="loop"))

        begun: list[Any] = []
        with monkeypatch.context() as during:
            anew = range(100, 110)
            before(during, FileLease, "append", lambda: begun.append(cp.remaining(anew, key=key, name="loop")))
            cp.save()
        deque(islice(begun[0], 5), maxlen=0)
        cp.save()

        place = saved(tmp_path).internal["loops"]["loop/1"]  # the second one of that name
        assert place["position"] == 4 if key is None else place["keys"] == ["100", "101", "102", "103"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_that_is_forked_during_a_save_of_another_thread_does_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_writing, may_write = threading.Event(), threading.Event()
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        before(monkeypatch, FileLease, "stage", lambda: (is_writing.set(), may_write.wait(10)))
        thread = threading.Thread(target=cp.save)
        thread.start()
        assert is_writing.wait(10)
        child = os.fork()
        if child == 0:
            refused = 0
            for call in (cp.tick, cp.save):
                try:
                    call()
                except StoreError:
                    refused += 1
            os._exit(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
        may_write.set()
        thread.join()


def test_what_is_put_into_a_collection_is_checked_as_it_becomes_one(tmp_path: Path) -> None:
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        cp.state["files"] = {"a": {3, 4}}
        with pytest.raises(StateEncodeError, match=r"\$\.state\.files\.a .* of type set"):
            cp.mapping("files")


@pytest.mark.parametrize("is_taken", [False, True], ids=["at once", "after a save that failed"])
@pytest.mark.parametrize(
    ("owner", "step"),
    [(Pending, "separate"), (durable_dict, "freeze_checked"), (DurableDict, "_install"), (Aliases, "add")],
)
def test_an_interruption_while_changes_are_taken_loses_none(
    owner: Any, step: str, is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = DurableDict({"old": 1, "held": 0, "kept": 0})
    held = files["held"] = [1]
    files.begin()
    files.commit()
    held.append(2)
    files["new"] = 3
    del files["old"]
    if is_taken:
        files.begin()
        files.rollback()
    with monkeypatch.context() as during:
        before(during, owner, step, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            _save(files)
    files.rollback()
    held.append(4)

    assert files.begin() == {"set": {"new": 3, "held": [1, 2, 4]}, "del": ["old"]}


def test_text_that_is_no_unicode_is_named_by_its_place_in_the_state(tmp_path: Path) -> None:
    """The record of a save has it somewhere else."""
    with checkpointed("job", NEVER, store=tmp_path, auto_cleanup=False) as cp:
        files = cp.mapping("files")
        files.update(PADDING)
        cp.save()
        files["a"] = {"n": 1}
        _change_inside(files)
        for _ in range(2):  # nothing is taken
            with pytest.raises(StateEncodeError, match=r"\$\.state\.files\.bad\.n\[0\]"):
                cp.save()
        files.pop("bad", None)
        cp.save()
        assert saved(tmp_path).state == {"files": PADDING | {"a": {"n": 1}}}


def _change_inside(files: Any) -> None:
    value = files["bad"] = {"n": ["x"]}
    value["n"][0] = "\udcff"


def _save(files: DurableDict) -> None:
    files.begin()
    files.commit()


def _interrupt() -> None:
    raise KeyboardInterrupt


def _done(loops: dict[str, dict[str, Any]]) -> int:
    (place,) = loops.values()
    return int(place["position"]) if place["by"] == "position" else len(place["keys"])


@pytest.mark.slow
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
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=300)

    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "in a thread other than the main one" not in line] == []
    assert len(saved(tmp_path).state["files"]) == 5000


# -- signal handlers --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1 on this system")
@pytest.mark.parametrize("use", ["save", "tick"])
@pytest.mark.parametrize("moment", ["before the write", "meanwhile", "after it"])
def test_a_signal_handler_that_saves_in_the_midst_of_a_save_tears_nothing(
    use: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = FileLease.append

    def interrupted(
        lease: FileLease, sequence: int, data: bytes, summary: bytes, meanwhile: Callable[[], None] | None = None
    ) -> None:
        def both() -> None:
            if moment == "meanwhile":
                signal.raise_signal(signal.SIGUSR1)
            if meanwhile is not None:
                meanwhile()

        monkeypatch.setattr(FileLease, "append", append)
        if moment == "before the write":
            signal.raise_signal(signal.SIGUSR1)
        append(lease, sequence, data, summary, both)
        if moment == "after it":
            signal.raise_signal(signal.SIGUSR1)

    """A row for which the buffer has no room: the rows before it are brought into the file."""
    ticks = 0

    def handler(*_: object) -> None:
        nonlocal ticks
        ticks += 1
        cp.save("preempted") if use == "save" else cp.tick()

    large = [f"{number}" * 80_000 + "\n" for number in range(4)]
    old = signal.signal(signal.SIGUSR1, handler)
    try:
        with checkpointed("job", NEVER, store=tmp_path, auto_cleanup=False) as cp:
            rows = cp.sink(tmp_path / "rows.txt")
            before(monkeypatch, sink, "grown", lambda: signal.raise_signal(signal.SIGUSR1))
            for row in large:
                rows.write(row)
                cp.tick()
                assert use == "tick" or not ticks or saved(tmp_path).metadata.last_save_reason == "preempted"
            monkeypatch.undo()
    finally:
        signal.signal(signal.SIGUSR1, old)

    assert ticks > 2
    assert (tmp_path / "rows.txt").read_text() == "".join(large)
    assert saved(tmp_path).metadata.processed_items == (4 if use == "save" else 4 + ticks)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1 on this system")
def test_a_signal_handler_that_saves_during_each_save_is_heard_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals that come faster than saves can be made: each save is asked for another one."""
    signals = 0

    def handler(*_: object) -> None:
        nonlocal signals
        signals += 1
        cp.state["signals"] = signals
        cp.save("preempted")

    def signalled(lease: FileLease, *args: object) -> object:
        signal.raise_signal(signal.SIGUSR1)
        return stage(lease, *args)  # type: ignore[arg-type]

    stage, old = FileLease.stage, signal.signal(signal.SIGUSR1, handler)
    try:
        with checkpointed("job", NEVER, store=tmp_path, auto_cleanup=False) as cp:
            monkeypatch.setattr(FileLease, "stage", signalled)
            cp.save()
            assert 1 < signals < 10
            before = signals
            cp.tick()  # what was asked for last
            assert before < signals < 20
        assert saved(tmp_path).state["signals"] >= signals - 1
    finally:
        signal.signal(signal.SIGUSR1, old)


@pytest.mark.slow
@needs_signals
def test_a_signal_handler_that_saves_while_another_thread_does_is_not_nested_without_end(tmp_path: Path) -> None:
    """Each call waits for the thread, and is interrupted by the next one, which must not wait as well."""
    gate, is_within, stop, calls = threading.Event(), threading.Event(), threading.Event(), 0

    def handler(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 1.5 * sys.getrecursionlimit():
            stop.set()
            gate.set()
        cp.save("preempted")

    def hold() -> None:
        if not is_within.is_set():
            is_within.set()
            gate.wait()

    with checkpointed("job", NEVER, store=tmp_path, auto_cleanup=False) as cp:
        cp.before_save(hold)
        saver = threading.Thread(target=cp.save)
        saver.start()
        is_within.wait()
        with signals(handler, 0.0005, stop):
            gate.wait()
            saver.join()

    assert saved(tmp_path).metadata.last_save_reason


# -- after a save that failed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["the end", "save()"])
def test_a_save_that_failed_beside_the_loop_does_not_stop_the_next_one(way: str, tmp_path: Path) -> None:
    store = FaultyStore(FileStore(tmp_path))
    with checkpointed("job", every(items=1), store=store, auto_cleanup=False) as cp:
        files = cp.mapping("files")
        files.update((f"{number}", "x" * 900) for number in range(120))
        cp.save()
        store.fails_on = {"append": StoreError("the disk is full")}
        files.update((f"new {number}", "y" * 900) for number in range(10))
        cp.tick()
        while cp._operation.writer.job is not None and not cp._operation.writer.job.future.done():
            os.sched_yield()
        store.fails_on = {}
        if way == "save()":
            cp.save()
            assert "new 9" in saved(tmp_path).state["files"]

    assert "new 9" in saved(tmp_path).state["files"]
